"""Whole flows through a market: each unit accounted for, and no way round that pays.

The exact layer says what a flow is worth; the events and balances say what was booked.
"""

from dataclasses import dataclass
from fractions import Fraction

from bounds import (
    DECIMALS,
    FLOWS,
    REQUIREMENT_UNITS,
    SIDES,
    VALUE_UNITS,
    index,
    n,
    tokens,
    units,
    wad,
)
from hypothesis import event, given
from hypothesis import strategies as st
from market_world import ANY_PRICE, FRICTIONLESS, RISK, ROLE, World
from market_world import wad as to_wad

from python_model import exact
from python_model.modules.constants import WAD

SIZES = st.integers(2 * 10**17, 10**21)
NO_FRICTION_BUT_SKEW = {**FRICTIONLESS, "skew_scale": to_wad(100_000_000)}

# Opening and closing at one mark: fill price twice and value once rounded against the trader.
ROUND_TRIP_FILLS = 2


@dataclass
class Ledger:
    """Where token units are."""

    trader: int
    pool: int
    margin: int
    insurance: int
    fees: int
    credits: int

    @classmethod
    def of(cls, world: World) -> "Ledger":
        books = world.market.solvency()
        return cls(
            world.balance("trader"),
            books.pool_cash,
            books.margin,
            books.insurance,
            books.fees,
            books.credits,
        )

    def since(self, before: "Ledger") -> "Ledger":
        pairs = zip(vars(self).values(), vars(before).values(), strict=True)
        return Ledger(*(new - old for new, old in pairs))


def enough(world: World, size: int) -> int:
    """Margin that opens any size at a price of 100 and lasts between 50 and 150, token units."""
    return size * 100 * world.unit // WAD + 10


def lot_of(world: World, position_id: int) -> exact.Lot:
    position = world.position(position_id)
    return exact.Lot(
        position.side,
        wad(position.size),
        tokens(position.margin, world.token.decimals),
        wad(position.entry_price),
        index(position.entry_funding),
    )


def with_skew(world: World, skew: int) -> None:
    """Another trader's position of that size: long if positive."""
    if skew:
        side = int(skew < 0)
        margin = enough(world, abs(skew))
        sender = ROLE["other_trader"]
        world.market.open(side, abs(skew), margin, ANY_PRICE[side], sender=sender)


SKEWS = st.just(0) | st.builds(lambda size, sign: size * sign, SIZES, st.sampled_from([-1, 1]))


@FLOWS
@given(DECIMALS, SIDES, SIZES, SKEWS)
def test_open_and_close_at_one_price_never_profits(
    decimals: int, side: int, size: int, skew: int
) -> None:
    """What is lost beyond the fees is rounding: two wei of price on the size and a unit at most."""
    world = World(decimals, is_watched=False, cash=10**6)
    with_skew(world, skew)
    margin = enough(world, size)
    position_id = world.market.open(side, size, margin, ANY_PRICE[side], sender=ROLE["trader"])
    payout = world.close(position_id)
    fees = world.market.solvency().fees
    if skew:
        fees -= world_fees_of_skew(decimals, skew)
    lost = margin - payout - fees
    assert 0 <= lost < Fraction(size * ROUND_TRIP_FILLS, n(decimals)) + VALUE_UNITS
    assert world.pool.cash() == world.tokens(10**6) + lost
    world.assert_books_balance()


def world_fees_of_skew(decimals: int, skew: int) -> int:
    world = World(decimals, is_watched=False, cash=10**6)
    with_skew(world, skew)
    return int(world.market.solvency().fees)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "increase", "reduce", "close"]), SIDES, SIZES, st.integers()
    ),
    min_size=2,
    max_size=12,
)


@FLOWS
@given(DECIMALS, SKEWS, STEPS)
def test_no_sequence_of_trades_at_one_price_profits(
    decimals: int, skew: int, steps: list[tuple[str, int, int, int]]
) -> None:
    """Whatever an attacker opens, increases, reduces and closes, on both sides, without a fee and
    without the price moving: what comes out is no more than what went in."""
    world = World(decimals, is_watched=False, cash=10**8, **NO_FRICTION_BUT_SKEW)
    with_skew(world, skew)
    cash = world.pool.cash()
    market, attacker = world.market, ROLE["attacker"]
    held: list[int] = []
    for action, side, size, pick in steps:
        position_id = held[pick % len(held)] if held else 0
        if action == "open" or not held:
            margin = enough(world, size)
            held.append(market.open(side, size, margin, ANY_PRICE[side], sender=attacker))
        elif action == "increase":
            side = world.position(position_id).side
            margin = enough(world, size)
            market.increase(position_id, size, margin, ANY_PRICE[side], sender=attacker)
        elif action == "reduce" and world.position(position_id).size > size + 10**17:
            side = world.position(position_id).side
            market.reduce(position_id, size, ANY_PRICE[1 - side], sender=attacker)
        else:
            held.remove(position_id)
            world.close(position_id, by="attacker")
    for position_id in held:
        world.close(position_id, by="attacker")
    spent = world.spent("attacker")
    assert spent >= 0
    assert world.pool.cash() - cash == spent
    assert spent <= Fraction(10**22 * 4 * len(steps), n(decimals)) + 2 * len(steps)
    world.assert_books_balance()


PRICES = st.integers(to_wad(70), to_wad(140))


@FLOWS
@given(DECIMALS, SIDES, SIZES, SKEWS, PRICES, st.integers(1, 3_000))
def test_each_flow_is_booked_to_the_unit(
    decimals: int, side: int, size: int, skew: int, price: int, seconds: int
) -> None:
    """Open, let the price and the funding move, then increase, reduce by half and close: after each
    action the ledgers have moved by the amounts in its event, and the value in it is the exact one,
    floored."""
    world = World(decimals, is_watched=False, cash=10**6)
    with_skew(world, skew)
    market, trader = world.market, ROLE["trader"]
    margin = enough(world, size)

    before = Ledger.of(world)
    position_id = market.open(side, size, margin, ANY_PRICE[side], sender=trader)
    _, _, _, _, fill, fee = world.event("PositionIncreased")
    assert Ledger.of(world).since(before) == Ledger(-margin, 0, margin - fee, 0, fee, 0)
    is_maker = exact.is_maker(side, wad(size), wad(skew))
    rate = RISK.maker_fee if is_maker else RISK.taker_fee
    wanted = exact.trade_fee(wad(size), wad(fill), wad(rate))
    assert 0 <= fee - units(wanted, decimals) < REQUIREMENT_UNITS

    world.wait(seconds)
    world.publish_wad(price)
    before = Ledger.of(world)
    market.increase(position_id, size // 3, margin, ANY_PRICE[side], sender=trader)
    _, _, _, _, fill, fee = world.event("PositionIncreased")
    assert Ledger.of(world).since(before) == Ledger(-margin, 0, margin - fee, 0, fee, 0)

    for is_reduction in (True, False):
        lot = lot_of(world, position_id)
        before = Ledger.of(world)
        closed = world.position(position_id).size
        if is_reduction:
            closed //= 4
            market.reduce(position_id, closed, ANY_PRICE[1 - side], sender=trader)
            _, _, _, fill, value, fee, claim = world.event("PositionReduced")
            ledger = Ledger(0, -value + claim, value - claim - fee, 0, fee, 0)
        else:
            payout = world.close(position_id)
            _, _, _, fill, value, fee, claim, paid = world.event("PositionClosed")
            held = int(units(lot.margin, decimals))
            assert paid == payout == held + value - claim - fee
            ledger = Ledger(payout, -value + claim, -held, 0, fee, 0)
        assert Ledger.of(world).since(before) == ledger
        part = lot._replace(size=wad(closed))
        funding = index(market.marks().funding[side])
        exact_value = units(exact.position_value(part, wad(fill), funding), decimals)
        assert 0 <= exact_value - value < VALUE_UNITS
        event("profit" if value > 0 else "loss")
    world.assert_books_balance()


@FLOWS
@given(
    DECIMALS,
    st.lists(st.tuples(SIDES, SIZES, PRICES), min_size=1, max_size=6),
    PRICES,
    st.integers(1, 3_000),
)
def test_solvency_brackets_the_sum_of_positions(
    decimals: int, opened: list[tuple[int, int, int]], price: int, seconds: int
) -> None:
    """Net trader profit in `solvency` is the exact sum rounded up; the sum of the floored values is
    below it by less than one unit per open position and one."""
    world = World(decimals, is_watched=False, cash=10**7)
    for side, size, at in opened:
        world.wait(60)
        world.publish_wad(at)
        margin = enough(world, size)
        world.market.open(side, size, margin, ANY_PRICE[side], sender=ROLE["trader"])
    world.wait(60)
    world.publish_wad(price)
    world.wait(seconds)
    books, marks = world.market.solvency(), world.market.marks()
    lots = [lot_of(world, number) for number in world.open_ids()]
    funding = (index(marks.funding[0]), index(marks.funding[1]))
    wanted = units(exact.net_trader_profit(lots, wad(marks.price), funding), decimals)
    assert 0 <= books.net_trader_profit - wanted < 1
    values = sum(
        world.equity(number) - world.position(number).margin for number in world.open_ids()
    )
    assert values <= books.net_trader_profit < values + books.open_positions + 1
    terms = world.market.pool_terms()
    assert terms.profit_down <= wanted <= terms.profit_up == books.net_trader_profit


@FLOWS
@given(
    DECIMALS,
    SIDES,
    SIZES,
    PRICES,
    st.lists(st.tuples(st.booleans(), st.integers(1, 10**5)), min_size=1, max_size=6),
)
def test_moving_pool_money_never_takes_from_the_other_providers(
    decimals: int, side: int, size: int, price: int, moves: list[tuple[bool, int]]
) -> None:
    """With positions open and in profit or loss: each deposit and each redemption of one provider
    leaves what a share of the others is worth, exactly, no lower."""
    world = World(decimals, is_watched=False, cash=10**6)
    margin = enough(world, size)
    world.market.open(side, size, margin, ANY_PRICE[side], sender=ROLE["trader"])
    world.wait(600)
    world.publish_wad(price)
    pool, sender = world.pool, ROLE["other_lp"]

    def share_price() -> Fraction:
        marks = world.market.marks()
        funding = (index(marks.funding[0]), index(marks.funding[1]))
        lots = [lot_of(world, number) for number in world.open_ids()]
        profit = units(exact.net_trader_profit(lots, wad(marks.price), funding), decimals)
        assets = exact.pool_assets(Fraction(pool.cash()), profit, Fraction(0))
        return exact.assets_of(
            Fraction(1), assets, Fraction(pool.totalSupply), Fraction(1), Fraction(1000)
        )

    for is_deposit, amount in moves:
        before = share_price()
        if is_deposit:
            pool.deposit(world.tokens(amount), sender, sender=sender)
        elif shares := pool.maxRedeem(sender):
            pool.redeem(min(shares, amount * 1000 * world.unit), sender, sender, sender=sender)
        assert share_price() >= before
    if shares := pool.maxRedeem(sender):
        pool.redeem(shares, sender, sender, sender=sender)
    assert world.spent("other_lp") >= 0
    world.assert_books_balance()

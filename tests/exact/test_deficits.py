"""Deleveraging, settlement, claims and the reserve's cap in a market against the exact layer."""

from fractions import Fraction
from typing import Any

from bounds import (
    BUCKET_WIDTH,
    DECIMALS,
    FLOWS,
    INDEX_UNITS,
    KEY_MARGIN_UNITS,
    SIDES,
    VALUE_UNITS,
    index,
    tokens,
    units,
    v,
    wad,
)
from hypothesis import event, given
from hypothesis import strategies as st
from market_world import ANY_PRICE, FRICTIONLESS, RISK, ROLE, World
from market_world import wad as to_wad

from python_model import exact
from python_model.evm import Revert
from python_model.modules import errors
from python_model.modules.constants import FRACTION_UNIT, LONG, WAD
from python_model.perp_market import SETTLEMENT_DELAY, Position

# Net profit ceiled, the share of the cash floored: too large by less than the sum of both.
PROFIT_SHARE_UNITS = 2
# What the reserve may pay in a window: one floor.
DRAW_UNITS = 1

SHARES = st.integers(2 * 10**17 // FRACTION_UNIT, WAD // FRACTION_UNIT).map(
    lambda steps: steps * FRACTION_UNIT
)
SIZES = st.integers(10**17, 10**21)
COOL_DOWN = RISK.cool_down
BACKED: dict[str, Any] = {**FRICTIONLESS, "reserve_fraction": 1}


def lot_of(world: World, position: Position) -> exact.Lot:
    return exact.Lot(
        position.side,
        wad(position.size),
        tokens(position.margin, world.token.decimals),
        wad(position.entry_price),
        index(position.entry_funding),
    )


def funding_of(world: World) -> tuple[Fraction, Fraction]:
    funding = world.market.marks().funding
    return index(funding[0]), index(funding[1])


@st.composite
def books(draw: st.DrawFn) -> World:
    """A market with a few positions opened at several prices, and little cash."""
    cash = draw(st.integers(1, 30_000))
    share = draw(SHARES)
    world = World(draw(DECIMALS), is_watched=False, cash=cash, **BACKED, max_profit_share=share)
    traders = ("trader", "other_trader", "third_trader")
    lots = draw(st.lists(st.tuples(SIDES, SIZES, st.integers(80, 120)), min_size=1, max_size=8))
    for number, (side, size, price) in enumerate(lots):
        world.publish(price)
        world.wait(COOL_DOWN)  # prices may have cost a pool as small as this its bound
        margin = size * 150 * world.unit // WAD + draw(st.integers(1, 10**6))
        try:
            world.market.open(
                side, size, margin, ANY_PRICE[side], sender=ROLE[traders[number % len(traders)]]
            )
        except Revert as revert:
            if revert.reason != errors.RESERVE_EXCEEDED:
                raise
            break  # winners have emptied the pool
    return world


@FLOWS
@given(books(), st.integers(to_wad(80), to_wad(150)))
def test_deleveraging_is_the_exact_one_but_for_rounding(world: World, price: int) -> None:
    """Position by position: needed, in profit, next in order, and paid what there is."""
    decimals, share = world.token.decimals, wad(world.engine.params().max_profit_share)
    before = {number: world.position(number) for number in world.open_ids()}
    account = world.pool.account()
    cash, claims = account.cash, account.claims
    world.wait(1)
    assert world.publish_wad(price) == 0
    settled = [fields for name, fields in named(world) if name == "PositionSettled"]
    event(f"{min(len(settled), 3)} deleveraged")
    funding, at = funding_of(world), wad(price)
    left = {number: lot_of(world, position) for number, position in before.items()}

    def is_too_large() -> tuple[bool, bool]:
        """By the exact rule, and by one that is as much too strict as rounding can make it."""
        net = exact.net_trader_profit(left.values(), at, funding)
        held, owed = tokens(cash, decimals), tokens(claims, decimals)
        slack = Fraction(PROFIT_SHARE_UNITS, 10**decimals)
        return (
            exact.is_profit_too_large(net, held, owed, share),
            exact.is_profit_too_large(net + slack, held, owed, share),
        )

    for fields in settled:
        number, owner, size, at_price, value, claim, returned, used, bad_debt, is_deleveraged = (
            fields
        )
        assert is_too_large()[1]
        lot = left[number]
        assert (owner, size, at_price) == (before[number].owner, before[number].size, price)
        assert is_deleveraged
        wanted = units(exact.position_value(lot, at, funding[lot.side]), decimals)
        assert 0 <= wanted - value < VALUE_UNITS
        assert value > 0
        paid, unpaid = exact.split_profit(Fraction(value), Fraction(cash))
        assert (value - claim, claim) == (paid, unpaid)
        assert returned == before[number].margin + paid
        assert (used, bad_debt) == (0, 0)
        # Nobody who stays, and nobody who goes later, had more per unit than a bucket is wide.
        mine = exact.equity_per_unit(lot, at, funding[lot.side])
        for other in left.values():
            if exact.position_value(other, at, funding[other.side]) * 10**decimals >= 1:
                theirs = exact.equity_per_unit(other, at, funding[other.side])
                assert mine >= theirs - filing_width(world, other)
        del left[number]
        cash -= value - claim
        claims += claim
    assert not is_too_large()[0] or not any(
        exact.position_value(lot, at, funding[lot.side]) * 10**decimals >= 1
        for lot in left.values()
    )
    assert set(left) == set(world.open_ids())
    assert world.pool.account()[:2] == (cash, claims)
    world.assert_books_balance()


def filing_width(world: World, lot: exact.Lot) -> Fraction:
    """By how much a position's equity per unit may be above that of its bucket."""
    key_units = INDEX_UNITS + KEY_MARGIN_UNITS * v(world.token.decimals) / (lot.size * WAD)
    key = abs(exact.trigger_key(lot)) + index(1) * key_units
    return key * BUCKET_WIDTH + index(1) * key_units


def named(world: World) -> list[tuple[str, tuple[Any, ...]]]:
    return [(item.name, item.fields) for item in world.chain.events]


@FLOWS
@given(
    books(), st.integers(to_wad(80), to_wad(150)), st.integers(0, 5_000), st.permutations(range(8))
)
def test_after_the_expiry_all_are_settled_at_the_last_price_to_the_unit(
    world: World, price: int, fund: int, order: list[int]
) -> None:
    """In whatever order anyone names them: each gets margin and value, as far as the pool has it;
    what the pool has lost and the traders have won is the same."""
    decimals = world.token.decimals
    if fund:
        world.market.fund_insurance(world.tokens(fund), sender=ROLE["keeper"])
    world.wait(1)
    world.publish_wad(price)
    world.wait(SETTLEMENT_DELAY + 1)
    marks, before = world.market.marks(), world.pool.account()
    total = 0
    ids = world.open_ids()
    for place in order:
        if place >= len(ids):
            continue
        position = world.position(ids[place])
        lot = lot_of(world, position)
        cash = world.pool.cash()
        world.settle(ids[place])
        _, owner, _, at, value, claim, returned, used, bad_debt, is_deleveraged = world.event(
            "PositionSettled"
        )
        assert (owner, at, is_deleveraged) == (position.owner, marks.price, False)
        funding = index(marks.funding[lot.side])
        wanted = units(exact.position_value(lot, wad(price), funding), decimals)
        assert 0 <= wanted - value < VALUE_UNITS
        assert (used, bad_debt) == (0, 0)  # enough margin for every price here
        paid, unpaid = exact.split_profit(Fraction(value), Fraction(cash))
        assert claim == unpaid
        assert returned == position.margin + min(value, paid)
        total += value
    assert world.open_ids() == []
    after = world.pool.account()
    assert after.result == before.result - total
    assert after.cash - before.cash == after.claims - before.claims - total
    stated = world.market.solvency()
    assert (stated.margin, stated.net_trader_profit, stated.open_positions) == (0, 0, 0)
    world.assert_books_balance()


@FLOWS
@given(
    DECIMALS,
    SHARES,
    st.integers(0, 3_000),
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(6, 49), st.integers(0, 4_000)),
        min_size=1,
        max_size=8,
    ),
)
def test_the_reserve_pays_the_exact_share_in_each_window(
    decimals: int, share: int, fund: int, falls: list[tuple[int, int, int]]
) -> None:
    """Longs ruined one after another by falls from 100, the windows passing between some."""
    world = World(
        decimals, is_watched=False, **FRICTIONLESS | {"max_insurance_draw": share, "min_size": 1}
    )
    if fund:
        world.market.fund_insurance(world.tokens(fund), sender=ROLE["lp"])
    drawn, start = 0, 0
    for size, fall, pause in falls:
        world.wait(pause)
        world.publish(100)
        world.wait(COOL_DOWN)
        reserve = world.market.totals().insurance
        position_id = world.open(LONG, size, size * 6)
        assert world.publish(100 - fall) == 1
        assert not world.is_open(position_id)
        *_, value, _, _, _, used, bad_debt = world.event("PositionLiquidated")
        shortfall = -value - size * 6 * world.unit
        if shortfall <= 0:
            assert (used, bad_debt) == (0, 0)
            continue
        if world.chain.timestamp >= start + world.engine.params().move_windows[1]:
            drawn, start = 0, world.chain.timestamp
        assert used + bad_debt == shortfall
        most = exact.drawable(Fraction(reserve), Fraction(drawn), wad(share))
        wanted = min(Fraction(shortfall), Fraction(reserve), most)
        assert 0 <= wanted - used < DRAW_UNITS
        event("capped" if used < min(shortfall, reserve) else "uncapped")
        drawn += used
    assert drawn == world.engine._drawn
    world.assert_books_balance()

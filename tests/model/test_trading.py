"""Opening, increasing, reducing, closing, and margin in and out."""

import pytest
from market_world import FRICTIONLESS, PARAMS, RISK, ROLE, World, reason_of, tiers, wad
from refusals import FAST_FUNDING

from python_model.evm import MAX_UINT256
from python_model.modules import errors
from python_model.modules.constants import LONG, SHORT

SIDES = pytest.mark.parametrize("side", [LONG, SHORT])
DECIMALS = pytest.mark.parametrize("decimals", [6, 8, 18])


@DECIMALS
@SIDES
def test_open_locks_the_margin_less_the_fee(side: int, decimals: int) -> None:
    world = World(decimals)
    fill_price, fee = world.quote(side, 10)
    position_id = world.open(side, 10, 200)
    position = world.position(position_id)
    assert (position.owner, position.side, position.size) == (ROLE["trader"], side, wad(10))
    assert position.margin == world.tokens(200) - fee
    assert position.entry_price == fill_price
    assert world.spent("trader") == world.tokens(200)
    assert world.market.solvency().fees == fee
    assert world.event("PositionOpened") == (position_id, ROLE["trader"], side)
    world.assert_books_balance()


def test_ids_count_up_and_are_never_used_again() -> None:
    world = World()
    first = world.open(LONG, 10, 200)
    world.close(first)
    assert world.open(LONG, 10, 200) == first + 1


def test_long_fills_above_the_oracle_and_short_below() -> None:
    world = World()
    mark = world.market.marks().price
    assert world.quote(LONG, 10)[0] > mark
    assert world.quote(SHORT, 10)[0] < mark


def test_fill_at_the_acceptable_price_is_accepted() -> None:
    world = World()
    fill_price, _ = world.quote(LONG, 10)
    market, trader = world.market, ROLE["trader"]
    arguments = (LONG, wad(10), world.tokens(200))
    assert reason_of(market.open, *arguments, fill_price - 1, sender=trader) == errors.PRICE_PASSED
    market.open(*arguments, fill_price, sender=trader)


def test_trade_towards_balance_pays_the_makers_fee() -> None:
    world = World()
    world.open(LONG, 10, 200, by="other_trader")
    world.open(SHORT, 10, 200)
    *_, fill_price, fee = world.event("PositionIncreased")
    assert fee == -(-10 * fill_price * RISK.maker_fee // 10**30)


@SIDES
def test_trade_past_balance_by_as_much_pays_the_takers_fee(side: int) -> None:
    """From a skew of 10 to one of 10 the other way is no nearer to zero."""
    world = World()
    world.open(1 - side, 10, 200, by="other_trader")
    world.open(side, 20, 400)
    *_, fill_price, fee = world.event("PositionIncreased")
    assert fee == -(-20 * fill_price * RISK.taker_fee // 10**30)


def test_open_needs_the_initial_margin_to_the_unit() -> None:
    world = World(**FRICTIONLESS | tiers((1_000, "0.05", "0.02")))
    world.open(LONG, 5, 100, by="other_trader")  # so that the trader's fill is the mark
    market, trader = world.market, ROLE["trader"]
    arguments = (SHORT, wad(10))
    reason = reason_of(market.open, *arguments, 49_999_999, 0, sender=trader)
    assert reason == errors.INSUFFICIENT_MARGIN
    market.open(*arguments, 50_000_000, 0, sender=trader)


def test_size_decides_the_tier() -> None:
    world = World(cash=10**7)
    assert world.position(world.open(LONG, 1_000, 30_000)).tier == 0
    assert world.position(world.open(LONG, "1000.1", 30_000)).tier == 1
    assert world.position(world.open(SHORT, 10_001, 300_000)).tier == 2


def test_position_below_the_smallest_notional_is_refused() -> None:
    """2**18 token units, whatever the market's own minimum."""
    world = World(min_size=1)
    size = wad("0.0026")
    reason = reason_of(
        world.market.open, LONG, size, world.tokens(10), MAX_UINT256, sender=ROLE["trader"]
    )
    assert reason == errors.SIZE_TOO_SMALL
    assert world.open(LONG, "0.0027", 10)


def test_increase_averages_the_entry_and_keeps_the_rest() -> None:
    world = World(**FRICTIONLESS)
    position_id = world.open(LONG, 10, 500)
    world.publish(110)
    world.increase(position_id, 10, 300)
    position = world.position(position_id)
    assert position.size == wad(20)
    assert abs(position.entry_price - wad(105)) < wad("0.000000001")
    assert position.margin == world.tokens(800)


def test_increase_without_margin_pulls_nothing() -> None:
    world = World()
    position_id = world.open(LONG, 10, 500)
    spent = world.spent("trader")
    world.increase(position_id, 10)
    assert world.spent("trader") == spent
    assert "Transfer" not in world.event_names()


def test_increase_moves_the_position_up_a_tier() -> None:
    world = World(cash=10**7)
    position_id = world.open(LONG, 900, 50_000)
    world.increase(position_id, 200)
    assert world.position(position_id).tier == 1


def test_unrealised_profit_is_no_margin() -> None:
    """The price doubles; the position still cannot grow or pay out beyond its own margin."""
    world = World(**FRICTIONLESS)
    position_id = world.open(LONG, 10, 51)
    world.publish(200)
    assert world.equity(position_id) > world.tokens(1_000)
    trader = ROLE["trader"]
    increase = world.market.increase
    assert (
        reason_of(increase, position_id, wad(1), 0, MAX_UINT256, sender=trader)
        == errors.INSUFFICIENT_MARGIN
    )
    remove = world.market.remove_margin
    assert reason_of(remove, position_id, 1, sender=trader) == errors.INSUFFICIENT_MARGIN


@SIDES
def test_reduce_realises_the_value_of_the_part_into_the_margin(side: int) -> None:
    world = World(**FRICTIONLESS)
    position_id = world.open(side, 10, 500)
    world.publish(110)
    pool = world.pool.cash()
    world.reduce(position_id, 4)
    *_, value, fee, claim = world.event("PositionReduced")
    assert (fee, claim) == (0, 0)
    expected = world.tokens(40 if side == LONG else -40)
    assert -1 <= value - expected <= 0
    assert world.position(position_id).margin == world.tokens(500) + value
    assert world.position(position_id).size == wad(6)
    assert world.pool.cash() == pool - value
    world.assert_books_balance()


def test_reduce_moves_the_position_down_a_tier() -> None:
    world = World(cash=10**7)
    position_id = world.open(LONG, 1_100, 50_000)
    world.reduce(position_id, 100)
    assert world.position(position_id).tier == 0


@DECIMALS
@SIDES
def test_close_pays_margin_and_value_less_the_fee(side: int, decimals: int) -> None:
    world = World(decimals)
    position_id = world.open(side, 10, 500)
    margin = world.position(position_id).margin
    world.publish(105)
    payout = world.close(position_id)
    *_, value, fee, claim, paid = world.event("PositionClosed")
    assert payout == paid == margin + value - fee - claim
    assert claim == 0
    assert (value > 0) == (side == LONG)
    assert world.spent("trader") == world.tokens(500) - payout
    assert not world.is_open(position_id)
    world.assert_books_balance()


def test_close_waives_the_part_of_the_fee_that_the_balance_cannot_pay() -> None:
    one_percent = wad("0.01")
    world = World(
        maker_fee=one_percent,
        taker_fee=one_percent,
        liquidation_penalty=wad("0.0025"),
        **tiers((1_000, "0.006", "0.005")),
    )
    position_id = world.open(LONG, 10, "16.1")
    margin = world.position(position_id).margin
    assert margin < world.tokens(10)
    assert world.close(position_id) == 0
    *_, value, fee, _, payout = world.event("PositionClosed")
    assert (fee, payout) == (margin + value, 0)
    world.assert_books_balance()


def test_healthy_position_can_always_pay_for_the_skew_impact_of_its_exit() -> None:
    """The most that the skew can do, to a position that is just healthy: the loss is the margin at
    most, and the pool is paid all of it."""
    limit = wad(500)
    world = World(
        **FRICTIONLESS
        | {
            "max_open_interest": limit,
            "max_skew": limit,
            "skew_scale": limit * 10**36 // (wad("0.005") * wad("0.9")) + 1,
            "liquidation_penalty": wad("0.005"),
            **tiers((1_000, "0.011", "0.01")),
        }
    )
    market = world.market
    position_id = world.open(LONG, 400, 1000)
    spare = 0
    while not spare:
        equity, required = market.health(position_id)
        spare = 1
        market.remove_margin(position_id, equity - required * 11 // 10 - 1, sender=ROLE["trader"])
    world.open(SHORT, 500, 5_000, by="other_trader")
    mark = market.marks().price
    fill_price, _ = world.quote(SHORT, 400)
    assert fill_price < mark
    pool = world.pool.cash()
    world.close(position_id)
    *_, value, _, _, payout = world.event("PositionClosed")
    assert payout > 0
    assert world.pool.cash() - pool == -value


def test_margin_goes_in_and_out() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    margin = world.position(position_id).margin
    world.add_margin(position_id, 50)
    assert world.position(position_id).margin == margin + world.tokens(50)
    world.remove_margin(position_id, 30)
    assert world.position(position_id).margin == margin + world.tokens(20)
    assert world.spent("trader") == world.tokens(220)
    world.assert_books_balance()


def test_remove_margin_leaves_the_initial_requirement_to_the_unit() -> None:
    world = World(**FRICTIONLESS)
    world.open(LONG, 5, 100, by="other_trader")
    position_id = world.open(SHORT, 10, 200)
    remove, trader = world.market.remove_margin, ROLE["trader"]
    too_much = world.tokens(150) + 1
    assert reason_of(remove, position_id, too_much, sender=trader) == errors.INSUFFICIENT_MARGIN
    remove(position_id, world.tokens(150), sender=trader)
    assert world.position(position_id).margin == world.tokens(50)


def test_margin_alone_never_changes_entry_size_or_tier() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    before = world.position(position_id)
    world.wait(100)
    world.add_margin(position_id, 50)
    after = world.position(position_id)
    names = ("owner", "side", "tier", "size", "entry_price", "entry_funding")
    assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]


def test_funding_is_paid_by_the_crowded_side_and_received_by_the_other() -> None:
    world = World(**FAST_FUNDING | {"max_utilisation_rate": 0})
    long = world.open(LONG, 100, 5_000)
    short = world.open(SHORT, 40, 5_000, by="other_trader")
    equities = world.equity(long), world.equity(short)
    world.wait(3_000)
    paid = equities[0] - world.equity(long)
    received = world.equity(short) - equities[1]
    assert paid > 0
    assert received > 0
    # 100 units pay for 40, the pool keeps the rest, and what rounding leaves.
    assert 0 <= paid * 40 - received * 100 <= 140


def test_utilisation_is_paid_by_both_sides() -> None:
    world = World(max_funding_rate=0, maker_fee=0, taker_fee=0)
    long = world.open(LONG, 1_000, 8_000)
    short = world.open(SHORT, 1_000, 8_000, by="other_trader")
    equities = world.equity(long), world.equity(short)
    world.wait(3_000)
    assert world.equity(long) < equities[0]
    assert world.equity(short) < equities[1]


def test_views_change_nothing() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    world.wait(100)
    before = world.state()
    market, pool = world.market, world.pool
    market.marks()
    market.health(position_id)
    world.quote(SHORT, 1)
    market.solvency()
    market.totals()
    market.engine.terms(100, market._book_state(market._marks))
    market.engine.breaker()
    market.pool_terms()
    pool.totalAssets()
    pool.maxRedeem(ROLE["lp"])
    assert world.state() == before
    assert (market.engine.market_params(), market.engine.params()) == (PARAMS, RISK)

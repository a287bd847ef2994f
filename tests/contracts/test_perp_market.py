"""PerpMarket: what each external function does, and each reason for which it refuses."""

from typing import Any

import pytest
from both_forms import ANY, PARAMS, PRICE, BothForms

from lockstep.edges import find_edge
from perp_fuzz.deployment import ADDRESSES, WAD
from python_model.modules import errors
from python_model.modules.constants import LONG, MAX_MARGIN, MAX_SIZE, MIN_NOTIONAL, SHORT
from python_model.perp_market import SETTLEMENT_DELAY

TIER_SIZES = PARAMS.tier_sizes
MIN_SIZE = PARAMS.min_size
MAX_AGE = PARAMS.max_price_age
# Of a unit at 10,000, whole tokens: 2 % of the first tier and the confidence of 0.1 %.
INITIAL = 210


def fields(market: BothForms, name: str) -> tuple[Any, ...]:
    """Fields of the one event of this name in the last call."""
    found = [event.fields for event in market.system.chain.events if event.name == name]
    assert len(found) == 1, name
    return found[0]


def names(market: BothForms) -> list[str]:
    return [event.name for event in market.system.chain.events]


def has_backlog(market: BothForms) -> bool:
    """What both forms say."""
    assert market.same_view("market.totals")
    return market.system.market.totals().has_backlog


def liquidatable(market: BothForms, position_id: int) -> bool:
    market.system.chain.timestamp = market.now
    equity, requirement = market.system.market.health(position_id)
    return equity < requirement


def bring_to_the_edge(market: BothForms, position_id: int) -> None:
    """The last price at which a long is healthy, and time until funding alone makes it due."""
    marks = market.system.market.marks()
    position = market.system.market.position(position_id)

    def is_due(price: int) -> bool:
        marks.price = price
        return market.system.market._is_liquidatable(position, marks)

    found = find_edge(is_due, PRICE // 2, PRICE)
    assert found is not None
    assert market.publish(found[1] + 10**14) == 0
    while not liquidatable(market, position_id):
        market.now += 1


def with_rich_loser(market: BothForms) -> tuple[int, int]:
    """A winner whom the pool cannot pay: the loser has not paid yet. Nothing is deleveraged, the
    traders' net profit is nothing."""
    market.start(liquidity=6_000)
    winner = market.open()
    loser = market.open("trader_1", side=SHORT, margin=12_000)
    assert market.publish(PRICE + 7_000 * WAD) == 0
    return winner, loser


# open


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_open_pulls_the_margin_and_takes_the_fee_out_of_it(market: BothForms, side: int) -> None:
    before = market.balance("trader_0")
    position_id = market.open(side=side, size=WAD, margin=1_000)
    position = market.system.market.position(position_id)
    _, _, size, margin, fill_price, fee = fields(market, "PositionIncreased")
    assert names(market) == ["PositionOpened", "PositionIncreased", "Transfer"]
    assert (size, margin) == (WAD, 1_000 * market.unit)
    assert before - market.balance("trader_0") == margin
    assert position.margin == margin - fee
    assert position.entry_price == fill_price
    # Half a unit of average skew moves the fill by half of 1 / 50,000: against the trader.
    assert fill_price - PRICE == (PRICE // 100_000) * (-1 if side else 1)
    # 6 basis points of the notional at the fill price, rounded up.
    assert fee == -(-WAD * fill_price * 6 // (10**4 * 10**30))
    assert market.system.market.solvency().fees == fee


def test_open_gives_ids_in_order(market: BothForms) -> None:
    assert [market.open(role) for role in ("trader_0", "trader_1", "trader_0")] == [1, 2, 3]


def test_open_takes_exactly_the_acceptable_price(market: BothForms) -> None:
    market.open(acceptable=market.increase_terms(LONG, WAD).price)
    market.open(side=SHORT, acceptable=market.increase_terms(SHORT, WAD).price)


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_open_refuses_a_fill_past_the_acceptable_price(market: BothForms, side: int) -> None:
    past = market.increase_terms(side, WAD).price + (1 if side else -1)
    args = (side, WAD, 1_000 * market.unit, past)
    market.refuses(errors.PRICE_PASSED, "trader_0", "market.open", *args)


@pytest.mark.parametrize("side", [2, 255, 2**256 - 1])
def test_open_refuses_an_unknown_side(market: BothForms, side: int) -> None:
    args = (side, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.UNKNOWN_SIDE, "trader_0", "market.open", *args)


def test_open_refuses_zero_size(market: BothForms) -> None:
    args = (LONG, 0, 1_000 * market.unit, ANY)
    market.refuses(errors.ZERO_SIZE, "trader_0", "market.open", *args)


def test_open_refuses_zero_margin(market: BothForms) -> None:
    market.refuses(errors.ZERO_AMOUNT, "trader_0", "market.open", LONG, WAD, 0, ANY)


def test_open_refuses_a_size_below_the_minimum(market: BothForms) -> None:
    args = (LONG, MIN_SIZE - 1, 1_000 * market.unit, ANY)
    market.refuses(errors.SIZE_TOO_SMALL, "trader_0", "market.open", *args)
    market.open(size=MIN_SIZE)


def test_open_refuses_a_notional_below_the_protocols_minimum() -> None:
    with BothForms(min_size=1) as market:
        market.start()
        # Notional is rounded up: at 10,000 a size of 1e8 is one token unit.
        size = (MIN_NOTIONAL - 1) * 10**8
        args = (LONG, size, market.unit, ANY)
        market.refuses(errors.SIZE_TOO_SMALL, "trader_0", "market.open", *args)
        position_id = market.open(size=size + 1, margin=1)
        args = (position_id, 1, 0)
        market.refuses(errors.SIZE_TOO_SMALL, "trader_0", "market.reduce", *args)


def test_open_refuses_a_size_that_fits_no_word(market: BothForms) -> None:
    args = (LONG, MAX_SIZE + 1, 1_000 * market.unit, ANY)
    market.refuses(errors.SIZE_TOO_LARGE, "trader_0", "market.open", *args)


def test_open_refuses_a_margin_that_fits_no_word(market: BothForms) -> None:
    args = (LONG, WAD, MAX_MARGIN + 1, ANY)
    market.refuses(errors.AMOUNT_TOO_LARGE, "trader_0", "market.open", *args)


def test_open_refuses_a_size_above_the_last_tier(market: BothForms) -> None:
    size = TIER_SIZES[-1]
    args = (LONG, size + 1, 200_000 * market.unit, ANY)
    market.refuses(errors.TIER_EXCEEDED, "trader_0", "market.open", *args)
    market.open(size=size, margin=200_000)


def test_open_refuses_what_exceeds_the_open_interest_cap() -> None:
    with BothForms(max_open_interest=2 * WAD, max_skew=2 * WAD) as market:
        market.start()
        market.open()
        args = (LONG, WAD + 1, 1_000 * market.unit, ANY)
        market.refuses(errors.OPEN_INTEREST_CAP, "trader_1", "market.open", *args)
        market.open("trader_1")


def test_open_refuses_what_exceeds_the_skew_cap(market: BothForms) -> None:
    market.open(size=50 * WAD, margin=200_000)
    args = (LONG, 10 * WAD + 1, 50_000 * market.unit, ANY)
    market.refuses(errors.SKEW_CAP, "trader_1", "market.open", *args)
    market.open("trader_1", size=10 * WAD, margin=50_000)


def test_open_refuses_what_the_pool_cannot_back() -> None:
    with BothForms() as market:
        market.start(liquidity=3_000)  # backs an open interest of 10,000 quote at 30 %
        args = (LONG, WAD + 1, 11_000 * market.unit, ANY)
        market.refuses(errors.RESERVE_EXCEEDED, "trader_0", "market.open", *args)
        # The last unit of the pool has to be paid for in full.
        market.open(margin=11_000)


def test_open_refuses_a_margin_that_only_pays_the_fee(market: BothForms) -> None:
    args = (LONG, WAD, market.increase_terms(LONG, WAD).fee, ANY)
    market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.open", *args)


def test_open_asks_for_the_initial_margin_to_the_last_unit(market: BothForms) -> None:
    fill = market.increase_terms(LONG, WAD)
    entry_loss = -(-(fill.price - PRICE) // 10**12)
    least = fill.fee + entry_loss + INITIAL * market.unit
    args = (LONG, WAD, least - 1, ANY)
    market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.open", *args)
    market.does("trader_0", "market.open", LONG, WAD, least, ANY)


def test_open_refuses_a_stale_price(market: BothForms) -> None:
    market.now += MAX_AGE
    market.open()
    market.now += 1
    args = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.STALE_PRICE, "trader_0", "market.open", *args)


def test_open_refuses_before_the_first_price(bare: BothForms) -> None:
    args = (LONG, WAD, 1_000 * bare.unit, ANY)
    bare.refuses(errors.STALE_PRICE, "trader_0", "market.open", *args)


def test_open_refuses_an_allowance_too_low(market: BothForms) -> None:
    market.does("trader_0", "token.approve", "market", 1_000 * market.unit - 1)
    args = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.ALLOWANCE_TOO_LOW, "trader_0", "market.open", *args)


def test_open_refuses_a_balance_too_low(market: BothForms) -> None:
    whole = market.balance("trader_0")
    market.does("trader_0", "token.transfer", "attacker", whole - 999 * market.unit)
    args = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BALANCE_TOO_LOW, "trader_0", "market.open", *args)


# increase


def test_increase_averages_the_entry_price_against_the_trader(market: BothForms) -> None:
    position_id = market.open()
    market.publish(PRICE + 3 * 10**18 + 1)
    market.does("trader_0", "market.increase", position_id, 2 * WAD, 2_000 * market.unit, ANY)
    fill_price = fields(market, "PositionIncreased")[4]
    first = PRICE + PRICE // 100_000
    cost = WAD * first + 2 * WAD * fill_price
    position = market.system.market.position(position_id)
    assert position.size == 3 * WAD
    assert position.tier == 1
    assert position.entry_price == -(-cost // (3 * WAD))


def test_increase_without_margin_pays_its_fee_from_the_margin(market: BothForms) -> None:
    position_id = market.open()
    before = market.system.market.position(position_id).margin
    paid = market.balance("trader_0")
    market.does("trader_0", "market.increase", position_id, WAD // 10, 0, ANY)
    fee = fields(market, "PositionIncreased")[5]
    assert market.system.market.position(position_id).margin == before - fee
    assert market.balance("trader_0") == paid


def test_increase_refuses_zero_size(market: BothForms) -> None:
    args = (market.open(), 0, 0, ANY)
    market.refuses(errors.ZERO_SIZE, "trader_0", "market.increase", *args)


def test_increase_refuses_what_exceeds_the_last_tier(market: BothForms) -> None:
    position_id = market.open(size=50 * WAD, margin=200_000)
    args = (position_id, 1, 1_000, ANY)
    market.refuses(errors.TIER_EXCEEDED, "trader_0", "market.increase", *args)


def test_increase_asks_for_the_margin_of_the_whole(market: BothForms) -> None:
    position_id = market.open(margin=250)
    args = (position_id, WAD, 0, ANY)  # two units fall in the second tier: 4 % of 20,000
    market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.increase", *args)


def test_increase_refuses_a_fill_past_the_acceptable_price(market: BothForms) -> None:
    position_id = market.open()
    fill_price = market.increase_terms(LONG, WAD, WAD).price
    args = (position_id, WAD, 1_000 * market.unit, fill_price - 1)
    market.refuses(errors.PRICE_PASSED, "trader_0", "market.increase", *args)


def test_increase_refuses_a_stale_price(market: BothForms) -> None:
    args = (market.open(), WAD, 1_000 * market.unit, ANY)
    market.now += MAX_AGE + 1
    market.refuses(errors.STALE_PRICE, "trader_0", "market.increase", *args)


# reduce


def test_reduce_puts_a_profit_into_the_margin(market: BothForms) -> None:
    position_id = market.open()
    margin = market.system.market.position(position_id).margin
    cash = market.view("pool.cash")
    market.publish(PRICE + 100 * WAD)
    market.does("trader_0", "market.reduce", position_id, WAD // 2, 0)
    _, _, size, _, value, fee, claim = fields(market, "PositionReduced")
    position = market.system.market.position(position_id)
    assert (size, claim, position.size) == (WAD // 2, 0, WAD // 2)
    # Half of 100, and the closing fill is better than the price: the longs are heavier.
    assert 49 * market.unit < value < 51 * market.unit
    assert position.margin == margin + value - fee
    assert market.view("pool.cash") == cash - value


def test_reduce_pays_a_loss_from_the_margin_to_the_pool(market: BothForms) -> None:
    position_id = market.open()
    cash = market.view("pool.cash")
    market.publish(PRICE - 100 * WAD)
    market.does("trader_0", "market.reduce", position_id, WAD // 2, 0)
    value = fields(market, "PositionReduced")[4]
    assert -51 * market.unit < value < -49 * market.unit
    assert market.view("pool.cash") == cash - value


def test_reduce_refuses_zero_size(market: BothForms) -> None:
    market.refuses(errors.ZERO_SIZE, "trader_0", "market.reduce", market.open(), 0, 0)


def test_reduce_refuses_the_whole(market: BothForms) -> None:
    position_id = market.open()
    market.refuses(errors.EXCEEDS_POSITION, "trader_0", "market.reduce", position_id, WAD, 0)


def test_reduce_refuses_a_rest_below_the_minimum(market: BothForms) -> None:
    position_id = market.open()
    args = (position_id, WAD - MIN_SIZE + 1, 0)
    market.refuses(errors.SIZE_TOO_SMALL, "trader_0", "market.reduce", *args)
    market.does("trader_0", "market.reduce", position_id, WAD - MIN_SIZE, 0)


def test_reduce_refuses_a_fill_past_the_acceptable_price(market: BothForms) -> None:
    position_id = market.open()
    fill_price = market.exit_terms(LONG, WAD // 2, WAD).price
    args = (position_id, WAD // 2, fill_price + 1)
    market.refuses(errors.PRICE_PASSED, "trader_0", "market.reduce", *args)
    market.does("trader_0", "market.reduce", position_id, WAD // 2, fill_price)


def test_reduce_refuses_a_stale_price(market: BothForms) -> None:
    position_id = market.open()
    market.now += MAX_AGE + 1
    market.refuses(errors.STALE_PRICE, "trader_0", "market.reduce", position_id, WAD // 2, 0)


def test_reduce_refuses_when_fill_and_fee_leave_no_margin() -> None:
    with BothForms(maker_fee=10**16, taker_fee=10**16) as market:
        market.start()
        position_id = market.open(margin=311)
        market.open("trader_1", side=SHORT, size=50 * WAD, margin=200_000)  # moves fills by 0.1 %
        market.publish(PRICE - 110 * WAD)
        assert not liquidatable(market, position_id)
        args = (position_id, WAD - MIN_SIZE, 0)
        market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.reduce", *args)


# close


def test_close_pays_margin_and_profit(market: BothForms) -> None:
    before = market.balance("trader_0")
    position_id = market.open()
    opening_fee = fields(market, "PositionIncreased")[5]
    market.publish(PRICE + 1_000 * WAD)
    payout = market.does("trader_0", "market.close", position_id, 0)
    _, _, size, _, value, fee, claim, paid = fields(market, "PositionClosed")
    assert (size, claim, paid) == (WAD, 0, payout)
    assert payout == 1_000 * market.unit - opening_fee + value - fee
    assert market.balance("trader_0") == before - opening_fee + value - fee
    assert market.system.market.solvency().margin == 0


def test_close_at_the_same_price_costs_the_round_trip(market: BothForms) -> None:
    position_id = market.open()
    cash = market.view("pool.cash")
    market.does("trader_0", "market.close", position_id, 0)
    value = fields(market, "PositionClosed")[4]
    assert value <= 0
    assert market.view("pool.cash") == cash - value


def test_close_turns_what_the_pool_cannot_pay_into_a_claim() -> None:
    with BothForms() as market:
        winner, _ = with_rich_loser(market)
        market.does("trader_0", "market.close", winner, 0)
        value, claim = (fields(market, "PositionClosed")[i] for i in (4, 6))
        assert claim == value - 6_000 * market.unit > 0
        assert market.view("pool.cash") == 0
        assert market.view("pool.claim_of", "trader_0") == claim
        assert market.view("pool.claims") == claim
        assert market.system.market.solvency().claims == claim


def test_reduce_turns_what_the_pool_cannot_pay_into_a_claim() -> None:
    with BothForms() as market:
        winner, _ = with_rich_loser(market)
        margin = market.system.market.position(winner).margin
        market.does("trader_0", "market.reduce", winner, WAD * 9 // 10, 0)
        value, fee, claim = (fields(market, "PositionReduced")[i] for i in (4, 5, 6))
        assert claim == value - 6_000 * market.unit > 0
        assert market.system.market.position(winner).margin == margin + value - claim - fee
        assert market.view("pool.claim_of", "trader_0") == claim


def test_close_takes_exactly_the_acceptable_price(market: BothForms) -> None:
    for side in (LONG, SHORT):
        position_id = market.open(side=side)
        fill_price = market.exit_terms(side, WAD, WAD).price
        past = fill_price + (-1 if side else 1)
        market.refuses(errors.PRICE_PASSED, "trader_0", "market.close", position_id, past)
        market.does("trader_0", "market.close", position_id, fill_price)


def test_close_refuses_a_liquidatable_position(market: BothForms) -> None:
    position_id = market.open(margin=250)
    bring_to_the_edge(market, position_id)  # no price arrives, so nobody swept it
    market.refuses(errors.LIQUIDATABLE, "trader_0", "market.close", position_id, 0)


def test_close_refuses_a_stale_price(market: BothForms) -> None:
    position_id = market.open()
    market.now += MAX_AGE
    assert not liquidatable(market, position_id)
    market.now += 1
    market.refuses(errors.STALE_PRICE, "trader_0", "market.close", position_id, 0)


# Position ids


CALLS = {
    "increase": (WAD, 0, ANY),
    "reduce": (WAD // 2, 0),
    "close": (0,),
    "add_margin": (1,),
    "remove_margin": (1,),
    "liquidate": (),
    "settle": (),
}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("liquidate", "settle")])
def test_a_foreign_position_is_refused(market: BothForms, name: str) -> None:
    position_id = market.open()
    for role in ("trader_1", "attacker", "owner_0"):
        market.refuses(errors.NOT_OWNER, role, f"market.{name}", position_id, *CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_an_unknown_position_is_refused(market: BothForms, name: str) -> None:
    market.open()
    for position_id in (0, 2, 2**40, 2**64, 2**256 - 1):
        args = (position_id, *CALLS[name])
        market.refuses(errors.NO_POSITION, "trader_0", f"market.{name}", *args)


@pytest.mark.parametrize("name", CALLS)
def test_a_closed_position_is_refused(market: BothForms, name: str) -> None:
    position_id = market.open()
    market.does("trader_0", "market.close", position_id, 0)
    args = (position_id, *CALLS[name])
    market.refuses(errors.POSITION_CLOSED, "trader_0", f"market.{name}", *args)


# add_margin, remove_margin


def test_add_margin_needs_no_price(market: BothForms) -> None:
    position_id = market.open()
    margin = market.system.market.position(position_id).margin
    market.now += 10 * MAX_AGE
    market.does("trader_0", "market.add_margin", position_id, 7)
    assert market.system.market.position(position_id).margin == margin + 7


def test_add_margin_refuses_zero(market: BothForms) -> None:
    market.refuses(errors.ZERO_AMOUNT, "trader_0", "market.add_margin", market.open(), 0)


def test_add_margin_refuses_a_sum_that_fits_no_word(market: BothForms) -> None:
    position_id = market.open()
    args = (position_id, MAX_MARGIN)
    market.refuses(errors.AMOUNT_TOO_LARGE, "trader_0", "market.add_margin", *args)


def test_add_margin_refuses_an_allowance_too_low(market: BothForms) -> None:
    position_id = market.open()
    market.does("trader_0", "token.approve", "market", 6)
    market.refuses(errors.ALLOWANCE_TOO_LOW, "trader_0", "market.add_margin", position_id, 7)


def test_add_margin_refuses_a_balance_too_low(market: BothForms) -> None:
    position_id = market.open()
    market.does("trader_0", "token.transfer", "attacker", market.balance("trader_0"))
    market.refuses(errors.BALANCE_TOO_LOW, "trader_0", "market.add_margin", position_id, 7)


def test_remove_margin_stops_at_the_initial_requirement(market: BothForms) -> None:
    position_id = market.open()
    position = market.system.market.position(position_id)
    entry_loss = -(-(position.entry_price - PRICE) // 10**12)
    free = position.margin - entry_loss - INITIAL * market.unit
    args = (position_id, free + 1)
    market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.remove_margin", *args)
    before = market.balance("trader_0")
    market.does("trader_0", "market.remove_margin", position_id, free)
    assert market.balance("trader_0") == before + free


def test_remove_margin_counts_the_position_itself_into_the_crowd() -> None:
    with BothForms(crowding_lower=0, crowding_upper=WAD) as market:
        market.start(liquidity=6_000)
        position_id = market.open(margin=6_000)
        position = market.system.market.position(position_id)
        entry_loss = -(-(position.entry_price - PRICE) // 10**12)
        # Half of the pool is reserved for this position: half of what 2.1 % lacks to the whole.
        initial = (210 * market.unit + 10_000 * market.unit) // 2
        free = position.margin - entry_loss - initial
        args = (position_id, free + 1)
        market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.remove_margin", *args)
        market.does("trader_0", "market.remove_margin", position_id, free)


def test_remove_margin_does_not_count_unrealised_profit(market: BothForms) -> None:
    position_id = market.open(margin=300)
    market.publish(PRICE + 1_000 * WAD)
    args = (position_id, 200 * market.unit)
    market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.remove_margin", *args)


def test_remove_margin_refuses_all_of_it(market: BothForms) -> None:
    position_id = market.open()
    margin = market.system.market.position(position_id).margin
    for amount in (margin, margin + 1, MAX_MARGIN):
        args = (position_id, amount)
        market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.remove_margin", *args)


def test_remove_margin_refuses_zero(market: BothForms) -> None:
    market.refuses(errors.ZERO_AMOUNT, "trader_0", "market.remove_margin", market.open(), 0)


def test_remove_margin_refuses_a_stale_price(market: BothForms) -> None:
    position_id = market.open()
    market.now += MAX_AGE + 1
    market.refuses(errors.STALE_PRICE, "trader_0", "market.remove_margin", position_id, 1)


# update_price, liquidate, continue_backlog, accrue


def test_a_price_liquidates_in_the_transaction_that_brings_it(market: BothForms) -> None:
    position_id = market.open(margin=300)
    assert market.publish(PRICE - 244 * WAD) == 1
    assert names(market)[-1] == "PriceUpdated"
    found = fields(market, "PositionLiquidated")
    assert found[:2] == (position_id, ADDRESSES["trader_0"])
    returned, reward = found[7], found[6]
    assert returned > 0
    assert market.view("market.credit_of", "trader_0") == returned
    assert market.view("market.credit_of", "keeper_0") == reward
    market.refuses(errors.POSITION_CLOSED, "trader_0", "market.close", position_id, 0)


def test_a_liquidation_is_partial_when_the_rest_then_meets_its_requirement(
    market: BothForms,
) -> None:
    position_id = market.open(size=5 * WAD, margin=2_500)
    assert market.publish(PRICE - 330 * WAD) == 1
    closed, penalty, returned = (fields(market, "PositionLiquidated")[i] for i in (2, 5, 7))
    assert 0 < closed < 5 * WAD
    assert penalty > 0
    assert returned == 0
    assert market.system.market.position(position_id).size == 5 * WAD - closed
    assert not liquidatable(market, position_id)


def test_bad_debt_takes_the_insurance_first(market: BothForms) -> None:
    market.does("trader_1", "market.fund_insurance", 100 * market.unit)
    market.open(margin=300)
    market.publish(PRICE - 1_000 * WAD)
    found = fields(market, "PositionLiquidated")
    penalty, returned, insurance_used, bad_debt = found[5], found[7], found[8], found[9]
    assert (penalty, returned, insurance_used) == (0, 0, 100 * market.unit)
    assert bad_debt > 0
    assert market.view("market.bad_debt") == bad_debt
    assert market.system.market.solvency().insurance == 0


def test_update_price_may_be_called_by_anyone_and_again(market: BothForms) -> None:
    market.open()
    assert market.does("attacker", "market.update_price", "attacker") == 0
    assert market.does("attacker", "market.update_price", "attacker") == 0
    assert fields(market, "PriceUpdated")[0] == PRICE


def test_update_price_liquidates_what_funding_made_due(market: BothForms) -> None:
    position_id = market.open(margin=250)
    bring_to_the_edge(market, position_id)
    assert market.does("keeper_0", "market.update_price", "keeper_1") == 1
    assert market.view("market.credit_of", "keeper_1") > 0
    assert market.view("market.credit_of", "keeper_0") == 0


def test_liquidate_credits_the_caller(market: BothForms) -> None:
    position_id = market.open(margin=250)
    bring_to_the_edge(market, position_id)
    market.does("keeper_0", "market.liquidate", position_id)
    reward = fields(market, "PositionLiquidated")[6]
    assert market.view("market.credit_of", "keeper_0") == reward > 0


def test_liquidate_refuses_a_healthy_position(market: BothForms) -> None:
    position_id = market.open(margin=250)
    market.refuses(errors.HEALTHY, "keeper_0", "market.liquidate", position_id)
    bring_to_the_edge(market, position_id)
    market.now -= 1
    market.refuses(errors.HEALTHY, "keeper_0", "market.liquidate", position_id)
    market.now += 1
    market.does("keeper_0", "market.liquidate", position_id)


def test_liquidate_refuses_a_stale_price(market: BothForms) -> None:
    position_id = market.open()
    market.now += MAX_AGE + 1
    market.refuses(errors.STALE_PRICE, "keeper_0", "market.liquidate", position_id)


def crowd(market: BothForms, count: int = 35) -> list[int]:
    """Equal longs that fall together, and a backlog of what one call cannot look at."""
    ids = [market.open(f"trader_{i % 8}", size=WAD // 10, margin=30) for i in range(count)]
    assert market.publish(PRICE - 250 * WAD) == 32
    assert fields(market, "BacklogChanged") == (True,)
    return ids


def test_continue_backlog_works_off_what_one_price_left(market: BothForms) -> None:
    crowd(market)
    assert market.does("keeper_0", "market.continue_backlog", 1) == 1
    assert market.does("keeper_0", "market.continue_backlog", 0) == 0
    assert has_backlog(market)
    assert market.does("keeper_1", "market.continue_backlog", 2**256 - 1) == 2
    assert fields(market, "BacklogChanged") == (False,)
    assert market.does("keeper_0", "market.continue_backlog", 32) == 0
    assert market.system.market.solvency().open_positions == 0


def test_a_backlog_refuses_whatever_adds_risk(market: BothForms) -> None:
    healthy = market.open("trader_7", margin=5_000)
    crowd(market)
    opening = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BACKLOG, "trader_7", "market.open", *opening)
    increasing = (healthy, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BACKLOG, "trader_7", "market.increase", *increasing)
    market.refuses(errors.BACKLOG, "trader_7", "market.remove_margin", healthy, 1)
    market.refuses(errors.BACKLOG, "lp_0", "pool.deposit", 1, "lp_0")
    market.refuses(errors.BACKLOG, "lp_0", "pool.mint", 1, "lp_0")
    market.refuses(errors.BACKLOG, "lp_0", "pool.withdraw", 1, "lp_0", "lp_0")
    market.refuses(errors.BACKLOG, "lp_0", "pool.redeem", 1, "lp_0", "lp_0")


def test_a_backlog_lets_a_healthy_position_leave(market: BothForms) -> None:
    healthy = market.open("trader_7", margin=5_000)
    crowd(market)
    market.does("trader_7", "market.add_margin", healthy, 1)
    market.does("trader_7", "market.reduce", healthy, WAD // 2, 0)
    assert market.does("trader_7", "market.close", healthy, 0) > 0


def test_accrue_charges_the_heavier_side_and_the_lighter_receives(market: BothForms) -> None:
    market.open(size=20 * WAD, margin=30_000)
    market.open("trader_1", side=SHORT, size=WAD, margin=1_000)
    market.now += 100
    market.does("attacker", "market.accrue")
    long_index, short_index = market.system.market.marks().funding
    assert long_index > 0 > short_index
    # Every unit pays for the use of the pool, so the two do not add up to zero.
    assert long_index + short_index > 0


# A price that waits for confirmation


def halted() -> BothForms:
    """A position, and a price 20 % higher that the band of 10 % does not let through."""
    market = BothForms(max_jump=10**17)
    market.start()
    market.open(margin=3_000)
    assert market.publish(PRICE * 12 // 10) == 0
    return market


def test_a_price_beyond_the_band_changes_nothing_until_it_is_confirmed() -> None:
    with halted() as market:
        assert names(market) == ["PriceHeld", "PriceUpdated"]
        assert fields(market, "PriceUpdated")[0] == PRICE
        assert market.same_view("market.marks")
        assert market.system.market.marks().price == PRICE
        assert market.system.market.totals().is_halted
        # The same report again confirms nothing.
        market.now += 1
        market.does("keeper_0", "market.update_price", "keeper_0")
        assert market.system.market.totals().is_halted
        market.publish(PRICE * 13 // 10)
        assert "PriceConfirmed" in names(market)
        assert market.system.market.marks().price == PRICE * 13 // 10
        assert market.same_view("market.totals")
        assert not market.system.market.totals().is_halted


def test_a_halt_refuses_whatever_needs_a_price() -> None:
    with halted() as market:
        opening = (LONG, WAD, 1_000 * market.unit, ANY)
        market.refuses(errors.HALTED, "trader_1", "market.open", *opening)
        market.refuses(errors.HALTED, "trader_0", "market.increase", 1, WAD, 0, ANY)
        market.refuses(errors.HALTED, "trader_0", "market.reduce", 1, WAD // 2, 0)
        market.refuses(errors.HALTED, "trader_0", "market.close", 1, 0)
        market.refuses(errors.HALTED, "trader_0", "market.remove_margin", 1, 1)
        market.refuses(errors.HALTED, "keeper_0", "market.liquidate", 1)
        market.refuses(errors.HALTED, "keeper_0", "market.continue_backlog", 1)
        market.refuses(errors.STALE_PRICE, "lp_0", "pool.deposit", 1_000, "lp_0")
        market.refuses(errors.STALE_PRICE, "lp_0", "pool.withdraw", 1_000, "lp_0", "lp_0")


def test_a_halt_lets_margin_be_added_and_accrues() -> None:
    with halted() as market:
        market.does("trader_0", "market.add_margin", 1, 7)
        market.does("attacker", "market.accrue")
        market.does("keeper_0", "market.collect_fees")


def test_a_confirmed_jump_leaves_only_exits_for_a_while() -> None:
    with halted() as market:
        market.publish(PRICE * 12 // 10)
        opening = (LONG, WAD, 1_000 * market.unit, ANY)
        market.refuses(errors.REDUCE_ONLY, "trader_1", "market.open", *opening)
        market.refuses(errors.REDUCE_ONLY, "trader_0", "market.increase", 1, WAD, 0, ANY)
        market.refuses(errors.REDUCE_ONLY, "trader_0", "market.remove_margin", 1, 1)
        market.does("trader_0", "market.reduce", 1, WAD // 2, 0)
        market.does("trader_0", "market.add_margin", 1, 1)
        market.now += market.system.engine.params().cool_down
        market.does("trader_1", "market.open", *opening)
        market.does("trader_0", "market.close", 1, 0)


def test_a_jump_back_needs_no_confirmation_of_the_jump() -> None:
    with halted() as market:
        market.publish(PRICE + WAD)
        assert market.system.market.marks().price == PRICE + WAD
        market.does("trader_0", "market.close", 1, 0)


# What the engine asks of those who add risk


def test_a_restricted_market_leaves_only_exits(market: BothForms) -> None:
    position_id = market.open()
    market.does("guardian_0", "configurator.guardian_restrict", 100)
    opening = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.REDUCE_ONLY, "trader_1", "market.open", *opening)
    market.refuses(errors.REDUCE_ONLY, "trader_0", "market.remove_margin", position_id, 1)
    market.does("trader_0", "market.close", position_id, 0)
    market.now += 99
    market.refuses(errors.REDUCE_ONLY, "trader_1", "market.open", *opening)
    market.now += 1
    market.does("trader_1", "market.open", *opening)


def test_volatility_asks_more_of_whoever_opens_and_nothing_of_whoever_is_in() -> None:
    with BothForms(calm_volatility=10**16, max_volatility_multiplier=2 * WAD) as market:
        market.start()
        position_id = market.open(margin=300)
        market.publish(PRICE + 100 * WAD)
        market.publish(PRICE)
        assert market.increase_terms(LONG, WAD).initial_fraction == 41 * 10**15
        opening = (LONG, WAD, 300 * market.unit, ANY)
        market.refuses(errors.INSUFFICIENT_MARGIN, "trader_1", "market.open", *opening)
        assert not liquidatable(market, position_id)
        market.does("trader_0", "market.close", position_id, 0)


def test_a_full_pool_asks_more_of_whoever_opens() -> None:
    with BothForms(crowding_lower=0, crowding_upper=WAD) as market:
        market.start(liquidity=6_000)
        # Half of the pool would be reserved: half of what is missing to the whole is added.
        fraction = market.increase_terms(LONG, WAD).initial_fraction
        assert fraction == 21 * 10**15 + (WAD - 21 * 10**15) // 2
        opening = (LONG, WAD, 5_000 * market.unit, ANY)
        market.refuses(errors.INSUFFICIENT_MARGIN, "trader_0", "market.open", *opening)
        market.open(margin=5_200)


# Deleveraging


def test_the_most_profitable_are_closed_when_the_traders_profit_outgrows_the_pool() -> None:
    with BothForms(max_profit_share=5 * 10**17) as market:
        market.start(liquidity=20_000)
        kept = market.open()
        taken = market.open("trader_1", size=2 * WAD, margin=4_000)
        margin = market.system.market.position(taken).margin
        assert market.publish(PRICE + 4_000 * WAD) == 0
        found = fields(market, "PositionSettled")
        assert found[:4] == (taken, ADDRESSES["trader_1"], 2 * WAD, PRICE + 4_000 * WAD)
        value, claim, returned, insurance_used, bad_debt, is_deleveraged = found[4:]
        assert 7_990 * market.unit < value < 8_000 * market.unit
        assert (claim, insurance_used, bad_debt, is_deleveraged) == (0, 0, 0, True)
        # No fee, no penalty.
        assert returned == margin + value
        assert market.view("market.credit_of", "trader_1") == returned
        assert market.does("trader_1", "market.withdraw_credit") == returned
        market.does("trader_0", "market.close", kept, 0)


def test_deleveraging_that_runs_out_of_visits_leaves_a_backlog() -> None:
    with BothForms(max_profit_share=2 * 10**17, max_skew=200 * WAD) as market:
        market.start(liquidity=20_000)
        ids = [market.open(f"trader_{i % 8}", size=WAD // 10, margin=30) for i in range(40)]
        assert market.publish(PRICE * 19 // 10) == 0
        settled = [event for event in market.system.chain.events if event.name == "PositionSettled"]
        assert len(settled) == 32
        assert fields(market, "BacklogChanged") == (True,)
        assert has_backlog(market)
        opening = (LONG, WAD, 1_000 * market.unit, ANY)
        market.refuses(errors.BACKLOG, "trader_1", "market.open", *opening)
        assert market.does("keeper_1", "market.continue_backlog", 32) == 0
        assert not has_backlog(market)
        assert market.system.market.totals().open_positions < len(ids) - 32


# Settlement without prices


def test_what_is_left_is_settled_when_prices_have_ended(market: BothForms) -> None:
    winner = market.open(margin=3_000)
    loser = market.open("trader_1", side=SHORT, margin=3_000)
    market.publish(PRICE + 500 * WAD)
    margins = {i: market.system.market.position(i).margin for i in (winner, loser)}
    market.now += SETTLEMENT_DELAY
    market.refuses(errors.NOT_EXPIRED, "attacker", "market.settle", winner)
    market.refuses(errors.STALE_PRICE, "trader_0", "market.close", winner, 0)
    market.now += 1
    for position_id, role, sign in ((winner, "trader_0", 1), (loser, "trader_1", -1)):
        market.does("attacker", "market.settle", position_id)
        value, claim, returned, insurance_used, bad_debt, is_deleveraged = fields(
            market, "PositionSettled"
        )[4:]
        assert value * sign > 0
        assert (claim, insurance_used, bad_debt, is_deleveraged) == (0, 0, 0, False)
        assert returned == margins[position_id] + value
        assert market.does(role, "market.withdraw_credit") == returned
    assert market.system.market.totals().open_positions == 0
    assert market.view("market.credit_of", "attacker") == 0
    # With nothing open the providers need no price.
    market.does("lp_0", "pool.redeem", market.view("pool.maxRedeem", "lp_0"), "lp_0", "lp_0")


def test_a_settlement_uses_the_reserve_and_then_the_pool(market: BothForms) -> None:
    market.does("trader_1", "market.fund_insurance", 10 * market.unit)
    position_id = market.open("trader_2", size=20 * WAD, margin=30_000)
    other = market.open(margin=222)
    market.publish(PRICE - 112 * WAD)  # funding of a week takes the rest and more
    assert not liquidatable(market, other)
    market.now += SETTLEMENT_DELAY + 1
    market.does("keeper_0", "market.settle", other)
    value, claim, returned, insurance_used, bad_debt, _ = fields(market, "PositionSettled")[4:]
    assert value < -222 * market.unit
    assert (claim, returned, insurance_used) == (0, 0, 10 * market.unit)
    assert market.view("market.bad_debt") == bad_debt > 0
    market.does("keeper_0", "market.settle", position_id)


def test_a_market_in_a_halt_can_be_settled_too() -> None:
    with halted() as market:
        market.now += SETTLEMENT_DELAY + 1
        market.does("keeper_0", "market.settle", 1)
        assert fields(market, "PositionSettled")[3] == PRICE
        assert market.does("trader_0", "market.withdraw_credit") > 0


def test_settle_credits_nothing_to_the_caller(market: BothForms) -> None:
    position_id = market.open()
    market.now += SETTLEMENT_DELAY + 1
    market.does("keeper_1", "market.settle", position_id)
    assert market.view("market.credit_of", "keeper_1") == 0


# Books that the tokens do not cover


def test_a_shortage_of_tokens_refuses_whatever_adds_risk(market: BothForms) -> None:
    position_id = market.open(margin=2_000)
    market.does("owner_0", "token.seize", "market", 1)
    opening = (LONG, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BOOKS_BROKEN, "trader_1", "market.open", *opening)
    increasing = (position_id, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BOOKS_BROKEN, "trader_0", "market.increase", *increasing)
    market.refuses(errors.BOOKS_BROKEN, "trader_0", "market.remove_margin", position_id, 1)
    market.does("trader_0", "market.add_margin", position_id, 1)
    market.does("trader_0", "market.reduce", position_id, WAD // 2, 0)
    market.does("trader_0", "market.close", position_id, 0)
    # What was taken is missing for good until somebody gives it.
    market.refuses(errors.BOOKS_BROKEN, "trader_1", "market.open", *opening)
    market.does("attacker", "token.transfer", "market", 1)
    market.does("trader_1", "market.open", *opening)


# Ledgers


def test_withdraw_credit_pays_credit_once(market: BothForms) -> None:
    market.open(margin=300)
    market.publish(PRICE - 244 * WAD)
    credit = market.view("market.credit_of", "trader_0")
    before = market.balance("trader_0")
    assert market.does("trader_0", "market.withdraw_credit") == credit > 0
    assert market.balance("trader_0") == before + credit
    market.refuses(errors.NOTHING_TO_WITHDRAW, "trader_0", "market.withdraw_credit")


def test_withdraw_credit_refuses_without_credit(market: BothForms) -> None:
    market.refuses(errors.NOTHING_TO_WITHDRAW, "attacker", "market.withdraw_credit")


def test_collect_fees_sends_them_to_the_treasury(market: BothForms) -> None:
    market.open()
    fee = fields(market, "PositionIncreased")[5]
    before = market.balance("treasury_0")
    assert market.does("attacker", "market.collect_fees") == fee
    assert market.balance("treasury_0") == before + fee
    assert market.does("attacker", "market.collect_fees") == 0


def test_collect_fees_follows_the_treasury_of_the_factory(market: BothForms) -> None:
    market.open()
    market.does("owner_0", "factory.set_treasury", "treasury_1")
    before = market.balance("treasury_1")
    fee = market.does("attacker", "market.collect_fees")
    assert market.balance("treasury_1") == before + fee > before


def test_fund_insurance_adds_to_the_reserve(market: BothForms) -> None:
    market.does("trader_0", "market.fund_insurance", 5)
    assert fields(market, "InsuranceFunded") == (ADDRESSES["trader_0"], 5)
    assert market.system.market.solvency().insurance == 5


def test_fund_insurance_refuses_zero_and_too_much(market: BothForms) -> None:
    market.refuses(errors.ZERO_AMOUNT, "trader_0", "market.fund_insurance", 0)
    market.refuses(errors.AMOUNT_TOO_LARGE, "trader_0", "market.fund_insurance", MAX_MARGIN + 1)
    market.does("trader_0", "token.approve", "market", 4)
    market.refuses(errors.ALLOWANCE_TOO_LOW, "trader_0", "market.fund_insurance", 5)
    market.refuses(errors.BALANCE_TOO_LOW, "trader_1", "market.fund_insurance", MAX_MARGIN)


# Views


def test_position_and_health_refuse_unknown_and_closed_ids(market: BothForms) -> None:
    position_id = market.open()
    market.does("trader_0", "market.close", position_id, 0)
    for name in ("position", "health"):
        market.view_refuses(errors.NO_POSITION, f"market.{name}", 0)
        market.view_refuses(errors.NO_POSITION, f"market.{name}", 2**256 - 1)
        market.view_refuses(errors.POSITION_CLOSED, f"market.{name}", position_id)

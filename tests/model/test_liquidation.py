"""Prices liquidate: in part, in full, with insurance, with bad debt, in bounded bites."""

from typing import Any

import pytest
from market_world import FRICTIONLESS, RISK, ROLE, World, reason_of, wad
from refusals import with_liquidatable

from python_model.modules import errors, trigger_key
from python_model.modules.constants import LONG, MAX_VISITS, SHORT, TIERS


def plain(**changes: Any) -> World:
    """A market in which only prices move money."""
    return World(**FRICTIONLESS | changes)


def fields(world: World) -> dict[str, int]:
    """The last transaction's only liquidation."""
    names = (
        *("position_id", "owner", "size", "price", "value"),
        *("penalty", "reward", "returned", "insurance_used", "bad_debt"),
    )
    return dict(zip(names, world.event("PositionLiquidated"), strict=True))


def test_update_stores_price_time_and_epoch() -> None:
    world = World()
    before = world.market.marks()
    world.publish(101, after=30)
    marks = world.market.marks()
    assert (marks.price, marks.price_time) == (wad(101), world.chain.timestamp)
    assert marks.epoch > before.epoch
    price, price_time, _, _, liquidated = world.event("PriceUpdated")
    assert (price, price_time, liquidated) == (wad(101), world.chain.timestamp, 0)


def test_update_without_a_newer_price_still_accrues() -> None:
    world = World()
    world.open(LONG, 100, 2_000)
    before = world.market._load_marks().funding
    world.wait(60)
    world.update_price()
    after = world.market._load_marks()
    assert after.funding[LONG] > before[LONG]
    assert (after.price, after.accrued_at) == (wad(100), world.chain.timestamp)


def test_update_twice_in_one_block_changes_nothing_more() -> None:
    world = World()
    world.open(LONG, 100, 2_000)
    world.publish(101)
    before = world.state()
    assert world.update_price() == 0
    assert world.state() == before


@pytest.mark.parametrize(("side", "healthy", "due"), [(LONG, 97, 96), (SHORT, 102, 104)])
def test_price_liquidates_in_the_same_transaction(side: int, healthy: int, due: int) -> None:
    world = plain()
    position_id = world.open(side, 10, "50.1")
    assert world.publish(healthy) == 0
    assert world.publish(due) == 1
    assert not world.is_open(position_id) or world.position(position_id).size < wad(10)
    world.assert_books_balance()


@pytest.mark.parametrize(("margin", "liquidated"), [("60.8", 0), ("60.799999", 1)])
def test_equity_at_the_requirement_is_healthy_a_unit_less_is_not(
    margin: str, liquidated: int
) -> None:
    """A short of 10 at 100: at 104 it has lost 40 and needs 2 % of 1040, which is 20.8."""
    world = plain()
    position_id = world.open_at_mark(SHORT, 10, margin)
    assert world.publish(104) == liquidated
    if not liquidated:
        assert world.market.health(position_id) == (world.tokens("20.8"), world.tokens("20.8"))


def test_partial_liquidation_leaves_a_position_at_its_initial_requirement() -> None:
    world = plain()
    position_id = world.open(LONG, 10, 55)
    world.publish("96.2")
    seen = fields(world)
    position = world.position(position_id)
    assert 0 < position.size < wad(10)
    assert seen["size"] == wad(10) - position.size
    assert (seen["returned"], seen["insurance_used"], seen["bad_debt"]) == (0, 0, 0)
    equity = world.equity(position_id)
    initial = world.market._fraction_of_notional_up(
        position.size, wad("96.2"), RISK.initial_fractions[0]
    )
    assert -2 <= equity - initial <= 2
    assert not world.is_liquidatable(position_id)
    world.assert_books_balance()


def test_partial_liquidation_keeps_owner_entry_and_files_anew() -> None:
    world = plain()
    position_id = world.open(LONG, 10, 55)
    before = world.position(position_id)
    ring = world.market._ring_of(before)
    world.publish("96.2")
    after = world.position(position_id)
    assert (after.owner, after.entry_price) == (before.owner, before.entry_price)
    assert world.market._ring_of(after) != ring
    assert world.market._ring_heads[ring] == 0
    assert world.market._ring_heads[world.market._ring_of(after)] == position_id


def test_rest_below_the_minimum_is_liquidated_in_full() -> None:
    world = plain(min_size=wad(9))
    position_id = world.open(LONG, 10, 55)
    world.publish("96.2")
    assert fields(world)["size"] == wad(10)
    assert not world.is_open(position_id)


def test_full_liquidation_takes_the_penalty_and_returns_the_rest() -> None:
    """Equity covers the penalty; the owner is credited what remains and withdraws it."""
    world = plain(min_size=wad(9))
    world.open(LONG, 10, 55)
    world.publish("96.2")
    seen = fields(world)
    assert seen["penalty"] == world.tokens("9.62")
    assert seen["reward"] == seen["penalty"] // 10
    assert seen["returned"] == world.tokens(55) + seen["value"] - seen["penalty"] > 0
    assert world.market.credit_of[ROLE["trader"]] == seen["returned"]
    assert world.market.credit_of[ROLE["publisher"]] == seen["reward"]
    assert world.market.solvency().insurance == seen["penalty"] - seen["reward"]
    assert world.market.withdraw_credit(sender=ROLE["trader"]) == seen["returned"]
    assert world.spent("trader") == world.tokens(55) - seen["returned"]
    world.assert_books_balance()


def test_penalty_is_no_more_than_the_equity() -> None:
    world = plain()
    world.open(LONG, 10, 55)
    world.publish(95)
    seen = fields(world)
    assert seen["returned"] == 0
    assert seen["penalty"] == world.tokens(55) + seen["value"] < world.tokens("9.5")


def test_liquidatable_position_in_profit_is_closed_in_full_and_its_profit_paid() -> None:
    """A short takes its margin out at 30 and is caught at 99.7 by the requirement, still above its
    entry: a part could be closed, but its profit would first have to be paid by the pool."""
    world = plain()
    position_id = world.open_at_mark(SHORT, 10, 500)
    world.publish(30)
    world.remove_margin(position_id, 485)
    world.publish(55)
    cash = world.pool.cash()
    world.publish("99.7")
    seen = fields(world)
    assert (seen["position_id"], seen["size"]) == (position_id, wad(10))
    assert seen["value"] == cash - world.pool.cash() == world.tokens(3)
    assert seen["penalty"] == world.tokens("9.97")
    assert seen["returned"] == world.tokens("8.03")
    assert not world.is_open(position_id)
    world.assert_books_balance()


def test_shortfall_without_insurance_is_bad_debt() -> None:
    world = plain()
    cash = world.pool.cash()
    world.open(LONG, 10, 55)
    world.publish(90)
    seen = fields(world)
    assert (seen["penalty"], seen["reward"], seen["insurance_used"]) == (0, 0, 0)
    assert seen["bad_debt"] == -seen["value"] - world.tokens(55)
    assert world.market.bad_debt == seen["bad_debt"] > 0
    assert world.pool.cash() - cash == world.tokens(55)
    world.assert_books_balance()


@pytest.mark.parametrize(("fund", "used", "bad_debt"), [(30, 30, 15), (45, 45, 0), (90, 45, 0)])
def test_insurance_covers_first(fund: int, used: int, bad_debt: int) -> None:
    world = plain()
    world.market.fund_insurance(world.tokens(fund), sender=ROLE["lp"])
    world.open_at_mark(LONG, 10, 55)
    cash = world.pool.cash()
    world.publish(90)
    seen = fields(world)
    assert seen["insurance_used"] == world.tokens(used)
    assert seen["bad_debt"] == world.market.bad_debt == world.tokens(bad_debt)
    assert world.market.solvency().insurance == world.tokens(fund - used)
    assert world.pool.cash() - cash == world.tokens(55 + used)
    world.assert_books_balance()


def test_reward_goes_to_whom_the_caller_names() -> None:
    world, position_id = with_liquidatable()
    assert world.market.update_price(ROLE["other_lp"], sender=ROLE["keeper"]) == 1
    seen = fields(world)
    assert seen["position_id"] == position_id
    assert world.market.credit_of[ROLE["other_lp"]] == seen["reward"] > 0
    assert world.market.credit_of[ROLE["keeper"]] == 0


def test_liquidate_by_id_rewards_the_caller() -> None:
    world, position_id = with_liquidatable()
    world.market.liquidate(position_id, sender=ROLE["keeper"])
    seen = fields(world)
    assert seen["position_id"] == position_id
    assert world.market.credit_of[ROLE["keeper"]] == seen["reward"] > 0
    world.assert_books_balance()


# Work is bounded


def crowd(count: int, margin: str = "5.1") -> World:
    """That many equal longs: one ring."""
    world = plain()
    for _ in range(count):
        world.open(LONG, 1, margin, by="other_trader")
    return world


def test_one_call_visits_no_more_than_its_bound() -> None:
    world = crowd(MAX_VISITS + 8)
    assert world.publish(90) == MAX_VISITS
    assert world.market.totals().has_backlog
    assert world.event("BacklogChanged") == (True,)
    assert len(world.open_ids()) == 8


def test_backlog_is_worked_off_by_anyone() -> None:
    world = crowd(MAX_VISITS + 8)
    world.publish(90)
    assert world.market.continue_backlog(5, sender=ROLE["attacker"]) == 5
    assert world.market.totals().has_backlog
    assert world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"]) == 3
    assert not world.market.totals().has_backlog
    assert world.event("BacklogChanged") == (False,)
    assert world.open_ids() == []
    world.assert_books_balance()


def test_exactly_the_bound_leaves_no_backlog() -> None:
    world = crowd(MAX_VISITS)
    assert world.publish(90) == MAX_VISITS
    assert not world.market.totals().has_backlog


def test_continue_visits_no_more_than_the_bound_whatever_is_asked() -> None:
    world = crowd(3 * MAX_VISITS)
    world.publish(90)
    assert world.market.continue_backlog(2**255, sender=ROLE["keeper"]) == MAX_VISITS
    assert world.market.totals().has_backlog


def test_continue_without_backlog_does_no_harm() -> None:
    world = crowd(3)
    world.publish(101)
    before = world.state()
    assert world.market.continue_backlog(32, sender=ROLE["keeper"]) == 0
    assert world.state() == before


def test_backlog_refuses_what_adds_risk_and_allows_the_rest() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    for _ in range(40):
        world.open(LONG, 1, "5.5", by="other_trader")
    world.publish(95)
    assert world.market.totals().has_backlog
    trader, market = ROLE["trader"], world.market
    assert reason_of(world.open, SHORT, 10, 200) == errors.BACKLOG
    assert reason_of(market.remove_margin, position_id, 1, sender=trader) == errors.BACKLOG
    world.add_margin(position_id, 1)
    world.reduce(position_id, 1)
    world.close(position_id)


def test_no_backlog_remains_when_liquidated_by_id() -> None:
    world = crowd(MAX_VISITS + 2)
    world.publish(90)
    for position_id in world.open_ids():
        world.market.liquidate(position_id, sender=ROLE["keeper"])
    assert world.open_ids() == []
    assert world.market.continue_backlog(1, sender=ROLE["keeper"]) == 0
    assert not world.market.totals().has_backlog


def visits(world: World) -> list[int]:
    """From now on, the id of each position that the market itself looks at."""
    world.chain.seen = None
    seen: list[int] = []
    market = world.market
    load = market._load_position

    def watched(position_id: int) -> Any:
        seen.append(position_id)
        return load(position_id)

    market.__dict__["_load_position"] = watched
    return seen


def crowded_ring(count: int) -> World:
    """Longs in one ring, all healthy at a price at which the ring is due."""
    world = plain()
    for _ in range(count):
        world.open(LONG, 1, "5.1", by="other_trader")
    rings = {world.market._ring_of(world.position(number)) for number in world.open_ids()}
    assert len(rings) == 1
    return world


def lowest_healthy_price(world: World, ids: list[int]) -> int:
    """The lowest price at which none of these longs is liquidatable."""
    low, high = wad(90), wad(100)
    marks = world.market.marks()
    while high - low > 1:
        marks.price = (low + high) // 2
        if any(world.market._is_liquidatable(world.position(number), marks) for number in ids):
            low = marks.price
        else:
            high = marks.price
    return high


@pytest.mark.parametrize("count", [2, 10, MAX_VISITS - 1])
def test_healthy_positions_of_a_crowded_ring_are_each_seen_once(count: int) -> None:
    world = crowded_ring(count)
    price = lowest_healthy_price(world, world.open_ids())
    seen = visits(world)
    world.wait(1)
    assert world.publish_wad(price) == 0
    # Once round, newest first, and the first again, which shows that all have been seen.
    assert seen == [*range(count, 0, -1), count]
    assert not world.market.totals().has_backlog
    assert len(world.open_ids()) == count


def test_a_crowd_larger_than_the_bound_is_seen_once_over_several_calls() -> None:
    count = 2 * MAX_VISITS + 5
    world = crowded_ring(count)
    price = lowest_healthy_price(world, world.open_ids())
    seen = visits(world)
    world.wait(1)
    world.publish_wad(price)
    calls = 1
    while world.market.totals().has_backlog:
        world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
        calls += 1
    assert calls == 3
    assert seen == [*range(count, 0, -1), count]


def test_liquidatable_position_hidden_in_a_crowd_is_found() -> None:
    """One of the ring has ten units less margin: it goes, its neighbours stay."""
    world = crowded_ring(5)
    weakest = world.market.open(LONG, wad(1), 5_099_990, 2**255, sender=ROLE["trader"])
    for _ in range(5):
        world.open(LONG, 1, "5.1", by="third_trader")
    rings = {world.market._ring_of(world.position(number)) for number in world.open_ids()}
    assert len(rings) == 1
    price = lowest_healthy_price(world, [n for n in world.open_ids() if n != weakest])
    world.wait(1)
    assert world.publish_wad(price) == 1
    assert fields(world)["position_id"] == weakest
    assert sum(world.position(number).size for number in world.open_ids()) >= wad(10)


def test_position_filed_anew_counts_as_unseen() -> None:
    """A seen position whose owner adds a unit of margin is first in its ring again; the sweep does
    not take that for having been once round, and finds the liquidatable one at the end."""
    world = plain()
    weakest = world.market.open(LONG, wad(1), 5_099_990, 2**255, sender=ROLE["trader"])
    for _ in range(MAX_VISITS + 3):
        world.open(LONG, 1, "5.1", by="other_trader")
    newest = world.market._position_count
    price = lowest_healthy_price(world, [n for n in world.open_ids() if n != weakest])
    world.wait(1)
    assert world.publish_wad(price) == 0
    assert world.market.totals().has_backlog
    ring = world.market._ring_of(world.position(newest))
    world.market.add_margin(newest, 1, sender=ROLE["other_trader"])
    assert world.market._ring_of(world.position(newest)) == ring
    assert world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"]) == 1
    assert fields(world)["position_id"] == weakest


def test_second_price_in_one_block_judges_everyone_again() -> None:
    """What was seen healthy at the first price is seen again at the second, though no time passed
    and no funding accrued."""
    world = crowded_ring(3)
    price = lowest_healthy_price(world, world.open_ids())
    world.wait(10)
    publish, now = world.feed.publish, world.chain.timestamp
    assert publish(price, now - 1, sender=ROLE["publisher"]) == 0
    assert publish(price - wad("0.001"), now, sender=ROLE["publisher"]) == 3


@pytest.mark.parametrize(("above", "visits_made"), [(-1, 0), (0, 0), (1, 2)])
def test_ring_is_due_when_its_highest_key_is_above_the_threshold(
    above: int, visits_made: int
) -> None:
    """Equality is not due: a key at the threshold is healthy. If due, it is looked at to judge the
    position, and again to see that the ring has been gone round."""
    world = plain()
    position_id = world.open(LONG, 1, "5.1")
    market = world.market
    bucket = market._ring_of(world.position(position_id)) & (2**24 - 1)
    highest = trigger_key._highest_key(bucket)
    marks = market.marks()
    fraction = RISK.maintenance_fractions[0]
    without_funding = trigger_key._threshold(LONG, marks.price, fraction, 0)
    marks.funding[LONG] = without_funding - highest + above
    marks.epoch += 1
    assert world.chain.probe(lambda: market._sweep(marks, MAX_VISITS)).visits == visits_made


def test_worst_goes_first() -> None:
    world = plain()
    margins = ("5.1", "5.9", "5.5", "5.7", "5.3")
    ids = [world.open(LONG, 1, margin) for margin in margins]
    world.publish(90)
    order = [event.fields[0] for event in world.chain.events if event.name == "PositionLiquidated"]
    assert order == [ids[0], ids[4], ids[2], ids[3], ids[1]]


def test_every_side_and_tier_is_swept() -> None:
    world = World(cash=10**8, **FRICTIONLESS)
    rows = [(500, 3_000), (5_000, 60_000), (20_000, 500_000)]
    for side in (LONG, SHORT):
        for size, margin in rows:
            world.open(side, size, margin)
    lists = [world.market._worst_ring(list_id) for list_id in range(2 * TIERS)]
    assert [ring > 0 for ring in lists] == [True, True, True, False] * 2
    world.publish(70)
    assert {world.position(number).side for number in world.open_ids()} == {SHORT}
    world.publish(140)
    assert world.open_ids() == []
    assert all(world.market._worst_ring(list_id) == 0 for list_id in range(2 * TIERS))

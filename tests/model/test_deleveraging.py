"""Profit that outgrows the pool is taken from those who have the most of it, and no further.

The watched chain checks order, need and completeness (I-13) after every transaction here.
"""

from typing import Any

import pytest
from market_world import FRICTIONLESS, ROLE, World, reason_of, tiers, wad

from python_model.modules import errors
from python_model.modules.constants import LONG, MAX_VISITS, SHORT

ROOMY = tiers((100_000, "0.1", "0.05"))
TRADERS = ("trader", "other_trader", "third_trader")


def small_pool(cash: int = 1_000, **changes: Any) -> World:
    """Only prices move money, and the pool can pay little of what it may come to owe."""
    return World(cash=cash, **FRICTIONLESS | ROOMY | {"reserve_fraction": 1} | changes)


def settled(world: World) -> list[dict[str, Any]]:
    """The last transaction's settlements, in order."""
    names = (
        *("position_id", "owner", "size", "price", "value"),
        *("claim", "returned", "insurance_used", "bad_debt", "is_deleveraged"),
    )
    return [
        dict(zip(names, event.fields, strict=True))
        for event in world.chain.events
        if event.name == "PositionSettled"
    ]


def gone(world: World) -> list[int]:
    return [fields["position_id"] for fields in settled(world)]


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_a_profit_of_exactly_the_share_is_left_alone_a_unit_more_is_not(side: int) -> None:
    """100 units and 500 of cash that may be owed: a move of 5 is the most."""
    world = small_pool(max_profit_share=wad("0.5"))
    position_id = world.open_at_mark(side, 100, 2_000)
    for number in world.open_ids():
        if number != position_id:
            world.close(number, by="other_trader")
    move = wad(5) if side == LONG else -wad(5)
    world.wait(1)
    world.publish_wad(wad(100) + move)
    assert world.market.solvency().net_trader_profit == world.tokens(500)
    assert gone(world) == []
    world.wait(1)
    world.publish_wad(wad(100) + move + (10**10 if side == LONG else -(10**10)))
    assert gone(world) == [position_id]


def test_a_deleveraged_position_gets_margin_and_profit_at_the_price_itself() -> None:
    """No skew, no fee, no penalty: what a liquidation takes is not taken."""
    world = small_pool(max_profit_share=wad("0.2"))
    position_id = world.open_at_mark(LONG, 100, 2_000)
    for number in world.open_ids():
        if number != position_id:
            world.close(number, by="other_trader")
    cash = world.pool.cash()
    world.publish(105)
    (fields,) = settled(world)
    assert fields == {
        "position_id": position_id,
        "owner": ROLE["trader"],
        "size": wad(100),
        "price": wad(105),
        "value": world.tokens(500),
        "claim": 0,
        "returned": world.tokens(2_500),
        "insurance_used": 0,
        "bad_debt": 0,
        "is_deleveraged": True,
    }
    assert world.pool.cash() == cash - world.tokens(500)
    assert world.market.withdraw_credit(sender=ROLE["trader"]) == world.tokens(2_500)
    world.assert_books_balance()


def test_the_most_profitable_go_first_and_the_last_is_the_one_needed() -> None:
    """Equal sizes and margins, entries at 100, 98, ... : the last and lowest has most per unit.

    At 105 the profits are 500, 700, 900, 1100 and 1300, half of 7000 may be owed: what has to go is
    twice what is too much, 2000, since what is paid is cash no longer."""
    world = small_pool(100_000, max_profit_share=wad("0.5"))
    ids = {}
    for price in (100, 98, 96, 94, 92):
        world.publish(price)
        world.wait(61)  # a cool-down, where the falls have cost the pool its bound
        ids[price] = world.open(LONG, 100, 5_000)
    leave_cash(world, 7_000)
    world.publish(105)
    assert gone(world) == [ids[92], ids[94]]
    values = [fields["value"] for fields in settled(world)]
    assert [round(world.amount(value)) for value in values] == [1_300, 1_100]
    assert world.pool.cash() == world.tokens(7_000) - sum(values)
    assert world.pool.claims == 0


def leave_cash(world: World, amount: int) -> None:
    """Providers withdraw all but this."""
    lp = ROLE["lp"]
    world.pool.withdraw(world.pool.cash() - world.tokens(amount), lp, lp, sender=lp)


@pytest.mark.parametrize("count", range(1, 7))
def test_overshoot_is_less_than_one_position(count: int) -> None:
    """Whatever the sizes: with the last one back the profit would be too large."""
    world = small_pool(20_000, max_profit_share=wad("0.5"))
    for number in range(count):
        world.open(LONG, 40 + 17 * number, 5_000, by=TRADERS[number % 3])
    leave_cash(world, 900 * count)
    world.publish(112)
    assert gone(world)
    assert not world.market.totals().has_backlog
    profit = world.market.solvency().net_trader_profit
    free = world.pool.cash() - min(world.pool.cash(), world.pool.claims)
    last = settled(world)[-1]
    paid = last["value"] - last["claim"]
    claims_before = world.pool.claims - last["claim"]
    free_before = max(world.pool.cash() + paid - claims_before, 0)
    assert profit <= free // 2
    assert profit + last["value"] + 1 > free_before // 2


def test_losers_are_never_deleveraged_and_their_losses_count() -> None:
    """A loss elsewhere is money the pool will have: net profit decides, not gross."""
    world = small_pool()
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 95, 4_000, by="other_trader")
    world.publish(115)  # 1500 against 1425
    assert gone(world) == []
    world.close(loser, by="other_trader")
    assert world.pool.cash() > world.tokens(1_000)
    world.publish(140)  # 4000 against 2425 of cash
    assert gone(world) == [winner]
    assert settled(world)[0]["claim"] > world.tokens(1_500)
    world.assert_books_balance()


def test_what_the_pool_cannot_pay_is_a_claim_and_margin_is_returned() -> None:
    world = small_pool(100)
    position_id = world.open(LONG, 100, 2_000)
    world.publish(110)
    (fields,) = settled(world)
    assert fields["position_id"] == position_id
    assert fields["claim"] == fields["value"] - world.tokens(100)
    assert fields["returned"] == world.tokens(2_100)
    assert world.pool.claim_of[ROLE["trader"]] == world.pool.claims == fields["claim"]
    assert world.market.credit_of[ROLE["trader"]] == world.tokens(2_100)
    assert world.pool.cash() == 0
    world.assert_books_balance()


def test_liquidations_come_first_and_their_losses_are_counted() -> None:
    """The shorts ruined by the same price pay for part of the longs' profit."""
    world = small_pool(500)
    winners = [world.open(LONG, 50, 2_000, by=name) for name in TRADERS[:2]]
    world.open(SHORT, 100, 1_005, by="third_trader")
    world.publish(108)
    assert world.event_names().count("PositionLiquidated") == 1
    assert gone(world) == []
    world.publish(120)
    assert set(gone(world)) <= set(winners)
    world.assert_books_balance()


def test_liquidation_of_one_position_by_id_does_not_deleverage() -> None:
    """It records what it did; whoever brings a price or continues works the rest off."""
    world = small_pool(max_profit_share=wad("0.2"), max_price_age=86_400)
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 100, 1_100, by="other_trader")
    world.publish(104)
    assert gone(world) == []
    world.close(loser, by="other_trader")
    third = world.open(SHORT, 90, 20_000, by="third_trader")
    assert reason_of(world.market.liquidate, third, sender=ROLE["keeper"]) == errors.HEALTHY
    assert world.is_open(winner)


# Dust: positions without profit whose margin puts them before the winners


def dust(world: World, count: int, margins: tuple[int, ...], by: str = "third_trader") -> list[int]:
    """Shorts of the least size with far more margin than they need."""
    return [
        world.open(SHORT, "0.1", margins[number % len(margins)], by=by) for number in range(count)
    ]


def visits(world: World) -> list[int]:
    """From now on, each position that deleveraging visits, as the engine names it."""
    world.chain.seen = None
    seen: list[int] = []
    engine = world.engine
    choose = engine.choose_deleveraged

    def watched(*args: Any, **kwargs: Any) -> tuple[list[int], bool]:
        visited, has_backlog = choose(*args, **kwargs)
        seen.extend(visit >> 1 for visit in visited)
        return visited, has_backlog

    engine.__dict__["choose_deleveraged"] = watched
    return seen


@pytest.mark.parametrize(
    "margins",
    [(20,), tuple(range(20, 120)), tuple(2**power for power in range(5, 25))],
    ids=["one ring", "many rings", "many scales"],
)
@pytest.mark.parametrize("count", [MAX_VISITS - 1, MAX_VISITS, 2 * MAX_VISITS + 3, 150])
def test_dust_delays_deleveraging_by_one_visit_each_and_no_more(
    count: int, margins: tuple[int, ...]
) -> None:
    world = small_pool(100)
    filler = dust(world, count, margins)
    winner = world.open(LONG, 100, 1_100)
    seen = visits(world)
    world.publish(110)
    calls = 1
    while world.market.totals().has_backlog:
        assert world.is_open(winner)
        assert reason_of(world.open, LONG, 1, 50) == errors.BACKLOG
        world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
        calls += 1
        assert calls <= count // MAX_VISITS + 2
    assert calls == (count + 1 + MAX_VISITS - 1) // MAX_VISITS
    assert not world.is_open(winner)
    assert seen == [*dict.fromkeys(seen)], "visited twice"
    assert set(seen) == {*filler, winner}
    assert all(world.is_open(number) for number in filler)
    world.assert_books_balance()


@pytest.mark.parametrize("bites", [1, 5, 31])
def test_any_bite_gets_on(bites: int) -> None:
    """However little each call is allowed, in one block it resumes where the last one stopped."""
    world = small_pool(100)
    dust(world, 40, (20, 21, 40))
    winner = world.open(LONG, 100, 1_100)
    world.publish(110)
    calls = 0
    while world.market.totals().has_backlog:
        world.market.continue_backlog(bites, sender=ROLE["keeper"])
        calls += 1
        assert calls <= 9 // bites + 1
    assert not world.is_open(winner)


def test_a_later_block_begins_again() -> None:
    """Equities have moved against one another by then: nothing is carried over."""
    world = small_pool(100)
    dust(world, MAX_VISITS + 5, (20,))
    winner = world.open(LONG, 100, 1_100)
    world.publish(110)
    assert world.market.totals().has_backlog
    world.wait(1)
    seen = visits(world)
    world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert (len(seen), world.is_open(winner)) == (MAX_VISITS, True)
    world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert not world.is_open(winner)
    assert not world.market.totals().has_backlog


def test_visits_of_liquidation_and_deleveraging_share_one_bound() -> None:
    world = small_pool(100)
    for _ in range(MAX_VISITS - 2):
        world.open(SHORT, 1, 11, by="other_trader")
    dust(world, 5, (50,))
    winner = world.open(LONG, 200, 2_300)
    seen = visits(world)
    assert world.publish(115) == MAX_VISITS - 2
    assert len(seen) == 2
    assert world.market.totals().has_backlog
    world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert not world.is_open(winner)


def test_a_position_that_gets_margin_meanwhile_is_not_lost() -> None:
    """During a backlog its owner moves the winner before the place the search has reached."""
    world = small_pool(100)
    dust(world, MAX_VISITS + 5, (20,))
    winner = world.open(LONG, 100, 1_100)
    world.publish(110)
    assert world.market.totals().has_backlog
    world.add_margin(winner, 10**6)
    while world.market.totals().has_backlog:
        world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert world.is_open(winner)  # out of the way in this block
    world.wait(1)
    world.update_price()
    assert gone(world) == [winner]


def test_who_would_be_next_may_leave_first() -> None:
    """A backlog does not keep a winner: he closes at his fill price and is paid what there is."""
    world = small_pool(100)
    dust(world, MAX_VISITS + 5, (20,))
    winner = world.open(LONG, 100, 1_100)
    world.publish(110)
    assert world.close(winner) > world.tokens(1_190)
    world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert not world.market.totals().has_backlog
    assert gone(world) == []

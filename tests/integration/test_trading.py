"""Stories of traders, on ape's local chain and on anvil."""

from collections.abc import Callable

import pytest
from story import ANY, PRICE, WAD, Story

from python_model.modules import errors
from python_model.perp_market import SETTLEMENT_DELAY

LONG, SHORT = 0, 1


def test_liquidated_in_the_transaction_that_brings_the_price(any_story: Story) -> None:
    story = any_story
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", LONG, WAD // 20, 15 * story.unit, ANY)
    assert story.position(1).owner == story.people["trader"].address.lower()

    receipt = story.publish(PRICE - 245 * WAD)
    (liquidated,) = story.events(receipt, "PositionLiquidated")
    assert liquidated.position_id == 1
    assert liquidated.owner == story.people["trader"]
    assert liquidated.size == WAD // 20
    assert liquidated.price == PRICE - 245 * WAD
    assert liquidated.value < 0
    assert liquidated.penalty >= liquidated.reward > 0
    assert liquidated.bad_debt == liquidated.insurance_used == 0
    story.refuses(errors.POSITION_CLOSED, "trader", "market.close", 1, 0)

    # What the loss and the penalty left is the trader's, the reward the publisher's.
    before = story.balance("trader")
    story.does("trader", "market.withdraw_credit")
    assert story.balance("trader") - before == liquidated.returned > 0
    story.does("publisher", "market.withdraw_credit")
    assert story.balance("publisher") == liquidated.reward
    assert story.view("pool.cash") == 100_000 * story.unit - liquidated.value
    story.check()


def test_a_profit_is_paid_by_the_pool(any_story: Story) -> None:
    story = any_story
    story.fund("trader", "other_trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    before = story.balance("trader")
    story.does("trader", "market.open", LONG, WAD, 1_000 * story.unit, ANY)
    story.does("other_trader", "market.open", SHORT, WAD, 1_000 * story.unit, 0)
    story.publish(PRICE + 500 * WAD)

    (closed,) = story.events(story.does("trader", "market.close", 1, 0), "PositionClosed")
    assert 499 * story.unit < closed.value < 501 * story.unit
    assert closed.claim == 0
    (lost,) = story.events(story.does("other_trader", "market.close", 2, ANY), "PositionClosed")
    assert lost.value < -499 * story.unit
    assert story.balance("trader") - before == closed.payout - 1_000 * story.unit > 0
    assert story.view("pool.cash") == 100_000 * story.unit - closed.value - lost.value

    (collected,) = story.events(story.does("attacker", "market.collect_fees"), "FeesCollected")
    assert story.balance("treasury") == collected.amount > 0
    story.check()


def test_a_position_lives_through_everything_its_owner_can_do(story: Story) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", SHORT, WAD, 1_000 * story.unit, 0)
    story.does("trader", "market.increase", 1, WAD, 0, 0)
    story.does("trader", "market.add_margin", 1, 100 * story.unit)
    story.does("trader", "market.reduce", 1, WAD // 2, ANY)
    story.does("trader", "market.remove_margin", 1, 10 * story.unit)
    assert story.position(1).size == 3 * WAD // 2
    for refused in ("increase", "reduce", "close", "add_margin", "remove_margin"):
        args = {"increase": (WAD, 0, 0), "reduce": (WAD, ANY), "close": (ANY,)}.get(refused, (1,))
        story.refuses(errors.NOT_OWNER, "attacker", f"market.{refused}", 1, *args)
    story.does("trader", "market.close", 1, ANY)
    assert story.view("market.solvency").open_positions == 0
    story.check()


def test_bad_debt_takes_the_insurance_and_then_the_pool(story: Story) -> None:
    story.fund("trader", "other_trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("other_trader", "market.fund_insurance", 50 * story.unit)
    story.does("other_trader", "market.open", LONG, WAD, 5_000 * story.unit, ANY)
    before = story.position(1)
    story.does("trader", "market.open", LONG, WAD, 300 * story.unit, ANY)
    (liquidated,) = story.events(story.publish(PRICE - 1_000 * WAD), "PositionLiquidated")
    assert liquidated.owner == story.people["trader"]
    assert liquidated.insurance_used == 50 * story.unit
    assert story.view("market.bad_debt") == liquidated.bad_debt > 0
    # Nobody else pays with a position.
    after = story.position(1)
    assert (after.margin, after.size) == (before.margin, before.size)
    assert (after.entry_price, after.entry_funding) == (before.entry_price, before.entry_funding)
    story.check()


def test_keepers_work_off_a_backlog(story: Story) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    for _ in range(36):
        story.does("trader", "market.open", LONG, WAD // 20, 15 * story.unit, ANY)
    receipt = story.publish(PRICE - 245 * WAD)
    assert len(story.events(receipt, "PositionLiquidated")) == 32
    assert [event.has_backlog for event in story.events(receipt, "BacklogChanged")] == [True]
    opening = (LONG, WAD, 1_000 * story.unit, ANY)
    story.refuses(errors.BACKLOG, "trader", "market.open", *opening)
    story.refuses(errors.BACKLOG, "lp", "pool.deposit", 1, "lp")

    first = story.does("keeper", "market.continue_backlog", 2)
    assert len(story.events(first, "PositionLiquidated")) == 2
    last = story.does("other_keeper", "market.continue_backlog", 32)
    assert len(story.events(last, "PositionLiquidated")) == 2
    assert [event.has_backlog for event in story.events(last, "BacklogChanged")] == [False]
    for keeper in ("keeper", "other_keeper"):
        story.does(keeper, "market.withdraw_credit")
    assert story.balance("keeper") == story.balance("other_keeper") > 0
    story.does("trader", "market.open", *opening)
    story.check()


def test_a_jump_waits_for_a_second_price(deploy: Callable[..., Story]) -> None:
    story = deploy(max_jump=10**17)
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", LONG, WAD, 1_000 * story.unit, ANY)
    # A lone price that would ruin the trader is held.
    story.publish(PRICE // 2)
    story.refuses(errors.HALTED, "trader", "market.close", 1, 0)
    story.publish(PRICE - 10 * WAD)
    assert story.position(1).size == WAD
    story.does("trader", "market.close", 1, 0)
    # Two that agree are believed.
    story.later(60)
    story.does("trader", "market.open", LONG, WAD, 1_000 * story.unit, ANY)
    story.publish(PRICE // 2)
    receipt = story.publish(PRICE // 2)
    (liquidated,) = story.events(receipt, "PositionLiquidated")
    assert liquidated.price == PRICE // 2
    story.check()


def test_the_most_profitable_position_is_closed_before_it_empties_the_pool(
    deploy: Callable[..., Story],
) -> None:
    story = deploy(max_profit_share=5 * 10**17)
    story.fund("trader", "other_trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 10_000 * story.unit, "lp")
    story.does("trader", "market.open", LONG, WAD, 1_000 * story.unit, ANY)
    story.does("other_trader", "market.open", LONG, WAD, 2_000 * story.unit, ANY)
    (settled,) = story.events(story.publish(PRICE + 3_000 * WAD), "PositionSettled")
    assert settled.is_deleveraged
    assert settled.owner == story.people["other_trader"]
    assert 2_999 * story.unit < settled.value < 3_001 * story.unit
    before = story.balance("other_trader")
    story.does("other_trader", "market.withdraw_credit")
    assert story.balance("other_trader") - before == settled.returned
    story.does("trader", "market.close", 1, 0)
    story.check()


def test_a_market_without_prices_is_settled_by_anyone(any_story: Story) -> None:
    story = any_story
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", LONG, WAD, 1_000 * story.unit, ANY)
    story.publish(PRICE + 100 * WAD)
    story.refuses(errors.NOT_EXPIRED, "attacker", "market.settle", 1)
    story.later(SETTLEMENT_DELAY + 1)
    story.refuses(errors.STALE_PRICE, "trader", "market.close", 1, 0)
    (settled,) = story.events(story.does("attacker", "market.settle", 1), "PositionSettled")
    assert settled.price == PRICE + 100 * WAD
    before = story.balance("trader")
    story.does("trader", "market.withdraw_credit")
    assert story.balance("trader") - before == settled.returned > 0
    story.does("lp", "pool.redeem", story.view("pool.maxRedeem", "lp"), "lp", "lp")
    assert story.view("pool.cash") <= 1
    story.check()


@pytest.mark.parametrize("function", ["market.open", "pool.deposit"])
def test_a_token_that_credits_less_is_refused_and_nothing_is_lost(
    story: Story, function: str
) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    before = {role: story.balance(role) for role in ("trader", "lp", "market", "pool")}
    story.does("owner", "token.set_fee", 1)
    calls = {
        "market.open": ("trader", (LONG, WAD, 1_000 * story.unit, ANY)),
        "pool.deposit": ("lp", (1_000 * story.unit, "lp")),
    }
    role, args = calls[function]
    story.refuses(errors.CREDITED_LESS, role, function, *args)
    assert {role: story.balance(role) for role in before} == before
    story.does("owner", "token.set_fee", 0)
    story.does(role, function, *args)
    story.check()

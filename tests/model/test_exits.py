"""P5: adding margin is always possible, and a healthy position can leave whenever a price is valid.

In each state of the market: the exit, and what waits for it.
"""

from fractions import Fraction

import pytest
from market_world import FRICTIONLESS, PARAMS, ROLE, World, reason_of, tiers, wad
from refusals import FAST_FUNDING, with_backlog, with_liquidatable

from python_model.modules import errors
from python_model.modules.constants import LONG, SHORT


def test_backlog_does_not_keep_a_healthy_position() -> None:
    world, position_id = with_backlog()
    world.add_margin(position_id, 10)
    world.reduce(position_id, 5)
    assert world.close(position_id) > 0
    world.assert_books_balance()


def test_stale_price_leaves_only_adding_margin() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    world.wait(PARAMS.max_price_age + 1)
    trader, market = ROLE["trader"], world.market
    refused = {
        "open": lambda: world.open(LONG, 10, 200),
        "increase": lambda: world.increase(position_id, 1, 10),
        "reduce": lambda: world.reduce(position_id, 1),
        "close": lambda: world.close(position_id),
        "remove_margin": lambda: market.remove_margin(position_id, 1, sender=trader),
        "liquidate": lambda: market.liquidate(position_id, sender=trader),
    }
    for call in refused.values():
        assert reason_of(call) == errors.STALE_PRICE
    world.add_margin(position_id, 10)
    world.publish(100)
    assert world.close(position_id) > 0


def test_price_is_fresh_until_its_age_is_the_maximum() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    world.wait(PARAMS.max_price_age)
    world.reduce(position_id, 1)
    world.wait(1)
    assert reason_of(world.close, position_id) == errors.STALE_PRICE


def test_margin_can_be_added_before_any_price_moves_it() -> None:
    """A position that is already liquidatable is saved by margin if nobody was faster."""
    world, position_id = with_liquidatable()
    world.add_margin(position_id, 5_000)
    assert not world.is_liquidatable(position_id)
    assert world.update_price() == 0
    assert world.close(position_id) > 0


def drained(cash: str = "100") -> tuple[World, int]:
    """The trader's profit is 1000, the pool has much less."""
    world = World(
        cash=cash,
        **FRICTIONLESS | {"reserve_fraction": wad("0.0005"), "tiers": TIERS_OF_TEN_PERCENT},
    )
    return world, world.open_at_mark(LONG, 100, 2_000)


TIERS_OF_TEN_PERCENT = tiers((100_000, "0.1", "0.05"))


def test_profit_beyond_the_pool_becomes_a_claim_and_margin_is_paid() -> None:
    world, position_id = drained()
    world.publish(110)
    payout = world.close(position_id)
    assert payout == world.tokens(2_000 + 100)
    assert world.market.claim_of[ROLE["trader"]] == world.tokens(900)
    assert world.pool.cash == 0
    assert world.market.solvency().claims == world.tokens(900)
    world.assert_books_balance()


def test_claim_is_paid_by_withdraw_credit_as_cash_comes_in() -> None:
    world, position_id = drained()
    world.publish(110)
    world.close(position_id)
    trader, market = ROLE["trader"], world.market
    assert reason_of(market.withdraw_credit, sender=trader) == errors.NOTHING_TO_WITHDRAW
    # Another's loss, 50 * 8, is cash of the pool; then a second one's, 50 * 20.
    loser = world.market._position_count - 1
    assert world.position(loser).owner == ROLE["other_trader"]
    world.publish(118)
    world.close(loser, by="other_trader")
    lost = world.pool.cash
    assert 0 < lost < world.tokens(1_000)
    paid = market.withdraw_credit(sender=trader)
    assert paid == min(lost, world.tokens(900))
    assert market.claim_of[trader] == world.tokens(900) - paid
    assert world.pool.cash == lost - paid
    world.assert_books_balance()


def test_claims_come_before_withdrawals_of_providers() -> None:
    """The shares are worth something, since a trader is losing, but the cash is claimed."""
    world, position_id = drained()
    other = world.open(SHORT, 10, 500, by="third_trader")
    world.publish(110)
    world.close(position_id)
    world.publish(130)
    world.close(other, by="third_trader")
    claims = world.market.solvency().claims
    assert 0 < world.pool.cash < claims
    assert world.pool.totalAssets() > 0
    assert world.pool.maxWithdraw(ROLE["lp"]) == world.pool.maxRedeem(ROLE["lp"]) == 0


def test_reduce_with_an_empty_pool_keeps_margin_and_books_a_claim() -> None:
    world, position_id = drained("10.5")
    world.publish(110)
    world.reduce(position_id, 50)
    *_, value, fee, claim = world.event("PositionReduced")
    assert (value, fee) == (world.tokens(500), 0)
    assert claim == world.tokens(500) - world.tokens("10.5")
    assert world.position(position_id).margin == world.tokens("2010.5")
    world.assert_books_balance()


def test_claims_close_the_market_to_new_risk_not_to_exits() -> None:
    world, position_id = drained()
    other = world.open(SHORT, 10, 500, by="third_trader")
    world.publish(110)
    world.close(position_id)
    assert reason_of(world.open, LONG, 1, 50) == errors.RESERVE_EXCEEDED
    world.add_margin(other, 5, by="third_trader")
    world.reduce(other, 2, by="third_trader")
    assert world.close(other, by="third_trader") > 0


def test_claims_are_reserved_before_new_risk() -> None:
    """Cash that covers the open interest but not the claims as well admits no more of it."""
    world, position_id = drained()
    world.publish(110)
    world.close(position_id)
    claims = world.market.solvency().claims
    assert claims == world.tokens(900)
    loser = world.market._position_count - 1
    world.publish(115)
    world.close(loser, by="other_trader")
    assert 0 < world.pool.cash < claims
    assert reason_of(world.open, LONG, 1, 50) == errors.RESERVE_EXCEEDED
    world.market.withdraw_credit(sender=ROLE["trader"])
    assert world.market.solvency().claims < claims


def test_paying_a_claim_accrues_before_cash_changes_the_rate() -> None:
    world = World(cash=10_000, **FAST_FUNDING | {"reserve_fraction": wad("0.05")})
    winner = world.open(LONG, 500, 5_000)
    world.open(LONG, 100, 2_000, by="other_trader")
    world.publish(140)
    world.close(winner)
    assert world.market.claim_of[ROLE["trader"]] > 0
    world.token.mint(world.market.address, world.tokens(5_000), sender=ROLE["owner"])
    world.market.token.transfer(
        world.pool.address, world.tokens(5_000), sender=world.market.address
    )
    world.pool.collect_loss(world.tokens(5_000), sender=world.market.address)
    world.wait(1_000)
    expected = world.market.marks().funding
    assert expected != world.market._load_marks().funding
    assert world.market.withdraw_credit(sender=ROLE["trader"]) == world.tokens(5_000)
    assert world.market._load_marks().funding == expected


def test_rounding_of_the_fill_does_not_keep_a_healthy_position() -> None:
    """At a price of one wei the fill rounds to nothing and the loss is more than the margin, by
    less than the size is worth: the position, healthy by the rule, closes and pays all it has."""
    world = World(18, **FRICTIONLESS)
    margin = world.amount(10**21 - 9)
    position_id = world.open_at_mark(LONG, 10, margin)
    world.open(SHORT, 20, 200, by="third_trader")
    world.publish(Fraction(1, 10**18))
    assert world.market.health(position_id) == (1, 1)
    assert world.close(position_id) == 0
    *_, fill_price, value, _, _, payout = world.event("PositionClosed")
    assert (fill_price, value, payout) == (0, -(10**21 - 9), 0)
    world.assert_books_balance()


def test_cap_reached_does_not_keep_a_position() -> None:
    world = World(max_skew=wad(10))
    position_id = world.open(LONG, 10, 200)
    assert reason_of(world.open, LONG, 1, 20) == errors.SKEW_CAP
    other = world.open(SHORT, 20, 400, by="other_trader")
    # Closing the long leaves a skew beyond the cap.
    assert world.close(position_id) > 0
    assert world.close(other, by="other_trader") > 0


@pytest.mark.parametrize("moves", [(150,), (60,), (101, 99, 100)])
def test_everyone_leaves_and_everything_is_paid_out(moves: tuple[int, ...]) -> None:
    """After the last position the market holds insurance and nothing else, and the providers can
    take all of the pool."""
    world = World()
    names = ("trader", "other_trader", "third_trader")
    for name in names:
        world.open(LONG, 10, 600, by=name)
        world.open(SHORT, 7, 500, by=name)
    for price in moves:
        world.publish(price)
    for position_id in world.open_ids():
        owner = world.position(position_id).owner
        world.close(position_id, by=next(name for name in names if ROLE[name] == owner))
    for name in (*names, "publisher"):
        if world.market.credit_of[ROLE[name]]:
            world.market.withdraw_credit(sender=ROLE[name])
    world.market.collect_fees(sender=ROLE["keeper"])
    books = world.market.solvency()
    assert (books.margin, books.credits, books.claims, books.net_trader_profit) == (0, 0, 0, 0)
    assert world.balance("treasury") > 0
    shares = world.pool.maxRedeem(ROLE["lp"])
    world.pool.redeem(shares, ROLE["lp"], ROLE["lp"], sender=ROLE["lp"])
    assert world.pool.cash <= 1  # what the virtual shares are worth
    world.assert_books_balance()

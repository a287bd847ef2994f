"""P5: adding margin is always possible, and a healthy position can leave whenever a price is valid.

In each state of the market: the exit, and what waits for it.
"""

from fractions import Fraction

import pytest
from market_world import FRICTIONLESS, PARAMS, ROLE, World, reason_of, tiers, wad
from refusals import FAST_FUNDING, with_backlog, with_liquidatable

from python_model.modules import errors
from python_model.modules.constants import LONG, SHORT
from python_model.perp_market import SETTLEMENT_DELAY


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
    """At 110 the trader's profit is 1000 and the pool has much less. Others lose as much, so that
    nobody is deleveraged."""
    world = World(
        cash=cash,
        **FRICTIONLESS | {"reserve_fraction": wad("0.0005")} | TIERS_OF_TEN_PERCENT,
    )
    position_id = world.open_at_mark(LONG, 100, 2_000)
    world.open(SHORT, 50, 20_000, by="other_trader")
    return world, position_id


TIERS_OF_TEN_PERCENT = tiers((100_000, "0.1", "0.05"))


def test_profit_beyond_the_pool_becomes_a_claim_and_margin_is_paid() -> None:
    world, position_id = drained()
    world.publish(110)
    payout = world.close(position_id)
    *_, value, fee, claim, paid = world.event("PositionClosed")
    assert (payout, fee) == (paid, 0)
    assert 0 <= world.tokens(1_000) - value <= 1  # the skew takes the rest
    assert payout == world.tokens(2_000 + 100)
    assert claim == value - world.tokens(100)
    assert world.pool.claim_of[ROLE["trader"]] == claim == world.market.solvency().claims
    assert world.pool.cash() == 0
    world.assert_books_balance()


def test_claim_is_paid_as_cash_comes_in() -> None:
    world, position_id = drained()
    world.publish(110)
    world.close(position_id)
    trader, withdraw_claim = ROLE["trader"], world.pool.withdraw_claim
    assert reason_of(withdraw_claim, sender=trader) == errors.NOTHING_TO_WITHDRAW
    losers = [number for number in world.open_ids() if number != position_id]
    world.publish(112)
    for loser in losers:
        before, claim = world.balance("trader"), world.pool.claim_of[trader]
        assert world.pool.cash() == 0
        world.close(loser, by="other_trader")  # a loss of 50 * 12
        cash = world.pool.cash()
        assert 0 <= cash - world.tokens(600) <= 1
        paid = withdraw_claim(sender=trader)
        assert paid == min(cash, claim) == world.balance("trader") - before
        assert world.event("ClaimPaid") == (trader, paid)
        assert world.pool.claim_of[trader] == world.pool.claims == claim - paid
    assert world.pool.claims == 0 < world.pool.cash()
    assert reason_of(withdraw_claim, sender=trader) == errors.NOTHING_TO_WITHDRAW
    world.assert_books_balance()


def test_claims_of_several_are_paid_to_whoever_comes_first_and_no_further() -> None:
    """Two winners of 500 each and a pool of 100: what comes in goes to them, to the last unit."""
    world = World(
        cash=100, **FRICTIONLESS | {"reserve_fraction": wad("0.0005")} | TIERS_OF_TEN_PERCENT
    )
    winners = {name: world.open(LONG, 50, 1_000, by=name) for name in ("trader", "third_trader")}
    loser = world.open(SHORT, 100, 20_000, by="other_trader")
    world.publish(110)
    for name, position_id in winners.items():
        world.close(position_id, by=name)
    claims = dict(world.pool.claim_of)
    assert sum(claims.values()) == world.pool.claims > world.tokens(899)
    world.reduce(loser, 70, by="other_trader")  # 700, more than either claim
    assert world.pool.withdraw_claim(sender=ROLE["third_trader"]) == claims[ROLE["third_trader"]]
    rest = world.pool.cash()
    assert 0 < rest < claims[ROLE["trader"]]
    assert world.pool.withdraw_claim(sender=ROLE["trader"]) == rest
    assert world.pool.claims == world.pool.claim_of[ROLE["trader"]] == claims[ROLE["trader"]] - rest
    world.assert_books_balance()


def test_claim_is_withdrawn_whatever_the_state_of_the_price() -> None:
    """Stale, held or expired: a claim is a debt of the pool, no price has to say how much."""
    world, position_id = drained()
    world.publish(110)
    world.close(position_id)
    world.close(world.open_ids()[0], by="other_trader")
    trader, paid = ROLE["trader"], []
    for wait in (PARAMS.max_price_age + 1, SETTLEMENT_DELAY):
        world.wait(wait)
        paid.append(world.chain.probe(lambda: world.pool.withdraw_claim(sender=trader)))
    world.publish(300)
    assert world.market.totals().is_halted
    paid.append(world.pool.withdraw_claim(sender=trader))
    assert min(paid) == max(paid) >= world.tokens(500)


def test_claims_come_before_withdrawals_of_providers() -> None:
    """The shares are worth something, since a trader is losing, but the cash is claimed."""
    world, position_id = drained()
    other = world.open(SHORT, 10, 500, by="third_trader")
    world.publish(110)
    world.close(position_id)
    world.publish(130)
    world.close(other, by="third_trader")
    claims = world.market.solvency().claims
    assert 0 < world.pool.cash() < claims
    assert world.pool.totalAssets() > 0
    assert world.pool.maxWithdraw(ROLE["lp"]) == world.pool.maxRedeem(ROLE["lp"]) == 0


def test_reduce_with_an_empty_pool_keeps_margin_and_books_a_claim() -> None:
    world, position_id = drained("10.5")
    world.publish(110)
    world.reduce(position_id, 50)
    *_, value, fee, claim = world.event("PositionReduced")
    assert fee == 0 <= world.tokens(500) - value <= 1
    assert claim == value - world.tokens("10.5")
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
    assert 0 <= world.tokens(900) - claims <= 1
    loser = world.open_ids()[0]
    world.publish(115)
    world.close(loser, by="other_trader")
    assert 0 < world.pool.cash() < claims
    assert reason_of(world.open, LONG, 1, 50) == errors.RESERVE_EXCEEDED
    world.pool.withdraw_claim(sender=ROLE["trader"])
    assert world.market.solvency().claims < claims


def test_paying_a_claim_accrues_before_cash_changes_the_rate() -> None:
    world = World(cash=10_000, **FAST_FUNDING | {"reserve_fraction": wad("0.05")})
    winner = world.open(LONG, 500, 5_000)
    loser = world.open(SHORT, 400, 30_000, by="other_trader")
    world.publish(140)
    world.close(winner)
    assert world.pool.claim_of[ROLE["trader"]] > world.tokens(5_000)
    world.reduce(loser, 100, by="other_trader")
    cash = world.pool.cash()
    assert 0 < cash < world.pool.claim_of[ROLE["trader"]]
    world.wait(1_000)
    expected = world.market.marks().funding
    assert expected != world.market._load_marks().funding
    assert world.pool.withdraw_claim(sender=ROLE["trader"]) == cash
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
    assert world.pool.cash() <= 1  # what the virtual shares are worth
    world.assert_books_balance()

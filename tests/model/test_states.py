"""What each state of a market allows, action by action, and how each state ends."""

from collections.abc import Callable
from typing import Any

import pytest
from market_world import FRICTIONLESS, PARAMS, RISK, ROLE, World, reason_of, tiers, wad
from refusals import held, restricted, short_of_tokens, with_backlog, with_position

from python_model.configurator import MAX_RESTRICTION
from python_model.evm import MAX_UINT256, Revert
from python_model.modules import breaker_causes, errors
from python_model.modules.constants import LONG, SHORT, WAD
from python_model.perp_market import SETTLEMENT_DELAY
from python_model.risk_engine import HOUR, MAX_HALT, RAMP_PER_HOUR

Case = tuple[World, int]


def stale() -> Case:
    world, position_id = with_position()
    world.wait(PARAMS.max_price_age + 1)
    return world, position_id


def expired() -> Case:
    world, position_id = with_position()
    world.wait(SETTLEMENT_DELAY + 1)
    return world, position_id


STATES: dict[str, Callable[[], Case]] = {
    "open": with_position,
    "reduce only": lambda: _applied(restricted),
    "halted": lambda: _applied(held),
    "stale": stale,
    "expired": expired,
    "backlog": with_backlog,
    "books broken": lambda: _applied(short_of_tokens, is_watched=False),
}


def _applied(change: Callable[[World], World], **options: Any) -> Case:
    world, position_id = with_position(**options)
    return change(world), position_id


def actions(world: World, position_id: int) -> dict[str, Callable[[], Any]]:
    market, pool = world.market, world.pool
    trader, lp, keeper = ROLE["trader"], ROLE["lp"], ROLE["keeper"]
    return {
        "open": lambda: world.open(SHORT, 1, 50),
        "increase": lambda: world.increase(position_id, 1, 50),
        "remove_margin": lambda: world.remove_margin(position_id, 1),
        "reduce": lambda: world.reduce(position_id, 1),
        "close": lambda: world.close(position_id),
        "add_margin": lambda: world.add_margin(position_id, 1),
        "liquidate": lambda: market.liquidate(position_id, sender=keeper),
        "settle": lambda: world.settle(position_id),
        "accrue": lambda: market.accrue(sender=keeper),
        "update_price": lambda: world.update_price(),
        "continue_backlog": lambda: market.continue_backlog(32, sender=keeper),
        "collect_fees": lambda: market.collect_fees(sender=keeper),
        "fund_insurance": lambda: market.fund_insurance(1, sender=trader),
        "deposit": lambda: world.deposit(1),
        "redeem": lambda: pool.redeem(10**9, lp, lp, sender=lp),
    }


ANYTIME = dict.fromkeys(
    ("add_margin", "accrue", "update_price", "collect_fees", "fund_insurance"), ""
)
FRESH = dict.fromkeys(("reduce", "close", "continue_backlog"), "") | {
    "liquidate": errors.HEALTHY,
    "settle": errors.NOT_EXPIRED,
}
RISK_ADDED = ("open", "increase", "remove_margin")
PRICED = ("reduce", "close", "liquidate")
POOL = ("deposit", "redeem")


def every(names: tuple[str, ...], reason: str) -> dict[str, str]:
    return dict.fromkeys(names, reason)


# Reason by action, empty where it succeeds.
ALLOWED: dict[str, dict[str, str]] = {
    "open": ANYTIME | FRESH | every(RISK_ADDED + POOL, ""),
    "reduce only": ANYTIME | FRESH | every(RISK_ADDED, errors.REDUCE_ONLY) | every(POOL, ""),
    "halted": ANYTIME
    | every(RISK_ADDED + PRICED + ("continue_backlog",), errors.HALTED)
    | {"settle": errors.NOT_EXPIRED}
    | every(POOL, errors.STALE_PRICE),
    "stale": ANYTIME
    | every(RISK_ADDED + PRICED + POOL, errors.STALE_PRICE)
    | {"settle": errors.NOT_EXPIRED, "continue_backlog": ""},
    "expired": ANYTIME
    | every(RISK_ADDED + PRICED + POOL, errors.STALE_PRICE)
    | {"settle": "", "continue_backlog": ""},
    "backlog": ANYTIME | FRESH | every(RISK_ADDED + POOL, errors.BACKLOG),
    "books broken": ANYTIME | FRESH | every(RISK_ADDED, errors.BOOKS_BROKEN) | every(POOL, ""),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_allows_what_it_says(state: str) -> None:
    world, position_id = STATES[state]()
    found = {}
    for name, act in actions(world, position_id).items():
        try:
            world.chain.probe(act)
        except Revert as revert:
            found[name] = revert.reason
        else:
            found[name] = ""
    assert found == ALLOWED[state]


# Halts


def trading(world: World) -> bool:
    return not world.market.totals().is_halted


def test_a_held_price_changes_nothing_but_the_halt() -> None:
    """Whoever it would have ruined can add margin until a second report comes."""
    world, position_id = with_position(max_jump=wad("0.1"))
    before = world.market.marks()
    assert world.publish(80) == 0
    assert not trading(world)
    after = world.market.marks()
    assert (after.price, after.price_time) == (before.price, before.price_time)
    assert world.event_names() == ["PriceHeld", "PriceUpdated"]
    assert not world.is_liquidatable(position_id)
    world.add_margin(position_id, 500)
    world.publish(81)
    assert trading(world)
    assert world.market.marks().price == wad(81)
    assert world.is_open(position_id)


def test_a_confirmed_jump_liquidates_and_restricts() -> None:
    world, position_id = with_position(max_jump=wad("0.1"))
    world.publish(80)
    assert world.publish(79) == 1
    assert not world.is_open(position_id)
    assert world.event("BreakerTripped")[0] == breaker_causes.JUMP
    assert world.event("PriceConfirmed")[0] == wad(79)
    assert reason_of(world.open, SHORT, 1, 50) == errors.REDUCE_ONLY
    world.wait(RISK.cool_down)
    world.open(SHORT, 1, 50)


def test_a_wrong_report_is_undone_by_the_next_right_one() -> None:
    """A fat finger costs nobody anything: the price in effect never moved."""
    world, position_id = with_position(max_jump=wad("0.1"))
    world.publish(10)
    assert world.publish("100.5") == 0
    assert trading(world)
    assert world.is_open(position_id)
    assert world.market.marks().price == wad("100.5")


def test_a_halt_ends_by_itself_when_reports_go_on() -> None:
    """No two reports agree; an hour later the next one counts, whatever it says."""
    world, _ = with_position(max_jump=wad("0.1"))
    started = world.chain.timestamp + 1
    for price in (200, 50, 300, 20):
        world.publish(price)
        assert not trading(world)
    world.wait(started + MAX_HALT - 1 - world.chain.timestamp)
    world.publish(70, after=0)
    assert not trading(world)
    world.publish(400)
    assert trading(world)
    assert world.market.marks().price == wad(400)


def test_funding_accrues_at_the_price_in_effect_during_a_halt() -> None:
    world, position_id = with_position()
    twin, twin_id = with_position()
    world.publish(300)
    twin.wait(1)
    for each in (world, twin):
        each.wait(500)
    assert world.market.marks().funding == twin.market.marks().funding
    assert world.equity(position_id) == twin.equity(twin_id)


# Settlement


def test_settlement_begins_a_second_after_seven_days() -> None:
    world, position_id = with_position()
    world.wait(SETTLEMENT_DELAY)
    assert reason_of(world.settle, position_id) == errors.NOT_EXPIRED
    world.wait(1)
    world.settle(position_id)
    assert not world.is_open(position_id)


def test_a_new_price_revives_a_market() -> None:
    world, position_id = with_position()
    world.wait(SETTLEMENT_DELAY + 1)
    world.publish(100)
    assert reason_of(world.settle, position_id) == errors.NOT_EXPIRED
    assert world.close(position_id) > 0


def test_a_held_price_does_not_put_the_expiry_off() -> None:
    """The week is counted from the price in effect."""
    world, position_id = with_position()
    world.wait(SETTLEMENT_DELAY - 100)
    world.publish(300)
    world.wait(100)
    assert not trading(world)
    world.settle(position_id, by="attacker")
    assert not world.is_open(position_id)


@pytest.mark.parametrize("order", [1, -1])
def test_settlement_pays_everyone_the_same_in_any_order(order: int) -> None:
    """With cash for all. Funding until the moment of settlement is in the value."""
    world = World()
    names = ("trader", "other_trader", "third_trader")
    for name in names:
        world.open(LONG, 10, 300, by=name)
        world.open(SHORT, 5, 300, by=name)
    world.publish(103)
    world.wait(SETTLEMENT_DELAY + 1)
    equities = {number: world.equity(number) for number in world.open_ids()}
    for number in world.open_ids()[::order]:
        owner = world.position(number).owner
        credit = world.market.credit_of[owner]
        world.settle(number)
        assert world.market.credit_of[owner] - credit == equities[number]
    for name in names:
        world.market.withdraw_credit(sender=ROLE[name])
    lp = ROLE["lp"]
    world.pool.redeem(world.pool.maxRedeem(lp), lp, lp, sender=lp)
    assert world.market.solvency().open_positions == 0
    assert world.pool.cash() <= 1
    world.assert_books_balance()


def test_a_position_under_water_at_the_expiry_takes_insurance_and_the_rest_is_bad_debt() -> None:
    """Funding ruins it after the last price. No penalty: there is nobody to reward."""
    world = World(
        **FRICTIONLESS
        | tiers((1_000, "0.0125", "0.012"))
        | {"max_utilisation_rate": 10**12, "liquidation_penalty": wad("0.006")}
        | {"max_insurance_draw": wad("0.5"), "reserve_fraction": WAD}
        | {"max_open_interest": wad(1_000), "max_skew": wad(1_000)}
    )
    position_id = world.open(LONG, 1_000, 2_000)
    world.market.fund_insurance(world.tokens(30), sender=ROLE["lp"])
    world.wait(SETTLEMENT_DELAY + 1)
    equity = world.equity(position_id)
    assert equity < -world.tokens(30)
    cash = world.pool.cash()
    world.settle(position_id)
    *_, returned, used, bad_debt, is_deleveraged = world.event("PositionSettled")
    assert (returned, used, is_deleveraged) == (0, world.tokens(15), False)
    assert bad_debt == world.market.bad_debt == -equity - used
    assert world.pool.cash() - cash == world.tokens(2_000) + used
    assert world.market.totals().insurance == world.tokens(15)
    world.assert_books_balance()


def test_a_dead_market_pays_out_to_the_last_unit() -> None:
    """Long after: every position settled, claims first, then whoever provided the pool."""
    world = World(cash=100, **FRICTIONLESS | {"reserve_fraction": 1})
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 100, 3_000, by="other_trader")
    world.publish(110)
    world.wait(300 * 86_400)
    world.settle(winner)
    assert world.pool.claims > world.tokens(899)
    lp = ROLE["lp"]
    assert world.pool.maxRedeem(lp) == 0
    world.settle(loser)
    assert 0 <= world.pool.cash() - world.pool.claims - world.pool.maxWithdraw(lp) <= 1
    world.pool.redeem(world.pool.maxRedeem(lp), lp, lp, sender=lp)
    claim = world.pool.claims
    assert world.pool.withdraw_claim(sender=ROLE["trader"]) == claim
    assert world.pool.claims == 0
    assert world.pool.cash() <= 1
    world.assert_books_balance()


# The reserve's share in a window


def test_insurance_pays_its_share_in_each_window() -> None:
    world = World(**FRICTIONLESS | {"max_insurance_draw": wad("0.5"), "move_windows": (60, 1_000)})
    world.market.fund_insurance(world.tokens(40), sender=ROLE["lp"])
    ruins = []
    for wait in (0, 0, 1_000):
        world.publish(100)
        world.wait(max(wait, 61))
        world.open(LONG, 10, 60)
        world.publish(90)  # a loss of 100, 40 of it beyond the margin
        *_, used, bad_debt = world.event("PositionLiquidated")
        ruins.append((round(world.amount(used), 2), round(world.amount(bad_debt), 2)))
    assert ruins == [(20, 20), (0, 40), (10, 30)]
    assert round(world.amount(world.market.bad_debt)) == 90
    world.assert_books_balance()


# Who restricts, and for how long


def test_guardian_restricts_for_a_time_and_not_again_at_once() -> None:
    world, position_id = with_position(max_price_age=86_400)
    guardian, market = ROLE["guardian"], world.market
    restrict = world.configurator.guardian_restrict
    until = restrict(market, MAX_RESTRICTION, sender=guardian)
    world.publish(101)
    assert reason_of(world.increase, position_id, 1, 50) == errors.REDUCE_ONLY
    world.reduce(position_id, 1)
    world.wait(until - world.chain.timestamp)
    world.increase(position_id, 1, 50)
    assert reason_of(restrict, market, 1, sender=guardian) == errors.RESTRICTED_RECENTLY
    world.wait(MAX_RESTRICTION)
    restrict(market, 1, sender=guardian)


def test_a_breaker_does_not_shorten_what_the_guardian_said() -> None:
    world, position_id = with_position(max_jump=wad("0.1"))
    until = world.configurator.guardian_restrict(world.market, HOUR, sender=ROLE["guardian"])
    world.publish(120)
    world.publish(121)
    assert world.event("BreakerTripped") == (breaker_causes.JUMP, until)
    assert world.engine.breaker().reduce_only_until == until
    assert world.close(position_id) > 0


# Parameters


def test_raised_maintenance_liquidates_nobody_at_once_and_everybody_in_time() -> None:
    """A position at its maintenance has an hour for each tenth of a percentage point."""
    world = World(**FRICTIONLESS | {"max_price_age": 86_400})
    position_id = world.open_at_mark(LONG, 10, "50")
    world.publish("97.2")  # equity 22, requirement 19.44
    fractions = (wad("0.04"), wad("0.04"), wad("0.08"), wad("0.08"))
    risk = world.engine.params()._replace(maintenance_fractions=fractions)
    world.configurator.tighten(world.market, risk, sender=ROLE["owner"])
    assert not world.is_liquidatable(position_id)
    hours = 2  # 2 % + 0.2 % is 21.384, one more is 22.356
    world.wait(hours * HOUR)
    assert world.update_price() == 0
    assert world.market.marks().terms.maintenance_fractions[0] == wad("0.02") + 2 * RAMP_PER_HOUR
    world.wait(HOUR)
    assert world.update_price() == 1


def test_what_was_announced_waits_two_days_in_which_everybody_can_leave() -> None:
    world, position_id = with_position()
    owner, configurator = ROLE["owner"], world.configurator
    looser = RISK._replace(taker_fee=10**16, maker_fee=10**16)
    assert reason_of(configurator.tighten, world.market, looser, sender=owner) == errors.NOT_TIGHTER
    eta = configurator.propose_params(world.market, looser, sender=owner)
    assert reason_of(configurator.apply_params, world.market, sender=owner) == errors.TOO_EARLY
    world.wait(eta - world.chain.timestamp - 1)
    world.publish(100, after=0)
    assert reason_of(configurator.apply_params, world.market, sender=owner) == errors.TOO_EARLY
    assert world.close(position_id) > 0
    world.wait(1)
    configurator.apply_params(world.market, sender=owner)
    assert world.engine.params() == looser


def test_books_are_whole_again_when_the_tokens_are() -> None:
    world, position_id = STATES["books broken"]()
    trader = ROLE["trader"]
    arguments = (LONG, wad(1), world.tokens(20), MAX_UINT256)
    assert reason_of(world.market.open, *arguments, sender=trader) == errors.BOOKS_BROKEN
    assert world.close(position_id) > 0
    world.token.transfer(world.market.address, 1, sender=ROLE["keeper"])
    world.market.open(*arguments, sender=trader)

"""Credits, fees, insurance, and tokens that misbehave."""

import pytest
from market_world import FRICTIONLESS, ROLE, World, reason_of, wad
from refusals import Call, market_calls, pool_calls

from python_model.modules import errors
from python_model.modules.constants import LONG


def test_fees_go_to_the_treasury_whoever_asks() -> None:
    world = World()
    world.open(LONG, 10, 200)
    fees = world.market.solvency().fees
    assert fees > 0
    assert world.market.collect_fees(sender=ROLE["attacker"]) == fees
    assert world.balance("treasury") == fees
    assert world.market.solvency().fees == 0
    assert world.event("FeesCollected") == (ROLE["treasury"], fees)
    assert world.market.collect_fees(sender=ROLE["attacker"]) == 0
    world.assert_books_balance()


def test_fees_go_to_the_treasury_of_that_moment() -> None:
    world = World()
    world.open(LONG, 10, 200)
    world.factory.set_treasury(ROLE["keeper"], sender=ROLE["owner"])
    before = world.balance("keeper")
    fees = world.market.collect_fees(sender=ROLE["attacker"])
    assert world.balance("keeper") == before + fees


def test_insurance_is_a_gift() -> None:
    world = World()
    world.market.fund_insurance(world.tokens(5), sender=ROLE["trader"])
    assert world.market.solvency().insurance == world.tokens(5)
    assert world.spent("trader") == world.tokens(5)
    withdraw = world.market.withdraw_credit
    assert reason_of(withdraw, sender=ROLE["trader"]) == errors.NOTHING_TO_WITHDRAW
    world.assert_books_balance()


def test_credit_is_paid_once() -> None:
    world = World(**FRICTIONLESS | {"min_size": wad(9)})
    world.open(LONG, 10, 55)
    world.publish("96.2")
    withdraw, trader = world.market.withdraw_credit, ROLE["trader"]
    assert withdraw(sender=trader) > 0
    assert reason_of(withdraw, sender=trader) == errors.NOTHING_TO_WITHDRAW
    world.assert_books_balance()


def test_solvency_adds_up() -> None:
    world = World(**FRICTIONLESS | {"min_size": wad(9)})
    world.open(LONG, 10, 55)
    world.open(LONG, 10, 300, by="other_trader")
    world.publish("96.2")
    books = world.market.solvency()
    assert books.open_positions == 1
    assert books.margin == world.tokens(300)
    assert books.credits == sum(world.market.credit_of.values()) > 0
    assert books.pool_cash == world.pool.cash()
    assert books.claims == books.bad_debt == books.fees == 0


# Tokens


@pytest.mark.parametrize(
    "name", ["open", "increase", "add_margin", "fund_insurance", "deposit", "mint"]
)
def test_token_that_credits_less_is_refused_and_nothing_is_lost(name: str) -> None:
    """The fee token is refused where money comes in; every balance is as before."""
    world = World()
    market, pool, trader = world.market, world.pool, ROLE["trader"]
    position_id = world.open(LONG, 10, 200)
    calls: dict[str, Call] = {
        "open": lambda: world.open(LONG, 10, 200),
        "increase": lambda: world.increase(position_id, 1, 50),
        "add_margin": lambda: world.add_margin(position_id, 50),
        "fund_insurance": lambda: market.fund_insurance(world.tokens(1), sender=trader),
        "deposit": lambda: world.deposit(100),
        "mint": lambda: pool.mint(10**12, ROLE["lp"], sender=ROLE["lp"]),
    }
    world.token.set_fee(100, sender=ROLE["owner"])
    before = world.state()
    balances = dict(world.token.balanceOf)
    assert reason_of(calls[name]) == errors.CREDITED_LESS
    assert world.token.balanceOf == balances
    assert world.state() == before


@pytest.mark.parametrize("name", sorted(market_calls(World())))
def test_token_callback_cannot_reenter_the_market(name: str) -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    world.token.set_hook(market_calls(world)[name], sender=ROLE["attacker"])
    before = world.state()
    assert reason_of(world.close, position_id) == errors.REENTRANT_CALL
    assert world.state() == before


@pytest.mark.parametrize("name", ["deposit", "mint", "withdraw", "redeem"])
def test_token_callback_of_the_market_cannot_use_the_pool(name: str) -> None:
    """The pool is not locked, but it settles the market first, which is."""
    world = World()
    world.open(LONG, 10, 200)
    world.token.set_hook(pool_calls(world)[name], sender=ROLE["attacker"])
    before = world.state()
    assert reason_of(world.open, LONG, 10, 200) == errors.REENTRANT_CALL
    assert world.state() == before


@pytest.mark.parametrize("name", ["close", "reduce"])
def test_token_callback_of_the_pool_cannot_make_it_pay(name: str) -> None:
    """During a deposit the market is open, but whatever needs the pool's cash is refused."""
    world = World()
    position_id = world.open(LONG, 10, 200, by="attacker")
    world.publish(102)
    attacker = ROLE["attacker"]
    calls: dict[str, Call] = {
        "close": lambda: world.market.close(position_id, 0, sender=attacker),
        "reduce": lambda: world.market.reduce(position_id, wad(5), 0, sender=attacker),
    }
    world.token.set_hook(calls[name], sender=attacker)
    assert reason_of(world.deposit, 100) == errors.REENTRANT_CALL


def test_lock_is_open_again_after_a_call_and_after_a_refusal() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    reason_of(world.market.add_margin, position_id, 0, sender=ROLE["trader"])
    world.add_margin(position_id, 1)
    assert not world.market._locked
    assert not world.pool._locked

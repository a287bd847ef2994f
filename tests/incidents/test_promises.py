"""Three promises that the incidents lead to.

Unrealised profit is never margin. No state of the breakers stops adding margin, liquidation outside
a halt, or the exit of a healthy position at a valid price. An invariant that the token itself
breaks freezes what adds risk, and no exit.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import pytest
from stage import ANY_PRICE, FRICTIONLESS, RISK, Number, Stage, wad

from python_model.modules import breaker_causes, errors
from python_model.modules.constants import LONG, MAX_VISITS, SHORT, WAD

SIDES = pytest.mark.parametrize("side", [LONG, SHORT])


# Unrealised profit


def removable(stage: Stage, position_id: int) -> int:
    market, sender = stage.market, stage.address("attacker")
    return stage.largest(
        lambda amount: market.remove_margin(position_id, amount, sender=sender), 1, 2**60
    )


def addable(stage: Stage, position_id: int, side: int) -> int:
    market, sender, worst = stage.market, stage.address("attacker"), ANY_PRICE[side]
    return stage.largest(
        lambda size: market.increase(position_id, size, 0, worst, sender=sender), 1, wad(1_000)
    )


@SIDES
@pytest.mark.parametrize("move", ["0.01", "0.09", "0.25"])
def test_a_winner_can_take_and_carry_what_a_newcomer_of_the_same_margin_can(
    side: int, move: str
) -> None:
    stage = Stage(**FRICTIONLESS)
    winner = stage.open(side, 100, 2_000, by="attacker")
    sign = 1 if side == LONG else -1
    moved = 100 * (1 + sign * Fraction(move))
    stage.walk(moved)
    newcomer = stage.open(side, 100, 2_000, by="attacker")
    profit = stage.value(winner, moved)
    assert profit > stage.tokens(99 * 100 * Fraction(move))
    assert abs(stage.value(newcomer, moved)) <= 1
    fraction = Fraction(RISK.initial_fractions[0] + 1, WAD)
    free = stage.tokens(2_000) - stage.part(100, moved, fraction)
    assert removable(stage, winner) == free
    assert free - 1 <= removable(stage, newcomer) <= free
    more, less = addable(stage, winner, side), addable(stage, newcomer, side)
    # A token unit of loss is this much size.
    unit = Fraction(WAD, stage.unit) / (fraction * moved)
    assert 0 <= more - less <= 2 * unit
    # Both ways together leave nothing either: what is left is the requirement, without the profit.
    stage.does("attacker", "market.remove_margin", winner, free)
    worst = ANY_PRICE[side]
    for call in (
        ("market.remove_margin", winner, 1),
        ("market.increase", winner, wad("0.01"), 0, worst),
    ):
        stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *call)
    equity, _ = stage.health(winner)
    assert equity == stage.part(100, moved, fraction) + profit
    stage.assert_books_balance()


# The states of the breakers


class State(NamedTuple):
    """`enter` brings a market into the state, at `price`; there, what adds risk is refused."""

    reason: str
    price: Fraction
    enter: Callable[[Stage], None]
    params: Mapping[str, object] = MappingProxyType({})
    is_valid: bool = True  # whether there is a price to trade at


def trips(cause: int, *prices: Number, after: int = 1) -> Callable[[Stage], None]:
    def enter(stage: Stage) -> None:
        seen = set()
        for price in prices:
            stage.publish(price, after)
            seen |= {fields[0] for fields in stage.events("BreakerTripped")}
        assert seen == {cause}

    return enter


def with_others(margin: int, count: int, then: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """Others, of 100 long each, who meet the state first."""

    def enter(stage: Stage) -> None:
        for i in range(count):
            stage.open(LONG, 100, margin, by=f"trader_{3 + i % 5}")
        then(stage)

    return enter


def restrict(stage: Stage) -> None:
    stage.does("guardian", "configurator.guardian_restrict", stage.system.market, 3_600)


def lag(stage: Stage) -> None:
    stage.publish(94)
    assert stage.view("market.totals").has_backlog


def lose_tokens(stage: Stage) -> None:
    # No call of the contracts does this: the token takes one unit by itself.
    stage.does("attacker", "token.seize", "market", 1)
    stage.lost["market"] += 1


WIDE = {"max_moves": (wad("0.4"), wad("0.4"))}
STATES = {
    "reduce only after a jump": State(
        errors.REDUCE_ONLY, Fraction(75), trips(breaker_causes.JUMP, 75, 75), WIDE
    ),
    "reduce only after a short move": State(
        errors.REDUCE_ONLY, Fraction(89), trips(breaker_causes.MOVE_SHORT, 89)
    ),
    "reduce only after a long move": State(
        errors.REDUCE_ONLY,
        Fraction(69),
        trips(breaker_causes.MOVE_LONG, *range(99, 68, -1), after=100),
    ),
    "reduce only after liquidations": State(
        errors.REDUCE_ONLY,
        Fraction(94),
        with_others(520, 2, trips(breaker_causes.LIQUIDATED_VOLUME, 94)),
        {"max_liquidated_size": wad(150)},
    ),
    "reduce only after a loss of the pool": State(
        errors.REDUCE_ONLY,
        Fraction(106),
        with_others(600, 20, trips(breaker_causes.POOL_LOSS, 106)),
        {"max_pool_loss": wad("0.01")},
    ),
    "reduce only after bad debt": State(
        errors.REDUCE_ONLY,
        Fraction(81),
        with_others(520, 1, trips(breaker_causes.BAD_DEBT, 81)),
        {"max_bad_debt": 0, **WIDE},
    ),
    "reduce only by the guardian": State(errors.REDUCE_ONLY, Fraction(100), restrict),
    "halted": State(
        errors.HALTED, Fraction(100), lambda stage: stage.publish(79) and None, is_valid=False
    ),
    "backlog": State(errors.BACKLOG, Fraction(94), with_others(520, 2 * MAX_VISITS, lag)),
    "without a fresh price": State(
        errors.STALE_PRICE, Fraction(100), lambda stage: stage.wait(3_601), is_valid=False
    ),
    "books not covered": State(errors.BOOKS_BROKEN, Fraction(100), lose_tokens),
}


def enter(name: str, crowd: int = 0) -> tuple[Stage, int, int]:
    """A stage in a state, a position that is well and one that the next fall will liquidate, after
    a crowd of others."""
    state = STATES[name]
    stage = Stage(insurance=1_000, **{**FRICTIONLESS, **state.params})
    healthy = stage.open(LONG, 100, 9_000, by="trader")
    # At the price of the state the equity is 5 % of the notional.
    thin = 100 * (100 - state.price) + Fraction("5.1") * state.price
    sick = stage.open(LONG, 100, max(thin, Fraction(600)), by="other_trader")
    for i in range(crowd):
        stage.open(LONG, 100, max(thin, Fraction(600)) - 10, by=f"trader_{3 + i % 5}")
    state.enter(stage)
    assert stage.mark() == state.price
    assert stage.is_open(sick)
    return stage, healthy, sick


@pytest.mark.parametrize("name", STATES)
def test_every_state_but_open_refuses_what_adds_risk(name: str) -> None:
    stage, healthy, _ = enter(name)
    reason, worst = STATES[name].reason, ANY_PRICE[LONG]
    for call in (
        ("market.open", LONG, wad(1), stage.tokens(100), worst),
        ("market.open", SHORT, wad(1), stage.tokens(100), 0),
        ("market.increase", healthy, wad(1), stage.tokens(100), worst),
        ("market.remove_margin", healthy, 1),
    ):
        stage.refuses(reason, "trader", *call)


@pytest.mark.parametrize("name", STATES)
def test_margin_is_added_in_every_state(name: str) -> None:
    stage, healthy, sick = enter(name)
    margins = [stage.position(i).margin for i in (healthy, sick)]
    stage.add_margin(healthy, 10, by="trader")
    stage.add_margin(sick, 10, by="other_trader")
    added = [
        stage.position(i).margin - old for i, old in zip((healthy, sick), margins, strict=True)
    ]
    assert added == [stage.tokens(10)] * 2
    stage.assert_books_balance()


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state.is_valid])
def test_a_healthy_position_leaves_at_a_valid_price_in_every_state(name: str) -> None:
    stage, healthy, _ = enter(name)
    value = stage.value(healthy, stage.fill(SHORT, 40), 40)
    stage.reduce(healthy, 40, by="trader")
    expected = stage.tokens(9_000) + value
    assert stage.position(healthy).margin == expected
    value = stage.value(healthy, stage.exit_price(healthy))
    assert stage.close(healthy, by="trader") == expected + value
    stage.assert_books_balance()


@pytest.mark.parametrize("name", ["halted", "without a fresh price"])
def test_a_healthy_position_waits_for_a_valid_price_only(name: str) -> None:
    stage, healthy, _ = enter(name)
    call = ("market.close", healthy, 0)
    stage.refuses(STATES[name].reason, "trader", *call)
    stage.publish(98)
    assert stage.does("trader", *call) > stage.tokens(8_700)


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state.is_valid])
def test_liquidation_goes_on_in_every_state_but_a_halt(name: str) -> None:
    stage, _, sick = enter(name)
    stage.publish(STATES[name].price * Fraction("0.81"), by="keeper")
    while stage.view("market.totals").has_backlog:
        stage.does("keeper", "market.continue_backlog", MAX_VISITS)
    assert not stage.is_open(sick)
    stage.assert_books_balance()


@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state.is_valid])
def test_liquidation_by_name_goes_on_in_every_state_but_a_halt(name: str) -> None:
    stage, healthy, sick = enter(name, crowd=MAX_VISITS)
    stage.publish(STATES[name].price * Fraction("0.81"), by="keeper")
    # The crowd has used up the visits of the update.
    assert stage.is_liquidatable(sick)
    stage.refuses(errors.HEALTHY, "keeper", "market.liquidate", healthy)
    stage.does("keeper", "market.liquidate", sick)
    assert not stage.is_open(sick)
    stage.assert_books_balance()


def test_a_halt_holds_liquidation_back_and_nothing_longer_than_the_halt() -> None:
    stage, _, sick = enter("halted")
    stage.refuses(errors.HALTED, "keeper", "market.liquidate", sick)
    stage.refuses(errors.HALTED, "keeper", "market.continue_backlog", MAX_VISITS)
    stage.publish(79, by="keeper")
    assert not stage.is_open(sick)


# Tokens that go missing


def test_tokens_taken_by_the_token_freeze_what_adds_risk_and_no_exit() -> None:
    stage = Stage(insurance=1_000, **FRICTIONLESS)
    margin = stage.tokens(600)
    winner = stage.open(SHORT, 100, 600, by="trader")
    loser = stage.open(LONG, 100, 600, by="other_trader")
    idle = stage.open(LONG, 10, 600, by="trader")
    taken = stage.tokens(900)
    stage.does("attacker", "token.seize", "market", taken)
    stage.lost["market"] = taken
    order = (LONG, wad(1), stage.tokens(100), ANY_PRICE[LONG])
    stage.refuses(errors.BOOKS_BROKEN, "attacker", "market.open", *order)
    stage.refuses(errors.BOOKS_BROKEN, "trader", "market.remove_margin", idle, 1)
    stage.add_margin(idle, 10, by="trader")
    # Prices are taken, the loser is liquidated, the winner leaves with all that is his.
    assert stage.publish("94.5") == 1
    assert not stage.is_open(loser)
    value = stage.value(winner, stage.exit_price(winner))
    assert stage.close(winner, by="trader") == margin + value
    value = stage.value(idle, stage.exit_price(idle))
    assert stage.close(idle, by="trader") == stage.tokens(610) + value
    stage.does("keeper", "market.withdraw_credit")
    # The gap stays where it was, in the reserve that nobody has a claim on.
    books = stage.books
    assert stage.balance("market") == books.insurance + books.credits - taken
    stage.assert_books_balance()
    # Whoever makes it good thaws the market.
    stage.does("lp", "token.transfer", "market", taken)
    stage.lost["market"] = 0
    stage.wait(2_000)
    stage.publish("94.5")
    stage.does("attacker", "market.open", *order)


def test_tokens_taken_from_the_pool_stop_deposits_and_no_withdrawal() -> None:
    stage = Stage(**FRICTIONLESS)
    stage.deposit(1_000, by="other_lp")
    stage.does("attacker", "token.seize", "pool", 1)
    stage.lost["pool"] = 1
    deposit = ("pool.deposit", stage.tokens(1), "attacker")
    stage.refuses(errors.BOOKS_BROKEN, "attacker", *deposit)
    mint = ("pool.mint", 10**9, "attacker")
    stage.refuses(errors.BOOKS_BROKEN, "attacker", *mint)
    shares = stage.view("pool.balanceOf", "other_lp")
    redeemed = stage.does("other_lp", "pool.redeem", shares, "other_lp", "other_lp")
    assert redeemed == stage.tokens(1_000)
    stage.assert_books_balance()


@pytest.mark.parametrize("fee_bps", [1, 10_000])
def test_a_token_that_starts_to_keep_a_fee_is_taken_from_nobody(fee_bps: int) -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 100, 600, by="trader")
    stage.does("owner", "token.set_fee", fee_bps)
    order = (LONG, wad(1), stage.tokens(100), ANY_PRICE[LONG])
    stage.refuses(errors.CREDITED_LESS, "attacker", "market.open", *order)
    stage.refuses(errors.CREDITED_LESS, "lp", "pool.deposit", stage.tokens(1), "lp")
    stage.refuses(errors.CREDITED_LESS, "trader", "market.add_margin", position_id, 10**6)
    value = stage.value(position_id, stage.exit_price(position_id))
    assert stage.close(position_id, by="trader") == stage.tokens(600) + value

"""What the roles can do at most; single cases are in tests/contracts/test_configurator.py."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from market_world import wad
from risk_world import GUARDIAN, MARKET, OWNER, RISK, START, THOROUGH, RiskWorld

from python_model.configurator import MAX_RESTRICTION
from python_model.evm import Revert
from python_model.liquidity_pool import Account
from python_model.modules import errors, risk_bounds
from python_model.modules.constants import FRACTION_UNIT, LONG, WAD
from python_model.risk_engine import Book, RiskParams

PRICE = wad(10_000)
CASH = 10**12


def fractions(least: int, most: int) -> st.SearchStrategy[int]:
    units = st.integers(-(-least // FRACTION_UNIT), most // FRACTION_UNIT)
    return units.map(lambda number: number * FRACTION_UNIT)


def ordered(strategy: st.SearchStrategy[int], count: int) -> st.SearchStrategy[Any]:
    return st.lists(strategy, min_size=count, max_size=count, unique=True).map(
        lambda values: tuple(sorted(values))
    )


@st.composite
def tighter_params(draw: st.DrawFn) -> RiskParams:
    """Parameters within the bounds that are as tight as RISK in everything, and differ at will."""
    lower, upper = draw(ordered(fractions(0, RISK.crowding_upper), 2))
    assume(lower <= RISK.crowding_lower)
    moves = (
        draw(fractions(risk_bounds.MIN_MOVE, RISK.max_moves[0])),
        draw(fractions(RISK.max_moves[0], RISK.max_moves[1])),
    )
    size = draw(st.integers(0, RISK.max_open_interest))
    initial = draw(ordered(fractions(RISK.initial_fractions[3], WAD), 4))
    return RISK._replace(
        max_open_interest=size,
        max_skew=draw(st.integers(0, min(size, RISK.max_skew))),
        initial_fractions=initial,
        calm_volatility=draw(fractions(FRACTION_UNIT, RISK.calm_volatility)),
        max_volatility_multiplier=draw(
            fractions(RISK.max_volatility_multiplier, risk_bounds.MAX_MULTIPLIER)
        ),
        crowding_lower=lower,
        crowding_upper=upper,
        max_moves=moves,
        cool_down=draw(st.integers(RISK.cool_down, risk_bounds.MAX_COOL_DOWN)),
        max_liquidated_size=draw(st.integers(1, RISK.max_liquidated_size)),
        max_pool_loss=draw(fractions(risk_bounds.MIN_LOSS_SHARE, RISK.max_pool_loss)),
        max_bad_debt=draw(st.integers(0, RISK.max_bad_debt)),
    )


def pair(tighter: RiskParams) -> tuple[RiskWorld, RiskWorld]:
    """Two equal worlds, of which the second has been tightened."""
    worlds = RiskWorld(), RiskWorld()
    for world in worlds:
        world.observe(PRICE)
    worlds[1].configurator.tighten(worlds[1].target, tighter, sender=OWNER)
    return worlds


@THOROUGH
@given(
    tighter_params(),
    st.integers(-15, 15),
    st.integers(0, wad(50)),
    st.integers(-CASH // 2, CASH // 2),
    st.integers(0, 2 * RISK.max_bad_debt),
)
def test_what_trips_before_trips_after_tightening(
    tighter: RiskParams, step: int, size: int, result: int, shortfall: int
) -> None:
    before, after = pair(tighter)
    for world in (before, after):
        world.wait(60)
    for call in (
        lambda world: world.observe(PRICE * (100 + step) // 100),
        lambda world: world.engine.record_update(size, 0, Account(CASH, 0, result), sender=MARKET),
        lambda world: world.engine.cover_shortfall(shortfall, 0, sender=MARKET),
    ):
        assert call(before) == call(after)
        assert set(before.causes()) <= set(after.causes())
        assert before.engine.breaker().reduce_only_until <= after.engine.breaker().reduce_only_until


@THOROUGH
@given(
    tighter_params(),
    st.integers(-9, 9),
    st.integers(0, 19),
    st.tuples(st.integers(0, wad(250)), st.integers(0, wad(250))),
    st.integers(wad("0.01"), wad(50)),
    st.integers(1, 100),
)
def test_what_is_refused_before_is_refused_after_tightening(
    tighter: RiskParams,
    step: int,
    confidence: int,
    sizes: tuple[int, int],
    size: int,
    cash: int,
) -> None:
    before, after = pair(tighter)
    found: list[int | None] = []
    for world in (before, after):
        world.wait(60)
        price = PRICE * (100 + step) // 100
        world.observe(price, price * confidence // 1_000)
        world.wait(risk_bounds.MAX_COOL_DOWN)
        book = Book(price, *sizes, cash * 10**11)
        try:
            fill = world.engine.increase_terms(LONG, 0, size, book)
        except Revert:
            found.append(None)
        else:
            found.append(fill.initial_fraction)
    looser, stricter = found
    assert stricter is None or (looser is not None and looser <= stricter)


@THOROUGH
@given(tighter_params())
def test_tightening_leaves_maintenance_where_it_is(tighter: RiskParams) -> None:
    """I-15: no change of parameters makes a healthy position liquidatable at once."""
    raised = tighter._replace(
        maintenance_fractions=tuple(
            max(fraction - FRACTION_UNIT, old)
            for fraction, old in zip(
                tighter.initial_fractions, RISK.maintenance_fractions, strict=True
            )
        )
    )
    world = RiskWorld()
    world.configurator.tighten(world.target, raised, sender=OWNER)
    assert world.engine._present_maintenance() == RISK.maintenance_fractions


def test_a_guardian_restricts_at_most_half_of_the_time() -> None:
    """As often and for as long as it is let: never longer than a day, never half of the time."""
    world = RiskWorld()
    restricted = 0
    refused = set()
    for _ in range(100 * 24):
        try:
            world.configurator.guardian_restrict(world.target, MAX_RESTRICTION, sender=GUARDIAN)
        except Revert as revert:
            refused.add(revert.reason)
        for _ in range(2):
            world.wait(1_800)
            restricted += 1_800 * (world.engine.breaker().reduce_only_until >= world.now)
    assert 0 < restricted * 2 <= world.now - START
    assert refused == {errors.RESTRICTED_RECENTLY}


@pytest.mark.parametrize("field", RiskParams._fields)
def test_every_parameter_of_an_announcement_takes_effect(field: str) -> None:
    """What is applied is what was announced, field by field."""
    changed = {
        "max_open_interest": wad(199),
        "max_skew": wad(61),
        "initial_fractions": (wad("0.03"), *RISK.initial_fractions[1:]),
        "maintenance_fractions": (wad("0.009"), *RISK.maintenance_fractions[1:]),
        "move_windows": (301, 3_601),
        "max_moves": (wad("0.06"), wad("0.13")),
        "max_liquidated_size": wad(41),
        "max_bad_debt": 1,
        "cool_down": 601,
        "volatility_window": 3_601,
    }.get(field, getattr(RISK, field))
    if changed == getattr(RISK, field):
        changed = getattr(RISK, field) + FRACTION_UNIT
    params = RISK._replace(**{field: changed})
    world = RiskWorld()
    eta = world.configurator.propose_params(world.target, params, sender=OWNER)
    world.chain.timestamp = eta
    world.configurator.apply_params(world.target, sender=OWNER)
    assert world.engine.params() == params

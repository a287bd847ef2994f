"""Partial size, penalty, reward and settlement against the exact layer."""

from fractions import Fraction

from bounds import (
    DECIMALS,
    FLOWS,
    FRACTIONS,
    PARTIAL_PENALTY_UNITS,
    PARTIAL_SIZE_WEI,
    PARTIAL_TARGET_UNITS,
    PRICES,
    REQUIREMENT_UNITS,
    REWARD_UNITS,
    SIDES,
    SIZES,
    THOROUGH,
    VALUE_UNITS,
    index,
    magnitudes,
    n,
    tokens,
    units,
    wad,
)
from hypothesis import assume, event, given
from hypothesis import strategies as st
from market_world import FRICTIONLESS, PARAMS, RISK, ROLE, World
from market_world import wad as to_wad

from python_model import exact
from python_model.modules import fixed_point, margin_math
from python_model.modules.constants import LONG, MAX_MARGIN, SHORT, WAD


@THOROUGH
@given(st.data(), SIZES, PRICES, magnitudes(WAD, 2), DECIMALS)
def test_partial_size_is_floored(
    data: st.DataObject, size: int, price: int, target: int, decimals: int
) -> None:
    """Less stays than the exact formula allows, by what the ceiled penalty and the floor cost."""
    penalty_fraction = data.draw(st.integers(1, target - 1))
    notional = fixed_point._mul_div_up(size, price, n(decimals))
    equity = data.draw(magnitudes(notional))
    penalty = margin_math._fraction_of_notional_up(size, price, penalty_fraction, n(decimals))
    wanted = exact.partial_size(
        tokens(equity, decimals), wad(size), wad(price), wad(target), wad(penalty_fraction)
    )
    stays = margin_math._partial_size_down(
        equity, penalty, price, target, penalty_fraction, n(decimals)
    )
    width = Fraction(n(decimals) * WAD, (target - penalty_fraction) * price)
    assert 0 <= wanted * WAD - stays < PARTIAL_PENALTY_UNITS * width + PARTIAL_SIZE_WEI


@THOROUGH
@given(magnitudes(MAX_MARGIN), FRACTIONS)
def test_reward_is_floored(penalty: int, keeper_share: int) -> None:
    wanted = exact.reward(Fraction(penalty), wad(keeper_share))
    reward = fixed_point._mul_div_down(penalty, keeper_share, WAD)
    assert 0 <= wanted - reward < REWARD_UNITS


@given(st.data(), SIZES, PRICES, magnitudes(WAD, 2), st.fractions(0, 1))
def test_exact_partial_liquidation_meets_its_target(
    data: st.DataObject, size: int, price: int, target: int, share: Fraction
) -> None:
    """What stays has exactly the target as equity: the closed form solves its equation."""
    at, penalty_fraction = wad(price), data.draw(st.integers(1, target - 1))
    equity = share * exact.requirement(wad(size), at, wad(target))
    stays = exact.partial_size(equity, wad(size), at, wad(target), wad(penalty_fraction))
    assume(stays > 0)
    assert stays <= wad(size)
    left = equity - exact.penalty(wad(size) - stays, at, wad(penalty_fraction))
    assert left == exact.requirement(stays, at, wad(target))


@st.composite
def falls(draw: st.DrawFn) -> tuple[World, int, int]:
    """A market, a position in it that is liquidatable at the price given too, and that price."""
    decimals = draw(DECIMALS)
    world = World(decimals, is_watched=False, cash=100_000_000, **FRICTIONLESS)
    side = draw(SIDES)
    size = draw(st.integers(10**17, 10**22))
    if draw(st.booleans()):
        world.market.fund_insurance(world.tokens(draw(st.integers(1, 50_000))), sender=ROLE["lp"])
    tier = world.engine._tier_of(size)
    worth = size * 100 * world.unit // WAD
    margin = worth * RISK.initial_fractions[tier] // WAD + worth // 10**6 + 2
    margin += draw(st.integers(0, worth // 50))
    worst = 2**255 if side == LONG else 0
    position_id = world.market.open(side, size, margin, worst, sender=ROLE["trader"])
    lot = exact.Lot(side, wad(size), world.amount(margin), Fraction(100), Fraction(0))
    at = exact.liquidation_price(lot, Fraction(0), wad(RISK.maintenance_fractions[tier]))
    move = draw(st.fractions(Fraction(1, 10**6), Fraction(1, 5), max_denominator=10**6))
    price = int(at * (1 - exact.sign(side) * move) * WAD)
    return world, position_id, price


@FLOWS
@given(falls())
def test_liquidation_in_a_market_is_the_exact_one_but_for_rounding(
    case: tuple[World, int, int],
) -> None:
    world, position_id, price = case
    before = world.position(position_id)
    books = world.market.solvency()
    decimals = world.token.decimals
    lot = exact.Lot(
        before.side,
        wad(before.size),
        tokens(before.margin, decimals),
        wad(before.entry_price),
        index(before.entry_funding),
    )
    initial_fraction = RISK.initial_fractions[before.tier]
    pool_before = world.pool.cash()
    world.wait(1)
    world.publish_wad(price)
    _, owner, size, at, value, penalty, reward, returned, used, bad_debt = world.event(
        "PositionLiquidated"
    )
    assert (owner, at) == (ROLE["trader"], price)
    equity = exact.equity(lot, wad(price), Fraction(0))
    full_penalty = exact.penalty(lot.size, wad(price), wad(PARAMS.liquidation_penalty))
    stays = exact.partial_size(
        equity,
        lot.size,
        wad(price),
        wad(initial_fraction),
        wad(PARAMS.liquidation_penalty),
    )
    # Every unit that left the position is somewhere: pool, insurance, rewards, owner.
    after = world.market.solvency()
    rest_margin = world.position(position_id).margin if world.is_open(position_id) else 0
    assert world.pool.cash() - pool_before == -value - bad_debt
    assert after.insurance - books.insurance == penalty - reward - used
    assert after.credits == reward + returned
    assert after.bad_debt == bad_debt
    assert before.margin + value + used + bad_debt == rest_margin + penalty + returned
    assert 0 <= exact.reward(Fraction(penalty), wad(PARAMS.keeper_share)) - reward < REWARD_UNITS
    world.assert_books_balance()
    if world.is_open(position_id):
        event("partial")
        rest = world.position(position_id)
        assert (returned, used, bad_debt) == (0, 0, 0)
        assert rest.size == before.size - size
        assert wad(rest.size) <= stays
        target = margin_math._fraction_of_notional_up(
            rest.size, price, initial_fraction, n(decimals)
        )
        assert world.equity(position_id) >= target - PARTIAL_TARGET_UNITS
        paid = units(
            exact.penalty(wad(size), wad(price), wad(PARAMS.liquidation_penalty)), decimals
        )
        assert 0 <= penalty - paid < REQUIREMENT_UNITS
        return
    event("bad debt" if bad_debt else "insured" if used else "full")
    wanted = exact.settle_in_full(equity, full_penalty, tokens(books.insurance, decimals))
    assert size == before.size
    assert (
        0
        <= units(exact.position_value(lot, wad(price), Fraction(0)), decimals) - value
        < (VALUE_UNITS)
    )
    assert -VALUE_UNITS < penalty - units(wanted.penalty, decimals) < REQUIREMENT_UNITS
    assert 0 <= units(wanted.returned, decimals) - returned < VALUE_UNITS + REQUIREMENT_UNITS
    covered = units(wanted.insurance_used + wanted.bad_debt, decimals)
    assert 0 <= used + bad_debt - covered < VALUE_UNITS
    assert used == min(books.insurance, used + bad_debt)


def test_partial_liquidation_ends_two_units_short_of_its_target_at_most() -> None:
    """The bound is met: what stays may lack two units of its initial requirement, never three."""
    short = set()
    for extra in range(400):
        world = World(6, is_watched=False, **FRICTIONLESS)
        size = to_wad(7) + 10**14 * extra + extra
        position_id = world.market.open(SHORT, size, 36_000_000, 0, sender=ROLE["trader"])
        world.wait(1)
        world.publish_wad(to_wad("103.2") - 7 * extra)
        rest = world.position(position_id)
        assert rest.size < size
        fraction = RISK.initial_fractions[0]
        target = margin_math._fraction_of_notional_up(rest.size, rest_price(world), fraction, n(6))
        short.add(target - world.equity(position_id))
    assert max(short) == PARTIAL_TARGET_UNITS


def rest_price(world: World) -> int:
    return int(world.market.marks().price)

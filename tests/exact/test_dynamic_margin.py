"""Variance, multiplier, crowding and ramp against the exact layer; bounds in units of 1e-18.

Everything asked of whoever adds risk is at least the exact amount, the ramp at most.
"""

from fractions import Fraction

from bounds import PRICES, THOROUGH, magnitudes, wad
from hypothesis import given
from hypothesis import strategies as st

from python_model import exact
from python_model.modules import dynamic_margin
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, WAD
from python_model.modules.risk_bounds import MAX_MULTIPLIER, MAX_WINDOW, MIN_WINDOW

# Of one rounding.
UNIT = 1
# base * multiplier ceiled, then the crowd's part ceiled; the first counts at most once in the sum.
INITIAL_UNITS = 2
MOST = dynamic_margin.MAX_CHANGE

VARIANCES = st.just(0) | magnitudes(MOST**2)
CHANGES = st.just(0) | magnitudes(MOST)
SECONDS = st.integers(1, 10**6)
WINDOWS = st.integers(MIN_WINDOW, MAX_WINDOW)
FRACTIONS = st.integers(1, 10**7).map(lambda units: units * FRACTION_UNIT)
CASH = st.just(0) | magnitudes(MAX_MARGIN)
BOUNDS = st.lists(
    st.integers(0, 10**7).map(lambda units: units * FRACTION_UNIT),
    min_size=2,
    max_size=2,
    unique=True,
).map(sorted)


def square(value: int) -> Fraction:
    """A variance as the model holds it."""
    return Fraction(value, WAD**2)


@THOROUGH
@given(PRICES, PRICES)
def test_a_change_is_ceiled_and_compares_like_the_exact_one(price: int, reference: int) -> None:
    wanted = exact.change(wad(price), wad(reference)) * WAD
    found = dynamic_margin._change(price, reference)
    assert 0 <= found - wanted < UNIT
    for bound in (found - 1, found, found + 1):
        assert (found > bound) == (wanted > bound)


@THOROUGH
@given(VARIANCES, CHANGES, SECONDS, WINDOWS)
def test_a_variance_step_is_ceiled(variance: int, change: int, elapsed: int, window: int) -> None:
    wanted = exact.next_variance(square(variance), wad(change), Fraction(elapsed), Fraction(window))
    found = dynamic_margin._next_variance(variance, change, elapsed, window)
    assert 0 <= found - wanted * WAD**2 < UNIT
    assert found <= max(variance, change**2)


@THOROUGH
@given(st.integers(MOST, 10 * MOST), SECONDS, WINDOWS)
def test_a_change_counts_up_to_its_cap(change: int, elapsed: int, window: int) -> None:
    found = dynamic_margin._next_variance(0, change, elapsed, window)
    assert found == dynamic_margin._next_variance(0, MOST, elapsed, window)


@THOROUGH
@given(st.lists(st.tuples(PRICES, SECONDS), min_size=2, max_size=20), WINDOWS)
def test_a_variance_over_many_prices_stays_above_the_exact_one(
    steps: list[tuple[int, int]], window: int
) -> None:
    """Each step adds less than one unit and what the ceiled change adds to its square; of what was
    added before, less than the whole is carried on."""
    found, wanted, added = 0, Fraction(0), Fraction(0)
    last = steps[0][0]
    for price, elapsed in steps[1:]:
        change = min(dynamic_margin._change(price, last), MOST)
        return_ = min(exact.change(wad(price), wad(last)), wad(MOST))
        found = dynamic_margin._next_variance(found, change, elapsed, window)
        wanted = exact.next_variance(wanted, return_, Fraction(elapsed), Fraction(window))
        weight = Fraction(1, window + elapsed)
        added = (added * window + 2 * change + 1) * weight + UNIT
        assert 0 <= found - wanted * WAD**2 <= added
        last = price


def test_a_constant_move_per_second_is_its_own_variance() -> None:
    variance, change = 0, WAD // 1_000
    for _ in range(4_000):
        variance = dynamic_margin._next_variance(variance, change, 10, 600)
    wanted = square(change**2) / 10 * WAD**2
    assert abs(variance - wanted) <= 61 * UNIT


@THOROUGH
@given(VARIANCES)
def test_volatility_is_the_ceiled_root_of_the_daily_variance(variance: int) -> None:
    daily = exact.daily_variance(square(variance)) * WAD**2
    found = dynamic_margin._volatility(variance)
    assert found**2 >= daily
    assert found == 0 or (found - 1) ** 2 < daily


@THOROUGH
@given(VARIANCES, FRACTIONS, st.integers(WAD, MAX_MULTIPLIER))
def test_the_multiplier_is_ceiled_within_its_bounds(variance: int, calm: int, most: int) -> None:
    volatility = dynamic_margin._volatility(variance)
    wanted = exact.volatility_multiplier(wad(volatility), wad(calm), wad(most)) * WAD
    found = dynamic_margin._volatility_multiplier(variance, calm, most)
    assert 0 <= found - wanted < UNIT
    assert WAD <= found <= most


@THOROUGH
@given(CASH, CASH)
def test_utilisation_is_ceiled(reserved: int, cash: int) -> None:
    wanted = exact.utilisation(Fraction(reserved), Fraction(cash)) * WAD
    found = dynamic_margin._utilisation(reserved, cash)
    assert 0 <= found - wanted < UNIT
    assert found <= WAD


@THOROUGH
@given(
    FRACTIONS,
    st.integers(WAD, MAX_MULTIPLIER),
    st.integers(0, WAD // 10),
    st.integers(0, WAD),
    BOUNDS,
)
def test_the_initial_fraction_is_ceiled(
    base: int, multiplier: int, confidence: int, used: int, bounds: list[int]
) -> None:
    lower, upper = bounds
    arguments = (base, multiplier, confidence, used, lower, upper)
    wanted = exact.initial_fraction(*map(wad, arguments)) * WAD
    found = dynamic_margin._initial_fraction(*arguments)
    assert 0 <= found - wanted < INITIAL_UNITS
    assert base <= found <= WAD
    assert used < upper or found == WAD


@THOROUGH
@given(
    FRACTIONS,
    st.tuples(st.integers(WAD, MAX_MULTIPLIER), st.integers(0, WAD // 10), st.integers(0, WAD)),
    st.tuples(st.integers(WAD, MAX_MULTIPLIER), st.integers(0, WAD // 10), st.integers(0, WAD)),
    BOUNDS,
)
def test_the_initial_fraction_never_falls_when_risk_rises(
    base: int, one: tuple[int, int, int], other: tuple[int, int, int], bounds: list[int]
) -> None:
    """I-3: in volatility, confidence and utilisation, each by itself and together."""
    low = [min(pair) for pair in zip(one, other, strict=True)]
    high = [max(pair) for pair in zip(one, other, strict=True)]
    lower, upper = bounds
    least = dynamic_margin._initial_fraction(base, *low, lower, upper)
    assert least <= dynamic_margin._initial_fraction(base, *high, lower, upper)


@THOROUGH
@given(FRACTIONS, FRACTIONS, st.integers(0, 4 * 10**6), st.integers(0, 4 * 10**6))
def test_the_ramp_is_floored_to_a_unit(old: int, new: int, elapsed: int, duration: int) -> None:
    wanted = exact.ramped(wad(old), wad(new), Fraction(elapsed), Fraction(duration)) * WAD
    found = dynamic_margin._ramped(old, new, elapsed, duration)
    assert 0 <= wanted - found < FRACTION_UNIT
    assert min(old, new) <= found <= max(old, new)
    assert dynamic_margin._ramped(old, new, 0, max(duration, 1)) == old
    assert dynamic_margin._ramped(old, new, duration, duration) == new


@THOROUGH
@given(FRACTIONS, FRACTIONS, st.lists(st.integers(0, 10**6), min_size=2), st.integers(1, 10**6))
def test_the_ramp_never_turns_back(old: int, new: int, times: list[int], duration: int) -> None:
    path = [dynamic_margin._ramped(old, new, elapsed, duration) for elapsed in sorted(times)]
    assert path == sorted(path, reverse=new < old)

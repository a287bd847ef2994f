"""Rates, index steps and what the pool gets between them against the exact layer."""

from bounds import (
    INDEX_UNITS,
    PRICES,
    RATE_UNITS,
    THOROUGH,
    index,
    magnitudes,
    wad,
)
from hypothesis import given
from hypothesis import strategies as st

from python_model import exact
from python_model.modules import funding_index
from python_model.modules.constants import LONG, MAX_MARGIN, MAX_SIZE, SHORT

SCALE = 10**27
RATES = st.just(0) | magnitudes(10**12)  # the factory's bound, WAD per second
SIZES = st.just(0) | magnitudes(MAX_SIZE)
SECONDS = magnitudes(10**9)
CASH = st.just(0) | magnitudes(MAX_MARGIN)


def both_steps(skew_rate: int, use_rate: int, price: int, elapsed: int) -> tuple[int, int]:
    return (
        funding_index._index_step(LONG, skew_rate, use_rate, price, elapsed),
        funding_index._index_step(SHORT, skew_rate, use_rate, price, elapsed),
    )


@THOROUGH
@given(SIZES, SIZES, magnitudes(MAX_SIZE), RATES)
def test_funding_rate_is_rounded_towards_zero(
    longs: int, shorts: int, scale: int, max_rate: int
) -> None:
    wanted = exact.funding_rate(wad(longs - shorts), wad(scale), wad(max_rate)) * SCALE
    rate = funding_index._funding_rate(longs - shorts, scale, max_rate)
    assert 0 <= abs(wanted) - abs(rate) < RATE_UNITS
    assert rate == 0 or (rate > 0) == (longs > shorts)
    assert abs(rate) <= max_rate * 10**9


@THOROUGH
@given(CASH, CASH, RATES)
def test_utilisation_rate_is_ceiled(reserved: int, cash: int, max_rate: int) -> None:
    wanted = exact.utilisation_rate(wad(reserved), wad(cash), wad(max_rate)) * SCALE
    rate = funding_index._utilisation_rate(reserved, cash, max_rate)
    assert 0 <= rate - wanted < RATE_UNITS
    assert rate <= max_rate * 10**9


@THOROUGH
@given(
    st.sampled_from([LONG, SHORT]),
    st.integers(-(10**21), 10**21),
    st.integers(0, 10**21),
    PRICES,
    SECONDS,
)
def test_index_step_is_ceiled(
    side: int, skew_rate: int, use_rate: int, price: int, elapsed: int
) -> None:
    """What is paid rounds up, what is received (negative) towards zero."""
    step = funding_index._index_step(side, skew_rate, use_rate, price, elapsed)
    wanted = exact.index_step(side, index(skew_rate), index(use_rate), wad(price), elapsed)
    assert 0 <= step - wanted * SCALE < INDEX_UNITS


@THOROUGH
@given(SIZES, SIZES, magnitudes(MAX_SIZE), RATES, CASH, CASH, RATES, PRICES, SECONDS)
def test_pool_between_the_sides_never_pays(
    longs: int,
    shorts: int,
    scale: int,
    max_rate: int,
    reserved: int,
    cash: int,
    max_use_rate: int,
    price: int,
    elapsed: int,
) -> None:
    """What the pool gets is never negative, and less than the exact sum by no more than the floored
    rate on the skew: |K| * 1e-27 per second * price * seconds."""
    skew_rate = funding_index._funding_rate(longs - shorts, scale, max_rate)
    use_rate = funding_index._utilisation_rate(reserved, cash, max_use_rate)
    steps = both_steps(skew_rate, use_rate, price, elapsed)
    got = exact.pool_funding(wad(longs), wad(shorts), index(steps[0]), index(steps[1]))
    assert got >= 0
    rates = (
        exact.funding_rate(wad(longs - shorts), wad(scale), wad(max_rate)),
        exact.utilisation_rate(wad(reserved), wad(cash), wad(max_use_rate)),
    )
    wanted = exact.pool_funding(
        wad(longs),
        wad(shorts),
        exact.index_step(LONG, *rates, wad(price), elapsed),
        exact.index_step(SHORT, *rates, wad(price), elapsed),
    )
    assert wanted >= 0
    assert got >= wanted - abs(wad(longs - shorts)) * index(RATE_UNITS) * wad(price) * elapsed


@THOROUGH
@given(st.integers(-(10**21), 10**21), st.integers(0, 10**21), PRICES, SECONDS, SECONDS)
def test_settling_more_often_never_saves_a_payer(
    skew_rate: int, use_rate: int, price: int, first: int, second: int
) -> None:
    """Two steps cost a side no less than one over the same time, and at most one unit more."""
    split = zip(
        both_steps(skew_rate, use_rate, price, first),
        both_steps(skew_rate, use_rate, price, second),
        strict=True,
    )
    whole = both_steps(skew_rate, use_rate, price, first + second)
    for (one, two), once in zip(split, whole, strict=True):
        assert 0 <= one + two - once <= INDEX_UNITS

"""Fill price, maker or taker, and averaging on an increase against the exact layer."""

from bounds import (
    DECIMALS,
    FUNDINGS,
    INDEX_UNITS,
    PRICE_WEI,
    PRICES,
    SIDES,
    SIZES,
    THOROUGH,
    VALUE_UNITS,
    Fraction,
    index,
    magnitudes,
    n,
    signed,
    units,
    v,
    wad,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from python_model import exact
from python_model.modules import margin_math
from python_model.modules.constants import FUNDING_PRECISION, LONG, MAX_SIZE, WAD


@st.composite
def trades(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Side, size, skew before and scale, the skew staying within the scale."""
    scale = draw(magnitudes(MAX_SIZE))
    before = draw(st.integers(-scale, scale))
    after = draw(st.integers(-scale, scale))
    assume(before != after)
    return int(after < before), abs(after - before), before, scale


@THOROUGH
@given(trades(), PRICES)
def test_fill_price_is_rounded_against_the_trader(
    trade: tuple[int, int, int, int], price: int
) -> None:
    side, size, skew, scale = trade
    wanted = exact.fill_price(side, wad(size), wad(price), wad(skew), wad(scale)) * WAD
    doubled_skew = 2 * skew + exact.sign(side) * size
    filled = margin_math._fill_price(side, price, doubled_skew, scale)
    cost = filled - wanted if side == LONG else wanted - filled
    assert 0 <= cost < PRICE_WEI


@THOROUGH
@given(trades())
def test_maker_is_who_brings_the_skew_nearer_to_zero(trade: tuple[int, int, int, int]) -> None:
    side, size, skew, _ = trade
    doubled_skew = 2 * skew + exact.sign(side) * size
    leans_the_other_way = doubled_skew < 0 if side == LONG else doubled_skew > 0
    assert exact.is_maker(side, wad(size), wad(skew)) == leans_the_other_way


@THOROUGH
@given(trades(), PRICES, st.fractions(0, 1))
def test_cost_of_a_trade_is_that_of_its_parts(
    trade: tuple[int, int, int, int], price: int, share: Fraction
) -> None:
    side, size, skew, scale = (trade[0], *(wad(item) for item in trade[1:]))
    whole = size * exact.fill_price(side, size, wad(price), skew, scale)
    part = size * share
    between = exact.skew_after(side, part, skew)
    first = part * exact.fill_price(side, part, wad(price), skew, scale)
    rest = (size - part) * exact.fill_price(side, size - part, wad(price), between, scale)
    assert whole == first + rest


@THOROUGH
@given(SIDES, SIZES, PRICES, SIZES, PRICES)
def test_mean_entry_price_is_rounded_against_the_trader(
    side: int, size: int, entry: int, added: int, filled: int
) -> None:
    wanted = exact.average(wad(size), wad(entry), wad(added), wad(filled)) * WAD
    mean = margin_math._average_entry_price(side, size, entry, added, filled)
    cost = mean - wanted if side == LONG else wanted - mean
    assert 0 <= cost < PRICE_WEI
    assert min(entry, filled) <= mean <= max(entry, filled)


@THOROUGH
@given(SIZES, FUNDINGS, SIZES, FUNDINGS)
def test_mean_entry_index_is_rounded_against_the_trader(
    size: int, entry: int, added: int, funding: int
) -> None:
    wanted = exact.average(wad(size), index(entry), wad(added), index(funding))
    mean = margin_math._average_entry_funding(size, entry, added, funding)
    assert 0 <= wanted * WAD * FUNDING_PRECISION - mean < INDEX_UNITS


@THOROUGH
@given(SIDES, SIZES, PRICES, FUNDINGS, SIZES, PRICES, signed(2**120), PRICES, DECIMALS)
def test_averaging_costs_the_trader_no_more_than_stated(
    side: int,
    size: int,
    entry: int,
    entry_funding: int,
    added: int,
    filled: int,
    growth: int,
    price: int,
    decimals: int,
) -> None:
    """The merged position is worth its two lots less at most one wei of price and one unit of index
    on the whole size, and one floor."""
    total = size + added
    assume(total <= MAX_SIZE)
    funding = entry_funding + growth
    lots = (
        exact.Lot(side, wad(size), Fraction(0), wad(entry), index(entry_funding)),
        exact.Lot(side, wad(added), Fraction(0), wad(filled), index(funding)),
    )
    wanted = sum(exact.position_value(lot, wad(price), index(funding)) for lot in lots)
    merged = margin_math._position_value(
        side,
        total,
        margin_math._average_entry_price(side, size, entry, added, filled),
        margin_math._average_entry_funding(size, entry_funding, added, funding),
        price,
        funding,
        v(decimals),
    )
    bound = Fraction(total * PRICE_WEI, n(decimals)) + Fraction(total * INDEX_UNITS, v(decimals))
    assert 0 <= units(Fraction(wanted), decimals) - merged < bound + VALUE_UNITS

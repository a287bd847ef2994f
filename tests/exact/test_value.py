"""Value, requirement, liquidation rule, trigger key and bucket against the exact layer."""

from bounds import (
    BUCKET_WIDTH,
    DECIMALS,
    FRACTIONS,
    FUNDINGS,
    INDEX_UNITS,
    KEY_MARGIN_UNITS,
    LIQUIDATION_UNITS,
    MARGINS,
    PRICES,
    REQUIREMENT_UNITS,
    SIDES,
    SIZES,
    THOROUGH,
    VALUE_UNITS,
    Fraction,
    index,
    magnitudes,
    n,
    signed,
    tokens,
    units,
    v,
    wad,
)
from hypothesis import assume, event, given
from hypothesis import strategies as st

from python_model import exact
from python_model.modules import fixed_point, margin_math, trigger_key
from python_model.modules.constants import MAX_PRICE, MAX_SIZE, WAD

INDEX_SCALE = 10**27


class Holding:
    """A position with a mark to judge it by, in both arithmetic."""

    def __init__(
        self,
        side: int,
        size: int,
        margin: int,
        entry_price: int,
        entry_funding: int,
        funding: int,
        maintenance: int,
        decimals: int,
    ) -> None:
        self.side, self.size, self.margin = side, size, margin
        self.entry_price, self.entry_funding = entry_price, entry_funding
        self.funding, self.maintenance, self.decimals = funding, maintenance, decimals
        self.lot = exact.Lot(
            side, wad(size), tokens(margin, decimals), wad(entry_price), index(entry_funding)
        )

    def __repr__(self) -> str:
        return f"Holding({', '.join(f'{name}={value}' for name, value in vars(self).items())})"

    def value(self, price: int) -> int:
        return margin_math._position_value(
            self.side,
            self.size,
            self.entry_price,
            self.entry_funding,
            price,
            self.funding,
            v(self.decimals),
        )

    def requirement(self, price: int) -> int:
        return margin_math._fraction_of_notional_up(
            self.size, price, self.maintenance, n(self.decimals)
        )

    def is_liquidatable(self, price: int) -> bool:
        return self.margin + self.value(price) < self.requirement(price)

    def surplus(self, price: int) -> Fraction:
        """Exact equity less exact requirement, token units; negative: liquidatable."""
        equity = exact.equity(self.lot, wad(price), index(self.funding))
        needed = exact.requirement(wad(self.size), wad(price), wad(self.maintenance))
        return units(equity - needed, self.decimals)

    def key(self) -> int:
        return trigger_key._trigger_key(
            self.side,
            self.size,
            self.margin,
            self.entry_price,
            self.entry_funding,
            v(self.decimals),
        )

    def threshold(self, price: int) -> int:
        return trigger_key._threshold(self.side, price, self.maintenance, self.funding)


HOLDINGS = st.builds(
    Holding, SIDES, SIZES, MARGINS, PRICES, FUNDINGS, FUNDINGS, FRACTIONS, DECIMALS
)

# Sizes, margins and prices of one scale, so that the liquidation price is a price.
NATURAL_HOLDINGS = st.builds(
    lambda side, size, entry, leverage, funding, growth, maintenance, decimals: Holding(
        side,
        size,
        max(1, size * entry // n(decimals) // leverage),
        entry,
        funding,
        funding + growth,
        maintenance,
        decimals,
    ),
    SIDES,
    magnitudes(10**24, 10**9),
    magnitudes(10**24, 10**12),
    st.integers(1, 200),
    FUNDINGS,
    signed(10**30),
    magnitudes(WAD // 2, 10**12),
    DECIMALS,
)


@st.composite
def judged(draw: st.DrawFn) -> tuple[Holding, int]:
    """A position and a price, most often within a few wei of its exact liquidation price."""
    holding = draw(NATURAL_HOLDINGS | HOLDINGS)
    price = draw(PRICES)
    denominator = exact.sign(holding.side) - wad(holding.maintenance)
    if denominator and draw(st.integers(0, 4)):
        at = exact.liquidation_price(holding.lot, index(holding.funding), wad(holding.maintenance))
        near = int(at * WAD) + draw(st.integers(-3, 3) | signed(10**12))
        price = min(max(near, 1), MAX_PRICE)
    return holding, price


@THOROUGH
@given(HOLDINGS, PRICES)
def test_value_is_floored(holding: Holding, price: int) -> None:
    wanted = exact.position_value(holding.lot, wad(price), index(holding.funding))
    assert 0 <= units(wanted, holding.decimals) - holding.value(price) < VALUE_UNITS


@THOROUGH
@given(magnitudes(2 * MAX_SIZE), PRICES, FRACTIONS | st.just(0), DECIMALS)
def test_requirement_fee_penalty_and_reserve_are_ceiled(
    size: int, price: int, fraction: int, decimals: int
) -> None:
    wanted = units(exact.requirement(wad(size), wad(price), wad(fraction)), decimals)
    charged = margin_math._fraction_of_notional_up(size, price, fraction, n(decimals))
    assert 0 <= charged - wanted < REQUIREMENT_UNITS
    assert wanted == units(exact.trade_fee(wad(size), wad(price), wad(fraction)), decimals)
    assert wanted == units(exact.penalty(wad(size), wad(price), wad(fraction)), decimals)


@THOROUGH
@given(judged())
def test_integer_rule_liquidates_early_by_less_than_two_units(case: tuple[Holding, int]) -> None:
    holding, price = case
    surplus = holding.surplus(price)
    event("liquidatable" if holding.is_liquidatable(price) else "healthy")
    if surplus < 0:
        assert holding.is_liquidatable(price)
    if holding.is_liquidatable(price):
        assert surplus < LIQUIDATION_UNITS


@THOROUGH
@given(judged())
def test_exact_key_above_threshold_is_the_exact_rule(case: tuple[Holding, int]) -> None:
    holding, price = case
    funding, maintenance = index(holding.funding), wad(holding.maintenance)
    threshold = exact.trigger_threshold(holding.side, wad(price), funding, maintenance)
    is_due = exact.trigger_key(holding.lot) > threshold
    assert is_due == exact.is_liquidatable(holding.lot, wad(price), funding, maintenance)
    assert is_due == (holding.surplus(price) < 0)


@THOROUGH
@given(HOLDINGS)
def test_at_the_liquidation_price_equity_is_the_requirement(holding: Holding) -> None:
    funding, maintenance = index(holding.funding), wad(holding.maintenance)
    assume(exact.sign(holding.side) != maintenance)
    price = exact.liquidation_price(holding.lot, funding, maintenance)
    equity = exact.equity(holding.lot, price, funding)
    assert equity == exact.requirement(holding.lot.size, price, maintenance)
    assert exact.equity(holding.lot, exact.bankruptcy_price(holding.lot, funding), funding) == 0


@THOROUGH
@given(HOLDINGS)
def test_key_is_ceiled_with_a_unit_of_margin_left_out(holding: Holding) -> None:
    wanted = exact.trigger_key(holding.lot) * INDEX_SCALE
    wanted += Fraction(KEY_MARGIN_UNITS * v(holding.decimals), holding.size)
    assert 0 <= holding.key() - wanted < INDEX_UNITS


@THOROUGH
@given(HOLDINGS, PRICES)
def test_threshold_is_floored(holding: Holding, price: int) -> None:
    wanted = exact.trigger_threshold(
        holding.side, wad(price), index(holding.funding), wad(holding.maintenance)
    )
    assert 0 <= wanted * INDEX_SCALE - holding.threshold(price) < INDEX_UNITS


@THOROUGH
@given(judged())
def test_liquidatable_position_is_never_hidden_by_its_bucket(case: tuple[Holding, int]) -> None:
    holding, price = case
    bucket = trigger_key._bucket_of(holding.key())
    assert 0 <= bucket < 2**24
    event("liquidatable" if holding.is_liquidatable(price) else "healthy")
    if holding.is_liquidatable(price):
        assert holding.key() > holding.threshold(price)
        assert trigger_key._highest_key(bucket) > holding.threshold(price)


@THOROUGH
@given(signed(trigger_key.MAX_KEY) | st.integers(-(2**18), 2**18))
def test_bucket_holds_its_key_and_is_no_wider_than_stated(key: int) -> None:
    bucket = trigger_key._bucket_of(key)
    assert 0 <= trigger_key._highest_key(bucket) - key <= abs(key) * BUCKET_WIDTH
    assert trigger_key._bucket_of(trigger_key._highest_key(bucket)) == bucket
    assert trigger_key._highest_key(bucket - 1) < key


@THOROUGH
@given(signed(2**130), signed(2**130) | st.integers(-3, 3))
def test_buckets_order_like_keys(key: int, step: int) -> None:
    other = key + abs(step)
    assert trigger_key._bucket_of(key) <= trigger_key._bucket_of(other)


@THOROUGH
@given(signed(2**250), magnitudes(2**128))
def test_signed_quotients_bracket_the_exact_one(x: int, denominator: int) -> None:
    wanted = Fraction(x, denominator)
    floor = fixed_point._signed_div_floor(x, denominator)
    ceil = fixed_point._signed_div_ceil(x, denominator)
    assert floor <= wanted < floor + 1
    assert ceil - 1 < wanted <= ceil

"""Numbers that exchanges publish for margins that grow with open interest or with size.

Both venues raise an initial fraction along a straight line up to 100 %. That line is the crowding
term of docs/spec.md, of which only the ends and what moves along it differ: the pool's utilisation
here, open interest at dYdX, the position's own size at Deribit.
"""

from fractions import Fraction

import pytest

from python_model import exact
from python_model.modules import dynamic_margin, margin_math
from python_model.modules.constants import WAD

NO_CONFIDENCE = 0
CALM = WAD


def crowded(base_fraction: Fraction, used: int, lower: int, upper: int) -> Fraction:
    """The exact initial fraction in calm markets; the integer one is the same, rounded up."""
    wanted = exact.initial_fraction(
        base_fraction, Fraction(1), Fraction(0), Fraction(used), Fraction(lower), Fraction(upper)
    )
    found = dynamic_margin._initial_fraction(
        int(base_fraction * WAD), CALM, NO_CONFIDENCE, used, lower, upper
    )
    assert 0 <= found - wanted * WAD < 1
    return wanted


@pytest.mark.parametrize(
    ("open_interest", "published_ppm"),
    [
        (0, 200_000),
        (1_000_000, 200_000),
        (1_500_000, 600_000),
        (1_234_567, 387_653),
        (2_000_000, 1_000_000),
        (2_500_000, 1_000_000),
    ],
)
def test_dydx_initial_margin_by_open_interest(open_interest: int, published_ppm: int) -> None:
    """dYdX v4 chain, TestGetAdjustedInitialMarginPpm: base 20 %, caps of 1 M and 2 M.

    The fraction of 1,234,567 is 0.3876536; the published one is rounded down to parts per million
    as its comment says, ours up to 1e-18."""
    fraction = crowded(Fraction("0.2"), open_interest, 1_000_000, 2_000_000)
    assert int(fraction * 1_000_000) == published_ppm


@pytest.mark.parametrize(
    ("open_interest", "lower", "upper", "published"),
    [
        (1_500_000_000_000, 1_000_000_000_000, 2_000_000_000_000, 300_000),
        (80_000_000_000_000, 25_000_000_000_000, 50_000_000_000_000, 500_000),
        (25_000_000_000_000, 25_000_000_000_000, 50_000_000_000_000, 100_000),
        (28_123_456_789_123, 25_000_000_000_000, 60_000_000_000_000, 135_697),
    ],
)
def test_dydx_initial_margin_of_a_position(
    open_interest: int, lower: int, upper: int, published: int
) -> None:
    """dYdX v4 chain, TestGetInitialMarginQuoteQuantums: base 20 %, a notional of 500,000 quantums;
    the requirement is rounded up."""
    fraction = dynamic_margin._initial_fraction(
        WAD // 5, CALM, NO_CONFIDENCE, open_interest, lower, upper
    )
    # 500,000 token units of a token without decimals: one unit of the underlying at that price.
    required = margin_math._fraction_of_notional_up(WAD, 500_000 * WAD, fraction, 10**36)
    assert required == published


@pytest.mark.parametrize(
    ("size", "base_percent", "published"),
    [(25, 2, 53_125), (25, 1, 28_125), (350, 2, 1_312_500)],
)
def test_deribit_linear_ramp(size: int, base_percent: int, published: int) -> None:
    """Deribit, linear BTC perpetual at 100,000: initial margin 2 %, maintenance 1 %, each plus
    0.005 % per BTC: 25 BTC need 53,125 and 28,125, 350 BTC need 1,312,500.

    Convention not shared: there the position's own size moves along the line, here tiers step. The
    line from the base at size 0 reaches 100 % at (1 - base) / 0.005 %."""
    base = Fraction(base_percent, 100)
    end = (1 - base) / Fraction("0.00005")
    assert end.denominator == 1
    fraction = crowded(base, size, 0, int(end))
    assert exact.requirement(Fraction(size), Fraction(100_000), fraction) == published

"""How far the integer model may be from the exact layer, and the numbers both are fed.

Every bound is one-sided: the integer result is on the protocol's side of the exact one. "Unit" is a
token unit; n(d) = 10**(36-d) turns size * price into units, v(d) = 10**(45-d) size * index.
"""

from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st

from python_model.modules.constants import FUNDING_PRECISION, MAX_MARGIN, MAX_PRICE, MAX_SIZE, WAD

# Value and equity: one floor of size * (gain - funding) / v.
VALUE_UNITS = 1
# Requirement, fee, penalty, reserve: one ceil of size * price * fraction / (n * WAD).
REQUIREMENT_UNITS = 1
# Equity floored, requirement ceiled: liquidated early by less than the sum of both.
LIQUIDATION_UNITS = VALUE_UNITS + REQUIREMENT_UNITS
# Reward, shares and assets of the pool: one floor or ceil each.
REWARD_UNITS = 1
SHARE_UNITS = 1
# Fill price and mean entry price: one ceil (buyer, long) or floor (seller, short), in wei of price.
PRICE_WEI = 1
# Mean entry index: one floor. Threshold: one ceil of mu * P. Both in units of the index, 1e-27.
INDEX_UNITS = 1
# Trigger key: c is taken one unit smaller, then one floor: v / s + 1 index units too early. One
# unit is enough although equity and requirement are off by two: both are integers, so a
# liquidatable position is one unit short at least.
KEY_MARGIN_UNITS = 1
# A bucket holds keys that agree in their leading 17 bits: 2**-16 of the key at most.
BUCKET_WIDTH = Fraction(1, 2**16)
# Rates: funding's magnitude floored, utilisation ceiled, in units of the rate, 1e-27 per second.
RATE_UNITS = 1
# Size after a partial liquidation: the penalty ceiled costs n * WAD / ((t - b) * P) wei, a floor 1.
PARTIAL_PENALTY_UNITS = 1
PARTIAL_SIZE_WEI = 1
# What stays after a partial liquidation: value split in two floors (1), penalty ceiled twice (1),
# requirement ceiled: equity may be short of the target by this many units.
PARTIAL_TARGET_UNITS = 2
# Net trader profit from the totals against the sum of floored values: one floor per position (each
# less than 1) and one ceil of the total (less than 1).
PROFIT_UNITS_PER_POSITION = 1
PROFIT_UNITS = 1

# Indices are tested to this size: at the highest price and rates it takes two years to get there,
# at a price of 1,000,000 more than 600 years; keys stay below 2**126, the last bucket.
MAX_FUNDING = 2**125

THOROUGH = settings(max_examples=250, deadline=None)
FLOWS = settings(max_examples=300, deadline=None)


def n(decimals: int) -> int:
    return int(10 ** (36 - decimals))


def v(decimals: int) -> int:
    return int(10 ** (45 - decimals))


def wad(value: int) -> Fraction:
    """A price, size, fraction or rate in WAD as a number."""
    return Fraction(value, WAD)


def index(value: int) -> Fraction:
    """An index, or a rate with FUNDING_PRECISION, as a number."""
    return Fraction(value, WAD * FUNDING_PRECISION)


def tokens(value: int, decimals: int) -> Fraction:
    """Token units as tokens."""
    return Fraction(value, 10**decimals)


def units(value: Fraction, decimals: int) -> Fraction:
    """Tokens as (a fraction of) token units."""
    return value * 10**decimals


def magnitudes(largest: int, smallest: int = 1) -> st.SearchStrategy[int]:
    """Integers of every order of magnitude from smallest to largest, both often among them."""
    lowest, highest = smallest.bit_length(), largest.bit_length()
    spread = st.integers(lowest, highest).flatmap(
        lambda bits: st.integers(max(smallest, 1 << bits >> 1), min(largest, (1 << bits) - 1))
    )
    return spread | st.sampled_from([smallest, largest])


def signed(largest: int) -> st.SearchStrategy[int]:
    return st.builds(lambda size, sign: size * sign, magnitudes(largest), st.sampled_from([-1, 1]))


DECIMALS = st.sampled_from([6, 8, 18])
SIDES = st.sampled_from([0, 1])
SIZES = magnitudes(MAX_SIZE)
PRICES = magnitudes(MAX_PRICE)
MARGINS = magnitudes(MAX_MARGIN)
FUNDINGS = st.just(0) | signed(MAX_FUNDING)
FRACTIONS = magnitudes(WAD)

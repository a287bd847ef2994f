# pragma version 0.4.3
"""
@title Trigger keys and their buckets
@notice Dividing the liquidation rule by the size leaves a number that is constant for as long as
        the holder does nothing (the key) and one that is common to a side and tier (the threshold).
        With d = 1 for a long and -1 for a short:

            liquidatable  <=>  d * p0 - f0 - c / s  >  d * P - mu * P - F

        A bucket is a 24-bit floating-point number: a sign and 23 bits of magnitude (position of the
        highest bit, then the sixteen bits below it). Buckets order like keys, so the highest bucket
        is the first to be liquidated. All rounding is towards visiting too early: a bucket may hold
        healthy positions, it never hides a liquidatable one.
"""

from snekmate.utils import math

from contracts.modules import constants
from contracts.modules import fixed_point

ZERO_BUCKET: constant(uint256) = 2**23
MANTISSA: constant(uint256) = 2**16
MAX_KEY: constant(int256) = 2**126

# The integer rule floors the value and ceils the requirement. Equity and requirement are integers,
# so a liquidatable position, one unit short at least, is still short without rounding once a unit
# of its margin is left out.
ROUNDING_UNITS: constant(int256) = 1


@internal
@pure
def _trigger_key(
    side: uint256,
    size: uint256,
    margin: uint256,
    entry_price: uint256,
    entry_funding: int256,
    value_scale: uint256,
) -> int256:
    """
    @notice d * p0 - f0 - c / s in price units with FUNDING_PRECISION, rounded up.
    """
    key: int256 = convert(entry_price * constants.FUNDING_PRECISION, int256)
    if side == constants.SHORT:
        key = -key
    return key - entry_funding - fixed_point._signed_div_floor(
        (convert(margin, int256) - ROUNDING_UNITS) * convert(value_scale, int256), size
    )


@internal
@pure
def _threshold(
    side: uint256, price: uint256, maintenance_fraction: uint256, funding: int256
) -> int256:
    """
    @notice d * P - mu * P - F in price units with FUNDING_PRECISION, rounded down.
    """
    scaled_price: uint256 = price * constants.FUNDING_PRECISION
    threshold: int256 = convert(scaled_price, int256)
    if side == constants.SHORT:
        threshold = -threshold
    return threshold - funding - convert(
        fixed_point._mul_div_up(scaled_price, maintenance_fraction, constants.WAD), int256
    )


@internal
@pure
def _bucket_of(key: int256) -> uint256:
    """
    @notice The bucket that holds `key`; the higher, the earlier it is liquidated.
    """
    clamped: int256 = max(min(key, MAX_KEY), -MAX_KEY)
    if clamped >= 0:
        return ZERO_BUCKET + self._compress(convert(clamped, uint256))
    return ZERO_BUCKET - 1 - self._compress(convert(-1 - clamped, uint256))


@internal
@pure
def _highest_key(bucket: uint256) -> int256:
    """
    @notice The highest key that `bucket` can hold.
    """
    if bucket >= ZERO_BUCKET:
        return convert(self._lowest(bucket - ZERO_BUCKET + 1), int256) - 1
    return -1 - convert(self._lowest(ZERO_BUCKET - 1 - bucket), int256)


@internal
@pure
def _compress(magnitude: uint256) -> uint256:
    """
    @notice Seventeen leading bits of `magnitude` and how far they were shifted: monotone, exact
            below 2**17.
    """
    if magnitude < 2 * MANTISSA:
        return magnitude
    exponent: uint256 = math._log2(magnitude, False) - 16
    return exponent * MANTISSA + (magnitude >> exponent)


@internal
@pure
def _lowest(compressed: uint256) -> uint256:
    """
    @notice The lowest magnitude that compresses to `compressed`.
    """
    if compressed < 2 * MANTISSA:
        return compressed
    exponent: uint256 = (compressed >> 16) - 1
    return (compressed - exponent * MANTISSA) << exponent

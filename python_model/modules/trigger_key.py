"""Mirror of contracts/modules/trigger_key.vy."""

from python_model.modules import constants, fixed_point

ZERO_BUCKET = 2**23
MANTISSA = 2**16
MAX_KEY = 2**126

ROUNDING_UNITS = 1


def _trigger_key(
    side: int,
    size: int,
    margin: int,
    entry_price: int,
    entry_funding: int,
    value_scale: int,
) -> int:
    key = entry_price * constants.FUNDING_PRECISION
    if side == constants.SHORT:
        key = -key
    return (
        key
        - entry_funding
        - fixed_point._signed_div_floor((margin - ROUNDING_UNITS) * value_scale, size)
    )


def _threshold(side: int, price: int, maintenance_fraction: int, funding: int) -> int:
    scaled_price = price * constants.FUNDING_PRECISION
    threshold = scaled_price
    if side == constants.SHORT:
        threshold = -threshold
    return (
        threshold
        - funding
        - fixed_point._mul_div_up(scaled_price, maintenance_fraction, constants.WAD)
    )


def _bucket_of(key: int) -> int:
    clamped = max(min(key, MAX_KEY), -MAX_KEY)
    if clamped >= 0:
        return ZERO_BUCKET + _compress(clamped)
    return ZERO_BUCKET - 1 - _compress(-1 - clamped)


def _highest_key(bucket: int) -> int:
    if bucket >= ZERO_BUCKET:
        return _lowest(bucket - ZERO_BUCKET + 1) - 1
    return -1 - _lowest(ZERO_BUCKET - 1 - bucket)


def _compress(magnitude: int) -> int:
    if magnitude < 2 * MANTISSA:
        return magnitude
    exponent = magnitude.bit_length() - 1 - 16
    return exponent * MANTISSA + (magnitude >> exponent)


def _lowest(compressed: int) -> int:
    if compressed < 2 * MANTISSA:
        return compressed
    exponent = (compressed >> 16) - 1
    return (compressed - exponent * MANTISSA) << exponent

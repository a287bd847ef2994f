# pragma version 0.4.3
"""
@title Funding rate and the steps of the two funding indices
@notice An index is what one unit of size on its side has paid so far, in price units with
        FUNDING_PRECISION. The payer's step rounds up and the receiver's down, so the pool,
        which stands between them, never loses by rounding.
"""

from contracts.modules import constants
from contracts.modules import fixed_point


@internal
@pure
def _funding_rate(skew: int256, skew_scale: uint256, max_rate: uint256) -> int256:
    """
    @notice clamp(skew / skew_scale, -1, 1) * max_rate per second, in WAD * FUNDING_PRECISION,
            magnitude rounded down. Positive: longs pay.
    """
    magnitude: uint256 = fixed_point._mul_div_down(
        min(convert(abs(skew), uint256), skew_scale),
        max_rate * constants.FUNDING_PRECISION,
        skew_scale,
    )
    if skew < 0:
        return -convert(magnitude, int256)
    return convert(magnitude, int256)


@internal
@pure
def _utilisation_rate(reserved: uint256, cash: uint256, max_rate: uint256) -> uint256:
    """
    @notice min(reserved / cash, 1) * max_rate per second, in WAD * FUNDING_PRECISION, rounded up.
    """
    if reserved >= cash:
        return max_rate * constants.FUNDING_PRECISION if reserved > 0 else 0
    return fixed_point._mul_div_up(reserved, max_rate * constants.FUNDING_PRECISION, cash)


@internal
@pure
def _index_step(
    side: uint256, funding_rate: int256, utilisation_rate: uint256, price: uint256, elapsed: uint256
) -> int256:
    """
    @notice What a unit of size on `side` pays over `elapsed` seconds at `price`, rounded up
            (so that a receipt, which is negative, is rounded towards zero).
    """
    rate: int256 = funding_rate if side == constants.LONG else -funding_rate
    rate += convert(utilisation_rate, int256)
    return fixed_point._signed_div_ceil(rate * convert(price * elapsed, int256), constants.WAD)

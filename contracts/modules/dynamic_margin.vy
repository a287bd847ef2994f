# pragma version 0.4.3
"""
@title Volatility, and what it and a crowded pool add to the initial requirement
@notice Everything rounds up, against whoever adds risk; the ramp of the maintenance fraction rounds
        down, for whoever holds a position.
"""

from contracts.modules import constants
from contracts.modules import fixed_point

# Cap of one change, WAD: what is above it would be no number to calculate with.
MAX_CHANGE: constant(uint256) = 4 * 10**18
DAY: constant(uint256) = 86_400


@internal
@pure
def _change(price: uint256, reference: uint256) -> uint256:
    """
    @notice How far a price is from a reference, as a fraction of that, WAD, rounded up: it is above
            a bound exactly when the unrounded one is.
    """
    move: uint256 = 0
    # Each is taken from what is not below it.
    if price < reference:
        move = unsafe_sub(reference, price)
    else:
        move = unsafe_sub(price, reference)
    return fixed_point._mul_div_up(move, constants.WAD, reference)


@internal
@pure
def _next_variance(variance: uint256, change: uint256, elapsed: uint256, window: uint256) -> uint256:
    """
    @notice Variance per second, WAD squared, after a price: the average of the last one, with
            weight `window`, and of change * change / elapsed, with weight `elapsed`, in seconds, in
            one division: (variance * window + change * change) / (window + elapsed).
    """
    change_used: uint256 = min(change, MAX_CHANGE)
    return fixed_point._mul_div_up(
        variance * window + change_used * change_used, 1, window + elapsed
    )


@internal
@pure
def _volatility(variance: uint256) -> uint256:
    """
    @notice Standard deviation of a day's return, WAD, rounded up.
    """
    daily: uint256 = variance * DAY
    root: uint256 = isqrt(daily)
    return root + convert(root * root < daily, uint256)


@internal
@pure
def _volatility_multiplier(
    variance: uint256, calm_volatility: uint256, max_multiplier: uint256
) -> uint256:
    """
    @notice Volatility over the calm one, WAD, at least one and at most `max_multiplier`.
    """
    multiplier: uint256 = fixed_point._mul_div_up(
        self._volatility(variance), constants.WAD, calm_volatility
    )
    return min(max(multiplier, constants.WAD), max_multiplier)


@internal
@pure
def _utilisation(reserved: uint256, cash: uint256) -> uint256:
    """
    @notice min(reserved / cash, 1), WAD, rounded up; what is reserved of nothing is everything.
    """
    if reserved >= cash:
        return constants.WAD if reserved > 0 else 0
    return fixed_point._mul_div_up(reserved, constants.WAD, cash)


@internal
@pure
def _initial_fraction(
    base_fraction: uint256,
    multiplier: uint256,
    confidence: uint256,
    utilisation: uint256,
    crowding_lower: uint256,
    crowding_upper: uint256,
) -> uint256:
    """
    @notice Initial fraction, WAD: the tier's times the multiplier, plus the confidence of the
            price, at most one; from there to one as the utilisation goes from the lower to the
            upper bound of crowding.
    """
    fraction: uint256 = min(
        fixed_point._mul_div_up(base_fraction, multiplier, constants.WAD) + confidence,
        constants.WAD,
    )
    crowding: uint256 = max(min(utilisation, crowding_upper), crowding_lower) - crowding_lower
    return fraction + fixed_point._mul_div_up(
        constants.WAD - fraction, crowding, crowding_upper - crowding_lower
    )


@internal
@pure
def _ramped(
    old_fraction: uint256, new_fraction: uint256, elapsed: uint256, duration: uint256
) -> uint256:
    """
    @notice A fraction on its straight way from old to new, `elapsed` of `duration` seconds after
            the start, rounded down to a multiple of FRACTION_UNIT.
    """
    if elapsed >= duration:
        return new_fraction
    units: uint256 = fixed_point._mul_div_down(
        old_fraction * (duration - elapsed) + new_fraction * elapsed,
        1,
        duration * constants.FRACTION_UNIT,
    )
    return units * constants.FRACTION_UNIT

"""Mirror of contracts/modules/dynamic_margin.vy."""

from math import isqrt

from python_model.modules import constants, fixed_point

MAX_CHANGE = 4 * 10**18
DAY = 86_400


def _change(price: int, reference: int) -> int:
    move = max(price, reference) - min(price, reference)
    return fixed_point._mul_div_up(move, constants.WAD, reference)


def _next_variance(variance: int, change: int, elapsed: int, window: int) -> int:
    change_used = min(change, MAX_CHANGE)
    return fixed_point._mul_div_up(
        variance * window + change_used * change_used, 1, window + elapsed
    )


def _volatility(variance: int) -> int:
    daily = variance * DAY
    root = isqrt(daily)
    return root + (root * root < daily)


def _volatility_multiplier(variance: int, calm_volatility: int, max_multiplier: int) -> int:
    multiplier = fixed_point._mul_div_up(_volatility(variance), constants.WAD, calm_volatility)
    return min(max(multiplier, constants.WAD), max_multiplier)


def _utilisation(reserved: int, cash: int) -> int:
    if reserved >= cash:
        return constants.WAD if reserved > 0 else 0
    return fixed_point._mul_div_up(reserved, constants.WAD, cash)


def _initial_fraction(
    base_fraction: int,
    multiplier: int,
    confidence: int,
    utilisation: int,
    crowding_lower: int,
    crowding_upper: int,
) -> int:
    fraction = min(
        fixed_point._mul_div_up(base_fraction, multiplier, constants.WAD) + confidence,
        constants.WAD,
    )
    crowding = max(min(utilisation, crowding_upper), crowding_lower) - crowding_lower
    return fraction + fixed_point._mul_div_up(
        constants.WAD - fraction, crowding, crowding_upper - crowding_lower
    )


def _ramped(old_fraction: int, new_fraction: int, elapsed: int, duration: int) -> int:
    if elapsed >= duration:
        return new_fraction
    units = fixed_point._mul_div_down(
        old_fraction * (duration - elapsed) + new_fraction * elapsed,
        1,
        duration * constants.FRACTION_UNIT,
    )
    return units * constants.FRACTION_UNIT

"""Mirror of contracts/modules/trigger_price.vy."""

from python_model.modules import constants, fixed_point, margin_math, trigger_key

NO_LONG_PRICE = 0
NO_SHORT_PRICE = 2**255 - 1 + 2**255

MAX_STEPS = 128


def _meeting_price(side: int, key: int, funding: int, maintenance_fraction: int) -> int:
    reach = key + funding
    if side == constants.LONG:
        return fixed_point._mul_div_down(
            max(reach, 0),
            constants.WAD,
            constants.FUNDING_PRECISION * (constants.WAD - maintenance_fraction),
        )
    return fixed_point._mul_div_down(
        max(-reach, 0),
        constants.WAD,
        constants.FUNDING_PRECISION * (constants.WAD + maintenance_fraction),
    )


def _first_price(
    side: int,
    size: int,
    margin: int,
    entry_price: int,
    entry_funding: int,
    funding: int,
    maintenance_fraction: int,
    notional_scale: int,
) -> int:
    value_scale = notional_scale * constants.FUNDING_PRECISION
    key = trigger_key._trigger_key(side, size, margin, entry_price, entry_funding, value_scale)
    # The threshold is rounded by less than one.
    price = _meeting_price(side, key + 1, funding, maintenance_fraction)
    price = min(price, constants.MAX_PRICE) if side == constants.LONG else max(price, 1)
    for _ in range(MAX_STEPS):
        if price == 0:
            return NO_LONG_PRICE
        if price > constants.MAX_PRICE:
            return NO_SHORT_PRICE
        value = margin_math._position_value(
            side, size, entry_price, entry_funding, price, funding, value_scale
        )
        requirement = margin_math._fraction_of_notional_up(
            size, price, maintenance_fraction, notional_scale
        )
        if margin + value < requirement:
            break
        # A unit of size is worth less than this beyond the mark at entry once the value is lower.
        limit = (
            fixed_point._signed_div_ceil(value * value_scale, size)
            + margin_math._marked_value(side, 1, entry_price, entry_funding)
            + funding
        )
        if side == constants.LONG:
            # Further down the requirement falls too: nothing changes before the value does.
            price = max(fixed_point._signed_div_floor(limit - 1, constants.FUNDING_PRECISION), 0)
        else:
            # Neither falls as the price rises: the value falls next, or the requirement rises.
            price = min(
                fixed_point._signed_div_ceil(1 - limit, constants.FUNDING_PRECISION),
                fixed_point._mul_div_down(
                    requirement, notional_scale * constants.WAD, size * maintenance_fraction
                )
                + 1,
            )
    return price

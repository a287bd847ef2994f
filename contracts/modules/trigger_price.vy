# pragma version 0.4.3
"""
@title The price at which a position becomes liquidatable
@notice The integer rule of liquidation, asked at other prices than the market's. The trigger key
        gives a price beyond which nothing is liquidatable. From there it is less than one token
        unit of equity to the first price that is, and only prices at which equity or requirement
        change are asked.
"""

from contracts.modules import constants
from contracts.modules import fixed_point
from contracts.modules import margin_math
from contracts.modules import trigger_key

# What no price liquidates: a long at none but zero, a short above all.
NO_LONG_PRICE: constant(uint256) = 0
NO_SHORT_PRICE: constant(uint256) = 2**255 - 1 + 2**255

# Within one unit of a long's equity there are at most 1 / (1 - maintenance fraction) changes of it:
# enough for fractions up to 0.99.
MAX_STEPS: constant(uint256) = 128


@internal
@pure
def _meeting_price(
    side: uint256, key: int256, funding: int256, maintenance_fraction: uint256
) -> uint256:
    """
    @notice Price, WAD rounded down, at which the threshold of a side and a fraction meets a trigger
            key; zero when at no positive price.
    """
    reach: int256 = key + funding
    if side == constants.LONG:
        return fixed_point._mul_div_down(
            convert(max(reach, 0), uint256),
            constants.WAD,
            constants.FUNDING_PRECISION * (constants.WAD - maintenance_fraction),
        )
    return fixed_point._mul_div_down(
        convert(max(-reach, 0), uint256),
        constants.WAD,
        constants.FUNDING_PRECISION * (constants.WAD + maintenance_fraction),
    )


@internal
@pure
def _first_price(
    side: uint256,
    size: uint256,
    margin: uint256,
    entry_price: uint256,
    entry_funding: int256,
    funding: int256,
    maintenance_fraction: uint256,
    notional_scale: uint256,
) -> uint256:
    """
    @notice The first price, WAD, at which a position is liquidatable, as prices get worse for it:
            the highest such price for a long, the lowest for a short.
    @param funding Index of its side now.
    @param maintenance_fraction Of its tier now, WAD, above zero.
    @return NO_LONG_PRICE or NO_SHORT_PRICE when there is none up to MAX_PRICE.
    """
    value_scale: uint256 = notional_scale * constants.FUNDING_PRECISION
    key: int256 = trigger_key._trigger_key(
        side, size, margin, entry_price, entry_funding, value_scale
    )
    # The threshold is rounded by less than one.
    price: uint256 = self._meeting_price(side, key + 1, funding, maintenance_fraction)
    if side == constants.LONG:
        price = min(price, constants.MAX_PRICE)
    else:
        price = max(price, 1)
    for _: uint256 in range(MAX_STEPS):
        if price == 0:
            return NO_LONG_PRICE
        if price > constants.MAX_PRICE:
            return NO_SHORT_PRICE
        value: int256 = margin_math._position_value(
            side, size, entry_price, entry_funding, price, funding, value_scale
        )
        requirement: uint256 = margin_math._fraction_of_notional_up(
            size, price, maintenance_fraction, notional_scale
        )
        if convert(margin, int256) + value < convert(requirement, int256):
            break
        # A unit of size is worth less than this beyond the mark at entry once the value is lower.
        limit: int256 = fixed_point._signed_div_ceil(
            value * convert(value_scale, int256), size
        ) + margin_math._marked_value(side, 1, entry_price, entry_funding) + funding
        if side == constants.LONG:
            # Further down the requirement falls too: nothing changes before the value does.
            price = convert(
                max(fixed_point._signed_div_floor(limit - 1, constants.FUNDING_PRECISION), 0),
                uint256,
            )
        else:
            # Neither falls as the price rises: the value falls next, or the requirement rises.
            price = min(
                convert(
                    fixed_point._signed_div_ceil(1 - limit, constants.FUNDING_PRECISION), uint256
                ),
                fixed_point._mul_div_down(
                    requirement,
                    notional_scale * constants.WAD,
                    size * maintenance_fraction,
                )
                + 1,
            )
    return price

# pragma version 0.4.3
"""
@title Value, requirement and fill price of a position
@notice `notional_scale` is 10**(36 - decimals): size times price divided by it is token units.
        `value_scale` is 10**(45 - decimals): size times a price with FUNDING_PRECISION, likewise.
"""

from contracts.modules import constants
from contracts.modules import fixed_point


@internal
@pure
def _marked_value(side: uint256, size: uint256, price: uint256, funding: int256) -> int256:
    """
    @notice size * (d * price - funding), d = 1 for a long and -1 for a short, unrounded: what a
            size is marked at. The difference of two marks, now and at entry, is pnl less funding,
            for one position and for the sums of all.
    """
    per_unit: int256 = convert(price * constants.FUNDING_PRECISION, int256)
    if side == constants.SHORT:
        per_unit = -per_unit
    return convert(size, int256) * (per_unit - funding)


@internal
@pure
def _position_value(
    side: uint256,
    size: uint256,
    entry_price: uint256,
    entry_funding: int256,
    price: uint256,
    funding: int256,
    value_scale: uint256,
) -> int256:
    """
    @notice Token units the position has gained (positive) or lost: pnl less funding, one floor.
    """
    return fixed_point._signed_div_floor(
        self._marked_value(side, size, price, funding)
        - self._marked_value(side, size, entry_price, entry_funding),
        value_scale,
    )


@internal
@pure
def _fraction_of_notional_up(
    size: uint256, price: uint256, fraction: uint256, notional_scale: uint256
) -> uint256:
    """
    @notice size * price * fraction in token units, rounded up once: margin requirements, fees,
            penalties and the pool's reserve.
    """
    return fixed_point._mul_div_up(size * price, fraction, notional_scale * constants.WAD)


@internal
@pure
def _fill_price(
    side: uint256, price: uint256, doubled_skew: int256, skew_scale: uint256
) -> uint256:
    """
    @notice Price moved by the average of the skew before and after the trade. Whoever buys (long
            opens, short closes) pays rounded up, whoever sells gets rounded down.
    @param side LONG when the trader buys, SHORT when the trader sells.
    @param doubled_skew Skew before plus skew after the trade.
    """
    doubled_scale: uint256 = 2 * skew_scale
    factor: uint256 = convert(convert(doubled_scale, int256) + doubled_skew, uint256)
    if side == constants.LONG:
        return fixed_point._mul_div_up(price, factor, doubled_scale)
    return fixed_point._mul_div_down(price, factor, doubled_scale)


@internal
@pure
def _partial_size_down(
    equity: uint256,
    full_penalty: uint256,
    price: uint256,
    target_fraction: uint256,
    penalty_fraction: uint256,
    notional_scale: uint256,
) -> uint256:
    """
    @notice Size that may stay open after a partial liquidation: the s' at which
            equity - penalty * (s - s') * P = target * s' * P, rounded down. Zero: none may stay.
    """
    if equity <= full_penalty:
        return 0
    return fixed_point._mul_div_down(
        equity - full_penalty,
        notional_scale * constants.WAD,
        (target_fraction - penalty_fraction) * price,
    )


@internal
@pure
def _average_entry_price(
    side: uint256, size: uint256, entry_price: uint256, added_size: uint256, fill_price: uint256
) -> uint256:
    """
    @notice Size-weighted entry price, rounded against the trader: up for a long, down for a short.
    """
    cost: uint256 = size * entry_price + added_size * fill_price
    if side == constants.LONG:
        return fixed_point._mul_div_up(cost, 1, size + added_size)
    return fixed_point._mul_div_down(cost, 1, size + added_size)


@internal
@pure
def _average_entry_funding(
    size: uint256, entry_funding: int256, added_size: uint256, funding: int256
) -> int256:
    """
    @notice Size-weighted entry funding index, rounded down: a lower entry owes more.
    """
    return fixed_point._signed_div_floor(
        convert(size, int256) * entry_funding + convert(added_size, int256) * funding,
        size + added_size,
    )

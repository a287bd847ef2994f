"""Mirror of contracts/modules/margin_math.vy."""

from python_model.modules import constants, fixed_point


def _marked_value(side: int, size: int, price: int, funding: int) -> int:
    per_unit = price * constants.FUNDING_PRECISION
    if side == constants.SHORT:
        per_unit = -per_unit
    return size * (per_unit - funding)


def _position_value(
    side: int,
    size: int,
    entry_price: int,
    entry_funding: int,
    price: int,
    funding: int,
    value_scale: int,
) -> int:
    return fixed_point._signed_div_floor(
        _marked_value(side, size, price, funding)
        - _marked_value(side, size, entry_price, entry_funding),
        value_scale,
    )


def _fraction_of_notional_up(size: int, price: int, fraction: int, notional_scale: int) -> int:
    return fixed_point._mul_div_up(size * price, fraction, notional_scale * constants.WAD)


def _fill_price(side: int, price: int, doubled_skew: int, skew_scale: int) -> int:
    doubled_scale = 2 * skew_scale
    factor = fixed_point._to_uint(fixed_point._to_int(doubled_scale + doubled_skew))
    if side == constants.LONG:
        return fixed_point._mul_div_up(price, factor, doubled_scale)
    return fixed_point._mul_div_down(price, factor, doubled_scale)


def _partial_size_down(
    equity: int,
    full_penalty: int,
    price: int,
    target_fraction: int,
    penalty_fraction: int,
    notional_scale: int,
) -> int:
    if equity <= full_penalty:
        return 0
    return fixed_point._mul_div_down(
        equity - full_penalty,
        notional_scale * constants.WAD,
        (target_fraction - penalty_fraction) * price,
    )


def _average_entry_price(
    side: int, size: int, entry_price: int, added_size: int, fill_price: int
) -> int:
    cost = size * entry_price + added_size * fill_price
    if side == constants.LONG:
        return fixed_point._mul_div_up(cost, 1, size + added_size)
    return fixed_point._mul_div_down(cost, 1, size + added_size)


def _average_entry_funding(size: int, entry_funding: int, added_size: int, funding: int) -> int:
    return fixed_point._signed_div_floor(
        size * entry_funding + added_size * funding,
        size + added_size,
    )

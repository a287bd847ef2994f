"""Mirror of contracts/modules/funding_index.vy."""

from python_model.modules import constants, fixed_point


def _funding_rate(skew: int, skew_scale: int, max_rate: int) -> int:
    magnitude = fixed_point._mul_div_down(
        min(abs(skew), skew_scale),
        max_rate * constants.FUNDING_PRECISION,
        skew_scale,
    )
    if skew < 0:
        return -magnitude
    return magnitude


def _utilisation_rate(reserved: int, cash: int, max_rate: int) -> int:
    if reserved >= cash:
        return max_rate * constants.FUNDING_PRECISION if reserved > 0 else 0
    return fixed_point._mul_div_up(reserved, max_rate * constants.FUNDING_PRECISION, cash)


def _index_step(
    side: int, funding_rate: int, utilisation_rate: int, price: int, elapsed: int
) -> int:
    rate = funding_rate if side == constants.LONG else -funding_rate
    rate += utilisation_rate
    return fixed_point._signed_div_ceil(rate * (price * elapsed), constants.WAD)

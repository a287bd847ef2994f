"""Mirror of contracts/modules/risk_bounds.vy."""

from typing import TYPE_CHECKING

from python_model.modules import constants, errors, fixed_point

if TYPE_CHECKING:
    from python_model.perp_market import MarketParams
    from python_model.risk_engine import RiskParams

MAX_RATE = 10**12
MAX_FEE = 10**16
MAX_AGE = 86_400

MIN_WINDOW = 60
MAX_WINDOW = 7 * 86_400
MAX_MULTIPLIER = 100 * 10**18
MIN_CONFIDENCE = 10**15
MAX_CONFIDENCE = 10**17
MIN_JUMP = 5 * 10**16
MIN_MOVE = 10**16
MIN_COOL_DOWN = 60
MAX_COOL_DOWN = 86_400
MIN_LOSS_SHARE = 10**16
MIN_PROFIT_SHARE = 2 * 10**17


def _check_market_params(params: "MarketParams") -> None:
    errors._require(
        params.min_size > 0
        and params.min_size <= params.tier_sizes[0]
        and 0 < params.skew_scale <= constants.MAX_SIZE,
        errors.BAD_LIMITS,
    )
    errors._require(
        params.max_funding_rate <= constants.WAD
        and params.max_utilisation_rate <= MAX_RATE
        and params.liquidation_penalty > 0
        and params.liquidation_penalty <= constants.WAD
        and params.keeper_share <= constants.WAD
        and params.reserve_fraction > 0
        and params.reserve_fraction <= constants.WAD,
        errors.BAD_RATES,
    )
    errors._require(0 < params.max_price_age <= MAX_AGE, errors.BAD_AGE)
    last_size = 0
    for size in params.tier_sizes:
        # Unused tiers repeat the last used one.
        errors._require(last_size <= size <= constants.MAX_SIZE, errors.BAD_TIERS)
        last_size = size


def _check_risk_params(risk: "RiskParams", params: "MarketParams") -> None:
    errors._require(
        risk.max_open_interest <= constants.MAX_SIZE and risk.max_skew <= risk.max_open_interest,
        errors.BAD_LIMITS,
    )
    errors._require(risk.maker_fee <= risk.taker_fee <= MAX_FEE, errors.BAD_RATES)
    last_initial = 0
    # Twice the penalty: equity still covers it when the price has moved half the way to ruin.
    last_maintenance = 2 * params.liquidation_penalty
    for tier in range(constants.TIERS):
        initial_fraction = risk.initial_fractions[tier]
        maintenance_fraction = risk.maintenance_fractions[tier]
        errors._require(
            initial_fraction >= last_initial
            and initial_fraction <= constants.WAD
            and maintenance_fraction >= last_maintenance
            and maintenance_fraction < initial_fraction,
            errors.BAD_TIERS,
        )
        last_initial = initial_fraction
        last_maintenance = maintenance_fraction
    # The skew stays within the open interest, so these bound what it can do. A fill is moved by
    # less than a liquidated position loses to the reserve: nobody gains by having himself
    # liquidated to move the skew, and a healthy position can always pay for its own exit. Funding
    # never runs faster than MAX_RATE.
    errors._require(
        risk.max_open_interest * constants.WAD * constants.WAD
        <= params.skew_scale * params.liquidation_penalty * (constants.WAD - params.keeper_share)
        and risk.max_open_interest * params.max_funding_rate <= params.skew_scale * MAX_RATE,
        errors.BAD_SKEW_SCALE,
    )
    errors._require(
        0 < risk.calm_volatility <= constants.WAD
        and constants.WAD <= risk.max_volatility_multiplier <= MAX_MULTIPLIER
        and MIN_WINDOW <= risk.volatility_window <= MAX_WINDOW,
        errors.BAD_VOLATILITY,
    )
    errors._require(risk.crowding_lower < risk.crowding_upper <= constants.WAD, errors.BAD_CROWDING)
    errors._require(
        MIN_CONFIDENCE <= risk.max_confidence <= MAX_CONFIDENCE
        and MIN_JUMP <= risk.max_jump <= constants.WAD
        and MIN_WINDOW <= risk.move_windows[0] < risk.move_windows[1] <= MAX_WINDOW
        and MIN_MOVE <= risk.max_moves[0] <= risk.max_moves[1] <= constants.WAD
        and MIN_COOL_DOWN <= risk.cool_down <= MAX_COOL_DOWN,
        errors.BAD_BREAKERS,
    )
    errors._require(
        0 < risk.max_liquidated_size <= constants.MAX_SIZE
        and MIN_LOSS_SHARE <= risk.max_pool_loss <= constants.WAD
        and risk.max_bad_debt <= constants.MAX_MARGIN
        and MIN_LOSS_SHARE <= risk.max_insurance_draw <= constants.WAD
        and MIN_PROFIT_SHARE <= risk.max_profit_share <= constants.WAD,
        errors.BAD_LOSS_LIMITS,
    )
    for tier in range(constants.TIERS):
        _require_units(risk.initial_fractions[tier])
        _require_units(risk.maintenance_fractions[tier])
    for fraction in [
        risk.maker_fee,
        risk.taker_fee,
        risk.calm_volatility,
        risk.max_volatility_multiplier,
        risk.crowding_lower,
        risk.crowding_upper,
        risk.max_confidence,
        risk.max_jump,
        risk.max_moves[0],
        risk.max_moves[1],
        risk.max_pool_loss,
        risk.max_insurance_draw,
        risk.max_profit_share,
    ]:
        _require_units(fraction)


def _require_units(fraction: int) -> None:
    units = fixed_point._mul_div_down(fraction, 1, constants.FRACTION_UNIT)
    errors._require(units * constants.FRACTION_UNIT == fraction, errors.BAD_UNITS)


def _is_tighter(risk: "RiskParams", present: "RiskParams") -> bool:
    for tier in range(constants.TIERS):
        if (
            risk.initial_fractions[tier] < present.initial_fractions[tier]
            or risk.maintenance_fractions[tier] < present.maintenance_fractions[tier]
        ):
            return False
    return (
        risk.max_open_interest <= present.max_open_interest
        and risk.max_skew <= present.max_skew
        and risk.maker_fee == present.maker_fee
        and risk.taker_fee == present.taker_fee
        and risk.calm_volatility <= present.calm_volatility
        and risk.max_volatility_multiplier >= present.max_volatility_multiplier
        and risk.volatility_window == present.volatility_window
        and risk.crowding_lower <= present.crowding_lower
        and risk.crowding_upper <= present.crowding_upper
        and risk.max_confidence == present.max_confidence
        and risk.max_jump == present.max_jump
        and risk.move_windows == present.move_windows
        and risk.max_moves[0] <= present.max_moves[0]
        and risk.max_moves[1] <= present.max_moves[1]
        and risk.cool_down >= present.cool_down
        and risk.max_liquidated_size <= present.max_liquidated_size
        and risk.max_pool_loss <= present.max_pool_loss
        and risk.max_bad_debt <= present.max_bad_debt
        and risk.max_insurance_draw == present.max_insurance_draw
        and risk.max_profit_share == present.max_profit_share
    )

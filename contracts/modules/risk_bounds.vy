# pragma version 0.4.3
"""
@title Bounds on the parameters of a market
@notice What the arithmetic, the packed words and the promises rest on. No setting within them takes
        anything from anyone or keeps anyone from closing a position.
"""

from contracts.interfaces import IPerpMarket
from contracts.interfaces import IRiskEngine
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point

# Of the price per second, WAD: 8.64 % a day.
MAX_RATE: constant(uint256) = 10**12
MAX_FEE: constant(uint256) = 10**16
MAX_AGE: constant(uint256) = 86_400

# Seconds. The longest fits 20 bits.
MIN_WINDOW: constant(uint256) = 60
MAX_WINDOW: constant(uint256) = 7 * 86_400
# As a multiple of the tier's fraction, WAD.
MAX_MULTIPLIER: constant(uint256) = 100 * 10**18
# A narrower band would refuse honest prices, and positions could not be closed.
MIN_CONFIDENCE: constant(uint256) = 10**15
MAX_CONFIDENCE: constant(uint256) = 10**17
# Below, every second price would wait for confirmation.
MIN_JUMP: constant(uint256) = 5 * 10**16
MIN_MOVE: constant(uint256) = 10**16
# Seconds. A breaker without pause would be none, a longer pause than a day a shutdown.
MIN_COOL_DOWN: constant(uint256) = 60
MAX_COOL_DOWN: constant(uint256) = 86_400
MIN_LOSS_SHARE: constant(uint256) = 10**16
# Below, winners would be deleveraged in quiet markets.
MIN_PROFIT_SHARE: constant(uint256) = 2 * 10**17


@internal
@pure
def _check_market_params(params: IPerpMarket.MarketParams):
    """
    @notice Checks what never changes.
    """
    errors._require(
        params.min_size > 0
        and params.min_size <= params.tier_sizes[0]
        and params.skew_scale > 0
        and params.skew_scale <= constants.MAX_SIZE,
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
    errors._require(params.max_price_age > 0 and params.max_price_age <= MAX_AGE, errors.BAD_AGE)
    last_size: uint256 = 0
    for size: uint256 in params.tier_sizes:
        # Unused tiers repeat the last used one.
        errors._require(size >= last_size and size <= constants.MAX_SIZE, errors.BAD_TIERS)
        last_size = size


@internal
@pure
def _check_risk_params(risk: IRiskEngine.RiskParams, params: IPerpMarket.MarketParams):
    """
    @notice Checks what can change, for a market with `params`.
    """
    errors._require(
        risk.max_open_interest <= constants.MAX_SIZE and risk.max_skew <= risk.max_open_interest,
        errors.BAD_LIMITS,
    )
    errors._require(
        risk.maker_fee <= risk.taker_fee and risk.taker_fee <= MAX_FEE, errors.BAD_RATES
    )
    last_initial: uint256 = 0
    # Twice the penalty: equity still covers it when the price has moved half the way to ruin.
    last_maintenance: uint256 = 2 * params.liquidation_penalty
    for tier: uint256 in range(constants.TIERS):
        initial_fraction: uint256 = risk.initial_fractions[tier]
        maintenance_fraction: uint256 = risk.maintenance_fractions[tier]
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
        risk.calm_volatility > 0
        and risk.calm_volatility <= constants.WAD
        and risk.max_volatility_multiplier >= constants.WAD
        and risk.max_volatility_multiplier <= MAX_MULTIPLIER
        and risk.volatility_window >= MIN_WINDOW
        and risk.volatility_window <= MAX_WINDOW,
        errors.BAD_VOLATILITY,
    )
    errors._require(
        risk.crowding_lower < risk.crowding_upper and risk.crowding_upper <= constants.WAD,
        errors.BAD_CROWDING,
    )
    errors._require(
        risk.max_confidence >= MIN_CONFIDENCE
        and risk.max_confidence <= MAX_CONFIDENCE
        and risk.max_jump >= MIN_JUMP
        and risk.max_jump <= constants.WAD
        and risk.move_windows[0] >= MIN_WINDOW
        and risk.move_windows[0] < risk.move_windows[1]
        and risk.move_windows[1] <= MAX_WINDOW
        and risk.max_moves[0] >= MIN_MOVE
        and risk.max_moves[0] <= risk.max_moves[1]
        and risk.max_moves[1] <= constants.WAD
        and risk.cool_down >= MIN_COOL_DOWN
        and risk.cool_down <= MAX_COOL_DOWN,
        errors.BAD_BREAKERS,
    )
    errors._require(
        risk.max_liquidated_size > 0
        and risk.max_liquidated_size <= constants.MAX_SIZE
        and risk.max_pool_loss >= MIN_LOSS_SHARE
        and risk.max_pool_loss <= constants.WAD
        and risk.max_bad_debt <= constants.MAX_MARGIN
        and risk.max_insurance_draw >= MIN_LOSS_SHARE
        and risk.max_insurance_draw <= constants.WAD
        and risk.max_profit_share >= MIN_PROFIT_SHARE
        and risk.max_profit_share <= constants.WAD,
        errors.BAD_LOSS_LIMITS,
    )
    for tier: uint256 in range(constants.TIERS):
        self._require_units(risk.initial_fractions[tier])
        self._require_units(risk.maintenance_fractions[tier])
    for fraction: uint256 in [
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
        self._require_units(fraction)


@internal
@pure
def _require_units(fraction: uint256):
    units: uint256 = fixed_point._mul_div_down(fraction, 1, constants.FRACTION_UNIT)
    errors._require(units * constants.FRACTION_UNIT == fraction, errors.BAD_UNITS)


@internal
@pure
def _is_tighter(risk: IRiskEngine.RiskParams, present: IRiskEngine.RiskParams) -> bool:
    """
    @notice Whether parameters are at least as tight as the present ones, in each of them: caps,
            bounds of the crowd, calm volatility and limits of moves and losses no higher; fractions
            of margin, the multiplier's cap and the cool-down no lower; the rest, where neither
            direction is the safe one for everybody, equal.
    """
    for tier: uint256 in range(constants.TIERS):
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
        and risk.move_windows[0] == present.move_windows[0]
        and risk.move_windows[1] == present.move_windows[1]
        and risk.max_moves[0] <= present.max_moves[0]
        and risk.max_moves[1] <= present.max_moves[1]
        and risk.cool_down >= present.cool_down
        and risk.max_liquidated_size <= present.max_liquidated_size
        and risk.max_pool_loss <= present.max_pool_loss
        and risk.max_bad_debt <= present.max_bad_debt
        and risk.max_insurance_draw == present.max_insurance_draw
        and risk.max_profit_share == present.max_profit_share
    )

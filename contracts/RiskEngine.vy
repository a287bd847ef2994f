# pragma version 0.4.3
# pragma optimize gas
"""
@title RiskEngine
@license AGPL-3.0-only
@notice What one market may do at what margin: parameters that can change, realised volatility,
        breakers, and what was lost in the current window. Holds no tokens.
@dev    ASSUMPTIONS  The market passes prices in the order of their times. The configurator checks
                     parameters (module risk_bounds); the widths of the packed words rest on it.
        INVARIANTS   I-3, I-7, I-8, I-11, I-15 of docs/invariants.md.
        ROUNDING     What is asked of whoever adds risk rounds up; the maintenance ramp rounds down.
        LIVENESS     No answer here stops adding margin, closing or liquidating. A held price is
                     accepted by the second report of it, or MAX_HALT after the first.
@custom:kill Set the open interest cap to zero through the configurator, or let it restrict the
             market again and again; see docs/shutdown.md.
"""

from contracts.interfaces import IRiskEngine
from contracts.modules import breaker_causes
from contracts.modules import constants
from contracts.modules import dynamic_margin
from contracts.modules import errors
from contracts.modules import fixed_point

implements: IRiskEngine

version: public(constant(String[8])) = "0.2.0"

market: public(immutable(address))
configurator: public(immutable(address))

# Seconds after which the next price is accepted without confirmation.
MAX_HALT: constant(uint256) = 3_600
# Of notional, WAD: how fast a maintenance fraction moves.
RAMP_PER_HOUR: constant(uint256) = 10**15
HOUR: constant(uint256) = 3_600

# Packed words. Fractions are in units of FRACTION_UNIT, 24 bits each.
# maintenance fractions 4x24 | initial fractions 4x24 | maker fee 17 | taker fee 17
# | hour from which on the maintenance fractions are these 20
_terms: uint256
_ramp: uint256  # maintenance fractions before 4x24 | start 48 | duration 32
# max_moves 2x24 | max_jump 24 | max_pool_loss 24 | max_profit_share 24 | max_confidence 24
# | move_windows 2x20 | volatility_window 20 | cool_down 17
_rules: uint256
_caps: uint256  # max_open_interest 104 | max_skew 104
# calm_volatility 24 | crowding_lower 24 | crowding_upper 24 | max_volatility_multiplier 32
_dynamics: uint256
_limits: uint256  # max_liquidated_size 104 | max_bad_debt 96 | max_insurance_draw 24

_state: uint256  # variance 128 | reduce_only_until 48 | confidence 60 | is_halted 1
_pending: uint256  # price 88 | price_time 48 | seen_at 48 | halted_since 48
_price_windows: uint256[2]  # previous price 88 | current price 88 | start 48
_results: uint256  # previous 104 | current 104, each offset by 2**103 | start 48
_liquidations: uint256  # size 104 | start 48
_deficits: uint256  # drawn 96 | bad debt 96 | start 48

MASK_17: constant(uint256) = 2**17 - 1
MASK_20: constant(uint256) = 2**20 - 1
MASK_24: constant(uint256) = 2**24 - 1
MASK_48: constant(uint256) = 2**48 - 1
MASK_60: constant(uint256) = 2**60 - 1
MASK_104: constant(uint256) = 2**104 - 1
MASK_128: constant(uint256) = 2**128 - 1
HALT_BIT: constant(uint256) = 2**236
MAX_RESULT: constant(int256) = 2**103 - 1
RESULT_OFFSET: constant(int256) = 2**103


@deploy
def __init__(configurator_: address, params: IRiskEngine.RiskParams):
    """
    @notice Called by the market that it belongs to.
    """
    market = msg.sender
    configurator = configurator_
    self._store_params(params, params.maintenance_fractions)
    self._store_results(0, 0, block.timestamp)


# The market


@external
def observe_price(
    price: uint256, confidence: uint256, price_time: uint256, last_price: uint256, last_time: uint256
) -> bool:
    """
    @notice Takes note of a price before it takes effect. Market only.
    @param price Newer than the last, WAD.
    @param confidence Half the width of its band, WAD.
    @param price_time Its Unix time.
    @param last_price Price in effect, WAD; zero before the first.
    @param last_time Unix time of the price in effect.
    @return Whether it takes effect; if not it is held until a second report confirms it.
    """
    errors._require(msg.sender == market, errors.NOT_MARKET)
    state: uint256 = self._state
    is_halted: bool = state & HALT_BIT != 0
    if is_halted and price_time <= (self._pending >> 88) & MASK_48:
        return False
    rules: uint256 = self._rules
    errors._require(
        confidence
        <= fixed_point._mul_div_down(
            price, ((rules >> 120) & MASK_24) * constants.FRACTION_UNIT, constants.WAD
        ),
        errors.CONFIDENCE_TOO_WIDE,
    )
    variance: uint256 = state & MASK_128
    reduce_only_until: uint256 = (state >> 128) & MASK_48
    if last_price == 0:
        for i: uint256 in range(2):
            self._store_price_window(i, price, price, price_time)
    else:
        max_jump: uint256 = ((rules >> 48) & MASK_24) * constants.FRACTION_UNIT
        is_jump: bool = self._has_moved(price, last_price, max_jump)
        if is_halted:
            if not self._is_confirmed(price, is_jump, max_jump):
                self._hold(price, price_time, self._pending >> 184)
                return False
            self._pending = 0
            log IRiskEngine.PriceConfirmed(price=price, price_time=price_time)
            reduce_only_until = self._tripped(breaker_causes.JUMP, reduce_only_until)
        elif is_jump:
            self._state = state | HALT_BIT
            self._hold(price, price_time, block.timestamp)
            return False
        variance = dynamic_margin._next_variance(
            variance, price, last_price, price_time - last_time, (rules >> 184) & MASK_20
        )
        for i: uint256 in range(2):
            window: uint256 = self._price_windows[i]
            max_move: uint256 = ((rules >> (24 * i)) & MASK_24) * constants.FRACTION_UNIT
            if self._has_moved(price, window & constants.MAX_PRICE, max_move):
                reduce_only_until = self._tripped(
                    breaker_causes.MOVE_SHORT + i, reduce_only_until
                )
            if price_time >= (window >> 176) + ((rules >> (144 + 20 * i)) & MASK_20):
                self._store_price_window(
                    i, (window >> 88) & constants.MAX_PRICE, price, price_time
                )
    self._store_state(
        variance, reduce_only_until, fixed_point._mul_div_up(confidence, constants.WAD, price)
    )
    return True


@external
def record_update(liquidated_size: uint256, pool_result: int256, cash: uint256) -> uint256:
    """
    @notice Takes note of what a settlement of the market did. Market only.
    @param liquidated_size Size liquidated, WAD.
    @param pool_result What the pool has gained (positive) or lost to traders so far, unrealised
           included, token units.
    @param cash The pool's cash, token units.
    @return Most net profit of traders before the market deleverages, of free cash, WAD.
    """
    errors._require(msg.sender == market, errors.NOT_MARKET)
    rules: uint256 = self._rules
    window: uint256 = (rules >> 164) & MASK_20
    if liquidated_size > 0:
        if self._add_liquidated(liquidated_size, window) > self._limits & MASK_104:
            self._trip(breaker_causes.LIQUIDATED_VOLUME)
    results: uint256 = self._results
    result: int256 = max(min(pool_result, MAX_RESULT), -MAX_RESULT)
    loss: int256 = convert(results & MASK_104, int256) - RESULT_OFFSET - result
    max_loss: uint256 = ((rules >> 72) & MASK_24) * constants.FRACTION_UNIT
    if loss > 0 and convert(loss, uint256) > fixed_point._mul_div_down(
        cash, max_loss, constants.WAD
    ):
        self._trip(breaker_causes.POOL_LOSS)
    if block.timestamp >= (results >> 208) + window:
        self._store_results(
            convert((results >> 104) & MASK_104, int256) - RESULT_OFFSET, result, block.timestamp
        )
    return ((rules >> 96) & MASK_24) * constants.FRACTION_UNIT


@external
def cover_shortfall(shortfall: uint256, reserve: uint256) -> uint256:
    """
    @notice How much of a position's shortfall the insurance reserve covers: of a window's reserve
            no more than a share. The rest is bad debt. Market only.
    @param shortfall Loss beyond the margin, token units.
    @param reserve Insurance reserve before, token units.
    @return Token units to take from the reserve.
    """
    errors._require(msg.sender == market, errors.NOT_MARKET)
    deficits: uint256 = self._deficits
    limits: uint256 = self._limits
    drawn: uint256 = deficits & constants.MAX_MARGIN
    bad_debt: uint256 = (deficits >> 96) & constants.MAX_MARGIN
    start: uint256 = deficits >> 192
    if block.timestamp >= start + ((self._rules >> 164) & MASK_20):
        drawn = 0
        bad_debt = 0
        start = block.timestamp
    most: uint256 = fixed_point._mul_div_down(
        reserve + drawn, (limits >> 200) * constants.FRACTION_UNIT, constants.WAD
    )
    # The sum drawn fits its word; a share that has fallen allows no more.
    used: uint256 = min(
        min(shortfall, reserve), max(min(most, constants.MAX_MARGIN), drawn) - drawn
    )
    bad_debt = min(bad_debt + (shortfall - used), constants.MAX_MARGIN)
    self._deficits = (drawn + used) | (bad_debt << 96) | (start << 192)
    if bad_debt > (limits >> 104) & constants.MAX_MARGIN:
        self._trip(breaker_causes.BAD_DEBT)
    return used


# The configurator


@external
def set_params(params: IRiskEngine.RiskParams):
    """
    @notice Replaces the parameters. Configurator only. The maintenance fractions start from where
            they are and move by at most RAMP_PER_HOUR; the rest holds at once. No initial fraction
            may be below a maintenance fraction on its way.
    @param params As `params` returns them; checked by the configurator.
    """
    errors._require(msg.sender == configurator, errors.NOT_CONFIGURATOR)
    present: uint256[4] = self._present_maintenance()
    for tier: uint256 in range(constants.TIERS):
        errors._require(params.initial_fractions[tier] > present[tier], errors.BAD_TIERS)
    duration: uint256 = self._store_params(params, present)
    log IRiskEngine.ParamsSet(ramp_end=block.timestamp + duration)


@external
def restrict(until: uint256):
    """
    @notice Allows nothing that adds risk for a time. Configurator only.
    @param until Unix time, at most a day ahead; never shortens what holds already.
    """
    errors._require(msg.sender == configurator, errors.NOT_CONFIGURATOR)
    state: uint256 = self._state
    reduce_only_until: uint256 = max((state >> 128) & MASK_48, until)
    self._state = (state & ~(MASK_48 << 128)) | (reduce_only_until << 128)
    log IRiskEngine.Restricted(until=reduce_only_until)


# Views


@external
@view
def terms() -> IRiskEngine.Terms:
    """
    @notice Maintenance fractions of this moment, initial fractions before volatility, confidence
            and crowding, and fee rates: WAD.
    """
    word: uint256 = self._terms
    return IRiskEngine.Terms(
        maintenance_fractions=self._present_maintenance(),
        initial_fractions=self._fractions(word >> 96),
        maker_fee=((word >> 192) & MASK_17) * constants.FRACTION_UNIT,
        taker_fee=((word >> 209) & MASK_17) * constants.FRACTION_UNIT,
    )


@external
@view
def increase_terms(
    tier: uint256, side_size: uint256, other_size: uint256, reserved: uint256, cash: uint256
) -> uint256:
    """
    @notice Checks what adds size against breakers and caps.
    @param tier Of the whole position, 0 to 3.
    @param side_size Open interest of its side with what is added, WAD.
    @param other_size Open interest of the other side, WAD.
    @param reserved What the pool must hold with what is added, token units.
    @param cash What the pool holds, less what it owes, token units.
    @return Initial fraction, WAD.
    """
    self._require_unrestricted()
    caps: uint256 = self._caps
    max_skew: uint256 = caps >> 104
    errors._require(side_size <= caps & MASK_104, errors.OPEN_INTEREST_CAP)
    errors._require(side_size - min(side_size, max_skew) <= other_size, errors.SKEW_CAP)
    errors._require(reserved <= cash, errors.RESERVE_EXCEEDED)
    return self._initial_fraction(tier, reserved, cash)


@external
@view
def removal_terms(tier: uint256, reserved: uint256, cash: uint256) -> uint256:
    """
    @notice Checks what takes margin out against breakers.
    @param tier Of the position, 0 to 3.
    @param reserved What the pool must hold, token units.
    @param cash What the pool holds, less what it owes, token units.
    @return Initial fraction, WAD.
    """
    self._require_unrestricted()
    return self._initial_fraction(tier, reserved, cash)


@external
@view
def params() -> IRiskEngine.RiskParams:
    """
    @notice The parameters as set; maintenance fractions may still be on their way there.
    """
    word: uint256 = self._terms
    rules: uint256 = self._rules
    caps: uint256 = self._caps
    dynamics: uint256 = self._dynamics
    limits: uint256 = self._limits
    return IRiskEngine.RiskParams(
        max_open_interest=caps & MASK_104,
        max_skew=caps >> 104,
        maker_fee=((word >> 192) & MASK_17) * constants.FRACTION_UNIT,
        taker_fee=((word >> 209) & MASK_17) * constants.FRACTION_UNIT,
        initial_fractions=self._fractions(word >> 96),
        maintenance_fractions=self._fractions(word),
        calm_volatility=(dynamics & MASK_24) * constants.FRACTION_UNIT,
        max_volatility_multiplier=(dynamics >> 72) * constants.FRACTION_UNIT,
        volatility_window=(rules >> 184) & MASK_20,
        crowding_lower=((dynamics >> 24) & MASK_24) * constants.FRACTION_UNIT,
        crowding_upper=((dynamics >> 48) & MASK_24) * constants.FRACTION_UNIT,
        max_confidence=((rules >> 120) & MASK_24) * constants.FRACTION_UNIT,
        max_jump=((rules >> 48) & MASK_24) * constants.FRACTION_UNIT,
        move_windows=[(rules >> 144) & MASK_20, (rules >> 164) & MASK_20],
        max_moves=[(rules & MASK_24) * constants.FRACTION_UNIT, ((rules >> 24) & MASK_24) * constants.FRACTION_UNIT],
        cool_down=rules >> 204,
        max_liquidated_size=limits & MASK_104,
        max_pool_loss=((rules >> 72) & MASK_24) * constants.FRACTION_UNIT,
        max_bad_debt=(limits >> 104) & constants.MAX_MARGIN,
        max_insurance_draw=(limits >> 200) * constants.FRACTION_UNIT,
        max_profit_share=((rules >> 96) & MASK_24) * constants.FRACTION_UNIT,
    )


@external
@view
def breaker() -> IRiskEngine.Breaker:
    """
    @notice Until when only exits are possible, the price held if any (zeros if none), volatility
            per day, WAD, and confidence over price, WAD, as of the price in effect.
    """
    state: uint256 = self._state
    pending: uint256 = self._pending
    return IRiskEngine.Breaker(
        reduce_only_until=(state >> 128) & MASK_48,
        halted_since=pending >> 184,
        pending_price=pending & constants.MAX_PRICE,
        pending_time=(pending >> 88) & MASK_48,
        volatility=dynamic_margin._volatility(state & MASK_128),
        confidence=(state >> 176) & MASK_60,
    )


# Prices


@internal
@pure
def _has_moved(price: uint256, reference: uint256, fraction: uint256) -> bool:
    """
    @notice Whether a price is farther from the reference than that fraction of it.
    """
    move: uint256 = max(price, reference) - min(price, reference)
    return move > fixed_point._mul_div_down(reference, fraction, constants.WAD)


@internal
@view
def _is_confirmed(price: uint256, is_jump: bool, max_jump: uint256) -> bool:
    """
    @notice Whether a price in a halt takes effect: in a later block than the one held, near it or
            near the price in effect; or any, after MAX_HALT.
    """
    pending: uint256 = self._pending
    if block.timestamp >= (pending >> 184) + MAX_HALT:
        return True
    if block.timestamp <= (pending >> 136) & MASK_48:
        return False
    return not is_jump or not self._has_moved(price, pending & constants.MAX_PRICE, max_jump)


@internal
def _hold(price: uint256, price_time: uint256, halted_since: uint256):
    """
    @notice Holds a price until another confirms it.
    """
    self._pending = (
        price | (price_time << 88) | (block.timestamp << 136) | (halted_since << 184)
    )
    log IRiskEngine.PriceHeld(price=price, price_time=price_time)


# Breakers


@internal
def _tripped(cause: uint256, reduce_only_until: uint256) -> uint256:
    """
    @notice Until when a breaker that trips now leaves only exits.
    """
    until: uint256 = max(reduce_only_until, block.timestamp + (self._rules >> 204))
    log IRiskEngine.BreakerTripped(cause=cause, until=until)
    return until


@internal
def _trip(cause: uint256):
    state: uint256 = self._state
    until: uint256 = self._tripped(cause, (state >> 128) & MASK_48)
    self._state = (state & ~(MASK_48 << 128)) | (until << 128)


@internal
def _add_liquidated(size: uint256, window: uint256) -> uint256:
    """
    @notice Counts size as liquidated in the current window.
    @return The window's sum.
    """
    word: uint256 = self._liquidations
    sum: uint256 = word & MASK_104
    start: uint256 = word >> 104
    if block.timestamp >= start + window:
        sum = 0
        start = block.timestamp
    sum = min(sum + size, constants.MAX_SIZE)
    self._liquidations = sum | (start << 104)
    return sum


@internal
@view
def _require_unrestricted():
    errors._require(block.timestamp >= (self._state >> 128) & MASK_48, errors.REDUCE_ONLY)


# Fractions


@internal
@view
def _initial_fraction(tier: uint256, reserved: uint256, cash: uint256) -> uint256:
    """
    @notice Initial fraction of a tier as volatility, confidence and crowding make it, WAD.
    """
    state: uint256 = self._state
    dynamics: uint256 = self._dynamics
    return dynamic_margin._initial_fraction(
        ((self._terms >> (96 + 24 * tier)) & MASK_24) * constants.FRACTION_UNIT,
        dynamic_margin._volatility_multiplier(
            state & MASK_128,
            (dynamics & MASK_24) * constants.FRACTION_UNIT,
            (dynamics >> 72) * constants.FRACTION_UNIT,
        ),
        (state >> 176) & MASK_60,
        dynamic_margin._utilisation(reserved, cash),
        ((dynamics >> 24) & MASK_24) * constants.FRACTION_UNIT,
        ((dynamics >> 48) & MASK_24) * constants.FRACTION_UNIT,
    )


@internal
@view
def _present_maintenance() -> uint256[4]:
    """
    @notice Maintenance fractions of this moment, WAD.
    """
    word: uint256 = self._terms
    present: uint256[4] = self._fractions(word)
    if block.timestamp < (word >> 226) * HOUR:
        ramp: uint256 = self._ramp
        old_fractions: uint256[4] = self._fractions(ramp)
        for tier: uint256 in range(constants.TIERS):
            present[tier] = dynamic_margin._ramped(
                old_fractions[tier],
                present[tier],
                block.timestamp - ((ramp >> 96) & MASK_48),
                ramp >> 144,
            )
    return present


# Packed words


@internal
@pure
def _packed(fractions: uint256[4]) -> uint256:
    """
    @notice Four fractions in units of FRACTION_UNIT, 24 bits each.
    """
    word: uint256 = 0
    for tier: uint256 in range(constants.TIERS):
        word |= self._units(fractions[tier]) << (24 * tier)
    return word


@internal
@pure
def _units(fraction: uint256) -> uint256:
    return fixed_point._mul_div_down(fraction, 1, constants.FRACTION_UNIT)


@internal
@pure
def _fractions(word: uint256) -> uint256[4]:
    return [
        (word & MASK_24) * constants.FRACTION_UNIT,
        ((word >> 24) & MASK_24) * constants.FRACTION_UNIT,
        ((word >> 48) & MASK_24) * constants.FRACTION_UNIT,
        ((word >> 72) & MASK_24) * constants.FRACTION_UNIT,
    ]


@internal
def _store_params(params: IRiskEngine.RiskParams, present: uint256[4]) -> uint256:
    """
    @notice Stores parameters; the ramp of the maintenance fractions starts from `present`.
    @return Seconds that it takes.
    """
    most: uint256 = 0
    for tier: uint256 in range(constants.TIERS):
        old_fraction: uint256 = present[tier]
        new_fraction: uint256 = params.maintenance_fractions[tier]
        most = max(most, max(old_fraction, new_fraction) - min(old_fraction, new_fraction))
    duration: uint256 = fixed_point._mul_div_up(most, HOUR, RAMP_PER_HOUR)
    self._ramp = self._packed(present) | (block.timestamp << 96) | (duration << 144)
    ramp_end: uint256 = fixed_point._mul_div_up(block.timestamp + duration, 1, HOUR)
    self._terms = (
        self._packed(params.maintenance_fractions)
        | (self._packed(params.initial_fractions) << 96)
        | (self._units(params.maker_fee) << 192)
        | (self._units(params.taker_fee) << 209)
        | (ramp_end << 226)
    )
    self._rules = (
        self._units(params.max_moves[0])
        | (self._units(params.max_moves[1]) << 24)
        | (self._units(params.max_jump) << 48)
        | (self._units(params.max_pool_loss) << 72)
        | (self._units(params.max_profit_share) << 96)
        | (self._units(params.max_confidence) << 120)
        | (params.move_windows[0] << 144)
        | (params.move_windows[1] << 164)
        | (params.volatility_window << 184)
        | (params.cool_down << 204)
    )
    self._caps = params.max_open_interest | (params.max_skew << 104)
    self._dynamics = (
        self._units(params.calm_volatility)
        | (self._units(params.crowding_lower) << 24)
        | (self._units(params.crowding_upper) << 48)
        | (self._units(params.max_volatility_multiplier) << 72)
    )
    self._limits = (
        params.max_liquidated_size
        | (params.max_bad_debt << 104)
        | (self._units(params.max_insurance_draw) << 200)
    )
    return duration


@internal
def _store_state(variance: uint256, reduce_only_until: uint256, confidence: uint256):
    """
    @notice Stores the state of an accepted price, which ends a halt.
    """
    self._state = variance | (reduce_only_until << 128) | (confidence << 176)


@internal
def _store_price_window(i: uint256, previous: uint256, current: uint256, start: uint256):
    self._price_windows[i] = previous | (current << 88) | (start << 176)


@internal
def _store_results(previous: int256, current: int256, start: uint256):
    self._results = (
        convert(previous + RESULT_OFFSET, uint256)
        | (convert(current + RESULT_OFFSET, uint256) << 104)
        | (start << 208)
    )

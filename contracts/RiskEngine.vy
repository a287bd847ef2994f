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
@custom:kill Set the open interest cap to zero through the configurator; see docs/shutdown.md.
"""

from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IRiskEngine
from contracts.modules import breaker_causes
from contracts.modules import constants
from contracts.modules import dynamic_margin
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import funding_index
from contracts.modules import index_walk
from contracts.modules import margin_math
from contracts.modules import trigger_key

implements: IRiskEngine

version: public(constant(String[8])) = "0.2.0"

market: public(immutable(address))
configurator: public(immutable(address))
PARAMS: immutable(IPerpMarket.MarketParams)
NOTIONAL_SCALE: immutable(uint256)
VALUE_SCALE: immutable(uint256)

# Seconds after which the next price is accepted without confirmation.
MAX_HALT: constant(uint256) = 3_600
# Of notional, WAD: how fast a maintenance fraction moves.
RAMP_PER_HOUR: constant(uint256) = 10**15
HOUR: constant(uint256) = 3_600

# Packed words. Fractions are in units of FRACTION_UNIT, 24 bits each: times the unit, 37 bits, they
# need no check. Nor do sums of times and windows.
# maintenance fractions 4x24 | initial fractions 4x24 | maker fee 17 | taker fee 17
# | hour from which on the maintenance fractions are these 20
_terms: uint256
_ramp: uint256  # maintenance fractions before 4x24 | start 48 | duration 32
# (max_move 24 | move_window 20) x 2 | max_jump 24 | max_pool_loss 24 | max_profit_share 24
# | max_confidence 24 | volatility_window 20 | cool_down 17
_rules: uint256
_caps: uint256  # max_open_interest 104 | max_skew 104
# calm_volatility 24 | crowding_lower 24 | crowding_upper 24 | max_volatility_multiplier 32
_dynamics: uint256
_limits: uint256  # max_liquidated_size 104 | max_bad_debt 96 | max_insurance_draw 24

_state: uint256  # variance 128 | reduce_only_until 48 | confidence 60 | is_halted 1
_pending: uint256  # price 88 | price_time 48 | seen_at 48 | halted_since 48
# By window: what every price looks at, and what a window that turns looks at too.
_price_windows: uint256  # previous price 2x88 | start 2x40
_current_prices: uint256  # 2x88
_results: uint256  # previous 104 | current 104, each offset by 2**103 | start 48
_liquidations: uint256  # size 104 | start 48
_deficits: uint256  # drawn 96 | bad debt 96 | start 48
# Where deleveraging stopped for want of visits: equity per unit 128, offset by 2**127 | epoch 128
_deleverage_cursor: uint256

MASK_17: constant(uint256) = 2**17 - 1
MASK_20: constant(uint256) = 2**20 - 1
MASK_24: constant(uint256) = 2**24 - 1
MASK_40: constant(uint256) = 2**40 - 1
MASK_48: constant(uint256) = 2**48 - 1
MASK_60: constant(uint256) = 2**60 - 1
MASK_104: constant(uint256) = 2**104 - 1
MASK_128: constant(uint256) = 2**128 - 1
CURSOR_OFFSET: constant(int256) = 2**127
LISTS: constant(uint256) = 8
RING_HEADS: constant(uint256) = 3
# Visits, and rings that turn out to have been seen.
MAX_STEPS: constant(uint256) = 64
HALT_BIT: constant(uint256) = 2**236
MAX_RESULT: constant(int256) = 2**103 - 1
RESULT_OFFSET: constant(int256) = 2**103


@deploy
def __init__(
    configurator_: address,
    decimals: uint256,
    params: IPerpMarket.MarketParams,
    risk: IRiskEngine.RiskParams,
):
    """
    @notice Called by the market that it belongs to.
    """
    market = msg.sender
    configurator = configurator_
    PARAMS = params
    NOTIONAL_SCALE = 10 ** (36 - decimals)
    VALUE_SCALE = 10 ** (45 - decimals)
    self._store_params(risk, risk.maintenance_fractions)
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
    confidence_ratio: uint256 = fixed_point._mul_div_up(confidence, constants.WAD, price)
    errors._require(
        confidence_ratio <= unsafe_mul((rules >> 160) & MASK_24, constants.FRACTION_UNIT),
        errors.CONFIDENCE_TOO_WIDE,
    )
    variance: uint256 = state & MASK_128
    reduce_only_until: uint256 = (state >> 128) & MASK_48
    if last_price == 0:
        current_prices: uint256 = price | (price << 88)
        self._current_prices = current_prices
        self._price_windows = current_prices | (price_time << 176) | (price_time << 216)
    else:
        change: uint256 = dynamic_margin._change(price, last_price)
        max_jump: uint256 = unsafe_mul((rules >> 88) & MASK_24, constants.FRACTION_UNIT)
        if is_halted:
            if not self._is_confirmed(price, change, max_jump):
                self._hold(price, price_time, self._pending >> 184)
                return False
            self._pending = 0
            log IRiskEngine.PriceConfirmed(price=price, price_time=price_time)
            reduce_only_until = self._tripped(breaker_causes.JUMP, reduce_only_until)
        elif change > max_jump:
            self._state = state | HALT_BIT
            self._hold(price, price_time, block.timestamp)
            return False
        variance = dynamic_margin._next_variance(
            variance, change, price_time - last_time, (rules >> 184) & MASK_20
        )
        bounds: uint256 = rules
        windows: uint256 = self._price_windows
        references: uint256 = windows
        starts: uint256 = windows >> 176
        current_prices: uint256 = 0  # not looked at
        for i: uint256 in range(2):
            change = dynamic_margin._change(price, references & constants.MAX_PRICE)
            if change > unsafe_mul(bounds & MASK_24, constants.FRACTION_UNIT):
                reduce_only_until = self._tripped(
                    breaker_causes.MOVE_SHORT + i, reduce_only_until
                )
            if price_time >= unsafe_add(starts & MASK_40, (bounds >> 24) & MASK_20):
                if current_prices == 0:
                    current_prices = self._current_prices
                price_at: uint256 = unsafe_mul(88, i)
                start_at: uint256 = unsafe_add(unsafe_mul(40, i), 176)
                replaced: uint256 = constants.MAX_PRICE << price_at
                windows &= ~(replaced | (MASK_40 << start_at))
                windows |= (current_prices & replaced) | (price_time << start_at)
                current_prices = (current_prices & ~replaced) | (price << price_at)
            bounds >>= 44
            references >>= 88
            starts >>= 40
        if current_prices > 0:
            self._price_windows = windows
            self._current_prices = current_prices
    self._store_state(variance, reduce_only_until, confidence_ratio)
    return True


@external
def record_update(
    liquidated_size: uint256, net_profit: int256, account: ILiquidityPool.Account
) -> bool:
    """
    @notice Takes note of what a settlement of the market did. Market only.
    @param liquidated_size Size liquidated, WAD.
    @param net_profit The traders' net unrealised profit, token units, rounded up.
    @param account The pool's cash, claims and realised result, token units.
    @return Whether the profit is above its share of the pool's free cash.
    """
    errors._require(msg.sender == market, errors.NOT_MARKET)
    rules: uint256 = self._rules
    window: uint256 = (rules >> 68) & MASK_20
    if liquidated_size > 0:
        if self._add_liquidated(liquidated_size, window) > self._limits & MASK_104:
            self._trip(breaker_causes.LIQUIDATED_VOLUME)
    results: uint256 = self._results
    result: int256 = max(min(account.result - net_profit, MAX_RESULT), -MAX_RESULT)
    # Three numbers of 104 bits.
    loss: int256 = unsafe_sub(
        unsafe_sub(convert(results & MASK_104, int256), RESULT_OFFSET), result
    )
    max_loss: uint256 = unsafe_mul((rules >> 112) & MASK_24, constants.FRACTION_UNIT)
    if loss > 0 and convert(loss, uint256) > fixed_point._mul_div_down(
        account.cash, max_loss, constants.WAD
    ):
        self._trip(breaker_causes.POOL_LOSS)
    if block.timestamp >= (results >> 208) + window:
        self._store_results(
            convert((results >> 104) & MASK_104, int256) - RESULT_OFFSET, result, block.timestamp
        )
    return self._is_profit_too_large(
        net_profit,
        account.cash - min(account.cash, account.claims),
        unsafe_mul((rules >> 136) & MASK_24, constants.FRACTION_UNIT),
    )


@external
def choose_deleveraged(
    price: uint256,
    funding: int256[2],
    epoch: uint256,
    net_profit: int256,
    cash: uint256,
    max_visits: uint256,
) -> (DynArray[uint256, constants.MAX_VISITS], bool):
    """
    @notice Names the positions to close because the traders' profit is too large: those in profit,
            from the other end of the index, with the most equity per unit of size first whatever
            their list, until the profit fits. The last one is the first that makes it fit. Market
            only.
    @param price WAD; `funding` the two indices; `epoch` of both.
    @param net_profit The traders' net profit, unrounded (to be divided by the value scale).
    @param cash The pool's free cash, token units.
    @param max_visits Positions to look at.
    @return Positions looked at, id * 2 + 1 to close and id * 2 to be marked as seen, in the order
            of their rings; and whether visits ran out.
    """
    errors._require(msg.sender == market, errors.NOT_MARKET)
    source: IPerpMarket = IPerpMarket(market)
    max_share: uint256 = ((self._rules >> 136) & MASK_24) * constants.FRACTION_UNIT
    visited: DynArray[uint256, constants.MAX_VISITS] = []
    profit: int256 = net_profit
    left: uint256 = cash
    marked: int256[2] = [
        margin_math._marked_value(constants.LONG, 1, price, funding[0]),
        margin_math._marked_value(constants.SHORT, 1, price, funding[1]),
    ]
    rings: uint256[8] = self._farthest_rings(source, marked, epoch)
    list_id: uint256 = 0
    equity: int256 = 0
    first_id: uint256 = 0
    position_id: uint256 = 0
    for _: uint256 in range(MAX_STEPS):
        if position_id == 0:
            list_id, equity = self._farthest_list(rings, marked)
            if rings[list_id] == 0:
                return visited, False
            first_id = staticcall source.index_word(RING_HEADS, rings[list_id] - 1)
            position_id = first_id
        if len(visited) == max_visits:
            break
        position: IPerpMarket.Position = staticcall source.position(position_id)
        next_id: uint256 = position.next_id
        if position.epoch == epoch:
            # Once round: those seen at these marks are last in their ring.
            next_id = first_id
        else:
            value: int256 = margin_math._marked_value(
                position.side, position.size, price, funding[position.side]
            ) - margin_math._marked_value(
                position.side, position.size, position.entry_price, position.entry_funding
            )
            gain: int256 = fixed_point._signed_div_floor(value, VALUE_SCALE)
            if gain > 0:
                visited.append(2 * position_id + 1)
                profit -= value
                left -= min(left, convert(gain, uint256))
                if not self._is_profit_too_large(
                    fixed_point._signed_div_ceil(profit, VALUE_SCALE), left, max_share
                ):
                    return visited, False
            else:
                visited.append(2 * position_id)
        position_id = next_id
        if position_id == first_id:
            rings[list_id] = index_walk._ring_from(source, rings[list_id])
            position_id = 0
    self._deleverage_cursor = convert(equity + CURSOR_OFFSET, uint256) | (epoch << 128)
    return visited, True


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
    drawn: uint256 = 0
    bad_debt: uint256 = 0
    start: uint256 = 0
    drawn, bad_debt, start = self._present_deficits()
    used: uint256 = self._cover(shortfall, reserve, drawn)
    bad_debt = min(bad_debt + (shortfall - used), constants.MAX_MARGIN)
    # The sum drawn fits its word: see `_cover`.
    self._deficits = (drawn + used) | (bad_debt << 96) | (start << 192)
    if bad_debt > (self._limits >> 104) & constants.MAX_MARGIN:
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
    ramp_end: uint256 = self._store_params(params, present)
    log IRiskEngine.ParamsSet(ramp_end=ramp_end)


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
def terms(elapsed: uint256, book: IRiskEngine.Book) -> IRiskEngine.Terms:
    """
    @notice What positions are measured by at this moment.
    @param elapsed Seconds since the funding indices were last accrued.
    @param book Price, sizes and cash that held meanwhile.
    @return Maintenance fractions, what a unit of each side has paid meanwhile, the pool's reserve,
            and the fixed parameters of a liquidation.
    """
    reserved: uint256 = self._reserved(book)
    funding_rate: int256 = funding_index._funding_rate(
        convert(book.long_size, int256) - convert(book.short_size, int256),
        PARAMS.skew_scale,
        PARAMS.max_funding_rate,
    )
    utilisation_rate: uint256 = funding_index._utilisation_rate(
        reserved, book.cash, PARAMS.max_utilisation_rate
    )
    return IRiskEngine.Terms(
        maintenance_fractions=self._present_maintenance(),
        funding_steps=[
            funding_index._index_step(
                constants.LONG, funding_rate, utilisation_rate, book.price, elapsed
            ),
            funding_index._index_step(
                constants.SHORT, funding_rate, utilisation_rate, book.price, elapsed
            ),
        ],
        reserved=reserved,
        liquidation_penalty=PARAMS.liquidation_penalty,
        keeper_share=PARAMS.keeper_share,
        max_price_age=PARAMS.max_price_age,
    )


@external
@view
def increase_terms(
    side: uint256, position_size: uint256, size: uint256, book: IRiskEngine.Book
) -> IRiskEngine.Fill:
    """
    @notice Checks a size increase against breakers and caps, and prices it.
    @param side Of the position, 0 long, 1 short.
    @param position_size Its size before, WAD; zero to open one.
    @param size What is added, WAD.
    @param book The market before.
    @return Tier and initial fraction of the whole, fill price and fee.
    """
    errors._require(size > 0, errors.ZERO_SIZE)
    errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)
    self._require_unrestricted()
    errors._require(
        not self._is_too_small(position_size + size, book.price), errors.SIZE_TOO_SMALL
    )
    tier: uint256 = self._tier_of(position_size + size)
    after: IRiskEngine.Book = book
    side_size: uint256 = book.long_size + size
    other_size: uint256 = book.short_size
    if side == constants.LONG:
        after.long_size = side_size
    else:
        side_size = book.short_size + size
        other_size = book.long_size
        after.short_size = side_size
    caps: uint256 = self._caps
    errors._require(side_size <= caps & MASK_104, errors.OPEN_INTEREST_CAP)
    errors._require(side_size <= other_size + (caps >> 104), errors.SKEW_CAP)
    reserved: uint256 = self._reserved(after)
    errors._require(reserved <= book.cash, errors.RESERVE_EXCEEDED)
    fill: IRiskEngine.Fill = self._fill(side, size, book)
    fill.tier = tier
    fill.initial_fraction = self._initial_fraction(tier, reserved, book.cash)
    return fill


@external
@view
def exit_terms(
    side: uint256, position_size: uint256, size: uint256, book: IRiskEngine.Book
) -> IRiskEngine.Fill:
    """
    @notice Prices closing `size` units of a position; nothing but its own rest can be in the way.
    @param side Of the position, 0 long, 1 short.
    @param position_size Its size before, WAD.
    @param size What is closed, WAD.
    @param book The market before.
    @return Tier of the rest, fill price and fee.
    """
    rest: uint256 = position_size - size
    errors._require(rest == 0 or not self._is_too_small(rest, book.price), errors.SIZE_TOO_SMALL)
    fill: IRiskEngine.Fill = self._fill(constants.SHORT - side, size, book)
    fill.tier = self._tier_of(rest)
    return fill


@external
@view
def removal_terms(tier: uint256, book: IRiskEngine.Book) -> uint256:
    """
    @notice Checks what takes margin out against breakers.
    @param tier Of the position, 0 to 3.
    @param book The market.
    @return Initial fraction, WAD.
    """
    self._require_unrestricted()
    return self._initial_fraction(tier, self._reserved(book), book.cash)


@external
@view
def partial_terms(
    tier: uint256, equity: uint256, full_penalty: uint256, price: uint256
) -> (uint256, uint256):
    """
    @notice Size that may stay open after a partial liquidation so that it meets the tier's initial
            fraction (neither volatility nor the crowd makes it smaller), and its tier. Size zero
            when none may stay.
    """
    size: uint256 = margin_math._partial_size_down(
        equity,
        full_penalty,
        price,
        ((self._terms >> (96 + 24 * tier)) & MASK_24) * constants.FRACTION_UNIT,
        PARAMS.liquidation_penalty,
        NOTIONAL_SCALE,
    )
    if size > constants.MAX_SIZE or self._is_too_small(size, price):
        return 0, tier
    return size, min(tier, self._tier_or_last(size))


@external
@view
def shortfall_terms(shortfall: uint256, reserve: uint256) -> uint256:
    """
    @notice What `cover_shortfall` would answer now, to anyone.
    """
    return self._cover(shortfall, reserve, self._present_deficits()[0])


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
        max_confidence=((rules >> 160) & MASK_24) * constants.FRACTION_UNIT,
        max_jump=((rules >> 88) & MASK_24) * constants.FRACTION_UNIT,
        move_windows=[(rules >> 24) & MASK_20, (rules >> 68) & MASK_20],
        max_moves=[
            (rules & MASK_24) * constants.FRACTION_UNIT,
            ((rules >> 44) & MASK_24) * constants.FRACTION_UNIT,
        ],
        cool_down=rules >> 204,
        max_liquidated_size=limits & MASK_104,
        max_pool_loss=((rules >> 112) & MASK_24) * constants.FRACTION_UNIT,
        max_bad_debt=(limits >> 104) & constants.MAX_MARGIN,
        max_insurance_draw=(limits >> 200) * constants.FRACTION_UNIT,
        max_profit_share=((rules >> 136) & MASK_24) * constants.FRACTION_UNIT,
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


@external
@view
def market_params() -> IPerpMarket.MarketParams:
    """
    @notice The parameters that never change: sizes, fractions and rates per second WAD, age in
            seconds.
    """
    return PARAMS


# Trades


@internal
@view
def _fill(side: uint256, size: uint256, book: IRiskEngine.Book) -> IRiskEngine.Fill:
    """
    @notice Fill price and fee of a trade on `side` (LONG buys, SHORT sells). The maker's fee
            applies when the trade brings the skew nearer to zero: when its average leans the other
            way.
    """
    doubled_skew: int256 = 2 * (
        convert(book.long_size, int256) - convert(book.short_size, int256)
    )
    is_maker: bool = False
    if side == constants.LONG:
        doubled_skew += convert(size, int256)
        is_maker = doubled_skew < 0
    else:
        doubled_skew -= convert(size, int256)
        is_maker = doubled_skew > 0
    fill: IRiskEngine.Fill = empty(IRiskEngine.Fill)
    fill.price = margin_math._fill_price(side, book.price, doubled_skew, PARAMS.skew_scale)
    fees: uint256 = self._terms >> 192
    fill.fee = self._fraction_of_notional_up(
        size,
        fill.price,
        ((fees if is_maker else fees >> 17) & MASK_17) * constants.FRACTION_UNIT,
    )
    return fill


@internal
@view
def _reserved(book: IRiskEngine.Book) -> uint256:
    """
    @notice Pool cash that backs the open interest.
    """
    return self._fraction_of_notional_up(
        book.long_size + book.short_size, book.price, PARAMS.reserve_fraction
    )


@internal
@view
def _fraction_of_notional_up(size: uint256, price: uint256, fraction: uint256) -> uint256:
    return margin_math._fraction_of_notional_up(size, price, fraction, NOTIONAL_SCALE)


@internal
@view
def _is_too_small(size: uint256, price: uint256) -> bool:
    """
    @notice Whether a position of `size` would be below the market's minimum or the protocol's.
    """
    return size < PARAMS.min_size or (
        self._fraction_of_notional_up(size, price, constants.WAD) < constants.MIN_NOTIONAL
    )


@internal
@view
def _tier_of(size: uint256) -> uint256:
    """
    @notice The first tier that admits `size`.
    """
    tier: uint256 = self._tier_or_last(size)
    errors._require(size <= PARAMS.tier_sizes[tier], errors.TIER_EXCEEDED)
    return tier


@internal
@view
def _tier_or_last(size: uint256) -> uint256:
    for tier: uint256 in range(constants.TIERS):
        if size <= PARAMS.tier_sizes[tier]:
            return tier
    return constants.TIERS - 1


# Deleveraging


@internal
@view
def _is_profit_too_large(net_profit: int256, cash: uint256, max_share: uint256) -> bool:
    """
    @notice Whether the traders' net profit is above that share of the pool's free cash.
    """
    return net_profit > convert(
        fixed_point._mul_div_down(cash, max_share, constants.WAD), int256
    )


@internal
@view
def _farthest_rings(source: IPerpMarket, marked: int256[2], epoch: uint256) -> uint256[8]:
    """
    @notice By list, the ring whose positions have the most equity per unit, plus one; of those that
            have not been seen at these marks.
    """
    cursor: uint256 = self._deleverage_cursor
    rings: uint256[8] = empty(uint256[8])
    for list_id: uint256 in range(LISTS):
        bucket: uint256 = 0
        if cursor >> 128 == epoch:
            bucket = trigger_key._bucket_of(
                marked[self._side_of(list_id)]
                - (convert(cursor & MASK_128, int256) - CURSOR_OFFSET)
            )
        rings[list_id] = index_walk._ring_from(source, (list_id << 24) | bucket)
    return rings


@internal
@pure
def _farthest_list(rings: uint256[8], marked: int256[2]) -> (uint256, int256):
    """
    @notice The list whose ring has the most equity per unit of size, and how much: what a unit is
            marked at less the ring's highest key.
    """
    farthest: uint256 = 0
    most: int256 = min_value(int256)
    for list_id: uint256 in range(LISTS):
        if rings[list_id] > 0:
            equity: int256 = marked[self._side_of(list_id)] - trigger_key._highest_key(
                (rings[list_id] - 1) & MASK_24
            )
            if equity > most:
                most = equity
                farthest = list_id
    return farthest, most


@internal
@pure
def _side_of(list_id: uint256) -> uint256:
    return constants.LONG if list_id < constants.TIERS else constants.SHORT


# Prices


@internal
@view
def _is_confirmed(price: uint256, change: uint256, max_jump: uint256) -> bool:
    """
    @notice Whether a price in a halt takes effect: in a later block than the one held, near it or
            near the price in effect (`change` is how far it is from that); or any, after MAX_HALT.
    """
    pending: uint256 = self._pending
    if block.timestamp >= (pending >> 184) + MAX_HALT:
        return True
    if block.timestamp <= (pending >> 136) & MASK_48:
        return False
    return (
        change <= max_jump
        or dynamic_margin._change(price, pending & constants.MAX_PRICE) <= max_jump
    )


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
def _present_deficits() -> (uint256, uint256, uint256):
    """
    @notice Drawn and bad debt of the current window, and its start; a new one if that is over.
    """
    deficits: uint256 = self._deficits
    if block.timestamp >= (deficits >> 192) + ((self._rules >> 68) & MASK_20):
        return 0, 0, block.timestamp
    return deficits & constants.MAX_MARGIN, (deficits >> 96) & constants.MAX_MARGIN, deficits >> 192


@internal
@view
def _cover(shortfall: uint256, reserve: uint256, drawn: uint256) -> uint256:
    """
    @notice What the reserve covers of a shortfall when `drawn` has been in this window: the sum
            fits a word of 96 bits, and a share that has fallen allows no more.
    """
    most: uint256 = fixed_point._mul_div_down(
        reserve + drawn, (self._limits >> 200) * constants.FRACTION_UNIT, constants.WAD
    )
    return min(
        min(shortfall, reserve), max(min(most, constants.MAX_MARGIN), drawn) - drawn
    )


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
def _hour_after(time: uint256) -> uint256:
    """
    @notice Number of the first full hour that is not before a Unix time.
    """
    return fixed_point._mul_div_up(time, 1, HOUR)


@internal
@pure
def _fractions(word: uint256) -> uint256[4]:
    # 24 bits times 37.
    return [
        unsafe_mul(word & MASK_24, constants.FRACTION_UNIT),
        unsafe_mul((word >> 24) & MASK_24, constants.FRACTION_UNIT),
        unsafe_mul((word >> 48) & MASK_24, constants.FRACTION_UNIT),
        unsafe_mul((word >> 72) & MASK_24, constants.FRACTION_UNIT),
    ]


@internal
def _store_params(params: IRiskEngine.RiskParams, present: uint256[4]) -> uint256:
    """
    @notice Stores parameters; the ramp of the maintenance fractions starts from `present`.
    @return Unix time of its end.
    """
    most: uint256 = 0
    for tier: uint256 in range(constants.TIERS):
        old_fraction: uint256 = present[tier]
        new_fraction: uint256 = params.maintenance_fractions[tier]
        most = max(most, max(old_fraction, new_fraction) - min(old_fraction, new_fraction))
    duration: uint256 = fixed_point._mul_div_up(most, HOUR, RAMP_PER_HOUR)
    self._ramp = self._packed(present) | (block.timestamp << 96) | (duration << 144)
    ramp_end: uint256 = block.timestamp + duration
    # Without a ramp no hour: then nothing looks at it.
    ramp_hour: uint256 = 0
    if duration > 0:
        ramp_hour = self._hour_after(ramp_end)
    self._terms = (
        self._packed(params.maintenance_fractions)
        | (self._packed(params.initial_fractions) << 96)
        | (self._units(params.maker_fee) << 192)
        | (self._units(params.taker_fee) << 209)
        | (ramp_hour << 226)
    )
    self._rules = (
        self._units(params.max_moves[0])
        | (params.move_windows[0] << 24)
        | (self._units(params.max_moves[1]) << 44)
        | (params.move_windows[1] << 68)
        | (self._units(params.max_jump) << 88)
        | (self._units(params.max_pool_loss) << 112)
        | (self._units(params.max_profit_share) << 136)
        | (self._units(params.max_confidence) << 160)
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
    return ramp_end


@internal
def _store_state(variance: uint256, reduce_only_until: uint256, confidence: uint256):
    """
    @notice Stores the state of an accepted price, which ends a halt.
    """
    self._state = variance | (reduce_only_until << 128) | (confidence << 176)


@internal
def _store_results(previous: int256, current: int256, start: uint256):
    self._results = (
        convert(previous + RESULT_OFFSET, uint256)
        | (convert(current + RESULT_OFFSET, uint256) << 104)
        | (start << 208)
    )

# pragma version 0.4.3
# pragma optimize gas
"""
@title MarketLens
@license AGPL-3.0-only
@notice Questions of traders, keepers and interfaces about any market, answered from its views:
        where a position is liquidated, who is next, what an action would do now. Holds and changes
        nothing.
@dev    ASSUMPTIONS  `market` is one of the factory's. A preview holds in the block in which it is
                     asked, and knows neither what the token itself refuses (allowance, balance,
                     transfer) nor a market locked by a call under way.
        INVARIANTS   L-1 to L-4 of docs/lens.md: a preview equals what the action then does.
        ROUNDING     As the market's own; leverage rounds up, distance down.
        LIVENESS     Lists look at no more than MAX_LOOKS positions of each list.
@custom:kill Nothing to disable: it has no state and nobody depends on it.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.utils import math

from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IMarketLens
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IRiskEngine
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import index_walk
from contracts.modules import margin_math
from contracts.modules import trigger_key
from contracts.modules import trigger_price

implements: IMarketLens

# Getters of a market that no other contract needs.
interface IMarketParts:
    def token() -> address: view
    def pool() -> address: view
    def engine() -> address: view
    def feed() -> address: view

# A market as of this block.
struct Snapshot:
    market: IPerpMarket
    engine: IRiskEngine
    notional_scale: uint256
    marks: IPerpMarket.Marks
    totals: IPerpMarket.Totals
    account: ILiquidityPool.Account

version: public(constant(String[8])) = "0.2.0"

MASK_24: constant(uint256) = 2**24 - 1
LISTS: constant(uint256) = 2 * constants.TIERS
RING_HEADS: constant(uint256) = 3

# Ids that one call lists, and positions of one list of the index that it looks at for them.
MAX_LISTED: constant(uint256) = 64
MAX_LOOKS: constant(uint256) = 256

# As the market's.
SETTLEMENT_DELAY: constant(uint256) = 7 * 86_400


# One position


@external
@view
def liquidation_price(market: IPerpMarket, position_id: uint256) -> uint256:
    """
    @notice The first price, WAD, at which the position is liquidatable as prices get worse for it,
            at this block's funding and maintenance fraction: exact, by the market's integer rule.
            Zero for a long, 2**256 - 1 for a short, that no price liquidates.
    """
    return self._liquidation_price(staticcall market.position(position_id), self._load(market))


@external
@view
def liquidation_distance(market: IPerpMarket, position_id: uint256) -> int256:
    """
    @notice How far the price is from there, as a fraction of the price, WAD, rounded down; negative
            when it is past it, 2**255 - 1 for a short that no price liquidates.
    """
    position: IPerpMarket.Position = staticcall market.position(position_id)
    return self._health(position, self._load(market)).liquidation_distance


@external
@view
def effective_leverage(market: IPerpMarket, position_id: uint256) -> uint256:
    """
    @notice Notional over equity at the last price, WAD, rounded up; 2**256 - 1 when there is no
            equity.
    """
    position: IPerpMarket.Position = staticcall market.position(position_id)
    return self._health(position, self._load(market)).effective_leverage


@external
@view
def health(market: IPerpMarket, position_id: uint256) -> IMarketLens.Health:
    """
    @notice All of that in one call, with value, equity and maintenance requirement.
    """
    return self._health(staticcall market.position(position_id), self._load(market))


# Who is next


@external
@view
def next_to_liquidate(market: IPerpMarket, count: uint256) -> DynArray[uint256, MAX_LISTED]:
    """
    @notice The positions that `continue_backlog` would liquidate now, in its order.
    @param count Ids at most; more than MAX_LISTED counts as MAX_LISTED.
    @return Fewer ids only when no more are due, or MAX_LOOKS of a list were not enough.
    """
    snapshot: Snapshot = self._load(market)
    marks: IPerpMarket.Marks = snapshot.marks
    most: uint256 = min(count, MAX_LISTED)
    ids: DynArray[uint256, MAX_LISTED] = []
    for side: uint256 in range(2):
        for tier: uint256 in range(constants.TIERS):
            threshold: int256 = trigger_key._threshold(
                side, marks.price, marks.terms.maintenance_fractions[tier], marks.funding[side]
            )
            # As everywhere below, a ring plus one, or zero for none.
            cursor: uint256 = self._worst_ring(market, side * constants.TIERS + tier)
            first_id: uint256 = 0
            position_id: uint256 = 0
            for _: uint256 in range(MAX_LOOKS):
                if position_id == 0:
                    if (
                        cursor == 0
                        or trigger_key._highest_key((cursor - 1) & MASK_24) <= threshold
                    ):
                        break
                    first_id = staticcall market.index_word(RING_HEADS, cursor - 1)
                    position_id = first_id
                if len(ids) == most:
                    return ids
                position: IPerpMarket.Position = staticcall market.position(position_id)
                next_id: uint256 = position.next_id
                if position.epoch == marks.epoch:
                    # Those seen at these marks are last in their ring.
                    next_id = first_id
                elif self._is_liquidatable(position, snapshot):
                    ids.append(position_id)
                position_id = next_id
                if position_id == first_id:
                    cursor = self._next_ring(market, cursor - 1)
                    position_id = 0
    return ids


@external
@view
def nearest_to_liquidation(market: IPerpMarket, count: uint256) -> DynArray[uint256, MAX_LISTED]:
    """
    @notice The positions nearest to liquidation, whether due or not, by how far the price is from
            where their bucket becomes due. Those of one bucket are in no order.
    @param count Ids at most; more than MAX_LISTED counts as MAX_LISTED.
    """
    snapshot: Snapshot = self._load(market)
    ids: DynArray[uint256, MAX_LISTED] = []
    rings: uint256[LISTS] = empty(uint256[LISTS])
    for i: uint256 in range(LISTS):
        rings[i] = self._worst_ring(market, i)
    list_id: uint256 = 0
    first_id: uint256 = 0
    position_id: uint256 = 0
    for _: uint256 in range(min(count, MAX_LISTED), bound=MAX_LISTED):
        if position_id == 0:
            list_id = self._nearest_list(rings, snapshot.marks)
            if rings[list_id] == 0:
                break
            first_id = staticcall market.index_word(RING_HEADS, rings[list_id] - 1)
            position_id = first_id
        ids.append(position_id)
        position_id = (staticcall market.position(position_id)).next_id
        if position_id == first_id:
            rings[list_id] = self._next_ring(market, rings[list_id] - 1)
            position_id = 0
    return ids


@external
@view
def next_to_deleverage(market: IPerpMarket, count: uint256) -> DynArray[uint256, MAX_LISTED]:
    """
    @notice The positions in profit in the order in which deleveraging would close them at these
            marks, whether it is due or not: the most equity per unit of size first.
    @param count Ids at most; more than MAX_LISTED counts as MAX_LISTED.
    @return Fewer ids only when no more are in profit, or MAX_LOOKS positions were not enough.
    """
    snapshot: Snapshot = self._load(market)
    marks: IPerpMarket.Marks = snapshot.marks
    ids: DynArray[uint256, MAX_LISTED] = []
    rings: uint256[LISTS] = empty(uint256[LISTS])
    for i: uint256 in range(LISTS):
        rings[i] = index_walk._ring_from(market, i << 24)
    list_id: uint256 = 0
    first_id: uint256 = 0
    position_id: uint256 = 0
    for _: uint256 in range(MAX_LOOKS):
        if position_id == 0:
            list_id = self._farthest_list(rings, marks)
            if rings[list_id] == 0:
                break
            first_id = staticcall market.index_word(RING_HEADS, rings[list_id] - 1)
            position_id = first_id
        if len(ids) == min(count, MAX_LISTED):
            break
        position: IPerpMarket.Position = staticcall market.position(position_id)
        next_id: uint256 = position.next_id
        if position.epoch == marks.epoch:
            next_id = first_id
        elif self._value(position, position.size, marks.price, snapshot) > 0:
            ids.append(position_id)
        position_id = next_id
        if position_id == first_id:
            rings[list_id] = index_walk._ring_from(market, rings[list_id])
            position_id = 0
    return ids


# The market


@external
@view
def status(market: IPerpMarket) -> IMarketLens.Status:
    """
    @notice What is possible now and why. Never reverts because of the feed.
    @return The price in effect and its time; whether one can trade and settle at it, it waits for
            confirmation, only exits are possible, anyone may settle, liquidations are left over;
            the breakers; whether the feed answers, what, and whether an update would bring
            something newer.
    """
    marks: IPerpMarket.Marks = staticcall market.marks()
    totals: IPerpMarket.Totals = staticcall market.totals()
    parts: IMarketParts = IMarketParts(market.address)
    breaker: IRiskEngine.Breaker = staticcall IRiskEngine(staticcall parts.engine()).breaker()
    status: IMarketLens.Status = empty(IMarketLens.Status)
    status.price = marks.price
    status.price_time = marks.price_time
    status.is_priced = self._is_priced(marks, totals)
    status.is_halted = totals.is_halted
    status.is_restricted = block.timestamp < breaker.reduce_only_until
    status.is_expired = self._is_expired(marks)
    status.has_backlog = totals.has_backlog
    status.breaker = breaker
    is_answering: bool = False
    answer: Bytes[96] = b""
    is_answering, answer = raw_call(
        staticcall parts.feed(),
        method_id("latest_price()"),
        max_outsize=96,
        is_static_call=True,
        revert_on_failure=False,
    )
    if is_answering and len(answer) == 96:
        status.is_feed_answering = True
        status.feed_price = convert(slice(answer, 0, 32), uint256)
        status.feed_confidence = convert(slice(answer, 32, 32), uint256)
        status.feed_time = convert(slice(answer, 64, 32), uint256)
        status.has_newer_price = status.feed_time > marks.price_time
    return status


# What an action would do: the same checks in the same order, the same reasons


@external
@view
def preview_open(
    market: IPerpMarket, side: uint256, size: uint256, margin: uint256, acceptable_price: uint256
) -> IMarketLens.Trade:
    """
    @notice What `open` would do, for anyone.
    @param side 0 long, 1 short.
    @param size WAD.
    @param margin Token units.
    @param acceptable_price WAD.
    """
    snapshot: Snapshot = self._load(market)
    errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)
    self._require_amount(margin)
    self._require_tradable(snapshot)
    position: IPerpMarket.Position = empty(IPerpMarket.Position)
    position.side = side
    return self._add_size(
        snapshot.totals.positions + 1, position, size, margin, acceptable_price, snapshot
    )


@external
@view
def preview_increase(
    market: IPerpMarket,
    caller: address,
    position_id: uint256,
    size: uint256,
    margin: uint256,
    acceptable_price: uint256,
) -> IMarketLens.Trade:
    """
    @notice What `increase` would do when `caller` calls it.
    @param size Units added, WAD.
    @param margin Token units, may be zero.
    @param acceptable_price WAD.
    """
    snapshot: Snapshot = self._load(market)
    if margin > 0:
        self._require_amount(margin)
    position: IPerpMarket.Position = self._load_own_position(snapshot, caller, position_id)
    self._require_tradable(snapshot)
    return self._add_size(position_id, position, size, margin, acceptable_price, snapshot)


@external
@view
def preview_reduce(
    market: IPerpMarket,
    caller: address,
    position_id: uint256,
    size: uint256,
    acceptable_price: uint256,
) -> IMarketLens.Trade:
    """
    @notice What `reduce` would do when `caller` calls it.
    @param size Units closed, WAD.
    @param acceptable_price WAD.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = self._load_own_position(snapshot, caller, position_id)
    errors._require(size > 0, errors.ZERO_SIZE)
    errors._require(size < position.size, errors.EXCEEDS_POSITION)
    self._require_fresh(snapshot)
    fill: IRiskEngine.Fill = self._check_exit(position, size, acceptable_price, snapshot)
    value: int256 = self._exit_value(position, size, fill.price, snapshot)
    claim: uint256 = self._claim(value, snapshot)
    position.margin = self._change_margin(self._balance(position, value, claim), 0, fill.fee)
    position.size -= size
    position.tier = fill.tier
    errors._require(not self._is_liquidatable(position, snapshot), errors.INSUFFICIENT_MARGIN)
    return IMarketLens.Trade(
        position_id=position_id,
        fill_price=fill.price,
        value=value,
        fee=fill.fee,
        claim=claim,
        payout=0,
        holding=self._holding(position, snapshot),
    )


@external
@view
def preview_close(
    market: IPerpMarket, caller: address, position_id: uint256, acceptable_price: uint256
) -> IMarketLens.Trade:
    """
    @notice What `close` would do when `caller` calls it.
    @param acceptable_price WAD.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = self._load_own_position(snapshot, caller, position_id)
    self._require_fresh(snapshot)
    fill: IRiskEngine.Fill = self._check_exit(
        position, position.size, acceptable_price, snapshot
    )
    value: int256 = self._exit_value(position, position.size, fill.price, snapshot)
    claim: uint256 = self._claim(value, snapshot)
    balance: uint256 = self._balance(position, value, claim)
    fee: uint256 = min(fill.fee, balance)
    return IMarketLens.Trade(
        position_id=position_id,
        fill_price=fill.price,
        value=value,
        fee=fee,
        claim=claim,
        payout=balance - fee,
        holding=empty(IMarketLens.Holding),
    )


@external
@view
def preview_add_margin(
    market: IPerpMarket, caller: address, position_id: uint256, amount: uint256
) -> IMarketLens.Trade:
    """
    @notice What `add_margin` would do when `caller` calls it.
    @param amount Token units.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = self._load_own_position(snapshot, caller, position_id)
    self._require_amount(amount)
    position.margin = self._change_margin(position.margin, amount, 0)
    return self._change_of_margin(position_id, 0, position, snapshot)


@external
@view
def preview_remove_margin(
    market: IPerpMarket, caller: address, position_id: uint256, amount: uint256
) -> IMarketLens.Trade:
    """
    @notice What `remove_margin` would do when `caller` calls it.
    @param amount Token units.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = self._load_own_position(snapshot, caller, position_id)
    self._require_amount(amount)
    self._require_tradable(snapshot)
    fraction: uint256 = staticcall snapshot.engine.removal_terms(
        position.tier, self._book_state(snapshot)
    )
    position.margin = self._change_margin(position.margin, 0, amount)
    self._require_initial_margin(position, snapshot, fraction)
    return self._change_of_margin(position_id, amount, position, snapshot)


@external
@view
def preview_liquidate(market: IPerpMarket, position_id: uint256) -> IMarketLens.Closing:
    """
    @notice What `liquidate` would do, for anyone: in part if that is enough.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = staticcall market.position(position_id)
    self._require_fresh(snapshot)
    errors._require(self._is_liquidatable(position, snapshot), errors.HEALTHY)
    penalty: uint256 = self._penalty(position.size, snapshot)
    rest: IPerpMarket.Position = self._partial_rest(position, penalty, snapshot)
    closing: IMarketLens.Closing = empty(IMarketLens.Closing)
    if rest.size > 0:
        closing.size = position.size - rest.size
        closing.price = snapshot.marks.price
        closing.value = self._value(position, closing.size, closing.price, snapshot)
        closing.penalty = self._penalty(closing.size, snapshot)
        closing.holding = self._holding(rest, snapshot)
    else:
        closing = self._close_out(position, snapshot, penalty)
    closing.reward = fixed_point._mul_div_down(
        closing.penalty, snapshot.marks.terms.keeper_share, constants.WAD
    )
    return closing


@external
@view
def preview_settle(market: IPerpMarket, position_id: uint256) -> IMarketLens.Closing:
    """
    @notice What `settle` would do, for anyone.
    """
    snapshot: Snapshot = self._load(market)
    position: IPerpMarket.Position = staticcall market.position(position_id)
    errors._require(self._is_expired(snapshot.marks), errors.NOT_EXPIRED)
    return self._close_out(position, snapshot, 0)


# The market as of this block


@internal
@view
def _load(market: IPerpMarket) -> Snapshot:
    parts: IMarketParts = IMarketParts(market.address)
    decimals: uint256 = convert(
        staticcall IERC20Detailed(staticcall parts.token()).decimals(), uint256
    )
    return Snapshot(
        market=market,
        engine=IRiskEngine(staticcall parts.engine()),
        notional_scale=10 ** (36 - decimals),
        marks=staticcall market.marks(),
        totals=staticcall market.totals(),
        account=staticcall ILiquidityPool(staticcall parts.pool()).account(),
    )


@internal
@view
def _load_own_position(
    snapshot: Snapshot, caller: address, position_id: uint256
) -> IPerpMarket.Position:
    position: IPerpMarket.Position = staticcall snapshot.market.position(position_id)
    errors._require(position.owner == caller, errors.NOT_OWNER)
    return position


@internal
@view
def _book_state(snapshot: Snapshot) -> IRiskEngine.Book:
    account: ILiquidityPool.Account = snapshot.account
    return IRiskEngine.Book(
        price=snapshot.marks.price,
        long_size=snapshot.totals.long_size,
        short_size=snapshot.totals.short_size,
        cash=account.cash - min(account.cash, account.claims),
    )


# Checks, as the market makes them


@internal
@pure
def _require_amount(amount: uint256):
    errors._require(amount > 0, errors.ZERO_AMOUNT)
    errors._require(amount <= constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)


@internal
@view
def _is_priced(marks: IPerpMarket.Marks, totals: IPerpMarket.Totals) -> bool:
    return (
        marks.price_time + marks.terms.max_price_age >= block.timestamp and not totals.is_halted
    )


@internal
@view
def _is_expired(marks: IPerpMarket.Marks) -> bool:
    return marks.price_time + SETTLEMENT_DELAY < block.timestamp


@internal
@view
def _require_fresh(snapshot: Snapshot):
    errors._require(not snapshot.totals.is_halted, errors.HALTED)
    errors._require(self._is_priced(snapshot.marks, snapshot.totals), errors.STALE_PRICE)


@internal
@view
def _require_tradable(snapshot: Snapshot):
    totals: IPerpMarket.Totals = snapshot.totals
    errors._require(not totals.has_backlog, errors.BACKLOG)
    booked: uint256 = totals.margin + totals.insurance + totals.fees
    token: IERC20 = IERC20(staticcall IMarketParts(snapshot.market.address).token())
    errors._require(
        staticcall token.balanceOf(snapshot.market.address) >= booked + totals.credits,
        errors.BOOKS_BROKEN,
    )
    self._require_fresh(snapshot)


@internal
@view
def _check_exit(
    position: IPerpMarket.Position, size: uint256, acceptable_price: uint256, snapshot: Snapshot
) -> IRiskEngine.Fill:
    errors._require(not self._is_liquidatable(position, snapshot), errors.LIQUIDATABLE)
    fill: IRiskEngine.Fill = staticcall snapshot.engine.exit_terms(
        position.side, position.size, size, self._book_state(snapshot)
    )
    self._check_fill(constants.SHORT - position.side, fill.price, acceptable_price)
    return fill


@internal
@pure
def _check_fill(side: uint256, fill_price: uint256, acceptable_price: uint256):
    is_acceptable: bool = fill_price <= acceptable_price
    if side == constants.SHORT:
        is_acceptable = fill_price >= acceptable_price
    errors._require(is_acceptable, errors.PRICE_PASSED)


@internal
@view
def _require_initial_margin(
    position: IPerpMarket.Position, snapshot: Snapshot, fraction: uint256
):
    price: uint256 = snapshot.marks.price
    value: int256 = min(self._value(position, position.size, price, snapshot), 0)
    requirement: uint256 = margin_math._fraction_of_notional_up(
        position.size, price, fraction, snapshot.notional_scale
    )
    equity: int256 = convert(position.margin, int256) + value
    errors._require(equity >= convert(requirement, int256), errors.INSUFFICIENT_MARGIN)


@internal
@pure
def _change_margin(margin: uint256, added: uint256, taken: uint256) -> uint256:
    errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)
    self._require_amount(margin + added - taken)
    return margin + added - taken


# Actions


@internal
@view
def _add_size(
    position_id: uint256,
    before: IPerpMarket.Position,
    size: uint256,
    margin: uint256,
    acceptable_price: uint256,
    snapshot: Snapshot,
) -> IMarketLens.Trade:
    position: IPerpMarket.Position = before
    fill: IRiskEngine.Fill = staticcall snapshot.engine.increase_terms(
        position.side, position.size, size, self._book_state(snapshot)
    )
    self._check_fill(position.side, fill.price, acceptable_price)
    position.tier = fill.tier
    position.margin = self._change_margin(position.margin, margin, fill.fee)
    position.entry_price = margin_math._average_entry_price(
        position.side, position.size, position.entry_price, size, fill.price
    )
    position.entry_funding = margin_math._average_entry_funding(
        position.size, position.entry_funding, size, snapshot.marks.funding[position.side]
    )
    position.size += size
    self._require_initial_margin(position, snapshot, fill.initial_fraction)
    return IMarketLens.Trade(
        position_id=position_id,
        fill_price=fill.price,
        value=0,
        fee=fill.fee,
        claim=0,
        payout=0,
        holding=self._holding(position, snapshot),
    )


@internal
@view
def _change_of_margin(
    position_id: uint256, payout: uint256, position: IPerpMarket.Position, snapshot: Snapshot
) -> IMarketLens.Trade:
    return IMarketLens.Trade(
        position_id=position_id,
        fill_price=0,
        value=0,
        fee=0,
        claim=0,
        payout=payout,
        holding=self._holding(position, snapshot),
    )


@internal
@view
def _holding(position: IPerpMarket.Position, snapshot: Snapshot) -> IMarketLens.Holding:
    return IMarketLens.Holding(
        tier=position.tier,
        size=position.size,
        margin=position.margin,
        entry_price=position.entry_price,
        entry_funding=position.entry_funding,
        liquidation_price=self._liquidation_price(position, snapshot),
    )


@internal
@pure
def _balance(position: IPerpMarket.Position, gain: int256, claim: uint256) -> uint256:
    return convert(convert(position.margin, int256) + gain - convert(claim, int256), uint256)


@internal
@view
def _claim(gain: int256, snapshot: Snapshot) -> uint256:
    """
    @notice What the pool cannot pay of a gain.
    """
    if gain <= 0:
        return 0
    profit: uint256 = convert(gain, uint256)
    return profit - min(profit, snapshot.account.cash)


@internal
@view
def _close_out(
    position: IPerpMarket.Position, snapshot: Snapshot, full_penalty: uint256
) -> IMarketLens.Closing:
    closing: IMarketLens.Closing = empty(IMarketLens.Closing)
    closing.size = position.size
    closing.price = snapshot.marks.price
    closing.value = self._value(position, position.size, closing.price, snapshot)
    closing.claim = self._claim(closing.value, snapshot)
    equity: int256 = (
        convert(position.margin, int256) + closing.value - convert(closing.claim, int256)
    )
    if equity < 0:
        shortfall: uint256 = convert(-equity, uint256)
        closing.insurance_used = staticcall snapshot.engine.shortfall_terms(
            shortfall, snapshot.totals.insurance
        )
        closing.bad_debt = shortfall - closing.insurance_used
    else:
        closing.penalty = min(full_penalty, convert(equity, uint256))
        closing.returned = convert(equity, uint256) - closing.penalty
    return closing


@internal
@view
def _penalty(size: uint256, snapshot: Snapshot) -> uint256:
    return margin_math._fraction_of_notional_up(
        size,
        snapshot.marks.price,
        snapshot.marks.terms.liquidation_penalty,
        snapshot.notional_scale,
    )


@internal
@view
def _partial_rest(
    position: IPerpMarket.Position, full_penalty: uint256, snapshot: Snapshot
) -> IPerpMarket.Position:
    """
    @notice What stays open after a partial liquidation; size zero when none can.
    """
    price: uint256 = snapshot.marks.price
    rest: IPerpMarket.Position = position
    rest.size = 0
    equity: int256 = convert(position.margin, int256) + self._value(
        position, position.size, price, snapshot
    )
    if equity <= 0:
        return rest
    tier: uint256 = 0
    size: uint256 = 0
    size, tier = staticcall snapshot.engine.partial_terms(
        position.tier, convert(equity, uint256), full_penalty, price
    )
    if size == 0 or size >= position.size:
        return rest
    closed: uint256 = position.size - size
    value: int256 = self._value(position, closed, price, snapshot)
    margin: int256 = (
        convert(position.margin, int256)
        + value
        - convert(self._penalty(closed, snapshot), int256)
    )
    if value > 0 or margin <= 0:
        return rest
    rest.margin = convert(margin, uint256)
    rest.tier = tier
    rest.size = size
    if self._is_liquidatable(rest, snapshot):
        rest.size = 0
    return rest


# Quantities


@internal
@view
def _value(
    position: IPerpMarket.Position, size: uint256, price: uint256, snapshot: Snapshot
) -> int256:
    return margin_math._position_value(
        position.side,
        size,
        position.entry_price,
        position.entry_funding,
        price,
        snapshot.marks.funding[position.side],
        snapshot.notional_scale * constants.FUNDING_PRECISION,
    )


@internal
@view
def _exit_value(
    position: IPerpMarket.Position, size: uint256, price: uint256, snapshot: Snapshot
) -> int256:
    return max(
        self._value(position, size, price, snapshot), -convert(position.margin, int256)
    )


@internal
@view
def _maintenance(position: IPerpMarket.Position, snapshot: Snapshot) -> uint256:
    return margin_math._fraction_of_notional_up(
        position.size,
        snapshot.marks.price,
        snapshot.marks.terms.maintenance_fractions[position.tier],
        snapshot.notional_scale,
    )


@internal
@view
def _is_liquidatable(position: IPerpMarket.Position, snapshot: Snapshot) -> bool:
    equity: int256 = convert(position.margin, int256) + self._value(
        position, position.size, snapshot.marks.price, snapshot
    )
    return equity < convert(self._maintenance(position, snapshot), int256)


@internal
@view
def _liquidation_price(position: IPerpMarket.Position, snapshot: Snapshot) -> uint256:
    return trigger_price._first_price(
        position.side,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
        snapshot.marks.funding[position.side],
        snapshot.marks.terms.maintenance_fractions[position.tier],
        snapshot.notional_scale,
    )


@internal
@view
def _health(position: IPerpMarket.Position, snapshot: Snapshot) -> IMarketLens.Health:
    price: uint256 = snapshot.marks.price
    health: IMarketLens.Health = empty(IMarketLens.Health)
    health.value = self._value(position, position.size, price, snapshot)
    health.equity = convert(position.margin, int256) + health.value
    health.maintenance = self._maintenance(position, snapshot)
    health.is_liquidatable = health.equity < convert(health.maintenance, int256)
    health.liquidation_price = self._liquidation_price(position, snapshot)
    health.liquidation_distance = self._distance(position.side, price, health.liquidation_price)
    health.effective_leverage = max_value(uint256)
    if health.equity > 0:
        health.effective_leverage = fixed_point._mul_div_up(
            position.size * price,
            constants.WAD,
            snapshot.notional_scale * convert(health.equity, uint256),
        )
    return health


@internal
@pure
def _distance(side: uint256, price: uint256, liquidation_price: uint256) -> int256:
    """
    @notice From a price to the price of liquidation, as a fraction of the first.
    """
    if liquidation_price == trigger_price.NO_SHORT_PRICE:
        return max_value(int256)
    distance: int256 = convert(price, int256) - convert(liquidation_price, int256)
    if side == constants.SHORT:
        distance = -distance
    return fixed_point._signed_div_floor(distance * convert(constants.WAD, int256), price)


# The index


@internal
@pure
def _side_of(list_id: uint256) -> uint256:
    return constants.LONG if list_id < constants.TIERS else constants.SHORT


@internal
@view
def _nearest_list(rings: uint256[LISTS], marks: IPerpMarket.Marks) -> uint256:
    """
    @notice The list whose ring the price meets first, or has passed by most.
    """
    nearest: uint256 = 0
    least: int256 = max_value(int256)
    for list_id: uint256 in range(LISTS):
        if rings[list_id] > 0:
            side: uint256 = self._side_of(list_id)
            distance: int256 = self._distance(
                side,
                marks.price,
                trigger_price._meeting_price(
                    side,
                    trigger_key._highest_key((rings[list_id] - 1) & MASK_24),
                    marks.funding[side],
                    marks.terms.maintenance_fractions[list_id - side * constants.TIERS],
                ),
            )
            if distance < least:
                least = distance
                nearest = list_id
    return nearest


@internal
@view
def _farthest_list(rings: uint256[LISTS], marks: IPerpMarket.Marks) -> uint256:
    """
    @notice The list whose ring has the most equity per unit of size, as the engine finds it.
    """
    farthest: uint256 = 0
    most: int256 = min_value(int256)
    for list_id: uint256 in range(LISTS):
        if rings[list_id] > 0:
            side: uint256 = self._side_of(list_id)
            equity: int256 = margin_math._marked_value(
                side, 1, marks.price, marks.funding[side]
            ) - trigger_key._highest_key((rings[list_id] - 1) & MASK_24)
            if equity > most:
                most = equity
                farthest = list_id
    return farthest


@internal
@view
def _worst_ring(market: IPerpMarket, list_id: uint256) -> uint256:
    """
    @notice Highest ring of the list plus one; zero when the list is empty.
    """
    top: uint256 = staticcall market.index_word(2, list_id)
    if top == 0:
        return 0
    middle_id: uint256 = (list_id << 8) | math._log2(top, False)
    return self._ring_in(market, middle_id, staticcall market.index_word(1, middle_id))


@internal
@view
def _next_ring(market: IPerpMarket, ring: uint256) -> uint256:
    """
    @notice Highest non-empty ring of the same list below `ring`, plus one; zero when there is none.
    """
    leaf_id: uint256 = ring >> 8
    below: uint256 = staticcall market.index_word(0, leaf_id) & self._below(ring & 255)
    if below > 0:
        return ((leaf_id << 8) | math._log2(below, False)) + 1
    middle_id: uint256 = ring >> 16
    below = staticcall market.index_word(1, middle_id) & self._below(leaf_id & 255)
    if below == 0:
        list_id: uint256 = ring >> 24
        below = staticcall market.index_word(2, list_id) & self._below(middle_id & 255)
        if below == 0:
            return 0
        middle_id = (list_id << 8) | math._log2(below, False)
        below = staticcall market.index_word(1, middle_id)
    return self._ring_in(market, middle_id, below)


@internal
@view
def _ring_in(market: IPerpMarket, middle_id: uint256, middle: uint256) -> uint256:
    """
    @notice Highest ring below one of the bits of a middle word, plus one.
    """
    leaf_id: uint256 = (middle_id << 8) | math._log2(middle, False)
    leaf: uint256 = staticcall market.index_word(0, leaf_id)
    return ((leaf_id << 8) | math._log2(leaf, False)) + 1


@internal
@pure
def _below(position: uint256) -> uint256:
    """
    @notice The bits below one.
    """
    return (1 << position) - 1

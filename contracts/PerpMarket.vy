# pragma version 0.4.3
# pragma optimize codesize
"""
@title PerpMarket
@license AGPL-3.0-only
@notice Perpetual positions on one underlying, each owning its margin alone, against one liquidity
        pool. The transaction that brings a price settles funding and liquidates.
@dev    ASSUMPTIONS  The token credits exactly what is sent, never rebases, has at most 18 decimals.
                     The feed is trusted for the price and for its time, not for being called often.
        INVARIANTS   P1 to P7 and I-1 to I-18 of docs/invariants.md.
        ROUNDING     A trader's cash delta is floored once and the pool books its exact negative;
                     requirements, fees, penalties round up. See docs/rounding.md.
        LIVENESS     Adding margin needs no price. Closing a healthy position needs a fresh one and
                     nothing else. A call looks at no more than MAX_VISITS positions.
@custom:kill Let the publisher stop: nothing that adds risk is possible once the price is stale.
             Publish again for as long as traders need to close; see docs/shutdown.md.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

from contracts.interfaces import IPerpMarket
from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IPriceFeed
from contracts.interfaces import IMarketFactory
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import funding_index
from contracts.modules import margin_math
from contracts.modules import token_transfer
from contracts.modules import trigger_index
from contracts.modules import trigger_key

implements: IPerpMarket
initializes: trigger_index

# Price, funding indices and their epoch as of a moment. The epoch changes whenever one of them
# does.
struct Marks:
    price: uint256
    price_time: uint256
    accrued_at: uint256
    epoch: uint256
    funding: int256[2]

# What a run over the liquidation index has done so far.
struct Sweep:
    visits: uint256
    liquidated: uint256
    reward: uint256
    pool_gain: uint256
    has_backlog: bool

version: public(constant(String[8])) = "0.1.0"

token: public(immutable(IERC20))
pool: public(immutable(ILiquidityPool))
feed: public(immutable(IPriceFeed))
factory: public(immutable(IMarketFactory))
PARAMS: immutable(IPerpMarket.MarketParams)
NOTIONAL_SCALE: immutable(uint256)
VALUE_SCALE: immutable(uint256)

# Packed words; the _load_ and _store_ functions are the only ones that know their layout.
_marks: uint256  # price 88 | price_time 48 | accrued_at 48 | epoch 72
_funding: uint256  # long 128 | short 128, each offset by 2**127
# identity: owner 160 | side 1 | tier 3 | - 12 | previous id 40 | next id 40
# sizes: size 104 | margin 96 | epoch 56;  entry: price 128 | funding 128, offset by 2**127
_positions: HashMap[uint256, uint256[3]]
_sizes: uint256  # long 104 | short 104 | has_backlog 1
_entry_costs: uint256[2]  # by side: sum of size * entry_price
_entry_fundings: int256[2]  # by side: sum of size * entry_funding
_ring_heads: HashMap[uint256, uint256]  # list << 24 | bucket -> first position of its ring
_book: uint256  # positions ever opened 64 | open positions 64 | margins 128
_ledgers: uint256  # insurance 128 | fees 128
_owed: uint256  # credits 128 | claims 128: sums of the two maps below

bad_debt: public(uint256)
credit_of: public(HashMap[address, uint256])
claim_of: public(HashMap[address, uint256])

_locked: transient(bool)

MASK_24: constant(uint256) = 2**24 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_40: constant(uint256) = 2**40 - 1
MASK_48: constant(uint256) = 2**48 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_128: constant(uint256) = 2**128 - 1
FUNDING_OFFSET: constant(int256) = 2**127


@deploy
def __init__(
    token_: IERC20,
    pool_: ILiquidityPool,
    feed_: IPriceFeed,
    factory_: IMarketFactory,
    params: IPerpMarket.MarketParams,
):
    """
    @notice Called through MarketFactory, which checks `params`.
    """
    token = token_
    pool = pool_
    feed = feed_
    factory = factory_
    PARAMS = params
    decimals: uint256 = convert(staticcall IERC20Detailed(token_.address).decimals(), uint256)
    NOTIONAL_SCALE = 10 ** (36 - decimals)
    VALUE_SCALE = 10 ** (45 - decimals)
    self._store_marks(
        Marks(price=0, price_time=0, accrued_at=block.timestamp, epoch=0, funding=[0, 0])
    )


# Trading


@external
def open(side: uint256, size: uint256, margin: uint256, acceptable_price: uint256) -> uint256:
    """
    @notice Opens a position of the caller's own.
    @param side 0 long, 1 short.
    @param size Units of the underlying, WAD.
    @param margin Token units pulled from the caller; the fee comes out of it.
    @param acceptable_price Worst fill price the caller takes, WAD: highest for a long, lowest for a
           short.
    @return Id of the new position.
    """
    self._enter()
    errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)
    self._require_amount(margin)
    marks: Marks = self._settle_tradable_marks()
    position: IPerpMarket.Position = empty(IPerpMarket.Position)
    position.owner = msg.sender
    position.side = side
    position_id: uint256 = self._new_position_id()
    log IPerpMarket.PositionOpened(position_id=position_id, owner=msg.sender, side=side)
    self._add_size(position_id, position, size, margin, acceptable_price, marks)
    self._exit()
    return position_id


@external
def increase(position_id: uint256, size: uint256, margin: uint256, acceptable_price: uint256):
    """
    @notice Adds size, and margin if any, to a position of the caller.
    @param size Units added, WAD.
    @param margin Token units pulled from the caller, may be zero; the fee comes out of the sum.
    @param acceptable_price Worst fill price the caller takes, WAD.
    """
    self._enter()
    if margin > 0:
        self._require_amount(margin)
    position: IPerpMarket.Position = self._load_own_position(position_id)
    marks: Marks = self._settle_tradable_marks()
    self._add_size(position_id, position, size, margin, acceptable_price, marks)
    self._exit()


@external
def reduce(position_id: uint256, size: uint256, acceptable_price: uint256):
    """
    @notice Closes a part of a healthy position; the value of that part goes to or comes from its
            margin.
    @param size Units closed, WAD, less than the whole.
    @param acceptable_price Worst fill price the caller takes, WAD: lowest for a long, highest for a
           short.
    """
    self._enter()
    position: IPerpMarket.Position = self._load_own_position(position_id)
    errors._require(size > 0, errors.ZERO_SIZE)
    errors._require(size < position.size, errors.EXCEEDS_POSITION)
    marks: Marks = self._settle_fresh_marks()
    errors._require(
        not self._is_too_small(position.size - size, marks.price), errors.SIZE_TOO_SMALL
    )
    fill_price: uint256 = 0
    value: int256 = 0
    fee: uint256 = 0
    fill_price, value, fee = self._check_exit(position, size, acceptable_price, marks)
    self._detach(position_id, position)
    balance: uint256 = 0
    claim: uint256 = 0
    balance, claim = self._realise(position, value)
    position.margin = self._change_margin(balance, 0, fee)
    position.size -= size
    position.tier = self._tier_of(position.size)
    errors._require(not self._is_liquidatable(position, marks), errors.INSUFFICIENT_MARGIN)
    self._attach(position_id, position)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionReduced(
        position_id=position_id,
        owner=msg.sender,
        size=size,
        fill_price=fill_price,
        value=value,
        fee=fee,
        claim=claim,
    )
    self._pay_loss_to_pool(value)
    self._exit()


@external
def close(position_id: uint256, acceptable_price: uint256) -> uint256:
    """
    @notice Closes a healthy position and pays its owner. The loss never exceeds the margin.
    @param acceptable_price Worst fill price the caller takes, WAD: lowest for a long, highest for a
           short.
    @return Token units paid out. Profit the pool cannot pay becomes a claim (see
            `withdraw_credit`).
    """
    self._enter()
    position: IPerpMarket.Position = self._load_own_position(position_id)
    marks: Marks = self._settle_fresh_marks()
    fill_price: uint256 = 0
    value: int256 = 0
    fee: uint256 = 0
    fill_price, value, fee = self._check_exit(position, position.size, acceptable_price, marks)
    self._detach(position_id, position)
    self._erase(position_id)
    balance: uint256 = 0
    claim: uint256 = 0
    balance, claim = self._realise(position, value)
    fee = min(fee, balance)
    payout: uint256 = balance - fee
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionClosed(
        position_id=position_id,
        owner=msg.sender,
        size=position.size,
        fill_price=fill_price,
        value=value,
        fee=fee,
        claim=claim,
        payout=payout,
    )
    self._pay_loss_to_pool(value)
    token_transfer._push(token, msg.sender, payout)
    self._exit()
    return payout


@external
def add_margin(position_id: uint256, amount: uint256):
    """
    @notice Adds margin to a position of the caller. Possible in every state of the market.
    @param amount Token units pulled from the caller.
    """
    self._enter()
    position: IPerpMarket.Position = self._load_own_position(position_id)
    self._require_amount(amount)
    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, amount, 0)
    self._attach(position_id, position)
    log IPerpMarket.MarginAdded(position_id=position_id, owner=msg.sender, amount=amount)
    token_transfer._pull(token, msg.sender, amount)
    self._exit()


@external
def remove_margin(position_id: uint256, amount: uint256):
    """
    @notice Takes margin out of a position of the caller; what stays must meet the initial
            requirement.
    @param amount Token units paid to the caller.
    """
    self._enter()
    position: IPerpMarket.Position = self._load_own_position(position_id)
    self._require_amount(amount)
    marks: Marks = self._settle_tradable_marks()
    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, 0, amount)
    self._require_initial_margin(position, marks)
    self._attach(position_id, position)
    log IPerpMarket.MarginRemoved(position_id=position_id, owner=msg.sender, amount=amount)
    token_transfer._push(token, msg.sender, amount)
    self._exit()


# Prices and liquidation


@external
def update_price(recipient: address) -> uint256:
    """
    @notice Takes the feed's latest price, accrues funding and liquidates, in this order. With no
            newer price it still accrues and liquidates. Anyone may call; the feed calls it on every
            price.
    @param recipient Who is credited with the rewards of the liquidations.
    @return Number of positions liquidated. If MAX_VISITS was not enough, the backlog flag is set.
    """
    self._enter()
    price: uint256 = 0
    price_time: uint256 = 0
    price, price_time = staticcall feed.latest_price()
    marks: Marks = self._accrued()
    if price_time > marks.price_time:
        marks.price = price
        marks.price_time = price_time
        marks.epoch += 1
    self._store_marks(marks)
    sweep: Sweep = self._sweep(marks, constants.MAX_VISITS)
    log IPerpMarket.PriceUpdated(
        price=marks.price,
        price_time=marks.price_time,
        funding_long=marks.funding[constants.LONG],
        funding_short=marks.funding[constants.SHORT],
        liquidated=sweep.liquidated,
    )
    self._finish_sweep(sweep, recipient)
    self._exit()
    return sweep.liquidated


@external
def continue_backlog(max_visits: uint256) -> uint256:
    """
    @notice Works off liquidations left over, at the last price and this block's funding. Calls in
            one block go on where the last one stopped; with none left it does no harm, so keepers
            may race.
    @param max_visits Positions to look at; more than MAX_VISITS counts as MAX_VISITS.
    @return Number of positions liquidated.
    """
    self._enter()
    marks: Marks = self._settle_marks()
    sweep: Sweep = self._sweep(marks, min(max_visits, constants.MAX_VISITS))
    self._finish_sweep(sweep, msg.sender)
    self._exit()
    return sweep.liquidated


@external
def liquidate(position_id: uint256):
    """
    @notice Liquidates one position, in part if that is enough. The reward is credited to the
            caller.
    """
    self._enter()
    position: IPerpMarket.Position = self._load_position(position_id)
    marks: Marks = self._settle_fresh_marks()
    errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)
    reward: uint256 = 0
    pool_gain: uint256 = 0
    reward, pool_gain = self._liquidate(position_id, position, marks)
    self._add_credit(msg.sender, reward)
    self._send_to_pool(pool_gain)
    self._exit()


@external
def accrue():
    """
    @notice Brings the funding indices to this block. The pool calls it before its cash changes.
    """
    self._enter()
    self._settle_marks()
    self._exit()


# Ledgers


@external
def withdraw_credit() -> uint256:
    """
    @notice Pays the caller the credit of liquidations and rewards, and of the caller's claim what
            the pool can pay now.
    @return Token units paid.
    """
    self._enter()
    self._settle_marks()
    claim: uint256 = self.claim_of[msg.sender]
    paid: uint256 = 0
    if claim > 0:
        paid = extcall pool.pay_profit(claim)
        self.claim_of[msg.sender] = claim - paid
    credit: uint256 = self.credit_of[msg.sender]
    errors._require(credit + paid > 0, errors.NOTHING_TO_WITHDRAW)
    self.credit_of[msg.sender] = 0
    owed: uint256 = self._owed
    self._store_owed((owed & MASK_128) - credit, (owed >> 128) - paid)
    log IPerpMarket.CreditWithdrawn(owner=msg.sender, amount=credit + paid)
    token_transfer._push(token, msg.sender, credit + paid)
    self._exit()
    return credit + paid


@external
def collect_fees() -> uint256:
    """
    @notice Sends the trading fees to the factory's treasury. Anyone may call.
    @return Token units sent.
    """
    self._enter()
    amount: uint256 = self._ledgers >> 128
    self._ledgers &= MASK_128
    treasury: address = staticcall factory.treasury()
    log IPerpMarket.FeesCollected(treasury=treasury, amount=amount)
    token_transfer._push(token, treasury, amount)
    self._exit()
    return amount


@external
def fund_insurance(amount: uint256):
    """
    @notice Gives token units to the insurance reserve. They cannot be taken back.
    """
    self._enter()
    self._require_amount(amount)
    self._add_to_ledgers(amount, 0)
    log IPerpMarket.InsuranceFunded(sender=msg.sender, amount=amount)
    token_transfer._pull(token, msg.sender, amount)
    self._exit()


# Views


@external
@view
def params() -> IPerpMarket.MarketParams:
    """
    @notice The market's parameters: sizes and rates in WAD, age in seconds.
    """
    return PARAMS


@external
@view
def marks() -> Marks:
    """
    @notice Price, its time, funding indices accrued to this block.
    """
    return self._accrued()


@external
@view
def position(position_id: uint256) -> IPerpMarket.Position:
    """
    @notice A position as stored; reverts for an id that is unknown or closed.
    """
    return self._load_position(position_id)


@external
@view
def health(position_id: uint256) -> (int256, uint256):
    """
    @notice Equity (margin + pnl - funding, floored) and maintenance requirement, token units, at
            the last price and this block's funding. Liquidatable when equity is below the
            requirement.
    """
    return self._health(self._load_position(position_id), self._accrued())


@external
@view
def quote(side: uint256, size: uint256) -> (uint256, uint256):
    """
    @notice Price, WAD, and fee, token units, of a trade of `size` now: side 0 buys, 1 sells.
    """
    return self._quote(side, size, self._accrued())


@external
@view
def has_backlog() -> bool:
    """
    @notice Whether liquidations are left over; while they are, nothing that adds risk is possible.
    """
    return self._has_backlog()


@external
@view
def pool_terms() -> IPerpMarket.PoolTerms:
    """
    @notice What the pool needs to price its shares, as of this block. `profit_up` and `profit_down`
            bracket the traders' net unrealised profit; `reserved` may not be withdrawn.
    """
    marks: Marks = self._accrued()
    profit: int256 = self._net_trader_profit(marks)
    return IPerpMarket.PoolTerms(
        is_fresh=self._is_fresh(marks),
        has_backlog=self._has_backlog(),
        profit_up=fixed_point._signed_div_ceil(profit, VALUE_SCALE),
        profit_down=fixed_point._signed_div_floor(profit, VALUE_SCALE),
        reserved=self._reserved(marks.price),
        claims=self._owed >> 128,
    )


@external
@view
def solvency() -> IPerpMarket.Solvency:
    """
    @notice What the market and its pool own and owe, in O(1). `net_trader_profit` is at least the
            sum of the positions' own values and less than that sum plus open_positions + 1 token
            units.
    """
    marks: Marks = self._accrued()
    ledgers: uint256 = self._ledgers
    owed: uint256 = self._owed
    return IPerpMarket.Solvency(
        pool_cash=staticcall pool.cash(),
        margin=self._book >> 128,
        insurance=ledgers & MASK_128,
        fees=ledgers >> 128,
        credits=owed & MASK_128,
        claims=owed >> 128,
        bad_debt=self.bad_debt,
        net_trader_profit=fixed_point._signed_div_ceil(
            self._net_trader_profit(marks), VALUE_SCALE
        ),
        open_positions=(self._book >> 64) & MASK_64,
    )


# Lock: built-in locks revert without a reason


@internal
def _enter():
    errors._require(not self._locked, errors.REENTRANT_CALL)
    self._locked = True


@internal
def _exit():
    self._locked = False


# Checks


@internal
@pure
def _require_amount(amount: uint256):
    """
    @notice Token amounts are positive and fit a packed word.
    """
    errors._require(amount > 0, errors.ZERO_AMOUNT)
    errors._require(amount <= constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)


@internal
@view
def _is_fresh(marks: Marks) -> bool:
    return marks.price_time + PARAMS.max_price_age >= block.timestamp


@internal
@view
def _check_added_risk(position: IPerpMarket.Position, size: uint256, marks: Marks):
    """
    @notice Checks a size increase of a position against the market's limits.
    """
    errors._require(size > 0, errors.ZERO_SIZE)
    errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)
    errors._require(
        not self._is_too_small(position.size + size, marks.price), errors.SIZE_TOO_SMALL
    )
    side_size: uint256 = self._side_size(position.side) + size
    errors._require(side_size <= PARAMS.max_open_interest, errors.OPEN_INTEREST_CAP)
    other_size: uint256 = self._side_size(constants.SHORT - position.side)
    errors._require(side_size <= other_size + PARAMS.max_skew, errors.SKEW_CAP)
    reserved: uint256 = self._fraction_of_notional_up(
        side_size + other_size, marks.price, PARAMS.reserve_fraction
    )
    errors._require(
        reserved + (self._owed >> 128) <= staticcall pool.cash(), errors.RESERVE_EXCEEDED
    )


@internal
@view
def _check_exit(
    position: IPerpMarket.Position, size: uint256, acceptable_price: uint256, marks: Marks
) -> (uint256, int256, uint256):
    """
    @notice Checks that `size` units of a position may be closed by its owner.
    @return Fill price, value realised and fee. The loss is bounded by the margin: a fill moved by
            skew must not keep a healthy position from closing.
    """
    errors._require(not self._is_liquidatable(position, marks), errors.LIQUIDATABLE)
    fill_price: uint256 = 0
    fee: uint256 = 0
    fill_price, fee = self._check_quote(
        constants.SHORT - position.side, size, acceptable_price, marks
    )
    value: int256 = self._value(position, size, fill_price, marks)
    return fill_price, max(value, -convert(position.margin, int256)), fee


@internal
@view
def _check_quote(
    side: uint256, size: uint256, acceptable_price: uint256, marks: Marks
) -> (uint256, uint256):
    """
    @notice Fill price, not past the caller's, and fee of a trade on `side`.
    """
    fill_price: uint256 = 0
    fee: uint256 = 0
    fill_price, fee = self._quote(side, size, marks)
    is_acceptable: bool = fill_price <= acceptable_price
    if side == constants.SHORT:
        is_acceptable = fill_price >= acceptable_price
    errors._require(is_acceptable, errors.PRICE_PASSED)
    return fill_price, fee


@internal
@view
def _require_initial_margin(position: IPerpMarket.Position, marks: Marks):
    """
    @notice margin + min(value, 0) >= initial requirement: unrealised profit is not margin.
    """
    value: int256 = min(self._value(position, position.size, marks.price, marks), 0)
    requirement: uint256 = self._fraction_of_notional_up(
        position.size, marks.price, PARAMS.tiers[position.tier].initial_fraction
    )
    equity: int256 = convert(position.margin, int256) + value
    errors._require(equity >= convert(requirement, int256), errors.INSUFFICIENT_MARGIN)


# Adding size


@internal
def _add_size(
    position_id: uint256,
    before: IPerpMarket.Position,
    size: uint256,
    margin: uint256,
    acceptable_price: uint256,
    marks: Marks,
):
    """
    @notice Adds size and margin to a position; opening is adding to one of size zero.
    """
    position: IPerpMarket.Position = before
    self._check_added_risk(position, size, marks)
    fill_price: uint256 = 0
    fee: uint256 = 0
    fill_price, fee = self._check_quote(position.side, size, acceptable_price, marks)
    if position.size > 0:
        self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, margin, fee)
    position.entry_price = margin_math._average_entry_price(
        position.side, position.size, position.entry_price, size, fill_price
    )
    position.entry_funding = margin_math._average_entry_funding(
        position.size, position.entry_funding, size, marks.funding[position.side]
    )
    position.size += size
    position.tier = self._tier_of(position.size)
    self._require_initial_margin(position, marks)
    self._attach(position_id, position)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionIncreased(
        position_id=position_id,
        owner=position.owner,
        size=size,
        margin=margin,
        fill_price=fill_price,
        fee=fee,
    )
    if margin > 0:
        token_transfer._pull(token, msg.sender, margin)


# Quantities


@internal
@view
def _quote(side: uint256, size: uint256, marks: Marks) -> (uint256, uint256):
    """
    @notice Fill price and fee of a trade on `side` (LONG buys, SHORT sells). The maker's fee
            applies when the trade brings the skew nearer to zero: when its average leans the other
            way.
    """
    doubled_skew: int256 = 2 * self._skew()
    rate: uint256 = PARAMS.taker_fee
    if side == constants.LONG:
        doubled_skew += convert(size, int256)
        if doubled_skew < 0:
            rate = PARAMS.maker_fee
    else:
        doubled_skew -= convert(size, int256)
        if doubled_skew > 0:
            rate = PARAMS.maker_fee
    fill_price: uint256 = margin_math._fill_price(
        side, marks.price, doubled_skew, PARAMS.skew_scale
    )
    return fill_price, self._fraction_of_notional_up(size, fill_price, rate)


@internal
@pure
def _change_margin(margin: uint256, added: uint256, taken: uint256) -> uint256:
    """
    @notice margin + added - taken, which must be positive and in bounds.
    """
    errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)
    self._require_amount(margin + added - taken)
    return margin + added - taken


@internal
@view
def _tier_of(size: uint256) -> uint256:
    """
    @notice The first tier that admits `size`.
    """
    for tier: uint256 in range(constants.TIERS):
        if size <= PARAMS.tiers[tier].max_size:
            return tier
    errors._require(False, errors.TIER_EXCEEDED)
    return constants.TIERS


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
def _side_size(side: uint256) -> uint256:
    return (self._sizes >> (104 * side)) & constants.MAX_SIZE


@internal
@view
def _skew() -> int256:
    """
    @notice Long size less short size.
    """
    return convert(self._side_size(constants.LONG), int256) - convert(
        self._side_size(constants.SHORT), int256
    )


@internal
@view
def _fraction_of_notional_up(size: uint256, price: uint256, fraction: uint256) -> uint256:
    return margin_math._fraction_of_notional_up(size, price, fraction, NOTIONAL_SCALE)


@internal
@view
def _reserved(price: uint256) -> uint256:
    """
    @notice Pool cash that backs the open interest at `price`.
    """
    return self._fraction_of_notional_up(
        self._side_size(constants.LONG) + self._side_size(constants.SHORT),
        price,
        PARAMS.reserve_fraction,
    )


@internal
@view
def _net_trader_profit(marks: Marks) -> int256:
    """
    @notice Sum of all positions' values from the totals, unrounded: to be divided by VALUE_SCALE.
    """
    profit: int256 = 0
    for side: uint256 in range(2):
        profit += margin_math._side_value(
            side,
            self._side_size(side),
            self._entry_costs[side],
            self._entry_fundings[side],
            marks.price,
            marks.funding[side],
        )
    return profit


@internal
@view
def _value(
    position: IPerpMarket.Position, size: uint256, price: uint256, marks: Marks
) -> int256:
    """
    @notice pnl - funding of `size` units of a position at `price`.
    """
    return margin_math._position_value(
        position.side,
        size,
        position.entry_price,
        position.entry_funding,
        price,
        marks.funding[position.side],
        VALUE_SCALE,
    )


@internal
@view
def _health(position: IPerpMarket.Position, marks: Marks) -> (int256, uint256):
    """
    @notice Equity and maintenance requirement.
    """
    equity: int256 = convert(position.margin, int256) + self._value(
        position, position.size, marks.price, marks
    )
    return equity, self._fraction_of_notional_up(
        position.size, marks.price, PARAMS.tiers[position.tier].maintenance_fraction
    )


@internal
@view
def _is_liquidatable(position: IPerpMarket.Position, marks: Marks) -> bool:
    equity: int256 = 0
    requirement: uint256 = 0
    equity, requirement = self._health(position, marks)
    return equity < convert(requirement, int256)


# Funding


@internal
@view
def _accrued() -> Marks:
    """
    @notice The stored marks with both funding indices brought to this block.
    """
    marks: Marks = self._load_marks()
    elapsed: uint256 = block.timestamp - marks.accrued_at
    if elapsed > 0:
        funding_rate: int256 = funding_index._funding_rate(
            self._skew(), PARAMS.skew_scale, PARAMS.max_funding_rate
        )
        utilisation_rate: uint256 = funding_index._utilisation_rate(
            self._reserved(marks.price), staticcall pool.cash(), PARAMS.max_utilisation_rate
        )
        for side: uint256 in range(2):
            marks.funding[side] += funding_index._index_step(
                side, funding_rate, utilisation_rate, marks.price, elapsed
            )
        marks.accrued_at = block.timestamp
        marks.epoch += 1
    return marks


@internal
def _settle_marks() -> Marks:
    """
    @notice Accrues and stores.
    """
    marks: Marks = self._accrued()
    self._store_marks(marks)
    return marks


@internal
def _settle_fresh_marks() -> Marks:
    """
    @notice Accrues and stores; reverts when the price is stale.
    """
    marks: Marks = self._settle_marks()
    errors._require(self._is_fresh(marks), errors.STALE_PRICE)
    return marks


@internal
def _settle_tradable_marks() -> Marks:
    """
    @notice What adds risk needs a fresh price and no liquidations left over.
    """
    errors._require(not self._has_backlog(), errors.BACKLOG)
    return self._settle_fresh_marks()


# Liquidation


@internal
def _sweep(marks: Marks, max_visits: uint256) -> Sweep:
    """
    @notice Visits due buckets from the worst and liquidates what the integer rule says, until none
            is due or `max_visits` positions have been looked at.
    """
    sweep: Sweep = empty(Sweep)
    # What is done to one list leaves the later ones as they are: a rest only moves to a lower tier.
    worst_buckets: uint256 = trigger_index._worst_buckets
    list_id: uint256 = 0
    for side: uint256 in range(2):
        for tier: uint256 in range(constants.TIERS):
            # As everywhere below, a ring plus one, or zero for none.
            cursor: uint256 = worst_buckets & MASK_32
            worst_buckets >>= 32
            list_id += 1
            if cursor == 0:
                continue
            cursor += (list_id - 1) << 24
            threshold: int256 = trigger_key._threshold(
                side, marks.price, PARAMS.tiers[tier].maintenance_fraction, marks.funding[side]
            )
            for _: uint256 in range(constants.MAX_VISITS + 1):
                if cursor == 0:
                    break
                ring: uint256 = cursor - 1
                if trigger_key._highest_key(ring & MASK_24) <= threshold:
                    break
                if sweep.visits == max_visits:
                    sweep.has_backlog = True
                    return sweep
                sweep.visits += 1
                position_id: uint256 = self._ring_heads[ring]
                position: IPerpMarket.Position = self._load_position(position_id)
                if position.epoch == marks.epoch:
                    # Once round: every position of this ring is healthy at these marks.
                    cursor = trigger_index._next_ring(ring)
                elif self._is_liquidatable(position, marks):
                    reward: uint256 = 0
                    pool_gain: uint256 = 0
                    reward, pool_gain = self._liquidate(position_id, position, marks)
                    sweep.liquidated += 1
                    sweep.reward += reward
                    sweep.pool_gain += pool_gain
                    if self._ring_heads[ring] == 0:
                        # The index has just looked for the next one, if this was the worst.
                        cursor = trigger_index._worst_ring(ring >> 24)
                        if cursor > ring:
                            cursor = trigger_index._next_ring(ring)
                else:
                    # Healthy: mark it seen and move it to the end of its ring.
                    self._store_sizes(position_id, position.size, position.margin, marks.epoch)
                    self._ring_heads[ring] = position.next_id
    return sweep


@internal
def _liquidate(
    position_id: uint256, position: IPerpMarket.Position, marks: Marks
) -> (uint256, uint256):
    """
    @notice Liquidates a position that is liquidatable: in part if the rest then meets its initial
            requirement, in full otherwise. No other position is touched.
    @return Reward to credit to whoever brought it about, and token units to send to the pool.
    """
    value: int256 = self._value(position, position.size, marks.price, marks)
    equity: int256 = convert(position.margin, int256) + value
    size: uint256 = position.size
    penalty: uint256 = self._penalty(size, marks.price)
    rest: IPerpMarket.Position = self._partial_rest(position, equity, penalty, marks)
    self._detach(position_id, position)
    claim: uint256 = 0
    returned: uint256 = 0
    insurance_used: uint256 = 0
    bad_debt: uint256 = 0
    if rest.size > 0:
        size -= rest.size
        value = self._value(position, size, marks.price, marks)
        penalty = self._penalty(size, marks.price)
        self._attach(position_id, rest)
    else:
        claim = self._take_profit(position.owner, value)
        equity -= convert(claim, int256)
        self._erase(position_id)
        if equity < 0:
            penalty = 0
            shortfall: uint256 = convert(-equity, uint256)
            insurance_used = min(self._ledgers & MASK_128, shortfall)
            bad_debt = shortfall - insurance_used
            self._ledgers -= insurance_used
            self.bad_debt += bad_debt
        else:
            penalty = min(penalty, convert(equity, uint256))
            returned = convert(equity, uint256) - penalty
            self._add_credit(position.owner, returned)
    reward: uint256 = fixed_point._mul_div_down(penalty, PARAMS.keeper_share, constants.WAD)
    self._add_to_ledgers(penalty - reward, 0)
    log IPerpMarket.PositionLiquidated(
        position_id=position_id,
        owner=position.owner,
        size=size,
        price=marks.price,
        value=value,
        penalty=penalty,
        reward=reward,
        returned=returned,
        insurance_used=insurance_used,
        bad_debt=bad_debt,
    )
    pool_gain: uint256 = 0
    if value < 0:
        pool_gain = convert(-value, uint256) - bad_debt
    return reward, pool_gain


@internal
@view
def _penalty(size: uint256, price: uint256) -> uint256:
    return self._fraction_of_notional_up(size, price, PARAMS.liquidation_penalty)


@internal
@view
def _partial_rest(
    position: IPerpMarket.Position, equity: int256, full_penalty: uint256, marks: Marks
) -> IPerpMarket.Position:
    """
    @notice What stays open after a partial liquidation; size zero when none can: too little
            equity, a rest below the minimum size, or one still liquidatable.
    """
    rest: IPerpMarket.Position = position
    rest.size = 0
    if equity <= 0:
        return rest
    size: uint256 = margin_math._partial_size_down(
        convert(equity, uint256),
        full_penalty,
        marks.price,
        PARAMS.tiers[position.tier].initial_fraction,
        PARAMS.liquidation_penalty,
        NOTIONAL_SCALE,
    )
    if self._is_too_small(size, marks.price) or size >= position.size:
        return rest
    closed: uint256 = position.size - size
    value: int256 = self._value(position, closed, marks.price, marks)
    margin: int256 = (
        convert(position.margin, int256)
        + value
        - convert(self._penalty(closed, marks.price), int256)
    )
    # A profit would have to be paid by the pool first; that is left to the full liquidation.
    if value > 0 or margin <= 0:
        return rest
    rest.margin = convert(margin, uint256)
    rest.tier = self._tier_of(size)
    rest.size = size
    if self._is_liquidatable(rest, marks):
        rest.size = 0
    return rest


@internal
def _finish_sweep(sweep: Sweep, recipient: address):
    """
    @notice Credits the rewards, records the backlog and sends the pool its gains: one transfer.
    """
    self._add_credit(recipient, sweep.reward)
    if sweep.has_backlog != self._has_backlog():
        self._sizes ^= 1 << 208
        log IPerpMarket.BacklogChanged(has_backlog=sweep.has_backlog)
    self._send_to_pool(sweep.pool_gain)


# Cash between traders, pool and ledgers


@internal
def _realise(position: IPerpMarket.Position, gain: int256) -> (uint256, uint256):
    """
    @notice Turns a gain or loss, at most the margin, into tokens held here.
    @return Margin after it, and the part of a profit that became a claim.
    """
    claim: uint256 = self._take_profit(position.owner, gain)
    balance: int256 = convert(position.margin, int256) + gain - convert(claim, int256)
    return convert(balance, uint256), claim


@internal
def _take_profit(owner: address, gain: int256) -> uint256:
    """
    @notice Has the pool pay a profit to this contract; what it cannot pay becomes the owner's
            claim.
    @return The claim.
    """
    if gain <= 0:
        return 0
    profit: uint256 = convert(gain, uint256)
    claim: uint256 = profit - extcall pool.pay_profit(profit)
    if claim > 0:
        self.claim_of[owner] += claim
        owed: uint256 = self._owed
        self._store_owed(owed & MASK_128, (owed >> 128) + claim)
    return claim


@internal
def _pay_loss_to_pool(gain: int256):
    if gain < 0:
        self._send_to_pool(convert(-gain, uint256))


@internal
def _send_to_pool(amount: uint256):
    if amount > 0:
        token_transfer._push(token, pool.address, amount)
        extcall pool.collect_loss(amount)


@internal
def _add_credit(owner: address, amount: uint256):
    if amount > 0:
        self.credit_of[owner] += amount
        owed: uint256 = self._owed
        self._store_owed((owed & MASK_128) + amount, owed >> 128)


@internal
def _add_to_ledgers(insurance: uint256, fees: uint256):
    ledgers: uint256 = self._ledgers
    self._ledgers = ((ledgers & MASK_128) + insurance) | (((ledgers >> 128) + fees) << 128)


# The book of positions


@internal
def _new_position_id() -> uint256:
    self._book += 1
    return self._book & MASK_64


@internal
@view
def _has_backlog() -> bool:
    return self._sizes >> 208 != 0


@internal
@view
def _load_own_position(position_id: uint256) -> IPerpMarket.Position:
    position: IPerpMarket.Position = self._load_position(position_id)
    errors._require(position.owner == msg.sender, errors.NOT_OWNER)
    return position


@internal
def _attach(position_id: uint256, position: IPerpMarket.Position):
    """
    @notice Stores a position, adds it to the totals and files it under its trigger key: first in
            its ring, unseen in this epoch.
    """
    self._sizes += position.size << (104 * position.side)
    self._entry_costs[position.side] += position.size * position.entry_price
    self._entry_fundings[position.side] += convert(position.size, int256) * position.entry_funding
    self._book += (1 << 64) | (position.margin << 128)
    self._positions[position_id][0] = (
        convert(position.owner, uint256) | (position.side << 160) | (position.tier << 161)
    )
    self._store_sizes(position_id, position.size, position.margin, 0)
    self._positions[position_id][2] = position.entry_price | (
        convert(position.entry_funding + FUNDING_OFFSET, uint256) << 128
    )
    ring: uint256 = self._ring_of(position)
    head_id: uint256 = self._ring_heads[ring]
    if head_id == 0:
        trigger_index._insert_ring(ring)
        self._link(position_id, position_id)
    else:
        self._link((self._positions[head_id][0] >> 176) & MASK_40, position_id)
        self._link(position_id, head_id)
    self._ring_heads[ring] = position_id


@internal
def _detach(position_id: uint256, position: IPerpMarket.Position):
    """
    @notice Takes a stored position out of the totals and out of its ring.
    """
    self._sizes -= position.size << (104 * position.side)
    self._entry_costs[position.side] -= position.size * position.entry_price
    self._entry_fundings[position.side] -= convert(position.size, int256) * position.entry_funding
    self._book -= (1 << 64) | (position.margin << 128)
    ring: uint256 = self._ring_of(position)
    if position.next_id == position_id:
        self._ring_heads[ring] = 0
        trigger_index._remove_ring(ring)
    else:
        self._link(position.previous_id, position.next_id)
        if self._ring_heads[ring] == position_id:
            self._ring_heads[ring] = position.next_id


@internal
def _erase(position_id: uint256):
    """
    @notice Clears a detached position; its id is never used again.
    """
    for word: uint256 in range(3):
        self._positions[position_id][word] = 0


@internal
@view
def _ring_of(position: IPerpMarket.Position) -> uint256:
    """
    @notice The ring a position is filed in: its list (side and tier) and the bucket of its key.
    """
    key: int256 = trigger_key._trigger_key(
        position.side,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
        VALUE_SCALE,
    )
    return ((position.side * constants.TIERS + position.tier) << 24) | trigger_key._bucket_of(key)


# Packed words


@internal
@view
def _load_marks() -> Marks:
    word: uint256 = self._marks
    funding: uint256 = self._funding
    return Marks(
        price=word & constants.MAX_PRICE,
        price_time=(word >> 88) & MASK_48,
        accrued_at=(word >> 136) & MASK_48,
        epoch=word >> 184,
        funding=[
            convert(funding & MASK_128, int256) - FUNDING_OFFSET,
            convert(funding >> 128, int256) - FUNDING_OFFSET,
        ],
    )


@internal
def _store_marks(marks: Marks):
    self._marks = (
        marks.price | (marks.price_time << 88) | (marks.accrued_at << 136) | (marks.epoch << 184)
    )
    self._funding = convert(marks.funding[0] + FUNDING_OFFSET, uint256) | (
        convert(marks.funding[1] + FUNDING_OFFSET, uint256) << 128
    )


@internal
@view
def _load_position(position_id: uint256) -> IPerpMarket.Position:
    identity: uint256 = self._positions[position_id][0]
    if identity == 0:
        errors._require(
            position_id > 0 and position_id <= self._book & MASK_64, errors.NO_POSITION
        )
        errors._require(False, errors.POSITION_CLOSED)
    sizes: uint256 = self._positions[position_id][1]
    entry: uint256 = self._positions[position_id][2]
    return IPerpMarket.Position(
        owner=convert(identity & (2**160 - 1), address),
        side=(identity >> 160) & 1,
        tier=(identity >> 161) & 7,
        size=sizes & constants.MAX_SIZE,
        margin=(sizes >> 104) & constants.MAX_MARGIN,
        entry_price=entry & MASK_128,
        entry_funding=convert(entry >> 128, int256) - FUNDING_OFFSET,
        epoch=sizes >> 200,
        previous_id=(identity >> 176) & MASK_40,
        next_id=identity >> 216,
    )


@internal
def _store_sizes(position_id: uint256, size: uint256, margin: uint256, epoch: uint256):
    self._positions[position_id][1] = size | (margin << 104) | (epoch << 200)


@internal
def _link(previous_id: uint256, next_id: uint256):
    """
    @notice Makes two positions neighbours in their ring.
    """
    cleared: uint256 = self._positions[previous_id][0] & ~(MASK_40 << 216)
    self._positions[previous_id][0] = cleared | (next_id << 216)
    cleared = self._positions[next_id][0] & ~(MASK_40 << 176)
    self._positions[next_id][0] = cleared | (previous_id << 176)


@internal
def _store_owed(credits: uint256, claims: uint256):
    self._owed = credits | (claims << 128)

# pragma version 0.4.3
# pragma optimize gas
"""
@title PerpMarket
@license AGPL-3.0-only
@notice Perpetual positions on one underlying, each owning its margin alone, against one liquidity
        pool. The transaction that brings a price settles funding, liquidates and deleverages.
@dev    ASSUMPTIONS  The token credits exactly what is sent, never rebases, has at most 18 decimals.
                     The feed is trusted for the price and for its time, not for being called often.
        INVARIANTS   P1 to P7 and I-1 to I-18 of docs/invariants.md.
        ROUNDING     A trader's cash delta is floored once and the pool books its exact negative;
                     requirements, fees, penalties round up. See docs/rounding.md.
        LIVENESS     Adding margin needs no price. Closing a healthy position needs a fresh,
                     confirmed one and nothing else, or none at all once the last is
                     SETTLEMENT_DELAY old. A call looks at no more than MAX_VISITS positions.
@custom:kill Set the open interest cap to zero; publish for as long as traders need to close. When
             prices end, SETTLEMENT_DELAY later anyone settles what is left at the last one; see
             docs/shutdown.md.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

from contracts.interfaces import IPerpMarket
from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IPriceFeed
from contracts.interfaces import IRiskEngine
from contracts.interfaces import IMarketFactory
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import margin_math
from contracts.modules import token_transfer
from contracts.modules import trigger_index
from contracts.modules import trigger_key

implements: IPerpMarket
initializes: trigger_index

# What a run over the liquidation index has done so far.
struct Sweep:
    visits: uint256
    liquidated: uint256
    size: uint256
    reward: uint256
    pool_gain: uint256
    has_backlog: bool

# What closing a whole position at the price itself did.
struct CloseOut:
    value: int256
    penalty: uint256
    claim: uint256
    returned: uint256
    insurance_used: uint256
    bad_debt: uint256
    pool_gain: uint256

version: public(constant(String[8])) = "0.2.0"

token: public(immutable(IERC20))
pool: public(immutable(ILiquidityPool))
engine: public(immutable(IRiskEngine))
feed: public(immutable(IPriceFeed))
factory: public(immutable(IMarketFactory))
NOTIONAL_SCALE: immutable(uint256)
VALUE_SCALE: immutable(uint256)

# Packed words; the _load_ and _store_ functions are the only ones that know their layout.
_marks: uint256  # price 88 | price_time 48 | accrued_at 48 | epoch 72
_funding: uint256  # long 128 | short 128, each offset by 2**127
# identity: owner 160 | side 1 | tier 3 | - 12 | previous id 40 | next id 40
# sizes: size 104 | margin 96 | epoch 56;  entry: price 128 | funding 128, offset by 2**127
_positions: HashMap[uint256, uint256[3]]
_sizes: uint256  # long 104 | short 104 | has_backlog 1 | is_halted 1
_entry_value: int256  # sum of what the positions were marked at when they were entered
_ring_heads: HashMap[uint256, uint256]  # list << 24 | bucket -> first position of its ring
_book: uint256  # positions ever opened 64 | open positions 64 | margins 128
_ledgers: uint256  # insurance 128 | fees 128
_credits: uint256  # sum of credit_of

bad_debt: public(uint256)
credit_of: public(HashMap[address, uint256])

_locked: transient(bool)

MASK_24: constant(uint256) = 2**24 - 1
MASK_32: constant(uint256) = 2**32 - 1
MASK_40: constant(uint256) = 2**40 - 1
MASK_48: constant(uint256) = 2**48 - 1
MASK_64: constant(uint256) = 2**64 - 1
MASK_128: constant(uint256) = 2**128 - 1
FUNDING_OFFSET: constant(int256) = 2**127

BACKLOG_BIT: constant(uint256) = 2**208
HALT_BIT: constant(uint256) = 2**209

# Seconds without a price after which the last one settles whatever is still open.
SETTLEMENT_DELAY: constant(uint256) = 7 * 86_400


@deploy
def __init__(
    token_: IERC20,
    feed_: IPriceFeed,
    factory_: IMarketFactory,
    configurator: address,
    pool_blueprint: address,
    engine_blueprint: address,
    name: String[25],
    symbol: String[5],
    params: IPerpMarket.MarketParams,
    risk: IRiskEngine.RiskParams,
):
    """
    @notice Called through MarketFactory, which checks `params` and `risk`. Deploys the pool and the
            risk engine, which belong to this market for good.
    """
    token = token_
    feed = feed_
    factory = factory_
    decimals: uint256 = convert(staticcall IERC20Detailed(token_.address).decimals(), uint256)
    NOTIONAL_SCALE = 10 ** (36 - decimals)
    VALUE_SCALE = 10 ** (45 - decimals)
    pool = ILiquidityPool(create_from_blueprint(pool_blueprint, token_, name, symbol))
    engine = IRiskEngine(
        create_from_blueprint(engine_blueprint, configurator, decimals, params, risk)
    )
    marks: IPerpMarket.Marks = empty(IPerpMarket.Marks)
    marks.accrued_at = block.timestamp
    self._store_marks(marks)


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
    marks: IPerpMarket.Marks = self._settle_tradable_marks()
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
    marks: IPerpMarket.Marks = self._settle_tradable_marks()
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
    marks: IPerpMarket.Marks = self._settle_fresh_marks()
    fill: IRiskEngine.Fill = self._check_exit(position, size, acceptable_price, marks)
    value: int256 = self._exit_value(position, size, fill.price, marks)
    self._detach(position_id, position)
    claim: uint256 = self._take_profit(position.owner, value)
    position.margin = self._change_margin(self._balance(position, value, claim), 0, fill.fee)
    position.size -= size
    position.tier = fill.tier
    errors._require(not self._is_liquidatable(position, marks), errors.INSUFFICIENT_MARGIN)
    self._attach(position_id, position)
    self._add_to_ledgers(0, fill.fee)
    log IPerpMarket.PositionReduced(
        position_id=position_id,
        owner=msg.sender,
        size=size,
        fill_price=fill.price,
        value=value,
        fee=fill.fee,
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
            `LiquidityPool.withdraw_claim`).
    """
    self._enter()
    position: IPerpMarket.Position = self._load_own_position(position_id)
    marks: IPerpMarket.Marks = self._settle_fresh_marks()
    fill: IRiskEngine.Fill = self._check_exit(position, position.size, acceptable_price, marks)
    value: int256 = self._exit_value(position, position.size, fill.price, marks)
    self._detach(position_id, position)
    self._erase(position_id)
    claim: uint256 = self._take_profit(position.owner, value)
    balance: uint256 = self._balance(position, value, claim)
    fee: uint256 = min(fill.fee, balance)
    payout: uint256 = balance - fee
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionClosed(
        position_id=position_id,
        owner=msg.sender,
        size=position.size,
        fill_price=fill.price,
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
    marks: IPerpMarket.Marks = self._settle_tradable_marks()
    # While the position still counts in what the pool carries.
    fraction: uint256 = staticcall engine.removal_terms(position.tier, self._book_state(marks))
    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, 0, amount)
    self._require_initial_margin(position, marks, fraction)
    self._attach(position_id, position)
    log IPerpMarket.MarginRemoved(position_id=position_id, owner=msg.sender, amount=amount)
    token_transfer._push(token, msg.sender, amount)
    self._exit()


# Prices and liquidation


@external
def update_price(recipient: address) -> uint256:
    """
    @notice Takes the feed's latest price, accrues funding, liquidates and deleverages, in this
            order. With no newer price it still does the rest. A price beyond the band takes effect
            only when a second one confirms it. Anyone may call; the feed calls it on every price.
    @param recipient Who is credited with the rewards of the liquidations.
    @return Number of positions liquidated. If MAX_VISITS was not enough, the backlog flag is set.
    """
    self._enter()
    price: uint256 = 0
    confidence: uint256 = 0
    price_time: uint256 = 0
    price, confidence, price_time = staticcall feed.latest_price()
    marks: IPerpMarket.Marks = self._accrued()
    if price_time > marks.price_time:
        is_accepted: bool = extcall engine.observe_price(
            price, confidence, price_time, marks.price, marks.price_time
        )
        if is_accepted:
            marks.price = price
            marks.price_time = price_time
            marks.epoch += 1
        if is_accepted == self._is_halted():
            self._sizes ^= HALT_BIT
    self._store_marks(marks)
    sweep: Sweep = empty(Sweep)
    if not self._is_halted():
        sweep = self._work_off(marks, constants.MAX_VISITS, recipient)
    log IPerpMarket.PriceUpdated(
        price=marks.price,
        price_time=marks.price_time,
        funding_long=marks.funding[constants.LONG],
        funding_short=marks.funding[constants.SHORT],
        liquidated=sweep.liquidated,
    )
    self._exit()
    return sweep.liquidated


@external
def continue_backlog(max_visits: uint256) -> uint256:
    """
    @notice Works off liquidations and deleveraging left over, at the last price and this block's
            funding. Calls in one block go on where the last one stopped; with none left it does no
            harm, so keepers may race.
    @param max_visits Positions to look at; more than MAX_VISITS counts as MAX_VISITS.
    @return Number of positions liquidated.
    """
    self._enter()
    marks: IPerpMarket.Marks = self._settle_marks()
    errors._require(not self._is_halted(), errors.HALTED)
    sweep: Sweep = self._work_off(marks, min(max_visits, constants.MAX_VISITS), msg.sender)
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
    marks: IPerpMarket.Marks = self._settle_fresh_marks()
    errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)
    sweep: Sweep = self._liquidate(position_id, position, marks, empty(Sweep))
    self._settle_rewards(sweep, msg.sender)
    self._record(marks, sweep.size)
    self._exit()


@external
def settle(position_id: uint256):
    """
    @notice Closes any position at the last price, SETTLEMENT_DELAY after it, without fee or
            penalty, and credits its owner: the way out when there are no prices any more. Anyone
            may call.
    """
    self._enter()
    position: IPerpMarket.Position = self._load_position(position_id)
    marks: IPerpMarket.Marks = self._settle_marks()
    errors._require(self._is_expired(marks), errors.NOT_EXPIRED)
    self._settle(position_id, position, marks, False)
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
    @notice Pays the caller the credit of liquidations, deleveraging and rewards.
    @return Token units paid.
    """
    self._enter()
    amount: uint256 = self.credit_of[msg.sender]
    errors._require(amount > 0, errors.NOTHING_TO_WITHDRAW)
    self.credit_of[msg.sender] = 0
    self._credits -= amount
    log IPerpMarket.CreditWithdrawn(owner=msg.sender, amount=amount)
    token_transfer._push(token, msg.sender, amount)
    self._exit()
    return amount


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
def marks() -> IPerpMarket.Marks:
    """
    @notice Price, its time, funding indices accrued to this block, and the engine's terms.
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
def totals() -> IPerpMarket.Totals:
    """
    @notice The stored sums and flags: sizes WAD, amounts token units; `entry_value` as in
            `margin_math`.
    """
    return self._totals()


@external
@view
def index_word(level: uint256, word_id: uint256) -> uint256:
    """
    @notice The liquidation index: level 0 is a word of the leaves, 1 of the middles, 2 of the tops;
            3 gives the first position of ring `word_id` (list << 24 | bucket).
    """
    if level == 0:
        return trigger_index._leaves[word_id]
    if level == 1:
        return trigger_index._middles[word_id]
    if level == 2:
        return trigger_index._tops[word_id]
    return self._ring_heads[word_id]


@external
@view
def pool_terms() -> IPerpMarket.PoolTerms:
    """
    @notice What the pool needs to price its shares, as of this block. `profit_up` and `profit_down`
            bracket the traders' net unrealised profit; `reserved` may not be withdrawn. With no
            position open no price is needed.
    """
    marks: IPerpMarket.Marks = self._accrued()
    profit: int256 = self._net_trader_profit(marks)
    return IPerpMarket.PoolTerms(
        is_priced=self._is_priced(marks) or self._side_size(0) + self._side_size(1) == 0,
        has_backlog=self._has_backlog(),
        profit_up=fixed_point._signed_div_ceil(profit, VALUE_SCALE),
        profit_down=fixed_point._signed_div_floor(profit, VALUE_SCALE),
        reserved=marks.terms.reserved,
    )


@external
@view
def solvency() -> IPerpMarket.Solvency:
    """
    @notice What the market and its pool own and owe, in O(1). `net_trader_profit` is at least the
            sum of the positions' own values and less than that sum plus `rounding_bound` token
            units. Assets are all tokens on the books, liabilities what would leave if everybody
            closed now; the reserve and the providers' part are the difference. `ratio` is WAD,
            rounded down.
    """
    totals: IPerpMarket.Totals = self._totals()
    profit: int256 = fixed_point._signed_div_ceil(
        self._net_trader_profit(self._accrued()), VALUE_SCALE
    )
    account: ILiquidityPool.Account = staticcall pool.account()
    owed: uint256 = totals.fees + totals.credits
    assets: uint256 = account.cash + totals.margin + totals.insurance + owed
    owed += account.claims
    liabilities: uint256 = convert(
        max(convert(totals.margin + owed, int256) + profit, convert(owed, int256)), uint256
    )
    return IPerpMarket.Solvency(
        assets=assets,
        liabilities=liabilities,
        ratio=fixed_point._mul_div_down(assets, constants.WAD, max(liabilities, 1)),
        pool_cash=account.cash,
        margin=totals.margin,
        insurance=totals.insurance,
        fees=totals.fees,
        credits=totals.credits,
        claims=account.claims,
        bad_debt=totals.bad_debt,
        net_trader_profit=profit,
        open_positions=totals.open_positions,
        rounding_bound=totals.open_positions + 1,
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
def _is_priced(marks: IPerpMarket.Marks) -> bool:
    """
    @notice Whether the price is one to trade and settle at: fresh, and none waits for confirmation.
    """
    return (
        marks.price_time + marks.terms.max_price_age >= block.timestamp and not self._is_halted()
    )


@internal
@view
def _is_expired(marks: IPerpMarket.Marks) -> bool:
    return marks.price_time + SETTLEMENT_DELAY < block.timestamp


@internal
@view
def _book_state(marks: IPerpMarket.Marks) -> IRiskEngine.Book:
    """
    @notice What the engine's terms depend on besides its own state.
    """
    account: ILiquidityPool.Account = staticcall pool.account()
    return IRiskEngine.Book(
        price=marks.price,
        long_size=self._side_size(constants.LONG),
        short_size=self._side_size(constants.SHORT),
        cash=account.cash - min(account.cash, account.claims),
    )


@internal
@view
def _check_exit(
    position: IPerpMarket.Position,
    size: uint256,
    acceptable_price: uint256,
    marks: IPerpMarket.Marks,
) -> IRiskEngine.Fill:
    """
    @notice Checks that `size` units of a position may be closed by its owner.
    """
    errors._require(not self._is_liquidatable(position, marks), errors.LIQUIDATABLE)
    fill: IRiskEngine.Fill = staticcall engine.exit_terms(
        position.side, position.size, size, self._book_state(marks)
    )
    self._check_fill(constants.SHORT - position.side, fill.price, acceptable_price)
    return fill


@internal
@pure
def _check_fill(side: uint256, fill_price: uint256, acceptable_price: uint256):
    """
    @notice A fill on `side` (LONG buys, SHORT sells) not past the caller's price.
    """
    is_acceptable: bool = fill_price <= acceptable_price
    if side == constants.SHORT:
        is_acceptable = fill_price >= acceptable_price
    errors._require(is_acceptable, errors.PRICE_PASSED)


@internal
@view
def _require_initial_margin(
    position: IPerpMarket.Position, marks: IPerpMarket.Marks, fraction: uint256
):
    """
    @notice margin + min(value, 0) >= initial requirement: unrealised profit is not margin.
    """
    value: int256 = min(self._value(position, position.size, marks.price, marks), 0)
    requirement: uint256 = self._fraction_of_notional_up(position.size, marks.price, fraction)
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
    marks: IPerpMarket.Marks,
):
    """
    @notice Adds size and margin to a position; opening is adding to one of size zero.
    """
    position: IPerpMarket.Position = before
    fill: IRiskEngine.Fill = staticcall engine.increase_terms(
        position.side, position.size, size, self._book_state(marks)
    )
    self._check_fill(position.side, fill.price, acceptable_price)
    if position.size > 0:
        self._detach(position_id, before)
    position.tier = fill.tier
    position.margin = self._change_margin(position.margin, margin, fill.fee)
    position.entry_price = margin_math._average_entry_price(
        position.side, position.size, position.entry_price, size, fill.price
    )
    position.entry_funding = margin_math._average_entry_funding(
        position.size, position.entry_funding, size, marks.funding[position.side]
    )
    position.size += size
    self._require_initial_margin(position, marks, fill.initial_fraction)
    self._attach(position_id, position)
    self._add_to_ledgers(0, fill.fee)
    log IPerpMarket.PositionIncreased(
        position_id=position_id,
        owner=position.owner,
        size=size,
        margin=margin,
        fill_price=fill.price,
        fee=fill.fee,
    )
    if margin > 0:
        token_transfer._pull(token, msg.sender, margin)


# Quantities


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
def _side_size(side: uint256) -> uint256:
    return (self._sizes >> (104 * side)) & constants.MAX_SIZE


@internal
@view
def _fraction_of_notional_up(size: uint256, price: uint256, fraction: uint256) -> uint256:
    return margin_math._fraction_of_notional_up(size, price, fraction, NOTIONAL_SCALE)


@internal
@view
def _net_trader_profit(marks: IPerpMarket.Marks) -> int256:
    """
    @notice Sum of all positions' values from the totals, unrounded: to be divided by VALUE_SCALE.
    """
    marked: int256 = 0
    for side: uint256 in range(2):
        marked += margin_math._marked_value(
            side, self._side_size(side), marks.price, marks.funding[side]
        )
    return marked - self._entry_value


@internal
@view
def _value(
    position: IPerpMarket.Position, size: uint256, price: uint256, marks: IPerpMarket.Marks
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
def _exit_value(
    position: IPerpMarket.Position, size: uint256, price: uint256, marks: IPerpMarket.Marks
) -> int256:
    """
    @notice Value of `size` units at the fill. The loss is bounded by the margin: a fill moved by
            skew must not keep a healthy position from closing.
    """
    return max(
        self._value(position, size, price, marks), -convert(position.margin, int256)
    )


@internal
@view
def _health(position: IPerpMarket.Position, marks: IPerpMarket.Marks) -> (int256, uint256):
    """
    @notice Equity and maintenance requirement.
    """
    equity: int256 = convert(position.margin, int256) + self._value(
        position, position.size, marks.price, marks
    )
    return equity, self._fraction_of_notional_up(
        position.size, marks.price, marks.terms.maintenance_fractions[position.tier]
    )


@internal
@view
def _is_liquidatable(position: IPerpMarket.Position, marks: IPerpMarket.Marks) -> bool:
    equity: int256 = 0
    requirement: uint256 = 0
    equity, requirement = self._health(position, marks)
    return equity < convert(requirement, int256)


# Funding


@internal
@view
def _accrued() -> IPerpMarket.Marks:
    """
    @notice The stored marks with both funding indices brought to this block, and the engine's
            terms: what positions are measured by now.
    """
    marks: IPerpMarket.Marks = self._load_marks()
    elapsed: uint256 = block.timestamp - marks.accrued_at
    marks.terms = staticcall engine.terms(elapsed, self._book_state(marks))
    if elapsed > 0:
        for side: uint256 in range(2):
            marks.funding[side] += marks.terms.funding_steps[side]
        marks.accrued_at = block.timestamp
        marks.epoch += 1
    return marks


@internal
def _settle_marks() -> IPerpMarket.Marks:
    """
    @notice Accrues and stores.
    """
    marks: IPerpMarket.Marks = self._accrued()
    self._store_marks(marks)
    return marks


@internal
def _settle_fresh_marks() -> IPerpMarket.Marks:
    """
    @notice Accrues and stores; reverts when there is no valid price.
    """
    marks: IPerpMarket.Marks = self._settle_marks()
    errors._require(not self._is_halted(), errors.HALTED)
    errors._require(self._is_priced(marks), errors.STALE_PRICE)
    return marks


@internal
def _settle_tradable_marks() -> IPerpMarket.Marks:
    """
    @notice What adds risk needs a valid price, no work left over, and books that the tokens held
            here cover. If they do not, exits stay open.
    """
    errors._require(not self._has_backlog(), errors.BACKLOG)
    booked: uint256 = (self._book >> 128) + (self._ledgers & MASK_128) + (self._ledgers >> 128)
    errors._require(
        staticcall token.balanceOf(self) >= booked + self._credits, errors.BOOKS_BROKEN
    )
    return self._settle_fresh_marks()


# Liquidation and deleveraging


@internal
def _work_off(marks: IPerpMarket.Marks, max_visits: uint256, recipient: address) -> Sweep:
    """
    @notice Liquidates what is due, then deleverages if the traders have won too much of the pool;
            looks at no more than `max_visits` positions and records whether work is left over.
    """
    sweep: Sweep = self._sweep(marks, max_visits)
    self._settle_rewards(sweep, recipient)
    if self._record(marks, sweep.size) and not sweep.has_backlog:
        sweep.has_backlog = self._deleverage(marks, max_visits - sweep.visits)
    if sweep.has_backlog != self._has_backlog():
        self._sizes ^= BACKLOG_BIT
        log IPerpMarket.BacklogChanged(has_backlog=sweep.has_backlog)
    return sweep


@internal
def _record(marks: IPerpMarket.Marks, liquidated_size: uint256) -> bool:
    """
    @notice Tells the engine what was liquidated and how the pool stands.
    @return Whether the traders' profit is too large for the pool.
    """
    return extcall engine.record_update(
        liquidated_size,
        fixed_point._signed_div_ceil(self._net_trader_profit(marks), VALUE_SCALE),
        staticcall pool.account(),
    )


@internal
def _deleverage(marks: IPerpMarket.Marks, max_visits: uint256) -> bool:
    """
    @notice Closes at the price itself the positions that the engine names, from the other end of
            the index.
    @return Whether visits ran out before the profit fitted.
    """
    visited: DynArray[uint256, constants.MAX_VISITS] = []
    has_backlog: bool = False
    visited, has_backlog = extcall engine.choose_deleveraged(
        marks.price,
        marks.funding,
        marks.epoch,
        self._net_trader_profit(marks),
        self._book_state(marks).cash,
        max_visits,
    )
    for visit: uint256 in visited:
        position_id: uint256 = visit >> 1
        position: IPerpMarket.Position = self._load_position(position_id)
        if visit & 1 == 1:
            self._settle(position_id, position, marks, True)
        else:
            self._mark_seen(position_id, position, self._ring_of(position), marks)
    return has_backlog


@internal
def _settle(
    position_id: uint256,
    position: IPerpMarket.Position,
    marks: IPerpMarket.Marks,
    is_deleveraged: bool,
):
    """
    @notice Closes a whole position at the price itself without penalty.
    """
    close_out: CloseOut = self._close_out(
        position_id, position, self._value(position, position.size, marks.price, marks), 0
    )
    log IPerpMarket.PositionSettled(
        position_id=position_id,
        owner=position.owner,
        size=position.size,
        price=marks.price,
        value=close_out.value,
        claim=close_out.claim,
        returned=close_out.returned,
        insurance_used=close_out.insurance_used,
        bad_debt=close_out.bad_debt,
        is_deleveraged=is_deleveraged,
    )
    self._send_to_pool(close_out.pool_gain)


@internal
def _sweep(marks: IPerpMarket.Marks, max_visits: uint256) -> Sweep:
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
                side, marks.price, marks.terms.maintenance_fractions[tier], marks.funding[side]
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
                    sweep = self._liquidate(position_id, position, marks, sweep)
                    if self._ring_heads[ring] == 0:
                        # The index has just looked for the next one, if this was the worst.
                        cursor = trigger_index._worst_ring(ring >> 24)
                        if cursor > ring:
                            cursor = trigger_index._next_ring(ring)
                else:
                    self._mark_seen(position_id, position, ring, marks)
    return sweep


@internal
def _mark_seen(
    position_id: uint256,
    position: IPerpMarket.Position,
    ring: uint256,
    marks: IPerpMarket.Marks,
):
    """
    @notice Stamps a position that needs nothing at these marks and moves it to the end of its ring.
    """
    self._store_sizes(position_id, position.size, position.margin, marks.epoch)
    self._ring_heads[ring] = position.next_id


@internal
def _liquidate(
    position_id: uint256, position: IPerpMarket.Position, marks: IPerpMarket.Marks, before: Sweep
) -> Sweep:
    """
    @notice Liquidates a position that is liquidatable: in part if the rest then meets its initial
            requirement, in full otherwise. No other position is touched.
    @return The sweep with it.
    """
    close_out: CloseOut = empty(CloseOut)
    size: uint256 = position.size
    penalty: uint256 = self._penalty(size, marks)
    gain: int256 = self._value(position, size, marks.price, marks)
    rest: IPerpMarket.Position = self._partial_rest(position, gain, penalty, marks)
    if rest.size > 0:
        size -= rest.size
        close_out.value = self._value(position, size, marks.price, marks)
        close_out.penalty = self._penalty(size, marks)
        close_out.pool_gain = convert(-close_out.value, uint256)
        self._detach(position_id, position)
        self._attach(position_id, rest)
    else:
        close_out = self._close_out(position_id, position, gain, penalty)
    reward: uint256 = fixed_point._mul_div_down(
        close_out.penalty, marks.terms.keeper_share, constants.WAD
    )
    self._add_to_ledgers(close_out.penalty - reward, 0)
    log IPerpMarket.PositionLiquidated(
        position_id=position_id,
        owner=position.owner,
        size=size,
        price=marks.price,
        value=close_out.value,
        penalty=close_out.penalty,
        reward=reward,
        returned=close_out.returned,
        insurance_used=close_out.insurance_used,
        bad_debt=close_out.bad_debt,
    )
    sweep: Sweep = before
    sweep.liquidated += 1
    sweep.size += size
    sweep.reward += reward
    sweep.pool_gain += close_out.pool_gain
    return sweep


@internal
def _close_out(
    position_id: uint256,
    position: IPerpMarket.Position,
    gain: int256,
    full_penalty: uint256,
) -> CloseOut:
    """
    @notice Closes a whole position that has gained or lost so much and credits its owner with what is left of
            the equity. A shortfall is covered by the reserve as far as the engine lets it; the rest
            is the pool's loss.
    """
    close_out: CloseOut = empty(CloseOut)
    close_out.value = gain
    self._detach(position_id, position)
    self._erase(position_id)
    close_out.claim = self._take_profit(position.owner, close_out.value)
    equity: int256 = (
        convert(position.margin, int256) + close_out.value - convert(close_out.claim, int256)
    )
    if equity < 0:
        shortfall: uint256 = convert(-equity, uint256)
        close_out.insurance_used = extcall engine.cover_shortfall(
            shortfall, self._ledgers & MASK_128
        )
        close_out.bad_debt = shortfall - close_out.insurance_used
        self._ledgers -= close_out.insurance_used
        self.bad_debt += close_out.bad_debt
    else:
        close_out.penalty = min(full_penalty, convert(equity, uint256))
        close_out.returned = convert(equity, uint256) - close_out.penalty
        self._add_credit(position.owner, close_out.returned)
    if close_out.value < 0:
        close_out.pool_gain = convert(-close_out.value, uint256) - close_out.bad_debt
    return close_out


@internal
@view
def _penalty(size: uint256, marks: IPerpMarket.Marks) -> uint256:
    return self._fraction_of_notional_up(size, marks.price, marks.terms.liquidation_penalty)


@internal
@view
def _partial_rest(
    position: IPerpMarket.Position,
    gain: int256,
    full_penalty: uint256,
    marks: IPerpMarket.Marks,
) -> IPerpMarket.Position:
    """
    @notice What stays open after a partial liquidation; size zero when none can: too little
            equity, a rest below the minimum size, or one still liquidatable.
    """
    rest: IPerpMarket.Position = position
    rest.size = 0
    equity: int256 = convert(position.margin, int256) + gain
    if equity <= convert(full_penalty, int256):
        return rest
    tier: uint256 = 0
    size: uint256 = 0
    size, tier = staticcall engine.partial_terms(
        position.tier, convert(equity, uint256), full_penalty, marks.price
    )
    if size == 0 or size >= position.size:
        return rest
    closed: uint256 = position.size - size
    value: int256 = self._value(position, closed, marks.price, marks)
    margin: int256 = (
        convert(position.margin, int256)
        + value
        - convert(self._penalty(closed, marks), int256)
    )
    # A profit would have to be paid by the pool first; that is left to the full liquidation.
    if value > 0 or margin <= 0:
        return rest
    rest.margin = convert(margin, uint256)
    rest.tier = tier
    rest.size = size
    if self._is_liquidatable(rest, marks):
        rest.size = 0
    return rest


@internal
def _settle_rewards(sweep: Sweep, recipient: address):
    """
    @notice Credits the rewards and sends the pool its gains: one transfer.
    """
    self._add_credit(recipient, sweep.reward)
    self._send_to_pool(sweep.pool_gain)


# Cash between traders, pool and ledgers


@internal
@pure
def _balance(position: IPerpMarket.Position, gain: int256, claim: uint256) -> uint256:
    """
    @notice Margin after a gain or loss, at most the margin, of which a part became a claim.
    """
    return convert(convert(position.margin, int256) + gain - convert(claim, int256), uint256)


@internal
def _take_profit(owner: address, gain: int256) -> uint256:
    """
    @notice Has the pool pay a profit to this contract; what it cannot pay becomes the owner's
            claim there.
    @return The claim.
    """
    if gain <= 0:
        return 0
    profit: uint256 = convert(gain, uint256)
    return profit - extcall pool.pay_profit(owner, profit)


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
        self._credits += amount


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
    return self._sizes & BACKLOG_BIT != 0


@internal
@view
def _is_halted() -> bool:
    return self._sizes & HALT_BIT != 0


@internal
@view
def _totals() -> IPerpMarket.Totals:
    ledgers: uint256 = self._ledgers
    book: uint256 = self._book
    return IPerpMarket.Totals(
        long_size=self._side_size(constants.LONG),
        short_size=self._side_size(constants.SHORT),
        has_backlog=self._has_backlog(),
        is_halted=self._is_halted(),
        entry_value=self._entry_value,
        positions=book & MASK_64,
        open_positions=(book >> 64) & MASK_64,
        margin=book >> 128,
        insurance=ledgers & MASK_128,
        fees=ledgers >> 128,
        credits=self._credits,
        bad_debt=self.bad_debt,
    )


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
    self._entry_value += margin_math._marked_value(
        position.side, position.size, position.entry_price, position.entry_funding
    )
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
    self._entry_value -= margin_math._marked_value(
        position.side, position.size, position.entry_price, position.entry_funding
    )
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
def _load_marks() -> IPerpMarket.Marks:
    word: uint256 = self._marks
    funding: uint256 = self._funding
    return IPerpMarket.Marks(
        price=word & constants.MAX_PRICE,
        price_time=(word >> 88) & MASK_48,
        accrued_at=(word >> 136) & MASK_48,
        epoch=word >> 184,
        funding=[
            convert(funding & MASK_128, int256) - FUNDING_OFFSET,
            convert(funding >> 128, int256) - FUNDING_OFFSET,
        ],
        terms=empty(IRiskEngine.Terms),
    )


@internal
def _store_marks(marks: IPerpMarket.Marks):
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

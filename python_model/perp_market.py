"""Mirror of contracts/PerpMarket.vy."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from python_model.evm import Chain, Contract, Storage, external
from python_model.liquidity_pool import LiquidityPool
from python_model.modules import (
    constants,
    errors,
    fixed_point,
    margin_math,
    token_transfer,
    trigger_key,
)
from python_model.modules.trigger_index import TriggerIndex
from python_model.risk_engine import Book, Fill, RiskEngine, RiskParams, Terms

if TYPE_CHECKING:
    from python_model.market_factory import MarketFactory

MASK_24 = 2**24 - 1
MASK_32 = 2**32 - 1

SETTLEMENT_DELAY = 7 * 86_400


class PriceFeed(Protocol):
    """What the market asks of a feed: price and confidence in WAD, and the time of both."""

    address: str

    def latest_price(self) -> tuple[int, int, int]: ...


class MarketParams(NamedTuple):
    """What never changes: sizes, fractions and rates per second in WAD, age in seconds."""

    min_size: int
    skew_scale: int
    max_funding_rate: int
    max_utilisation_rate: int
    liquidation_penalty: int
    keeper_share: int
    reserve_fraction: int
    max_price_age: int
    tier_sizes: tuple[int, int, int, int]


@dataclass(slots=True)
class Position:
    """Size WAD, margin token units, entry price WAD, entry funding with FUNDING_PRECISION too."""

    owner: str
    side: int
    tier: int
    size: int
    margin: int
    entry_price: int
    entry_funding: int
    epoch: int
    previous_id: int
    next_id: int

    def copy(self) -> "Position":
        """Another position with the same fields."""
        return Position(
            self.owner,
            self.side,
            self.tier,
            self.size,
            self.margin,
            self.entry_price,
            self.entry_funding,
            self.epoch,
            self.previous_id,
            self.next_id,
        )


class Totals(NamedTuple):
    """The stored sums and flags: sizes WAD, amounts token units."""

    long_size: int
    short_size: int
    has_backlog: bool
    is_halted: bool
    entry_value: int
    positions: int
    open_positions: int
    margin: int
    insurance: int
    fees: int
    credits: int
    bad_debt: int


class PoolTerms(NamedTuple):
    """What the pool needs to price its shares, token units."""

    is_priced: bool
    has_backlog: bool
    profit_up: int
    profit_down: int
    reserved: int


class Solvency(NamedTuple):
    """What market and pool own and owe, token units; the ratio WAD."""

    assets: int
    liabilities: int
    ratio: int
    pool_cash: int
    margin: int
    insurance: int
    fees: int
    credits: int
    claims: int
    bad_debt: int
    net_trader_profit: int
    open_positions: int
    rounding_bound: int


NO_TERMS = Terms((0, 0, 0, 0), (0, 0), 0, 0, 0, 0)


@dataclass(slots=True)
class Marks:
    """Price, funding indices (long, short) and their epoch as of a moment, the engine's terms."""

    price: int
    price_time: int
    accrued_at: int
    epoch: int
    funding: list[int]
    terms: Terms = NO_TERMS

    def copy(self) -> "Marks":
        """Other marks with the same fields."""
        return Marks(
            self.price,
            self.price_time,
            self.accrued_at,
            self.epoch,
            self.funding.copy(),
            self.terms,
        )


@dataclass(slots=True)
class Sweep:
    """What a run over the liquidation index has done so far."""

    visits: int = 0
    liquidated: int = 0
    size: int = 0
    reward: int = 0
    pool_gain: int = 0
    has_backlog: bool = False


@dataclass(slots=True)
class CloseOut:
    """What closing a whole position at the price itself did."""

    value: int = 0
    penalty: int = 0
    claim: int = 0
    returned: int = 0
    insurance_used: int = 0
    bad_debt: int = 0
    pool_gain: int = 0


class PerpMarket(Contract, TriggerIndex):
    """Perpetual positions on one underlying, each owning its margin alone."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        token: token_transfer.Token,
        feed: PriceFeed,
        factory: "MarketFactory",
        configurator: str,
        name: str,
        symbol: str,
        params: MarketParams,
        risk: RiskParams,
    ) -> None:
        Contract.__init__(self, chain, address)
        TriggerIndex.__init__(self, chain)
        self.token = token
        self.feed = feed
        self.factory = factory
        decimals = token.decimals
        self.NOTIONAL_SCALE: int = 10 ** (36 - decimals)
        self.VALUE_SCALE: int = 10 ** (45 - decimals)
        self.pool = LiquidityPool(
            chain, chain.new_address(address, 1), token, name, symbol, deployer=self
        )
        self.engine = RiskEngine(
            chain,
            chain.new_address(address, 2),
            configurator,
            decimals,
            params,
            risk,
            deployer=self,
        )
        self._marks = Marks(
            price=0, price_time=0, accrued_at=chain.timestamp, epoch=0, funding=[0, 0]
        )
        self._positions: Storage[int, Position | None] = Storage(chain, None)
        self._total_sizes: Storage[int, int] = Storage(chain, 0)
        self._total_margin = 0
        self._entry_value = 0
        self._ring_heads: Storage[int, int] = Storage(chain, 0)
        self._position_count = 0
        self._open_positions = 0
        self._backlog = False
        self._halted = False
        self._insurance = 0
        self._fees = 0
        self._credits = 0
        self.bad_debt = 0
        self.credit_of: Storage[str, int] = Storage(chain, 0)
        self._locked = False

    # Trading

    @external
    def open(self, side: int, size: int, margin: int, acceptable_price: int, *, sender: str) -> int:
        self._enter()
        errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)
        self._require_amount(margin)
        marks = self._settle_tradable_marks()
        position = Position(sender, side, 0, 0, 0, 0, 0, 0, 0, 0)
        position_id = self._new_position_id()
        self.log("PositionOpened", position_id, sender, side)
        self._add_size(position_id, position, size, margin, acceptable_price, marks, sender)
        self._exit()
        return position_id

    @external
    def increase(
        self, position_id: int, size: int, margin: int, acceptable_price: int, *, sender: str
    ) -> None:
        self._enter()
        if margin > 0:
            self._require_amount(margin)
        position = self._load_own_position(position_id, sender)
        marks = self._settle_tradable_marks()
        self._add_size(position_id, position, size, margin, acceptable_price, marks, sender)
        self._exit()

    @external
    def reduce(self, position_id: int, size: int, acceptable_price: int, *, sender: str) -> None:
        self._enter()
        position = self._load_own_position(position_id, sender)
        errors._require(size > 0, errors.ZERO_SIZE)
        errors._require(size < position.size, errors.EXCEEDS_POSITION)
        marks = self._settle_fresh_marks()
        fill = self._check_exit(position, size, acceptable_price, marks)
        value = self._exit_value(position, size, fill.price, marks)
        self._detach(position_id, position)
        claim = self._take_profit(position.owner, value)
        position.margin = self._change_margin(self._balance(position, value, claim), 0, fill.fee)
        position.size -= size
        position.tier = fill.tier
        errors._require(not self._is_liquidatable(position, marks), errors.INSUFFICIENT_MARGIN)
        self._attach(position_id, position)
        self._add_to_ledgers(0, fill.fee)
        self.log("PositionReduced", position_id, sender, size, fill.price, value, fill.fee, claim)
        self._pay_loss_to_pool(value)
        self._exit()

    @external
    def close(self, position_id: int, acceptable_price: int, *, sender: str) -> int:
        self._enter()
        position = self._load_own_position(position_id, sender)
        marks = self._settle_fresh_marks()
        fill = self._check_exit(position, position.size, acceptable_price, marks)
        value = self._exit_value(position, position.size, fill.price, marks)
        self._detach(position_id, position)
        self._erase(position_id)
        claim = self._take_profit(position.owner, value)
        balance = self._balance(position, value, claim)
        fee = min(fill.fee, balance)
        payout = balance - fee
        self._add_to_ledgers(0, fee)
        self.log(
            "PositionClosed",
            position_id,
            sender,
            position.size,
            fill.price,
            value,
            fee,
            claim,
            payout,
        )
        self._pay_loss_to_pool(value)
        token_transfer._push(self.token, sender, payout, self.address)
        self._exit()
        return payout

    @external
    def add_margin(self, position_id: int, amount: int, *, sender: str) -> None:
        self._enter()
        position = self._load_own_position(position_id, sender)
        self._require_amount(amount)
        self._detach(position_id, position)
        position.margin = self._change_margin(position.margin, amount, 0)
        self._attach(position_id, position)
        self.log("MarginAdded", position_id, sender, amount)
        token_transfer._pull(self.token, sender, amount, self.address)
        self._exit()

    @external
    def remove_margin(self, position_id: int, amount: int, *, sender: str) -> None:
        self._enter()
        position = self._load_own_position(position_id, sender)
        self._require_amount(amount)
        marks = self._settle_tradable_marks()
        # While the position still counts in what the pool carries.
        fraction = self.engine.removal_terms(position.tier, self._book_state(marks))
        self._detach(position_id, position)
        position.margin = self._change_margin(position.margin, 0, amount)
        self._require_initial_margin(position, marks, fraction)
        self._attach(position_id, position)
        self.log("MarginRemoved", position_id, sender, amount)
        token_transfer._push(self.token, sender, amount, self.address)
        self._exit()

    # Prices and liquidation

    @external
    def update_price(self, recipient: str, *, sender: str) -> int:
        self._enter()
        price, confidence, price_time = self.feed.latest_price()
        marks = self._accrued()
        if price_time > marks.price_time:
            is_accepted = self.engine.observe_price(
                price,
                confidence,
                price_time,
                marks.price,
                marks.price_time,
                sender=self.address,
            )
            if is_accepted:
                marks.price = price
                marks.price_time = price_time
                marks.epoch += 1
            if is_accepted == self._is_halted():
                self._halted = not self._halted
        self._store_marks(marks)
        sweep = Sweep()
        if not self._is_halted():
            sweep = self._work_off(marks, constants.MAX_VISITS, recipient)
        self.log(
            "PriceUpdated",
            marks.price,
            marks.price_time,
            marks.funding[constants.LONG],
            marks.funding[constants.SHORT],
            sweep.liquidated,
        )
        self._exit()
        return sweep.liquidated

    @external
    def continue_backlog(self, max_visits: int, *, sender: str) -> int:
        self._enter()
        marks = self._settle_marks()
        errors._require(not self._is_halted(), errors.HALTED)
        sweep = self._work_off(marks, min(max_visits, constants.MAX_VISITS), sender)
        self._exit()
        return sweep.liquidated

    @external
    def liquidate(self, position_id: int, *, sender: str) -> None:
        self._enter()
        position = self._load_position(position_id)
        marks = self._settle_fresh_marks()
        errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)
        sweep = self._liquidate(position_id, position, marks, Sweep())
        self._settle_rewards(sweep, sender)
        self._record(marks, sweep.size)
        self._exit()

    @external
    def settle(self, position_id: int, *, sender: str) -> None:
        self._enter()
        position = self._load_position(position_id)
        marks = self._settle_marks()
        errors._require(self._is_expired(marks), errors.NOT_EXPIRED)
        self._settle(position_id, position, marks, False)
        self._exit()

    @external
    def accrue(self, *, sender: str) -> None:
        self._enter()
        self._settle_marks()
        self._exit()

    # Ledgers

    @external
    def withdraw_credit(self, *, sender: str) -> int:
        self._enter()
        amount = self.credit_of[sender]
        errors._require(amount > 0, errors.NOTHING_TO_WITHDRAW)
        self.credit_of[sender] = 0
        self._credits -= amount
        self.log("CreditWithdrawn", sender, amount)
        token_transfer._push(self.token, sender, amount, self.address)
        self._exit()
        return amount

    @external
    def collect_fees(self, *, sender: str) -> int:
        self._enter()
        amount = self._fees
        self._fees = 0
        treasury = self.factory.treasury
        self.log("FeesCollected", treasury, amount)
        token_transfer._push(self.token, treasury, amount, self.address)
        self._exit()
        return amount

    @external
    def fund_insurance(self, amount: int, *, sender: str) -> None:
        self._enter()
        self._require_amount(amount)
        self._add_to_ledgers(amount, 0)
        self.log("InsuranceFunded", sender, amount)
        token_transfer._pull(self.token, sender, amount, self.address)
        self._exit()

    # Views

    def marks(self) -> Marks:
        return self._accrued()

    def position(self, position_id: int) -> Position:
        return self._load_position(position_id)

    def health(self, position_id: int) -> tuple[int, int]:
        return self._health(self._load_position(position_id), self._accrued())

    def totals(self) -> Totals:
        return self._totals()

    def index_word(self, level: int, word_id: int) -> int:
        if level == 0:
            return self._leaves[word_id]
        if level == 1:
            return self._middles[word_id]
        if level == 2:
            return self._tops[word_id]
        return self._ring_heads[word_id]

    def pool_terms(self) -> PoolTerms:
        marks = self._accrued()
        profit = self._net_trader_profit(marks)
        return PoolTerms(
            self._is_priced(marks) or self._side_size(0) + self._side_size(1) == 0,
            self._has_backlog(),
            fixed_point._signed_div_ceil(profit, self.VALUE_SCALE),
            fixed_point._signed_div_floor(profit, self.VALUE_SCALE),
            marks.terms.reserved,
        )

    def solvency(self) -> Solvency:
        totals = self._totals()
        profit = fixed_point._signed_div_ceil(
            self._net_trader_profit(self._accrued()), self.VALUE_SCALE
        )
        account = self.pool.account()
        owed = totals.fees + totals.credits
        assets = account.cash + totals.margin + totals.insurance + owed
        owed += account.claims
        liabilities = max(totals.margin + owed + profit, owed)
        return Solvency(
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

    # Lock

    def _enter(self) -> None:
        errors._require(not self._locked, errors.REENTRANT_CALL)
        self._locked = True

    def _exit(self) -> None:
        self._locked = False

    # Checks

    def _require_amount(self, amount: int) -> None:
        errors._require(amount > 0, errors.ZERO_AMOUNT)
        errors._require(amount <= constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)

    def _is_priced(self, marks: Marks) -> bool:
        return (
            marks.price_time + marks.terms.max_price_age >= self.chain.timestamp
            and not self._is_halted()
        )

    def _is_expired(self, marks: Marks) -> bool:
        return marks.price_time + SETTLEMENT_DELAY < self.chain.timestamp

    def _book_state(self, marks: Marks) -> Book:
        account = self.pool.account()
        return Book(
            marks.price,
            self._side_size(constants.LONG),
            self._side_size(constants.SHORT),
            account.cash - min(account.cash, account.claims),
        )

    def _check_exit(
        self, position: Position, size: int, acceptable_price: int, marks: Marks
    ) -> Fill:
        errors._require(not self._is_liquidatable(position, marks), errors.LIQUIDATABLE)
        fill = self.engine.exit_terms(position.side, position.size, size, self._book_state(marks))
        self._check_fill(constants.SHORT - position.side, fill.price, acceptable_price)
        return fill

    def _check_fill(self, side: int, fill_price: int, acceptable_price: int) -> None:
        is_acceptable = fill_price <= acceptable_price
        if side == constants.SHORT:
            is_acceptable = fill_price >= acceptable_price
        errors._require(is_acceptable, errors.PRICE_PASSED)

    def _require_initial_margin(self, position: Position, marks: Marks, fraction: int) -> None:
        value = min(self._value(position, position.size, marks.price, marks), 0)
        requirement = self._fraction_of_notional_up(position.size, marks.price, fraction)
        equity = position.margin + value
        errors._require(equity >= requirement, errors.INSUFFICIENT_MARGIN)

    # Adding size

    def _add_size(
        self,
        position_id: int,
        before: Position,
        size: int,
        margin: int,
        acceptable_price: int,
        marks: Marks,
        sender: str,
    ) -> None:
        position = before.copy()
        fill = self.engine.increase_terms(
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
        self.log(
            "PositionIncreased", position_id, position.owner, size, margin, fill.price, fill.fee
        )
        if margin > 0:
            token_transfer._pull(self.token, sender, margin, self.address)

    # Quantities

    def _change_margin(self, margin: int, added: int, taken: int) -> int:
        errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)
        self._require_amount(margin + added - taken)
        return margin + added - taken

    def _side_size(self, side: int) -> int:
        return self._total_sizes[side]

    def _fraction_of_notional_up(self, size: int, price: int, fraction: int) -> int:
        return margin_math._fraction_of_notional_up(size, price, fraction, self.NOTIONAL_SCALE)

    def _net_trader_profit(self, marks: Marks) -> int:
        marked = 0
        for side in range(2):
            marked += margin_math._marked_value(
                side, self._side_size(side), marks.price, marks.funding[side]
            )
        return marked - self._entry_value

    def _value(self, position: Position, size: int, price: int, marks: Marks) -> int:
        return margin_math._position_value(
            position.side,
            size,
            position.entry_price,
            position.entry_funding,
            price,
            marks.funding[position.side],
            self.VALUE_SCALE,
        )

    def _exit_value(self, position: Position, size: int, price: int, marks: Marks) -> int:
        return max(self._value(position, size, price, marks), -position.margin)

    def _health(self, position: Position, marks: Marks) -> tuple[int, int]:
        equity = position.margin + self._value(position, position.size, marks.price, marks)
        return equity, self._fraction_of_notional_up(
            position.size, marks.price, marks.terms.maintenance_fractions[position.tier]
        )

    def _is_liquidatable(self, position: Position, marks: Marks) -> bool:
        equity, requirement = self._health(position, marks)
        return equity < requirement

    # Funding

    def _accrued(self) -> Marks:
        marks = self._load_marks()
        elapsed = self.chain.timestamp - marks.accrued_at
        marks.terms = self.engine.terms(elapsed, self._book_state(marks))
        if elapsed > 0:
            for side in range(2):
                marks.funding[side] += marks.terms.funding_steps[side]
            marks.accrued_at = self.chain.timestamp
            marks.epoch += 1
        return marks

    def _settle_marks(self) -> Marks:
        marks = self._accrued()
        self._store_marks(marks)
        return marks

    def _settle_fresh_marks(self) -> Marks:
        marks = self._settle_marks()
        errors._require(not self._is_halted(), errors.HALTED)
        errors._require(self._is_priced(marks), errors.STALE_PRICE)
        return marks

    def _settle_tradable_marks(self) -> Marks:
        errors._require(not self._has_backlog(), errors.BACKLOG)
        booked = self._total_margin + self._insurance + self._fees
        errors._require(
            self.token.balanceOf[self.address] >= booked + self._credits, errors.BOOKS_BROKEN
        )
        return self._settle_fresh_marks()

    # Liquidation and deleveraging

    def _work_off(self, marks: Marks, max_visits: int, recipient: str) -> Sweep:
        sweep = self._sweep(marks, max_visits)
        self._settle_rewards(sweep, recipient)
        if self._record(marks, sweep.size) and not sweep.has_backlog:
            sweep.has_backlog = self._deleverage(marks, max_visits - sweep.visits)
        if sweep.has_backlog != self._has_backlog():
            self._backlog = not self._backlog
            self.log("BacklogChanged", sweep.has_backlog)
        return sweep

    def _record(self, marks: Marks, liquidated_size: int) -> bool:
        return self.engine.record_update(
            liquidated_size,
            fixed_point._signed_div_ceil(self._net_trader_profit(marks), self.VALUE_SCALE),
            self.pool.account(),
            sender=self.address,
        )

    def _deleverage(self, marks: Marks, max_visits: int) -> bool:
        visited, has_backlog = self.engine.choose_deleveraged(
            marks.price,
            marks.funding,
            marks.epoch,
            self._net_trader_profit(marks),
            self._book_state(marks).cash,
            max_visits,
            sender=self.address,
        )
        for visit in visited:
            position_id = visit >> 1
            position = self._load_position(position_id)
            if visit & 1 == 1:
                self._settle(position_id, position, marks, True)
            else:
                self._mark_seen(position_id, position, self._ring_of(position), marks)
        return has_backlog

    def _settle(
        self, position_id: int, position: Position, marks: Marks, is_deleveraged: bool
    ) -> None:
        close_out = self._close_out(
            position_id, position, self._value(position, position.size, marks.price, marks), 0
        )
        self.log(
            "PositionSettled",
            position_id,
            position.owner,
            position.size,
            marks.price,
            close_out.value,
            close_out.claim,
            close_out.returned,
            close_out.insurance_used,
            close_out.bad_debt,
            is_deleveraged,
        )
        self._send_to_pool(close_out.pool_gain)

    def _sweep(self, marks: Marks, max_visits: int) -> Sweep:
        sweep = Sweep()
        # What is done to one list leaves the later ones as they are: a rest only moves to a lower
        # tier.
        worst_buckets = self._worst_buckets
        list_id = 0
        for side in range(2):
            for tier in range(constants.TIERS):
                # As everywhere below, a ring plus one, or zero for none.
                cursor = worst_buckets & MASK_32
                worst_buckets >>= 32
                list_id += 1
                if cursor == 0:
                    continue
                cursor += (list_id - 1) << 24
                threshold = trigger_key._threshold(
                    side,
                    marks.price,
                    marks.terms.maintenance_fractions[tier],
                    marks.funding[side],
                )
                for _ in range(constants.MAX_VISITS + 1):
                    if cursor == 0:
                        break
                    ring = cursor - 1
                    if trigger_key._highest_key(ring & MASK_24) <= threshold:
                        break
                    if sweep.visits == max_visits:
                        sweep.has_backlog = True
                        return sweep
                    sweep.visits += 1
                    position_id = self._ring_heads[ring]
                    position = self._load_position(position_id)
                    if position.epoch == marks.epoch:
                        # Once round: every position of this ring is healthy at these marks.
                        cursor = self._next_ring(ring)
                    elif self._is_liquidatable(position, marks):
                        sweep = self._liquidate(position_id, position, marks, sweep)
                        if self._ring_heads[ring] == 0:
                            # The index has just looked for the next one, if this was the worst.
                            cursor = self._worst_ring(ring >> 24)
                            if cursor > ring:
                                cursor = self._next_ring(ring)
                    else:
                        self._mark_seen(position_id, position, ring, marks)
        return sweep

    def _mark_seen(self, position_id: int, position: Position, ring: int, marks: Marks) -> None:
        self._store_sizes(position_id, position.size, position.margin, marks.epoch)
        self._ring_heads[ring] = position.next_id

    def _liquidate(
        self, position_id: int, position: Position, marks: Marks, before: Sweep
    ) -> Sweep:
        close_out = CloseOut()
        size = position.size
        penalty = self._penalty(size, marks)
        gain = self._value(position, size, marks.price, marks)
        rest = self._partial_rest(position, gain, penalty, marks)
        if rest.size > 0:
            size -= rest.size
            close_out.value = self._value(position, size, marks.price, marks)
            close_out.penalty = self._penalty(size, marks)
            close_out.pool_gain = -close_out.value
            self._detach(position_id, position)
            self._attach(position_id, rest)
        else:
            close_out = self._close_out(position_id, position, gain, penalty)
        reward = fixed_point._mul_div_down(
            close_out.penalty, marks.terms.keeper_share, constants.WAD
        )
        self._add_to_ledgers(close_out.penalty - reward, 0)
        self.log(
            "PositionLiquidated",
            position_id,
            position.owner,
            size,
            marks.price,
            close_out.value,
            close_out.penalty,
            reward,
            close_out.returned,
            close_out.insurance_used,
            close_out.bad_debt,
        )
        sweep = replace(before)
        sweep.liquidated += 1
        sweep.size += size
        sweep.reward += reward
        sweep.pool_gain += close_out.pool_gain
        return sweep

    def _close_out(
        self, position_id: int, position: Position, gain: int, full_penalty: int
    ) -> CloseOut:
        close_out = CloseOut()
        close_out.value = gain
        self._detach(position_id, position)
        self._erase(position_id)
        close_out.claim = self._take_profit(position.owner, close_out.value)
        equity = position.margin + close_out.value - close_out.claim
        if equity < 0:
            shortfall = -equity
            close_out.insurance_used = self.engine.cover_shortfall(
                shortfall, self._insurance, sender=self.address
            )
            close_out.bad_debt = shortfall - close_out.insurance_used
            self._insurance -= close_out.insurance_used
            self.bad_debt += close_out.bad_debt
        else:
            close_out.penalty = min(full_penalty, equity)
            close_out.returned = equity - close_out.penalty
            self._add_credit(position.owner, close_out.returned)
        if close_out.value < 0:
            close_out.pool_gain = -close_out.value - close_out.bad_debt
        return close_out

    def _penalty(self, size: int, marks: Marks) -> int:
        return self._fraction_of_notional_up(size, marks.price, marks.terms.liquidation_penalty)

    def _partial_rest(
        self, position: Position, gain: int, full_penalty: int, marks: Marks
    ) -> Position:
        rest = position.copy()
        rest.size = 0
        equity = position.margin + gain
        if equity <= full_penalty:
            return rest
        size, tier = self.engine.partial_terms(position.tier, equity, full_penalty, marks.price)
        if size == 0 or size >= position.size:
            return rest
        closed = position.size - size
        value = self._value(position, closed, marks.price, marks)
        margin = position.margin + value - self._penalty(closed, marks)
        # A profit would have to be paid by the pool first; that is left to the full liquidation.
        if value > 0 or margin <= 0:
            return rest
        rest.margin = margin
        rest.tier = tier
        rest.size = size
        if self._is_liquidatable(rest, marks):
            rest.size = 0
        return rest

    def _settle_rewards(self, sweep: Sweep, recipient: str) -> None:
        self._add_credit(recipient, sweep.reward)
        self._send_to_pool(sweep.pool_gain)

    # Cash between traders, pool and ledgers

    def _balance(self, position: Position, gain: int, claim: int) -> int:
        return fixed_point._to_uint(position.margin + gain - claim)

    def _take_profit(self, owner: str, gain: int) -> int:
        if gain <= 0:
            return 0
        profit = gain
        return profit - self.pool.pay_profit(owner, profit, sender=self.address)

    def _pay_loss_to_pool(self, gain: int) -> None:
        if gain < 0:
            self._send_to_pool(-gain)

    def _send_to_pool(self, amount: int) -> None:
        if amount > 0:
            token_transfer._push(self.token, self.pool.address, amount, self.address)
            self.pool.collect_loss(amount, sender=self.address)

    def _add_credit(self, owner: str, amount: int) -> None:
        if amount > 0:
            self.credit_of[owner] += amount
            self._credits += amount

    def _add_to_ledgers(self, insurance: int, fees: int) -> None:
        self._insurance += insurance
        self._fees += fees

    # The book of positions

    def _new_position_id(self) -> int:
        self._position_count += 1
        return self._position_count

    def _has_backlog(self) -> bool:
        return self._backlog

    def _is_halted(self) -> bool:
        return self._halted

    def _totals(self) -> Totals:
        return Totals(
            long_size=self._side_size(constants.LONG),
            short_size=self._side_size(constants.SHORT),
            has_backlog=self._has_backlog(),
            is_halted=self._is_halted(),
            entry_value=self._entry_value,
            positions=self._position_count,
            open_positions=self._open_positions,
            margin=self._total_margin,
            insurance=self._insurance,
            fees=self._fees,
            credits=self._credits,
            bad_debt=self.bad_debt,
        )

    def _load_own_position(self, position_id: int, sender: str) -> Position:
        position = self._load_position(position_id)
        errors._require(position.owner == sender, errors.NOT_OWNER)
        return position

    def _attach(self, position_id: int, position: Position) -> None:
        side = position.side
        self._total_sizes[side] += position.size
        self._total_margin += position.margin
        self._entry_value += margin_math._marked_value(
            position.side, position.size, position.entry_price, position.entry_funding
        )
        self._open_positions += 1
        stored = position.copy()
        stored.epoch = 0
        self._positions[position_id] = stored
        ring = self._ring_of(position)
        head_id = self._ring_heads[ring]
        if head_id == 0:
            self._insert_ring(ring)
            self._link(position_id, position_id)
        else:
            self._link(self._stored(head_id).previous_id, position_id)
            self._link(position_id, head_id)
        self._ring_heads[ring] = position_id

    def _detach(self, position_id: int, position: Position) -> None:
        side = position.side
        self._total_sizes[side] -= position.size
        self._total_margin -= position.margin
        self._entry_value -= margin_math._marked_value(
            position.side, position.size, position.entry_price, position.entry_funding
        )
        self._open_positions -= 1
        ring = self._ring_of(position)
        if position.next_id == position_id:
            self._ring_heads[ring] = 0
            self._remove_ring(ring)
        else:
            self._link(position.previous_id, position.next_id)
            if self._ring_heads[ring] == position_id:
                self._ring_heads[ring] = position.next_id

    def _erase(self, position_id: int) -> None:
        self._positions[position_id] = None

    def _ring_of(self, position: Position) -> int:
        key = trigger_key._trigger_key(
            position.side,
            position.size,
            position.margin,
            position.entry_price,
            position.entry_funding,
            self.VALUE_SCALE,
        )
        list_id = position.side * constants.TIERS + position.tier
        return (list_id << 24) | trigger_key._bucket_of(key)

    # Stored records: what the contract packs into words

    def _load_marks(self) -> Marks:
        return self._marks.copy()

    def _store_marks(self, marks: Marks) -> None:
        # No copy: nobody changes marks once they are stored.
        self._marks = marks

    def _load_position(self, position_id: int) -> Position:
        stored = self._positions[position_id]
        if stored is None:
            errors._require(0 < position_id <= self._position_count, errors.NO_POSITION)
            errors._require(False, errors.POSITION_CLOSED)
            raise AssertionError
        return stored.copy()

    def _store_sizes(self, position_id: int, size: int, margin: int, epoch: int) -> None:
        stored = self._stored(position_id).copy()
        stored.size, stored.margin, stored.epoch = size, margin, epoch
        self._positions[position_id] = stored

    def _link(self, previous_id: int, next_id: int) -> None:
        previous = self._stored(previous_id).copy()
        previous.next_id = next_id
        self._positions[previous_id] = previous
        following = self._stored(next_id).copy()
        following.previous_id = previous_id
        self._positions[next_id] = following

    def _stored(self, position_id: int) -> Position:
        stored = self._positions[position_id]
        assert stored is not None
        return stored

"""Mirror of contracts/PerpMarket.vy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from python_model.evm import Chain, Contract, Storage, external
from python_model.modules import (
    constants,
    errors,
    fixed_point,
    funding_index,
    margin_math,
    token_transfer,
    trigger_key,
)
from python_model.modules.trigger_index import TriggerIndex

if TYPE_CHECKING:
    from python_model.liquidity_pool import LiquidityPool
    from python_model.market_factory import MarketFactory
    from python_model.price_feed import PriceFeed

MASK_24 = 2**24 - 1
MASK_32 = 2**32 - 1


class Tier(NamedTuple):
    """Sizes up to `max_size` (WAD) need these fractions (WAD) of notional as margin."""

    max_size: int
    initial_fraction: int
    maintenance_fraction: int


class MarketParams(NamedTuple):
    """Sizes, fractions and rates per second in WAD, age in seconds."""

    min_size: int
    max_open_interest: int
    max_skew: int
    skew_scale: int
    max_funding_rate: int
    max_utilisation_rate: int
    maker_fee: int
    taker_fee: int
    liquidation_penalty: int
    keeper_share: int
    reserve_fraction: int
    max_price_age: int
    tiers: tuple[Tier, Tier, Tier, Tier]


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


class PoolTerms(NamedTuple):
    """What the pool needs to price its shares, token units."""

    is_fresh: bool
    has_backlog: bool
    profit_up: int
    profit_down: int
    reserved: int
    claims: int


class Solvency(NamedTuple):
    """What market and pool own and owe, token units."""

    pool_cash: int
    margin: int
    insurance: int
    fees: int
    credits: int
    claims: int
    bad_debt: int
    net_trader_profit: int
    open_positions: int


@dataclass(slots=True)
class Marks:
    """Price, funding indices (long, short) and their epoch as of a moment."""

    price: int
    price_time: int
    accrued_at: int
    epoch: int
    funding: list[int]

    def copy(self) -> "Marks":
        """Other marks with the same fields."""
        return Marks(self.price, self.price_time, self.accrued_at, self.epoch, self.funding.copy())


@dataclass(slots=True)
class Sweep:
    """What a run over the liquidation index has done so far."""

    visits: int = 0
    liquidated: int = 0
    reward: int = 0
    pool_gain: int = 0
    has_backlog: bool = False


class PerpMarket(Contract, TriggerIndex):
    """Perpetual positions on one underlying, each owning its margin alone."""

    version = "0.1.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        token: token_transfer.Token,
        pool: "LiquidityPool",
        feed: "PriceFeed",
        factory: "MarketFactory",
        params: MarketParams,
    ) -> None:
        Contract.__init__(self, chain, address)
        TriggerIndex.__init__(self, chain)
        self.token = token
        self.pool = pool
        self.feed = feed
        self.factory = factory
        self.PARAMS = params
        decimals = token.decimals
        self.NOTIONAL_SCALE: int = 10 ** (36 - decimals)
        self.VALUE_SCALE: int = 10 ** (45 - decimals)
        self._marks = Marks(
            price=0, price_time=0, accrued_at=chain.timestamp, epoch=0, funding=[0, 0]
        )
        self._positions: Storage[int, Position | None] = Storage(chain, None)
        self._total_sizes: Storage[int, int] = Storage(chain, 0)
        self._total_margin = 0
        self._entry_costs: Storage[int, int] = Storage(chain, 0)
        self._entry_fundings: Storage[int, int] = Storage(chain, 0)
        self._ring_heads: Storage[int, int] = Storage(chain, 0)
        self._position_count = 0
        self._open_positions = 0
        self._backlog = False
        self._insurance = 0
        self._fees = 0
        self._credits = 0
        self._claims = 0
        self.bad_debt = 0
        self.credit_of: Storage[str, int] = Storage(chain, 0)
        self.claim_of: Storage[str, int] = Storage(chain, 0)
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
        errors._require(
            not self._is_too_small(position.size - size, marks.price), errors.SIZE_TOO_SMALL
        )
        fill_price, value, fee = self._check_exit(position, size, acceptable_price, marks)
        self._detach(position_id, position)
        balance, claim = self._realise(position, value)
        position.margin = self._change_margin(balance, 0, fee)
        position.size -= size
        position.tier = self._tier_of(position.size)
        errors._require(not self._is_liquidatable(position, marks), errors.INSUFFICIENT_MARGIN)
        self._attach(position_id, position)
        self._add_to_ledgers(0, fee)
        self.log("PositionReduced", position_id, sender, size, fill_price, value, fee, claim)
        self._pay_loss_to_pool(value)
        self._exit()

    @external
    def close(self, position_id: int, acceptable_price: int, *, sender: str) -> int:
        self._enter()
        position = self._load_own_position(position_id, sender)
        marks = self._settle_fresh_marks()
        fill_price, value, fee = self._check_exit(position, position.size, acceptable_price, marks)
        self._detach(position_id, position)
        self._erase(position_id)
        balance, claim = self._realise(position, value)
        fee = min(fee, balance)
        payout = balance - fee
        self._add_to_ledgers(0, fee)
        self.log(
            "PositionClosed",
            position_id,
            sender,
            position.size,
            fill_price,
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
        self._detach(position_id, position)
        position.margin = self._change_margin(position.margin, 0, amount)
        self._require_initial_margin(position, marks)
        self._attach(position_id, position)
        self.log("MarginRemoved", position_id, sender, amount)
        token_transfer._push(self.token, sender, amount, self.address)
        self._exit()

    # Prices and liquidation

    @external
    def update_price(self, recipient: str, *, sender: str) -> int:
        self._enter()
        price, price_time = self.feed.latest_price()
        marks = self._accrued()
        if price_time > marks.price_time:
            marks.price = price
            marks.price_time = price_time
            marks.epoch += 1
        self._store_marks(marks)
        sweep = self._sweep(marks, constants.MAX_VISITS)
        self.log(
            "PriceUpdated",
            marks.price,
            marks.price_time,
            marks.funding[constants.LONG],
            marks.funding[constants.SHORT],
            sweep.liquidated,
        )
        self._finish_sweep(sweep, recipient)
        self._exit()
        return sweep.liquidated

    @external
    def continue_backlog(self, max_visits: int, *, sender: str) -> int:
        self._enter()
        marks = self._settle_marks()
        sweep = self._sweep(marks, min(max_visits, constants.MAX_VISITS))
        self._finish_sweep(sweep, sender)
        self._exit()
        return sweep.liquidated

    @external
    def liquidate(self, position_id: int, *, sender: str) -> None:
        self._enter()
        position = self._load_position(position_id)
        marks = self._settle_fresh_marks()
        errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)
        reward, pool_gain = self._liquidate(position_id, position, marks)
        self._add_credit(sender, reward)
        self._send_to_pool(pool_gain)
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
        self._settle_marks()
        claim = self.claim_of[sender]
        paid = 0
        if claim > 0:
            paid = self.pool.pay_profit(claim, sender=self.address)
            self.claim_of[sender] = claim - paid
        credit = self.credit_of[sender]
        errors._require(credit + paid > 0, errors.NOTHING_TO_WITHDRAW)
        self.credit_of[sender] = 0
        self._store_owed(self._credits - credit, self._claims - paid)
        self.log("CreditWithdrawn", sender, credit + paid)
        token_transfer._push(self.token, sender, credit + paid, self.address)
        self._exit()
        return credit + paid

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

    def params(self) -> MarketParams:
        return self.PARAMS

    def marks(self) -> Marks:
        return self._accrued()

    def position(self, position_id: int) -> Position:
        return self._load_position(position_id)

    def health(self, position_id: int) -> tuple[int, int]:
        return self._health(self._load_position(position_id), self._accrued())

    def quote(self, side: int, size: int) -> tuple[int, int]:
        return self._quote(side, size, self._accrued())

    def has_backlog(self) -> bool:
        return self._has_backlog()

    def pool_terms(self) -> PoolTerms:
        marks = self._accrued()
        profit = self._net_trader_profit(marks)
        return PoolTerms(
            is_fresh=self._is_fresh(marks),
            has_backlog=self._has_backlog(),
            profit_up=fixed_point._signed_div_ceil(profit, self.VALUE_SCALE),
            profit_down=fixed_point._signed_div_floor(profit, self.VALUE_SCALE),
            reserved=self._reserved(marks.price),
            claims=self._claims,
        )

    def solvency(self) -> Solvency:
        marks = self._accrued()
        return Solvency(
            pool_cash=self.pool.cash,
            margin=self._total_margin,
            insurance=self._insurance,
            fees=self._fees,
            credits=self._credits,
            claims=self._claims,
            bad_debt=self.bad_debt,
            net_trader_profit=fixed_point._signed_div_ceil(
                self._net_trader_profit(marks), self.VALUE_SCALE
            ),
            open_positions=self._open_positions,
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

    def _is_fresh(self, marks: Marks) -> bool:
        return marks.price_time + self.PARAMS.max_price_age >= self.chain.timestamp

    def _check_added_risk(self, position: Position, size: int, marks: Marks) -> None:
        errors._require(size > 0, errors.ZERO_SIZE)
        errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)
        errors._require(
            not self._is_too_small(position.size + size, marks.price), errors.SIZE_TOO_SMALL
        )
        side_size = self._side_size(position.side) + size
        errors._require(side_size <= self.PARAMS.max_open_interest, errors.OPEN_INTEREST_CAP)
        other_size = self._side_size(constants.SHORT - position.side)
        errors._require(side_size <= other_size + self.PARAMS.max_skew, errors.SKEW_CAP)
        reserved = self._fraction_of_notional_up(
            side_size + other_size, marks.price, self.PARAMS.reserve_fraction
        )
        errors._require(reserved + self._claims <= self.pool.cash, errors.RESERVE_EXCEEDED)

    def _check_exit(
        self, position: Position, size: int, acceptable_price: int, marks: Marks
    ) -> tuple[int, int, int]:
        errors._require(not self._is_liquidatable(position, marks), errors.LIQUIDATABLE)
        fill_price, fee = self._check_quote(
            constants.SHORT - position.side, size, acceptable_price, marks
        )
        value = self._value(position, size, fill_price, marks)
        return fill_price, max(value, -position.margin), fee

    def _check_quote(
        self, side: int, size: int, acceptable_price: int, marks: Marks
    ) -> tuple[int, int]:
        fill_price, fee = self._quote(side, size, marks)
        is_acceptable = fill_price <= acceptable_price
        if side == constants.SHORT:
            is_acceptable = fill_price >= acceptable_price
        errors._require(is_acceptable, errors.PRICE_PASSED)
        return fill_price, fee

    def _require_initial_margin(self, position: Position, marks: Marks) -> None:
        value = min(self._value(position, position.size, marks.price, marks), 0)
        requirement = self._fraction_of_notional_up(
            position.size, marks.price, self.PARAMS.tiers[position.tier].initial_fraction
        )
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
        self._check_added_risk(position, size, marks)
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
        self.log("PositionIncreased", position_id, position.owner, size, margin, fill_price, fee)
        if margin > 0:
            token_transfer._pull(self.token, sender, margin, self.address)

    # Quantities

    def _quote(self, side: int, size: int, marks: Marks) -> tuple[int, int]:
        doubled_skew = 2 * self._skew()
        rate = self.PARAMS.taker_fee
        if side == constants.LONG:
            doubled_skew += fixed_point._to_int(size)
            if doubled_skew < 0:
                rate = self.PARAMS.maker_fee
        else:
            doubled_skew -= fixed_point._to_int(size)
            if doubled_skew > 0:
                rate = self.PARAMS.maker_fee
        fill_price = margin_math._fill_price(
            side, marks.price, doubled_skew, self.PARAMS.skew_scale
        )
        return fill_price, self._fraction_of_notional_up(size, fill_price, rate)

    def _change_margin(self, margin: int, added: int, taken: int) -> int:
        errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)
        self._require_amount(margin + added - taken)
        return margin + added - taken

    def _tier_of(self, size: int) -> int:
        for tier in range(constants.TIERS):
            if size <= self.PARAMS.tiers[tier].max_size:
                return tier
        errors._require(False, errors.TIER_EXCEEDED)
        return constants.TIERS

    def _is_too_small(self, size: int, price: int) -> bool:
        return size < self.PARAMS.min_size or (
            self._fraction_of_notional_up(size, price, constants.WAD) < constants.MIN_NOTIONAL
        )

    def _side_size(self, side: int) -> int:
        return self._total_sizes[side]

    def _skew(self) -> int:
        return self._side_size(constants.LONG) - self._side_size(constants.SHORT)

    def _fraction_of_notional_up(self, size: int, price: int, fraction: int) -> int:
        return margin_math._fraction_of_notional_up(size, price, fraction, self.NOTIONAL_SCALE)

    def _reserved(self, price: int) -> int:
        return self._fraction_of_notional_up(
            self._side_size(constants.LONG) + self._side_size(constants.SHORT),
            price,
            self.PARAMS.reserve_fraction,
        )

    def _net_trader_profit(self, marks: Marks) -> int:
        profit = 0
        for side in range(2):
            profit += margin_math._side_value(
                side,
                self._side_size(side),
                self._entry_costs[side],
                self._entry_fundings[side],
                marks.price,
                marks.funding[side],
            )
        return profit

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

    def _health(self, position: Position, marks: Marks) -> tuple[int, int]:
        equity = position.margin + self._value(position, position.size, marks.price, marks)
        return equity, self._fraction_of_notional_up(
            position.size, marks.price, self.PARAMS.tiers[position.tier].maintenance_fraction
        )

    def _is_liquidatable(self, position: Position, marks: Marks) -> bool:
        equity, requirement = self._health(position, marks)
        return equity < requirement

    # Funding

    def _accrued(self) -> Marks:
        marks = self._load_marks()
        elapsed = self.chain.timestamp - marks.accrued_at
        if elapsed > 0:
            funding_rate = funding_index._funding_rate(
                self._skew(), self.PARAMS.skew_scale, self.PARAMS.max_funding_rate
            )
            utilisation_rate = funding_index._utilisation_rate(
                self._reserved(marks.price), self.pool.cash, self.PARAMS.max_utilisation_rate
            )
            for side in range(2):
                marks.funding[side] += funding_index._index_step(
                    side, funding_rate, utilisation_rate, marks.price, elapsed
                )
            marks.accrued_at = self.chain.timestamp
            marks.epoch += 1
        return marks

    def _settle_marks(self) -> Marks:
        marks = self._accrued()
        self._store_marks(marks)
        return marks

    def _settle_fresh_marks(self) -> Marks:
        marks = self._settle_marks()
        errors._require(self._is_fresh(marks), errors.STALE_PRICE)
        return marks

    def _settle_tradable_marks(self) -> Marks:
        errors._require(not self._has_backlog(), errors.BACKLOG)
        return self._settle_fresh_marks()

    # Liquidation

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
                    self.PARAMS.tiers[tier].maintenance_fraction,
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
                        reward, pool_gain = self._liquidate(position_id, position, marks)
                        sweep.liquidated += 1
                        sweep.reward += reward
                        sweep.pool_gain += pool_gain
                        if self._ring_heads[ring] == 0:
                            # The index has just looked for the next one, if this was the worst.
                            cursor = self._worst_ring(ring >> 24)
                            if cursor > ring:
                                cursor = self._next_ring(ring)
                    else:
                        # Healthy: mark it seen and move it to the end of its ring.
                        self._store_sizes(position_id, position.size, position.margin, marks.epoch)
                        self._ring_heads[ring] = position.next_id
        return sweep

    def _liquidate(self, position_id: int, position: Position, marks: Marks) -> tuple[int, int]:
        value = self._value(position, position.size, marks.price, marks)
        equity = position.margin + value
        size = position.size
        penalty = self._penalty(size, marks.price)
        rest = self._partial_rest(position, equity, penalty, marks)
        self._detach(position_id, position)
        claim = 0
        returned = 0
        insurance_used = 0
        bad_debt = 0
        if rest.size > 0:
            size -= rest.size
            value = self._value(position, size, marks.price, marks)
            penalty = self._penalty(size, marks.price)
            self._attach(position_id, rest)
        else:
            claim = self._take_profit(position.owner, value)
            equity -= claim
            self._erase(position_id)
            if equity < 0:
                penalty = 0
                shortfall = -equity
                insurance_used = min(self._insurance, shortfall)
                bad_debt = shortfall - insurance_used
                self._insurance -= insurance_used
                self.bad_debt += bad_debt
            else:
                penalty = min(penalty, equity)
                returned = equity - penalty
                self._add_credit(position.owner, returned)
        reward = fixed_point._mul_div_down(penalty, self.PARAMS.keeper_share, constants.WAD)
        self._add_to_ledgers(penalty - reward, 0)
        self.log(
            "PositionLiquidated",
            position_id,
            position.owner,
            size,
            marks.price,
            value,
            penalty,
            reward,
            returned,
            insurance_used,
            bad_debt,
        )
        pool_gain = 0
        if value < 0:
            pool_gain = -value - bad_debt
        return reward, pool_gain

    def _penalty(self, size: int, price: int) -> int:
        return self._fraction_of_notional_up(size, price, self.PARAMS.liquidation_penalty)

    def _partial_rest(
        self, position: Position, equity: int, full_penalty: int, marks: Marks
    ) -> Position:
        rest = position.copy()
        rest.size = 0
        if equity <= 0:
            return rest
        size = margin_math._partial_size_down(
            equity,
            full_penalty,
            marks.price,
            self.PARAMS.tiers[position.tier].initial_fraction,
            self.PARAMS.liquidation_penalty,
            self.NOTIONAL_SCALE,
        )
        if self._is_too_small(size, marks.price) or size >= position.size:
            return rest
        closed = position.size - size
        value = self._value(position, closed, marks.price, marks)
        margin = position.margin + value - self._penalty(closed, marks.price)
        # A profit would have to be paid by the pool first; that is left to the full liquidation.
        if value > 0 or margin <= 0:
            return rest
        rest.margin = margin
        rest.tier = self._tier_of(size)
        rest.size = size
        if self._is_liquidatable(rest, marks):
            rest.size = 0
        return rest

    def _finish_sweep(self, sweep: Sweep, recipient: str) -> None:
        self._add_credit(recipient, sweep.reward)
        if sweep.has_backlog != self._has_backlog():
            self._backlog = not self._backlog
            self.log("BacklogChanged", sweep.has_backlog)
        self._send_to_pool(sweep.pool_gain)

    # Cash between traders, pool and ledgers

    def _realise(self, position: Position, gain: int) -> tuple[int, int]:
        claim = self._take_profit(position.owner, gain)
        balance = position.margin + gain - claim
        return fixed_point._to_uint(balance), claim

    def _take_profit(self, owner: str, gain: int) -> int:
        if gain <= 0:
            return 0
        profit = gain
        claim = profit - self.pool.pay_profit(profit, sender=self.address)
        if claim > 0:
            self.claim_of[owner] += claim
            self._store_owed(self._credits, self._claims + claim)
        return claim

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
            self._store_owed(self._credits + amount, self._claims)

    def _add_to_ledgers(self, insurance: int, fees: int) -> None:
        self._insurance += insurance
        self._fees += fees

    # The book of positions

    def _new_position_id(self) -> int:
        self._position_count += 1
        return self._position_count

    def _has_backlog(self) -> bool:
        return self._backlog

    def _load_own_position(self, position_id: int, sender: str) -> Position:
        position = self._load_position(position_id)
        errors._require(position.owner == sender, errors.NOT_OWNER)
        return position

    def _attach(self, position_id: int, position: Position) -> None:
        side = position.side
        self._total_sizes[side] += position.size
        self._total_margin += position.margin
        self._entry_costs[side] += position.size * position.entry_price
        self._entry_fundings[side] += position.size * position.entry_funding
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
        self._entry_costs[side] -= position.size * position.entry_price
        self._entry_fundings[side] -= position.size * position.entry_funding
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
        self._marks = marks.copy()

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

    def _store_owed(self, credits: int, claims: int) -> None:
        self._credits = credits
        self._claims = claims

    def _stored(self, position_id: int) -> Position:
        stored = self._positions[position_id]
        assert stored is not None
        return stored

"""Mirror of contracts/MarketLens.vy."""

from typing import NamedTuple

from python_model.evm import Chain, Contract, Revert
from python_model.liquidity_pool import Account
from python_model.modules import (
    constants,
    errors,
    fixed_point,
    index_walk,
    margin_math,
    trigger_key,
    trigger_price,
)
from python_model.perp_market import Marks, PerpMarket, Position, Totals
from python_model.risk_engine import Book, Breaker, Fill, RiskEngine

MASK_24 = 2**24 - 1
LISTS = 2 * constants.TIERS
RING_HEADS = 3

MAX_LISTED = 64
MAX_LOOKS = 256

SETTLEMENT_DELAY = 7 * 86_400


class Health(NamedTuple):
    """A position at the last price: amounts token units, prices, distance and leverage WAD."""

    value: int
    equity: int
    maintenance: int
    is_liquidatable: bool
    liquidation_price: int
    liquidation_distance: int
    effective_leverage: int


class Holding(NamedTuple):
    """A position as an action would leave it; zeros when closed."""

    tier: int = 0
    size: int = 0
    margin: int = 0
    entry_price: int = 0
    entry_funding: int = 0
    liquidation_price: int = 0


class Trade(NamedTuple):
    """What an action of the owner would do: fill price WAD, amounts token units."""

    position_id: int
    fill_price: int
    value: int
    fee: int
    claim: int
    payout: int
    holding: Holding


class Closing(NamedTuple):
    """What liquidating or settling would do: size and price WAD, amounts token units."""

    size: int = 0
    price: int = 0
    value: int = 0
    penalty: int = 0
    reward: int = 0
    claim: int = 0
    returned: int = 0
    insurance_used: int = 0
    bad_debt: int = 0
    holding: Holding = Holding()


class Status(NamedTuple):
    """What is possible now and why."""

    price: int
    price_time: int
    is_priced: bool
    is_halted: bool
    is_restricted: bool
    is_expired: bool
    has_backlog: bool
    breaker: Breaker
    is_feed_answering: bool
    feed_price: int
    feed_confidence: int
    feed_time: int
    has_newer_price: bool


class Snapshot(NamedTuple):
    """A market as of this block."""

    market: PerpMarket
    engine: RiskEngine
    notional_scale: int
    marks: Marks
    totals: Totals
    account: Account


class MarketLens(Contract):
    """Questions of traders, keepers and interfaces about any market."""

    version = "0.2.0"

    def __init__(self, chain: Chain, address: str) -> None:
        super().__init__(chain, address)

    # One position

    def liquidation_price(self, market: PerpMarket, position_id: int) -> int:
        return self._liquidation_price(market.position(position_id), self._load(market))

    def liquidation_distance(self, market: PerpMarket, position_id: int) -> int:
        position = market.position(position_id)
        return self._health(position, self._load(market)).liquidation_distance

    def effective_leverage(self, market: PerpMarket, position_id: int) -> int:
        position = market.position(position_id)
        return self._health(position, self._load(market)).effective_leverage

    def health(self, market: PerpMarket, position_id: int) -> Health:
        return self._health(market.position(position_id), self._load(market))

    # Who is next

    def next_to_liquidate(self, market: PerpMarket, count: int) -> list[int]:
        snapshot = self._load(market)
        marks = snapshot.marks
        most = min(count, MAX_LISTED)
        ids: list[int] = []
        for side in range(2):
            for tier in range(constants.TIERS):
                threshold = trigger_key._threshold(
                    side,
                    marks.price,
                    marks.terms.maintenance_fractions[tier],
                    marks.funding[side],
                )
                # As everywhere below, a ring plus one, or zero for none.
                cursor = self._worst_ring(market, side * constants.TIERS + tier)
                first_id = 0
                position_id = 0
                for _ in range(MAX_LOOKS):
                    if position_id == 0:
                        if (
                            cursor == 0
                            or trigger_key._highest_key((cursor - 1) & MASK_24) <= threshold
                        ):
                            break
                        first_id = market.index_word(RING_HEADS, cursor - 1)
                        position_id = first_id
                    if len(ids) == most:
                        return ids
                    position = market.position(position_id)
                    next_id = position.next_id
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

    def nearest_to_liquidation(self, market: PerpMarket, count: int) -> list[int]:
        snapshot = self._load(market)
        ids: list[int] = []
        rings = [0] * LISTS
        for i in range(LISTS):
            rings[i] = self._worst_ring(market, i)
        list_id = 0
        first_id = 0
        position_id = 0
        for _ in range(min(count, MAX_LISTED)):
            if position_id == 0:
                list_id = self._nearest_list(rings, snapshot.marks)
                if rings[list_id] == 0:
                    break
                first_id = market.index_word(RING_HEADS, rings[list_id] - 1)
                position_id = first_id
            ids.append(position_id)
            position_id = market.position(position_id).next_id
            if position_id == first_id:
                rings[list_id] = self._next_ring(market, rings[list_id] - 1)
                position_id = 0
        return ids

    def next_to_deleverage(self, market: PerpMarket, count: int) -> list[int]:
        snapshot = self._load(market)
        marks = snapshot.marks
        ids: list[int] = []
        rings = [0] * LISTS
        for i in range(LISTS):
            rings[i] = index_walk._ring_from(market, i << 24)
        list_id = 0
        first_id = 0
        position_id = 0
        for _ in range(MAX_LOOKS):
            if position_id == 0:
                list_id = self._farthest_list(rings, marks)
                if rings[list_id] == 0:
                    break
                first_id = market.index_word(RING_HEADS, rings[list_id] - 1)
                position_id = first_id
            if len(ids) == min(count, MAX_LISTED):
                break
            position = market.position(position_id)
            next_id = position.next_id
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

    def status(self, market: PerpMarket) -> Status:
        marks = market.marks()
        totals = market.totals()
        breaker = market.engine.breaker()
        is_answering = False
        answer = (0, 0, 0)
        try:
            answer = market.feed.latest_price()
            is_answering = True
        except Revert:
            pass
        return Status(
            price=marks.price,
            price_time=marks.price_time,
            is_priced=self._is_priced(marks, totals),
            is_halted=totals.is_halted,
            is_restricted=self.chain.timestamp < breaker.reduce_only_until,
            is_expired=self._is_expired(marks),
            has_backlog=totals.has_backlog,
            breaker=breaker,
            is_feed_answering=is_answering,
            feed_price=answer[0],
            feed_confidence=answer[1],
            feed_time=answer[2],
            has_newer_price=answer[2] > marks.price_time,
        )

    # What an action would do: the same checks in the same order, the same reasons

    def preview_open(
        self, market: PerpMarket, side: int, size: int, margin: int, acceptable_price: int
    ) -> Trade:
        snapshot = self._load(market)
        errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)
        self._require_amount(margin)
        self._require_tradable(snapshot)
        position = Position("", side, 0, 0, 0, 0, 0, 0, 0, 0)
        return self._add_size(
            snapshot.totals.positions + 1, position, size, margin, acceptable_price, snapshot
        )

    def preview_increase(
        self,
        market: PerpMarket,
        caller: str,
        position_id: int,
        size: int,
        margin: int,
        acceptable_price: int,
    ) -> Trade:
        snapshot = self._load(market)
        if margin > 0:
            self._require_amount(margin)
        position = self._load_own_position(snapshot, caller, position_id)
        self._require_tradable(snapshot)
        return self._add_size(position_id, position, size, margin, acceptable_price, snapshot)

    def preview_reduce(
        self,
        market: PerpMarket,
        caller: str,
        position_id: int,
        size: int,
        acceptable_price: int,
    ) -> Trade:
        snapshot = self._load(market)
        position = self._load_own_position(snapshot, caller, position_id)
        errors._require(size > 0, errors.ZERO_SIZE)
        errors._require(size < position.size, errors.EXCEEDS_POSITION)
        self._require_fresh(snapshot)
        fill = self._check_exit(position, size, acceptable_price, snapshot)
        value = self._exit_value(position, size, fill.price, snapshot)
        claim = self._claim(value, snapshot)
        position.margin = self._change_margin(self._balance(position, value, claim), 0, fill.fee)
        position.size -= size
        position.tier = fill.tier
        errors._require(not self._is_liquidatable(position, snapshot), errors.INSUFFICIENT_MARGIN)
        return Trade(
            position_id=position_id,
            fill_price=fill.price,
            value=value,
            fee=fill.fee,
            claim=claim,
            payout=0,
            holding=self._holding(position, snapshot),
        )

    def preview_close(
        self, market: PerpMarket, caller: str, position_id: int, acceptable_price: int
    ) -> Trade:
        snapshot = self._load(market)
        position = self._load_own_position(snapshot, caller, position_id)
        self._require_fresh(snapshot)
        fill = self._check_exit(position, position.size, acceptable_price, snapshot)
        value = self._exit_value(position, position.size, fill.price, snapshot)
        claim = self._claim(value, snapshot)
        balance = self._balance(position, value, claim)
        fee = min(fill.fee, balance)
        return Trade(
            position_id=position_id,
            fill_price=fill.price,
            value=value,
            fee=fee,
            claim=claim,
            payout=balance - fee,
            holding=Holding(),
        )

    def preview_add_margin(
        self, market: PerpMarket, caller: str, position_id: int, amount: int
    ) -> Trade:
        snapshot = self._load(market)
        position = self._load_own_position(snapshot, caller, position_id)
        self._require_amount(amount)
        position.margin = self._change_margin(position.margin, amount, 0)
        return self._change_of_margin(position_id, 0, position, snapshot)

    def preview_remove_margin(
        self, market: PerpMarket, caller: str, position_id: int, amount: int
    ) -> Trade:
        snapshot = self._load(market)
        position = self._load_own_position(snapshot, caller, position_id)
        self._require_amount(amount)
        self._require_tradable(snapshot)
        fraction = snapshot.engine.removal_terms(position.tier, self._book_state(snapshot))
        position.margin = self._change_margin(position.margin, 0, amount)
        self._require_initial_margin(position, snapshot, fraction)
        return self._change_of_margin(position_id, amount, position, snapshot)

    def preview_liquidate(self, market: PerpMarket, position_id: int) -> Closing:
        snapshot = self._load(market)
        position = market.position(position_id)
        self._require_fresh(snapshot)
        errors._require(self._is_liquidatable(position, snapshot), errors.HEALTHY)
        penalty = self._penalty(position.size, snapshot)
        rest = self._partial_rest(position, penalty, snapshot)
        if rest.size > 0:
            size = position.size - rest.size
            closing = Closing(
                size=size,
                price=snapshot.marks.price,
                value=self._value(position, size, snapshot.marks.price, snapshot),
                penalty=self._penalty(size, snapshot),
                holding=self._holding(rest, snapshot),
            )
        else:
            closing = self._close_out(position, snapshot, penalty)
        reward = fixed_point._mul_div_down(
            closing.penalty, snapshot.marks.terms.keeper_share, constants.WAD
        )
        return closing._replace(reward=reward)

    def preview_settle(self, market: PerpMarket, position_id: int) -> Closing:
        snapshot = self._load(market)
        position = market.position(position_id)
        errors._require(self._is_expired(snapshot.marks), errors.NOT_EXPIRED)
        return self._close_out(position, snapshot, 0)

    # The market as of this block

    def _load(self, market: PerpMarket) -> Snapshot:
        return Snapshot(
            market=market,
            engine=market.engine,
            notional_scale=10 ** (36 - market.token.decimals),
            marks=market.marks(),
            totals=market.totals(),
            account=market.pool.account(),
        )

    def _load_own_position(self, snapshot: Snapshot, caller: str, position_id: int) -> Position:
        position = snapshot.market.position(position_id)
        errors._require(position.owner == caller, errors.NOT_OWNER)
        return position

    def _book_state(self, snapshot: Snapshot) -> Book:
        account = snapshot.account
        return Book(
            price=snapshot.marks.price,
            long_size=snapshot.totals.long_size,
            short_size=snapshot.totals.short_size,
            cash=account.cash - min(account.cash, account.claims),
        )

    # Checks, as the market makes them

    def _require_amount(self, amount: int) -> None:
        errors._require(amount > 0, errors.ZERO_AMOUNT)
        errors._require(amount <= constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)

    def _is_priced(self, marks: Marks, totals: Totals) -> bool:
        return (
            marks.price_time + marks.terms.max_price_age >= self.chain.timestamp
            and not totals.is_halted
        )

    def _is_expired(self, marks: Marks) -> bool:
        return marks.price_time + SETTLEMENT_DELAY < self.chain.timestamp

    def _require_fresh(self, snapshot: Snapshot) -> None:
        errors._require(not snapshot.totals.is_halted, errors.HALTED)
        errors._require(self._is_priced(snapshot.marks, snapshot.totals), errors.STALE_PRICE)

    def _require_tradable(self, snapshot: Snapshot) -> None:
        totals = snapshot.totals
        errors._require(not totals.has_backlog, errors.BACKLOG)
        booked = totals.margin + totals.insurance + totals.fees
        token = snapshot.market.token
        errors._require(
            token.balanceOf[snapshot.market.address] >= booked + totals.credits,
            errors.BOOKS_BROKEN,
        )
        self._require_fresh(snapshot)

    def _check_exit(
        self, position: Position, size: int, acceptable_price: int, snapshot: Snapshot
    ) -> Fill:
        errors._require(not self._is_liquidatable(position, snapshot), errors.LIQUIDATABLE)
        fill = snapshot.engine.exit_terms(
            position.side, position.size, size, self._book_state(snapshot)
        )
        self._check_fill(constants.SHORT - position.side, fill.price, acceptable_price)
        return fill

    def _check_fill(self, side: int, fill_price: int, acceptable_price: int) -> None:
        is_acceptable = fill_price <= acceptable_price
        if side == constants.SHORT:
            is_acceptable = fill_price >= acceptable_price
        errors._require(is_acceptable, errors.PRICE_PASSED)

    def _require_initial_margin(
        self, position: Position, snapshot: Snapshot, fraction: int
    ) -> None:
        price = snapshot.marks.price
        value = min(self._value(position, position.size, price, snapshot), 0)
        requirement = margin_math._fraction_of_notional_up(
            position.size, price, fraction, snapshot.notional_scale
        )
        equity = position.margin + value
        errors._require(equity >= requirement, errors.INSUFFICIENT_MARGIN)

    def _change_margin(self, margin: int, added: int, taken: int) -> int:
        errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)
        self._require_amount(margin + added - taken)
        return margin + added - taken

    # Actions

    def _add_size(
        self,
        position_id: int,
        before: Position,
        size: int,
        margin: int,
        acceptable_price: int,
        snapshot: Snapshot,
    ) -> Trade:
        position = before.copy()
        fill = snapshot.engine.increase_terms(
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
        return Trade(
            position_id=position_id,
            fill_price=fill.price,
            value=0,
            fee=fill.fee,
            claim=0,
            payout=0,
            holding=self._holding(position, snapshot),
        )

    def _change_of_margin(
        self, position_id: int, payout: int, position: Position, snapshot: Snapshot
    ) -> Trade:
        return Trade(
            position_id=position_id,
            fill_price=0,
            value=0,
            fee=0,
            claim=0,
            payout=payout,
            holding=self._holding(position, snapshot),
        )

    def _holding(self, position: Position, snapshot: Snapshot) -> Holding:
        return Holding(
            tier=position.tier,
            size=position.size,
            margin=position.margin,
            entry_price=position.entry_price,
            entry_funding=position.entry_funding,
            liquidation_price=self._liquidation_price(position, snapshot),
        )

    def _balance(self, position: Position, gain: int, claim: int) -> int:
        return position.margin + gain - claim

    def _claim(self, gain: int, snapshot: Snapshot) -> int:
        if gain <= 0:
            return 0
        return gain - min(gain, snapshot.account.cash)

    def _close_out(self, position: Position, snapshot: Snapshot, full_penalty: int) -> Closing:
        price = snapshot.marks.price
        value = self._value(position, position.size, price, snapshot)
        claim = self._claim(value, snapshot)
        equity = position.margin + value - claim
        closing = Closing(size=position.size, price=price, value=value, claim=claim)
        if equity < 0:
            shortfall = -equity
            insurance_used = snapshot.engine.shortfall_terms(shortfall, snapshot.totals.insurance)
            return closing._replace(
                insurance_used=insurance_used, bad_debt=shortfall - insurance_used
            )
        penalty = min(full_penalty, equity)
        return closing._replace(penalty=penalty, returned=equity - penalty)

    def _penalty(self, size: int, snapshot: Snapshot) -> int:
        return margin_math._fraction_of_notional_up(
            size,
            snapshot.marks.price,
            snapshot.marks.terms.liquidation_penalty,
            snapshot.notional_scale,
        )

    def _partial_rest(self, position: Position, full_penalty: int, snapshot: Snapshot) -> Position:
        price = snapshot.marks.price
        rest = position.copy()
        rest.size = 0
        equity = position.margin + self._value(position, position.size, price, snapshot)
        if equity <= 0:
            return rest
        size, tier = snapshot.engine.partial_terms(position.tier, equity, full_penalty, price)
        if size == 0 or size >= position.size:
            return rest
        closed = position.size - size
        value = self._value(position, closed, price, snapshot)
        margin = position.margin + value - self._penalty(closed, snapshot)
        if value > 0 or margin <= 0:
            return rest
        rest.margin = margin
        rest.tier = tier
        rest.size = size
        if self._is_liquidatable(rest, snapshot):
            rest.size = 0
        return rest

    # Quantities

    def _value(self, position: Position, size: int, price: int, snapshot: Snapshot) -> int:
        return margin_math._position_value(
            position.side,
            size,
            position.entry_price,
            position.entry_funding,
            price,
            snapshot.marks.funding[position.side],
            snapshot.notional_scale * constants.FUNDING_PRECISION,
        )

    def _exit_value(self, position: Position, size: int, price: int, snapshot: Snapshot) -> int:
        return max(self._value(position, size, price, snapshot), -position.margin)

    def _maintenance(self, position: Position, snapshot: Snapshot) -> int:
        return margin_math._fraction_of_notional_up(
            position.size,
            snapshot.marks.price,
            snapshot.marks.terms.maintenance_fractions[position.tier],
            snapshot.notional_scale,
        )

    def _is_liquidatable(self, position: Position, snapshot: Snapshot) -> bool:
        equity = position.margin + self._value(
            position, position.size, snapshot.marks.price, snapshot
        )
        return equity < self._maintenance(position, snapshot)

    def _liquidation_price(self, position: Position, snapshot: Snapshot) -> int:
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

    def _health(self, position: Position, snapshot: Snapshot) -> Health:
        price = snapshot.marks.price
        value = self._value(position, position.size, price, snapshot)
        equity = position.margin + value
        maintenance = self._maintenance(position, snapshot)
        liquidation_price = self._liquidation_price(position, snapshot)
        liquidation_distance = self._distance(position.side, price, liquidation_price)
        effective_leverage = 2**256 - 1
        if equity > 0:
            effective_leverage = fixed_point._mul_div_up(
                position.size * price, constants.WAD, snapshot.notional_scale * equity
            )
        return Health(
            value=value,
            equity=equity,
            maintenance=maintenance,
            is_liquidatable=equity < maintenance,
            liquidation_price=liquidation_price,
            liquidation_distance=liquidation_distance,
            effective_leverage=effective_leverage,
        )

    def _distance(self, side: int, price: int, liquidation_price: int) -> int:
        if liquidation_price == trigger_price.NO_SHORT_PRICE:
            return 2**255 - 1
        distance = price - liquidation_price
        if side == constants.SHORT:
            distance = -distance
        return fixed_point._signed_div_floor(distance * constants.WAD, price)

    # The index

    def _side_of(self, list_id: int) -> int:
        return constants.LONG if list_id < constants.TIERS else constants.SHORT

    def _nearest_list(self, rings: list[int], marks: Marks) -> int:
        nearest = 0
        least = 2**255 - 1
        for list_id in range(LISTS):
            if rings[list_id] > 0:
                side = self._side_of(list_id)
                distance = self._distance(
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

    def _farthest_list(self, rings: list[int], marks: Marks) -> int:
        farthest = 0
        most = -(2**255)
        for list_id in range(LISTS):
            if rings[list_id] > 0:
                side = self._side_of(list_id)
                equity = margin_math._marked_value(
                    side, 1, marks.price, marks.funding[side]
                ) - trigger_key._highest_key((rings[list_id] - 1) & MASK_24)
                if equity > most:
                    most = equity
                    farthest = list_id
        return farthest

    def _worst_ring(self, market: PerpMarket, list_id: int) -> int:
        top = market.index_word(2, list_id)
        if top == 0:
            return 0
        middle_id = (list_id << 8) | (top.bit_length() - 1)
        return self._ring_in(market, middle_id, market.index_word(1, middle_id))

    def _next_ring(self, market: PerpMarket, ring: int) -> int:
        leaf_id = ring >> 8
        below = market.index_word(0, leaf_id) & self._below(ring & 255)
        if below > 0:
            return ((leaf_id << 8) | (below.bit_length() - 1)) + 1
        middle_id = ring >> 16
        below = market.index_word(1, middle_id) & self._below(leaf_id & 255)
        if below == 0:
            list_id = ring >> 24
            below = market.index_word(2, list_id) & self._below(middle_id & 255)
            if below == 0:
                return 0
            middle_id = (list_id << 8) | (below.bit_length() - 1)
            below = market.index_word(1, middle_id)
        return self._ring_in(market, middle_id, below)

    def _ring_in(self, market: PerpMarket, middle_id: int, middle: int) -> int:
        leaf_id = (middle_id << 8) | (middle.bit_length() - 1)
        leaf = market.index_word(0, leaf_id)
        return ((leaf_id << 8) | (leaf.bit_length() - 1)) + 1

    def _below(self, position: int) -> int:
        return (1 << position) - 1

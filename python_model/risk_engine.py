"""Mirror of contracts/RiskEngine.vy."""

from typing import TYPE_CHECKING, NamedTuple

from python_model.evm import Chain, Contract, external, remembered
from python_model.modules import (
    breaker_causes,
    constants,
    dynamic_margin,
    errors,
    fixed_point,
    funding_index,
    index_walk,
    margin_math,
    trigger_key,
)

if TYPE_CHECKING:
    from python_model.liquidity_pool import Account
    from python_model.perp_market import MarketParams, PerpMarket

MAX_HALT = 3_600
RAMP_PER_HOUR = 10**15
HOUR = 3_600

MAX_RESULT = 2**103 - 1
MASK_24 = 2**24 - 1
CURSOR_OFFSET = 2**127
LISTS = 8
RING_HEADS = 3
MAX_STEPS = 64

Fractions = tuple[int, int, int, int]


class RiskParams(NamedTuple):
    """Sizes, fractions and prices in WAD, times in seconds, bad debt in token units."""

    max_open_interest: int
    max_skew: int
    maker_fee: int
    taker_fee: int
    initial_fractions: Fractions
    maintenance_fractions: Fractions
    calm_volatility: int
    max_volatility_multiplier: int
    volatility_window: int
    crowding_lower: int
    crowding_upper: int
    max_confidence: int
    max_jump: int
    move_windows: tuple[int, int]
    max_moves: tuple[int, int]
    cool_down: int
    max_liquidated_size: int
    max_pool_loss: int
    max_bad_debt: int
    max_insurance_draw: int
    max_profit_share: int


class Book(NamedTuple):
    """What terms depend on besides the engine: price and sizes WAD, cash token units."""

    price: int
    long_size: int
    short_size: int
    cash: int


class Terms(NamedTuple):
    """What positions are measured by now."""

    maintenance_fractions: Fractions
    funding_steps: tuple[int, int]
    reserved: int
    liquidation_penalty: int
    keeper_share: int
    max_price_age: int


class Fill(NamedTuple):
    """A trade: tier of the position after it, fill price, fee, initial fraction of an increase."""

    tier: int
    price: int
    fee: int
    initial_fraction: int


class Breaker(NamedTuple):
    """What is restricted until when, and the price held, zeros if none."""

    reduce_only_until: int
    halted_since: int
    pending_price: int
    pending_time: int
    volatility: int
    confidence: int


class PriceWindow(NamedTuple):
    """Prices at the start of the window before and of this one, and when this one started."""

    previous_price: int
    current_price: int
    start: int


class RiskEngine(Contract):
    """What one market may do at what margin."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        configurator: str,
        decimals: int,
        params: "MarketParams",
        risk: RiskParams,
        deployer: "PerpMarket",
    ) -> None:
        super().__init__(chain, address)
        self.market = deployer.address
        self.source = deployer
        self.configurator = configurator
        self.PARAMS = params
        self.NOTIONAL_SCALE: int = 10 ** (36 - decimals)
        self.VALUE_SCALE: int = 10 ** (45 - decimals)
        self._variance = 0
        self._reduce_only_until = 0
        self._confidence = 0
        self._is_halted = False
        self._pending_price = 0
        self._pending_time = 0
        self._seen_at = 0
        self._halted_since = 0
        self._price_windows = (PriceWindow(0, 0, 0), PriceWindow(0, 0, 0))
        self._liquidated_size = 0
        self._liquidation_start = 0
        self._drawn = 0
        self._bad_debt = 0
        self._deficit_start = 0
        self._cursor_equity = -CURSOR_OFFSET
        self._cursor_epoch = 0
        self._store_params(risk, risk.maintenance_fractions)
        self._store_results(0, 0, chain.timestamp)

    # The market

    @external
    def observe_price(
        self,
        price: int,
        confidence: int,
        price_time: int,
        last_price: int,
        last_time: int,
        *,
        sender: str,
    ) -> bool:
        errors._require(sender == self.market, errors.NOT_MARKET)
        if self._is_halted and price_time <= self._pending_time:
            return False
        confidence_ratio = fixed_point._mul_div_up(confidence, constants.WAD, price)
        errors._require(confidence_ratio <= self._params.max_confidence, errors.CONFIDENCE_TOO_WIDE)
        variance = self._variance
        reduce_only_until = self._reduce_only_until
        if last_price == 0:
            for i in range(2):
                self._store_price_window(i, price, price, price_time)
        else:
            change = dynamic_margin._change(price, last_price)
            max_jump = self._params.max_jump
            if self._is_halted:
                if not self._is_confirmed(price, change, max_jump):
                    self._hold(price, price_time, self._halted_since)
                    return False
                self._pending_price = self._pending_time = 0
                self._seen_at = self._halted_since = 0
                self.log("PriceConfirmed", price, price_time)
                reduce_only_until = self._tripped(breaker_causes.JUMP, reduce_only_until)
            elif change > max_jump:
                self._is_halted = True
                self._hold(price, price_time, self.chain.timestamp)
                return False
            variance = dynamic_margin._next_variance(
                variance,
                change,
                fixed_point._to_uint(price_time - last_time),
                self._params.volatility_window,
            )
            for i in range(2):
                window = self._price_windows[i]
                change = dynamic_margin._change(price, window.previous_price)
                if change > self._params.max_moves[i]:
                    reduce_only_until = self._tripped(
                        breaker_causes.MOVE_SHORT + i, reduce_only_until
                    )
                if price_time >= window.start + self._params.move_windows[i]:
                    self._store_price_window(i, window.current_price, price, price_time)
        self._store_state(variance, reduce_only_until, confidence_ratio)
        return True

    @external
    def record_update(
        self, liquidated_size: int, net_profit: int, account: "Account", *, sender: str
    ) -> bool:
        errors._require(sender == self.market, errors.NOT_MARKET)
        window = self._params.move_windows[1]
        if (
            liquidated_size > 0
            and self._add_liquidated(liquidated_size, window) > self._params.max_liquidated_size
        ):
            self._trip(breaker_causes.LIQUIDATED_VOLUME)
        result = max(min(account.result - net_profit, MAX_RESULT), -MAX_RESULT)
        loss = self._previous_result - result
        if loss > 0 and loss > fixed_point._mul_div_down(
            account.cash, self._params.max_pool_loss, constants.WAD
        ):
            self._trip(breaker_causes.POOL_LOSS)
        if self.chain.timestamp >= self._result_start + window:
            self._store_results(self._current_result, result, self.chain.timestamp)
        return self._is_profit_too_large(
            net_profit,
            account.cash - min(account.cash, account.claims),
            self._params.max_profit_share,
        )

    @external
    def choose_deleveraged(
        self,
        price: int,
        funding: list[int],
        epoch: int,
        net_profit: int,
        cash: int,
        max_visits: int,
        *,
        sender: str,
    ) -> tuple[list[int], bool]:
        errors._require(sender == self.market, errors.NOT_MARKET)
        source = self.source
        max_share = self._params.max_profit_share
        visited: list[int] = []
        profit = net_profit
        left = cash
        marked = [
            margin_math._marked_value(constants.LONG, 1, price, funding[0]),
            margin_math._marked_value(constants.SHORT, 1, price, funding[1]),
        ]
        rings = self._farthest_rings(source, marked, epoch)
        list_id = equity = first_id = position_id = 0
        for _ in range(MAX_STEPS):
            if position_id == 0:
                list_id, equity = self._farthest_list(rings, marked)
                if rings[list_id] == 0:
                    return visited, False
                first_id = source.index_word(RING_HEADS, rings[list_id] - 1)
                position_id = first_id
            if len(visited) == max_visits:
                break
            position = source.position(position_id)
            next_id = position.next_id
            if position.epoch == epoch:
                # Once round: those seen at these marks are last in their ring.
                next_id = first_id
            else:
                value = margin_math._marked_value(
                    position.side, position.size, price, funding[position.side]
                ) - margin_math._marked_value(
                    position.side, position.size, position.entry_price, position.entry_funding
                )
                gain = fixed_point._signed_div_floor(value, self.VALUE_SCALE)
                if gain > 0:
                    visited.append(2 * position_id + 1)
                    profit -= value
                    left -= min(left, gain)
                    if not self._is_profit_too_large(
                        fixed_point._signed_div_ceil(profit, self.VALUE_SCALE), left, max_share
                    ):
                        return visited, False
                else:
                    visited.append(2 * position_id)
            position_id = next_id
            if position_id == first_id:
                rings[list_id] = index_walk._ring_from(source, rings[list_id])
                position_id = 0
        self._cursor_equity, self._cursor_epoch = equity, epoch
        return visited, True

    @external
    def cover_shortfall(self, shortfall: int, reserve: int, *, sender: str) -> int:
        errors._require(sender == self.market, errors.NOT_MARKET)
        drawn, bad_debt, start = self._present_deficits()
        used = self._cover(shortfall, reserve, drawn)
        bad_debt = min(bad_debt + (shortfall - used), constants.MAX_MARGIN)
        # The sum drawn fits its word: see `_cover`.
        self._drawn, self._bad_debt, self._deficit_start = drawn + used, bad_debt, start
        if bad_debt > self._params.max_bad_debt:
            self._trip(breaker_causes.BAD_DEBT)
        return used

    # The configurator

    @external
    def set_params(self, params: RiskParams, *, sender: str) -> None:
        errors._require(sender == self.configurator, errors.NOT_CONFIGURATOR)
        present = self._present_maintenance()
        for tier in range(constants.TIERS):
            errors._require(params.initial_fractions[tier] > present[tier], errors.BAD_TIERS)
        ramp_end = self._store_params(params, present)
        self.log("ParamsSet", ramp_end)

    @external
    def restrict(self, until: int, *, sender: str) -> None:
        errors._require(sender == self.configurator, errors.NOT_CONFIGURATOR)
        reduce_only_until = max(self._reduce_only_until, until)
        self._reduce_only_until = reduce_only_until
        self.log("Restricted", reduce_only_until)

    # Views

    @remembered("_params", "_old_maintenance", "_ramp_start", "_ramp_duration")
    def terms(self, elapsed: int, book: Book) -> Terms:
        params = self.PARAMS
        reserved = self._reserved(book)
        funding_rate = funding_index._funding_rate(
            book.long_size - book.short_size, params.skew_scale, params.max_funding_rate
        )
        utilisation_rate = funding_index._utilisation_rate(
            reserved, book.cash, params.max_utilisation_rate
        )
        return Terms(
            self._present_maintenance(),
            (
                funding_index._index_step(
                    constants.LONG, funding_rate, utilisation_rate, book.price, elapsed
                ),
                funding_index._index_step(
                    constants.SHORT, funding_rate, utilisation_rate, book.price, elapsed
                ),
            ),
            reserved,
            params.liquidation_penalty,
            params.keeper_share,
            params.max_price_age,
        )

    def increase_terms(self, side: int, position_size: int, size: int, book: Book) -> Fill:
        errors._require(size > 0, errors.ZERO_SIZE)
        errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)
        self._require_unrestricted()
        errors._require(
            not self._is_too_small(position_size + size, book.price), errors.SIZE_TOO_SMALL
        )
        tier = self._tier_of(position_size + size)
        side_size = book.long_size + size
        other_size = book.short_size
        if side == constants.LONG:
            after = Book(book.price, side_size, other_size, book.cash)
        else:
            side_size = book.short_size + size
            other_size = book.long_size
            after = Book(book.price, other_size, side_size, book.cash)
        errors._require(side_size <= self._params.max_open_interest, errors.OPEN_INTEREST_CAP)
        errors._require(side_size <= other_size + self._params.max_skew, errors.SKEW_CAP)
        reserved = self._reserved(after)
        errors._require(reserved <= book.cash, errors.RESERVE_EXCEEDED)
        fill = self._fill(side, size, book)
        return Fill(tier, fill.price, fill.fee, self._initial_fraction(tier, reserved, book.cash))

    def exit_terms(self, side: int, position_size: int, size: int, book: Book) -> Fill:
        rest = position_size - size
        errors._require(
            rest == 0 or not self._is_too_small(rest, book.price), errors.SIZE_TOO_SMALL
        )
        fill = self._fill(constants.SHORT - side, size, book)
        return Fill(self._tier_of(rest), fill.price, fill.fee, 0)

    def removal_terms(self, tier: int, book: Book) -> int:
        self._require_unrestricted()
        return self._initial_fraction(tier, self._reserved(book), book.cash)

    def partial_terms(
        self, tier: int, equity: int, full_penalty: int, price: int
    ) -> tuple[int, int]:
        size = margin_math._partial_size_down(
            equity,
            full_penalty,
            price,
            self._params.initial_fractions[tier],
            self.PARAMS.liquidation_penalty,
            self.NOTIONAL_SCALE,
        )
        if size > constants.MAX_SIZE or self._is_too_small(size, price):
            return 0, tier
        return size, min(tier, self._tier_or_last(size))

    def shortfall_terms(self, shortfall: int, reserve: int) -> int:
        return self._cover(shortfall, reserve, self._present_deficits()[0])

    def params(self) -> RiskParams:
        return self._params

    def breaker(self) -> Breaker:
        return Breaker(
            reduce_only_until=self._reduce_only_until,
            halted_since=self._halted_since,
            pending_price=self._pending_price,
            pending_time=self._pending_time,
            volatility=dynamic_margin._volatility(self._variance),
            confidence=self._confidence,
        )

    def market_params(self) -> "MarketParams":
        return self.PARAMS

    # Trades

    def _fill(self, side: int, size: int, book: Book) -> Fill:
        doubled_skew = 2 * (book.long_size - book.short_size)
        if side == constants.LONG:
            doubled_skew += size
            is_maker = doubled_skew < 0
        else:
            doubled_skew -= size
            is_maker = doubled_skew > 0
        price = margin_math._fill_price(side, book.price, doubled_skew, self.PARAMS.skew_scale)
        fee = self._fraction_of_notional_up(
            size, price, self._params.maker_fee if is_maker else self._params.taker_fee
        )
        return Fill(0, price, fee, 0)

    def _reserved(self, book: Book) -> int:
        return self._fraction_of_notional_up(
            book.long_size + book.short_size, book.price, self.PARAMS.reserve_fraction
        )

    def _fraction_of_notional_up(self, size: int, price: int, fraction: int) -> int:
        return margin_math._fraction_of_notional_up(size, price, fraction, self.NOTIONAL_SCALE)

    def _is_too_small(self, size: int, price: int) -> bool:
        return size < self.PARAMS.min_size or (
            self._fraction_of_notional_up(size, price, constants.WAD) < constants.MIN_NOTIONAL
        )

    def _tier_of(self, size: int) -> int:
        tier = self._tier_or_last(size)
        errors._require(size <= self.PARAMS.tier_sizes[tier], errors.TIER_EXCEEDED)
        return tier

    def _tier_or_last(self, size: int) -> int:
        for tier in range(constants.TIERS):
            if size <= self.PARAMS.tier_sizes[tier]:
                return tier
        return constants.TIERS - 1

    # Deleveraging

    def _is_profit_too_large(self, net_profit: int, cash: int, max_share: int) -> bool:
        return net_profit > fixed_point._mul_div_down(cash, max_share, constants.WAD)

    def _farthest_rings(self, source: "PerpMarket", marked: list[int], epoch: int) -> list[int]:
        rings = []
        for list_id in range(LISTS):
            bucket = 0
            if self._cursor_epoch == epoch:
                bucket = trigger_key._bucket_of(
                    marked[self._side_of(list_id)] - self._cursor_equity
                )
            rings.append(index_walk._ring_from(source, (list_id << 24) | bucket))
        return rings

    def _farthest_list(self, rings: list[int], marked: list[int]) -> tuple[int, int]:
        farthest = 0
        most = -(2**255)
        for list_id in range(LISTS):
            if rings[list_id] > 0:
                equity = marked[self._side_of(list_id)] - trigger_key._highest_key(
                    (rings[list_id] - 1) & MASK_24
                )
                if equity > most:
                    most = equity
                    farthest = list_id
        return farthest, most

    def _side_of(self, list_id: int) -> int:
        return constants.LONG if list_id < constants.TIERS else constants.SHORT

    # Prices

    def _is_confirmed(self, price: int, change: int, max_jump: int) -> bool:
        if self.chain.timestamp >= self._halted_since + MAX_HALT:
            return True
        if self.chain.timestamp <= self._seen_at:
            return False
        return change <= max_jump or dynamic_margin._change(price, self._pending_price) <= max_jump

    def _hold(self, price: int, price_time: int, halted_since: int) -> None:
        self._pending_price, self._pending_time = price, price_time
        self._seen_at, self._halted_since = self.chain.timestamp, halted_since
        self.log("PriceHeld", price, price_time)

    # Breakers

    def _tripped(self, cause: int, reduce_only_until: int) -> int:
        until = max(reduce_only_until, self.chain.timestamp + self._params.cool_down)
        self.log("BreakerTripped", cause, until)
        return until

    def _trip(self, cause: int) -> None:
        self._reduce_only_until = self._tripped(cause, self._reduce_only_until)

    def _add_liquidated(self, size: int, window: int) -> int:
        total = self._liquidated_size
        start = self._liquidation_start
        if self.chain.timestamp >= start + window:
            total = 0
            start = self.chain.timestamp
        total = min(total + size, constants.MAX_SIZE)
        self._liquidated_size, self._liquidation_start = total, start
        return total

    def _present_deficits(self) -> tuple[int, int, int]:
        if self.chain.timestamp >= self._deficit_start + self._params.move_windows[1]:
            return 0, 0, self.chain.timestamp
        return self._drawn, self._bad_debt, self._deficit_start

    def _cover(self, shortfall: int, reserve: int, drawn: int) -> int:
        most = fixed_point._mul_div_down(
            reserve + drawn, self._params.max_insurance_draw, constants.WAD
        )
        return min(min(shortfall, reserve), max(min(most, constants.MAX_MARGIN), drawn) - drawn)

    def _require_unrestricted(self) -> None:
        errors._require(self.chain.timestamp >= self._reduce_only_until, errors.REDUCE_ONLY)

    # Fractions

    def _initial_fraction(self, tier: int, reserved: int, cash: int) -> int:
        return dynamic_margin._initial_fraction(
            self._params.initial_fractions[tier],
            dynamic_margin._volatility_multiplier(
                self._variance,
                self._params.calm_volatility,
                self._params.max_volatility_multiplier,
            ),
            self._confidence,
            dynamic_margin._utilisation(reserved, cash),
            self._params.crowding_lower,
            self._params.crowding_upper,
        )

    def _present_maintenance(self) -> Fractions:
        elapsed = self.chain.timestamp - self._ramp_start
        duration = self._ramp_duration
        present = self._params.maintenance_fractions
        if elapsed < duration:
            first, second, third, fourth = (
                dynamic_margin._ramped(old_fraction, new_fraction, elapsed, duration)
                for old_fraction, new_fraction in zip(self._old_maintenance, present, strict=True)
            )
            present = (first, second, third, fourth)
        return present

    # Packed words

    def _store_params(self, params: RiskParams, present: Fractions) -> int:
        most = 0
        for tier in range(constants.TIERS):
            old_fraction = present[tier]
            new_fraction = params.maintenance_fractions[tier]
            most = max(most, max(old_fraction, new_fraction) - min(old_fraction, new_fraction))
        duration = fixed_point._mul_div_up(most, HOUR, RAMP_PER_HOUR)
        ramp_end = self.chain.timestamp + duration
        self._old_maintenance = present
        self._ramp_start, self._ramp_duration = self.chain.timestamp, duration
        self._params = params
        return ramp_end

    def _store_state(self, variance: int, reduce_only_until: int, confidence: int) -> None:
        self._variance = variance
        self._reduce_only_until = reduce_only_until
        self._confidence = confidence
        self._is_halted = False

    def _store_price_window(self, i: int, previous: int, current: int, start: int) -> None:
        windows = list(self._price_windows)
        windows[i] = PriceWindow(previous, current, start)
        self._price_windows = (windows[0], windows[1])

    def _store_results(self, previous: int, current: int, start: int) -> None:
        self._previous_result = previous
        self._current_result = current
        self._result_start = start

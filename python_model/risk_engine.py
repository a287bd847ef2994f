"""Mirror of contracts/RiskEngine.vy."""

from typing import NamedTuple

from python_model.evm import Chain, Contract, external
from python_model.modules import breaker_causes, constants, dynamic_margin, errors, fixed_point

MAX_HALT = 3_600
RAMP_PER_HOUR = 10**15
HOUR = 3_600

MAX_RESULT = 2**103 - 1

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


class Terms(NamedTuple):
    """Fractions of the four tiers and fee rates, WAD."""

    maintenance_fractions: Fractions
    initial_fractions: Fractions
    maker_fee: int
    taker_fee: int


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
        self, chain: Chain, address: str, configurator: str, params: RiskParams, deployer: str
    ) -> None:
        super().__init__(chain, address)
        self.market = deployer
        self.configurator = configurator
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
        self._store_params(params, params.maintenance_fractions)
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
        errors._require(
            confidence_ratio <= self._params.max_confidence, errors.CONFIDENCE_TOO_WIDE
        )
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
        self, liquidated_size: int, pool_result: int, cash: int, *, sender: str
    ) -> int:
        errors._require(sender == self.market, errors.NOT_MARKET)
        window = self._params.move_windows[1]
        if (
            liquidated_size > 0
            and self._add_liquidated(liquidated_size, window) > self._params.max_liquidated_size
        ):
            self._trip(breaker_causes.LIQUIDATED_VOLUME)
        result = max(min(pool_result, MAX_RESULT), -MAX_RESULT)
        loss = self._previous_result - result
        if loss > 0 and loss > fixed_point._mul_div_down(
            cash, self._params.max_pool_loss, constants.WAD
        ):
            self._trip(breaker_causes.POOL_LOSS)
        if self.chain.timestamp >= self._result_start + window:
            self._store_results(self._current_result, result, self.chain.timestamp)
        return self._params.max_profit_share

    @external
    def cover_shortfall(self, shortfall: int, reserve: int, *, sender: str) -> int:
        errors._require(sender == self.market, errors.NOT_MARKET)
        drawn = self._drawn
        bad_debt = self._bad_debt
        start = self._deficit_start
        if self.chain.timestamp >= start + self._params.move_windows[1]:
            drawn = 0
            bad_debt = 0
            start = self.chain.timestamp
        most = fixed_point._mul_div_down(
            reserve + drawn, self._params.max_insurance_draw, constants.WAD
        )
        # The sum drawn fits its word; a share that has fallen allows no more.
        used = min(min(shortfall, reserve), max(min(most, constants.MAX_MARGIN), drawn) - drawn)
        bad_debt = min(bad_debt + (shortfall - used), constants.MAX_MARGIN)
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
        duration = self._store_params(params, present)
        self.log("ParamsSet", self.chain.timestamp + duration)

    @external
    def restrict(self, until: int, *, sender: str) -> None:
        errors._require(sender == self.configurator, errors.NOT_CONFIGURATOR)
        reduce_only_until = max(self._reduce_only_until, until)
        self._reduce_only_until = reduce_only_until
        self.log("Restricted", reduce_only_until)

    # Views

    def terms(self) -> Terms:
        return Terms(
            maintenance_fractions=self._present_maintenance(),
            initial_fractions=self._params.initial_fractions,
            maker_fee=self._params.maker_fee,
            taker_fee=self._params.taker_fee,
        )

    def increase_terms(
        self, tier: int, side_size: int, other_size: int, reserved: int, cash: int
    ) -> int:
        self._require_unrestricted()
        max_skew = self._params.max_skew
        errors._require(side_size <= self._params.max_open_interest, errors.OPEN_INTEREST_CAP)
        errors._require(side_size - min(side_size, max_skew) <= other_size, errors.SKEW_CAP)
        errors._require(reserved <= cash, errors.RESERVE_EXCEEDED)
        return self._initial_fraction(tier, reserved, cash)

    def removal_terms(self, tier: int, reserved: int, cash: int) -> int:
        self._require_unrestricted()
        return self._initial_fraction(tier, reserved, cash)

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

    # Prices

    def _is_confirmed(self, price: int, change: int, max_jump: int) -> bool:
        if self.chain.timestamp >= self._halted_since + MAX_HALT:
            return True
        if self.chain.timestamp <= self._seen_at:
            return False
        return (
            change <= max_jump
            or dynamic_margin._change(price, self._pending_price) <= max_jump
        )

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
        self._old_maintenance = present
        self._ramp_start, self._ramp_duration = self.chain.timestamp, duration
        self._params = params
        return duration

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

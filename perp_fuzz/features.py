"""What a step of the market reached: how near to which boundary, in which state, with what events.

Guards of the model are tapped: before one decides, its distance from the boundary is worked out in
the guard's own unit (a token unit, 1e-18 of a size or fraction, a second), and noted when it is a
unit or less. A tap changes nothing, and what the generator asks the model is forgotten when the
step begins.
"""

from collections.abc import Callable
from typing import Any

from lockstep.guidance import near
from lockstep.step import Step
from perp_fuzz.actions import ACTIONS
from perp_fuzz.counts import CAUSES
from perp_fuzz.deployment import ADDRESSES, GRACE_PERIOD, HEARTBEAT, System
from python_model.configurator import MAX_RESTRICTION
from python_model.evm import MAX_UINT256, Event
from python_model.liquidity_pool import MAX_SUPPLY, Account
from python_model.modules import dynamic_margin, trigger_key
from python_model.modules.constants import (
    FUNDING_PRECISION,
    LONG,
    MAX_MARGIN,
    MAX_SIZE,
    MIN_NOTIONAL,
    SHORT,
    TIERS,
    WAD,
)
from python_model.perp_market import SETTLEMENT_DELAY, Marks, Position
from python_model.risk_engine import MAX_HALT, Book, RiskEngine
from python_model.signed_price_feed import MAX_DELAY, SignedPriceFeed
from python_model.testing.aggregator_mock import AggregatorMock

LIQUIDATION = near("liquidation, equity less maintenance")
BANKRUPTCY = near("bankruptcy, equity when closed out")
PARTIAL = near("partial liquidation, equity less penalty")
INITIAL_MARGIN = near("initial margin, equity less requirement")
TIER_EDGES = [near(f"end of tier {tier + 1}, size") for tier in range(TIERS)]
MIN_SIZE = near("minimum size")
MIN_VALUE = near("minimum notional")
CAP = near("open interest cap")
SKEW = near("skew cap")
RESERVE = near("reserve, reserved less cash")
FILL = near("acceptable price, fill less it")
PRICE_AGE = near("price age, seconds past the oldest")
REPORT_AGE = near("report age, seconds past the oldest")
REPORT_ORDER = near("report time, seconds past the last")
REPORT_FUTURE = near("report time, seconds past now")
HEARTBEATS = near("heartbeat, seconds past it")
GRACE = near("sequencer grace, seconds past it")
CONFIDENCE = near("confidence, fraction less the widest")
JUMP = near("jump, change less the largest")
MOVES = [near("short move, change less the largest"), near("long move, change less the largest")]
WINDOWS = [near("short window, seconds past its end"), near("long window, seconds past its end")]
HALT = near("halt, seconds past the longest")
RESTRICTION = near("reduce only, seconds past its end")
VOLUME = near("liquidated volume, less the largest")
POOL_LOSS = near("pool loss, less the largest")
DEBT = near("bad debt, less the largest")
DRAW = near("insurance draw, shortfall less the largest")
PROFIT = near("traders' profit, less the pool's share")
EXPIRY = near("settlement, seconds past the delay")
ETA = near("timelock, seconds past it")
PAUSE = near("guardian, seconds past the pause")
DURATION = near("guardian, duration less the longest")
WITHDRAWAL = near("withdrawal limit")
REDEMPTION = near("redemption limit")
DEPOSIT = near("deposit limit")
MINT = near("mint limit")
ALLOWANCE = near("token allowance")
BALANCE = near("token balance")
LARGEST = near("largest margin")
BUCKET = near("bucket edge, margin of a position")
SWEEP = near("bucket edge, price of a sweep")
LIMITS = {"withdraw": WITHDRAWAL, "redeem": REDEMPTION, "deposit": DEPOSIT, "mint": MINT}
PULLS = {"open": 2, "increase": 2, "add_margin": 1, "fund_insurance": 0, "deposit": 0}
STATES = ("there is a backlog", "it is halted", "it is reduce only", "there are claims")
TRIPPED = {number: f"tripped by {name}" for number, name in CAUSES.items()}
LISTS = 8  # of the liquidation index: sides and tiers


class Features:
    """Of one twin: `begin`, the model's step, `end`; `take` gives what came together.

    The taps are there only while a step runs that was aimed or made invalid: valid ones are many,
    and are near a boundary by chance alone.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.learn: Callable[[list[str]], None] = lambda reached: None  # whoever aims
        self._near: list[str] = []  # what the taps noted in this step
        self._seen: list[str] = []
        self._is_tapped = False
        self._is_minting = False
        self._limit: int | None = None  # of the pool, as the step was held to it
        self._taps = [(owner, self._taps_of(owner, names)) for owner, names in self._guards()]
        self._while = [
            {action: f"{action} while {state}" for action in ACTIONS} for state in STATES
        ]
        self._special: dict[str, Callable[[Event], None]] = {
            "PositionLiquidated": self._note_liquidated,
            "BreakerTripped": self._note_tripped,
            "PositionSettled": self._note_settled,
            "ProfitPaid": self._note_profit,
        }

    def begin(self, step: Step) -> None:
        """A step begins: whatever was tapped before was none of its doing."""
        if step.aim == "valid":
            return
        self._near.clear()
        self._limit = None
        self._is_minting = step.action == "mint"
        self._is_tapped = True
        for owner, taps in self._taps:
            owner.__dict__.update(taps)

    def end(self, step: Step, ok: bool, events: list[Event]) -> None:
        """The model has done the step."""
        seen, action = self._seen, step.action
        if self._is_tapped:
            self._end_tapped(step, ok)
        if not ok:
            return
        special = self._special
        for event in events:
            name = event.name
            if name in special:
                special[name](event)
            else:
                seen.append(name)
        market = self.system.market
        if action == "mint" and market.pool.totalSupply == MAX_SUPPLY:
            seen.append("as many shares as there may be")
        if market._backlog:
            seen.append(self._while[0][action])
        if market._halted:
            seen.append(self._while[1][action])
        if step.at < market.engine._reduce_only_until:
            seen.append(self._while[2][action])
        if market.pool.claims:
            seen.append(self._while[3][action])

    def take(self) -> list[str]:
        """What was reached since this was last asked."""
        seen, self._seen = self._seen, []
        return seen

    def _end_tapped(self, step: Step, ok: bool) -> None:
        self._is_tapped = False
        for owner, taps in self._taps:
            attributes = owner.__dict__
            for name in taps:
                del attributes[name]
        if step.action in PULLS or step.action in LIMITS:
            self._note_amounts(step, ok)
        if self._near:
            self._seen += self._near
            self.learn(self._near)

    # After a step

    def _note_liquidated(self, event: Event) -> None:
        position_id, *_, insurance_used, bad_debt = event.fields
        is_partial = self.system.market._positions[position_id] is not None
        self._seen.append("liquidated in part" if is_partial else "liquidated in full")
        if insurance_used:
            self._seen.append("liquidated, paid by insurance")
        if bad_debt:
            self._seen.append("liquidated with bad debt")

    def _note_tripped(self, event: Event) -> None:
        self._seen.append(TRIPPED[event.fields[0]])

    def _note_settled(self, event: Event) -> None:
        self._seen.append("deleveraged" if event.fields[-1] else "settled")

    def _note_profit(self, event: Event) -> None:
        self._seen.append("profit becomes a claim" if event.fields[2] else "profit paid")

    def _note_amounts(self, step: Step, ok: bool) -> None:
        """The pool's limits, allowances and balances against what was asked for."""
        action, args = step.action, step.args
        if self._limit is not None and isinstance(args[0], int):
            self._near_to(LIMITS[action], args[0] - self._limit)
        place = PULLS.get(action)
        amount = args[place] if place is not None and place < len(args) else None
        if not isinstance(amount, int) or amount == 0:
            return
        system = self.system
        owner = ADDRESSES.get(step.actor, step.actor)
        spender = system.pool if action == "deposit" else system.market
        allowed = system.token.allowance[owner, spender.address]
        taken = amount if ok else 0  # what a success has already used up
        if allowed < MAX_UINT256 // 2:
            self._near_to(ALLOWANCE, amount - allowed - taken)
        self._near_to(BALANCE, amount - system.token.balanceOf[owner] - taken)

    # Taps

    def _guards(self) -> list[tuple[Any, tuple[str, ...]]]:
        """The methods of the model in which, or just before which, a guard decides."""
        system = self.system
        feed = "publish" if isinstance(system.feed, SignedPriceFeed) else "latest_price"
        return [
            (
                system.market,
                (
                    "_health",
                    "_close_out",
                    "_partial_rest",
                    "_require_initial_margin",
                    "_check_fill",
                    "_is_priced",
                    "_is_expired",
                    "_change_margin",
                    "_attach",
                    "_sweep",
                ),
            ),
            (
                system.engine,
                (
                    "increase_terms",
                    "exit_terms",
                    "observe_price",
                    "_is_confirmed",
                    "_add_liquidated",
                    "record_update",
                    "cover_shortfall",
                    "_is_profit_too_large",
                    "_require_unrestricted",
                ),
            ),
            (system.pool, ("_withdrawal_limit", "_redemption_limit", "_deposit_limit")),
            (system.configurator, ("_require_due", "guardian_restrict")),
            (system.feed, (feed,)),
        ]

    def _taps_of(self, owner: Any, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._tap(owner, name) for name in names}

    def _tap(self, owner: Any, name: str) -> Callable[..., Any]:
        """The method, with its arguments noted before it decides; a limit by its result."""
        inner: Callable[..., Any] = getattr(owner, name)
        if name.endswith("_limit"):
            return self._limit_tap(owner, inner, name == "_deposit_limit")
        note: Callable[..., None] = getattr(self, f"_at_{name.lstrip('_')}")

        def tapped(*args: Any, **kwargs: Any) -> Any:
            note(*args, **kwargs)
            return inner(*args, **kwargs)

        return tapped

    def _limit_tap(
        self, pool: Any, inner: Callable[..., int], is_deposit: bool
    ) -> Callable[..., int]:
        """In the step itself the last limit asked for is the one that decides."""

        def limit(*args: Any) -> int:
            most = inner(*args)
            self._limit = most
            if self._is_minting and is_deposit:
                self._limit = pool._to_shares_down(most, pool._assets_up(args[0]))
            return most

        return limit

    def _near_to(self, sides: tuple[str, str, str], distance: int) -> None:
        if -2 < distance < 2:
            self._near.append(sides[distance])

    def _at_health(self, position: Position, marks: Marks) -> None:
        market = self.system.market
        fraction = marks.terms.maintenance_fractions[position.tier]
        scale = market.NOTIONAL_SCALE * WAD
        requirement = -(-position.size * marks.price * fraction // scale)
        value = market._value(position, position.size, marks.price, marks)
        self._near_to(LIQUIDATION, position.margin + value - requirement)

    def _at_close_out(self, _id: int, position: Position, gain: int, _penalty: int) -> None:
        self._near_to(BANKRUPTCY, position.margin + gain)

    def _at_partial_rest(self, position: Position, gain: int, penalty: int, _marks: Marks) -> None:
        self._near_to(PARTIAL, position.margin + gain - penalty)

    def _at_require_initial_margin(self, position: Position, marks: Marks, fraction: int) -> None:
        market = self.system.market
        value = market._value(position, position.size, marks.price, marks)
        scale = market.NOTIONAL_SCALE * WAD
        requirement = -(-position.size * marks.price * fraction // scale)
        self._near_to(INITIAL_MARGIN, position.margin + min(value, 0) - requirement)

    def _at_check_fill(self, _side: int, fill_price: int, acceptable_price: int) -> None:
        self._near_to(FILL, fill_price - acceptable_price)

    def _at_is_priced(self, marks: Marks) -> None:
        now = self.system.chain.timestamp
        self._near_to(PRICE_AGE, now - marks.price_time - marks.terms.max_price_age)

    def _at_is_expired(self, marks: Marks) -> None:
        now = self.system.chain.timestamp
        self._near_to(EXPIRY, now - marks.price_time - SETTLEMENT_DELAY)

    def _at_change_margin(self, margin: int, added: int, taken: int) -> None:
        self._near_to(LARGEST, margin + added - taken - MAX_MARGIN)

    def _at_attach(self, _id: int, position: Position) -> None:
        """Near the least margin that files a position in its bucket."""
        scale = self.system.market.VALUE_SCALE
        key = key_of(position, 0, scale)
        bucket = trigger_key._bucket_of(key)
        slack = 3 * scale // position.size + 3
        highest, before = trigger_key._highest_key(bucket), trigger_key._highest_key(bucket - 1)
        if highest - key > slack < key - before:
            return
        buckets = [trigger_key._bucket_of(key_of(position, off, scale)) for off in (-2, -1, 0, 1)]
        for off in (-1, 0, 1):
            if buckets[1 - off] != buckets[2 - off]:
                self._near.append(BUCKET[off])

    def _at_sweep(self, marks: Marks, _max_visits: int) -> None:
        """Prices at which the worst bucket of a list is just looked into."""
        rings = self.system.market._worst_buckets
        for list_id in range(LISTS):
            if rings >> 32 * list_id & 0xFFFFFFFF:
                self._near_to(SWEEP, past_bucket(rings, list_id, marks))

    def _at_increase_terms(self, side: int, position_size: int, size: int, book: Book) -> None:
        """As far as the guards before let it come."""
        engine = self.system.engine
        limits = engine._params
        if not 0 < size <= MAX_SIZE or engine.chain.timestamp < engine._reduce_only_until:
            return
        self._at_size(position_size + size, book.price)
        own, other = book.long_size + size, book.short_size
        if side == SHORT:
            own, other = book.short_size + size, book.long_size
        self._near_to(CAP, own - limits.max_open_interest)
        if own > limits.max_open_interest:
            return
        self._near_to(SKEW, own - other - limits.max_skew)
        if own - other > limits.max_skew:
            return
        self._near_to(RESERVE, reserved(engine, own + other, book.price) - book.cash)

    def _at_exit_terms(self, _side: int, position_size: int, size: int, book: Book) -> None:
        if position_size != size:
            self._at_size(position_size - size, book.price)

    def _at_size(self, size: int, price: int) -> None:
        engine = self.system.engine
        params = engine.PARAMS
        for sides, edge in zip(TIER_EDGES, params.tier_sizes, strict=True):
            if -2 < size - edge < 2:
                self._near.append(sides[size - edge])
        self._near_to(MIN_SIZE, size - params.min_size)
        self._near_to(MIN_VALUE, -(-size * price // engine.NOTIONAL_SCALE) - MIN_NOTIONAL)

    def _at_observe_price(
        self, price: int, confidence: int, price_time: int, last: int, _time: int, **_: str
    ) -> None:
        """As far as the guards before let it come."""
        engine = self.system.engine
        params = engine._params
        if engine._is_halted and price_time <= engine._pending_time:
            return
        ratio = -(-confidence * WAD // price)
        self._near_to(CONFIDENCE, ratio - params.max_confidence)
        if not last or ratio > params.max_confidence:
            return
        change = dynamic_margin._change(price, last)
        self._near_to(JUMP, change - params.max_jump)
        if engine._is_halted or change > params.max_jump:
            return
        for i, window in enumerate(engine._price_windows):
            change = dynamic_margin._change(price, window.previous_price)
            self._near_to(MOVES[i], change - params.max_moves[i])
            self._near_to(WINDOWS[i], price_time - window.start - params.move_windows[i])

    def _at_is_confirmed(self, _price: int, _change: int, _max_jump: int) -> None:
        engine = self.system.engine
        self._near_to(HALT, engine.chain.timestamp - engine._halted_since - MAX_HALT)

    def _at_add_liquidated(self, size: int, window: int) -> None:
        engine = self.system.engine
        is_over = engine.chain.timestamp >= engine._liquidation_start + window
        total = size + (0 if is_over else engine._liquidated_size)
        self._near_to(VOLUME, total - engine._params.max_liquidated_size)

    def _at_record_update(self, _size: int, net_profit: int, account: Account, **_: str) -> None:
        self._near_to(POOL_LOSS, pool_loss_less_bound(self.system.engine, net_profit, account))

    def _at_cover_shortfall(self, shortfall: int, reserve: int, **_: str) -> None:
        most = largest_draw(self.system.engine, reserve)
        self._near_to(DRAW, shortfall - most)
        if shortfall > most:
            self._near_to(DEBT, debt_less_bound(self.system.engine, shortfall - most))

    def _at_is_profit_too_large(self, net_profit: int, cash: int, max_share: int) -> None:
        self._near_to(PROFIT, net_profit - cash * max_share // WAD)

    def _at_require_unrestricted(self) -> None:
        engine = self.system.engine
        self._near_to(RESTRICTION, engine.chain.timestamp - engine._reduce_only_until)

    def _at_require_due(self, eta: int) -> None:
        if eta:
            self._near_to(ETA, self.system.chain.timestamp - eta)

    def _at_guardian_restrict(self, market: Any, duration: int, **_: str) -> None:
        configurator = self.system.configurator
        self._near_to(DURATION, duration - MAX_RESTRICTION)
        last = configurator.restricted_until[market.address]
        if last:
            self._near_to(PAUSE, configurator.chain.timestamp - last - MAX_RESTRICTION)

    def _at_publish(self, header: Any, _reports: Any, **_: str) -> None:
        feed: Any = self.system.feed
        now = feed.chain.timestamp
        self._near_to(REPORT_AGE, now - header.price_time - MAX_DELAY)
        self._near_to(REPORT_ORDER, header.price_time - feed._price_time)
        self._near_to(REPORT_FUTURE, header.price_time - now)

    def _at_latest_price(self) -> None:
        system = self.system
        now = system.chain.timestamp
        times = _round_times(system.aggregator)
        self._near_to(HEARTBEATS, now - times[1] - HEARTBEAT)
        self._near_to(REPORT_ORDER, times[1] - system.market._marks.price_time)
        self._near_to(REPORT_FUTURE, times[1] - now)
        feed: Any = system.feed
        if feed.SEQUENCER_FEED is not None:
            started = _round_times(system.sequencer)[0]
            self._near_to(GRACE, now - started - GRACE_PERIOD)


def past_bucket(rings: int, list_id: int, marks: Marks) -> int:
    """Smallest units of the price by which a list's worst bucket is looked into; 0 is just so."""
    side, tier = divmod(list_id, TIERS)
    fraction = marks.terms.maintenance_fractions[tier]
    threshold = trigger_key._threshold(side, marks.price, fraction, marks.funding[side])
    unit = FUNDING_PRECISION * (WAD - fraction if side == LONG else WAD + fraction) // WAD
    highest = trigger_key._highest_key((rings >> 32 * list_id) - 1 & 0xFFFFFF)
    return -(-(highest - threshold) // unit) - 1


def reserved(engine: RiskEngine, open_interest: int, price: int) -> int:
    """What the pool keeps for this open interest."""
    share = open_interest * price * engine.PARAMS.reserve_fraction
    return -(-share // (engine.NOTIONAL_SCALE * WAD))


def pool_loss_less_bound(engine: RiskEngine, net_profit: int, account: Account) -> int:
    """What the pool has lost since the window began, less what trips."""
    loss = engine._previous_result - account.result + net_profit
    return loss - account.cash * engine._params.max_pool_loss // WAD


def largest_draw(engine: RiskEngine, reserve: int) -> int:
    """What insurance pays of a shortfall, at most."""
    drawn, _, _ = engine._present_deficits()
    share = (reserve + drawn) * engine._params.max_insurance_draw // WAD
    return min(max(share, drawn) - drawn, reserve)


def debt_less_bound(engine: RiskEngine, added: int) -> int:
    """Bad debt of the window once `added` comes to it, less what trips."""
    _, bad_debt, _ = engine._present_deficits()
    return bad_debt + added - engine._params.max_bad_debt


def key_of(position: Position, off: int, scale: int) -> int:
    """Trigger key of a position with so much more margin."""
    return trigger_key._trigger_key(
        position.side,
        position.size,
        position.margin + off,
        position.entry_price,
        position.entry_funding,
        scale,
    )


def _round_times(aggregator: AggregatorMock) -> tuple[int, int]:
    """When the last round of an aggregator started and was updated, zeros if it has none."""
    words = aggregator.round_output
    return int.from_bytes(words[64:96], "big"), int.from_bytes(words[96:128], "big")

"""Steps that stand exactly on a boundary or a unit to either side, the rarest sides first.

Each aim is solved from the model: for the price, the amount or the second at which a guard's
distance from its boundary is the wanted one. Some need several steps and begin an episode.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lockstep.edges import find_edge, smallest_accepted
from lockstep.guidance import Rarity
from perp_fuzz import features
from perp_fuzz.deployment import (
    ADDRESSES,
    ATTACKER,
    GRACE_PERIOD,
    GUARDIANS,
    KEEPERS,
    LPS,
    ROLE_OF,
    TRADERS,
)
from python_model.configurator import MAX_RESTRICTION
from python_model.evm import MAX_UINT256
from python_model.modules import dynamic_margin, fixed_point, trigger_key
from python_model.modules.constants import LONG, MAX_PRICE, SHORT, TIERS, WAD
from python_model.perp_market import SETTLEMENT_DELAY, Marks, Position
from python_model.risk_engine import MAX_HALT

if TYPE_CHECKING:
    from perp_fuzz.generator import Drawn, Generator

Episode = Iterator[tuple["Drawn", str]]
Way = Callable[[random.Random, int], "Drawn | None"]
DAY = 86_400
TRIES = 4  # positions that an aim looks at
FILLERS = 10  # largest positions that are opened to come near a cap


class Aims:
    """Of one generator. What a step reached is credited; an aim that was tried, too."""

    def __init__(self, generator: "Generator") -> None:
        self.g = generator
        self.market = generator.market
        self.engine = generator.engine
        self.chain = generator.system.chain
        ways: list[tuple[tuple[str, str, str], Way]] = [
            (features.LIQUIDATION, self._liquidation),
            (features.PARTIAL, self._partial),
            (features.BANKRUPTCY, self._bankruptcy),
            (features.DRAW, self._draw_of_insurance),
            (features.DEBT, self._bad_debt),
            (features.POOL_LOSS, self._pool_loss),
            (features.PROFIT, self._profit),
            (features.SWEEP, self._sweep),
            (features.BUCKET, self._bucket),
            (features.JUMP, self._jump),
            (features.MOVES[0], lambda rng, off: self._move(rng, off, 0)),
            (features.MOVES[1], lambda rng, off: self._move(rng, off, 1)),
            (features.WINDOWS[0], lambda rng, off: self._window(rng, off, 0)),
            (features.WINDOWS[1], lambda rng, off: self._window(rng, off, 1)),
            (features.HALT, self._halt),
            (features.VOLUME, self._volume),
            (features.RESTRICTION, self._restriction),
            (features.EXPIRY, self._expiry),
            (features.PAUSE, self._pause),
            (features.DURATION, self._duration),
            (features.REPORT_ORDER, self._report_order),
            (features.REPORT_FUTURE, self._report_future),
            (features.CAP, self._cap),
            (features.SKEW, self._skew_cap),
            (features.RESERVE, self._reserve),
            (features.BALANCE, self._balance),
            (features.WITHDRAWAL, self._withdrawal),
            (features.REDEMPTION, self._redemption),
            *((features.TIER_EDGES[tier], self._tier(tier)) for tier in range(TIERS)),
        ]
        if generator.is_signed:
            ways.append((features.CONFIDENCE, self._confidence))
        if generator.twin.config.get("sequencer"):
            ways.append((features.GRACE, self._grace))
        self._ways = {sides[off]: (way, off) for sides, way in ways for off in (-1, 0, 1)}
        self._rarity = Rarity(dict.fromkeys(self._ways, 1.0))

    def credit(self, reached: Iterable[str]) -> None:
        """A step has reached these features."""
        self._rarity.credit(reached)

    def draw(self, rng: random.Random) -> "Drawn | None":
        """A step at a side of a boundary that was rare so far; None if that cannot be had now."""
        if self.g.at < self.engine._reduce_only_until and rng.random() < 0.7:
            return None  # what an aim needs is mostly refused
        if self.g.system.token.fee_bps:
            return (
                None  # a token that starts to keep a fee is not covered: nothing may go to the pool
            )
        name = self._rarity.draw(rng)
        self._rarity.credit((name,))
        way, off = self._ways[name]
        return way(rng, off)

    # Prices at which something of a position is exactly so much

    def _liquidation(self, rng: random.Random, off: int) -> "Drawn | None":
        def measure(position: Position, marks: Marks) -> int:
            equity, requirement = self.market._health(position, marks)
            return equity - requirement

        drawn, position_id = self._at_price(rng, measure, off)
        if drawn is not None and off >= 0:
            self.g.episode = self._then("liquidate", rng.choice(KEEPERS), (position_id,))
        return drawn

    def _partial(self, rng: random.Random, off: int) -> "Drawn | None":
        def measure(position: Position, marks: Marks) -> int:
            return self._equity(position, marks) - self.market._penalty(position.size, marks)

        return self._at_price(rng, measure, off)[0]

    def _bankruptcy(self, rng: random.Random, off: int) -> "Drawn | None":
        return self._at_price(rng, self._equity, off)[0]

    def _draw_of_insurance(self, rng: random.Random, off: int) -> "Drawn | None":
        def wanted() -> int:
            return -features.largest_draw(self.engine, self.market._insurance) - off

        return self._deep(rng, wanted)

    def _bad_debt(self, rng: random.Random, off: int) -> "Drawn | None":
        def wanted() -> int:
            most = features.largest_draw(self.engine, self.market._insurance)
            return features.debt_less_bound(self.engine, 0) - most - off

        return self._deep(rng, wanted)

    def _deep(self, rng: random.Random, wanted: Callable[[], int]) -> "Drawn | None":
        """A price that leaves so much less than nothing of a position, if need be of a new one."""
        drawn, _ = self._at_price(rng, self._equity, wanted())
        if drawn is None:
            side = self.g._side_with_room(rng)
            drawn = self._opening(rng, side, rng.choice(self.g.params.tier_sizes[:2]), 10_001)
            self.g.episode = self._deepened(rng, wanted)
        return drawn

    def _deepened(self, rng: random.Random, wanted: Callable[[], int]) -> Episode:
        if (position := self._opened()) is not None:
            price = self._price_where(
                lambda marks: self._equity(position, marks), wanted(), position.side == SHORT
            )
            if price is not None:
                yield self.g._report(price, self.g.at, rng), "edge"

    def _opened(self) -> Position | None:
        """The position that the step before has opened."""
        seen = self.g.twin.seen
        is_open = seen.ok and seen.action == "open"
        return self.market._stored(self.g.twin.live[-1]) if is_open else None

    def _equity(self, position: Position, marks: Marks) -> int:
        value = self.market._value(position, position.size, marks.price, marks)
        return position.margin + value

    def _at_price(
        self, rng: random.Random, measure: Callable[[Position, Marks], int], wanted: int
    ) -> tuple["Drawn | None", int]:
        """A report of the nearest price at which the measure of a position is the wanted, and of
        which."""
        found: list[tuple[int, int, int]] = []
        for _ in range(TRIES if self.g.twin.live else 0):
            position_id, position, _ = self.g._pick(rng)

            def measured(marks: Marks, at: Position = position) -> int:
                return measure(at, marks)

            price = self._price_where(measured, wanted, position.side == SHORT)
            if price is not None:
                found.append((abs(price - self.g.last_price), price, position_id))
        if not found:
            return None, 0
        _, price, position_id = min(found)
        return self.g._report(price, self.g.at, rng), position_id

    def _price_where(self, measure: Callable[[Marks], int], wanted: int, rises: bool) -> int | None:
        """A price no further than a jump at which a measure that falls on the way there is the
        wanted: by interpolation, as most are nearly straight, and halving for the others."""
        marks, near = self._marks().copy(), self.g.last_price
        reach = near * self.engine._params.max_jump // WAD
        far = near + reach if rises else near - reach

        def measured(price: int) -> int:
            marks.price = price
            return measure(marks)

        above, below = measured(near), measured(far)
        is_halved = False
        while above > wanted > below and abs(far - near) > 1:
            part = (above - wanted) * (far - near) // (above - below)
            price = near + (part or (1 if rises else -1))
            if is_halved or price == far:
                price = (near + far) // 2
            is_halved = not is_halved
            found = measured(price)
            if found > wanted:
                near, above = price, found
            else:
                far, below = price, found
        if below == wanted:
            return far
        return near if above == wanted else None

    def _marks(self) -> Marks:
        """As they will be when the next price arrives."""
        self.g.at = max(self.g.at, self.g.last_time + 1)
        self.chain.timestamp = self.g.at
        self.g._marks = marks = self.market._accrued()
        return marks

    # Prices at which something of the market is exactly so much

    def _pool_loss(self, rng: random.Random, off: int) -> "Drawn | None":
        account = self.g.system.pool.account()
        return self._at_profit(
            rng, off, lambda profit: features.pool_loss_less_bound(self.engine, profit, account)
        )

    def _profit(self, rng: random.Random, off: int) -> "Drawn | None":
        share = self.engine._params.max_profit_share
        most = self.market._book_state(self.g.marks).cash * share // WAD
        return self._at_profit(rng, off, lambda profit: profit - most)

    def _at_profit(
        self, rng: random.Random, off: int, distance: Callable[[int], int]
    ) -> "Drawn | None":
        """A report of a price at which the traders' profit is at this distance from a bound; if
        they cannot win that much, the larger side becomes larger."""
        price = self._profitable(off, distance)
        if price is not None:
            return self.g._report(price, self.g.at, rng)
        side = LONG if self.g._skew() > 0 else SHORT
        limits = self.engine._params
        room = min(
            limits.max_open_interest - self.market._side_size(side),
            limits.max_skew - abs(self.g._skew()),
            self.g.params.tier_sizes[-2],
        )
        self.g.episode = self._after_room(rng, off, distance)
        return self._opening(rng, side, room, 11_000)

    def _after_room(self, rng: random.Random, off: int, distance: Callable[[int], int]) -> Episode:
        if self._opened() is not None:
            price = self._profitable(off, distance)
            if price is not None:
                yield self.g._report(price, self.g.at, rng), "edge"

    def _profitable(self, off: int, distance: Callable[[int], int]) -> int | None:
        def measure(marks: Marks) -> int:
            profit = self.market._net_trader_profit(marks)
            return -distance(fixed_point._signed_div_ceil(profit, self.market.VALUE_SCALE))

        return self._price_where(measure, -off, self.g._skew() > 0)

    def _sweep(self, rng: random.Random, off: int) -> "Drawn | None":
        """The worst bucket of a list is just looked into, or just not."""
        rings = self.market._worst_buckets
        lists = [i for i in range(features.LISTS) if rings >> 32 * i & 0xFFFFFFFF]
        if not lists:
            return None
        chosen = rng.choice(lists)
        price = self._price_where(
            lambda marks: -features.past_bucket(rings, chosen, marks), -off, chosen >= TIERS
        )
        return None if price is None else self.g._report(price, self.g.at, rng)

    def _bucket(self, rng: random.Random, off: int) -> "Drawn | None":
        """Margin is added up to the least that files the position in the next bucket."""
        if not self.g.twin.live:
            return None
        position_id, position, owner = self.g._pick(rng)
        scale = self.market.VALUE_SCALE
        here = trigger_key._bucket_of(features.key_of(position, 2, scale))
        added = smallest_accepted(
            lambda more: trigger_key._bucket_of(features.key_of(position, more, scale)) < here,
            3,
            1 << 64,
        )
        return None if added is None else ("add_margin", owner, (position_id, added + off))

    # Breakers, by price and by time

    def _confidence(self, rng: random.Random, off: int) -> "Drawn | None":
        self.g.at = max(self.g.at, self.g.last_time + 1)
        price = self.g.last_price
        if price < WAD:
            return None
        confidence = (self.engine._params.max_confidence + off) * price // WAD
        return "publish", self.g._publisher(), (price, confidence, self.g.at, 0)

    def _jump(self, rng: random.Random, off: int) -> "Drawn | None":
        return self._changed(rng, self.g.last_price, self.engine._params.max_jump + off)

    def _move(self, rng: random.Random, off: int, i: int) -> "Drawn | None":
        reference = self.engine._price_windows[i].previous_price
        return self._changed(rng, reference, self.engine._params.max_moves[i] + off)

    def _changed(self, rng: random.Random, reference: int, change: int) -> "Drawn | None":
        """A price that differs by exactly this fraction from the reference, and is no jump."""
        last, most = self.g.last_price, self.engine._params.max_jump + 1
        if self.engine._is_halted or reference < WAD or last < WAD:
            return None
        move = change * reference // WAD
        prices = [reference + move, reference - move]
        rng.shuffle(prices)
        for price in prices:
            if 0 < price <= MAX_PRICE and dynamic_margin._change(price, last) <= most:
                self.g.at = max(self.g.at, self.g.last_time + 1)
                return self.g._report(price, self.g.at, rng)
        return None

    def _window(self, rng: random.Random, off: int, i: int) -> "Drawn | None":
        window = self.engine._price_windows[i]
        time = window.start + self.engine._params.move_windows[i] + off
        if time <= self.g.last_time or self.engine._is_halted:
            return None
        self.g.at = max(self.g.at, time)
        return self.g._report(self.g.last_price, time, rng)

    def _halt(self, rng: random.Random, off: int) -> "Drawn | None":
        """A price is held, and one that does not confirm it arrives when the halt is over."""
        last, most = self.g.last_price, self.engine._params.max_jump
        if self.engine._is_halted or last < WAD or self.g._keeps_fee():
            return None
        further = last * (most + WAD // 1000) // WAD
        self.g.at = max(self.g.at, self.g.last_time + 1)
        sign = rng.choice((1, -1))
        self.g.episode = self._halted(last - sign * further, off, rng)
        return self.g._report(last + sign * further, self.g.at, rng)

    def _halted(self, price: int, off: int, rng: random.Random) -> Episode:
        if not self.engine._is_halted:
            return
        self.g.at = max(self.g.at, self.engine._halted_since + MAX_HALT + off)
        yield self.g._report(price, self.g.at, rng), "edge"
        yield self.g._price_after_waiting(rng), "valid"

    def _volume(self, rng: random.Random, off: int) -> "Drawn | None":
        """A position of which the liquidation makes up the volume that trips, and its price."""
        wanted = self._volume_left() + off
        side = rng.randrange(2)
        if not self.g.params.min_size <= wanted <= self.g.params.tier_sizes[-1]:
            return None
        drawn = self._opening(rng, side, wanted, 10_001)
        if drawn is not None:
            self.g.episode = self._volume_reached(off, rng)
        return drawn

    def _volume_left(self) -> int:
        engine = self.engine
        window = engine._params.move_windows[1]
        is_over = self.g.at >= engine._liquidation_start + window
        return engine._params.max_liquidated_size - (0 if is_over else engine._liquidated_size)

    def _volume_reached(self, off: int, rng: random.Random) -> Episode:
        live, market = self.g.twin.live, self.market
        if self._opened() is None:
            return
        position_id = live[-1]
        for _ in range(3):
            position = market._positions[position_id]
            if position is None:
                return
            marks, last = self._marks(), self.g.last_price
            reach = last * self.engine._params.max_jump // WAD
            far = last - reach if position.side == LONG else last + reach

            def is_whole(price: int, p: Position = position, at: Marks = marks) -> bool:
                return self._closed(p, replace(at, price=price)) == p.size

            edge = find_edge(is_whole, *sorted((last, far)))
            if edge is None:
                return
            price = edge[0] if position.side == LONG else edge[1]
            then = replace(marks, price=price)
            total = sum(self._closed(market._stored(i), then) for i in live)
            excess = total - self._volume_left() - off
            if not excess:
                yield self.g._report(price, self.g.at, rng), "edge"
                return
            worst = 0 if position.side == LONG else MAX_UINT256
            if not 0 < excess < position.size:
                return
            yield (("reduce", ROLE_OF[position.owner], (position_id, excess, worst)), "edge")

    def _closed(self, position: Position, marks: Marks) -> int:
        """How much of a position a liquidation would close."""
        if not self.market._is_liquidatable(position, marks):
            return 0
        penalty = self.market._penalty(position.size, marks)
        gain = self.market._value(position, position.size, marks.price, marks)
        return position.size - self.market._partial_rest(position, gain, penalty, marks).size

    def _restriction(self, rng: random.Random, off: int) -> "Drawn | None":
        """A fresh price, then risk, in the second in which the restriction ends."""
        until = self.engine._reduce_only_until + off
        if not self.g.last_time < until or until < self.g.at or self.g._keeps_fee():
            return None
        self.g.at = until
        self.g.episode = self._risk_at_once(rng)
        return self.g._report(self.g.last_price, until, rng)

    def _risk_at_once(self, rng: random.Random) -> Episode:
        self.g.at = self.g.twin.now
        self.chain.timestamp = self.g.at
        self.g._marks = None
        drawn = self._opening(rng, self.g._side_with_room(rng), self.g.params.min_size, 12_000)
        if drawn is not None:
            yield drawn, "edge"

    def _expiry(self, rng: random.Random, off: int) -> "Drawn | None":
        expiry = self.market._marks.price_time + SETTLEMENT_DELAY + off
        if not self.g.twin.live or expiry < self.g.at or self.g._keeps_fee():
            return None
        self.g.at = expiry
        self.g.episode = self._afterwards(rng)
        return self.g.settle(rng)

    def _afterwards(self, rng: random.Random) -> Episode:
        yield self.g._price_after_waiting(rng), "valid"

    def _pause(self, rng: random.Random, off: int) -> "Drawn | None":
        """The guardian restricts again as soon as that is allowed."""
        last = self.g.system.configurator.restricted_until[self.market.address]
        time = last + MAX_RESTRICTION + off
        if not self.g.at <= time < self.g.at + 2 * DAY or self.g._keeps_fee():
            return None
        self.g.at = time
        self.g.episode = self._afterwards(rng)
        return self._restrict(60)

    def _duration(self, rng: random.Random, off: int) -> "Drawn | None":
        if self.g._keeps_fee():
            return None
        self.g.episode = self._a_day_later(rng)
        return self._restrict(MAX_RESTRICTION + off)

    def _a_day_later(self, rng: random.Random) -> Episode:
        if self.g.at < self.engine._reduce_only_until < self.g.at + 2 * DAY:
            self.g.at = self.engine._reduce_only_until
            yield self.g._price_after_waiting(rng), "valid"

    def _restrict(self, duration: int) -> "Drawn":
        role = ROLE_OF.get(self.g.system.configurator.guardian, GUARDIANS[0])
        return "guardian_restrict", role, (duration,)

    def _grace(self, rng: random.Random, off: int) -> "Drawn | None":
        """The sequencer comes back, and the first price after its grace."""
        since = self.g.at
        self.g.is_down = False
        self.g.episode = self._after_grace(since + GRACE_PERIOD + off, rng)
        return "set_sequencer", KEEPERS[0], (1, 0, since, since, 1)

    def _after_grace(self, time: int, rng: random.Random) -> Episode:
        self.g.at = max(time, self.g.twin.now)
        yield self.g._report(self.g.last_price, self.g.at, rng), "edge"

    def _report_order(self, rng: random.Random, off: int) -> "Drawn | None":
        time = self.g.last_time + off
        self.g.at = max(self.g.at, time)
        return self.g._report(self.g.last_price, time, rng)

    def _report_future(self, rng: random.Random, off: int) -> "Drawn | None":
        self.g.at = max(self.g.at, self.g.last_time + 2)
        return self.g._report(self.g.last_price, self.g.at + off, rng)

    # Sizes and amounts

    def _tier(self, tier: int) -> Way:
        """The last unit of a tier: by a trade that ends there, from above if there is one."""

        def way(rng: random.Random, off: int) -> "Drawn | None":
            size = self.g.params.tier_sizes[tier] + off
            for _ in range(TRIES):
                position_id, position, owner = self.g._pick(rng)
                if position.size > size:
                    worst = 0 if position.side == LONG else MAX_UINT256
                    return "reduce", owner, (position_id, position.size - size, worst)
            return self._opening(rng, self.g._side_with_room(rng), size, 11_000)

        return way

    def _opening(self, rng: random.Random, side: int, size: int, factor: int) -> "Drawn | None":
        """A position of this size with so many ten thousandths of the least margin."""
        if size < self.g.params.min_size:
            return None
        fill, fee = self.g._quote(side, size)
        loss = self.g._entry_loss(side, size, fill)
        margin = (self.g._initial(size, self.g.tier(size)) + loss) * factor // 10_000 + 2
        worst = MAX_UINT256 if side == LONG else 0
        return "open", rng.choice(TRADERS), (side, size, fee + margin, worst)

    def _cap(self, rng: random.Random, off: int) -> "Drawn | None":
        side = rng.randrange(2)

        def size() -> int:
            return self.engine._params.max_open_interest - self.market._side_size(side) + off

        return self._filled(rng, side, size)

    def _skew_cap(self, rng: random.Random, off: int) -> "Drawn | None":
        side = rng.randrange(2)

        def size() -> int:
            skew = self.g._skew() if side == LONG else -self.g._skew()
            return self.engine._params.max_skew - skew + off

        return self._filled(rng, side, size)

    def _reserve(self, rng: random.Random, off: int) -> "Drawn | None":
        side = SHORT if self.g._skew() > 0 else LONG
        engine = self.engine

        def size() -> int:
            book = self.market._book_state(self.g.marks)
            value = book.price * engine.PARAMS.reserve_fraction or 1
            whole = (book.cash + off) * engine.NOTIONAL_SCALE * WAD // value
            return whole - book.long_size - book.short_size

        return self._filled(rng, side, size)

    def _filled(self, rng: random.Random, side: int, size: Callable[[], int]) -> "Drawn | None":
        """An opening of this size; where it is too large for one, others go before."""
        most = self.g.params.tier_sizes[-1]
        wanted = size()
        if not self.g.params.min_size <= wanted <= FILLERS * most:
            return None
        if wanted <= most:
            return self._opening(rng, side, wanted, 11_000)
        self.g.episode = self._filling(rng, side, size)
        return self._filler(rng, side)

    def _filler(self, rng: random.Random, side: int) -> "Drawn | None":
        """The largest position there is room for on the side that leaves the skew low."""
        own, other = self.market._side_size(side), self.market._side_size(SHORT - side)
        if own > other:
            side, own, other = SHORT - side, other, own
        limits = self.engine._params
        room = min(limits.max_open_interest - own, other + limits.max_skew - own)
        return self._opening(rng, side, min(self.g.params.tier_sizes[-1], room), 11_000)

    def _filling(self, rng: random.Random, side: int, size: Callable[[], int]) -> Episode:
        opened = []
        for _ in range(FILLERS):
            if self._opened() is None:
                break
            opened.append(self.g.twin.live[-1])
            self.g._marks = None
            wanted = size()
            is_last = wanted <= self.g.params.tier_sizes[-1]
            drawn = self._opening(rng, side, wanted, 11_000) if is_last else self._filler(rng, side)
            if drawn is None:
                break
            yield drawn, "edge"
            if is_last:
                break
        for position_id in opened:
            if self.market._positions[position_id] is not None:
                yield self.g._exit_of(position_id), "valid"

    def _balance(self, rng: random.Random, off: int) -> "Drawn | None":
        """All that somebody has goes to the pool, and leaves it again."""
        whole = self.g.system.token.balanceOf[ADDRESSES[ATTACKER]]
        if whole + 1 > self.g.system.pool.maxDeposit(ADDRESSES[ATTACKER]) or self.g._keeps_fee():
            return None
        self.g.episode = self._taken_back()
        return "deposit", ATTACKER, (whole + off, ATTACKER)

    def _taken_back(self) -> Episode:
        shares = self.g.system.pool.maxRedeem(ADDRESSES[ATTACKER])
        if shares:
            yield ("redeem", ATTACKER, (shares, ATTACKER, ATTACKER)), "valid"

    def _withdrawal(self, rng: random.Random, off: int) -> "Drawn | None":
        lp = rng.choice(LPS)
        limit = self.g.system.pool.maxWithdraw(ADDRESSES[lp])
        return ("withdraw", lp, (limit + off, lp, lp)) if limit > 1 else None

    def _redemption(self, rng: random.Random, off: int) -> "Drawn | None":
        lp = rng.choice(LPS)
        limit = self.g.system.pool.maxRedeem(ADDRESSES[lp])
        return ("redeem", lp, (limit + off, lp, lp)) if limit > 1 else None

    def _then(self, action: str, actor: str, args: tuple[int | str, ...]) -> Episode:
        """One more step in the same second."""
        self.g.at = self.g.twin.now
        yield (action, actor, args), "edge"

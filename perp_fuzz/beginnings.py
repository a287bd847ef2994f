"""How chains begin: stories that bring a fresh market where random steps hardly ever do.

Each is computed from the model, so it fits every deployment and any price. The chains of a campaign
take them in turn, by their numbers.
"""

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lockstep.checker import LOOK_EVERY
from lockstep.edges import find_edge
from perp_fuzz.deployment import ADDRESSES, KEEPERS, LPS, PUBLISHERS, ROLE_OF, TRADERS
from perp_fuzz.feeds import SOUND
from perp_fuzz.variants import CROWDED, DEAR, EASED, ENTIRE, START
from python_model.evm import MAX_UINT256
from python_model.market_lens import MAX_LOOKS
from python_model.modules import trigger_key
from python_model.modules.constants import (
    LONG,
    MAX_PRICE,
    MAX_VISITS,
    MIN_NOTIONAL,
    SHORT,
    WAD,
)
from python_model.perp_market import Position
from python_model.risk_engine import HOUR, RAMP_PER_HOUR

if TYPE_CHECKING:
    from perp_fuzz.generator import Drawn, Generator

Scripted = Iterator[tuple["Drawn", str]]

RAMP = WAD // RAMP_PER_HOUR * HOUR  # seconds, for all there is


class Beginnings:
    """Those of one twin. What is opened is closed again, what is changed is changed back."""

    def __init__(self, generator: "Generator") -> None:
        self.g = generator
        self.market = generator.market
        self.config = generator.twin.config
        self.rng = random.Random(self.config.get("seed", 0))
        self.is_fresh = not generator.last_price

    def draw(self) -> Scripted:
        """The one of this chain; none if other steps, of the corpus say, have begun it."""
        if "chain" not in self.config or not self.is_fresh:
            return
        if not self.g.last_price:
            yield self._report(next(self.g.path).price)
        if self.g.system.token.decimals == 18:
            yield from self._worth_itself()
        stories: tuple[Callable[[], Scripted], ...] = (
            self._crowded,
            self._overtaken,
            self._entire,
            self._drained,
            self._dear,
        )
        yield from stories[self.config["chain"] % len(stories)]()
        yield from self._exits()
        for _ in range(2):  # the first may have to be confirmed
            yield self.g._price_after_waiting(self.rng), "valid"

    # Stories

    def _worth_itself(self) -> Scripted:
        """As much margin as the position is worth: its key is zero while no funding has run."""
        fill, fee = self.g._quote(LONG, WAD)
        worth = fill * WAD // self.market.NOTIONAL_SCALE
        yield self._open(LONG, WAD, fee + worth + trigger_key.ROUNDING_UNITS)
        yield self._report(self.g.last_price)
        yield from self._exits()

    def _entire(self) -> Scripted:
        """Positions become due because all that they are worth is asked for as margin: one with a
        profit, others whose rest would be due again. Fractions that are on their way down hold up
        proposals that ask for less."""
        g, params = self.g, self.g.params
        size = 2 * params.min_size
        # Few token units: one of them decides.
        yield from self._price(8 * MIN_NOTIONAL * self.market.NOTIONAL_SCALE // size)
        yield from self._propose(ENTIRE)
        yield from self._open_at_least(LONG, params.tier_sizes[0])
        yield from self._apply()
        for position_id in g.twin.live:
            position = self.market._stored(position_id)
            share = position.margin * WAD // self._worth(position.size)
            g.at += share // RAMP_PER_HOUR * HOUR  # when a little more than that is asked for
            yield ("accrue", KEEPERS[0], ()), "valid"
            if (price := self._last_healthy(position)) is not None:
                yield from self._soon_due(price)
        yield from self._exits()
        yield from self._wait_for_ramp()
        # The largest one makes all of its side pay funding.
        for other in (params.tier_sizes[2], *(size + i for i in range(6))):
            yield from self._open_at_least(LONG, other)
        yield from self._soon_due(g.last_price)
        yield from self._exits()
        for number in (START, EASED):
            yield from self._propose(number)
            yield from self._apply()
        yield from self._wait_for_ramp()
        for number in (CROWDED, START):
            yield from self._propose(number)
            yield from self._apply()
            yield ("tighten", g._owner(), (START,)), "invalid"

    def _overtaken(self) -> Scripted:
        """A healthy position in a worse bucket than one that is due. Its margin is a unit short of
        the next bucket, and a unit is much for its size, little for that of the other."""
        g, live = self.g, self.g.twin.live
        small, large = g.params.min_size, g.params.tier_sizes[0]
        for permille in range(30, 46, 2):
            least = self._worth(small) * permille // 1_000
            bucket = self._bucket_of(small, least)
            last = find_edge(self._is_below(small, bucket), least, 2 * least)
            yield from self._open_at_least(LONG, small, last[0] if last else 0)
            first = find_edge(self._is_below(large, bucket), 1, self._worth(large))
            yield from self._open_at_least(LONG, large, first[1] if first else 0)
            if len(live) < 2:
                return
            healthy, due = map(self.market._stored, live[-2:])
            g._await_price()
            edge = g._edge_price(due, g._is_due_at(due), g.last_price // 20)
            if edge is not None and not g._is_due_at(healthy)(edge[0]):
                yield self._report(edge[0])
                return

    def _crowded(self) -> Scripted:
        """More healthy positions in a bucket that is due than a list looks at; then all are
        bankrupt, and wait for each other."""
        g, live, size = self.g, self.g.twin.live, self.g.params.min_size
        yield from self._open_at_least(SHORT, MAX_LOOKS * size)  # or their side would pay funding
        yield from self._open_at_least(LONG, size)
        leader = live[-1] if live else 0
        for i in range(MAX_LOOKS):
            if not i % 64:
                yield self._report(g.last_price)
            if leader not in live:
                return
            fill, _ = g._quote(LONG, size)
            margin = g._margin_beside(self.rng, LONG, size, fill, leader)
            yield from self._open_at_least(LONG, size, margin)
        position = self.market._stored(leader)
        g._await_price()
        edge = g._edge_price(position, g._is_due_at(position), g.last_price // 20)
        if edge is not None:
            # A little further, which is less than a bucket is wide and more than funding moves.
            yield self._report(edge[1] + (edge[1] >> 21))
            yield from self._look()
            yield self._report(edge[0] - edge[0] // 40)
            yield from self._look()
            for _ in range(len(live) // MAX_VISITS + 1):
                yield ("continue_backlog", KEEPERS[0], (MAX_VISITS,)), "valid"

    def _drained(self) -> Scripted:
        """A winner takes all that the pool has, and a claim. Then a fraction of a token unit is too
        large a profit, and there is nothing to close. Losses and a deposit bring the pool back."""
        g, pool, size = self.g, self.g.system.pool, self.g.params.tier_sizes[2]
        cash = pool.cash()
        yield from self._open_at_least(LONG, size)
        yield self._open(SHORT, size // 8, cash)  # it can pay for as much as the price will rise
        price = g.last_price + (cash + cash // 50) * self.market.NOTIONAL_SCALE // size
        yield from self._price(price)
        for _ in range(2):  # held, and confirmed when some funding has run
            g._await_price()
            edge = find_edge(self._is_profit_at, 1, g.last_price)
            if edge is not None:
                yield self._report(edge[0])
        yield from self._price(price)
        yield from self._exits()
        amount = min(cash, pool.maxDeposit(ADDRESSES[LPS[0]]))
        yield ("deposit", LPS[0], (amount, LPS[0])), "valid"

    def _dear(self) -> Scripted:
        """The fee is all that a reduced position frees, and the fill is a little worse than the
        price: what can only just stay cannot be reduced. Beside it one that no price liquidates.
        Then the token pays nobody."""
        g, size = self.g, self.g.params.tier_sizes[0]
        yield from self._propose(DEAR)
        yield from self._apply()
        yield self._open(SHORT, 2 * size, 3 * size * MAX_PRICE // self.market.NOTIONAL_SCALE)
        yield from self._open_at_least(LONG, size)
        for position_id in g.twin.live[-1:]:
            position = self.market._stored(position_id)
            g._await_price()
            edge = g._edge_price(position, g._is_due_at(position), g.last_price // 20)
            if edge is not None:
                yield self._report(edge[1])
                yield ("reduce", ROLE_OF[position.owner], (position_id, size // 2, 0)), "edge"
                yield from self._look()
        yield from self._exits()
        yield from self._propose(START)
        yield from self._apply()
        for fee in g.refusal:
            yield ("set_fee", g._owner(), (fee,)), "valid"
            yield ("collect_fees", KEEPERS[0], ()), "edge"
            for lp in LPS:
                amount = g.system.pool.maxWithdraw(ADDRESSES[lp])
                yield ("withdraw", lp, (amount, lp, lp)), "edge"
            yield ("set_fee", g._owner(), (0,)), "valid"

    # Steps

    def _open(self, side: int, size: int, amount: int) -> tuple["Drawn", str]:
        trader = TRADERS[self.market._position_count % len(TRADERS)]
        worst = MAX_UINT256 if side == LONG else 0
        return ("open", trader, (side, size, amount, worst)), "edge"

    def _open_at_least(self, side: int, size: int, least: int = 0) -> Scripted:
        """With no more margin than is needed, or than that."""
        g = self.g
        fill, fee = g._quote(side, size)
        needed = g._initial(size, g.tier(size)) + g._entry_loss(side, size, fill) + 2
        yield self._open(side, size, fee + max(needed, least))

    def _report(self, price: int) -> tuple["Drawn", str]:
        g = self.g
        g._await_price()
        publisher = PUBLISHERS[g.at % len(PUBLISHERS)]
        return ("publish", publisher, (price, price // 10_000 + 1, g.at, SOUND)), "edge"

    def _price(self, price: int) -> Scripted:
        """Said again if it is held."""
        yield self._report(price)
        if self.market._halted:
            yield self._report(price)

    def _propose(self, number: int) -> Scripted:
        """And the prices until it may be applied: breakers forget what was before."""
        g = self.g
        yield ("propose_params", g._owner(), (number,)), "valid"
        for before in (2 * HOUR, HOUR, 60):
            g.at = max(g.at, self._eta() - before)
            yield self._report(g.last_price)

    def _apply(self) -> Scripted:
        self.g.at = max(self.g.at, self._eta())
        yield ("apply_params", self.g._owner(), ()), "edge"

    def _eta(self) -> int:
        return self.g.system.configurator._params_proposals[self.market.address].eta

    def _wait_for_ramp(self) -> Scripted:
        self.g.at += RAMP
        yield self._report(self.g.last_price)

    def _soon_due(self, price: int) -> Scripted:
        """What is healthy at a price, and due a little later."""
        yield self._report(price)
        self.g.at += self.g.params.max_price_age // 2
        yield from self._look()
        yield self._report(price)

    def _look(self) -> Scripted:
        """Nothing happens until the views have been compared, if this state is new."""
        for _ in range(LOOK_EVERY):
            yield ("accrue", KEEPERS[0], ()), "valid"

    def _exits(self) -> Scripted:
        for position_id in self.g.twin.live.copy():
            if self.market._positions[position_id] is not None:
                yield self.g._exit_of(position_id), "valid"

    # What the model says

    def _worth(self, size: int) -> int:
        return size * self.g.last_price // self.market.NOTIONAL_SCALE

    def _bucket_of(self, size: int, margin: int) -> int:
        """Of a long that is opened now."""
        fill, _ = self.g._quote(LONG, size)
        funding = self.g.marks.funding[LONG]
        return trigger_key._bucket_of(
            trigger_key._trigger_key(LONG, size, margin, fill, funding, self.market.VALUE_SCALE)
        )

    def _is_below(self, size: int, bucket: int) -> Callable[[int], bool]:
        """Whether a margin files a long in a bucket further from liquidation."""
        return lambda margin: self._bucket_of(size, margin) < bucket

    def _last_healthy(self, position: Position) -> int | None:
        """The price nearest to the last at which a long that is due now is not."""
        g = self.g
        edge = find_edge(g._is_due_at(position), g.last_price, g.last_price * 21 // 20)
        return None if edge is None else edge[1]

    def _is_profit_at(self, price: int) -> bool:
        """Whether the traders, together, have won anything at all at a price."""
        marks = self.g.marks.copy()
        marks.price = price
        return self.market._net_trader_profit(marks) > 0

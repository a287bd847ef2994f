"""Every promise that can be checked on a state, once, by ID (sentences: docs/invariants.md).

A check looks at the model after a transaction; the model's words are compared with the contract's
elsewhere (P7), so what holds here holds there.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from python_model.configurator import DELAY, MAX_RESTRICTION
from python_model.evm import Event, Revert
from python_model.modules import (
    constants,
    errors,
    fixed_point,
    margin_math,
    risk_bounds,
    trigger_key,
)
from python_model.perp_market import Marks, PerpMarket, Position
from python_model.risk_engine import HOUR, MAX_HALT, RAMP_PER_HOUR, RiskEngine

SAMPLE = 8  # positions looked at by the checks that execute something


@dataclass
class Observation:
    """A market after one transaction, and what that transaction was: `begin`, transact, `end`."""

    market: PerpMarket
    live: list[int] = field(default_factory=list)  # ids of the open positions
    action: str = ""
    position_id: int = 0  # of the action's position, if it has one
    ok: bool = True
    events: list[Event] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # of the events
    sources: set[str] = field(default_factory=set)  # addresses of the events
    changed: dict[int, Position | None] = field(default_factory=dict)  # before the transaction
    altered: list[int] = field(default_factory=list)  # those of them with other figures
    donated: dict[str, int] = field(default_factory=dict)  # tokens sent to a contract unasked
    pool_flow: int = 0  # what should be the pool's cash, from its events
    pool_result: int = 0  # losses collected less profits owed, from the pool's events
    drawn: int = 0  # paid by insurance since the engine's window began, from the events
    proposed_at: int = 0  # when parameters were announced last
    token_is_sound: bool = True  # it neither keeps a fee nor calls back
    turn: int = 0  # steps so far: which positions the sampling checks look at
    _where: dict[int, int] = field(default_factory=dict)  # of an id in `live`
    _filed: dict[int, tuple[int, int]] = field(default_factory=dict)  # list and figure of an id

    def __post_init__(self) -> None:
        market, engine = self.market, self.market.engine
        # Attributes just before the transaction; of one that failed, those of now.
        self.market_was: dict[str, Any] = market.__dict__
        self.engine_was: dict[str, Any] = engine.__dict__
        # Maintenance fractions after the last transaction and after the one before, and when.
        self.measured = self.earlier = (market.chain.timestamp, engine._present_maintenance())
        # For each side and tier (figure, id), the nearest to liquidation first: see `nearness`.
        self.ranked: list[list[tuple[int, int]]] = [[] for _ in range(2 * constants.TIERS)]
        self._notes: dict[str, Callable[[Any], None]] = {
            "Deposit": self._note_deposit,
            "Withdraw": self._note_withdrawal,
            "ClaimPaid": self._note_claim_paid,
            "LossCollected": self._note_loss,
            "ProfitPaid": self._note_profit,
            "PositionOpened": self._note_opened,
            "PositionClosed": self._note_closed,
            "PositionSettled": self._note_settled,
            "PositionLiquidated": self._note_liquidated,
            "ParamsProposed": self._note_proposed,
        }

    def begin(self, action: str, position_id: int = 0) -> None:
        """Notes what the next transaction is."""
        self.action, self.position_id = action, position_id
        self.turn += 1

    def end(self, ok: bool) -> None:
        """Notes what the transaction, the chain's last one, has done."""
        market, engine = self.market, self.market.engine
        chain = market.chain
        self.ok = ok
        self.events, self.changed, self.altered = [], {}, []
        self.names, self.sources = set(), set()
        self.market_was, self.engine_was = chain.before(market), chain.before(engine)
        self.earlier = self.measured
        self.measured = (chain.timestamp, engine._present_maintenance())
        if not ok:
            return
        self.events = events = chain.events
        changed, positions = self.changed, market._positions
        for storage, key, old in chain.writes:
            if storage is positions and key not in changed:
                changed[key] = old
        if engine._deficit_start != self.engine_was["_deficit_start"]:
            self.drawn = 0
        names, sources, notes = self.names, self.sources, self._notes
        for address, name, fields in events:
            names.add(name)
            sources.add(address)
            if name in notes:
                notes[name](fields)
        for position_id, before in changed.items():
            now = positions[position_id]
            if now is None or before is None or not has_same_figures(now, before):
                self.altered.append(position_id)
                self._rank(position_id, now)

    def about(self) -> frozenset[str]:
        """Names of the last transaction's events, and of its action."""
        return frozenset((self.action, *self.names))

    def _note_deposit(self, fields: tuple[Any, ...]) -> None:
        self.pool_flow += fields[2]

    def _note_withdrawal(self, fields: tuple[Any, ...]) -> None:
        self.pool_flow -= fields[3]

    def _note_claim_paid(self, fields: tuple[Any, ...]) -> None:
        self.pool_flow -= fields[1]

    def _note_loss(self, fields: tuple[Any, ...]) -> None:
        self.pool_flow += fields[0]
        self.pool_result += fields[0]

    def _note_profit(self, fields: tuple[Any, ...]) -> None:
        _, paid, claim = fields
        self.pool_flow -= paid
        self.pool_result -= paid + claim

    def _note_opened(self, fields: tuple[Any, ...]) -> None:
        self.position_id = position_id = fields[0]
        self._where[position_id] = len(self.live)
        self.live.append(position_id)

    def _note_closed(self, fields: tuple[Any, ...]) -> None:
        if self.market._positions[fields[0]] is None:
            self._remove(fields[0])

    def _note_settled(self, fields: tuple[Any, ...]) -> None:
        self.drawn += fields[7]
        self._note_closed(fields)

    def _note_liquidated(self, fields: tuple[Any, ...]) -> None:
        self.drawn += fields[8]
        self._note_closed(fields)

    def _note_proposed(self, fields: tuple[Any, ...]) -> None:
        if fields[0] == self.market.address:
            self.proposed_at = self.market.chain.timestamp

    def refile(self) -> None:
        """Takes in what is open now: the market was put back, or changed by no transaction."""
        self.live.clear()
        self._where.clear()
        self._filed.clear()
        for ranks in self.ranked:
            ranks.clear()
        for position_id, position in self.market._positions.items():
            if position is not None:
                self._where[position_id] = len(self.live)
                self.live.append(position_id)
                self._rank(position_id, position)

    def _remove(self, position_id: int) -> None:
        index = self._where.pop(position_id)
        last = self.live.pop()
        if last != position_id:
            self.live[index] = last
            self._where[last] = index

    def _rank(self, position_id: int, position: Position | None) -> None:
        filed = self._filed.pop(position_id, None)
        if filed is not None:
            ranks = self.ranked[filed[0]]
            del ranks[bisect_left(ranks, (filed[1], position_id))]
        if position is not None:
            list_id = position.side * constants.TIERS + position.tier
            figure = nearness(position, self.market.VALUE_SCALE)
            self._filed[position_id] = list_id, figure
            insort(self.ranked[list_id], (figure, position_id))


class Invariant(NamedTuple):
    """`check` gives None, or in words how the sentence is broken. `every`: steps between checks.
    `about`: events and actions that alone can break it; empty for any."""

    id: str
    sentence: str
    check: Callable[[Observation], str | None]
    every: int = 1
    about: frozenset[str] = frozenset()


def live(seen: Observation) -> list[tuple[int, Position]]:
    """Open positions by id."""
    stored = seen.market._stored
    return [(position_id, stored(position_id)) for position_id in seen.live]


def sum_of_values(seen: Observation) -> int:
    """What the open positions are worth now, each by itself: token units."""
    market = seen.market
    marks = market._accrued()
    return sum(market._value(p, p.size, marks.price, marks) for _, p in live(seen))


def sample(seen: Observation) -> list[tuple[int, Position]]:
    """A few open positions, others every time."""
    ids = seen.live
    start = seen.turn % len(ids) if ids else 0
    chosen = (ids[start : start + SAMPLE] + ids[: max(0, start + SAMPLE - len(ids))])[: len(ids)]
    return [(position_id, seen.market._stored(position_id)) for position_id in chosen]


def untouched_others(seen: Observation) -> str | None:
    """I-16, and with it P1: who is neither named, liquidated nor deleveraged keeps every figure."""
    named = {seen.position_id}
    if not seen.names.isdisjoint(NAMED):
        named.update(fields[0] for _, name, fields in seen.events if name in NAMED)
    for position_id in seen.altered:
        before, now = seen.changed[position_id], seen.market._positions[position_id]
        if position_id not in named and before is not None:
            return f"{seen.action} changed position {position_id} from {before} to {now}"
    return None


NAMED = ("PositionLiquidated", "PositionOpened", "PositionSettled")


def has_same_figures(position: Position, other: Position) -> bool:
    """Whether two records differ in nothing but their place in a ring."""
    return (
        position.margin == other.margin
        and position.size == other.size
        and position.entry_price == other.entry_price
        and position.entry_funding == other.entry_funding
        and position.tier == other.tier
        and position.side == other.side
        and position.owner == other.owner
    )


def nearness(position: Position, value_scale: int) -> int:
    """What a position can still lose per unit, less its entry, without rounding and with more units
    than rounding can make out: none is liquidatable for which this, rounded down, is not below a
    figure that price, funding and tier give. See `liquidated_completely`."""
    entry = position.entry_price * constants.FUNDING_PRECISION
    if position.side == constants.SHORT:
        entry = -entry
    room = (position.margin - 2) * value_scale
    return fixed_point._signed_div_floor(room, position.size) - entry + position.entry_funding


def conserved(seen: Observation) -> str | None:
    """P2: every token unit is in exactly one ledger."""
    market, pool = seen.market, seen.market.pool
    token = market.token
    owed = market._total_margin + market._insurance + market._fees + market._credits
    held = token.balanceOf[market.address] - seen.donated.get(market.address, 0)
    if held != owed:
        return f"the market holds {held} and its ledgers say {owed}"
    held = token.balanceOf[pool.address] - seen.donated.get(pool.address, 0)
    if held != pool.cash():
        return f"the pool holds {held} and its cash says {pool.cash()}"
    return None


def sums_of_owed(seen: Observation) -> str | None:
    """P2: credits and claims equal the sums over their owners."""
    market = seen.market
    for name, total, parts in (
        ("credits", market._credits, market.credit_of),
        ("claims", market.pool.claims, market.pool.claim_of),
    ):
        if total != sum(parts.values()):
            return f"{name} are {total}, their sum is {sum(parts.values())}"
    return None


def liquidated_completely(seen: Observation) -> str | None:
    """P3: after a sweep that left no backlog nothing liquidatable is open."""
    market = seen.market
    if not seen.ok or market._backlog or market._halted or not _swept(seen):
        return None
    marks = market._marks
    if not seen.turn % WALK_EVERY:
        for position_id, p in live(seen):
            if market._is_liquidatable(p, marks):
                return f"position {position_id} is liquidatable after {seen.action}: {p}"
    price = marks.price * constants.FUNDING_PRECISION
    for list_id, ranks in enumerate(seen.ranked):
        if not ranks:
            continue
        side, tier = divmod(list_id, constants.TIERS)
        fraction = marks.terms.maintenance_fractions[tier]
        needed = fixed_point._mul_div_up(price, fraction, constants.WAD) + marks.funding[side]
        least = needed - price if side == constants.LONG else needed + price
        for figure, position_id in ranks:
            if figure >= least:
                break
            p = market._stored(position_id)
            if market._is_liquidatable(p, marks):
                return f"position {position_id} is liquidatable after {seen.action}: {p}"
    return None


WALK_EVERY = 64  # steps: whatever has been ranked wrongly is found by going through all


def _swept(seen: Observation) -> bool:
    """Whether the transaction went through the liquidation index."""
    return SWEEPS[0] in seen.names or seen.action == SWEEPS[1]


SWEEPS = ("PriceUpdated", "continue_backlog")
ENLARGE = ("open", "increase")


def healthy_spared(seen: Observation) -> str | None:
    """P3: whatever was liquidated was liquidatable at the price of the liquidation."""
    if "PositionLiquidated" not in seen.names:
        return None
    market = seen.market
    before = seen.changed
    twice = set()
    for event in seen.events:
        if event.name != "PositionLiquidated":
            continue
        position_id = event.fields[0]
        position = before.get(position_id)
        if position is None or position_id in twice:
            return f"position {position_id} was liquidated twice or never open"
        twice.add(position_id)
        if not market._is_liquidatable(position, market._marks):
            return f"position {position_id} was healthy: {position}"
    return None


def bounded_work(seen: Observation) -> str | None:
    """P4: one call liquidates and deleverages no more than MAX_VISITS positions."""
    if seen.names.isdisjoint(ENDED):
        return None
    closed = sum(event.name in ENDED for event in seen.events)
    if closed > constants.MAX_VISITS:
        return f"{seen.action} closed {closed} positions"
    return None


ENDED = ("PositionLiquidated", "PositionSettled")
OWES = (*ENDED, "PositionReduced", "PositionClosed", "ProfitPaid")


def exits_open(seen: Observation) -> str | None:
    """P5: margin can always be added, a healthy position closed at a fresh price, any position
    settled once the price has expired, and what is owed withdrawn as far as there is cash."""
    market, pool = seen.market, seen.market.pool
    if not seen.token_is_sound:
        return None
    marks = market._accrued()
    for position_id, position in sample(seen):
        worst = 0 if position.side == constants.LONG else 2**256 - 1
        owner = position.owner
        if market.token.balanceOf[owner] > 0 and market.token.allowance[owner, market.address] > 0:
            reason = _refusal(market, partial(market.add_margin, position_id, 1, sender=owner))
            if reason is not None and reason != errors.AMOUNT_TOO_LARGE:
                return f"margin cannot be added to position {position_id}: {reason}"
        if market._is_priced(marks) and not market._is_liquidatable(position, marks):
            reason = _refusal(market, partial(market.close, position_id, worst, sender=owner))
            if reason is not None:
                return f"healthy position {position_id} cannot be closed: {reason}"
        if market._is_expired(marks):
            reason = _refusal(market, partial(market.settle, position_id, sender=owner))
            if reason is not None:
                return f"position {position_id} cannot be settled: {reason}"
    for owner, credit in list(market.credit_of.items())[-SAMPLE:]:
        reason = _refusal(market, partial(market.withdraw_credit, sender=owner)) if credit else None
        if reason is not None:
            return f"credit of {credit} cannot be withdrawn: {reason}"
    for owner, claim in list(pool.claim_of.items())[-SAMPLE:]:
        if claim and pool.cash():
            reason = _refusal(market, partial(pool.withdraw_claim, sender=owner))
            if reason is not None:
                return f"claim of {claim} cannot be withdrawn: {reason}"
    return None


def _refusal(market: PerpMarket, call: Callable[[], object]) -> str | None:
    """The reason why the market would refuse a call, which is then undone."""
    try:
        market.chain.probe(call)
    except Revert as revert:
        return revert.reason
    return None


def solvency_bounded(seen: Observation) -> str | None:
    """P6: net trader profit is no less than the sum of the values, by at most its bound; assets
    are the tokens booked, and the ratio is of what is owed."""
    market, pool = seen.market, seen.market.pool
    stated = market.solvency()
    total = sum_of_values(seen)
    if stated.open_positions != len(seen.live):
        return f"{stated.open_positions} positions stated, {len(seen.live)} open"
    if not total <= stated.net_trader_profit < total + stated.rounding_bound:
        return f"net trader profit {stated.net_trader_profit}, sum of values {total}"
    held = sum(
        market.token.balanceOf[address] - seen.donated.get(address, 0)
        for address in (market.address, pool.address)
    )
    if stated.assets != held:
        return f"assets {stated.assets}, tokens {held}"
    owed = stated.fees + stated.credits + stated.claims
    if stated.liabilities != owed + max(stated.margin + stated.net_trader_profit, 0):
        return f"liabilities {stated.liabilities} are not the sum of what is owed"
    if stated.liabilities and stated.ratio != held * constants.WAD // stated.liabilities:
        return f"ratio {stated.ratio} of {held} and {stated.liabilities}"
    return None


def totals_are_sums(seen: Observation) -> str | None:
    """I-1: each side's size, all margin and the entry value equal the sums over the positions."""
    market = seen.market
    sizes = [0, 0]
    margin = entry_value = 0
    for _, p in live(seen):
        sizes[p.side] += p.size
        margin += p.margin
        price = p.entry_price if p.side == constants.LONG else -p.entry_price
        entry_value += p.size * (price * constants.FUNDING_PRECISION - p.entry_funding)
    for name, stored, total in (
        ("margin", market._total_margin, margin),
        ("long size", market._total_sizes[constants.LONG], sizes[constants.LONG]),
        ("short size", market._total_sizes[constants.SHORT], sizes[constants.SHORT]),
        ("entry value", market._entry_value, entry_value),
        ("open positions", market._open_positions, len(seen.live)),
    ):
        if stored != total:
            return f"{name} stored {stored}, sum {total}"
    return None


def initial_margin_met(seen: Observation) -> str | None:
    """I-2, I-4, I-5: who added risk meets the initial requirement without unrealised profit."""
    market = seen.market
    if not seen.ok or seen.action not in ("open", "increase", "remove_margin"):
        return None
    position = market._positions[seen.position_id]
    if position is None:
        return f"position {seen.position_id} is not open after {seen.action}"
    marks = market._marks
    book = market._book_state(marks)
    loss = min(market._value(position, position.size, marks.price, marks), 0)
    engine = market.engine
    fraction = engine._initial_fraction(position.tier, engine._reserved(book), book.cash)
    needed = position.size * marks.price * fraction
    if (position.margin + loss) * market.NOTIONAL_SCALE * constants.WAD < needed:
        return f"margin {position.margin} with loss {loss} is below a fraction of {fraction}"
    return None


def reduced_is_healthy(seen: Observation) -> str | None:
    """I-5: who reduced is not liquidatable afterwards."""
    market = seen.market
    if not seen.ok or seen.action != "reduce":
        return None
    position = market._positions[seen.position_id]
    if position is None or market._is_liquidatable(position, market._marks):
        return f"position {seen.position_id} after reduce: {position}"
    return None


def liquidation_split(seen: Observation) -> str | None:
    """I-6: what is liquidated or settled hands out exactly the equity, unpaid profit as a claim."""
    if seen.names.isdisjoint(OWES):
        return None
    unpaid = 0  # profit of liquidated positions that the pool could not pay
    claims = 0
    for event in seen.events:
        if event.name == "ProfitPaid":
            claims += event.fields[2]
        elif event.name in ("PositionReduced", "PositionClosed"):
            claims -= event.fields[6]
        if event.name not in ENDED:
            continue
        before = seen.changed[event.fields[0]]
        after = seen.market._positions[event.fields[0]]
        if before is None:
            return f"unknown position in {event}"
        penalty = claim = 0
        if event.name == "PositionLiquidated":
            _, _, _, _, value, penalty, reward, returned, insurance_used, bad_debt = event.fields
            if reward > penalty:
                return f"reward {reward} above penalty {penalty}"
        else:
            _, _, _, _, value, claim, returned, insurance_used, bad_debt, _ = event.fields
            claims -= claim
        if (insurance_used or bad_debt) and (penalty or returned):
            return f"a bankrupt position paid a penalty or got something back: {event}"
        rest = after.margin if after is not None else 0
        parts = rest + penalty + claim + returned - insurance_used - bad_debt
        difference = before.margin + value - parts
        if difference != 0 and not (event.name == "PositionLiquidated" and 0 < difference <= value):
            return f"equity and its parts differ by {difference}: {event}"
        unpaid += difference
    if claims != unpaid:
        return f"claims of {claims} came of {unpaid} unpaid by liquidations"
    return None


def round_trip_never_profits(seen: Observation) -> str | None:
    """I-10: opening and closing at one price in one moment pays out no more than went in."""
    market = seen.market
    if not seen.token_is_sound:
        return None
    marks = market._accrued()
    if not market._is_priced(marks) or market._backlog:
        return None
    trader = next((p.owner for _, p in sample(seen)), None)
    if trader is None:
        return None
    side = seen.turn % 2
    size = market.engine.PARAMS.min_size * (1 + seen.turn % 7)
    fill = market.engine._fill(side, size, market._book_state(marks))
    needed = market._fraction_of_notional_up(size, max(fill.price, marks.price), constants.WAD)
    margin = fill.fee + needed

    def both_ways() -> int:
        worst_in = 0 if side == constants.SHORT else 2**256 - 1
        worst_out = 2**256 - 1 - worst_in
        position_id = market.open(side, size, margin, worst_in, sender=trader)
        return market.close(position_id, worst_out, sender=trader)

    try:
        payout = market.chain.probe(both_ways)
    except Revert:
        return None  # a cap or an empty wallet; the claim is about trades that happen
    if payout > margin:
        return f"opening {size} on side {side} with {margin} and closing it paid {payout}"
    return None


def locks_released(seen: Observation) -> str | None:
    """I-12: no lock outlives a transaction."""
    if seen.market._locked or seen.market.pool._locked:
        return "a lock is still held"
    return None


def backlog_ends(seen: Observation) -> str | None:
    """I-14: finitely many bounded calls work off any backlog at fixed marks."""
    market = seen.market
    if not market._backlog or market._halted or not seen.token_is_sound:
        return None
    # A call visits MAX_VISITS; a position is visited three times at most: healthy, or part and
    # rest, and when profit is looked for.
    calls = 3 * len(seen.live) // constants.MAX_VISITS + 3

    def work_off() -> bool:
        for _ in range(calls):
            market.continue_backlog(constants.MAX_VISITS, sender=market.address)
            if not market._backlog:
                return True
        return False

    if not market.chain.probe(work_off):
        return f"the backlog is still there after {calls} calls"
    return None


def pool_zero_sum(seen: Observation) -> str | None:
    """I-17: the pool's cash is what providers put in, plus losses, less what was paid; its result
    the losses collected less the profits owed."""
    pool = seen.market.pool
    cash, _, result = pool.account()
    if seen.pool_flow != cash:
        return f"events sum to {seen.pool_flow}, cash is {cash}"
    if seen.pool_result != result:
        return f"events sum to a result of {seen.pool_result}, stored {result}"
    return None


def rounding_favours_protocol(seen: Observation) -> str | None:
    """I-18: equity is below its exact value, a requirement above, both by less than a unit."""
    market = seen.market
    marks = market._accrued()
    value_unit, unit = market.VALUE_SCALE, market.NOTIONAL_SCALE * constants.WAD
    for position_id, p in sample(seen):
        equity, requirement = market._health(p, marks)
        gain = (marks.price - p.entry_price) * (1 if p.side == constants.LONG else -1)
        paid = marks.funding[p.side] - p.entry_funding
        exact = p.margin * value_unit + p.size * (gain * constants.FUNDING_PRECISION - paid)
        needed = p.size * marks.price * marks.terms.maintenance_fractions[p.tier]
        missing, spare = exact - equity * value_unit, requirement * unit - needed
        if not (0 <= missing < value_unit and 0 <= spare < unit):
            return f"position {position_id}: equity {equity}, requirement {requirement}"
    return None


def filed_under_key(seen: Observation) -> str | None:
    """X-1, X-2: every open position is in the ring of its key, once; rings are circles."""
    market = seen.market
    found: set[int] = set()
    for ring, head in market._ring_heads.items():
        if head == 0:
            continue
        position_id = head
        seen_before = False
        for _ in range(market._open_positions + 1):
            position = market._positions[position_id]
            if position is None or position_id in found:
                return f"ring {ring:#x} leads to position {position_id}: closed or met before"
            found.add(position_id)
            if market._ring_of(position) != ring:
                return f"position {position_id} is in ring {ring:#x}, its key says otherwise"
            current = position.epoch == market._marks.epoch
            if seen_before and not current:
                return f"ring {ring:#x}: unseen position {position_id} behind a seen one"
            seen_before = current
            following = market._positions[position.next_id]
            if following is None or following.previous_id != position_id:
                return f"position {position.next_id} does not lead back to {position_id}"
            position_id = position.next_id
            if position_id == head:
                break
        else:
            return f"ring {ring:#x} is no circle"
    open_ids = {i for i, p in market._positions.items() if p is not None}
    if found != open_ids:
        return f"filed {sorted(found)}, open {sorted(open_ids)}"
    return None


def bitmap_is_exact(seen: Observation) -> str | None:
    """X-3: the three levels and the cached worst buckets say what the rings say."""
    market = seen.market
    rings = {ring for ring, head in market._ring_heads.items() if head}
    leaves: dict[int, int] = {}
    middles: dict[int, int] = {}
    tops: dict[int, int] = {}
    for ring in rings:
        leaves[ring >> 8] = leaves.get(ring >> 8, 0) | 1 << (ring & 255)
        middles[ring >> 16] = middles.get(ring >> 16, 0) | 1 << (ring >> 8 & 255)
        tops[ring >> 24] = tops.get(ring >> 24, 0) | 1 << (ring >> 16 & 255)
    for name, expected, stored in (
        ("leaf", leaves, market._leaves),
        ("middle", middles, market._middles),
        ("top", tops, market._tops),
    ):
        if expected != {key: word for key, word in stored.items() if word}:
            return f"the {name} words differ from the rings"
    for list_id in range(2 * constants.TIERS):
        worst = max((ring + 1 for ring in rings if ring >> 24 == list_id), default=0)
        if market._worst_ring(list_id) != worst:
            return f"list {list_id}: worst ring {market._worst_ring(list_id)}, not {worst}"
    return None


def key_is_conservative(seen: Observation) -> str | None:
    """X-4: a liquidatable position's bucket is due, so the index cannot hide it."""
    market = seen.market
    marks = market._accrued()
    for position_id, p in sample(seen):
        if not market._is_liquidatable(p, marks):
            continue
        threshold = trigger_key._threshold(
            p.side,
            marks.price,
            marks.terms.maintenance_fractions[p.tier],
            marks.funding[p.side],
        )
        if trigger_key._highest_key(market._ring_of(p) & 2**24 - 1) <= threshold:
            return f"position {position_id} is liquidatable and its bucket is not due"
    return None


def pool_backs_open_interest(seen: Observation) -> str | None:
    """I-9: after an increase, open interest and skew are within their caps, the reserve met."""
    market = seen.market
    if not seen.ok or seen.action not in ("open", "increase"):
        return None
    position = market._positions[seen.position_id]
    assert position is not None
    own = market._side_size(position.side)
    other = market._side_size(constants.SHORT - position.side)
    params = market.engine._params
    if own > params.max_open_interest or own - other > params.max_skew:
        return f"side sizes {own} and {other}"
    return _reserve_missing(market)


def claims_before_providers(seen: Observation) -> str | None:
    """I-9: what a liquidity provider withdraws leaves the claims and the reserve."""
    if "Withdraw" in seen.names:
        return _reserve_missing(seen.market)
    return None


def _reserve_missing(market: PerpMarket) -> str | None:
    """How the pool's cash, less claims, falls short of its share of all open interest."""
    reserved = margin_math._fraction_of_notional_up(
        market._side_size(constants.LONG) + market._side_size(constants.SHORT),
        market._marks.price,
        market.engine.PARAMS.reserve_fraction,
        market.NOTIONAL_SCALE,
    )
    claims, cash = market.pool.claims, market.pool.cash()
    if reserved + claims > cash:
        return f"reserve {reserved} and claims {claims} above cash {cash}"
    return None


def funding_never_costs_the_pool(seen: Observation) -> str | None:
    """I-17: what both sides together pay per second is never negative."""
    market = seen.market
    steps = market.engine.terms(HOUR, market._book_state(market._marks)).funding_steps
    paid = sum(market._side_size(side) * steps[side] for side in (0, 1))
    if paid < 0:
        return f"over an hour the pool would pay {-paid}"
    return None


def requirement_moves_slowly(seen: Observation) -> str | None:
    """I-3: what an open position is measured by moves by a new price, or with time and no faster
    than its bounds; with P1 nothing that another does, no volatility and no parameter makes it
    liquidatable."""
    market, engine, was = seen.market, seen.market.engine, seen.engine_was
    at, earlier = seen.earlier
    now, present = seen.measured
    if present != earlier:
        most = RAMP_PER_HOUR * (now - at)
        for fraction, then in zip(present, earlier, strict=True):
            if (abs(fraction - then) - constants.FRACTION_UNIT) * HOUR > most:
                return f"maintenance moved from {earlier} to {present} since {at}"
    if engine._params is not was["_params"] or engine._ramp_start != was["_ramp_start"]:
        before = RiskEngine._present_maintenance(cast(RiskEngine, SimpleNamespace(**was)))
        if present != before:
            return f"maintenance jumped from {before} to {present}"
    marks, old = market._marks, seen.market_was["_marks"]
    if marks is old:
        return None
    if marks.price_time == old.price_time and marks.price != old.price:
        return f"the price moved from {old.price} to {marks.price} without a new one"
    params = market.engine.PARAMS
    rate = (params.max_funding_rate + params.max_utilisation_rate) * constants.FUNDING_PRECISION
    most = rate * old.price * (marks.accrued_at - old.accrued_at)
    for side in (constants.LONG, constants.SHORT):
        step = marks.funding[side] - old.funding[side]
        if abs(step) * constants.WAD >= most + constants.WAD:
            return f"the index of side {side} moved by {step}"
    return None


def initial_fraction_bounded(seen: Observation) -> str | None:
    """I-3: an initial fraction is from its base to one, and does not fall as the pool is used."""
    market, engine = seen.market, seen.market.engine
    book = market._book_state(market._marks)
    reserved = engine._reserved(book)
    for tier, base in enumerate(engine._params.initial_fractions):
        fractions = [
            engine._initial_fraction(tier, used, book.cash)
            for used in sorted((0, reserved // 2, reserved, book.cash))
        ]
        if not base <= fractions[0] <= fractions[-1] <= constants.WAD:
            return f"tier {tier}: fractions {fractions}, base {base}"
        if fractions != sorted(fractions):
            return f"tier {tier}: fractions {fractions} fall"
    return None


def jumps_confirmed(seen: Observation) -> str | None:
    """I-7: a price that jumps takes effect only when a later one confirms it or time has passed."""
    market, engine_was = seen.market, seen.engine_was
    marks, old = market._marks, seen.market_was["_marks"]
    if not seen.ok or marks.price_time == old.price_time or old.price == 0:
        return None
    if marks.price_time < old.price_time:
        return f"the price went back from {old.price_time} to {marks.price_time}"
    max_jump = engine_was["_params"].max_jump
    was_halted = seen.market_was["_halted"]
    if _is_within(marks.price, old.price, max_jump) and not was_halted:
        return None
    if not was_halted:
        return f"{marks.price} after {old.price} took effect at once"
    now = market.chain.timestamp
    if "PriceConfirmed" not in seen.names:
        return f"{marks.price} took effect without a word"
    if now >= engine_was["_halted_since"] + MAX_HALT:
        return None
    references = (old.price, engine_was["_pending_price"])
    if now > engine_was["_seen_at"] and any(
        _is_within(marks.price, p, max_jump) for p in references
    ):
        return None
    return f"{marks.price} is confirmed neither by {references} nor by time"


def _is_within(price: int, reference: int, most: int) -> bool:
    return abs(price - reference) * constants.WAD <= most * reference


def held_price_is_without_effect(seen: Observation) -> str | None:
    """I-7: while a price is held the one in effect stays, and nobody trades or is liquidated."""
    market = seen.market
    if market._halted != market.engine._is_halted:
        return f"market and engine differ on the halt: {market._halted}"
    if not market._halted:
        return None
    if market._marks.price_time != seen.market_was["_marks"].price_time:
        return "the price in effect changed while another is held"
    for event in seen.events:
        if event.name in TRADES or (event.name == "PositionSettled" and event.fields[9]):
            return f"{event.name} while a price is held"
    return None


ADDS_RISK = ("PositionIncreased", "MarginRemoved")
TRADES = (*ADDS_RISK, "PositionReduced", "PositionClosed", "PositionLiquidated")


def restricted_adds_no_risk(seen: Observation) -> str | None:
    """I-7: nothing adds risk while the market only reduces or has a backlog."""
    if seen.names.isdisjoint(ADDS_RISK):
        return None
    restricted_until = seen.engine_was["_reduce_only_until"]
    if seen.market_was["_backlog"] or seen.market.chain.timestamp < restricted_until:
        return f"{seen.action} added risk"
    return None


RESTRICTS = ("BreakerTripped", "Restricted")


def restriction_is_announced(seen: Observation) -> str | None:
    """I-7: a restriction tells its cause, is not cut short, and ends by itself."""
    market = seen.market
    until, now = seen.engine_was["_reduce_only_until"], market.chain.timestamp
    for event in () if seen.names.isdisjoint(RESTRICTS) else seen.events:
        if event.name == "BreakerTripped":
            cause, ends = event.fields
            if ends != max(until, now + market.engine._params.cool_down) or not 1 <= cause <= 6:
                return f"cause {cause} restricts until {ends}"
            until = ends
        elif event.name == "Restricted":
            (ends,) = event.fields
            if not until <= ends <= max(until, now + MAX_RESTRICTION):
                return f"restricted until {ends}"
            until = ends
    if market.engine._reduce_only_until != until:
        return f"restricted until {market.engine._reduce_only_until}, announced {until}"
    return None


def insurance_capped(seen: Observation) -> str | None:
    """I-11: in one window insurance pays no more than its share of what there was."""
    market, engine = seen.market, seen.market.engine
    if engine._drawn != seen.drawn:
        return f"the engine counts {engine._drawn}, the events say {seen.drawn}"
    if seen.names.isdisjoint(ENDED) or not any(
        event.fields[8 if event.name == "PositionLiquidated" else 7]
        for event in seen.events
        if event.name in ENDED
    ):
        return None
    most = (market._insurance + seen.drawn) * engine._params.max_insurance_draw
    if seen.drawn * constants.WAD > most:
        return f"{seen.drawn} drawn, {market._insurance} left"
    return None


def deleveraged_in_order(seen: Observation) -> str | None:
    """I-13: only positions in profit are deleveraged, those with the most equity per unit first,
    and without the last one the profit would still be too large."""
    market = seen.market
    if not seen.ok or market._halted or not _swept(seen):
        return None
    marks = market._marks
    gone = []
    if "PositionSettled" in seen.names:
        gone = [e.fields for e in seen.events if e.name == "PositionSettled" and e.fields[9]]
    net_profit = market._net_trader_profit(marks)
    cash, claims = market.pool.cash(), market.pool.claims
    if gone:
        last = seen.changed[gone[-1][0]]
        assert last is not None
        value, claim = gone[-1][4:6]
        undone = net_profit + _raw_value(last, marks)
        if not _is_profit_too_large(market, undone, cash + value - claim, claims - claim):
            return f"deleveraging {gone[-1][0]} was not needed"
    reached: int | None = None
    for fields in gone:
        position = seen.changed[fields[0]]
        assert position is not None
        if fields[4] <= 0:
            return f"position {fields[0]} was deleveraged without profit"
        equity = _filed_equity(market, position, marks)
        if reached is not None and equity > reached:
            return f"position {fields[0]} was deleveraged after one with less equity per unit"
        reached = equity
    had_backlog, cursor_epoch = seen.market_was["_backlog"], seen.engine_was["_cursor_epoch"]
    if market._backlog or had_backlog or cursor_epoch == marks.epoch:
        return None  # the rest is another call's, or was
    is_too_large = _is_profit_too_large(market, net_profit, cash, claims)
    if not gone and not is_too_large:
        return None
    for position_id, p in live(seen):
        if p.epoch == marks.epoch or market._value(p, p.size, marks.price, marks) <= 0:
            continue  # seen, by the sweep for one: all but liquidatable
        if is_too_large:
            return f"the profit is too large and position {position_id} has some"
        assert reached is not None
        if _filed_equity(market, p, marks) > reached:
            return f"position {position_id} was passed over"
    return None


def _raw_value(position: Position, marks: Marks) -> int:
    """Value times VALUE_SCALE, exact."""
    return margin_math._marked_value(
        position.side, position.size, marks.price, marks.funding[position.side]
    ) - margin_math._marked_value(
        position.side, position.size, position.entry_price, position.entry_funding
    )


def _filed_equity(market: PerpMarket, position: Position, marks: Marks) -> int:
    """The least equity per unit of what is filed where this position is."""
    marked = margin_math._marked_value(position.side, 1, marks.price, marks.funding[position.side])
    return marked - trigger_key._highest_key(market._ring_of(position) & 2**24 - 1)


def _is_profit_too_large(market: PerpMarket, net_profit: int, cash: int, claims: int) -> bool:
    profit = fixed_point._signed_div_ceil(net_profit, market.VALUE_SCALE)
    most = max(cash - claims, 0) * market.engine._params.max_profit_share
    return profit > most // constants.WAD


def roles_move_nothing(seen: Observation) -> str | None:
    """I-15: what roles do moves no token, share, position or debt; parameters change when they
    were announced DELAY ago or are tighter."""
    market, engine, params_before = seen.market, seen.market.engine, seen.engine_was["_params"]
    if not seen.ok:
        return None
    roles = (engine.configurator, market.factory.address)
    names: set[str] = set()
    if not seen.sources.isdisjoint(roles):
        names = {name for address, name, _ in seen.events if address in roles}
    if names and "MarketCreated" not in names:
        pool, token = market.pool, market.token
        kept = (
            token.balanceOf,
            token.allowance,
            pool.balanceOf,
            pool.claim_of,
            market.credit_of,
            market._positions,
        )
        if any(storage is mapping for storage, _, _ in market.chain.writes for mapping in kept):
            return f"{sorted(names)} moved something"
    if engine._params is params_before:
        return None
    if "ParamsTightened" in names and risk_bounds._is_tighter(engine._params, params_before):
        return None
    announced = 0 < seen.proposed_at <= market.chain.timestamp - DELAY
    if "ParamsApplied" in names and announced:
        return None
    return f"parameters became {engine._params}, announced at {seen.proposed_at}"


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "P1", "who is not named, liquidated or deleveraged keeps every figure", untouched_others
    ),
    Invariant("P2", "every token unit is in exactly one ledger", conserved, 3),
    Invariant("P2-owed", "credits and claims equal the sums over their owners", sums_of_owed, 101),
    Invariant(
        "P3",
        "after a finished sweep nothing liquidatable is open",
        liquidated_completely,
        about=frozenset(SWEEPS),
    ),
    Invariant(
        "P3-spared",
        "only liquidatable positions are liquidated",
        healthy_spared,
        about=frozenset(("PositionLiquidated",)),
    ),
    Invariant(
        "P4", "one call closes at most MAX_VISITS positions", bounded_work, about=frozenset(ENDED)
    ),
    Invariant("P5", "margin, closing, settlement and what is owed stay open", exits_open, 613),
    Invariant("P6", "solvency() is within its bound of the sum", solvency_bounded, 167),
    Invariant("I-1", "totals equal the sums over the positions", totals_are_sums, 157),
    Invariant("I-3", "requirements move by price and slowly by time", requirement_moves_slowly),
    Invariant(
        "I-3-initial",
        "initial fractions are from their base to one, rising with use",
        initial_fraction_bounded,
        113,
    ),
    Invariant(
        "I-4",
        "who adds risk meets the initial requirement",
        initial_margin_met,
        about=frozenset((*ENLARGE, "remove_margin")),
    ),
    Invariant(
        "I-5", "who reduced is not liquidatable", reduced_is_healthy, about=frozenset(("reduce",))
    ),
    Invariant(
        "I-6",
        "a position that ends hands out exactly its equity",
        liquidation_split,
        about=frozenset(OWES),
    ),
    Invariant("I-7", "a price that jumps takes effect only when confirmed", jumps_confirmed),
    Invariant("I-7-held", "a held price is without effect", held_price_is_without_effect),
    Invariant(
        "I-7-risk",
        "a restricted market takes no risk",
        restricted_adds_no_risk,
        about=frozenset(ADDS_RISK),
    ),
    Invariant("I-7-cause", "restrictions are announced and end", restriction_is_announced),
    Invariant(
        "I-9",
        "caps and reserve hold after an increase",
        pool_backs_open_interest,
        about=frozenset(ENLARGE),
    ),
    Invariant(
        "I-9-claims",
        "claims come before providers",
        claims_before_providers,
        about=frozenset(("Withdraw",)),
    ),
    Invariant("I-10", "a round trip at one price never profits", round_trip_never_profits, 397),
    Invariant("I-11", "insurance pays its share per window at most", insurance_capped),
    Invariant("I-12", "no lock outlives a transaction", locks_released, 3),
    Invariant(
        "I-13",
        "deleveraging goes by profit and no further than needed",
        deleveraged_in_order,
        about=frozenset(SWEEPS),
    ),
    Invariant("I-14", "any backlog ends after finitely many calls", backlog_ends, 17),
    Invariant("I-15", "roles move no token and no parameter unannounced", roles_move_nothing),
    Invariant("I-17", "the pool's cash and result are the sums of its flows", pool_zero_sum, 3),
    Invariant("I-17-funding", "funding never costs the pool", funding_never_costs_the_pool, 107),
    Invariant("I-18", "rounding favours the protocol", rounding_favours_protocol, 251),
    Invariant("X-1", "every position is in the ring of its key, once", filed_under_key, 467),
    Invariant("X-3", "bitmap and worst buckets say what the rings say", bitmap_is_exact, 479),
    Invariant("X-4", "no liquidatable position's bucket is not due", key_is_conservative, 73),
)

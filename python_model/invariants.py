"""Every promise that can be checked on a state, once, by ID (sentences: docs/invariants.md).

A check looks at the model after a transaction; the model's words are compared with the contract's
elsewhere (P7), so what holds here holds there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from python_model.evm import Event, Revert
from python_model.modules import constants, errors, margin_math, trigger_key
from python_model.perp_market import Marks, PerpMarket, Position

SAMPLE = 8  # positions looked at by the checks that execute something


@dataclass
class Observation:
    """A market after one transaction, and what that transaction was."""

    market: PerpMarket
    live: list[int] = field(default_factory=list)  # ids of the open positions
    action: str = ""
    position_id: int = 0  # of the action's position, if it has one
    ok: bool = True
    events: list[Event] = field(default_factory=list)
    changed: dict[int, Position | None] = field(default_factory=dict)  # before the transaction
    donated: dict[str, int] = field(default_factory=dict)  # tokens sent to a contract unasked
    pool_flow: int = 0  # deposits - withdrawals + losses - profits, from the pool's events
    token_is_sound: bool = True  # it neither keeps a fee nor calls back
    turn: int = 0  # steps so far: which positions the sampling checks look at


class Invariant(NamedTuple):
    """`check` gives None, or in words how the sentence is broken. `every`: steps between checks."""

    id: str
    sentence: str
    check: Callable[[Observation], str | None]
    every: int = 1


def live(seen: Observation) -> list[tuple[int, Position]]:
    """Open positions by id."""
    stored = seen.market._stored
    return [(position_id, stored(position_id)) for position_id in seen.live]


def sample(seen: Observation) -> list[tuple[int, Position]]:
    """A few open positions, others every time."""
    ids = seen.live
    start = seen.turn % len(ids) if ids else 0
    chosen = (ids[start : start + SAMPLE] + ids[: max(0, start + SAMPLE - len(ids))])[: len(ids)]
    return [(position_id, seen.market._stored(position_id)) for position_id in chosen]


def untouched_others(seen: Observation) -> str | None:
    """I-16, and with it P1: who is neither named nor liquidated keeps every figure."""
    named = {seen.position_id} if seen.action not in ("publish", "update_price") else set()
    for event in seen.events:
        if event.name in ("PositionLiquidated", "PositionOpened"):
            named.add(event.fields[0])
    for position_id, before in seen.changed.items():
        if before is None or position_id in named:
            continue
        now = seen.market._positions[position_id]
        if now is None or _figures(now) != _figures(before):
            return f"{seen.action} changed position {position_id} from {before} to {now}"
    return None


def _figures(position: Position) -> tuple[str, int, int, int, int, int, int]:
    return (
        position.owner,
        position.side,
        position.tier,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
    )


def conserved(seen: Observation) -> str | None:
    """P2: every token unit is in exactly one ledger."""
    market, pool = seen.market, seen.market.pool
    token = market.token
    owed = market._total_margin + market._insurance + market._fees + market._credits
    held = token.balanceOf[market.address] - seen.donated.get(market.address, 0)
    if held != owed:
        return f"the market holds {held} and its ledgers say {owed}"
    held = token.balanceOf[pool.address] - seen.donated.get(pool.address, 0)
    if held != pool.cash:
        return f"the pool holds {held} and its cash says {pool.cash}"
    return None


def sums_of_owed(seen: Observation) -> str | None:
    """P2: credits and claims equal the sums over their owners."""
    market = seen.market
    for name, total, parts in (
        ("credits", market._credits, market.credit_of),
        ("claims", market._claims, market.claim_of),
    ):
        if total != sum(parts.values()):
            return f"{name} are {total}, their sum is {sum(parts.values())}"
    return None


def liquidated_completely(seen: Observation) -> str | None:
    """P3: after a sweep that left no backlog nothing liquidatable is open."""
    market = seen.market
    if not seen.ok or seen.action not in ("publish", "update_price", "continue_backlog"):
        return None
    if market._backlog:
        return None
    marks = market._load_marks()
    # Without rounding, and with more units than rounding can make out: no position for which this
    # is not negative is liquidatable. The integer rule decides about the others.
    one, scale = constants.FUNDING_PRECISION * constants.WAD, market.VALUE_SCALE * constants.WAD
    thresholds = [
        [
            (side_sign * constants.WAD - tier.maintenance_fraction)
            * marks.price
            * constants.FUNDING_PRECISION
            - marks.funding[side] * constants.WAD
            for tier in market.PARAMS.tiers
        ]
        for side, side_sign in ((constants.LONG, 1), (constants.SHORT, -1))
    ]
    for position_id, p in live(seen):
        entry = (p.entry_price if p.side == constants.LONG else -p.entry_price) * one
        entry -= p.entry_funding * constants.WAD
        surplus = (p.margin - 2) * scale + p.size * (thresholds[p.side][p.tier] - entry)
        if surplus < 0 and market._is_liquidatable(p, marks):
            return f"position {position_id} is liquidatable after {seen.action}: {p}"
    return None


def healthy_spared(seen: Observation) -> str | None:
    """P3: whatever was liquidated was liquidatable at the price of the liquidation."""
    market = seen.market
    marks = market._load_marks()
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
        if not market._is_liquidatable(position, marks):
            return f"position {position_id} was healthy: {position}"
    return None


def bounded_work(seen: Observation) -> str | None:
    """P4: one call liquidates and marks no more than MAX_VISITS positions."""
    liquidated = sum(event.name == "PositionLiquidated" for event in seen.events)
    if liquidated > constants.MAX_VISITS:
        return f"{seen.action} liquidated {liquidated} positions"
    return None


def exits_open(seen: Observation) -> str | None:
    """P5: margin can always be added, a healthy position closed whenever the price is fresh."""
    market = seen.market
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
        if market._is_fresh(marks) and not market._is_liquidatable(position, marks):
            reason = _refusal(market, partial(market.close, position_id, worst, sender=owner))
            if reason is not None:
                return f"healthy position {position_id} cannot be closed: {reason}"
    return None


def _refusal(market: PerpMarket, call: Callable[[], object]) -> str | None:
    """The reason why the market would refuse a call, which is then undone."""
    try:
        market.chain.probe(call)
    except Revert as revert:
        return revert.reason
    return None


def solvency_bounded(seen: Observation) -> str | None:
    """P6: net trader profit is no less than the sum of the values, by at most one unit each."""
    market = seen.market
    stated = market.solvency()
    marks = market._accrued()
    positions = live(seen)
    total = sum(market._value(p, p.size, marks.price, marks) for _, p in positions)
    if stated.open_positions != len(positions):
        return f"{stated.open_positions} positions stated, {len(positions)} open"
    if not total <= stated.net_trader_profit < total + len(positions) + 1:
        return f"net trader profit {stated.net_trader_profit}, sum of values {total}"
    return None


def totals_are_sums(seen: Observation) -> str | None:
    """I-1: each side's size, entry cost and entry funding, and all margin, equal the sums."""
    market = seen.market
    sums = [[0, 0, 0], [0, 0, 0]]
    margin = 0
    for _, p in live(seen):
        of_side = sums[p.side]
        of_side[0] += p.size
        of_side[1] += p.size * p.entry_price
        of_side[2] += p.size * p.entry_funding
        margin += p.margin
    if market._total_margin != margin:
        return f"margin stored {market._total_margin}, sum {margin}"
    for side in (constants.LONG, constants.SHORT):
        stored = [
            market._total_sizes[side],
            market._entry_costs[side],
            market._entry_fundings[side],
        ]
        if stored != sums[side]:
            return f"side {side}: stored {stored}, sums {sums[side]}"
    return None


def initial_margin_met(seen: Observation) -> str | None:
    """I-2, I-4, I-5: who added risk meets the initial requirement without unrealised profit."""
    market = seen.market
    if not seen.ok or seen.action not in ("open", "increase", "remove_margin"):
        return None
    position = market._positions[seen.position_id]
    if position is None:
        return f"position {seen.position_id} is not open after {seen.action}"
    marks = market._load_marks()
    loss = min(market._value(position, position.size, marks.price, marks), 0)
    fraction = market.PARAMS.tiers[position.tier].initial_fraction
    needed = Fraction(position.size * marks.price * fraction, market.NOTIONAL_SCALE * constants.WAD)
    if position.margin + loss < needed:
        return f"margin {position.margin} with loss {loss} is below {float(needed)}"
    return None


def reduced_is_healthy(seen: Observation) -> str | None:
    """I-5: who reduced is not liquidatable afterwards."""
    market = seen.market
    if not seen.ok or seen.action != "reduce":
        return None
    position = market._positions[seen.position_id]
    if position is None or market._is_liquidatable(position, market._load_marks()):
        return f"position {seen.position_id} after reduce: {position}"
    return None


def liquidation_split(seen: Observation) -> str | None:
    """I-6: a liquidation hands out exactly the equity; the reward is part of the penalty."""
    for event in seen.events:
        if event.name != "PositionLiquidated":
            continue
        _, _, _, _, value, penalty, reward, returned, insurance_used, bad_debt = event.fields
        before = seen.changed[event.fields[0]]
        after = seen.market._positions[event.fields[0]]
        if before is None:
            return f"unknown position in {event}"
        if reward > penalty:
            return f"reward {reward} above penalty {penalty}"
        if (insurance_used or bad_debt) and (penalty or returned):
            return f"a bankrupt position paid a penalty or got something back: {event}"
        rest = after.margin if after is not None else 0
        claims = before.margin + value - (rest + penalty + returned - insurance_used - bad_debt)
        if claims != 0 and not (claims > 0 and value > 0):
            return f"equity and its parts differ by {claims}: {event}"
    return None


def round_trip_never_profits(seen: Observation) -> str | None:
    """I-10: opening and closing at one price in one moment pays out no more than went in."""
    market = seen.market
    if not seen.token_is_sound:
        return None
    marks = market._accrued()
    if not market._is_fresh(marks) or market._backlog:
        return None
    trader = next((p.owner for _, p in sample(seen)), None)
    if trader is None:
        return None
    side = seen.turn % 2
    size = market.PARAMS.min_size * (1 + seen.turn % 7)
    price, fee = market._quote(side, size, marks)
    margin = fee + market._fraction_of_notional_up(size, max(price, marks.price), constants.WAD)

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
    if not market._backlog or not seen.token_is_sound:
        return None
    # A call visits MAX_VISITS; a position is visited twice at most: healthy, or part and rest.
    calls = 2 * len(live(seen)) // constants.MAX_VISITS + 2

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
    """I-17: the pool's cash is what providers put in, plus losses, less profits, by its events."""
    if seen.pool_flow != seen.market.pool.cash:
        return f"events sum to {seen.pool_flow}, cash is {seen.market.pool.cash}"
    return None


def rounding_favours_protocol(seen: Observation) -> str | None:
    """I-18: equity is below its exact value, a requirement above, both by less than a unit."""
    market = seen.market
    marks = market._accrued()
    for position_id, p in sample(seen):
        equity, requirement = market._health(p, marks)
        gain = (marks.price - p.entry_price) * (1 if p.side == constants.LONG else -1)
        paid = marks.funding[p.side] - p.entry_funding
        exact = p.margin + Fraction(
            p.size * (gain * constants.FUNDING_PRECISION - paid), market.VALUE_SCALE
        )
        fraction = market.PARAMS.tiers[p.tier].maintenance_fraction
        needed = Fraction(p.size * marks.price * fraction, market.NOTIONAL_SCALE * constants.WAD)
        if not (0 <= exact - equity < 1 and 0 <= requirement - needed < 1):
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
            market.PARAMS.tiers[p.tier].maintenance_fraction,
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
    params = market.PARAMS
    if own > params.max_open_interest or own - other > params.max_skew:
        return f"side sizes {own} and {other}"
    reserve = margin_math._fraction_of_notional_up(
        own + other, market._marks.price, params.reserve_fraction, market.NOTIONAL_SCALE
    )
    if reserve + market._claims > market.pool.cash:
        return f"reserve {reserve} and claims {market._claims} above cash {market.pool.cash}"
    return None


def funding_never_costs_the_pool(seen: Observation) -> str | None:
    """I-17: what both sides together pay per second is never negative."""
    market = seen.market
    marks = market._load_marks()
    later = Marks(marks.price, marks.price_time, marks.accrued_at, marks.epoch, [0, 0])
    now, market_time = market.chain.timestamp, marks.accrued_at
    before = market._marks
    market._marks = later
    market.chain.timestamp = market_time + 3600
    try:
        step = market._accrued().funding
    finally:
        market._marks = before
        market.chain.timestamp = now
    paid = sum(market._side_size(side) * step[side] for side in (0, 1))
    if paid < 0:
        return f"over an hour the pool would pay {-paid}"
    return None


INVARIANTS: tuple[Invariant, ...] = (
    Invariant("P1", "who is neither named nor liquidated keeps every figure", untouched_others),
    Invariant("P2", "every token unit is in exactly one ledger", conserved),
    Invariant("P2-owed", "credits and claims equal the sums over their owners", sums_of_owed, 101),
    Invariant(
        "P3", "after a finished sweep nothing liquidatable is open", liquidated_completely, 1
    ),
    Invariant("P3-spared", "only liquidatable positions are liquidated", healthy_spared),
    Invariant("P4", "one call liquidates at most MAX_VISITS positions", bounded_work),
    Invariant("P5", "margin can be added always, healthy positions close", exits_open, 613),
    Invariant("P6", "solvency() is within its bound of the sum", solvency_bounded, 167),
    Invariant("I-1", "totals equal the sums over the positions", totals_are_sums, 157),
    Invariant("I-4", "who adds risk meets the initial requirement", initial_margin_met),
    Invariant("I-5", "who reduced is not liquidatable", reduced_is_healthy),
    Invariant("I-6", "a liquidation hands out exactly the equity", liquidation_split),
    Invariant("I-9", "caps and reserve hold after an increase", pool_backs_open_interest),
    Invariant("I-10", "a round trip at one price never profits", round_trip_never_profits, 397),
    Invariant("I-12", "no lock outlives a transaction", locks_released),
    Invariant("I-14", "any backlog ends after finitely many calls", backlog_ends, 17),
    Invariant("I-17", "the pool's cash is the sum of its flows", pool_zero_sum),
    Invariant("I-17-funding", "funding never costs the pool", funding_never_costs_the_pool, 107),
    Invariant("I-18", "rounding favours the protocol", rounding_favours_protocol, 251),
    Invariant("X-1", "every position is in the ring of its key, once", filed_under_key, 467),
    Invariant("X-3", "bitmap and worst buckets say what the rings say", bitmap_is_exact, 479),
    Invariant("X-4", "no liquidatable position's bucket is not due", key_is_conservative, 73),
)

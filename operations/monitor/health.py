"""The health of a market at one block, as a record that a person's page and other programs read.

JSON: amounts of tokens, sizes, prices and fractions are decimal strings of integer units (the
token's `decimals`; 18 for the others), times are Unix times, distances basis points of the price.
"""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from operations.monitor.replica import SENTENCES, Happened, Replica
from operations.monitor.system import System
from python_model.modules import breaker_causes, constants, fixed_point, trigger_price
from python_model.perp_market import Marks, Position

Record = dict[str, Any]
EDGES = (50, 100, 200, 500, 1_000, 2_000, 5_000)  # basis points
LISTED = 10  # positions
TRIPS = 8
BPS = 10_000
SIDES = ("long", "short")
CAUSES = {
    breaker_causes.JUMP: "jump",
    breaker_causes.MOVE_SHORT: "fast move",
    breaker_causes.MOVE_LONG: "long move",
    breaker_causes.LIQUIDATED_VOLUME: "liquidated volume",
    breaker_causes.POOL_LOSS: "loss of the pool",
    breaker_causes.BAD_DEBT: "bad debt",
}
LIQUIDATED = ("size", "price", "value", "penalty", "reward", "returned", "insurance", "bad_debt")
SETTLED = ("size", "price", "value", "claim", "returned", "insurance", "bad_debt")


class Broken(NamedTuple):
    """Since when an invariant is broken, and how it was at first."""

    block: int
    text: str


def health(replica: Replica, broken: Mapping[str, Broken], head: int) -> Record | None:
    """At the last block of the replica; None before the market is created. `head` is the newest
    block of the chain."""
    system, block = replica.system, replica.last
    if system is None or block is None:
        return None
    market, engine, now = system.market, system.engine, block.timestamp
    marks = market._accrued()
    totals, params = market.totals(), engine.params()
    return {
        "block": {"number": block.number, "hash": block.hash, "timestamp": now},
        "decimals": system.token.decimals,
        "symbol": replica.subject.name,
        "price": _price(system, marks, now),
        "breaker": _breaker(replica, system, now),
        "solvency": {
            name: value if name == "open_positions" else str(value)
            for name, value in market.solvency()._asdict().items()
        },
        "open_interest": {
            "long": str(totals.long_size),
            "short": str(totals.short_size),
            "cap": str(params.max_open_interest),
        },
        "positions": {"open": totals.open_positions, "ever": totals.positions},
        "distances": {"edges": list(EDGES), "counts": _distances(replica, marks)},
        "next": _next(replica, system, marks),
        "events": [shown for one in _of_block(replica) if (shown := _event(one)) is not None],
        "invariants": _invariants(broken),
        "feed": {
            "kind": "signed" if replica.subject.is_signed else "aggregator",
            "age": now - marks.price_time,
            "max_age": engine.PARAMS.max_price_age,
        },
        "funding": {side: str(marks.funding[i]) for i, side in enumerate(SIDES)},
        "lag_blocks": max(head - block.number, 0),
    }


def _price(system: System, marks: Marks, now: int) -> Record:
    engine = system.engine
    jump = fixed_point._mul_div_down(marks.price, engine.params().max_jump, constants.WAD)
    return {
        "value": str(marks.price),
        "time": marks.price_time,
        "age": now - marks.price_time,
        "confidence": str(engine._confidence),
        "band_low": str(marks.price - jump),
        "band_high": str(marks.price + jump),
        "held": str(engine._pending_price) if engine._is_halted else None,
    }


def _breaker(replica: Replica, system: System, now: int) -> Record:
    until = system.engine._reduce_only_until
    state = "normal"
    if system.market._halted:
        state = "price held"
    elif now < until:
        state = "reduce only"
    elif system.market._backlog:
        state = "backlog"
    trips = [one for one in replica.recent if one.event.name == "BreakerTripped"]
    return {
        "state": state,
        "until": until,
        "trips": [
            {
                "cause": CAUSES.get(one.event.fields[0], str(one.event.fields[0])),
                "block": one.block,
                "time": one.time,
                "until": one.event.fields[1],
            }
            for one in trips[-TRIPS:]
        ],
    }


def _distances(replica: Replica, marks: Marks) -> list[int]:
    """How many positions a move of the price against them, by less than each edge, liquidates; the
    last number is of those that are farther away. To within rounding by one unit of the token."""
    seen = replica.seen
    assert seen is not None
    nearer = [0] * len(EDGES)
    for list_id, ranks in enumerate(seen.ranked):
        if ranks:
            side, tier = divmod(list_id, constants.TIERS)
            for i, edge in enumerate(EDGES):
                move = -edge if side == constants.LONG else edge
                price = marks.price * (BPS + move) // BPS
                nearer[i] += bisect_left(ranks, (_least(side, tier, price, marks),))
    counts = [nearer[0]]
    counts += [most - fewer for fewer, most in pairwise(nearer)]
    return [*counts, len(seen.live) - nearer[-1]]


def _least(side: int, tier: int, price: int, marks: Marks) -> int:
    """Of `nearness`: from where on positions of a list are healthy at a price."""
    scaled = price * constants.FUNDING_PRECISION
    fraction = marks.terms.maintenance_fractions[tier]
    needed = fixed_point._mul_div_up(scaled, fraction, constants.WAD) + marks.funding[side]
    return needed - scaled if side == constants.LONG else needed + scaled


def _next(replica: Replica, system: System, marks: Marks) -> list[Record]:
    """The positions nearest to liquidation, the nearest first."""
    seen, market = replica.seen, system.market
    assert seen is not None
    found = []
    for ranks in seen.ranked:
        for _, position_id in ranks[:LISTED]:
            position = market._stored(position_id)
            price = _liquidation_price(position, marks, market.NOTIONAL_SCALE)
            found.append((_distance_bp(position.side, price, marks.price), position_id, price))
    found.sort()
    return [
        _position(position_id, market._stored(position_id), price, distance)
        for distance, position_id, price in found[:LISTED]
    ]


def _liquidation_price(position: Position, marks: Marks, notional_scale: int) -> int:
    return trigger_price._first_price(
        position.side,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
        marks.funding[position.side],
        marks.terms.maintenance_fractions[position.tier],
        notional_scale,
    )


def _distance_bp(side: int, liquidation_price: int, price: int) -> int:
    """How far the price may move against it; below zero if it already has."""
    if not price:
        return 0
    room = price - liquidation_price if side == constants.LONG else liquidation_price - price
    return min(fixed_point._signed_div_floor(room * BPS, price), 10**9)


def _position(position_id: int, position: Position, price: int, distance: int) -> Record:
    return {
        "id": position_id,
        "owner": position.owner,
        "side": SIDES[position.side],
        "size": str(position.size),
        "margin": str(position.margin),
        "liquidation_price": str(price),
        "distance_bp": distance,
    }


def _of_block(replica: Replica) -> list[Happened]:
    assert replica.last is not None
    number = replica.last.number
    found = []
    for one in reversed(replica.recent):
        if one.block != number:
            break
        found.append(one)
    return found[::-1]


def _event(one: Happened) -> Record | None:
    """What a page tells of: positions that end against their owner's will, prices held."""
    name, fields = one.event.name, one.event.fields
    at = {"block": one.block, "time": one.time}
    if name in ("PositionLiquidated", "PositionSettled"):
        is_settled = name == "PositionSettled"
        kind = "liquidated"
        if is_settled:
            kind = "deleveraged" if fields[9] else "settled"
        names = SETTLED if is_settled else LIQUIDATED
        figures = {key: str(value) for key, value in zip(names, fields[2:], strict=False)}
        plain = {"penalty": "0", "reward": "0"}
        return at | {"kind": kind, "id": fields[0], "owner": fields[1]} | plain | figures
    if name == "PriceHeld":
        return at | {"kind": "held", "text": "price held", "price": str(fields[0])}
    if name == "PriceConfirmed":
        return at | {"kind": "confirmed", "text": "price confirmed", "price": str(fields[0])}
    return None


def _invariants(broken: Mapping[str, Broken]) -> list[Record]:
    found = []
    for name, sentence in SENTENCES.items():
        since = broken.get(name)
        found.append(
            {
                "id": name,
                "sentence": sentence,
                "state": "holds" if since is None else "broken",
                "since_block": None if since is None else since.block,
                "text": None if since is None else since.text,
            }
        )
    return found

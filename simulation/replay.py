"""One crash, one crowd, one market."""

import time
from collections.abc import Callable
from typing import NamedTuple

from lockstep.errors import InputError
from simulation.crowd import Crowd
from simulation.figures import Figures, Snapshot
from simulation.tape import HOUR, Report, Tape
from simulation.tiers import Tiers
from simulation.venue import Venue

BLOCK_SECONDS = 12  # between two calls of a keeper who works off a backlog
POOL_PERCENT = 20  # cash of the pool, of the notional of one position a trader
RESERVE_PERMILLE = 5  # of that notional
AUDIT_UPDATES = 500  # between two looks at every position


class Fault(AssertionError):
    """The model broke a promise during a replay."""


class Result(NamedTuple):
    """A replay from the crash on."""

    is_dynamic: bool
    before: Snapshot
    after: Snapshot
    figures: Figures
    venue: Venue
    seconds: float


def replay(
    tape: Tape,
    tiers: Tiers,
    is_dynamic: bool,
    *,
    seed: int = 1,
    positions: int = 3_000,
    watch: Callable[[Venue, Report], object] | None = None,
) -> Result:
    """Replays the tape; `watch` is called after every report of it."""
    started = time.monotonic()
    first = tape.reports[0]
    if not first.at < tape.crash_at < tape.reports[-1].at:
        raise InputError("the crash is not inside the window")
    crowd = Crowd(seed, positions, tiers, first.at, tape.crash_at)
    notional = crowd.notional()
    venue = Venue(
        first.at,
        first.price,
        tiers,
        notional,
        2 * tape.bar_seconds,
        tape.calm_volatility,
        is_dynamic,
    )
    crowd.endow(venue)
    before: Snapshot | None = None
    acts_at = first.at
    audits_due = 0
    for index, report in enumerate(tape.reports):
        if before is None and report.at >= tape.crash_at:
            before, venue.figures = venue.snapshot(), Figures()
        is_taken = venue.report(*report)
        if index == 0:
            venue.provide(notional * POOL_PERCENT // 100, notional * RESERVE_PERMILLE // 1000)
        if watch is not None:
            watch(venue, report)
        audits_due += 1
        if is_taken and audits_due >= AUDIT_UPDATES:
            audits_due = 0
            _audit(venue)
        ends_at = tape.reports[index + 1].at if index + 1 < len(tape.reports) else report.at + HOUR
        for at in range(report.at + BLOCK_SECONDS, ends_at, BLOCK_SECONDS):
            if not venue.has_backlog():
                break
            venue.continue_backlog(at)
        if report.at >= acts_at:
            acts_at += tape.bar_seconds
            venue.chain.timestamp = max(venue.chain.timestamp, report.at + 1)
            crowd.act(venue, venue.chain.timestamp, tape.bar_seconds)
    assert before is not None
    return Result(
        is_dynamic, before, venue.snapshot(), venue.figures, venue, time.monotonic() - started
    )


def _audit(venue: Venue) -> None:
    faults = venue.faults()
    if faults:
        raise Fault(f"at {venue.chain.timestamp}: {'; '.join(faults[:5])}")

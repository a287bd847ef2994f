"""What the demonstration replays: a day of a real file, another file, or the built-in crash."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from lockstep.errors import InputError
from lockstep.prices import (
    MINUTE,
    PricePoint,
    black_thursday_like,
    jump_diffusion,
    parse_time,
    points,
    read_bars,
)
from simulation.tape import SCENARIOS, read_tape

REAL = SCENARIOS[0]  # March 2020
# A quarter of an hour or so of the tape before it gets rough: time for positions to be opened.
REAL_START = "2020-03-12T10:15"
SYNTHETIC_START = "2020-03-12T13:50"
AFTERWARDS_SECONDS = 15  # between two prices of the quiet after the end of a tape
AFTERWARDS_PPM = 400  # their standard deviation


class Replay(NamedTuple):
    """Prices without an end, and what they are."""

    title: str
    start: int  # time of the first
    price: int  # the first, WAD
    points: Iterator[PricePoint]


def replay_of(
    data: Path | None, prices: Path | None, start: str | None, end: str | None, seed: int
) -> Replay:
    """What the options ask for, followed by a quiet market."""
    if prices is not None:
        if data is not None:
            raise InputError(f"--prices {prices}: give either this or --data {data}")
        found: Iterable[PricePoint] = points(read_bars(prices, start, end))
        title = prices.name
    elif data is not None:
        found, title = _real(data, start or REAL_START, end or REAL.end), REAL.title
    else:
        found = _between(black_thursday_like(seed), start or SYNTHETIC_START, end)
        title = "a synthetic crash"
    tape = iter(found)
    first = next(tape, None)
    if first is None:
        raise InputError(f"--start {start}: no price from there on; give an earlier one")
    return Replay(title, first.at, first.price, _endless(first, tape, seed))


def _real(data: Path, start: str, end: str) -> Iterator[PricePoint]:
    if not data.is_dir():
        raise InputError(f"--data {data}: no such directory; it holds {REAL.file}")
    first, last = parse_time(start), parse_time(end)
    if not first < last - MINUTE:
        raise InputError(f"--start {start} is not before the end {end}: move one of them")
    # Whoever replays it needs a moment of crash within the window; nothing here depends on it.
    window = REAL._replace(start=start, end=end, crash=str((first + last) // 2))
    newest = 0
    for report in read_tape(window, data).reports:
        if report.price_time > newest:
            newest = report.price_time
            yield PricePoint(report.price_time, report.price)


def _between(found: Iterable[PricePoint], start: str, end: str | None) -> Iterator[PricePoint]:
    first, last = parse_time(start), parse_time(end) if end else 2**63
    return (point for point in found if first <= point.at < last)


def _endless(first: PricePoint, tape: Iterator[PricePoint], seed: int) -> Iterator[PricePoint]:
    last = first
    for last in chain([first], tape):
        yield last
    quiet = jump_diffusion(
        seed,
        last.at + AFTERWARDS_SECONDS,
        last.price,
        steps=10**9,
        seconds=AFTERWARDS_SECONDS,
        volatility_ppm=AFTERWARDS_PPM,
    )
    yield from quiet

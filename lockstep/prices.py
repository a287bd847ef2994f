"""Price paths: from a file of bars, or from a seeded process. Prices are exact integers (WAD)."""

import math
import random
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lockstep.errors import InputError

WAD = 10**18
COLUMNS = ("ts", "open", "high", "low", "close")
MINUTE = 60
_DECIMAL = re.compile(r"\+?(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?", re.ASCII)


class PriceFileError(InputError):
    """A price file that cannot be used: file, line and remedy in one line."""


class PricePoint(NamedTuple):
    at: int  # timestamp in seconds
    price: int  # WAD


class Bar(NamedTuple):
    at: int
    open: int
    high: int
    low: int
    close: int


@lru_cache(maxsize=1 << 16)  # prices repeat: this halves the time to read a year of minutes
def parse_wad(text: str) -> int:
    """Decimal text as an exact integer WAD. ValueError if it is none or finer than 18 places."""
    match = _DECIMAL.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        raise ValueError(f"{text!r} is not a decimal number")
    fraction = match[2] or ""
    digits = int(match[1] + fraction)
    exponent = int(match[3] or 0) - len(fraction) + 18
    if exponent >= 0:
        scale: int = 10**exponent
        return digits * scale
    scale = 10**-exponent
    whole, rest = divmod(digits, scale)
    if rest:
        raise ValueError(f"{text!r} has more than 18 decimal places")
    return whole


def parse_time(text: str) -> int:
    """ISO date or time (UTC unless it says otherwise), or a unix time in s or ms, as seconds."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        value = int(stripped)
        return value // 1000 if value >= 10**11 else value
    try:
        moment = datetime.fromisoformat(stripped)
    except ValueError:
        raise InputError(
            f"{text!r} is no time: write 2020-03-12, 2020-03-12T10:00 or a unix time in s or ms"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def read_bars(path: str | Path, start: str | None = None, end: str | None = None) -> list[Bar]:
    """All bars of a CSV (or .gz of one) with start <= time < end. The whole file is checked."""
    first = parse_time(start) if start else 0
    last = parse_time(end) if end else 2**63
    if first >= last:
        raise InputError(f"start {start} is not before end {end}: swap or widen them")
    bars: list[Bar] = []
    seen = 0
    for bar in _bars(Path(path)):
        seen += 1
        if first <= bar.at < last:
            bars.append(bar)
    if not seen:
        raise PriceFileError(f"{path}: line 2: no bars after the header; give a file with data")
    if not bars:
        window = f"{start or 'the start'} and {end or 'the end'}"
        raise PriceFileError(f"{path}: no bar between {window}; choose a window inside the file")
    return bars


def _lines(path: Path) -> Iterator[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PriceFileError(f"{path}: {reason}; check the path") from None
    if raw[:2] == b"\x1f\x8b" or path.suffix == ".gz":
        raw = _unpack(path, raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PriceFileError(f"{path}: line 1: not text; give a CSV or a gz of one") from None
    yield from text.splitlines()


def _unpack(path: Path, raw: bytes) -> bytes:
    text = b""
    while raw:  # a gz may be several, one after the other
        stream = zlib.decompressobj(wbits=31)
        try:
            text += stream.decompress(raw)
        except zlib.error:
            line = text.count(b"\n") + 1
            raise PriceFileError(
                f"{path}: line {line}: not valid gzip; download it again"
            ) from None
        if not stream.eof:
            line = text.count(b"\n") + 1
            raise PriceFileError(f"{path}: line {line}: the gzip is truncated; download it again")
        raw = stream.unused_data
    return text


def _bars(path: Path) -> Iterator[Bar]:
    lines = _lines(path)
    header = next(lines, "").strip()
    if not header:
        raise PriceFileError(f"{path}: line 1: empty; start it with {','.join(COLUMNS)}")
    names = [name.strip().strip('"').lower() for name in header.split(",")]
    for column in COLUMNS:
        if column not in names:
            raise PriceFileError(
                f"{path}: line 1: no column {column!r} in the header {header[:60]!r}; add it"
            )
    where = [names.index(column) for column in COLUMNS]
    previous = -1
    unit = 0
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        fields = line.replace('"', "").split(",")
        if len(fields) < len(names):
            raise PriceFileError(
                f"{path}: line {number}: {len(fields)} fields where the header has {len(names)}"
                "; complete or delete the line"
            )
        stamp = fields[where[0]].strip()
        if not (stamp.isascii() and stamp.isdigit()):
            raise PriceFileError(f"{path}: line {number}: ts {stamp!r} is no unix time in s or ms")
        unit = unit or (1000 if int(stamp) >= 10**11 else 1)
        at = int(stamp) // unit
        if at <= previous:
            what = "repeats the previous one" if at == previous else "is before the previous one"
            raise PriceFileError(f"{path}: line {number}: ts {stamp} {what}; sort, drop duplicates")
        previous = at
        try:
            values = [parse_wad(fields[i]) for i in where[1:]]
        except ValueError:
            values = [_price(path, number, COLUMNS[k], fields[where[k]]) for k in range(1, 5)]
        if not all(values):
            raise PriceFileError(f"{path}: line {number}: a price is zero; give positive decimals")
        bar = Bar(at, *values)
        # An open outside low..high is let through: exchanges publish the previous close as open.
        if bar.high < bar.low:
            raise PriceFileError(f"{path}: line {number}: high is below low; correct the line")
        yield bar


def _price(path: Path, number: int, name: str, text: str) -> int:
    try:
        return parse_wad(text)
    except ValueError as error:
        raise PriceFileError(
            f"{path}: line {number}: {name} {error}; give a positive decimal number"
        ) from None


def points(bars: Iterable[Bar], bar_seconds: int = MINUTE) -> Iterator[PricePoint]:
    """Open, the two extremes and close of each bar, spread over it; equal neighbours dropped.

    The extreme nearer to the open comes first: the shorter walk is the likelier one.
    """
    for bar in bars:
        low_first = bar.open - bar.low < bar.high - bar.open
        middle = (bar.low, bar.high) if low_first else (bar.high, bar.low)
        last = 0
        for quarter, price in enumerate((bar.open, *middle, bar.close)):
            if price != last:
                yield PricePoint(bar.at + quarter * bar_seconds // 4, price)
            last = price


def jump_diffusion(
    seed: int,
    start: int,
    price: int,
    *,
    steps: int,
    seconds: int = MINUTE,
    drift_ppm: int = 0,
    volatility_ppm: int = 800,
    jumps_per_million: int = 500,
    jump_ppm: int = 30_000,
    fall_share_ppm: int = 500_000,
) -> Iterator[PricePoint]:
    """A seeded jump-diffusion in integers: the same on every machine and Python version.

    Each step moves the price by drift plus a triangular shock of the given standard deviation,
    and now and then by a jump of up to jump_ppm, down with probability fall_share_ppm.
    """
    rng = random.Random(seed)
    # A difference of two uniforms on 0..n-1 has variance (n*n - 1)/6; isqrt keeps it an integer.
    width = max(1, math.isqrt(6 * volatility_ppm**2 + 1))
    for i in range(steps):
        yield PricePoint(start + i * seconds, price)
        move = drift_ppm + rng.randrange(width) - rng.randrange(width)
        if rng.randrange(1_000_000) < jumps_per_million:
            size = rng.randrange(jump_ppm + 1)
            move += -size if rng.randrange(1_000_000) < fall_share_ppm else size
        price = max(1, price * (1_000_000 + max(move, -900_000)) // 1_000_000)


def black_thursday_like(
    seed: int, start: int = 1_583_971_200, price: int = 7_900 * WAD
) -> Iterator[PricePoint]:
    """A synthetic crash, no data needed: calm, slide, -50 % within hours, silence, rebound.

    One point a minute over 36 hours; the feed is silent for 28 minutes near the bottom.
    """
    # (minutes, drift per minute in ppm, volatility in ppm, jumps per million)
    phases = (
        (600, 0, 400, 0),  # calm
        (240, -450, 1_200, 2_000),  # slide, about -10 %
        (60, -3_800, 4_000, 20_000),  # first leg down, about -20 %
        (240, 0, 2_500, 5_000),  # stunned
        (120, -4_200, 6_000, 40_000),  # second leg down, about -40 %
        (90, 3_500, 7_000, 30_000),  # rebound
        (810, 150, 2_000, 3_000),  # recovery
    )
    minute = 0
    for index, (length, drift, volatility, jumps) in enumerate(phases):
        leg = jump_diffusion(
            seed * 31 + index,
            start + minute * MINUTE,
            price,
            steps=length + 1,  # the last point is the first of the next phase
            drift_ppm=drift,
            volatility_ppm=volatility,
            jumps_per_million=jumps,
        )
        for at, value in leg:
            price = value
            passed = (at - start) // MINUTE - minute
            if passed == length:
                break
            # the feed falls silent just before the rebound
            if not (index == 4 and passed > length - 28):
                yield PricePoint(at, value)
        minute += length

"""What a price feed would have said: bars of a file as a sequence of reports, outages included."""

import gzip
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lockstep.errors import InputError
from lockstep.prices import MINUTE, Bar, PricePoint, black_thursday_like, parse_time, read_bars
from python_model.modules.constants import FRACTION_UNIT, WAD

HOUR = 3_600
DAY = 86_400
CALM_DAYS = 30  # before the window: the volatility that the market's owner calls calm
QUARTERS = 4  # reports a bar

# A venue is dead from the first of OUTAGE_SECONDS in which no bar has a hundredth of the hour's
# median volume, until REVIVAL bars in a row have a quarter of it: what it prints in between is
# nobody's price.
OUTAGE_SECONDS = 600
DEAD_SHARE = 100
LIVE_SHARE = 4
REVIVAL = 5


class Scenario(NamedTuple):
    """A window of a file. Times are UTC; the population is there at `crash`, figures start then."""

    name: str
    title: str
    file: str
    symbol: str  # whose margin tiers
    start: str
    crash: str
    end: str
    bar_seconds: int = MINUTE  # zero: as the file's bars are spaced
    is_stamped_at_end: bool = False


class Report(NamedTuple):
    """The newest observation, as of `at`. In an outage and in a gap it is the last one before."""

    at: int
    price: int
    price_time: int


class Tape(NamedTuple):
    """Reports in order, and what is known of them."""

    reports: list[Report]
    crash_at: int
    bar_seconds: int
    calm_volatility: int  # WAD per square root of a day
    outages: list[tuple[int, int]]  # first second, first second after it


SYNTHETIC = Scenario(
    "synthetic", "A synthetic crash", "", "", "2020-03-12", "2020-03-12T10:00", "2020-03-13T12:00"
)
SCENARIOS = (
    Scenario(
        "xbt-march-2020",
        "BitMEX XBTUSD, 12 and 13 March 2020",
        "bitmex_XBTUSD_1m_2020.csv.gz",
        "BTC/USDT:USDT",
        "2020-03-10",
        "2020-03-12T10:00",
        "2020-03-14",
        is_stamped_at_end=True,
    ),
    Scenario(
        "eth-june-2022",
        "Binance ETHUSDT, 10 to 15 June 2022",
        "binance_um_ETHUSDT_1m_2022.csv.gz",
        "ETH/USDT:USDT",
        "2022-06-08",
        "2022-06-10T12:00",
        "2022-06-16",
    ),
    Scenario(
        "eth-november-2022",
        "Binance ETHUSDT, 8 to 10 November 2022",
        "binance_um_ETHUSDT_1m_2022.csv.gz",
        "ETH/USDT:USDT",
        "2022-11-06",
        "2022-11-08T12:00",
        "2022-11-11",
    ),
    Scenario(
        "sol-october-2025",
        "Binance SOLUSDT, 10 October 2025",
        "binance_um_SOLUSDT_5m_2025_202602.csv.gz",
        "SOL/USDT:USDT",
        "2025-10-08",
        "2025-10-10T14:00",
        "2025-10-12",
        bar_seconds=300,
    ),
    Scenario(
        "usdc-march-2023",
        "Kraken USDC/USD, 10 to 13 March 2023",
        "kraken_usdcusd_1m.csv.gz",
        "BTC/USDT:USDT",  # the file of tiers has no other that is quoted in dollars and calmer
        "2023-03-08",
        "2023-03-10T18:00",
        "2023-03-14",
    ),
)


def read_tape(scenario: Scenario, directory: Path | None, seed: int = 1) -> Tape:
    """The scenario's reports; the built-in crash needs no directory."""
    if not scenario.file:
        return _synthetic_tape(scenario, seed)
    if directory is None:
        raise InputError(f"{scenario.name} needs the price files: give their directory with --data")
    path = directory / scenario.file
    step = scenario.bar_seconds
    start, end = parse_time(scenario.start), parse_time(scenario.end)
    shift = step if scenario.is_stamped_at_end else 0
    bars = [
        bar._replace(at=bar.at - shift)
        for bar in read_bars(path, str(start - CALM_DAYS * DAY + shift), str(end + shift))
    ]
    step = step or _spacing(bars)
    before = [bar for bar in bars if bar.at < start]
    window = [bar for bar in bars if bar.at >= start]
    if not before or not window:
        raise InputError(f"{path}: no bars before or none after {scenario.start}")
    volumes = _volumes(path, start + shift - 2 * HOUR, end + shift)
    outages = find_outages([(at - shift, volume) for at, volume in volumes], step)
    return Tape(
        list(reports(window, step, outages, end)),
        parse_time(scenario.crash),
        step,
        volatility(observations(before, step)),
        outages,
    )


def _spacing(bars: Sequence[Bar]) -> int:
    steps = [later.at - bar.at for bar, later in pairwise(bars)]
    return int(statistics.median(steps)) if steps else MINUTE


def _synthetic_tape(scenario: Scenario, seed: int) -> Tape:
    start, crash = parse_time(scenario.start), parse_time(scenario.crash)
    points = list(black_thursday_like(seed, start))
    said: list[Report] = []
    for at in range(start, parse_time(scenario.end), MINUTE):
        while points and points[0].at <= at:
            newest = points.pop(0)
        said.append(Report(at, newest.price, newest.at))
    calm = [PricePoint(report.at, report.price) for report in said if report.at < start + 10 * HOUR]
    return Tape(said, crash, MINUTE, volatility(calm), [])


def observations(bars: Iterable[Bar], bar_seconds: int) -> Iterator[PricePoint]:
    """Open, the two extremes and close of each bar, a quarter of it apart.

    The extreme nearer to the open comes first: the shorter walk is the likelier one.
    """
    for bar in bars:
        low_first = bar.open - bar.low < bar.high - bar.open
        middle = (bar.low, bar.high) if low_first else (bar.high, bar.low)
        for quarter, price in enumerate((bar.open, *middle, bar.close)):
            yield PricePoint(bar.at + quarter * bar_seconds // QUARTERS, price)


def reports(
    bars: Sequence[Bar], bar_seconds: int, outages: Sequence[tuple[int, int]], end: int
) -> Iterator[Report]:
    """Four reports a bar up to `end`; where there is no bar, or an outage, the last one again."""
    seen = {
        point.at: point
        for point in observations(bars, bar_seconds)
        if not any(first <= point.at < after for first, after in outages)
    }
    newest: PricePoint | None = None
    for bar_at in range(bars[0].at, end, bar_seconds):
        for quarter in range(QUARTERS):
            at = bar_at + quarter * bar_seconds // QUARTERS
            newest = seen.get(at, newest)
            if newest is not None:
                yield Report(at, newest.price, newest.at)


def find_outages(volumes: Sequence[tuple[int, int]], bar_seconds: int) -> list[tuple[int, int]]:
    """Intervals in which the venue was dead. Volumes by the time at which the bar begins."""
    count = OUTAGE_SECONDS // bar_seconds
    hour = HOUR // bar_seconds
    found: list[tuple[int, int]] = []
    index = hour
    while index + count <= len(volumes):
        usual = statistics.median(volume for _, volume in volumes[index - hour : index])
        if any(volume * DEAD_SHARE >= usual for _, volume in volumes[index : index + count]):
            index += 1
            continue
        first = volumes[index][0]
        row = 0
        while row < REVIVAL and index < len(volumes):
            row = row + 1 if volumes[index][1] * LIVE_SHARE >= usual else 0
            index += 1
        found.append((first, volumes[index - 1][0] + bar_seconds))
    return found


def _volumes(path: Path, start: int, end: int) -> list[tuple[int, int]]:
    """Volume by time stamp, in millionths; empty without such a column. read_bars has checked."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    lines = iter(text.splitlines())
    names = [name.strip().strip('"').lower() for name in next(lines).split(",")]
    if "volume" not in names:
        return []
    when, where = names.index("ts"), names.index("volume")
    found = []
    for line in lines:
        fields = line.replace('"', "").split(",")
        if len(fields) < len(names):
            continue
        at = parse_time(fields[when])
        if start <= at < end:
            found.append((at, _millionths(path, fields[where])))
    return found


def _millionths(path: Path, volume: str) -> int:
    try:
        return int(float(volume) * 10**6)
    except (ValueError, OverflowError):
        raise InputError(f"{path}: volume {volume!r} is no number; correct the line") from None


def volatility(points: Iterable[PricePoint]) -> int:
    """Root mean square move per square root of a day, WAD, in whole units of a fraction."""
    squares = seconds = 0
    last: PricePoint | None = None
    for point in points:
        if last is not None:
            move = (point.price - last.price) * WAD // last.price
            squares += move * move
            seconds += point.at - last.at
        last = point
    root = math.isqrt(squares * DAY // max(seconds, 1))
    return max(1, root // FRACTION_UNIT) * FRACTION_UNIT

"""What an adapter may add to the report: distributions of quantities, and lines with marks on them.

Both are bounded in size, whatever the length of a campaign, and those of several processes add up
to what one process would have counted.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple, Protocol, runtime_checkable

MOST_POINTS = 800  # of a line: more cannot be told apart on a page
MOST_MARKS = 500
DIGITS = 7  # significant ones that are kept


class Measure(NamedTuple):
    """A quantity whose distribution is shown."""

    title: str
    unit: str  # "" for a pure number
    edges: Sequence[float]  # of the bins, ascending; two more take what lies outside
    about: str = ""  # a sentence: what one sample is


class Mark(NamedTuple):
    """A moment worth seeing on a line."""

    x: float
    y: float
    kind: str


class Series(NamedTuple):
    """A line through (x, y), x ascending, with marks on it."""

    title: str
    x_unit: str
    unit: str
    points: Sequence[tuple[float, float]]
    marks: Sequence[Mark] = ()


@runtime_checkable
class Sampled(Protocol):
    """A twin that is looked at, at intervals and at the end of its chain."""

    def samples(self) -> Mapping[str, Iterable[float]]:
        """Values at this moment, by the name of their measure (`Adapter.measures`)."""

    def series(self) -> Sequence[Series]:
        """The lines of the whole chain so far."""


class Histogram:
    """Counts of values by bin: the first is below all edges, the last from the last edge on."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.counts = [0] * (len(measure.edges) + 1)
        self.least: float | None = None
        self.greatest: float | None = None

    def add(self, values: Iterable[float]) -> None:
        for value in values:
            self.counts[bisect_right(self.measure.edges, value)] += 1
            self._widen(value, value)

    def merge(self, other: "Histogram") -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        if other.least is not None and other.greatest is not None:
            self._widen(other.least, other.greatest)

    def _widen(self, least: float, greatest: float) -> None:
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)

    def summary(self) -> dict[str, Any]:
        return {
            "title": self.measure.title,
            "unit": self.measure.unit,
            "about": self.measure.about,
            "edges": list(self.measure.edges),
            "counts": self.counts,
            "samples": sum(self.counts),
            "least": _short(self.least),
            "greatest": _short(self.greatest),
        }


class Line(NamedTuple):
    """A series as it is kept: thinned, with the number of marks there were of each kind."""

    chain: int
    steps: int  # of the chain
    series: Series
    marked: dict[str, int]

    def summary(self) -> dict[str, Any]:
        series = self.series
        return {
            "chain": self.chain,
            "title": series.title,
            "x_unit": series.x_unit,
            "unit": series.unit,
            "points": [[_short(x), _short(y)] for x, y in series.points],
            "marks": [[_short(mark.x), _short(mark.y), mark.kind] for mark in series.marks],
            "marked": self.marked,
        }


def kept(chain: int, steps: int, series: Series) -> Line:
    """The series in bounded size; its extremes stay."""
    marked: dict[str, int] = {}
    for mark in series.marks:
        marked[mark.kind] = marked.get(mark.kind, 0) + 1
    stride = -(-len(series.marks) // MOST_MARKS) or 1
    points, marks = _thin(series.points, MOST_POINTS), list(series.marks[::stride])
    return Line(chain, steps, series._replace(points=points, marks=marks), marked)


def _thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most that many: of each stretch its lowest and its highest point, and both ends."""
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    chosen = {0, len(points) - 1}
    for i in range(stretches):
        stretch = range(i * len(points) // stretches, (i + 1) * len(points) // stretches)
        chosen.add(min(stretch, key=lambda at: points[at][1]))
        chosen.add(max(stretch, key=lambda at: points[at][1]))
    return [points[at] for at in sorted(chosen)]


def _short(value: float | None) -> float | None:
    """With as many digits as are of use; None for what JSON has no word for."""
    return None if value is None or not isfinite(value) else float(f"{value:.{DIGITS}g}")

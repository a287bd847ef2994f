"""What a campaign counted: cheap to keep, picklable, and those of several processes add up."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Twin
from lockstep.checker import Checker, Done
from lockstep.coverage.model import Arcs, merge_arcs
from lockstep.coverage.record import Coverage
from lockstep.coverage.recorder import scope_of
from lockstep.guidance import boundary_table, outcome
from lockstep.samples import Histogram, Line, Sampled, kept

Key = tuple[str, str, bool, bool, str]  # action, aim, succeeded, changed state, revert reason
AGREED, STOPPED = "agreed", "stopped"  # how a chain ended, if not with a kind of mismatch
MOST_LINES = 12  # kept of all chains
SHORT = 10  # times shorter than the longest: such a chain's is not worth its place
MOST_MOMENTS = 240  # at which the steps done are kept


class Chain(NamedTuple):
    """What became of one chain."""

    number: int
    steps: int
    began: float  # unix time
    seconds: float
    worker: str  # the process that ran it
    outcome: str


class Pace:
    """How many steps were done when: few points, evenly apart, however long it takes."""

    def __init__(self) -> None:
        self.points: list[tuple[float, int]] = [(0.0, 0)]  # seconds from the start, steps
        self._began = time.monotonic()
        self._done = 0
        self._apart = 0.1

    def tick(self, steps: int) -> None:
        self._done += steps
        now = time.monotonic() - self._began
        if now >= self.points[-1][0] + self._apart:
            self.points.append((now, self._done))
            if len(self.points) > MOST_MOMENTS:
                self.points = self.points[::2]
                self._apart *= 2

    def end(self) -> list[tuple[float, int]]:
        """With the last moment."""
        return [*self.points, (time.monotonic() - self._began, self._done)]


class Tally:
    """Counts of one campaign; those of several processes can be merged."""

    def __init__(self, adapter: Adapter) -> None:
        self.counts: dict[Key, int] = {}
        self.actions = list(adapter.actions)
        self.sentences = {item.id: item.sentence for item in adapter.invariants}
        self.checked = dict.fromkeys(self.sentences, 0)
        self.statistics: dict[str, int] = {}
        self.seeds: dict[int, int] = {}  # steps done of each seed
        self.chains = 0
        self.wholes = 0
        self.seconds = 0.0
        self.pace: list[tuple[float, int]] = []  # of the whole campaign
        self.ran: list[Chain] = []
        self.histograms = {
            name: Histogram(measure) for name, measure in getattr(adapter, "measures", {}).items()
        }
        self.lines: list[Line] = []
        self.scope = scope_of(adapter)
        self.coverage = Coverage()  # of the contracts
        self.arcs: Arcs = {}  # of the model
        self.features: dict[str, int] = {}  # what twins name; outcomes are in `counts`
        self.found: list[Path] = []  # written to the corpus

    @property
    def steps(self) -> int:
        return sum(self.counts.values())

    def sample(self, twin: Twin) -> None:
        """Note the twin's samples at this moment."""
        if isinstance(twin, Sampled):
            for name, values in twin.samples().items():
                self.histograms[name].add(values)

    def count(self, done: Iterable[Done]) -> list[Key]:
        """Count steps and what came of them; what came for the first time."""
        counts, first = self.counts, []
        for step, result in done:
            key = (step.action, step.aim, result.ok, result.changed, result.reason)
            count = counts.get(key, 0)
            counts[key] = count + 1
            if not count:
                first.append(key)
        return first

    def add_chain(
        self, number: int, checker: Checker, steps: int, began: float, outcome: str
    ) -> None:
        """A chain has ended, whatever the way, after so many steps."""
        worker = f"{platform.node()}:{os.getpid()}"
        seconds = time.time() - began
        self.ran.append(Chain(number, steps, began, seconds, worker, outcome))
        if isinstance(checker.twin, Sampled):
            self._add_lines([kept(number, steps, series) for series in checker.twin.series()])
        self.add_twin(checker)

    def _add_lines(self, lines: list[Line]) -> None:
        """Those of the longest chains are kept, the same ones however many processes there are."""
        longest = sorted(self.lines + lines, key=lambda line: (-line.steps, line.chain))
        worth = [line for line in longest if line.steps * SHORT > longest[0].steps]
        self.lines = sorted(worth[:MOST_LINES], key=lambda line: line.chain)

    def add_steps(self, seed: int, steps: int) -> None:
        self.seeds[seed] = self.seeds.get(seed, 0) + steps

    def add_twin(self, checker: Checker) -> None:
        self.chains += 1
        self.wholes += checker.wholes
        for name, count in checker.invariants_checked().items():
            self.checked[name] += count
        self._add_statistics(checker.twin.statistics())

    def _add_statistics(self, statistics: dict[str, int]) -> None:
        for name, value in statistics.items():
            old = self.statistics.get(name, 0)
            self.statistics[name] = max(old, value) if name.startswith("largest") else old + value

    def merge(self, other: "Tally") -> None:
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        for name, count in other.checked.items():
            self.checked[name] += count
        for seed, steps in other.seeds.items():
            self.add_steps(seed, steps)
        self._add_statistics(other.statistics)
        self.chains += other.chains
        self.wholes += other.wholes
        self.ran += other.ran
        for name, histogram in other.histograms.items():
            self.histograms[name].merge(histogram)
        self._add_lines(other.lines)
        self.coverage.merge(other.coverage)
        merge_arcs(self.arcs, other.arcs)
        for name, count in other.features.items():
            self.features[name] = self.features.get(name, 0) + count
        self.found += other.found

    def reached(self) -> dict[str, int]:
        """How often each feature was reached, outcomes included."""
        reached = dict(self.features)
        for (action, _, ok, _, reason), count in self.counts.items():
            name = outcome(action, ok, reason)
            reached[name] = reached.get(name, 0) + count
        return reached

    def summary(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        steps = self.steps
        actions: dict[str, Any] = {
            name: {"steps": 0, "succeeded": 0, "reverts": {}} for name in self.actions
        }
        aims: dict[str, Any] = {}
        changed = 0
        for (name, aim, ok, changes, reason), count in sorted(self.counts.items()):
            action = actions.setdefault(name, {"steps": 0, "succeeded": 0, "reverts": {}})
            aimed = aims.setdefault(aim, {"steps": 0, "succeeded": 0})
            action["steps"] += count
            aimed["steps"] += count
            if ok:
                action["succeeded"] += count
                aimed["succeeded"] += count
                changed += count if changes else 0
            else:
                reverts = action["reverts"]
                reverts[reason or "no reason"] = reverts.get(reason or "no reason", 0) + count
        for group in (actions, aims):
            for entry in group.values():
                entry["share"] = _share(entry["steps"], steps)
                entry["success_share"] = _share(entry["succeeded"], entry["steps"])
        return {
            "steps": steps,
            "seeds": {str(seed): count for seed, count in sorted(self.seeds.items())},
            "chains": self.chains,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(steps / self.seconds) if self.seconds else 0,
            "state_changing_share": _share(changed, steps),
            "actions": actions,
            "aims": aims,
            "statistics": self.statistics,
            "whole_state_comparisons": self.wholes,
            "invariants": {
                name: {"sentence": self.sentences[name], "checked": count}
                for name, count in self.checked.items()
            },
            "features": dict(sorted(self.features.items())),
            "boundaries": boundary_table(self.features),
            "distributions": {name: item.summary() for name, item in self.histograms.items()},
            "coverage": self.scope.summary(self.coverage, self.arcs),
            "series": [line.summary() for line in self.lines],
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0

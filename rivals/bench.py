"""The measurements: rates, time to find each bug, time to shrink."""

import random
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from rivals.bugs import BUGS, Bug
from rivals.compiled import job
from rivals.homes import Unavailable
from rivals.runner import run, run_pair
from rivals.tools import PAIRS, Tool

SHRUNK = ("loss-down", "interest-at-price")  # shown at once by everybody, after a few steps
UNAIMED = tuple(bug for bug in BUGS if bug.edge)


class Rate(NamedTuple):
    """Steps per second."""

    median: float
    least: float
    most: float


class Hunt(NamedTuple):
    """Processor seconds until a bug was found, one for each seed; None where it was not."""

    seconds: list[float | None]
    steps: list[int]

    def median(self) -> float | None:
        """Of all seeds, where not found counts as longer than any; None if that is it."""
        ordered = sorted(float("inf") if item is None else item for item in self.seconds)
        middle = (
            ordered[(len(ordered) - 1) // 2] if len(ordered) % 2 else ordered[len(ordered) // 2]
        )
        return None if middle == float("inf") else middle


class Shrink(NamedTuple):
    """Medians over bugs and seeds."""

    seconds: float
    left: int


Tell = Callable[[str], None]


def rates(tools: Sequence[Tool], rounds: int, tell: Tell) -> dict[str, Rate]:
    """Rounds in which the tools take turns, in another order each time."""
    found: dict[str, list[float]] = {tool.name: [] for tool in tools}
    order = list(tools)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for tool in order:
            (measure,) = run(tool, [job()._replace(seed=number + 1, steps=tool.steps)])
            if measure.found:
                raise Unavailable(f"{tool.name} finds a difference where none is: {measure.found}")
            found[tool.name].append(measure.steps / measure.seconds)
            tell(f"round {number + 1} of {rounds}: {tool.name} {found[tool.name][-1]:,.0f} steps/s")
    return {name: Rate(median(all_), min(all_), max(all_)) for name, all_ in found.items()}


def pairs(keys: Iterable[str], rounds: int, tell: Tell) -> dict[str, Rate]:
    """The same on two processes, by the clock on the wall."""
    found = {}
    for tool in (tool for tool in PAIRS if tool.key in keys):
        all_ = [
            run_pair(tool, job()._replace(seed=2 * number + 1, steps=tool.steps))
            for number in range(rounds)
        ]
        found[tool.name] = Rate(median(all_), min(all_), max(all_))
        tell(f"{tool.name} {found[tool.name].median:,.0f} steps/s")
    return found


def hunts(
    tools: Sequence[Tool], bugs: Sequence[Bug], seeds: int, seconds: float, aimed: bool, tell: Tell
) -> dict[str, dict[str, Hunt]]:
    """Tool -> bug -> how long it took."""
    found: dict[str, dict[str, Hunt]] = {}
    for tool in tools:
        jobs = [
            job(bug)._replace(seed=seed + 1, seconds=seconds, aimed=aimed)
            for bug in bugs
            for seed in range(seeds)
        ]
        how = "" if aimed else ", without aims"
        tell(f"{tool.name}{how}: at most {len(jobs) * seconds:g} s")
        measures = list(run(tool, jobs))
        own: dict[str, Hunt] = {}
        for i, bug in enumerate(bugs):
            part = measures[i * seeds : (i + 1) * seeds]
            times = [item.seconds if item.found else None for item in part]
            own[bug.id] = Hunt(times, [item.steps for item in part])
        found[tool.name] = own
        count = sum(hunt.median() is not None for hunt in own.values())
        tell(f"{tool.name}{how}: {count} of {len(bugs)} bugs")
    return found


def shrinks(tools: Sequence[Tool], seeds: int, seconds: float, tell: Tell) -> dict[str, Shrink]:
    found = {}
    for tool in tools:
        jobs = [
            job(bug)._replace(seed=seed + 1, seconds=seconds, shrink=True)
            for bug in BUGS
            if bug.id in SHRUNK
            for seed in range(seeds)
        ]
        measures = [measure for measure in run(tool, jobs) if measure.found]
        if measures:
            found[tool.name] = Shrink(
                median(item.shrink_seconds for item in measures),
                round(median(item.left for item in measures)),
            )
            tell(f"{tool.name} shrinks in {found[tool.name].seconds:.2f} s")
    return found

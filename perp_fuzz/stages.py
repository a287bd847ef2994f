"""Where the time of the differential loop goes: microseconds a step, stage by stage, in the loop.

Times are of the processor, so other work on the machine disturbs them little; asking for one takes
about a third of a microsecond, which the stages bear. `busiest` ranks single functions.
"""

import gc
import random
import time
from collections.abc import Callable
from cProfile import Profile
from pstats import Stats
from typing import Any

from rich.console import Console
from rich.table import Table

from lockstep.adapter import Adapter, Config
from lockstep.campaign import WHOLE_EVERY
from lockstep.checker import Checker, batch_size
from lockstep.engines import open_engine

# Stage: whose method it is, by the path from the checker.
STAGES = {
    "generate": "generate",
    "model": "twin.execute_model",
    "encode": "twin.encode",
    "engine, outcomes compared": "engine.matches",
    "words compared": "_words",
    "invariants": "_invariants",
    "whole state and views": "whole",
}


def stages(adapter: Adapter, steps: int, seed: int, config: Config) -> dict[str, float]:
    """Microseconds a step of each stage, the rest and the whole; the same seed, the same steps."""
    checker, run = _loop(adapter, steps, seed, config)
    spent: dict[str, int] = {}
    for stage, path in STAGES.items():
        _time(checker, path, stage, spent)
    started = time.process_time_ns()
    run()
    whole = time.process_time_ns() - started
    found = {stage: spent[stage] / steps / 1_000 for stage in STAGES}
    rest = whole / steps / 1_000 - sum(found.values())
    return {**found, "the rest": rest, "all": whole / steps / 1_000}


def busiest(
    adapter: Adapter, steps: int, seed: int, config: Config, count: int = 30
) -> list[tuple[str, float, float]]:
    """The functions that take longest themselves: name, calls and microseconds a step.

    Under a profiler, which makes calls dearer than they are: a ranking, no measurement.
    """
    _, run = _loop(adapter, steps, seed, config)
    profile = Profile()
    profile.runcall(run)
    table: Any = Stats(profile).stats  # type: ignore[attr-defined]  # its stub leaves it out
    rows = [
        (f"{file.rsplit('/', 1)[-1]}:{line} {name}", calls / steps, own / steps * 1e6)
        for (file, line, name), (_, calls, own, _, _) in table.items()
    ]
    return sorted(rows, key=lambda row: -row[2])[:count]


def show_stages(adapter: Adapter, steps: int, seed: int, config: Config, console: Console) -> None:
    """Both as tables."""
    table = Table("stage", title=f"{steps:,} steps, one core")
    table.add_column("us a step", justify="right")
    for stage, each in stages(adapter, steps, seed, config).items():
        table.add_row(stage, f"{each:.1f}")
    console.print(table)
    table = Table("function", title="busiest functions, under a profiler")
    for column in ("calls a step", "us a step of its own"):
        table.add_column(column, justify="right")
    for name, calls, own in busiest(adapter, steps, seed, config):
        table.add_row(name, f"{calls:.2f}", f"{own:.1f}")
    console.print(table, highlight=False, markup=False)


def _loop(
    adapter: Adapter, steps: int, seed: int, config: Config
) -> tuple[Checker, Callable[[], None]]:
    """A campaign's loop of one chain, to be run once."""
    checker: Any = Checker(adapter, open_engine("revm"), config | {"seed": seed}, WHOLE_EVERY)
    rng = random.Random(seed)
    checker.generate = lambda twin: adapter.generate(twin, rng)

    gc.collect()

    def run() -> None:
        gc.disable()
        try:
            while checker.steps < steps:
                checker.batch(checker.generate, batch_size(checker.steps, steps))
        finally:
            gc.enable()

    return checker, run


def _time(checker: Checker, path: str, stage: str, spent: dict[str, int]) -> None:
    """Has a method add what it takes to its stage."""
    *owners, name = path.split(".")
    owner: Any = checker
    for part in owners:
        owner = getattr(owner, part)
    inner = getattr(owner, name)
    now = time.process_time_ns
    spent[stage] = 0

    def timed(*args: Any) -> Any:
        started = now()
        result = inner(*args)
        spent[stage] += now() - started
        return result

    setattr(owner, name, timed)

"""Steps per second, three ways in one run: raw EVM replay, the model alone, the full loop.

Times are of the processor, so other work on the machine disturbs them little.

The full loop draws the steps, runs both sides, compares everything and checks the invariants. The
raw replay sends the calldata it recorded to the engine and looks at nothing; it is the ceiling.
"""

import gc
import random
import time
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from lockstep.adapter import Config
from lockstep.campaign import WHOLE_EVERY
from lockstep.checker import Checker
from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.engines.revm import RevmEngine
from lockstep.step import Step
from perp_fuzz.adapter import PerpAdapter

LEAST_RATIO = 0.25  # of raw replay
Call = tuple[int, str, str, bytes]  # time, sender, target, calldata


class Bench(NamedTuple):
    """Steps per second, medians over the rounds, and the ratio of the medians."""

    steps: int
    rounds: int
    replay: float
    model: float
    loop: float

    @property
    def ratio(self) -> float:
        return self.loop / self.replay


def measure(
    steps: int, seed: int, config: Config, rounds: int, tick: Callable[[], None] = lambda: None
) -> Bench:
    """All three on the same steps, `rounds` times in turn."""
    replays, models, loops = [], [], []
    for number in range(rounds):
        seconds, recorded, calls = _full_loop(steps, seed + number, config)
        loops.append(steps / seconds)
        replays.append(steps / _raw_replay(calls, config))
        models.append(steps / _model_alone(recorded, config))
        tick()
    return Bench(steps, rounds, median(replays), median(models), median(loops))


def _full_loop(steps: int, seed: int, config: Config) -> tuple[float, list[Step], list[Call]]:
    adapter = PerpAdapter()
    engine = open_engine("revm")
    checker = Checker(adapter, engine, config | {"seed": seed}, WHOLE_EVERY)
    twin = checker.twin
    rng = random.Random(seed)
    generate, run = adapter.generate, checker.step
    recorded: list[Step] = []
    gc.disable()  # as a campaign does
    started = time.process_time()
    for _ in range(steps):
        step = generate(twin, rng)
        run(step)
        recorded.append(step)
    checker.finish()
    seconds = time.process_time() - started
    gc.enable()
    calls = [(step.at, *twin.encode(step)) for step in recorded]
    return seconds, recorded, calls


def _raw_replay(calls: list[Call], config: Config) -> float:
    engine = RevmEngine()
    PerpAdapter().new_twin(engine, config)
    evm = engine._evm
    send, set_time = evm.message_call, engine.set_time
    gas, last = engine._gas, GENESIS_TIME
    started = time.process_time()
    for at, sender, target, data in calls:
        if at != last:
            set_time(at)
            last = at
        with suppress(RuntimeError):  # a revert
            send(sender, target, data, None, gas)
        evm.reset_transient_storage()
    return time.process_time() - started


def _model_alone(recorded: list[Step], config: Config) -> float:
    twin = PerpAdapter().new_twin(open_engine("revm"), config)
    execute = twin.execute_model
    started = time.process_time()
    for step in recorded:
        execute(step)
    return time.process_time() - started


def show(bench: Bench, console: Console) -> None:
    """The figures as a table."""
    table = Table(title=f"{bench.steps:,} steps, median of {bench.rounds} rounds, one core")
    table.add_column("what")
    table.add_column("steps/s", justify="right")
    table.add_column("of raw replay", justify="right")
    for name, rate in (
        ("raw EVM replay of the recorded calldata", bench.replay),
        ("model alone", bench.model),
        ("full differential loop", bench.loop),
    ):
        table.add_row(name, f"{rate:,.0f}", f"{rate / bench.replay:.3f}")
    console.print(table)

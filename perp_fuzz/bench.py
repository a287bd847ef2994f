"""Steps per second on one core, all in one run: what the parts could do, what the loop does.

The parts run alone, each over the same recorded steps: the engine replays the calldata and looks at
nothing, the model executes, the calldata is encoded. No loop that does all three can be faster than
their sum: that is the floor. The full loop also draws the steps, compares outcomes, events, words
and views, and checks the invariants, as a campaign does.

Times are of the processor, so other work on the machine disturbs them little; the two processes
are timed by the clock, which is what they are for.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from lockstep.adapter import Config
from lockstep.campaign import WHOLE_EVERY, Plan, run_campaign
from lockstep.checker import Checker, batch_size
from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.engines.revm import RevmEngine
from lockstep.step import Step
from perp_fuzz.adapter import PerpAdapter

LEAST_RATIO = 0.5  # of raw replay, or
LEAST_OF_FLOOR = 0.9  # of what the parts leave possible
LEAST_GAIN = 1.8  # of a second process
Call = tuple[int, str, str, bytes]  # time, sender, target, calldata


class Bench(NamedTuple):
    """Microseconds a step, medians over the rounds; and what a second process gains."""

    steps: int
    rounds: int
    replay: float
    model: float
    encoding: float
    loop: float
    gain: float

    @property
    def floor(self) -> float:
        """Microseconds a step that the parts need together."""
        return self.replay + self.model + self.encoding

    @property
    def ratio(self) -> float:
        """Speed of the loop as a part of raw replay."""
        return self.replay / self.loop

    @property
    def of_floor(self) -> float:
        """Speed of the loop as a part of what the floor allows."""
        return self.floor / self.loop

    @property
    def failures(self) -> list[str]:
        """What is too slow, in words."""
        failures = []
        if self.ratio < LEAST_RATIO and self.of_floor < LEAST_OF_FLOOR:
            failures.append(
                f"the full loop is below {LEAST_RATIO} of raw replay and below "
                f"{LEAST_OF_FLOOR} of the floor"
            )
        if self.gain < LEAST_GAIN:
            failures.append(f"two processes are below {LEAST_GAIN} times one")
        return failures


def measure(
    steps: int, seed: int, config: Config, rounds: int, tick: Callable[[], None] = lambda: None
) -> Bench:
    """Everything on the same steps, `rounds` times in turn."""
    times: list[tuple[float, float, float, float]] = []
    gains = []
    for number in range(rounds):
        seconds, recorded, calls = _full_loop(steps, seed + number, config)
        replayed = _raw_replay(calls, config)
        times.append((replayed, *_model_and_encoding(recorded, config), seconds))
        gains.append(_gain(steps, seed + number, config))
        tick()
    replay, model, encoding, loop = (
        median(column) / steps * 1e6 for column in zip(*times, strict=True)
    )
    return Bench(steps, rounds, replay, model, encoding, loop, median(gains))


@contextmanager
def _uncollected() -> Iterator[None]:
    """As a campaign: without the cyclic collector."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _full_loop(steps: int, seed: int, config: Config) -> tuple[float, list[Step], list[Call]]:
    adapter = PerpAdapter()
    engine = open_engine("revm")
    checker = Checker(adapter, engine, config | {"seed": seed}, WHOLE_EVERY)
    rng = random.Random(seed)
    with _uncollected():
        started = time.process_time()
        while checker.steps < steps:
            checker.batch(
                lambda twin: adapter.generate(twin, rng), batch_size(checker.steps, steps)
            )
        checker.finish()
        seconds = time.process_time() - started
    recorded = checker.history
    return seconds, recorded, [(step.at, *checker.twin.encode(step)) for step in recorded]


def _raw_replay(calls: list[Call], config: Config) -> float:
    engine = RevmEngine()
    PerpAdapter().new_twin(engine, config)
    evm = engine._evm
    send, set_time = evm.message_call, engine.set_time
    gas, last = engine._gas, GENESIS_TIME
    with _uncollected():
        started = time.process_time()
        for at, sender, target, data in calls:
            if at != last:
                set_time(at)
                last = at
            with suppress(RuntimeError):  # a revert
                send(sender, target, data, None, gas)
            evm.reset_transient_storage()
        return time.process_time() - started


def _model_and_encoding(recorded: list[Step], config: Config) -> tuple[float, float]:
    twin = PerpAdapter().new_twin(open_engine("revm"), config)
    execute, encode = twin.execute_model, twin.encode
    with _uncollected():
        started = time.process_time()
        for step in recorded:
            execute(step)
        executed = time.process_time()
        for step in recorded:
            encode(step)
        return executed - started, time.process_time() - executed


def _gain(steps: int, seed: int, config: Config) -> float:
    """Speed of a campaign of four chains on two processes, relative to one."""
    plan = Plan(PerpAdapter(), 4 * steps, seed, [config], length=steps)
    seconds = [run_campaign(plan, processes).tally.seconds for processes in (1, 2)]
    return seconds[0] / seconds[1]


def show(bench: Bench, console: Console) -> None:
    """The figures as a table."""
    table = Table(title=f"{bench.steps:,} steps, median of {bench.rounds} rounds, one core")
    table.add_column("what")
    for column in ("us a step", "steps/s", "of raw replay"):
        table.add_column(column, justify="right")
    for name, each in (
        ("raw EVM replay of the recorded calldata", bench.replay),
        ("model alone", bench.model),
        ("encoding alone", bench.encoding),
        ("floor: these three one after the other", bench.floor),
        ("full differential loop", bench.loop),
    ):
        table.add_row(name, f"{each:.1f}", f"{1e6 / each:,.0f}", f"{bench.replay / each:.3f}")
    console.print(table)
    console.print(f"the loop reaches {bench.of_floor:.3f} of the floor's speed")
    console.print(f"two processes: {bench.gain:.2f} times the speed of one")

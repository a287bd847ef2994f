"""Hypothesis stateful on the same engine, through the same adapter and the same comparison.

"drawn": every choice of the generator is one of Hypothesis, which then shrinks values too.
"seeded": one choice a step, a seed; the fastest way, and all it can shrink is the list of steps.
"""

import time
from contextlib import redirect_stdout
from io import StringIO
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.base import open_engine
from rivals.drivers.common import main
from rivals.jobs import Job, Measure
from rivals.vault.adapter import SOURCE, VaultAdapter

BITS = 32
UNIT = st.integers(0, 2**BITS - 1)
LENGTH = 100  # steps of an example


class Choices(Random):
    """A source of randomness that asks Hypothesis."""

    def __init__(self, data: Any) -> None:
        super().__init__(0)
        self._draw = data.draw

    def random(self) -> float:
        return float(self._draw(UNIT) / 2**BITS)


def settings_of(job: Job) -> settings:
    phases = [Phase.generate, Phase.shrink] if job.shrink else [Phase.generate]
    return settings(
        max_examples=max(1, job.steps // LENGTH) if job.steps else 10**6,
        stateful_step_count=LENGTH,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def run(job: Job) -> Measure:
    adapter = VaultAdapter({SOURCE: job.source}, job.aimed)
    adapter.artifact()
    begun, wall = time.process_time(), time.perf_counter()
    done = left = 0
    found = ""
    found_after = 0.0

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.engine = open_engine("revm")
            self.checker = Checker(adapter, self.engine, {}, 0)

        def one(self, rng: Random) -> None:
            nonlocal done, left, found, found_after
            spent = time.process_time() - begun
            if job.seconds and spent > job.seconds and not found:
                raise KeyboardInterrupt  # the one thing Hypothesis does not look into
            done += not found
            try:
                self.checker.step(adapter.generate(self.checker.twin, rng))
            except Mismatch as mismatch:
                found_after = found_after or time.process_time() - begun
                found = found or mismatch.text
                left = self.checker.steps  # the last failure it runs is the smallest
                raise

        def teardown(self) -> None:
            self.engine.close()

    class Seeded(Machine):
        @rule(number=UNIT)
        def step(self, number: int) -> None:
            self.one(Random(number))

    class Drawn(Machine):
        @rule(data=st.data())
        def step(self, data: Any) -> None:
            self.one(Choices(data))

    machine = seeded(job.seed)(Seeded if job.variant == "seeded" else Drawn)
    try:
        with redirect_stdout(StringIO()):  # the steps of the failure
            run_state_machine_as_test(machine, settings=settings_of(job))
    except (Mismatch, KeyboardInterrupt):
        pass
    seconds, elapsed = time.process_time() - begun, time.perf_counter() - wall
    if not found:
        return Measure(done, seconds, elapsed)
    if not job.shrink:
        return Measure(done, found_after, elapsed, found)
    return Measure(done, found_after, elapsed, found, seconds - found_after, left)


if __name__ == "__main__":
    open_engine("revm").close()  # loads it
    main(run)

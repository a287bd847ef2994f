"""Hypothesis stateful on the same engine, through the same adapter and the same comparison.

"rules": a rule for each action, as its users write them; whatever the generator draws is an
argument of the rule, so that Hypothesis shrinks values too.
"seeded": one rule with one argument, a seed; the fastest way there is, but all it can shrink is the
list of steps.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from io import StringIO
from itertools import cycle
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
from rivals.vault.generator import WEIGHTS

BITS = 24
# From 0 on, Hypothesis draws mostly small numbers, which makes another mix; far from it all are
# alike.
FAR = 2**32
UNIT = st.integers(FAR, FAR + 2**BITS - 1)
LENGTH = 100  # steps of an example
ARGUMENTS = {  # mostly enough; a generator that asks for more gets the first again
    "deposit": 4,
    "withdraw": 5,
    "fund": 5,
    "set_price": 6,
    "open": 8,
    "close": 6,
    "liquidate": 9,
    "aim": 7,
}


class Arguments(Random):
    """A source of randomness that gives what Hypothesis drew, in a circle."""

    def __init__(self, units: Iterable[int]) -> None:
        super().__init__(0)
        self._next = cycle(units).__next__

    def random(self) -> float:
        return (self._next() - FAR) * 2.0**-BITS


def rule_of(name: str) -> Callable[..., None]:
    """A rule for an action."""

    @rule(units=st.tuples(*[UNIT] * ARGUMENTS[name]))
    def one_action(self: Any, units: tuple[int, ...]) -> None:
        self.one(Arguments(units), name)

    return one_action


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

        def one(self, rng: Random, name: str = "") -> None:
            nonlocal done, left, found, found_after
            spent = time.process_time() - begun
            if job.seconds and spent > job.seconds and not found:
                raise KeyboardInterrupt  # the one thing Hypothesis does not look into
            done += not found
            try:
                self.checker.step(adapter.generate(self.checker.twin, rng, name))
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

    class Rules(Machine):
        pass

    for name, weight in WEIGHTS.items():
        for i in range(weight):  # Hypothesis draws all rules equally often
            setattr(Rules, f"{name}_{i}", rule_of(name))
    machine = seeded(job.seed)(Seeded if job.variant == "seeded" else Rules)
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

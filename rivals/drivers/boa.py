"""titanoboa: a plain loop, and Hypothesis as its users run it."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import boa
from boa.contracts.vyper.vyper_contract import VyperContract
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from rivals.drivers.common import (
    START_NEW,
    Difference,
    Vault,
    check_verdict,
    main,
    repeat,
    revert_reason,
    same,
)
from rivals.jobs import Job, Measure
from rivals.vault.model import ADDRESSES, DEPLOYER, ORACLE, START, START_PRICE

EXAMPLE = 50  # steps of an example, Hypothesis's own default


class Checked:
    """One deployment; `step` compares verdict, reason, return value, event and state."""

    def __init__(self, job: Job, deployer: Any) -> None:
        self.expect = Vault(job)
        boa.env.timestamp = START
        with boa.env.prank(DEPLOYER):
            self.vault = deployer.deploy(ORACLE, START_PRICE)

    def step(self, rng: Random) -> None:
        expect, vault = self.expect, self.vault
        draw, value, reason = expect.draw(rng)
        action, actor, args, at, _ = draw
        boa.env.timestamp = at
        if action == "open":
            args = (*args[:2], bool(args[2]))
        got, result = "", None
        try:
            result = getattr(vault, action)(*args, sender=ADDRESSES[actor])
        except boa.BoaError as error:
            got = revert_reason(error.stack_trace.last_frame.vm_error.args[0])
        check_verdict(draw, reason, got)
        if not reason:
            same(draw, "return value", value, result)
            logs = vault._computation.get_raw_log_entries()
            events = [
                ([topic.to_bytes(32, "big") for topic in topics], data)
                for _, _, topics, data in logs
            ]
            same(draw, "events", [expect.event(draw, value)], events)
        user, identifier = ADDRESSES[actor], expect.position(draw, value)
        words = list(expect.model.state(user, identifier))
        same(draw, "state", words, vault.state(user, identifier))


def hypothesis(job: Job, deployer: Any) -> Measure:
    """A state machine: one choice a step, a seed of the generator, which costs the least."""
    begun, wall = time.process_time(), time.perf_counter()
    done = 0
    found = ""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.anchor = boa.env.anchor()
            self.anchor.__enter__()
            self.checked = Checked(job, deployer)

        @rule(number=st.integers(0, 2**32 - 1))
        def step(self, number: int) -> None:
            nonlocal done, found
            if job.seconds and time.process_time() - begun > job.seconds:
                raise KeyboardInterrupt  # the one thing Hypothesis does not look into
            done += 1
            try:
                self.checked.step(Random(number))
            except Difference as difference:
                found = str(difference)
                raise

        def teardown(self) -> None:
            self.anchor.__exit__(None, None, None)

    limits = settings(
        max_examples=max(1, job.steps // EXAMPLE) if job.steps else 10**6,
        stateful_step_count=EXAMPLE,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with suppress(Difference, KeyboardInterrupt):
        run_state_machine_as_test(seeded(job.seed)(Machine), settings=limits)
    return Measure(done, time.process_time() - begun, time.perf_counter() - wall, found)


def run(job: Job) -> Measure:
    if "without repr" in job.variant:
        # It dumps all storage, and titanoboa makes it on every revert.
        VyperContract.__repr__ = lambda self: "<vault>"
    deployer = boa.loads_partial(job.source)
    if job.variant.startswith("hypothesis"):
        return hypothesis(job, deployer)
    rng = Random(job.seed)

    def start() -> Callable[[], None]:
        return partial(Checked(job, deployer).step, rng)

    return repeat(job, start, START_NEW)


if __name__ == "__main__":
    main(run)

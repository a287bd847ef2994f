"""Wake 5: a plain loop and its FuzzTest, calldata by hand, since it reads no Vyper."""

import re
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from itertools import zip_longest
from random import Random
from typing import Any

from wake.config import WakeConfig
from wake.development.globals import random, set_config, set_current_test_id
from wake.testing import Account, UnknownRevertError, chain
from wake.testing.fuzzing import FuzzTest, flow, invariant
from wake.testing.fuzzing.fuzz_shrink import shrink_test

from rivals.drivers.common import (
    BATCH,
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
from rivals.vault.generator import WEIGHTS
from rivals.vault.model import ADDRESSES, DEPLOYER, ORACLE, START

SELDOM = "fuzz test, state at times"  # words compared after BATCH steps, not after each


class Checked:
    """One deployment; `step` compares verdict, reason, return value, event and state."""

    def __init__(self, job: Job) -> None:
        self.expect = Vault(job)
        self.seldom = job.variant == SELDOM
        self.touched: tuple[set[str], set[int]] = (set(), set())  # users, positions
        chain.set_next_block_timestamp(START)
        vault = chain.deploy(bytes.fromhex(job.initcode), from_=DEPLOYER)
        self.vault = Account(vault.address, chain)
        self.accounts = {name: Account(at, chain) for name, at in ADDRESSES.items()}

    def step(self, rng: Random, name: str = "") -> None:
        expect = self.expect
        draw, value, reason = expect.draw(rng, name)
        _, actor, _, at, _ = draw
        chain.set_next_block_timestamp(at)
        got = ""
        try:
            tx = self.vault.transact(expect.calldata(draw), from_=self.accounts[actor])
        except UnknownRevertError as error:
            got = revert_reason(error.data)
        check_verdict(draw, reason, got)
        if not reason:
            output = b"" if value is None else value.to_bytes(32, "big")
            same(draw, "return value", output, tx.raw_return_value)
            events = [(event.topics, event.data) for event in tx.raw_events]
            same(draw, "events", [expect.event(draw, value)], events)
        identifier = expect.position(draw, value)
        if self.seldom:
            if not reason:
                self.touched[0].add(ADDRESSES[actor])
                self.touched[1].add(identifier)
            return
        data, words = expect.state(ADDRESSES[actor], identifier)
        same(draw, "state", words, self.vault.call(data))

    def compare_touched(self) -> None:
        users, positions = self.touched
        self.touched = (set(), set())
        for user, identifier in zip_longest(users, positions):
            data, words = self.expect.state(user or ORACLE, identifier or 0)
            if words != self.vault.call(data):
                raise Difference(f"state of {user} and position {identifier} differs")


def fuzz_test(job: Job) -> Measure:
    """Wake's own way: sequences of flows, the chain reset in between, invariants at a period."""
    begun, wall = time.process_time(), time.perf_counter()
    done = 0
    found = ""
    looking = True

    class VaultTest(FuzzTest):  # type: ignore[misc]
        def pre_sequence(self) -> None:
            self.checked = Checked(job)

        def post_sequence(self) -> None:
            self.checked.compare_touched()

        def one(self, name: str) -> None:
            nonlocal done
            done += 1
            if looking and job.seconds and time.process_time() - begun > job.seconds:
                raise TimeoutError
            self.checked.step(random, name)

        @invariant(period=500)  # type: ignore[untyped-decorator]
        def invariant_sums(self) -> None:
            assert self.checked.expect.model.broken_sums() == ""

        @invariant(period=BATCH)  # type: ignore[untyped-decorator]
        def invariant_touched(self) -> None:
            self.checked.compare_touched()

    for name, weight in WEIGHTS.items():
        setattr(VaultTest, f"flow_{name}", flow(weight=weight)(flow_of(name)))
    sequences = max(1, job.steps // START_NEW) if job.steps else 10**6
    random.seed(job.seed)
    try:
        VaultTest.run(sequences_count=sequences, flows_count=START_NEW)
    except Difference as difference:
        found = str(difference)
    except TimeoutError:
        pass
    measure = Measure(done, time.process_time() - begun, time.perf_counter() - wall, found)
    if not found or not job.shrink:
        return measure
    looking = False
    begun = time.process_time()
    left = shrunk(VaultTest)
    return measure._replace(shrink_seconds=time.process_time() - begun, left=left)


def flow_of(name: str) -> Callable[[Any], None]:
    """A flow for each action, as Wake's users write them; Wake draws by their weights."""

    def run_flow(self: Any) -> None:
        self.one(name)

    run_flow.__name__ = f"flow_{name}"
    run_flow.__annotations__ = {}  # Wake makes an argument for each of them
    return run_flow


def shrunk(test: type[FuzzTest]) -> int:
    """Flows left when Wake has shrunk the failure just found: what `wake test -SH` does."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()) as told:
        set_config(WakeConfig(project_root_path=folder))
        set_current_test_id("test_vault")
        shrink_test(test, START_NEW)
    *_, last = re.findall(r"Shrunk flows: (\d+)/(\d+)", told.getvalue())
    removed, failing = map(int, last)  # the failing flow is counted from zero
    return failing + 1 - removed


def run(job: Job) -> Measure:
    with chain.connect(accounts=1, chain_id=31_337, hardfork="Cancun"):
        if job.variant in ("fuzz test", SELDOM):
            return fuzz_test(job)
        rng = Random(job.seed)

        def start() -> Callable[[], None]:
            return partial(Checked(job).step, rng)

        return repeat(job, start, START_NEW)


if __name__ == "__main__":
    main(run)

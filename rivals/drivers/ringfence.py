"""Ringfence itself: a campaign as `lockstep` runs it, generation and comparison included.

"one at a time": the same twin, every step compared before the next is drawn, as its rivals do.
"""

import gc
import time
from collections.abc import Callable
from random import Random

from lockstep.campaign import WHOLE_EVERY, Plan, run_campaign
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.base import open_engine
from lockstep.shrink import shrink
from rivals.drivers.common import START_NEW, Difference, main, repeat
from rivals.jobs import Job, Measure
from rivals.vault.adapter import SOURCE, VaultAdapter

FASTEST = 100_000  # steps per second; it makes no more
LONGEST = 60  # seconds, if nothing is said


def run(job: Job) -> Measure:
    adapter = VaultAdapter({SOURCE: job.source}, job.aimed)
    adapter.artifact()  # compiled before the clock starts, as for everybody
    if job.variant == "one at a time":
        return one_at_a_time(job, adapter)
    processes = 2 if job.variant == "two processes" else 1
    begun, wall = time.process_time(), time.perf_counter()
    done = 0

    def tick(steps: int) -> None:
        nonlocal done
        done += steps
        if job.seconds and time.process_time() - begun > job.seconds:
            raise TimeoutError

    found = None
    steps = job.steps or round(FASTEST * (job.seconds or LONGEST))
    plan = Plan(adapter, steps, job.seed, length=START_NEW)
    try:
        result = run_campaign(plan, processes, tick)
    except TimeoutError:
        pass
    else:
        found, done = result.divergence, result.tally.steps
    seconds, elapsed = time.process_time() - begun, time.perf_counter() - wall
    measure = Measure(done, seconds, elapsed, found.text if found else "")
    if not found or not job.shrink:
        return measure
    begun = time.process_time()
    engine = open_engine(found.engine)
    shrunk = shrink(adapter, engine, found.config, found.steps)
    assert shrunk is not None
    engine.close()
    spent = time.process_time() - begun
    return measure._replace(shrink_seconds=spent, left=len(shrunk.steps))


def one_at_a_time(job: Job, adapter: VaultAdapter) -> Measure:
    rng = Random(job.seed)

    def start() -> Callable[[], None]:
        checker = Checker(adapter, open_engine("revm"), {}, WHOLE_EVERY)

        def step() -> None:
            try:
                checker.step(adapter.generate(checker.twin, rng))
            except Mismatch as mismatch:
                raise Difference(mismatch.text) from None

        return step

    gc.disable()  # as in a campaign
    try:
        return repeat(job, start, START_NEW)
    finally:
        gc.enable()


if __name__ == "__main__":
    open_engine("revm").close()  # loads it
    main(run)

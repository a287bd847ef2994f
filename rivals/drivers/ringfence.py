"""Ringfence itself: a campaign as `lockstep` runs it, generation and comparison included."""

import time

from lockstep.campaign import LENGTH, Plan, run_campaign
from lockstep.engines.base import open_engine
from lockstep.shrink import shrink
from rivals.drivers.common import main
from rivals.jobs import Job, Measure
from rivals.vault.adapter import SOURCE, VaultAdapter

FOREVER = 10**7  # steps


def run(job: Job) -> Measure:
    adapter = VaultAdapter({SOURCE: job.source}, job.aimed)
    adapter.artifact()  # compiled before the clock starts, as for everybody
    processes = 2 if job.variant == "two processes" else 1
    begun, wall = time.process_time(), time.perf_counter()
    done = 0

    def tick(steps: int) -> None:
        nonlocal done
        done += steps
        if job.seconds and time.process_time() - begun > job.seconds:
            raise TimeoutError

    found = None
    length = min(LENGTH, job.steps // processes) if job.steps else LENGTH
    plan = Plan(adapter, job.steps or FOREVER, job.seed, length=length)
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


if __name__ == "__main__":
    open_engine("revm").close()  # loads it
    main(run)

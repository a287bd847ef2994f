"""A campaign: chains of steps, each on a fresh deployment, in one process or several."""

import gc
import multiprocessing
import queue
import random
import signal
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.checker import Checker, batch_sizes
from lockstep.compare import Mismatch
from lockstep.corpus import Corpus, Finds
from lockstep.coverage.recorder import Recorder, recorder_of
from lockstep.engines.base import open_engine
from lockstep.guidance import outcome as named_outcome
from lockstep.regression import write_regression
from lockstep.shrink import shrink
from lockstep.step import Step
from lockstep.tally import AGREED, STOPPED, Pace, Tally

LENGTH = 20_000  # steps of a chain: bounds the memory and the time to shrink
WHOLE_EVERY = 2_000
LONGEST_ENTRY = 1_000  # of the corpus that begins a chain; longer ones wait to be shortened
FOLLOWING = 200  # steps after such a beginning
CORPUS_SHARE = 4  # one in so many steps at most is one of these chains
SAMPLE_EVERY = 2_000


class Divergence(NamedTuple):
    """A failure, with all that is needed to have it again."""

    kind: str
    text: str
    steps: list[Step]
    config: Config
    engine: str
    chain: int
    regression: str = ""  # the file it was written to
    minimal: bool = False


class Stopped(Exception):
    """Another process found a failure, or the user pressed Ctrl-C."""


class Plan(NamedTuple):
    adapter: Adapter
    steps: int
    seed: int
    configs: Sequence[Config] = ({},)
    engine: str = "revm"
    length: int = LENGTH
    whole_every: int = WHOLE_EVERY
    coverage: bool = False  # of the contracts, if the adapter is Compiled and the engine can
    corpus: Corpus | None = None

    def recorder(self) -> Recorder | None:
        return recorder_of(self.adapter, self.engine) if self.coverage else None

    def chains(self) -> list[tuple[int, int, Config]]:
        """(number, steps, config) of every chain; the configs take turns.

        Those that begin with an entry of the corpus come first and have numbers after the others',
        whose seeds are the same with a corpus and without. Their configs name the "entry".
        """
        begun = self._begun()
        rest = self.steps - sum(steps for steps, _ in begun)
        count = -(-rest // self.length)
        chains = []
        for i, (steps, config) in enumerate(begun, count):
            own = {"seed": derived_seed(self.seed, i), "chain": i, "chains": count + len(begun)}
            chains.append((i, steps, {**config, **own}))
        for i in range(count):
            steps = min(self.length, rest - i * self.length)
            own = {"seed": derived_seed(self.seed, i), "chain": i, "chains": count + len(begun)}
            chains.append((i, steps, {**self.configs[i % len(self.configs)], **own}))
        return chains

    def _begun(self) -> list[tuple[int, Config]]:
        """Steps and configs of the chains that begin with an entry: a share of all steps, which
        ones the seed decides if they are too many."""
        if self.corpus is None:
            return []
        entries = [
            (config, entry)
            for config in self.configs
            for entry in self.corpus.fitting(config)
            if len(entry.steps) <= LONGEST_ENTRY
        ]
        random.Random(self.seed).shuffle(entries)
        left = self.steps // CORPUS_SHARE
        begun: list[tuple[int, Config]] = []
        for config, entry in entries:
            steps = min(len(entry.steps) + FOLLOWING, self.length)
            if steps <= left:
                left -= steps
                begun.append((steps, {**config, "entry": entry.digest}))
        return begun


class Result(NamedTuple):
    tally: Tally
    divergence: Divergence | None
    interrupted: bool


def derived_seed(seed: int, chain: int) -> int:
    return int.from_bytes(sha256(f"{seed}/{chain}".encode()).digest()[:6], "big")


def run_chain(
    plan: Plan, chain: tuple[int, int, Config], tally: Tally, tick: Callable[[int], None]
) -> Divergence | None:
    """One chain on a fresh engine. What was done is in the tally however it ends."""
    number, length, config = chain
    rng = random.Random(config["seed"])
    generate, counts = plan.adapter.generate, tally.counts
    engine: Any = open_engine(plan.engine)
    recorder = plan.recorder()
    adapter = recorder.begin(tally.coverage) if recorder else plan.adapter
    checker = None
    began, outcome, done = time.time(), STOPPED, 0
    beginning = iter(plan.corpus.begin(config) if plan.corpus else ())
    finds = Finds(plan.adapter, plan.corpus, config, tally.features)

    def draw(twin: Twin) -> Step:
        for step in beginning:
            return step
        return generate(twin, rng)

    # A chain makes no cycles worth looking for; the collector would walk its whole history.
    gc.disable()
    try:
        checker = Checker(adapter, engine, config, plan.whole_every)
        for size in batch_sizes(length):
            reached: list[str] = []
            for step, result in checker.batch(draw, size):
                key = (step.action, step.aim, result.ok, result.changed, result.reason)
                count = counts.get(key, 0)
                counts[key] = count + 1
                if not count:
                    reached.append(named_outcome(step.action, result.ok, result.reason))
            finds.note(reached, checker)
            if (done + size) // SAMPLE_EVERY > done // SAMPLE_EVERY:
                tally.sample(checker.twin)
            done += size
            tick(size)
        checker.finish()
        outcome = AGREED
    except Mismatch as found:
        outcome = found.kind
        history = checker.history if checker is not None else []
        return Divergence(found.kind, found.text, history, config, plan.engine, number)
    finally:
        if checker is not None:
            tally.found += finds.save(checker)
            tally.add_chain(number, checker, began, outcome)
        if recorder is not None:
            recorder.read(engine, tally.coverage)
        engine.close()
        gc.enable()
    return None


def run_campaign(
    plan: Plan, processes: int = 1, tick: Callable[[int], None] = lambda steps: None
) -> Result:
    """All chains of the plan, up to the first failure. Ctrl-C keeps what was done."""
    pace = Pace()

    def both(steps: int) -> None:
        pace.tick(steps)
        tick(steps)

    run = _run_here if processes <= 1 else _run_processes
    result = run(plan, processes, both)
    result.tally.pace = pace.end()
    result.tally.seconds = result.tally.pace[-1][0]
    return result


def _run_here(plan: Plan, _: int, tick: Callable[[int], None]) -> Result:
    tally = Tally(plan.adapter)
    try:
        for chain in plan.chains():
            divergence = run_chain(plan, chain, tally, tick)
            if divergence is not None:
                return Result(tally, divergence, False)
    except KeyboardInterrupt:
        return Result(tally, None, True)
    return Result(tally, None, False)


def _run_processes(plan: Plan, processes: int, tick: Callable[[int], None]) -> Result:
    context = multiprocessing.get_context("fork")  # engines and adapters cannot be pickled
    reports: Any = context.Queue()
    stop = context.Event()
    plan.recorder()  # compiled once, before the processes part
    workers = [
        context.Process(target=_work, args=(plan, i, processes, reports, stop), daemon=True)
        for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    tally = Tally(plan.adapter)
    divergence: Divergence | None = None
    interrupted = False
    waiting = processes
    while waiting:
        try:
            kind, content = reports.get(timeout=1)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers) and reports.empty():
                raise RuntimeError("a worker process died without a report") from None
            continue
        except KeyboardInterrupt:
            interrupted = True
            stop.set()
            continue
        if kind == "tick":
            tick(content)
        elif kind == "crash":
            stop.set()
            raise RuntimeError(f"a worker process failed: {content}")
        else:
            waiting -= 1
            part, found = content
            tally.merge(part)
            if found is not None and divergence is None:
                divergence = found
                stop.set()
    for worker in workers:
        worker.join()
    return Result(tally, divergence, interrupted and divergence is None)


def _work(plan: Plan, worker: int, processes: int, reports: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop

    def tick(steps: int) -> None:
        reports.put(("tick", steps))
        if stop.is_set():
            raise Stopped

    tally = Tally(plan.adapter)
    found = None
    try:
        for chain in plan.chains()[worker::processes]:
            found = run_chain(plan, chain, tally, tick)
            if found is not None:
                break
    except Stopped:
        pass
    except BaseException as error:
        reports.put(("crash", f"{type(error).__name__}: {error}"))
        raise
    reports.put(("done", (tally, found)))


def investigate(
    adapter: Adapter,
    found: Divergence,
    seconds: float = 60,
    directory: str | Path = "tests/regressions",
) -> Divergence:
    """Shrink the failure and write it down as a regression test."""
    engine = open_engine(found.engine)
    try:
        shrunk = shrink(adapter, engine, found.config, found.steps, found.kind, seconds)
    finally:
        engine.close()
    if shrunk is None:
        text = f"{found.text} (it did not recur on replay: model or generator keep hidden state)"
        return found._replace(text=text)
    path = write_regression(
        adapter, found.config, shrunk.steps, shrunk.mismatch, found.engine, directory
    )
    return found._replace(
        text=shrunk.mismatch.text,
        steps=shrunk.steps,
        regression=str(path),
        minimal=shrunk.minimal,
    )

"""A campaign: chains of steps, each on a fresh deployment, in one process, several, or a cluster.

A chain depends on nothing but the plan and its own number, so whoever runs it gets the same. What
a lost worker was running is given to another.
"""

import gc
import random
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.case import Case, writable, write_case, write_failure
from lockstep.checker import Checker, batch_size
from lockstep.compare import Mismatch
from lockstep.corpus import Corpus, Finds, is_short
from lockstep.coverage.recorder import Watch, recorder_of, scope_of
from lockstep.engines.base import open_engine
from lockstep.guidance import outcome as named_outcome
from lockstep.interrupts import noted_interrupts
from lockstep.shrink import shrink
from lockstep.step import Step
from lockstep.tally import AGREED, STOPPED, Pace, Tally

LENGTH = 10_000  # steps of a chain: bounds the memory, the time to shrink, what a loss costs
WHOLE_EVERY = 10_000
FOLLOWING = 40  # steps after a beginning from the corpus
CORPUS_SHARE = 4  # one in so many steps at most is one of these chains
SAMPLE_EVERY = 2_000
TRACE_EVERY = 32


class Divergence(NamedTuple):
    """A failure, with all that is needed to have it again."""

    kind: str
    text: str
    steps: list[Step]
    config: Config
    engine: str
    chain: int
    regression: str = ""  # the test it was written to
    case: str = ""  # the same as a case
    minimal: bool = False


class Stopped(Exception):
    """Another process found a failure, or the user pressed Ctrl-C."""


class Chain(NamedTuple):
    number: int  # in the campaign
    steps: int
    config: Config
    seed: int  # of the campaign; the chain's own is in the config


class Plan(NamedTuple):
    """`steps` for each of the `seeds` seeds from `seed` on."""

    adapter: Adapter
    steps: int
    seed: int
    configs: Sequence[Config] = ({},)
    engine: str = "revm"
    length: int = LENGTH
    whole_every: int = WHOLE_EVERY
    seeds: int = 1
    coverage: bool = False  # of contracts and model, as far as adapter and engine offer it
    trace_every: int = TRACE_EVERY  # batches, one of which the model is traced in
    corpus: Corpus | None = None

    @property
    def seed_text(self) -> str:
        """7, or 1..20."""
        last = self.seed + self.seeds - 1
        return str(self.seed) if self.seeds == 1 else f"{self.seed}..{last}"

    def chains(self) -> list[Chain]:
        """Every chain; the configs take turns.

        Of each seed, those that begin with an entry of the corpus come first and have numbers after
        the others', whose seeds are the same with a corpus and without. Their configs name the
        "entry".
        """
        chains: list[Chain] = []
        for seed in range(self.seed, self.seed + self.seeds):
            begun = self._begun(seed)
            rest = self.steps - sum(steps for steps, _ in begun)
            count = -(-rest // self.length)
            plain = [
                (min(self.length, rest - i * self.length), self.configs[i % len(self.configs)])
                for i in range(count)
            ]
            for i, (steps, config) in [*enumerate(begun, count), *enumerate(plain)]:
                own = {"seed": derived_seed(seed, i), "chain": i, "chains": count + len(begun)}
                chains.append(Chain(len(chains), steps, {**config, **own}, seed))
        return chains

    def _begun(self, seed: int) -> list[tuple[int, Config]]:
        """Steps and configs of the chains that begin with an entry: a share of all steps, which
        ones the seed decides if they are too many."""
        if self.corpus is None:
            return []
        entries = [
            (config, entry)
            for config in self.configs
            for entry in self.corpus.fitting(config)
            if is_short(entry)
        ]
        random.Random(seed).shuffle(entries)
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
    plan: Plan, chain: Chain, tally: Tally, tick: Callable[[int], None]
) -> Divergence | None:
    """One chain on a fresh engine. What was done is in the tally however it ends."""
    rng = random.Random(chain.config["seed"])
    generate = plan.adapter.generate
    engine = open_engine(plan.engine)
    watch = Watch(plan.adapter, engine, tally.coverage, tally.arcs, plan.coverage)
    checker = None
    began, outcome, done = time.time(), STOPPED, 0
    beginning = iter(plan.corpus.begin(chain.config) if plan.corpus else ())
    finds = Finds(plan.adapter, plan.corpus, chain.config, tally.features)

    def draw(twin: Twin) -> Step:
        for step in beginning:
            return step
        return generate(twin, rng)

    # A chain makes no cycles worth looking for; the collector would walk its whole history.
    gc.disable()
    try:
        with watch.tracing(not chain.number % plan.trace_every):
            checker = Checker(watch.adapter, engine, chain.config, plan.whole_every)
        turns = count(chain.number)
        while done < chain.steps:
            with watch.tracing(not next(turns) % plan.trace_every):
                results = checker.batch(draw, batch_size(done, chain.steps))
            size = len(results)
            first = tally.count(results)
            reached = [named_outcome(action, ok, reason) for action, _, ok, _, reason in first]
            finds.note(reached, checker)
            tally.add_steps(chain.seed, size)
            if (done + size) // SAMPLE_EVERY > done // SAMPLE_EVERY:
                tally.sample(checker.twin)
            done += size
            tick(size)
        checker.finish()
        outcome = AGREED
    except Mismatch as found:
        outcome = found.kind
        history: list[Step] = []
        if checker is not None:
            history = checker.history
            begun = checker.batched[: max(0, checker.steps - done)]  # up to the failing step
            tally.count(begun)
            tally.add_steps(chain.seed, len(begun))
            done += len(begun)
        kind, text, config = found.kind, found.text, chain.config
        return Divergence(kind, text, history, config, plan.engine, chain.number)
    finally:
        if checker is not None:
            tally.found += finds.save(checker)
            tally.add_chain(chain.number, checker, done, began, outcome)
        watch.end()
        engine.close()
        gc.enable()
    return None


def prepare(plan: Plan) -> None:
    """What is compiled once is compiled here, before processes part."""
    if plan.coverage:
        engine = open_engine(plan.engine)
        recorder_of(plan.adapter, engine)
        engine.close()


def run_campaign(
    plan: Plan,
    processes: int = 1,
    tick: Callable[[int], None] = lambda steps: None,
    cluster: str | None = None,
) -> Result:
    """All chains of the plan, up to the first failure. Ctrl-C keeps what was done."""
    # Imported here: both run chains, so they import this module.
    from lockstep import cluster as remote
    from lockstep import workers

    scope_of(plan.adapter).check()  # not at the end, when the figures would be lost
    pace = Pace()

    def both(steps: int) -> None:
        pace.tick(steps)
        tick(steps)

    if cluster:
        result = remote.run(plan, cluster, both)
    elif processes > 1:
        result = workers.run(plan, processes, both)
    else:
        result = _run_here(plan, both)
    result.tally.pace = pace.end()
    result.tally.seconds = result.tally.pace[-1][0]
    return result


def _run_here(plan: Plan, tick: Callable[[int], None]) -> Result:
    tally = Tally(plan.adapter)
    with noted_interrupts() as interrupted:

        def stopping(steps: int) -> None:
            tick(steps)
            if interrupted:
                raise KeyboardInterrupt

        try:
            for chain in plan.chains():
                divergence = run_chain(plan, chain, tally, stopping)
                if divergence is not None:
                    return Result(tally, divergence, False)
        except KeyboardInterrupt:
            return Result(tally, None, True)
    return Result(tally, None, False)


def investigate(
    adapter: Adapter,
    found: Divergence,
    seconds: float = 60,
    directory: str | Path = "tests/regressions",
) -> Divergence:
    """Shrink the failure and write it down as a regression test and a case."""
    engine = open_engine(found.engine)
    try:
        shrunk = shrink(adapter, engine, found.config, found.steps, seconds)
    finally:
        engine.close()
    if shrunk is None:
        text = f"{found.text} (it did not recur on replay: model or generator keep hidden state)"
        case = writable(directory) / f"not_recurring_chain_{found.chain}.json"
        steps, config, engine_name = found.steps, found.config, found.engine
        write_case(case, Case(adapter.import_path, config, steps, engine_name, found.kind, text))
        return found._replace(text=text, case=str(case))
    test, case = write_failure(
        adapter, found.config, shrunk.steps, shrunk.mismatch, found.engine, directory
    )
    return found._replace(
        text=shrunk.mismatch.text,
        steps=shrunk.steps,
        regression=str(test),
        case=str(case),
        minimal=shrunk.minimal,
    )

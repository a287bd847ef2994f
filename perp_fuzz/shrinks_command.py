"""`shrinks`: plants bugs, finds them, shrinks what failed, and looks whether it could be smaller.

Exit codes: 0 the medians are within bounds, 1 one is not, or a bug was not found or did not shrink,
2 bad input, 130 Ctrl-C. Times are of the processor, so that other work on the machine disturbs them
little.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from lockstep.adapter import Adapter, Config
from lockstep.campaign import Divergence, Plan, run_campaign
from lockstep.cli import FuzzCommand, Whole, open_corpus
from lockstep.engines.base import open_engine
from lockstep.shrink import Shrunk, shrink, slack
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.corpus_command import SEEDS
from perp_fuzz.deployment import compile_contracts
from perp_fuzz.planted import BUGS, Bug, check_texts, planted

COUNT = 20
STEPS = 100_000  # within which a bug has to be found
MOST_STEPS = 8  # medians
MOST_SECONDS = 2.0


class Case(NamedTuple):
    """What became of one bug."""

    id: str
    kind: str = ""
    found: int = 0  # steps of the failing chain
    steps: int = 0  # of the minimised case
    replays: int = 0
    seconds: float = 0.0
    slack: tuple[str, ...] = ()  # what could still be dropped or lowered
    error: str = ""


def spread(bugs: Sequence[Bug], count: int, seed: int) -> list[Bug]:
    """Bugs in turn from every kind there is: by the file they are in and by category."""
    rng = random.Random(seed)
    kinds: dict[tuple[str, str], list[Bug]] = defaultdict(list)
    for bug in rng.sample(list(bugs), len(bugs)):
        kinds[bug.files[0], bug.category].append(bug)
    queues = rng.sample(list(kinds.values()), len(kinds))
    chosen: list[Bug] = []
    while queues and len(chosen) < count:
        for queue in queues:
            chosen.append(queue.pop())
        queues = [queue for queue in queues if queue]
    return chosen[:count]


def measure(bug: Bug, configs: Sequence[Config], seed: int) -> Case:
    """Find one bug and shrink what it leads to."""
    with planted(bug) as overrides:
        adapter = PerpAdapter(overrides=overrides)
        adapter = adapter.compiled(compile_contracts(overrides))
        plan = Plan(adapter, STEPS, seed, configs, corpus=open_corpus(adapter, SEEDS, None))
        found = run_campaign(plan).divergence
        if found is None:
            return Case(bug.id, error=f"not found within {STEPS:,} steps")
        started = time.process_time()
        shrunk = _shrunk(adapter, found)
        seconds = time.process_time() - started
        if shrunk is None:
            return Case(bug.id, found.kind, len(found.steps), error="did not recur")
        left = ["the time ran out"]
        if shrunk.minimal:
            left = slack(adapter, open_engine("revm"), found.config, shrunk.steps)
    return Case(
        bug.id,
        shrunk.mismatch.kind,
        len(found.steps),
        len(shrunk.steps),
        shrunk.replays,
        seconds,
        tuple(left),
    )


def _shrunk(adapter: Adapter, found: Divergence) -> Shrunk | None:
    engine = open_engine("revm")
    try:
        return shrink(adapter, engine, found.config, found.steps)
    finally:
        engine.close()


def _work(task: tuple[Bug, Sequence[Config], int]) -> Case:
    bug = task[0]
    try:
        return measure(*task)
    except Exception as error:
        return Case(bug.id, error=f"{type(error).__name__}: {error}")


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it


def measure_all(
    bugs: Sequence[Bug], configs: Sequence[Config], seed: int, processes: int
) -> Iterator[Case]:
    """Every bug in a process of its own, `processes` at a time."""
    context = multiprocessing.get_context("fork")
    tasks = [(bug, configs, seed) for bug in bugs]
    with context.Pool(processes, _ignore_interrupts, maxtasksperchild=1) as pool:
        yield from pool.imap(_work, tasks, chunksize=1)


def run(bugs: Sequence[Bug], configs: Sequence[Config], seed: int, processes: int) -> int:
    """Measure and say what came of it; the exit code."""
    check_texts(bugs)
    compile_contracts()  # so that no bug is charged with what they all need
    console = Console(width=None if Console().is_terminal else 140)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    cases: list[Case] = []
    is_interrupted = False
    try:
        for case in measure_all(bugs, configs, seed, processes):
            cases.append(case)
            say(f"{len(cases)} of {len(bugs)}: {_sentence(case)}")
    except KeyboardInterrupt:
        is_interrupted = True
    shrunk = [case for case in cases if not case.error]
    if not shrunk:
        say("nothing was shrunk")
        return 130 if is_interrupted else 1
    console.print(_table(cases), highlight=False, markup=False)
    steps, seconds = median(c.steps for c in shrunk), median(c.seconds for c in shrunk)
    minimal = sum(not case.slack for case in shrunk)
    say(
        f"{len(shrunk)} of {len(bugs)} shrunk: median {steps:g} steps in {seconds:.2f} s, at most "
        f"{max(c.steps for c in shrunk)} in {max(c.seconds for c in shrunk):.1f} s; in {minimal} "
        "no step can be dropped and no number be lowered by one or to zero"
    )
    if is_interrupted:
        say("interrupted: the figures cover what was done")
        return 130
    is_within = steps <= MOST_STEPS and seconds <= MOST_SECONDS and len(shrunk) == len(bugs)
    if not is_within:
        say(f"bounds: all shrunk, median {MOST_STEPS} steps in {MOST_SECONDS:g} s")
    return 0 if is_within else 1


def _sentence(case: Case) -> str:
    if case.error:
        return f"{case.id}: {case.error}"
    return f"{case.id}: {case.found:,} steps to {case.steps} in {case.seconds:.1f} s ({case.kind})"


def _table(cases: Sequence[Case]) -> Table:
    table = Table("bug", "failure", title="shrinking", title_justify="left")
    for column in ("found", "shrunk", "replays", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("could still be smaller")
    for case in cases:
        table.add_row(
            case.id,
            case.error or case.kind,
            f"{case.found:,}",
            str(case.steps),
            f"{case.replays:,}",
            f"{case.seconds:.2f}",
            ", ".join(case.slack),
        )
    return table


def shrinks_command(configs: Sequence[Config], bugs: Sequence[Bug] = BUGS) -> click.Command:
    """The command, on the deployments that the chains of a campaign take in turn."""

    def callback(count: int, seed: int, processes: int) -> None:
        raise SystemExit(run(spread(bugs, count, seed), configs, seed, processes))

    options: list[click.Parameter] = [
        click.Option(
            ["--bugs", "count"],
            type=Whole(1),
            default=COUNT,
            show_default=True,
            help="Bugs to plant, spread over files and categories.",
        ),
        click.Option(
            ["--seed"],
            type=Whole(0),
            default=1,
            show_default=True,
            help="Chooses the bugs and the campaigns that find them.",
        ),
        click.Option(
            ["--processes"],
            type=Whole(1),
            default=os.cpu_count() or 1,
            show_default="number of cores",
            help="Bugs at a time.",
        ),
    ]
    text = (
        "Plant bugs, find them, shrink what failed, and look whether the result could be smaller."
        "\n\n\b\nExamples:\n  make shrinks\n  make shrinks BUGS=50 SEED=7"
        f"\n\nExit codes: 0 medians of at most {MOST_STEPS} steps and {MOST_SECONDS:g} seconds, "
        "1 more, or a bug not found or not shrunk, 2 bad input, 130 Ctrl-C."
    )
    return FuzzCommand("shrinks", callback=callback, params=options, help=text)

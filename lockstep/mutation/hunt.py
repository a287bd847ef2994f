"""Does a campaign notice? Chains up to a difference, and proof that it is the mutant's.

Short chains first: most mutants show at once, and a fresh deployment costs less than the steps that
reach far. Then those that begin with what is rare, then longer and longer ones.
"""

import gc
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.campaign import derived_seed
from lockstep.checker import Checker, batch_size
from lockstep.compare import Mismatch
from lockstep.engines.base import open_engine
from lockstep.step import Step

LENGTHS = (100, 500, 2_000, 8_000)  # of the chains of a round; the last one stays
FOLLOWING = 20  # steps after a beginning
# Steps between two looks at everything, the chains in turn: some mutants only views can show.
WHOLE_EVERY = (200, 2_000)
STUCK_SECONDS = 10  # of processor time, in which a batch ends hundreds of times over

KILLED, SURVIVED = "killed", "survived"

Beginning = tuple[Config, Sequence[Step]]  # a deployment, and steps that reach what is rare there


class Verdict(NamedTuple):
    """What became of one mutant."""

    outcome: str
    kind: str = ""  # of the difference
    text: str = ""
    chain: int = -1
    steps: int = 0  # over all chains, up to the end of the batch that failed
    aimed: int = 0  # of them, those aimed at an edge
    seconds: float = 0.0
    limit: float = 0.0  # seconds allowed


class Chain(NamedTuple):
    """A deployment and what is done there: the first steps given, the others drawn."""

    number: int
    config: Config
    beginning: Sequence[Step]
    steps: int  # in all

    @property
    def whole_every(self) -> int:
        return WHOLE_EVERY[self.number % len(WHOLE_EVERY)]


class Trace(NamedTuple):
    """A chain that failed, and every step of it."""

    chain: Chain
    steps: Sequence[Step]


class TimeUp(Exception):
    """The hunt is over."""


class NeverEnds(Exception):
    """A step goes on and on."""


def chains(
    configs: Sequence[Config], seed: int, beginnings: Sequence[Beginning] = ()
) -> Iterator[Chain]:
    """Those of a hunt, without end."""
    number = count()

    def chain(config: Config, steps: int, beginning: Sequence[Step] = ()) -> Chain:
        i = next(number)
        own = {"seed": derived_seed(seed, i), "chain": i, "chains": 1}
        return Chain(i, {**config, **own}, beginning, steps)

    for config in configs:
        yield chain(config, LENGTHS[0])
    for config, beginning in beginnings:
        yield chain(config, len(beginning) + FOLLOWING, beginning)
    for turn in count(1):
        for config in configs:
            yield chain(config, LENGTHS[min(turn, len(LENGTHS) - 1)])


def hunt(adapter: Adapter, some: Iterator[Chain], seconds: float) -> tuple[Verdict, Trace | None]:
    """Drives contract and model for at most `seconds`, deployments included; with the chain that
    failed, if one did. Seconds are of processor time: others at work on the machine cost nothing.

    Whatever stops the campaign counts: a difference, a deployment that fails, a generator that
    cannot go on, a step that never ends. That it does not happen without the mutant as well is for
    `doubt` to say.
    """
    started = time.process_time()
    deadline = started + seconds
    steps = aimed = 0
    outcome, kind, text = SURVIVED, "", ""
    trace, number = None, -1
    for chain in some:
        history: list[Step] = []
        number = chain.number
        trace = Trace(chain, history)
        try:
            _run(adapter, chain, history, deadline)
        except TimeUp:
            trace = None
        except Mismatch as found:
            outcome, kind, text = KILLED, found.kind, found.text
        except Exception as error:
            outcome, kind = KILLED, f"crash {type(error).__name__}"
            text = f"the campaign cannot go on: {type(error).__name__}: {error}"
        steps += len(history)
        aimed += sum(step.aim == "edge" for step in history)
        if trace is None or outcome == KILLED:
            break
    took = time.process_time() - started
    found_in = trace if outcome == KILLED else None
    return Verdict(outcome, kind, text, number, steps, aimed, took, seconds), found_in


def doubt(adapter: Adapter, trace: Trace) -> str:
    """How the chain fails without the mutant, too; empty if it does not.

    `adapter` has no mutant. The chain is run as far as it went with one; then the very steps that
    it had, if a mutant of the model led the generator to others.
    """
    chain, failed = trace.chain, list(trace.steps)
    history: list[Step] = []
    try:
        _run(adapter, chain, history, steps=len(failed))
        if history[: len(failed)] != failed:
            history.clear()
            again = chain._replace(beginning=failed, steps=len(failed))
            _run(adapter, again, history)
    except Mismatch as found:
        return f"{found.kind}: {found.text}"
    except Exception as error:
        return f"the campaign cannot go on: {type(error).__name__}: {error}"
    return ""


def _run(
    adapter: Adapter,
    chain: Chain,
    history: list[Step],
    deadline: float | None = None,
    steps: int | None = None,
) -> None:
    """The chain; if `steps` is given, up to the batch that would follow them. What was done is in
    the history however it ends."""
    rng = random.Random(chain.config["seed"])
    engine = open_engine("revm")
    beginning = iter(chain.beginning)

    def draw(twin: Twin) -> Step:
        for step in beginning:
            return step
        return adapter.generate(twin, rng)

    gc.disable()  # as in a campaign
    try:
        with _watched() as watch:
            checker = Checker(adapter, engine, chain.config, chain.whole_every, exact=False)
            checker.history = history
            begun = len(chain.beginning)
            while checker.steps < chain.steps and (steps is None or checker.steps <= steps):
                watch()
                end = begun if checker.steps < begun else chain.steps
                checker.batch(draw, batch_size(checker.steps, end))
                if checker.steps == begun:
                    checker.whole()
                if deadline is not None and time.process_time() > deadline:
                    raise TimeUp
            checker.finish()
    finally:
        engine.close()
        gc.enable()


@contextmanager
def _watched() -> Iterator[Callable[[], None]]:
    """Within it NeverEnds is raised when more processor time than `STUCK_SECONDS` has gone by since
    the function that it gives was called."""

    def stuck(*_: Any) -> None:
        raise NeverEnds(f"{STUCK_SECONDS} s of processor time")

    def watch() -> None:
        signal.setitimer(signal.ITIMER_PROF, STUCK_SECONDS)

    before = signal.signal(signal.SIGPROF, stuck)
    try:
        watch()
        yield watch
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)

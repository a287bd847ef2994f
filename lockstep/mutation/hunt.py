"""Does a campaign notice? Chains of growing length, the configs in turn, up to a difference.

Short chains first: most mutants show at once, and a fresh deployment costs less than the steps that
reach far.
"""

import gc
import random
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.campaign import derived_seed
from lockstep.checker import Checker, batch_sizes
from lockstep.compare import Mismatch
from lockstep.engines.base import open_engine
from lockstep.step import Step

LENGTHS = (100, 500, 2_000, 8_000)  # of the chains of a round; the last one stays
# Steps between two looks at everything, the chains in turn: some mutants only views can show.
WHOLE_EVERY = (100, 1_000)

KILLED, SURVIVED = "killed", "survived"


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


class _TimeUp(Exception):
    pass


def chains(configs: Sequence[Config], seed: int) -> Iterator[tuple[int, int, Config]]:
    """(number, steps, config), without end."""
    for number in count():
        length = LENGTHS[min(number // len(configs), len(LENGTHS) - 1)]
        own = {"seed": derived_seed(seed, number), "chain": number, "chains": 1}
        yield number, length, {**configs[number % len(configs)], **own}


def hunt(adapter: Adapter, configs: Sequence[Config], seed: int, seconds: float) -> Verdict:
    """Drives contract and model for at most `seconds`, deployments included.

    Whatever stops the campaign counts: a difference, a deployment that fails, a generator that
    cannot go on. That none of it happens without a mutant is checked before (see `runner`).
    """
    started = time.monotonic()
    tally = _Tally(started + seconds)
    number = -1
    outcome, kind, text = SURVIVED, "", ""
    try:
        for chain, length, config in chains(configs, seed):
            number = chain
            _run(adapter, config, length, WHOLE_EVERY[chain % len(WHOLE_EVERY)], tally)
    except _TimeUp:
        pass
    except Mismatch as found:
        outcome, kind, text = KILLED, found.kind, found.text
    except Exception as error:
        outcome, kind = KILLED, f"crash {type(error).__name__}"
        text = f"the campaign cannot go on: {type(error).__name__}: {error}"
    took = time.monotonic() - started
    return Verdict(outcome, kind, text, number, tally.steps, tally.aimed, took, seconds)


class _Tally:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.steps = 0
        self.aimed = 0

    def add(self, history: Sequence[Step]) -> None:
        self.steps += len(history)
        self.aimed += sum(step.aim == "edge" for step in history)


def _run(adapter: Adapter, config: Config, length: int, whole_every: int, tally: _Tally) -> None:
    """One chain. What was done is in the tally however it ends."""
    rng = random.Random(config["seed"])
    engine = open_engine("revm")
    history: Sequence[Step] = ()

    def draw(twin: Twin) -> Step:
        return adapter.generate(twin, rng)

    gc.disable()  # as in a campaign
    try:
        checker = Checker(adapter, engine, config, whole_every, exact=False)
        history = checker.history
        for size in batch_sizes(length):
            checker.batch(draw, size)
            if time.monotonic() > tally.deadline:
                raise _TimeUp
        checker.finish()
    finally:
        tally.add(history)
        engine.close()
        gc.enable()

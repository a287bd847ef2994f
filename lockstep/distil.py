"""Shorten steps so that they still reach a feature, on the model alone: no engine follows."""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.corpus import Corpus, Entry, entry_of, is_short, read_entry
from lockstep.engines.base import open_engine
from lockstep.guidance import Featured, outcome
from lockstep.step import Step
from lockstep.tally import Tally

BEGINNING = 8  # steps that a chain begins with, which later ones mostly need
WINDOWS = (30, 120, 500)  # steps before a feature that are tried first
HALF_WAY = 100  # steps above which an entry is not worth keeping when the time is over
RARE = 2_000  # what is reached once in so many steps, or less often


class Item(NamedTuple):
    """A step whose arguments may be what earlier steps return."""

    step: Step
    uses: dict[int, int]  # position in args -> position in the list of the step that returns it


class Run(NamedTuple):
    """What a replay on the model did."""

    steps: tuple[Step, ...]  # as executed, up to where the wanted feature was reached
    succeeded: tuple[bool, ...]
    values: tuple[int | None, ...]
    first: dict[str, int]  # feature -> position of the first step that reached it

    def until(self, last: int) -> "Run":
        """The same as far as this step."""
        end = last + 1
        first = {name: i for name, i in self.first.items() if i < end}
        return Run(self.steps[:end], self.succeeded[:end], self.values[:end], first)


class Distiller:
    """Replays and shortens for one adapter, until the time is over."""

    def __init__(self, adapter: Adapter, seconds: float) -> None:
        self._adapter = adapter
        self._deadline = time.monotonic() + seconds
        self._engine = open_engine("revm")

    def close(self) -> None:
        self._engine.close()

    def is_over(self) -> bool:
        """Whether the time is."""
        return time.monotonic() > self._deadline

    def _fresh(self, config: Config) -> Twin:
        """Nothing runs on the engine: the deployment is undone as soon as the model is there."""
        base = self._engine.snapshot()
        try:
            return self._adapter.new_twin(self._engine, config)
        finally:
            self._engine.revert(base)

    def run(self, config: Config, items: Sequence[Item], wanted: str = "") -> Run:
        """All steps on a fresh model, or up to the first that reaches the wanted feature."""
        twin = self._fresh(config)
        first: dict[str, int] = {}
        done: list[Step] = []
        succeeded: list[bool] = []
        values: list[int | None] = []
        take = twin.features if isinstance(twin, Featured) else tuple
        for i, (step, uses) in enumerate(items):
            if uses:
                args = list(step.args)
                for place, producer in uses.items():
                    value = values[producer]
                    args[place] = args[place] if value is None else value
                step = step._replace(args=tuple(args))
            try:
                result = twin.execute_model(step)
            except Exception:  # what is wrong with it, a campaign tells
                break
            done.append(step)
            succeeded.append(result.ok)
            values.append(result.value if result.ok else None)
            for name in (outcome(step.action, result.ok, result.reason), *take()):
                first.setdefault(name, i)
            if wanted in first:
                break
        return Run(tuple(done), tuple(succeeded), tuple(values), first)

    def whole(self, entry: Entry) -> Run:
        """All steps of an entry as they are."""
        return self.run(entry.config, [Item(step, {}) for step in entry.steps])

    def shorten(self, config: Config, whole: Run, wanted: str) -> Run:
        """The fewest steps found that reach the feature, which the whole run does."""
        best = self._window(config, whole.until(whole.first[wanted]), wanted)
        size = len(best.steps) // 2
        while size and not self.is_over():
            position, before = 0, len(best.steps)
            while position < len(best.steps) - 1 and not self.is_over():
                chunk = set(range(position, min(position + size, len(best.steps) - 1)))
                shorter = self._without(config, best, chunk, wanted)
                if shorter is None:
                    position += size
                else:
                    best = shorter
            if size > 1 or len(best.steps) == before:
                size //= 2
        return best

    def _window(self, config: Config, run: Run, wanted: str) -> Run:
        """The beginning and the last few steps, if these are enough; without what failed."""
        last = len(run.steps) - 1
        failed = {i for i, ok in enumerate(run.succeeded[:last]) if not ok}
        for size in WINDOWS:
            if BEGINNING + size < last:
                shorter = self._without(
                    config, run, failed | set(range(BEGINNING, last - size)), wanted
                )
                if shorter is not None:
                    return shorter
        return self._without(config, run, failed, wanted) or run

    def _without(self, config: Config, run: Run, dropped: set[int], wanted: str) -> Run | None:
        shorter = self.run(config, self._rest(run, dropped), wanted)
        is_there = wanted in shorter.first
        return shorter if is_there and len(shorter.steps) < len(run.steps) else None

    def _rest(self, run: Run, dropped: set[int]) -> list[Item]:
        """What is left; steps that use what a dropped one returned go with it."""
        producers: dict[tuple[str, int], int | None] = {}  # None: dropped
        rest: list[Item] = []
        for i, (step, value) in enumerate(zip(run.steps, run.values, strict=True)):
            source, places = self._adapter.references.get(step.action, ("", ()))
            uses: dict[int, int] = {}
            is_dropped = i in dropped
            for place in places:
                argument = step.args[place] if place < len(step.args) else None
                if isinstance(argument, int) and (source, argument) in producers:
                    producer = producers[source, argument]
                    if producer is None:
                        is_dropped = is_dropped or i < len(run.steps) - 1
                    else:
                        uses[place] = producer
            if value is not None:
                producers[step.action, value] = None if is_dropped else len(rest)
            if not is_dropped:
                rest.append(Item(step, uses))
        return rest


def agrees(adapter: Adapter, config: Config, steps: Iterable[Step]) -> bool:
    """Whether both sides do the same and every promise is kept: what is shortened may do what no
    generator would, such as leave out the end of a token's misbehaviour."""
    engine = open_engine("revm")
    try:
        checker = Checker(adapter, engine, config, whole_every=0)
        for step in steps:
            checker.step(step)
        checker.finish()
    except Mismatch:
        return False
    finally:
        engine.close()
    return True


def distil(
    adapter: Adapter, corpus: Corpus, found: Iterable[Entry], rare: Collection[str], seconds: float
) -> list[Entry]:
    """Short entries for the rare features of long ones, each written as soon as it is there.

    A long one of which everything rare is kept in short ones goes.
    """
    distiller = Distiller(adapter, seconds)
    short = [entry for entry in corpus.entries if is_short(entry)]
    covered = {name for entry in short for name in entry.features}
    made: list[Entry] = []
    try:
        for entry in found:
            wanted = [name for name in entry.features if name in rare and name not in covered]
            whole = distiller.whole(entry) if wanted else None
            for name in wanted:
                if distiller.is_over():
                    return made
                if whole is None or name not in whole.first or name in covered:
                    continue
                run = distiller.shorten(entry.config, whole, name)
                if distiller.is_over() and len(run.steps) > HALF_WAY:
                    return made  # the long one waits for the next campaign
                if not agrees(adapter, entry.config, run.steps):
                    continue
                reached = [other for other in run.first if other in rare and other not in covered]
                covered.update(reached)
                made.append(entry_of(adapter, entry.config, run.steps, reached))
                corpus.write(made[-1])
            if entry not in made and entry not in short:
                corpus.remove(entry)
    finally:
        distiller.close()
    return made


def keep_rare(adapter: Adapter, corpus: Corpus, tally: Tally, seconds: float) -> list[Entry]:
    """What a campaign has found that is rare in it, shortened for the next ones."""
    most = max(1, tally.steps // RARE)
    rare = {name for name, count in tally.reached().items() if count <= most}
    found = [read_entry(path, adapter) for path in dict.fromkeys(tally.found) if path.exists()]
    return distil(adapter, corpus, [*found, *corpus.long()], rare, seconds)

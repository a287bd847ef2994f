"""Shorten steps so that they still reach a feature, on the model alone: no engine follows."""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.corpus import Corpus, Entry, entry_of
from lockstep.engines.base import open_engine
from lockstep.guidance import Featured, outcome
from lockstep.step import Step


class Item(NamedTuple):
    """A step whose arguments may be what earlier steps return."""

    step: Step
    uses: dict[int, int]  # position in args -> position in the list of the step that returns it


class Run(NamedTuple):
    """What a replay on the model did."""

    steps: tuple[Step, ...]  # as executed, up to where the wanted feature was reached
    reached: frozenset[str]
    succeeded: tuple[bool, ...]
    values: tuple[int | None, ...]
    is_there: bool


class Distiller:
    """Replays and shortens for one adapter, until the time is over."""

    def __init__(self, adapter: Adapter, seconds: float) -> None:
        self._adapter = adapter
        self._deadline = time.monotonic() + seconds
        self._engine = open_engine("revm")

    def close(self) -> None:
        self._engine.close()

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._deadline

    def run(self, config: Config, items: Sequence[Item], wanted: str = "") -> Run:
        """All steps on a fresh model, or up to the first that reaches the wanted feature."""
        base = self._engine.snapshot()
        reached: set[str] = set()
        done: list[Step] = []
        succeeded: list[bool] = []
        values: list[int | None] = []
        try:
            twin = self._adapter.new_twin(self._engine, config)
            take = twin.features if isinstance(twin, Featured) else tuple
            for step, uses in items:
                if uses:
                    args = list(step.args)
                    for place, producer in uses.items():
                        value = values[producer]
                        args[place] = args[place] if value is None else value
                    step = step._replace(args=tuple(args))
                result = twin.execute_model(step)
                done.append(step)
                succeeded.append(result.ok)
                values.append(result.value if result.ok else None)
                reached.add(outcome(step.action, result.ok, result.reason))
                reached.update(take())
                if wanted and wanted in reached:
                    break
        finally:
            self._engine.revert(base)
        names = frozenset(reached)
        return Run(tuple(done), names, tuple(succeeded), tuple(values), wanted in names)

    def shorten(self, config: Config, steps: Sequence[Step], wanted: str) -> Run | None:
        """The fewest steps found that reach the feature; None if these do not."""
        best = self.run(config, [Item(step, {}) for step in steps], wanted)
        if not best.is_there:
            return None
        failed = {i for i, ok in enumerate(best.succeeded[:-1]) if not ok}
        best = self._without(config, best, failed, wanted) or best
        size = len(best.steps) // 2
        while size and not self.is_over:
            position, before = 0, len(best.steps)
            while position < len(best.steps) - 1 and not self.is_over:
                chunk = set(range(position, min(position + size, len(best.steps) - 1)))
                shorter = self._without(config, best, chunk, wanted)
                if shorter is None:
                    position += size
                else:
                    best = shorter
            if size > 1 or len(best.steps) == before:
                size //= 2
        return best

    def _without(self, config: Config, run: Run, dropped: set[int], wanted: str) -> Run | None:
        shorter = self.run(config, self._rest(run, dropped), wanted)
        return shorter if shorter.is_there and len(shorter.steps) < len(run.steps) else None

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


def distil(
    adapter: Adapter, corpus: Corpus, found: Iterable[Entry], rare: frozenset[str], seconds: float
) -> list[Entry]:
    """Short entries for the rare features of long ones, each written when it is there."""
    distiller = Distiller(adapter, seconds)
    covered = set(corpus.known)
    made: list[Entry] = []
    try:
        for entry in found:
            for feature in entry.features:
                if feature not in rare or feature in covered or distiller.is_over:
                    continue
                run = distiller.shorten(entry.config, entry.steps, feature)
                if run is None:
                    continue
                reached = (run.reached & rare) - covered | {feature}
                covered |= reached
                made.append(entry_of(adapter, entry.config, run.steps, reached))
                corpus.write(made[-1])
    finally:
        distiller.close()
    return made

"""Make a failing list of steps as short and as round as it gets, and still fail the same way."""

import time
from collections.abc import Callable
from typing import NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.base import Engine
from lockstep.step import Step

THOROUGH = 200  # lists up to this length are checked completely after every step


class Symbolic(NamedTuple):
    """A step whose args that came from an earlier step's return value say so.

    Deleting an unrelated producing step then does not point the others at the wrong thing.
    """

    key: int  # position in the original list
    step: Step
    references: dict[int, int]  # position in args -> key of the step that returned the value


class Replay(NamedTuple):
    mismatch: Mismatch | None
    steps: list[Step]  # as executed, up to the failure
    values: list[int | None]  # return values, None for reverts
    succeeded: list[bool]


class Shrunk(NamedTuple):
    steps: list[Step]
    mismatch: Mismatch
    replays: int
    minimal: bool  # False when the time ran out


def run(adapter: Adapter, engine: Engine, config: Config, items: list[Symbolic]) -> Replay:
    """Replay on a fresh twin; the engine is left as it was found."""
    base = engine.snapshot()
    done: list[Step] = []
    values: dict[int, int | None] = {}
    succeeded: list[bool] = []
    thorough = len(items) <= THOROUGH
    mismatch = None
    try:
        checker = Checker(adapter, engine, config, whole_every=0)
        for item in items:
            step = item.step
            if item.references:
                args = list(step.args)
                for position, producer in item.references.items():
                    value = values.get(producer)
                    if value is not None:
                        args[position] = value
                step = step._replace(args=tuple(args))
            done.append(step)
            result = checker.step(step)
            values[item.key] = result.value if result.ok else None
            succeeded.append(result.ok)
            if thorough:
                checker.finish()
        checker.finish()
    except Mismatch as found:
        mismatch = found
    finally:
        engine.revert(base)
    return Replay(mismatch, done, [values.get(item.key) for item in items[: len(done)]], succeeded)


def symbolise(adapter: Adapter, replay: Replay) -> list[Symbolic]:
    """Turn raw return values in args into references to the step that returned them."""
    producers: dict[tuple[str, int], int] = {}
    items = []
    for key, (step, value) in enumerate(zip(replay.steps, replay.values, strict=True)):
        references: dict[int, int] = {}
        if step.action in adapter.references:
            source, positions = adapter.references[step.action]
            for position in positions:
                argument = step.args[position] if position < len(step.args) else None
                if isinstance(argument, int) and (source, argument) in producers:
                    references[position] = producers[source, argument]
        items.append(Symbolic(key, step, references))
        if value is not None:
            producers[step.action, value] = key
    return items


class Shrinker:
    def __init__(
        self, adapter: Adapter, engine: Engine, config: Config, kind: str, seconds: float
    ) -> None:
        self._adapter = adapter
        self._run: Callable[[list[Symbolic]], Replay] = lambda items: run(
            adapter, engine, config, items
        )
        self._kind = kind
        self._deadline = time.monotonic() + seconds
        self.replays = 0
        self.best: list[Symbolic] = []
        self.found: Replay | None = None

    def out_of_time(self) -> bool:
        return time.monotonic() > self._deadline

    def accept(self, items: list[Symbolic]) -> bool:
        """Keep the candidate if it fails in the same way (and drop what follows the failure)."""
        self.replays += 1
        replay = self._run(items)
        if replay.mismatch is None or replay.mismatch.kind != self._kind:
            return False
        # References are read anew: a raw id may by now be that of another step.
        self.best = symbolise(self._adapter, replay)
        self.found = replay
        return True

    def drop_steps(self) -> None:
        assert self.found is not None
        # Reverted steps change nothing in the model: one attempt to drop them all at once.
        ok = [*self.found.succeeded, True]
        useful = [item for item, kept in zip(self.best, ok, strict=False) if kept]
        if len(useful) < len(self.best):
            self.accept(useful)
        size = max(1, len(self.best) // 2)
        while not self.out_of_time():
            position = 0
            dropped = False
            while position < len(self.best) and not self.out_of_time():
                candidate = self.best[:position] + self.best[position + size :]
                if candidate and self.accept(candidate):
                    dropped = True
                else:
                    position += size
            if size == 1 and not dropped:
                return
            size = max(1, size // 2)

    def round_arguments(self) -> bool:
        """Bring each integer towards zero, or at least to a rounder one; and each time back."""
        changed = False
        index = 0
        while index < len(self.best):
            changed |= self._earlier(index)
            position = 0
            while index < len(self.best) and position < len(self.best[index].step.args):
                changed |= self._rounder(index, position)
                position += 1
            index += 1
        return changed

    def _earlier(self, index: int) -> bool:
        item = self.best[index]
        at = self.best[index - 1].step.at if index else item.step.at
        if at == item.step.at or self.out_of_time():
            return False
        return self.accept(self._with(index, item._replace(step=item.step._replace(at=at))))

    def _rounder(self, index: int, position: int) -> bool:
        changed = False
        while index < len(self.best) and not self.out_of_time():
            item = self.best[index]
            value = item.step.args[position]
            if not isinstance(value, int) or position in item.references:
                break
            for simpler in simpler_integers(value):
                args = (*item.step.args[:position], simpler, *item.step.args[position + 1 :])
                step = item.step._replace(args=args)
                if self.accept(self._with(index, item._replace(step=step))):
                    changed = True
                    break
                if self.out_of_time():
                    break
            else:
                break
        return changed

    def _with(self, index: int, item: Symbolic) -> list[Symbolic]:
        return [*self.best[:index], item, *self.best[index + 1 :]]


def simpler_integers(value: int) -> list[int]:
    """Candidates to replace a value by, simplest first; all are simpler, so this ends."""
    if value < 0:
        return [-value, *[-other for other in simpler_integers(-value)]]
    if value < 2:
        return [0] if value else []
    power: int = 10 ** (len(str(value)) - 1)
    rounded = [value - value % power, value - value % max(1, power // 10)]
    candidates = [0, 1, power, value // 10, value // 2, *rounded]
    return [other for other in dict.fromkeys(candidates) if other < value]


def shrink(
    adapter: Adapter,
    engine: Engine,
    config: Config,
    steps: list[Step],
    kind: str,
    seconds: float = 60,
) -> Shrunk | None:
    """The smallest list found that fails with the same kind. None if the failure does not recur.

    `engine` must be fresh; it is used for many replays.
    """
    shrinker = Shrinker(adapter, engine, config, kind, seconds)
    if not shrinker.accept([Symbolic(i, step, {}) for i, step in enumerate(steps)]):
        return None
    shrinker.drop_steps()
    while shrinker.round_arguments() and not shrinker.out_of_time():
        shrinker.drop_steps()
    found = shrinker.found
    assert found is not None
    assert found.mismatch is not None
    return Shrunk(found.steps, found.mismatch, shrinker.replays, not shrinker.out_of_time())

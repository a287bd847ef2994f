"""Replay lists of steps on one deployment, each from the same beginning, and vary them."""

from collections.abc import Callable, Container, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.base import Engine
from lockstep.memento import Memento, Unsupported
from lockstep.step import ModelResult, Step

CLOCK = 8 * 86_400  # an integer this near to its step's time is itself a time, and moves with it

Values = dict[int, int | None]  # what steps returned, by their key; None for reverts


class Item(NamedTuple):
    """A step of which some arguments follow from others: they keep their meaning as steps go."""

    key: int  # position in the list it comes from
    step: Step
    references: dict[int, int]  # position in args -> key of the step that returned the value
    clocks: dict[int, int]  # position in args -> how far the time of the step is behind it

    def is_free(self, position: int) -> bool:
        """Whether an argument follows from nothing."""
        return position not in self.references and position not in self.clocks

    def at(self, time: int) -> "Item":
        """The same at another time."""
        return self._replace(step=self.step._replace(at=time))

    def with_argument(self, position: int, value: int | str) -> "Item":
        """The same with another argument, which then follows from nothing."""
        args = (*self.step.args[:position], value, *self.step.args[position + 1 :])
        clocks = {key: behind for key, behind in self.clocks.items() if key != position}
        return self._replace(step=self.step._replace(args=args), clocks=clocks)

    def renamed(self, old: str, new: str) -> "Item":
        """The same with another name for an actor, also where it is an argument."""
        step = self.step
        args = tuple(new if arg == old else arg for arg in step.args)
        actor = new if step.actor == old else step.actor
        return self._replace(step=step._replace(actor=actor, args=args))

    def resolved(self, values: Values) -> Step:
        """The step, given what earlier ones returned."""
        step = self.step
        if not self.references and not self.clocks:
            return step
        args = list(step.args)
        for position, producer in self.references.items():
            value = values.get(producer)
            if value is not None:
                args[position] = value
        for position, behind in self.clocks.items():
            args[position] = step.at + behind
        return step._replace(args=tuple(args))


class Replay(NamedTuple):
    mismatch: Mismatch | None
    is_in_step: bool  # whether a step showed it, not the look at everything that ends a replay
    steps: list[Step]  # as executed, up to the failure
    values: list[int | None]  # return values, None for reverts
    succeeded: list[bool]  # of those that agreed


class Answer(NamedTuple):
    """What the model says of a step, without its numbers."""

    ok: bool
    reason: str
    is_something: bool  # returned: not nothing, not zero


class Look(NamedTuple):
    """What to look at after the steps; of no kind: at everything there is to check."""

    kind: str = ""  # of the failure that is looked for
    is_asked: Callable[[str], bool] = lambda label: True  # of a view, by its label
    most: float = inf  # of these views
    part: int | None = None  # of the views, that is asked alone
    after: Container[int] = ()  # numbers of steps after which to look, besides the end


class _Mark(NamedTuple):
    """The state after some items, from where replays that begin with them go on."""

    items: list[Item]
    memento: Memento
    steps: list[Step]
    values: Values
    succeeded: list[bool]


class Stage:
    """One deployment, put back before each replay."""

    def __init__(self, adapter: Adapter, engine: Engine, config: Config) -> None:
        self._adapter, self._engine, self._config = adapter, engine, config
        self._empty = engine.snapshot()
        self._checker = self._deployed()
        self.began = self._checker.twin.now
        self._mark: _Mark | None = None
        start = self._memento()
        # Without it, every replay is deployed anew.
        self._start = None if start is None else _Mark([], start, [], {}, [])
        self._deployment = engine.snapshot()
        self._marked = 0  # the engine's snapshot of the mark

    @property
    def can_be_put_back(self) -> bool:
        """Whether replays share a deployment."""
        return self._start is not None

    def _deployed(self) -> Checker:
        return Checker(self._adapter, self._engine, self._config, whole_every=0)

    def _memento(self) -> Memento | None:
        besides = (self._engine, self._adapter, *self._adapter.invariants)
        try:
            return Memento(self._checker, besides)
        except Unsupported:
            return None

    def _begin(self, items: Sequence[Item]) -> _Mark:
        """Put everything back to where the items can begin; what is done of them then."""
        engine = self._engine
        mark = self._mark_of(items)
        if mark is not None:
            engine.revert(self._marked)
            self._marked = engine.snapshot()
            mark.memento.restore()
            return mark
        self._mark = None
        if self._start is None:
            engine.revert(self._empty)
            self._empty = engine.snapshot()
            self._checker = self._deployed()
            return _Mark([], Memento(None), [], {}, [])
        engine.revert(self._deployment)
        self._deployment = engine.snapshot()
        self._start.memento.restore()
        return self._start

    def _mark_of(self, items: Sequence[Item]) -> _Mark | None:
        """The mark, if the items begin with its own."""
        mark = self._mark
        return mark if mark is not None and mark.items == items[: len(mark.items)] else None

    def _begin_model(self, items: Sequence[Item]) -> _Mark:
        """The same of the model alone: the engine is put back by whoever needs it next."""
        begun = self._mark_of(items) or self._start
        if begun is None:
            return self._begin(items)
        begun.memento.restore()
        return begun

    def mark(self, items: Sequence[Item]) -> None:
        """Let the next replays that begin with these items, which agree, go on after them."""
        is_there = self._mark is not None and self._mark.items == items
        if self._start is None or is_there or not items:
            return
        replay = self.replay(items)
        memento = self._memento()
        if replay.mismatch is None and memento is not None:
            values = {item.key: value for item, value in zip(items, replay.values, strict=True)}
            self._mark = _Mark(list(items), memento, replay.steps, values, replay.succeeded)
            self._marked = self._engine.snapshot()

    @property
    def asked(self) -> tuple[int, int]:
        """The part of the views in which the last look found one that differs, and how many of it
        were asked."""
        return self._checker.part, self._checker.asked

    def rename(self, items: Sequence[Item]) -> None:
        """The mark's items are from now on the first of these, if they are the same steps."""
        if self._mark is not None:
            first = list(items[: len(self._mark.items)])
            if [item.step for item in first] == self._mark.steps:
                self._mark = self._mark._replace(items=first)

    def verify(self, items: Sequence[Item], replay: Replay) -> None:
        """Deploy anew from now on if what was put back does not do again what `replay` was."""
        few = items[: min(len(replay.succeeded), 100)]
        again = self.replay(few)
        if again.mismatch is not None or again.values != replay.values[: len(few)]:
            self._start = None

    def close(self) -> None:
        """Leave the engine as it was found."""
        self._engine.revert(self._empty)

    def replay(self, items: Sequence[Item], look: Look | None = None) -> Replay:
        """Run the items, and look at what the steps themselves do not show."""
        begun = self._begin(items)
        checker = self._checker
        done, values, succeeded = list(begun.steps), dict(begun.values), list(begun.succeeded)
        mismatch: Mismatch | None = None
        is_in_step = True
        try:
            for item in items[len(begun.items) :]:
                step = item.resolved(values)
                done.append(step)
                result = checker.step(step)
                values[item.key] = result.value if result.ok else None
                succeeded.append(result.ok)
                if look is not None and len(done) in look.after:
                    is_in_step = False
                    _look(checker, look)
                    is_in_step = True
            is_in_step = False
            if look is not None:
                _look(checker, look)
        except Mismatch as found:
            mismatch = found
        returned = [values.get(item.key) for item in items[: len(done)]]
        return Replay(mismatch, is_in_step, done, returned, succeeded)

    def rehearsed(self, items: Sequence[Item]) -> Answer | None:
        """What the model, run alone, says of the last item. None if it cannot be put back."""
        begun = self._begin_model(items)
        values, twin = dict(begun.values), self._checker.twin
        result = None
        for item in items[len(begun.items) :]:
            result = _execute(twin, item, values)
        return None if self._start is None or result is None else _answer(result)

    def trace(self, items: Sequence[Item]) -> list[tuple[bool, str, list[Any]]]:
        """Which way the model, run alone, goes from the mark on: of each item whether it succeeds,
        the reason if not, and the kinds of its events."""
        begun = self._begin_model(items)
        values, twin = dict(begun.values), self._checker.twin
        results = [_execute(twin, item, values) for item in items[len(begun.items) :]]
        return [
            (result.ok, result.reason, [(log[0], log[1][:1]) for log in result.logs])
            for result in results
        ]

    def breaks(self, items: Sequence[Item], look: Look | None, kind: str) -> bool:
        """Whether the model, run alone, comes to break an invariant in this way."""
        begun = self._begin_model(items)
        checker, values = self._checker, dict(begun.values)
        try:
            for item in items[len(begun.items) :]:
                result = checker.rehearse(item.resolved(values))
                values[item.key] = result.value if result.ok else None
            if look is not None:
                checker.check(kind)
        except Mismatch as found:
            return found.kind == kind
        return False

    def touched(self, items: Sequence[Item]) -> list[set[tuple[str, int]]]:
        """The words of storage that each item touches when the model runs them alone."""
        begun = self._begin([])
        twin, values = self._checker.twin, dict(begun.values)
        touched = []
        for item in items:
            _execute(twin, item, values)
            touched.append({(address, slot) for address, slot, _ in twin.touched_words()})
        return touched

    def answers(
        self, items: Sequence[Item], index: int, position: int
    ) -> Callable[[int], Answer] | None:
        """What the model, run alone, says of the last item, by an integer argument of item `index`.

        Valid up to the next replay. None if the model cannot be put back.
        """
        if self._start is None:
            return None
        begun = self._begin(items[:index])
        values = dict(begun.values)
        twin = self._checker.twin
        for item in items[len(begun.items) : index]:
            _execute(twin, item, values)
        there = self._memento()
        if there is None:
            return None
        known = dict(values)

        def answer(number: int) -> Answer:
            there.restore()
            values.clear()
            values.update(known)
            result = _execute(twin, items[index].with_argument(position, number), values)
            for item in items[index + 1 :]:
                result = _execute(twin, item, values)
            return _answer(result)

        return answer


def _look(checker: Checker, look: Look) -> None:
    checker.look_for(look.kind, look.is_asked, look.most, look.part)


def _answer(result: ModelResult) -> Answer:
    return Answer(result.ok, result.reason, any(result.output))


def _execute(twin: Twin, item: Item, values: Values) -> ModelResult:
    try:
        result = twin.execute_model(item.resolved(values))
    except Exception as error:  # a crash is an answer too
        return ModelResult(False, b"", [], f"crash: {type(error).__name__}")
    values[item.key] = result.value if result.ok else None
    return result


def plain(steps: Sequence[Step]) -> list[Item]:
    """Steps of which nothing follows from anything."""
    return [Item(key, step, {}, {}) for key, step in enumerate(steps)]


def symbolise(references: Mapping[str, tuple[str, tuple[int, ...]]], replay: Replay) -> list[Item]:
    """Turn return values and times in args into what they stand for.

    `references` are those of an adapter.
    """
    producers: dict[tuple[str, int], int] = {}
    items = []
    for key, (step, value) in enumerate(zip(replay.steps, replay.values, strict=True)):
        source, positions = references.get(step.action, ("", ()))
        refers: dict[int, int] = {}
        clocks: dict[int, int] = {}
        for position, argument in enumerate(step.args):
            if not isinstance(argument, int):
                continue
            if position in positions and (source, argument) in producers:
                refers[position] = producers[source, argument]
            elif abs(argument - step.at) <= CLOCK:
                clocks[position] = argument - step.at
        items.append(Item(key, step, refers, clocks))
        if value is not None:
            producers[step.action, value] = key
    return items

"""Make a failing list of steps as short and its numbers as small as they get, failing the same way.

The same way: the same kind of failure, of the same thing by name (event, word, reason, view), at
the same action. Its numbers may change; a failure of something else is another failure.

Some bugs show only at an exact value. There, whatever is taken away moves the value: the number
that has to hit it is then found again on the model, where its answer turns (`_aimed`).
"""

import gc
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from itertools import combinations
from typing import NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.compare import Mismatch
from lockstep.edges import find_edge
from lockstep.engines.base import Engine
from lockstep.stage import Answer, Item, Look, Replay, Stage, plain, symbolise
from lockstep.step import Step

STRIDE = 64  # steps between two looks for the step that brought a failure
FIRST = 8  # steps at the beginning that stay when a long list is cut down to its end
KNOBS = 2  # numbers that are aimed again
RARE = 10  # a word that a smaller share of the steps touches than one in so many belongs to few
LAST = 4  # steps at the end that are searched for such numbers
SMALL = 1_000  # smaller numbers are flags, sides and ids rather than amounts and prices
NEAR = 10  # the share, as a power of two, by which a number that has to be exact cannot change
REACH = (40, 20, 14, 10, 7, 4, 2)  # the shares within which it is looked for again
COARSE = 3  # bits of a number that matter as long as others depend on it
HOPELESS = 0.4  # the share of rejections from which asking the model first pays
ASKED_ANYWAY = 8  # candidates of which one is, all the same
MEMORY = 8  # candidates over which the share is taken
POLISH = 120  # replays for the last units: rounding can make them creep
SCALES = ((1, 10**12), (1, 10**6), (1, 10**3), (1, 10), (1, 2), (3, 4), (7, 8), (15, 16))
APART = 8  # numbers further apart than this factor are quantities of different kinds
_NUMBERS = re.compile(r" \(-?\d+ if signed\)|0x[0-9a-f]+|-?\d+")
_NUMBERED = re.compile(r"(.*?)(\d+)")


class Failure(NamedTuple):
    """What two failures have in common that are the same."""

    kind: str
    names: frozenset[str]  # the lines of its text without their numbers
    action: str  # of the step that failed; "" where only a look at everything showed it

    def is_again(self, other: "Failure") -> bool:
        """Whether the other is this one again, be it in fewer places."""
        is_there = not self.action or self.action == other.action
        return self.kind == other.kind and is_there and other.names <= self.names


def failure_of(mismatch: Mismatch, action: str) -> Failure:
    """What has to stay as it is."""
    if mismatch.kind.startswith("invariant "):  # its kind is its id
        return Failure(mismatch.kind, frozenset(), action)
    lines = _NUMBERS.sub("#", mismatch.text).splitlines()
    return Failure(mismatch.kind, frozenset(lines), action)


def _asks_for(label: str) -> Callable[[str], bool]:
    """Whether a view is this one, whatever the numbers in its label."""
    wanted = _NUMBERS.sub("#", label)
    return lambda other: _NUMBERS.sub("#", other) == wanted


class Shrunk(NamedTuple):
    steps: list[Step]
    mismatch: Mismatch
    replays: int
    minimal: bool  # False when the time ran out


class Knob(NamedTuple):
    """A number that has to be exact."""

    from_end: int  # of its step: 0 is the failing one
    position: int  # in its args
    at: Answer  # of the model to the failing step
    beside: frozenset[Answer]  # a little up and a little down


class Effort(Enum):
    """How exactly numbers are brought down."""

    COARSE = auto()  # some bits of each, as long as others depend on it
    EXACT = auto()  # to the last unit
    AGAIN = auto()  # the same once more: there will not be much left


class OutOfTime(Exception):
    """The best so far has to do."""


class Shrinker:
    """Tries candidates and keeps the best that fails the same way."""

    def __init__(self, adapter: Adapter, stage: Stage, seconds: float) -> None:
        self._adapter = adapter
        self._stage = stage
        self._seconds = seconds
        self._deadline = math.inf
        self._later = {f"invariant {item.id}" for item in adapter.invariants if item.every > 1}
        self._look: Look | None = None  # at what the steps do not show themselves
        self._said: Answer | None = None  # by the model of the step that fails
        self._knobs: list[Knob] = []
        self._refuted: set[int] = set()  # hashes of candidates that do not fail the same way
        self._scaled_steps = 0  # how many there were when all numbers were last scaled
        self._hopeless = 1.0  # the share of late of candidates that the model alone rejects
        self.replays = 0
        self.best: list[Item] = []
        self.found: Replay
        self.failure: Failure

    def reproduce(self, steps: Sequence[Step]) -> bool:
        """Whether the steps fail at all; their failure is the one that is kept."""
        items = plain(steps)
        self._stage.mark(items[:-LAST])  # where numbers that have to be exact are tried from
        replay = self._stage.replay(items, Look())
        self.replays += 1
        if replay.mismatch is None:
            return False
        self._stage.verify(items, replay)
        self._deadline = time.monotonic() + self._seconds
        self.failure = self._failure(replay.mismatch, replay)
        self._look = None
        if not self.failure.action:
            self._look = Look(self.failure.kind, _asks_for(replay.mismatch.view))
            replay = self._first_seen(replay, self._look)
            part, asked = self._stage.asked
            self._look = self._look._replace(most=max(asked, 1), part=part)
        self._keep(replay)
        self._stage.rename(self.best)
        if self.failure.action and not self._is_invariant:
            self._said = self._stage.rehearsed(self.best)
        return True

    def _first_seen(self, replay: Replay, look: Look) -> Replay:
        """The replay up to the step that brought what only a look at everything has shown."""
        for stride in (STRIDE, 1):
            end = len(replay.steps)
            after = range(max(end - STRIDE, 0) + 1 if stride == 1 else stride, end, stride)
            again = self._stage.replay(plain(replay.steps), look._replace(after=after))
            self.replays += 1
            if again.mismatch is None or again.mismatch.kind != look.kind:
                break
            replay = again
        return replay

    def _failure(self, mismatch: Mismatch, replay: Replay) -> Failure:
        is_bound = replay.is_in_step and mismatch.kind not in self._later
        return failure_of(mismatch, replay.steps[-1].action if is_bound else "")

    def _keep(self, replay: Replay) -> None:
        self.found = replay
        # Read anew: a raw id may by now be that of another step.
        self.best = symbolise(self._adapter.references, replay)

    def _again(self, items: Sequence[Item]) -> Replay | None:
        """The replay of a candidate, if it fails the same way."""
        if time.monotonic() > self._deadline:
            raise OutOfTime
        content = _content(items)
        if not items or items == self.best or content in self._refuted:
            return None
        self.replays += 1
        # Where the model rejects few, asking it first takes longer than it saves.
        if self._hopeless > HOPELESS or not self.replays % ASKED_ANYWAY:
            is_hopeless = self._is_hopeless(items)
            self._hopeless += (is_hopeless - self._hopeless) / MEMORY
            if is_hopeless:
                self._refuted.add(content)
                return None
        replay = self._stage.replay(items, self._look)
        found = replay.mismatch
        if found is not None and self.failure.is_again(self._failure(found, replay)):
            return replay
        self._refuted.add(content)
        return None

    @property
    def _is_invariant(self) -> bool:
        return self.failure.kind.startswith("invariant ")

    def _is_hopeless(self, items: Sequence[Item]) -> bool:
        """Whether the model alone, which takes a fifth of the time, shows that it is another
        story: it does not break the invariant, or says something else of the last step."""
        if self._is_invariant and self._stage.can_be_put_back:
            return not self._stage.breaks(items, self._look, self.failure.kind)
        return self._said is not None and self._stage.rehearsed(items) != self._said

    def accept(self, items: Sequence[Item]) -> bool:
        """Keep the candidate, up to its failure, if it fails the same way."""
        replay = self._again(items)
        if replay is not None:
            self._keep(replay)
        return replay is not None

    # Exact numbers

    def find_knobs(self) -> None:
        """Which large numbers near the end cannot be changed a little, neither up nor down."""
        self._stage.mark(self.best[:-LAST])
        for from_end, item in enumerate(self.best[: -LAST - 1 : -1]):
            for position, value in enumerate(item.step.args):
                if item.is_free(position) and isinstance(value, int) and value > SMALL:
                    self._try_knob(len(self.best) - 1 - from_end, position, value)
                if len(self._knobs) == KNOBS:
                    return

    def _try_knob(self, index: int, position: int, value: int) -> None:
        off = value >> NEAR
        if any(self._again(self._with(index, position, value + sign * off)) for sign in (1, -1)):
            return
        answer = self._stage.answers(self.best, index, position)
        if answer is not None:
            at, beside = answer(value), frozenset(answer(value + sign * off) for sign in (1, -1))
            # Where the model answers alike all around, it does not know where to aim.
            if beside != {at}:
                self._knobs.append(Knob(len(self.best) - 1 - index, position, at, beside))

    def accept_aimed(self, items: Sequence[Item]) -> bool:
        """The same as `accept`, with the numbers that have to be exact found again if need be."""
        return self.accept(items) or any(self._aimed(items, knob) for knob in self._knobs)

    def _aimed(self, items: Sequence[Item], knob: Knob) -> bool:
        index = len(items) - 1 - knob.from_end
        content = hash((_content(items), knob))
        if index < 0 or content in self._refuted:
            return False
        self._refuted.add(content)
        if items[index].step.action != self.best[-1 - knob.from_end].step.action:
            return False
        value = items[index].step.args[knob.position]
        assert isinstance(value, int)
        answer = self._stage.answers(items, index, knob.position)
        if answer is None:
            return False
        aimed = list(_turns(answer, value, knob))
        return any(
            self.accept(_replaced(items, index, items[index].with_argument(knob.position, number)))
            for number in aimed
        )

    # Fewer steps

    def drop_steps(self) -> bool:
        """Drop whatever is not needed; whether anything was dropped."""
        before = len(self.best)
        if len(self.best) > 2 * FIRST:
            self._keep_end()
        self._drop_reverted()
        if len(self.best) > 2 * FIRST:
            self._keep_related()
            self._drop_kinds(lambda step: step.action)
            self._drop_kinds(lambda step: step.actor)
        size = max(1, len(self.best) // 2)
        while True:
            dropped = self._drop_chunks(size)
            if size == 1 and not dropped:
                return len(self.best) < before
            size = max(1, size // 2)

    def _drop_reverted(self) -> None:
        # Reverted steps change nothing in the model: one attempt to drop them all at once.
        succeeded = self.found.succeeded
        useful = [item for item, ok in zip(self.best, succeeded, strict=False) if ok]
        useful += self.best[len(succeeded) :]
        if len(useful) < len(self.best):
            self.accept(useful)

    def _keep_related(self) -> None:
        """Cut a long list down to the steps that touched what the failing one touches; failing
        that, to these and those that touch nothing but what many do, which is how the world goes.
        """
        touched = self._stage.touched(self.best)
        counts = Counter(word for words in touched for word in words)
        rare = {word for word, count in counts.items() if count * RARE < len(touched)}
        last = touched[-1] & rare
        related = {i for i, words in enumerate(touched) if words & last}
        world = {i for i, words in enumerate(touched) if words and not words & rare}
        for chosen in (related, related | world):
            needed = self._needed({*chosen, *range(FIRST), len(self.best) - 1})
            if self.accept_aimed([item for i, item in enumerate(self.best) if i in needed]):
                return

    def _keep_end(self) -> None:
        """Cut a long list down to its beginning, its end, and what the end refers to.

        Most failures need little of what was long ago, and short candidates cost little.
        """
        kept = 1
        while kept < len(self.best) - FIRST:
            needed = self._needed(range(len(self.best) - kept, len(self.best)))
            needed |= set(range(FIRST))
            if self.accept_aimed([item for i, item in enumerate(self.best) if i in needed]):
                return
            kept *= 2

    def _needed(self, indices: Iterable[int]) -> set[int]:
        """The items with those whose values they use."""
        needed: set[int] = set()
        waiting = list(indices)
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting += self.best[index].references.values()
        return needed

    def _drop_kinds(self, kind: Callable[[Step], str]) -> None:
        """Drop all that anybody ever did of one kind."""
        for name in dict.fromkeys(kind(item.step) for item in self.best[:-1]):
            of_kind = {i for i, item in enumerate(self.best[:-1]) if kind(item.step) == name}
            self._drop(self._users(of_kind))

    def _drop_chunks(self, size: int) -> bool:
        """From the end, since later steps depend on earlier ones. The failing step stays."""
        dropped = False
        end = len(self.best) - 1
        while end > 0:
            start = max(0, end - size)
            chunk = set(range(start, end))
            users = self._users(chunk)
            if self._drop(users) or (users != chunk and self._drop(chunk)):
                dropped = True
            end = min(start, len(self.best) - 1)
        return dropped

    def _users(self, chunk: set[int]) -> set[int]:
        """The chunk with the steps that use its values, the failing one excepted."""
        users = set(chunk)
        for index, item in enumerate(self.best[:-1]):
            if users.intersection(item.references.values()):
                users.add(index)
        return users

    def _drop(self, chunk: set[int]) -> bool:
        return self.accept_aimed([item for i, item in enumerate(self.best) if i not in chunk])

    # Simpler actors, times and numbers

    def simplify(self, effort: Effort) -> bool:
        """One pass over all that the steps say; whether anything got simpler."""
        changed = self._rename_actors()
        changed |= self._hasten(effort)
        if effort is Effort.COARSE and len(self.best) != self._scaled_steps:
            self._scaled_steps = len(self.best)  # once for each list: it takes long
            changed |= self._scale()
        for index in reversed(range(len(self.best))):
            position = 0
            while index < len(self.best) and position < len(self.best[index].step.args):
                changed |= self._lower(index, position, effort)
                position += 1
        return changed

    def _rename_actors(self) -> bool:
        """Each actor becomes the first of its kind that will do."""
        changed = False
        for actor in dict.fromkeys(item.step.actor for item in self.best):
            match = _NUMBERED.fullmatch(actor)
            names = [f"{match[1]}{number}" for number in range(int(match[2]))] if match else []
            changed |= any(
                self.accept([item.renamed(actor, name) for item in self.best]) for name in names[:9]
            )
        return changed

    def _hasten(self, effort: Effort) -> bool:
        """Bring each step, and with it all that follow, as near to the one before as it gets."""
        changed = False
        index = 0
        while index < len(self.best):
            before = self.best[index - 1].step.at if index else self._stage.began
            gap = self.best[index].step.at - before
            candidate = partial(self._at, index, before)
            changed |= gap > 0 and self._least(index, gap, candidate, effort)
            index += 1
        return changed

    def _at(self, index: int, before: int, gap: int) -> list[Item]:
        shift = before + gap - self.best[index].step.at
        later = (item.at(item.step.at + shift) for item in self.best[index:])
        return [*self.best[:index], *later]

    def _scale(self) -> bool:
        """Lower quantities that depend on each other at once: all of a magnitude, of two, all."""
        changed = False
        for together in (1, 2):
            kinds = _magnitudes(self._quantities())
            for chosen in combinations(kinds, min(together, len(kinds))):
                changed |= self._scaled([number for kind in chosen for number in kind])
        return changed | self._scaled(self._quantities())

    def _scaled(self, numbers: list[int]) -> bool:
        changed = False
        for numerator, denominator in SCALES:
            accept = self.accept_aimed if numerator == 1 else self.accept
            while numbers and accept(self._times(numbers, numerator, denominator)):
                changed = True
                numbers = [number * numerator // denominator for number in numbers]
        return changed

    def _quantities(self) -> list[int]:
        return [
            argument
            for item in self.best
            for position, argument in enumerate(item.step.args)
            if isinstance(argument, int) and argument > SMALL and item.is_free(position)
        ]

    def _times(self, numbers: Sequence[int], numerator: int, denominator: int) -> list[Item]:
        candidate = []
        for item in self.best:
            for position, argument in enumerate(item.step.args):
                if item.is_free(position) and argument in numbers and isinstance(argument, int):
                    item = item.with_argument(position, argument * numerator // denominator)
            candidate.append(item)
        return candidate

    def _lower(self, index: int, position: int, effort: Effort) -> bool:
        """Bring one number as near to zero as it gets, or to the time of its step."""
        item = self.best[index]
        value = item.step.args[position]
        if not isinstance(value, int) or position in item.references:
            return False
        base = item.step.at if position in item.clocks else 0
        sign = 1 if value >= base else -1
        return self._least(
            index,
            abs(value - base),
            lambda number: self._with(index, position, base + sign * number),
            effort,
        )

    def slack(self) -> Iterator[str]:
        """See the function of the same name. Nothing that fails is kept."""
        for index, item in enumerate(self.best):
            name = f"step {index + 1} ({item.step.action})"
            if self._again([*self.best[:index], *self.best[index + 1 :]]):
                yield name
            for position, value in enumerate(item.step.args):
                if position in item.references or not isinstance(value, int):
                    continue
                base = item.step.at if position in item.clocks else 0
                off = abs(value - base)
                sign = 1 if value >= base else -1
                lower = {0, off - 1} if off else ()
                if any(self._again(self._with(index, position, base + sign * n)) for n in lower):
                    yield f"argument {position + 1} of {name}"

    def _with(self, index: int, position: int, value: int) -> list[Item]:
        return _replaced(self.best, index, self.best[index].with_argument(position, value))

    def _least(
        self, index: int, value: int, candidate: Callable[[int], Sequence[Item]], effort: Effort
    ) -> bool:
        """Bring a number of a step towards zero; one less than what it ends at does not fail."""
        for simplest in (0, 1):
            if simplest < value and self.accept_aimed(candidate(simplest)):
                return True
        fails = self._bounded(index, candidate)
        off = (value >> COARSE) + 1 if effort is Effort.COARSE else 1
        if value < 3 or not fails(value - off):
            return False
        low, high = 1, value - off  # low does not fail, high does
        if effort is Effort.COARSE:
            _bisected(fails, low, high, lambda number: number >> COARSE)
            return True
        # Where the model alone goes another way is mostly where the failure ends, too.
        wanted = self._stage.trace(candidate(high))
        turn = _bisected(lambda number: self._stage.trace(candidate(number)) == wanted, low, high)
        if turn == high or fails(turn):
            if not fails(turn - 1):
                return True
            high = turn - 1
        else:
            low = turn
        _bisected(fails, low, high)
        return True

    def _bounded(
        self, index: int, candidate: Callable[[int], Sequence[Item]]
    ) -> Callable[[int], bool]:
        """Whether a number of item `index` will do, as long as the list stays as long as it is."""
        self._stage.mark(self.best[:index])
        length = len(self.best)
        return lambda number: len(self.best) == length and self.accept(candidate(number))


def _content(items: Sequence[Item]) -> int:
    return hash(
        tuple(
            (item.step, tuple(item.references.items()), tuple(item.clocks.items()))
            for item in items
        )
    )


def _replaced(items: Sequence[Item], index: int, item: Item) -> list[Item]:
    return [*items[:index], item, *items[index + 1 :]]


def _bisected(
    holds: Callable[[int], bool],
    low: int,
    high: int,
    near: Callable[[int], int] = lambda number: 1,
) -> int:
    """The least number for which it holds, or one not further above it than is near enough. It
    does not hold for `low`, which is positive, but for `high`."""
    while high - low > max(1, near(high)):
        middle = (low + high) // 2
        if high > 4 * low:  # by magnitude first
            middle = 1 << (low.bit_length() + high.bit_length()) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _turns(answer: Callable[[int], Answer], value: int, knob: Knob) -> Iterator[int]:
    """The numbers nearest to `value` where the model's answer turns as it did at the knob; of each
    turn the two beside it."""
    here = answer(value)
    for sign in (1, -1):
        near = value
        for share in REACH:
            far = value + sign * max(value >> share, 1)
            there = answer(far)
            if there != here:
                if _is_turn(here, there, knob):
                    low, high = sorted((near, far))
                    yield from find_edge(lambda number: answer(number) == here, low, high) or ()
                break
            near = far


def _is_turn(here: Answer, there: Answer, knob: Knob) -> bool:
    return (here == knob.at and there in knob.beside) or (there == knob.at and here in knob.beside)


def _magnitudes(numbers: Iterable[int]) -> list[list[int]]:
    """The numbers in groups, from one to the next within a group no more than a factor."""
    groups: list[list[int]] = []
    for number in sorted(set(numbers)):
        if groups and number <= APART * groups[-1][-1]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def shrink(
    adapter: Adapter, engine: Engine, config: Config, steps: Sequence[Step], seconds: float = 60
) -> Shrunk | None:
    """The smallest list found that fails as `steps` do. None if they do not fail.

    `engine` must be fresh; it is left as it was found.
    """
    stage = Stage(adapter, engine, config)
    shrinker = Shrinker(adapter, stage, seconds)
    is_collecting = gc.isenabled()
    gc.disable()  # a replay makes no cycles worth looking for
    try:
        if not shrinker.reproduce(steps):
            return None
        minimal = _minimise(shrinker)
    finally:
        if is_collecting:
            gc.enable()
        stage.close()
    found = shrinker.found
    assert found.mismatch is not None
    return Shrunk(found.steps, found.mismatch, shrinker.replays, minimal)


def slack(adapter: Adapter, engine: Engine, config: Config, steps: Sequence[Step]) -> list[str]:
    """What of a failing list could still be smaller, in words: the steps that can be dropped, the
    numbers that can be lowered by one or to zero, with the same failure."""
    stage = Stage(adapter, engine, config)
    try:
        shrinker = Shrinker(adapter, stage, 3_600)
        if not shrinker.reproduce(steps):
            return ["it does not fail"]
        return list(shrinker.slack())
    finally:
        stage.close()


def _minimise(shrinker: Shrinker) -> bool:
    try:
        shrinker.find_knobs()
        shrinker.drop_steps()
        while shrinker.simplify(Effort.COARSE):
            shrinker.drop_steps()
        shrinker.simplify(Effort.EXACT)
        enough = shrinker.replays + POLISH
        while shrinker.simplify(Effort.AGAIN) and shrinker.replays < enough:
            pass
        shrinker.drop_steps()
    except (OutOfTime, KeyboardInterrupt):  # whoever stops it gets what there is
        return False
    return True

"""Run steps on model and engine together and compare. Campaign, shrinker and tests share this.

`step` compares everything after each step. `batch` lets the model run ahead by some steps before
the engine follows: each side then finds its own data in the processor's caches, and a word that
several steps of the batch wrote is read once. What a batch finds is run again with `step`, which
names it exactly.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from lockstep.adapter import Adapter, Config, InParts, Invariant, Noteworthy, Twin, View
from lockstep.compare import VIEW, WORD, Mismatch, look, outcome_mismatch, word_mismatch
from lockstep.engines.base import Engine, EngineError, open_engine
from lockstep.step import ModelResult, Step

LEAST_BATCH, LARGEST_BATCH = 32, 256  # steps
LOOK_EVERY = 16  # steps between two looks at the state that the twin is in
Done = tuple[Step, ModelResult]


def batch_size(done: int, steps: int) -> int:
    """Of the next batch when `done` of `steps` are done: small at first, so that what fails at once
    is seen at once."""
    return min(max(done, LEAST_BATCH), LARGEST_BATCH, steps - done)


class Checker:
    """One twin on one engine. Every method raises Mismatch at the first difference.

    `history` is every step so far, the failing one included. With `exact` False a mismatch of a
    batch is raised as it was found: enough for who only wants to know whether there is one.
    """

    def __init__(
        self,
        adapter: Adapter,
        engine: Engine,
        config: Config,
        whole_every: int = 1_000,
        exact: bool = True,
    ) -> None:
        self.adapter = adapter
        self.engine = engine
        self.config = config
        self.exact = exact
        self.invariants: Sequence[Invariant] = adapter.invariants
        self.twin = adapter.new_twin(engine, config)
        self._subject = getattr(self.twin, "observed", self.twin)
        # Asked once: whether something has a protocol's methods takes as long as a step.
        self._noteworthy = self.twin if isinstance(self.twin, Noteworthy) else None
        self._in_parts = self.twin if isinstance(self.twin, InParts) else None
        self.history: list[Step] = []
        self.wholes = 0
        self._compared = -1  # the number of steps at the last of them
        self.batched: list[Done] = []  # of the last batch, also of one that failed
        self._whole_every = whole_every
        self._each = [item for item in self.invariants if item.every <= 1]
        self._later = [item for item in self.invariants if item.every > 1]
        self._checked = {item.id: 0 for item in self._later}
        # By the number of steps after which they are due.
        self._agenda: dict[int, list[Invariant]] = {}
        for item in self._later:
            self._agenda.setdefault(item.every, []).append(item)
        self._finals = 0
        self._states: set[str] = set()  # that were looked at
        self.asked = 0  # views, when one was last looked for
        self.part = 0  # of the views, in which one was last looked for
        self.looks: set[int] = set()  # numbers of steps after which that was
        self._about: Callable[[], frozenset[str]] = getattr(self._subject, "about", frozenset)
        if not hasattr(self._subject, "about"):  # then every step may be about everything
            self._each = [item._replace(about=frozenset()) for item in self._each]
        self._due: dict[frozenset[str], list[Invariant]] = {}
        self._changes: Counter[frozenset[str]] = Counter()  # by what they were about
        self._at = -1

    @property
    def steps(self) -> int:
        return len(self.history)

    def step(self, step: Step) -> ModelResult:
        """One step, everything it touched compared at once."""
        twin, engine = self.twin, self.engine
        self.history.append(step)
        if step.at != self._at:
            engine.set_time(step.at)
            self._at = step.at
        try:
            expected = twin.execute_model(step)
            sender, to, data = twin.encode(step)
        except Exception as error:
            raise _model_error(error) from error
        got = engine.call(sender, to, data)
        if (
            expected.ok is not got.ok
            or expected.output != got.output
            or expected.logs != got.logs
            or got.halted
        ):
            raise outcome_mismatch(expected, got)
        self._words()
        self._invariants(expected)
        if self._whole_every and not self.steps % self._whole_every:
            self.whole()
        elif self.steps in self.looks:
            self._look()
        return expected

    def batch(self, draw: Callable[[Twin], Step], count: int = LARGEST_BATCH) -> list[Done]:
        """At most `count` steps, each drawn when the model has done the one before it; fewer if the
        twin comes into a state that is worth a look."""
        wholes = self.steps // self._whole_every if self._whole_every else 0
        try:
            done = self._batch(draw, count)
            if self._whole_every and self.steps // self._whole_every > wholes:
                self.whole()
            elif self.steps in self.looks:
                self._look()
        except Mismatch as found:
            if not self.exact:
                raise
            raise self._named(found) from None
        return done

    def _is_new(self) -> bool:
        """Whether the twin is in a state that is worth a look, for the first time."""
        if not self._whole_every or self._noteworthy is None:
            return False
        new = set(self._noteworthy.states()) - self._states
        if new:
            self._states |= new
            self.looks.add(self.steps)
        return bool(new)

    def _batch(self, draw: Callable[[Twin], Step], count: int) -> list[Done]:
        twin, history = self.twin, self.history
        execute, encode = twin.execute_model, twin.encode
        done = self.batched = []
        calls: list[tuple[str, str, bytes]] = []
        try:
            for _ in range(count):
                step = draw(twin)
                history.append(step)
                try:
                    expected = execute(step)
                    call = encode(step)
                except Exception as error:
                    raise _model_error(error) from error
                calls.append(call)
                done.append((step, expected))
                self._invariants(expected)
                if not len(history) % LOOK_EVERY and self._is_new():
                    break
        except Exception:
            # The contract may have differed before the model, or whoever draws from it, failed.
            self._follow(done, calls)
            self._words()
            raise
        self._follow(done, calls)
        self._words()
        return done

    def _follow(self, done: Sequence[Done], calls: Sequence[tuple[str, str, bytes]]) -> None:
        """The engine does what the model has done."""
        at, matches, set_time = self._at, self.engine.matches, self.engine.set_time
        for (step, expected), (sender, to, data) in zip(done, calls, strict=True):
            if step.at != at:
                at = step.at
                set_time(at)
            if not matches(sender, to, data, expected.ok, expected.output, expected.logs):
                raise Mismatch("batch", f"the outcome of {step} differs within a batch")
        self._at = at

    def _named(self, found: Mismatch) -> Mismatch:
        """The first difference when the same steps run one at a time, from the start."""
        engine = open_engine(self.engine.name)
        again = None
        try:
            again = Checker(self.adapter, engine, self.config, self._whole_every)
            again.looks = self.looks
            for step in self.history:
                again.step(step)
            again.finish()
        except Mismatch as named:
            if again is not None:
                del self.history[again.steps :]
            return named
        finally:
            engine.close()
        text = f"{found.text}; it does not recur when the steps run one at a time"
        return Mismatch(found.kind, text)

    def _words(self) -> None:
        storage = self.engine.storage
        for address, slot, value in self.twin.touched_words():
            if storage(address, slot) != value:
                raise word_mismatch(self.twin, address, slot, value, storage(address, slot))

    def _invariants(self, result: ModelResult) -> None:
        if result.changed and self._each:
            # What holds on a state goes on holding while nothing changes it.
            about = self._about()
            due = self._due.get(about)
            if due is None:
                due = [item for item in self._each if not item.about or item.about & about]
                self._due[about] = due
            self._changes[about] += 1
            self._check(due)
        count = len(self.history)
        later = self._agenda.pop(count, None)
        if later is not None:
            for item in later:
                self._checked[item.id] += 1
                self._agenda.setdefault(count + item.every, []).append(item)
            self._check(later)

    def _check(self, invariants: Sequence[Invariant]) -> None:
        subject = self._subject
        try:
            for invariant in invariants:
                broken = invariant.check(subject)
                if broken is not None:
                    text = f"invariant {invariant.id} ({invariant.sentence}) is broken: {broken}"
                    raise Mismatch(f"invariant {invariant.id}", text)
        except Exception as error:
            raise _model_error(error) from error

    def whole(self) -> None:
        """Every word of state, and the views; once in a state."""
        if self._compared == self.steps:
            return
        self._compared = self.steps
        self.wholes += 1
        self._all_words()
        self._ask(self.twin.views())

    def _all_words(self) -> None:
        storage = self.engine.storage
        for address, slot, value in self.twin.all_words():
            if storage(address, slot) != value:
                raise word_mismatch(self.twin, address, slot, value, storage(address, slot))

    def _look(self) -> None:
        """What is worth asking in the rare state that the twin is in."""
        if self._noteworthy is not None:
            self._ask(self._noteworthy.looks())

    def _ask(self, views: Iterable[View]) -> None:
        try:
            for view in views:
                found = look(self.engine, view)
                if found is not None:
                    raise found
        except Exception as error:
            raise _model_error(error) from error

    def finish(self) -> None:
        """Everything there is to check, whatever the schedule."""
        self.whole()
        self._finals += 1
        self._check(self.invariants)

    def look_for(
        self,
        kind: str,
        is_asked: Callable[[str], bool] = lambda label: True,
        most: float = inf,
        part: int | None = None,
    ) -> None:
        """As `finish`, but without what takes time and cannot show a failure of this kind; of
        the views, or of one part of them, only those whose label is asked for, and no more than
        `most`."""
        if kind not in (WORD, VIEW) and not self._named_by(kind):
            return self.finish()
        self._all_words()
        if kind == VIEW:
            self._ask(self._wanted(is_asked, most, part))
        self.check(kind)

    def _wanted(
        self, is_asked: Callable[[str], bool], most: float, only: int | None
    ) -> Iterator[View]:
        parts = self._in_parts.view_parts() if self._in_parts else [self.twin.views]
        for number, part in enumerate(parts):
            if only is not None and number != only:
                continue
            self.asked, self.part = 0, number
            for view in part():
                if is_asked(view[3]):
                    self.asked += 1
                    yield view
                    if self.asked >= most:
                        break

    def check(self, kind: str) -> None:
        """The invariant that a failure of this kind breaks, if it is one."""
        self._check(self._named_by(kind))

    def _named_by(self, kind: str) -> list[Invariant]:
        return [item for item in self.invariants if kind == f"invariant {item.id}"]

    def rehearse(self, step: Step) -> ModelResult:
        """One step of the model alone, and the invariants. It cannot be followed by others."""
        self.history.append(step)
        try:
            expected = self.twin.execute_model(step)
        except Exception as error:
            raise _model_error(error) from error
        self._invariants(expected)
        return expected

    def invariants_checked(self) -> dict[str, int]:
        """How often each was checked."""
        checked = dict.fromkeys((item.id for item in self.invariants), self._finals)
        for name, count in self._checked.items():
            checked[name] += count
        for about, count in self._changes.items():
            for item in self._due[about]:
                checked[item.id] += count
        return checked


def _model_error(error: Exception) -> Exception:
    """A crash of the model is a finding like any other; a failing engine is not."""
    if isinstance(error, EngineError | Mismatch):
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.name}, line {frame.lineno}"
    kind = type(error).__name__
    return Mismatch(f"model error {kind}", f"the model crashed in {where}: {kind}: {error}")

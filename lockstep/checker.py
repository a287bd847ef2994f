"""Run steps on model and engine together and compare. Campaign, shrinker and tests share this."""

import traceback
from collections.abc import Sequence

from lockstep.adapter import Adapter, Config, Invariant
from lockstep.compare import Mismatch, outcome_mismatch, view_mismatch, word_mismatch
from lockstep.engines.base import Engine, EngineError
from lockstep.step import ModelResult, Step


class Checker:
    """One twin on one engine. Every method raises Mismatch at the first difference."""

    def __init__(
        self, adapter: Adapter, engine: Engine, config: Config, whole_every: int = 1_000
    ) -> None:
        self.engine = engine
        self.invariants: Sequence[Invariant] = adapter.invariants
        self.twin = adapter.new_twin(engine, config)
        self.steps = 0
        self.changed = False  # whether the last step changed state, per the model
        self.wholes = 0
        self._whole_every = whole_every
        self._each = [item for item in self.invariants if item.every <= 1]
        self._later = [item for item in self.invariants if item.every > 1]
        self._checked = {item.id: 0 for item in self._later}
        self._finals = 0
        self._changes = 0
        self._at = -1

    def step(self, step: Step) -> ModelResult:
        twin, engine = self.twin, self.engine
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
        storage = engine.storage
        changed = False
        for address, slot, value in twin.touched_words():
            changed = True
            if storage(address, slot) != value:
                raise word_mismatch(twin, address, slot, value, storage(address, slot))
        self.changed = changed
        self.steps = count = self.steps + 1
        if changed:
            # What holds on a state goes on holding while nothing changes it.
            self._changes += 1
            self._check(self._each)
        for invariant in self._later:
            if not count % invariant.every:
                self._check((invariant,))
                self._checked[invariant.id] += 1
        if self._whole_every and not count % self._whole_every:
            self.whole()
        return expected

    def _check(self, invariants: Sequence[Invariant]) -> None:
        twin = self.twin
        try:
            for invariant in invariants:
                broken = invariant.check(twin)
                if broken is not None:
                    text = f"invariant {invariant.id} ({invariant.sentence}) is broken: {broken}"
                    raise Mismatch(f"invariant {invariant.id}", text)
        except Exception as error:
            raise _model_error(error) from error

    def whole(self) -> None:
        """Every word of state, and the views."""
        self.wholes += 1
        storage = self.engine.storage
        for address, slot, value in self.twin.all_words():
            if storage(address, slot) != value:
                raise word_mismatch(self.twin, address, slot, value, storage(address, slot))
        for address, data, expected, label in self.twin.views():
            got = self.engine.view(address, data)
            if not got.ok or got.output != expected:
                raise view_mismatch(label, expected, got)

    def finish(self) -> None:
        """Everything there is to check, whatever the schedule."""
        self.whole()
        self._finals += 1
        self._check(self.invariants)

    def invariants_checked(self) -> dict[str, int]:
        return {
            item.id: self._checked.get(item.id, self._changes) + self._finals
            for item in self.invariants
        }


def _model_error(error: Exception) -> Exception:
    """A crash of the model is a finding like any other; a failing engine is not."""
    if isinstance(error, EngineError | Mismatch):
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.name}, line {frame.lineno}"
    kind = type(error).__name__
    return Mismatch(f"model error {kind}", f"the model crashed in {where}: {kind}: {error}")

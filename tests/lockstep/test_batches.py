"""Batches: the same steps, checked cheaper, and named as exactly."""

import random
from typing import Any

import pytest
from toy_vault import ADAPTER, VaultAdapter, planted

from lockstep.adapter import Invariant
from lockstep.checker import Checker, batch_size
from lockstep.compare import Mismatch
from lockstep.engines import open_engine
from lockstep.engines.base import Engine
from lockstep.step import Step

EDITS = {
    "return value": ("rate + 9_999)", "rate)"),
    "revert reason": ('"not owner"', '"no owner"'),
    "storage": ("self.fees += fee", "self.fees += 0"),
    "halt": (', "no deposit"', ", UNREACHABLE"),
}


@pytest.fixture
def engine():
    running = open_engine("revm")
    yield running
    running.close()


def drawer(adapter: VaultAdapter, seed: int = 1):
    rng = random.Random(seed)
    return lambda twin: adapter.generate(twin, rng)


def batches(checker: Checker, draw, count: int = 40) -> None:
    for _ in range(count):
        checker.batch(draw)
    checker.finish()


def steps(checker: Checker, draw, count: int) -> None:
    for _ in range(count):
        checker.step(draw(checker.twin))
    checker.finish()


def run(adapter: VaultAdapter, engine: Engine, size: int, steps: int = 2_000) -> Checker:
    checker = Checker(adapter, engine, {}, whole_every=500)
    draw = drawer(adapter)
    for _ in range(0, steps, size):
        checker.batch(draw, size)
    checker.finish()
    return checker


@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_of_any_size_do_the_same_steps(engine: Engine, size: int) -> None:
    checker = run(ADAPTER, engine, size, 448)
    other = open_engine("revm")
    single = Checker(ADAPTER, other, {}, whole_every=500)
    draw = drawer(ADAPTER)
    steps(single, draw, 448)
    assert checker.history == single.history
    assert list(checker.twin.all_words()) == list(single.twin.all_words())
    assert all(engine.storage(*word[:2]) == word[2] for word in single.twin.all_words())


def test_sizes_grow_up_to_the_last_step() -> None:
    assert [batch_size(done, 700) for done in (0, 32, 64, 128, 256, 512)] == [
        32, 32, 64, 128, 256, 188,
    ]  # fmt: skip
    assert batch_size(0, 5) == 5


def first_difference(adapter: VaultAdapter) -> tuple[Mismatch, list[Step]]:
    """What single steps find."""
    engine = open_engine("revm")
    checker = Checker(adapter, engine, {}, whole_every=500)
    draw = drawer(adapter)
    with pytest.raises(Mismatch) as found:
        steps(checker, draw, 2_000)
    return found.value, checker.history


@pytest.mark.parametrize("kind", EDITS)
def test_a_difference_in_a_batch_is_named_as_a_single_step_names_it(
    kind: str, engine: Engine
) -> None:
    adapter = planted(*EDITS[kind])
    wanted, history = first_difference(adapter)
    checker = Checker(adapter, engine, {}, whole_every=500)
    draw = drawer(adapter)
    with pytest.raises(Mismatch) as found:
        batches(checker, draw)
    assert found.value.kind == kind
    assert found.value.text == wanted.text
    assert checker.history == history


def test_a_model_that_crashes_is_named_after_what_the_contract_did_before(engine: Engine) -> None:
    class Crashing(VaultAdapter):
        def new_twin(self, engine: Engine, config: dict[str, Any]) -> Any:
            twin = super().new_twin(engine, config)
            execute, done = twin.execute_model, []

            def crash(step: Step) -> Any:
                done.append(step)
                if len(done) == 30:
                    raise ZeroDivisionError("thirty")
                return execute(step)

            twin.execute_model = crash
            return twin

    checker = Checker(Crashing(), engine, {}, whole_every=0)
    with pytest.raises(Mismatch) as found:
        checker.batch(drawer(ADAPTER))
    assert found.value.kind == "model error ZeroDivisionError"
    assert len(checker.history) == 30


def test_what_only_a_batch_sees_is_told_as_such(engine: Engine, monkeypatch) -> None:
    checker = Checker(ADAPTER, engine, {}, whole_every=0)
    monkeypatch.setattr(engine, "matches", lambda *call: False)
    with pytest.raises(Mismatch, match="does not recur when the steps run one at a time"):
        checker.batch(drawer(ADAPTER))


def test_a_hunter_may_do_without_the_name(engine: Engine) -> None:
    adapter = planted(*EDITS["revert reason"])
    checker = Checker(adapter, engine, {}, exact=False)
    draw = drawer(adapter)
    with pytest.raises(Mismatch) as found:
        batches(checker, draw)
    assert found.value.kind == "batch"


def test_an_invariant_is_looked_at_after_steps_about_its_names(engine: Engine) -> None:
    looked: list[str] = []

    class Watched(VaultAdapter):
        invariants = tuple(
            Invariant(name, name, lambda twin, name=name: looked.append(name), 1, frozenset(about))
            for name, about in (("any", ()), ("closing", ("close",)), ("never", ("nothing",)))
        )

        def new_twin(self, engine: Engine, config: dict[str, Any]) -> Any:
            twin = super().new_twin(engine, config)
            execute = twin.execute_model

            actions: list[str] = []

            def note(step: Step) -> Any:
                actions.append(step.action)
                return execute(step)

            twin.execute_model, twin.about = note, lambda: frozenset(actions[-1:])
            return twin

    adapter = Watched()
    checker = Checker(adapter, engine, {}, whole_every=0)
    done = checker.batch(drawer(adapter), 200)
    closed = sum(result.changed and step.action == "close" for step, result in done)
    assert looked.count("any") == sum(result.changed for _, result in done)
    assert looked.count("closing") == closed > 0
    assert "never" not in looked
    checker.finish()
    assert looked[-3:] == ["any", "closing", "never"]
    assert checker.invariants_checked() == {name: looked.count(name) for name in set(looked)}


def test_a_model_that_crashes_when_it_is_asked_is_a_finding(engine: Engine) -> None:
    class Crashing(VaultAdapter):
        def new_twin(self, engine: Engine, config: dict[str, Any]) -> Any:
            twin = super().new_twin(engine, config)
            twin.views = self.views
            return twin

        def views(self) -> Any:
            yield 1 // 0

    checker = Checker(Crashing(), engine, {})
    with pytest.raises(Mismatch, match="the model crashed in views") as found:
        checker.finish()
    assert found.value.kind == "model error ZeroDivisionError"


def test_a_difference_before_a_crash_of_the_generator_is_what_is_found(engine: Engine) -> None:
    checker = Checker(planted("self.fees += fee", "self.fees += 0"), engine, {})
    at = 1_900_000_000
    steps = iter([Step("open", "user_256", (10_000,), at), Step("close", "user_256", (1,), at)])
    with pytest.raises(Mismatch) as found:
        checker.batch(lambda twin: next(steps))
    assert found.value.kind == "storage"

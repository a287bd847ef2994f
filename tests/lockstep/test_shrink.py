"""Failures become as short and their numbers as small as they get, and stay the same failures."""

from collections import OrderedDict, deque
from typing import Any

import pytest
from toy_vault import ACTORS, ADAPTER, CAP, Model, VaultAdapter, VaultTwin, planted

from lockstep.adapter import Config, Invariant
from lockstep.campaign import Divergence, Plan, run_campaign
from lockstep.compare import Mismatch
from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.engines.base import Engine
from lockstep.memento import Memento, Unsupported
from lockstep.shrink import Failure, Shrunk, failure_of, shrink
from lockstep.stage import Look, Stage, plain
from lockstep.step import ModelResult, Step


def hunt(adapter: VaultAdapter, steps: int = 5_000) -> Divergence:
    found = run_campaign(Plan(adapter, steps, 1, length=2_500)).divergence
    assert found is not None
    return found


def shrunk(adapter: VaultAdapter, steps: list[Step], seconds: float = 20) -> Shrunk | None:
    engine = open_engine("revm")
    try:
        return shrink(adapter, engine, {}, steps, seconds)
    finally:
        engine.close()


def opened(amount: int, at: int = GENESIS_TIME, actor: str = "user_257") -> Step:
    return Step("open", actor, (amount,), at)


def closed(deposit: int, at: int = GENESIS_TIME, actor: str = "user_257") -> Step:
    return Step("close", actor, (deposit,), at)


def test_numbers_become_the_smallest_that_fail_and_ids_follow_what_returned_them() -> None:
    # Wrong for large amounts only; the close that shows it names its deposit by an id that changes
    # as unrelated deposits are deleted.
    buggy = planted("self.fees += fee", "self.fees += fee + found.amount // 900_000_000")
    found = hunt(buggy)
    assert found.steps[-1].action == "close"
    assert found.steps[-1].args != (1,)
    result = shrunk(buggy, found.steps)
    assert result is not None
    assert result.minimal
    first, second = result.steps
    assert (first.action, first.args) == ("open", (900_000_000,))
    assert (second.action, second.args) == ("close", (1,))
    assert first.actor == second.actor == "user_256"
    assert first.at == second.at == GENESIS_TIME
    assert "fees" in result.mismatch.text


def test_the_least_waiting_that_fails_is_kept_and_moves_all_that_follows() -> None:
    buggy = planted(
        "fee: uint256 =", "late: uint256 = block.timestamp - found.opened_at\n    fee: uint256 ="
    )
    text = buggy.overrides["tests/lockstep/Vault.vy"]
    buggy.overrides["tests/lockstep/Vault.vy"] = text.replace(
        "self.fees += fee", "self.fees += fee + (late // 5_000)"
    )
    at = GENESIS_TIME + 77
    steps = [opened(50, at), opened(10**6, at + 5), closed(1, at + 9_000), closed(2, at + 9_999)]
    result = shrunk(buggy, steps)
    assert result is not None
    first, second = result.steps
    assert first.at == GENESIS_TIME
    assert second.at == GENESIS_TIME + 5_000
    assert first.args == (10,)


def test_an_exact_edge_is_aimed_at_again_when_what_led_to_it_goes() -> None:
    # The cap is met exactly only while all deposits are there; without them the last one grows.
    buggy = planted("+ amount <= CAP", "+ amount < CAP")
    amounts = [7_654_321 + i for i in range(40)]
    steps = [*map(opened, amounts), opened(CAP - sum(amounts))]
    result = shrunk(buggy, steps)
    assert result is not None
    assert [step.args for step in result.steps] == [(CAP,)]


def test_a_failure_of_something_else_is_not_taken_for_the_same() -> None:
    # Two bugs in one function: the guard of the owner and the fee. Shrinking one keeps it.
    buggy = planted("assert found.owner == msg.sender", "assert True")
    text = buggy.overrides["tests/lockstep/Vault.vy"]
    buggy.overrides["tests/lockstep/Vault.vy"] = text.replace("rate + 9_999)", "rate)")
    steps = [opened(10_000), opened(12_345), closed(2, actor="user_256")]
    result = shrunk(buggy, steps)
    assert result is not None
    assert result.mismatch.kind == "contract succeeds"
    assert [step.action for step in result.steps] == ["open", "close"]
    assert result.steps[0].actor != result.steps[1].actor


def test_sameness_is_of_kind_name_and_action_and_not_of_numbers() -> None:
    word = Mismatch("storage", "storage of 0xab: position 7 (word 1): expected 3, got 4")
    other = Mismatch("storage", "storage of 0xcd: position 1 (word 1): expected 30, got 40")
    else_where = Mismatch("storage", "storage of 0xab: fees: expected 3, got 4")
    first = failure_of(word, "close")
    assert first.is_again(failure_of(other, "close"))
    assert not first.is_again(failure_of(other, "open"))
    assert not first.is_again(failure_of(else_where, "close"))
    assert failure_of(word, "").is_again(failure_of(other, "open"))
    both = Failure("events", frozenset(("expected Paid(#)", "expected Closed(#)")), "close")
    assert both.is_again(Failure("events", frozenset(("expected Paid(#)",)), "close"))


def test_a_broken_invariant_that_is_looked_at_rarely_is_shrunk_too() -> None:
    def few(twin: Any) -> str | None:
        count = len(twin.model.deposits)
        return f"{count} deposits" if count > 3 else None

    class Rare(VaultAdapter):
        invariants = (Invariant("T7", "few deposits", few, 50),)

    found = hunt(Rare())
    assert len(found.steps) == 50
    result = shrunk(Rare(), found.steps)
    assert result is not None
    assert [step.args for step in result.steps] == [(10,)] * 4


def test_what_only_a_look_at_everything_shows_is_shrunk_from_the_step_that_brought_it() -> None:
    class Generous(VaultTwin):
        def execute_model(self, step: Step) -> ModelResult:
            result = super().execute_model(step)
            if result.ok and step.action == "close":
                other = next(at for name, at in ACTORS.items() if name != step.actor)
                self.model.change[other] += 1  # a word of somebody who does nothing
            return result

    class Adapter(VaultAdapter):
        def new_twin(self, engine: Engine, config: Config) -> VaultTwin:
            return Generous(engine, config, self.sources()["Vault"].artifact())

    adapter = Adapter()
    steps = [opened(10), opened(10), closed(2), *[closed(9)] * 300]
    result = shrunk(adapter, steps)
    assert result is not None
    assert result.replays < 60
    assert [step.action for step in result.steps] == ["open", "close"]


def test_what_does_not_recur_is_not_shrunk() -> None:
    assert shrunk(ADAPTER, [opened(10)]) is None


def test_shrinking_keeps_the_best_when_the_time_is_up() -> None:
    buggy = planted("rate + 9_999)", "rate)")
    steps = [*map(opened, range(100, 200)), closed(3)]
    result = shrunk(buggy, steps, seconds=0)
    assert result is not None
    assert not result.minimal
    assert result.steps == steps


def test_the_same_failure_shrinks_to_the_same_steps() -> None:
    buggy = planted("rate + 9_999)", "rate)")
    found = hunt(buggy)
    first, second = shrunk(buggy, found.steps), shrunk(buggy, found.steps)
    assert first is not None
    assert second is not None
    assert first.steps == second.steps
    assert first.replays == second.replays


def test_an_engine_is_left_as_it_was_found() -> None:
    engine = open_engine("revm")
    buggy = planted("rate + 9_999)", "rate)")
    shrink(buggy, engine, {}, [opened(101), closed(1)], 20)
    twin = ADAPTER.new_twin(engine, {})
    assert engine.storage(twin.address, twin.slots["total"]) == 0
    engine.close()


class Iterating(VaultAdapter):
    """Its twins hold something that no one can put back."""

    def new_twin(self, engine: Any, config: Any) -> Any:
        twin = super().new_twin(engine, config)
        twin.running = (number for number in range(3))
        return twin


class Hidden(VaultAdapter):
    """Its twins count deposits in a place that nobody can see."""

    def new_twin(self, engine: Any, config: Any) -> Any:
        twin = super().new_twin(engine, config)
        numbers = type("Numbers", (), {})
        numbers.next_id = twin.model.next_id  # type: ignore[attr-defined]
        twin.model.__class__ = type("Model", (Model,), {"next_id": _Elsewhere(numbers)})
        del twin.model.__dict__["next_id"]
        return twin


class _Elsewhere:
    """An attribute that is kept in a class, which counts as code."""

    def __init__(self, place: Any) -> None:
        self.place = place

    def __get__(self, *_: Any) -> Any:
        return self.place.next_id

    def __set__(self, _: Any, value: Any) -> None:
        self.place.next_id = value


@pytest.mark.parametrize("kind", [VaultAdapter, Iterating, Hidden])
def test_each_replay_begins_from_the_same_deployment(kind: type[VaultAdapter]) -> None:
    steps = [opened(100), opened(200), closed(1), opened(300), closed(9)]
    engine = open_engine("revm")
    stage = Stage(kind(), engine, {})
    first = stage.replay(plain(steps), Look())
    stage.verify(plain(steps), first)
    assert first.values == [1, 2, 99, 3, None]
    stage.mark(plain(steps)[:3])
    for _ in range(3):
        assert stage.replay(plain(steps), Look()) == first
        assert stage.replay(plain(steps)[1:2], Look()).values == [1]
    stage.close()
    engine.close()


def test_a_memento_puts_back_what_objects_lists_sets_slots_and_closures_hold() -> None:
    class Slotted:
        __slots__ = ("late", "number")

    class Plain:
        pass

    def counter() -> Any:
        count = 0

        def up() -> int:
            nonlocal count
            count += 1
            return count

        return up

    slotted, held, up = Slotted(), Plain(), counter()
    slotted.number = 1
    held.items, held.seen, held.queue = [1, [2]], {3}, deque([4], 5)
    held.ordered, held.slotted, held.up = OrderedDict(a=1), slotted, up
    inner = held.items[1]
    memento = Memento(held)
    for _ in range(2):
        held.items[1].append(9)
        held.items = "gone"
        held.seen.add(9)
        held.queue.append(9)
        held.ordered["b"] = 9
        slotted.number, slotted.late = 9, 9
        assert up() == 1
        held.__dict__ = {"new": True}
        memento.restore()
        assert held.items == [1, [2]]
        assert held.items[1] is inner
        assert (held.seen, held.queue, dict(held.ordered)) == ({3}, deque([4]), {"a": 1})
        assert slotted.number == 1
        assert not hasattr(slotted, "late")
        assert not hasattr(held, "new")
    with pytest.raises(Unsupported, match="generator"):
        Memento([(number for number in ())])


def test_a_memento_leaves_alone_what_never_changes() -> None:
    class Table:
        never_changes = True

        def __init__(self) -> None:
            self.rows = [1]

    class Holder:
        pass

    holder = Holder()
    holder.table, holder.rows = Table(), [1]
    memento = Memento(holder)
    holder.table.rows.append(2)
    holder.rows.append(2)
    memento.restore()
    assert (holder.table.rows, holder.rows) == ([1, 2], [1])

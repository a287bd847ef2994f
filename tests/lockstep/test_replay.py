"""The same steps on several engines: agreement is said, the first difference is named exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from toy_vault import ADAPTER, VaultAdapter, planted

from lockstep import replay as replay_module
from lockstep.case import Case, write_case
from lockstep.engines import GENESIS_TIME, Outcome, open_engine
from lockstep.engines.anvil import find_anvil
from lockstep.engines.base import EngineError
from lockstep.errors import InputError
from lockstep.replay import Chain, Tally, replay
from lockstep.replay_command import replay_command
from lockstep.step import Step

BOTH = ["revm", "pyevm"]
CHAIN = Chain({"seed": 5}, 120)
STEPS = [
    Step("open", "user_256", (1_000,), GENESIS_TIME),
    Step("open", "user_257", (3,), GENESIS_TIME),
    Step("close", "user_256", (1,), GENESIS_TIME + 5),
]


def engines() -> list[str]:
    try:
        find_anvil()
    except EngineError:
        pytest.skip("no anvil here")
    return [*BOTH, "anvil"]


def command(*options: str, adapter: VaultAdapter = ADAPTER) -> Result:
    return CliRunner().invoke(replay_command(adapter, [{}, {"first_id": 7}]), list(options))


def spoilt(monkeypatch: pytest.MonkeyPatch, method: str, spoil: Callable[..., Any]) -> None:
    """py-evm that does one thing wrong."""

    def open_spoilt(name: str) -> Any:
        engine = open_engine(name)
        if name == "pyevm":
            setattr(engine, method, spoil(getattr(engine, method)))
        return engine

    monkeypatch.setattr(replay_module, "open_engine", open_spoilt)


def test_engines_and_model_agree_on_what_is_drawn() -> None:
    tally = Tally(BOTH)
    assert replay(ADAPTER, [CHAIN, CHAIN], BOTH, tally) is None
    assert (tally.chains, tally.steps) == (2, 240)
    assert tally.succeeded + tally.reverted == 240
    assert tally.reverted > 10
    assert tally.events > 100
    assert tally.words > 100
    again = Tally(["revm"])
    assert replay(ADAPTER, [CHAIN, CHAIN], ["revm"], again) is None
    assert again.digest.digest() == tally.digest.digest()


def test_the_same_on_a_node() -> None:
    tally = Tally(engines())
    assert replay(ADAPTER, [CHAIN], tally.engines, tally) is None
    assert tally.steps == 120


def test_a_bug_is_a_difference_from_the_model_on_all() -> None:
    found = replay(planted("rate + 9_999)", "rate)"), [Chain({}, 3, STEPS)], BOTH, Tally(BOTH))
    assert found is None  # 3 of 1,000 is whole
    odd = [STEPS[0]._replace(args=(1_001,)), *STEPS[1:]]
    found = replay(planted("rate + 9_999)", "rate)"), [Chain({}, 3, odd)], BOTH, Tally(BOTH))
    assert found is not None
    assert (found.chain, found.step) == (0, 3)
    assert found.who == "the model and the contract on revm and pyevm"
    assert found.text == "return value: expected 994, got 995"


def test_an_engine_that_answers_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(call: Callable[..., Outcome]) -> Callable[..., Outcome]:
        def spoilt_call(*args: Any) -> Outcome:
            outcome = call(*args)
            return outcome if outcome.ok else outcome._replace(output=b"")

        return spoilt_call

    spoilt(monkeypatch, "call", spoil)
    found = replay(ADAPTER, [Chain({}, 3, STEPS)], BOTH, Tally(BOTH))
    assert found is not None
    assert (found.step, found.who) == (2, "revm and pyevm")
    assert found.text == "revert reason: expected 'too small', got no reason"


def test_a_halt_is_no_revert(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(call: Callable[..., Outcome]) -> Callable[..., Outcome]:
        def spoilt_call(*args: Any) -> Outcome:
            outcome = call(*args)
            return outcome if outcome.ok else outcome._replace(halted="OutOfGas")

        return spoilt_call

    spoilt(monkeypatch, "call", spoil)
    found = replay(ADAPTER, [Chain({}, 3, STEPS)], BOTH, Tally(BOTH))
    assert found is not None
    assert "pyevm: halts (OutOfGas)" in found.text


def test_a_word_that_differs_only_in_the_end_is_traced_to_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(storage: Callable[[str, int], int]) -> Callable[[str, int], int]:
        def spoilt_storage(address: str, slot: int) -> int:
            value = storage(address, slot)
            return value + 1 if value == 1_000 else value

        return spoilt_storage

    spoilt(monkeypatch, "storage", spoil)
    monkeypatch.setattr(replay_module, "REMOTE", ("pyevm",))  # looked at in the end only
    found = replay(ADAPTER, [Chain({}, 2, STEPS[:2])], BOTH, Tally(BOTH))
    assert found is not None
    assert (found.step, found.who) == (1, "revm and pyevm")
    assert "1000 and 1001" in found.text


def test_command_replays_what_is_drawn_and_says_that_they_agree() -> None:
    result = command("--engine", "pyevm", "--steps", "40", "--length", "30", "--seed", "9")
    assert result.exit_code == 0
    assert "40 steps in 2 finished chains on pyevm" in result.output
    assert "pyevm agree" in result.output
    assert command("--engine", "pyevm", "--case", "9:40", "--length", "30").output == result.output


def test_command_tells_the_story_of_a_case(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    write_case(path, Case("toy_vault:ADAPTER", {}, STEPS, "revm", "storage", "fees"))
    result = command("--engine", "revm", "--case", str(path))
    assert result.exit_code == 0
    assert "1. 2020-01-01 00:00:00:" in result.output
    assert "both:     reverts with 'too small'" in result.output
    assert "found when the case was written: fees" in result.output


def test_command_exits_1_on_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    odd = [STEPS[0]._replace(args=(1_001,)), *STEPS[1:]]
    write_case(path, Case("toy_vault:ADAPTER", {}, odd))
    buggy = planted("rate + 9_999)", "rate)")
    result = command("--engine", "revm", "--case", str(path), adapter=buggy)
    assert result.exit_code == 1
    assert "DIFFERENCE at step 3 of chain 0" in result.output
    assert "contract: returns 995" in result.output


def test_command_refuses_bad_input_with_2(tmp_path: Path) -> None:
    for options, says in (
        (("--case", str(tmp_path / "none.json")), "no such file"),
        (("--engine", "geth"), "geth"),
        (("--steps", "0"), "whole number"),
    ):
        result = command(*options)
        assert result.exit_code == 2
        assert says in result.output
        assert result.output.startswith("error: ")


def test_without_anvil_the_others_run_and_the_exit_code_is_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANVIL", str(tmp_path / "none"))
    result = command("--steps", "5")
    assert result.exit_code == 2
    assert "revm and pyevm agree" in result.output
    assert "not compared with anvil" in result.output
    assert "npm install" in result.output
    alone = command("--steps", "5", "--engine", "anvil")
    assert alone.exit_code == 2
    assert "npm install" in alone.output


def test_command_keeps_what_is_known_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(VaultAdapter):
        def generate(self, twin: Any, rng: Any) -> Step:
            if twin.model.next_id > 5:
                raise KeyboardInterrupt
            return super().generate(twin, rng)

    result = command("--engine", "revm", "--steps", "500", adapter=Stopping())
    assert result.exit_code == 130
    assert "what was compared so far agrees" in result.output


def test_an_adapter_that_deploys_elsewhere_on_an_engine_is_refused() -> None:
    class Wandering(VaultAdapter):
        def new_twin(self, engine: Any, config: Any) -> Any:
            if engine.name == "pyevm":
                super().new_twin(engine, config)
            return super().new_twin(engine, config)

    with pytest.raises(InputError, match="other addresses on pyevm than on revm"):
        replay(Wandering(), [CHAIN], BOTH, Tally(BOTH))

"""Planted bugs are found, shrunk and written down; campaigns count, stop and report honestly."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_vault
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from toy_vault import ADAPTER, ROOT, SOURCE, VaultAdapter, VaultTwin, planted

from lockstep import abi
from lockstep.adapter import Invariant
from lockstep.campaign import Divergence, Plan, investigate, run_campaign
from lockstep.cli import fuzz_command
from lockstep.compare import events_difference
from lockstep.compiler import blueprint_initcode, compile_vyper
from lockstep.edges import find_edge, largest_accepted, smallest_accepted
from lockstep.engines import open_engine
from lockstep.errors import InputError
from lockstep.report import check_writable
from lockstep.stateful import state_machine

BUGS = {
    "fee rounds down": ("rate + 9_999)", "rate)", "return value", 2),
    "cap off by one": ("+ amount <= CAP", "+ amount < CAP", "contract reverts", 1),
    "guard missing": ("assert found.owner == msg.sender", "assert True", "contract succeeds", 2),
    "wrong reason": ('"not owner"', '"no owner"', "revert reason", 2),
    "silent word": ("self.fees += fee", "self.fees += 0", "storage", 2),
    "event field": (
        "log Opened(id=id, owner=msg.sender",
        "log Opened(id=0, owner=self",
        "events",
        1,
    ),
    "early by one second": ("+ EARLY:", "+ EARLY + 1:", "return value", 2),
    "halts": (', "no deposit"', ", UNREACHABLE", "halt", 1),
}


def hunt(
    adapter: VaultAdapter, steps: int = 5_000, seed: int = 1, whole_every: int = 2_000
) -> Divergence:
    plan = Plan(adapter, steps, seed, length=2_500, whole_every=whole_every)
    found = run_campaign(plan).divergence
    assert found is not None
    return found


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_caught_shrunk_and_written_down(
    bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, kind, minimal_steps = BUGS[bug]
    buggy = planted(old, new)
    found = hunt(buggy)
    assert found.kind == kind, found.text
    shrunk = investigate(buggy, found, seconds=20, directory=tmp_path)
    assert shrunk.minimal
    assert len(shrunk.steps) == minimal_steps, shrunk.steps

    written = Path(shrunk.regression)
    text = written.read_text()
    assert shrunk.text.replace("\\", "\\\\") in text
    assert "1. 2020-01-01" in text
    assert "user_" in text.split('"""')[1]
    scope: dict[str, object] = {}
    exec(compile(text, str(written), "exec"), scope)
    (test,) = [value for name, value in scope.items() if name.startswith("test_")]
    assert callable(test)
    test()  # the correct contract passes
    monkeypatch.setattr(ADAPTER, "overrides", buggy.overrides)
    with pytest.raises(AssertionError) as failure:
        test()
    assert shrunk.text in str(failure.value)


def test_whole_state_catches_what_the_touched_words_miss() -> None:
    class Forgetful(VaultAdapter):
        def new_twin(self, engine, config):  # type: ignore[no-untyped-def]
            twin = super().new_twin(engine, config)
            asked = twin.touched_words
            twin.touched_words = lambda: asked()[:1]
            return twin

    old, new, *_ = BUGS["silent word"]
    found = hunt(Forgetful(planted(old, new).overrides), whole_every=1_000)
    assert found.kind == "storage"
    assert "fees: expected" in found.text
    assert len(found.steps) == 1_000  # the first comparison of the whole state


def test_events_in_another_order() -> None:
    fee, closed = toy_vault.FEE_TAKEN("0x1", 3), toy_vault.CLOSED("0x1", 4, 5)
    swapped = events_difference([fee, closed], [closed, fee])
    assert swapped == (
        "the same events in another order: expected FeeTaken, Closed; got Closed, FeeTaken"
    )
    lost = events_difference([fee, closed], [closed])
    assert lost == "events differ:\n  expected FeeTaken(fee=3) from 0x1"
    buggy = planted(
        "    log FeeTaken(fee=fee)\n    log Closed(id=id, payout=payout)",
        "    log Closed(id=id, payout=payout)\n    log FeeTaken(fee=fee)",
    )
    found = hunt(buggy)
    assert found.kind == "events"
    assert "another order" in found.text


def more_than_five(twin: VaultTwin) -> str | None:
    return "6" if len(twin.model.deposits) > 5 else None


def divide_by_zero_at_five(twin: VaultTwin) -> None:
    assert 1 // (twin.model.next_id - 5) < 2


def test_broken_invariant_and_model_crash_are_findings() -> None:
    class Broken(VaultAdapter):
        invariants = (Invariant("T9", "at most 5 deposits", more_than_five),)

    found = hunt(Broken())
    assert (found.kind, found.text) == (
        "invariant T9",
        "invariant T9 (at most 5 deposits) is broken: 6",
    )

    class Crashing(VaultAdapter):
        invariants = (Invariant("T8", "divides", divide_by_zero_at_five),)

    found = hunt(Crashing())
    assert found.kind == "model error ZeroDivisionError"


def test_hypothesis_finds_and_shrinks_with_the_same_adapter() -> None:
    limits = settings(
        max_examples=60,
        stateful_step_count=15,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(state_machine(ADAPTER, {}), settings=limits)
    old, new, *_ = BUGS["cap off by one"]
    with pytest.raises(Exception, match="the model succeeds, the contract reverts"):
        run_state_machine_as_test(state_machine(planted(old, new), {}), settings=limits)


def test_same_seed_same_campaign_in_one_process_or_two() -> None:
    plan = Plan(ADAPTER, 3_000, 9, [{"first_id": 1}, {"first_id": 50}], length=500)
    one, two = run_campaign(plan), run_campaign(plan, processes=2)
    assert one.divergence is two.divergence is None
    assert one.tally.counts == two.tally.counts
    assert one.tally.steps == 3_000
    summary = one.tally.summary()
    assert summary["chains"] == 6
    # After every step that changed something, and at the end of each of the six chains.
    changes = sum(count for key, count in one.tally.counts.items() if key[3])
    assert summary["invariants"]["T1"]["checked"] == changes + 6
    assert summary["statistics"]["closed"] == summary["actions"]["close"]["succeeded"]
    assert sum(entry["steps"] for entry in summary["actions"].values()) == 3_000
    assert [chain.config["first_id"] for chain in plan.chains()] == [1, 50] * 3


def test_a_worker_that_diverges_stops_the_others() -> None:
    old, new, *_ = BUGS["fee rounds down"]
    result = run_campaign(Plan(planted(old, new), 1_000_000, 1, length=50_000), processes=2)
    assert result.divergence is not None
    assert result.tally.steps < 50_000


def run_command(*args: str, adapter: VaultAdapter = ADAPTER, directory: str = "unused") -> Result:
    command = fuzz_command(
        lambda values: (adapter, [{}]),
        about="Fuzz the toy vault.",
        examples=["fuzz --steps 1000"],
        directory=directory,
    )
    return CliRunner().invoke(command, list(args))


def test_command_reports_what_it_did(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = run_command("--steps", "1_000", "--seed", "5", "--report", str(report))
    assert result.exit_code == 0, result.output
    assert "no divergence" in result.output
    figures = json.loads(report.read_text())
    assert figures["steps"] == 1_000
    assert figures["divergence"] is None
    assert figures["actions"]["open"]["reverts"].keys() <= {"too small", "over cap"}
    assert list(tmp_path.iterdir()) == [report]


def test_command_exits_1_on_a_divergence(tmp_path: Path) -> None:
    old, new, *_ = BUGS["fee rounds down"]
    report = tmp_path / "report.json"
    result = run_command(
        "--steps", "3000", "--report", str(report),
        adapter=planted(old, new), directory=str(tmp_path / "regressions"),
    )  # fmt: skip
    assert result.exit_code == 1
    assert "DIVERGENCE (return value)" in result.output
    case, written = sorted((tmp_path / "regressions").iterdir())
    assert case.stem == written.stem.removeprefix("test_")
    told = json.loads(report.read_text())["divergence"]
    assert told["regression"] == str(written)
    assert told["steps"][0][0] == "open"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--steps", "many"], "'many' is no whole number of at least 1; try 100_000"),
        (["--steps", "0"], "'0' is no whole number of at least 1"),
        (["--seed", "-1"], "'-1' is no whole number of at least 0"),
        (["--seed", "1.5"], "'1.5' is no whole number"),
        (["--seed", "20..1"], "'20..1' is a range from its end: write 1..20"),
        (["--seed", "1.."], "'' is no whole number"),
        (["--engine", "geth"], "'geth' is not one of 'revm', 'pyevm', 'anvil'"),
        (["--prices", "nowhere.csv"], "nowhere.csv: no such file or directory; check the path"),
        (["--start", "soon"], "'soon' is no time: write 2020-03-12"),
        (["--report", "nowhere/x.json"], "no directory nowhere; create it"),
        (["--report", "."], "is a directory; name a file in it"),
        (["--bogus"], "No such option"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(args: list[str], says: str) -> None:
    result = run_command(*args)
    assert result.exit_code == 2
    assert says in result.output
    assert result.output.count("\n") == 1


def test_help_teaches() -> None:
    text = run_command("--help").output
    assert "fuzz --steps 1000" in text
    assert "Exit codes" in text


def test_unwritable_report_is_refused_before_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)  # root may write anywhere
    with pytest.raises(InputError, match=r"permission denied in .*; choose another path"):
        check_writable(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lockstep.report import write_report

    report = tmp_path / "report.json"
    write_report(report, {"steps": 1})

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(report, {"steps": 2})
    assert json.loads(report.read_text()) == {"steps": 1}
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_keeps_what_was_done(tmp_path: Path, processes: int) -> None:
    report = tmp_path / "report.json"
    begun = tmp_path / "begun"
    script = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from toy_vault import VaultAdapter
from lockstep.cli import fuzz_command

class Telling(VaultAdapter):
    def new_twin(self, *args):
        with open({str(begun)!r}, "a") as chains:
            chains.write(".")
        return super().new_twin(*args)

fuzz_command(lambda values: (Telling(), [{{}}]), about='toy')()
"""
    running = subprocess.Popen(
        [sys.executable, "-c", script, "--steps", "50_000_000", "--length", "1000",
         "--processes", str(processes), "--report", str(report)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A shell starts what it puts into the background with the signal ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while running.poll() is None and (not begun.exists() or len(begun.read_text()) < 5):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=100)
    assert running.returncode == 130, output
    assert "interrupted: the figures cover what was done" in output
    figures = json.loads(report.read_text())
    assert figures["interrupted"] is True
    assert 0 < figures["steps"] < 50_000_000


def test_edges() -> None:
    assert largest_accepted(lambda x: x <= 77, 0, 10**30) == 77
    assert largest_accepted(lambda x: True, 0, 9) == 9
    assert largest_accepted(lambda x: False, 0, 9) is None
    assert smallest_accepted(lambda x: x >= 77, 0, 10**30) == 77
    assert smallest_accepted(lambda x: False, 0, 9) is None
    assert find_edge(lambda x: x > 5, 0, 100) == (5, 6)
    assert find_edge(lambda x: True, 0, 100) is None


def test_blueprint_can_be_deployed_from(tmp_path: Path) -> None:
    (tmp_path / "Factory.vy").write_text(
        "@external\ndef make(target: address, first: uint256) -> address:\n"
        "    return create_from_blueprint(target, first, code_offset=3)\n"
    )
    vault = compile_vyper(SOURCE, root=ROOT)
    engine = open_engine("revm")
    blueprint = engine.deploy(blueprint_initcode(vault.initcode), toy_vault.DEPLOYER)
    assert engine.code(blueprint)[:3].hex() == "fe7100"
    factory = engine.deploy(compile_vyper("Factory.vy", root=tmp_path).initcode, toy_vault.DEPLOYER)
    made = engine.call(
        toy_vault.DEPLOYER, factory, abi.encoder("make(address,uint256)")(blueprint, 42)
    )
    address = "0x" + made.output[-20:].hex()
    assert engine.code(address) == vault.runtime
    assert engine.storage(address, vault.slot("next_id")) == 42
    engine.close()


def test_encodings() -> None:
    assert abi.words(1, True, -1, "0x" + "ab" * 20, b"\x01") == bytes.fromhex(
        f"{1:064x}{1:064x}{'ff' * 32}{'00' * 12}{'ab' * 20}01{'00' * 31}"
    )
    with pytest.raises(OverflowError):
        abi.word(2**256)
    with pytest.raises(OverflowError):
        abi.word(-(2**255) - 1)
    with pytest.raises(ValueError, match="not an address"):
        abi.word("0x12")
    assert abi.selector("transfer(address,uint256)").hex() == "a9059cbb"
    assert abi.revert_reason(abi.error_string("too small")) == "'too small'"
    assert abi.revert_reason(b"") == "no reason"
    assert abi.revert_reason(abi.PANIC + abi.word(0x11)) == "panic 0x11"
    assert abi.signed(abi.unsigned(-5)) == -5

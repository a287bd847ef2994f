"""Runs: verdicts, duplicates, what is kept on disk, reasons, the command and its report."""

import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lockstep.adapter import Config
from lockstep.engines.base import GENESIS_TIME, Engine
from lockstep.errors import InputError
from lockstep.mutation import hunt as hunt_module
from lockstep.mutation import runner as runner_module
from lockstep.mutation.command import mutants_command, run
from lockstep.mutation.hunt import KILLED, SURVIVED, chains, doubt, hunt
from lockstep.mutation.mutants import Mutant
from lockstep.mutation.planting import NothingPlanted, planted_code
from lockstep.mutation.processes import each
from lockstep.mutation.project import Project, imported_files
from lockstep.mutation.review import entry_text, read_reasons
from lockstep.mutation.runner import DUPLICATE, SAME, Entry, Runner, Unfinished, all_mutants
from lockstep.step import ModelResult, Step
from tests.mutation import purse_model
from tests.mutation.purse import (
    ACTORS,
    CONTRACT,
    MODEL,
    ROOT,
    PurseAdapter,
    PurseTwin,
    purse_project,
)

CONTRACTS, OF_MODEL = all_mutants(purse_project())


def the(operator: str, after: str, mutants: list[Mutant] = CONTRACTS) -> Mutant:
    return next(item for item in mutants if (item.operator, item.after) == (operator, after))


OBVIOUS = the("statement", "pass", [m for m in CONTRACTS if m.before == "self.fees += fee"])
EDGE = the("edge", 'assert amount < LARGEST, "too much"')
EQUIVALENT = the("relational", "if i >= 1:")  # i is never 2
UNUSED = the("arithmetic", "return (x * y)", [m for m in CONTRACTS if m.function == "_div_down"])
IN_MODEL = the("edge", '_require(amount < self.largest, "too much")', OF_MODEL)
NOT_CALLED = next(item for item in OF_MODEL if item.function == "_div_down")
CHOSEN = [OBVIOUS, EDGE, EQUIVALENT, UNUSED, IN_MODEL]


def told(*_: Any) -> None:
    """Nobody listens."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The purse, its results in a folder of the test's own."""
    monkeypatch.setattr(runner_module, "BASELINE_SECONDS", 0.3)
    return purse_project()._replace(results=str(tmp_path / "results"))


def entries_of(project: Project, mutants: list[Mutant] = CHOSEN, seconds: float = 1) -> list[Entry]:
    return Runner(project, 1, seconds, 2, told).run(mutants, {})


def test_a_run_tells_killed_from_survived_and_from_the_same_code(project: Project) -> None:
    entries = entries_of(project)
    assert [entry.mutant for entry in entries] == CHOSEN
    assert [entry.outcome for entry in entries] == [KILLED, KILLED, SURVIVED, SAME, KILLED]
    for entry in entries[:2]:
        assert entry.verdict is not None
        assert 0 < entry.verdict.seconds < 1
        assert entry.verdict.steps >= entry.verdict.aimed > 0


def test_mutants_of_equal_code_are_one(project: Project) -> None:
    twins = [
        the("relational", 'self._require(amount != 0, "nothing")')
        if any(m.after == 'self._require(amount != 0, "nothing")' for m in CONTRACTS)
        else EDGE,
        EDGE,
    ]
    again = EDGE._replace(id="another", operator="relational")
    entries = entries_of(project, [*twins[1:], again])
    assert [entry.outcome for entry in entries] == [KILLED, DUPLICATE]
    assert entries[1].text == EDGE.id


def test_an_interrupted_run_goes_on_where_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) == ("hunted", 2):
            raise KeyboardInterrupt

    with pytest.raises(Unfinished) as stopped:
        Runner(project, 1, 1, 2, interrupt).run(CHOSEN, {})
    assert 0 < len([e for e in stopped.value.entries if e.verdict]) < 4
    hunted = []
    original = Runner._hunt_all

    def counted(self: Runner, mutants: Any, codes: Any, least: Any, entries: Any) -> None:
        hunted.extend(m for m in mutants if self._known(m, 1) is None)
        original(self, mutants, codes, least, entries)

    monkeypatch.setattr(Runner, "_hunt_all", counted)
    monkeypatch.setattr(runner_module, "compile_initcode", None)  # nothing is compiled twice
    assert [entry.outcome for entry in entries_of(project)][:3] == [KILLED, KILLED, SURVIVED]
    assert len(hunted) <= 2


def test_results_of_other_sources_are_not_used_again(tmp_path: Path, project: Project) -> None:
    root = tmp_path / "copy"
    for file in (CONTRACT, MODEL):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text((ROOT / file).read_text())
    copy = project._replace(root=root)
    entries_of(copy, [OBVIOUS])
    kept = set((tmp_path / "results").rglob("*.json"))
    assert len(kept) == 2
    entries_of(copy, [OBVIOUS])
    assert set((tmp_path / "results").rglob("*.json")) == kept
    path = root / CONTRACT
    path.write_text(path.read_text() + "\n\n@external\ndef another():\n    pass\n")
    entries_of(copy, [OBVIOUS])
    assert not kept & set((tmp_path / "results").rglob("*.json"))


def test_a_survivor_of_less_time_is_hunted_again(project: Project) -> None:
    first = entries_of(project, [EQUIVALENT], seconds=0.5)[0]
    second = entries_of(project, [EQUIVALENT], seconds=1)[0]
    assert first.verdict is not None
    assert second.verdict is not None
    assert second.verdict.limit == 1 > first.verdict.limit


def test_nothing_is_hunted_when_the_campaign_fails_without_a_mutant(project: Project) -> None:
    text = (ROOT / MODEL).read_text().replace("amount > 0", "amount > 1")
    with planted_code({MODEL: text}), pytest.raises(InputError, match="without a mutant"):
        entries_of(project, [OBVIOUS])


class _Late(PurseTwin):
    """Its model says something wrong of the contract, though not at once."""

    def execute_model(self, step: Step) -> ModelResult:
        result = super().execute_model(step)
        self.done = getattr(self, "done", 0) + 1
        return result._replace(output=b"wrong") if self.done == 400 else result


class _LateAdapter(PurseAdapter):
    def new_twin(self, engine: Engine, config: Config) -> PurseTwin:
        return _Late(engine, self.codes)


def test_what_fails_without_the_mutant_too_kills_nobody(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However deep: the first check does not get so far."""
    monkeypatch.setattr(runner_module, "BASELINE_SECONDS", 0)
    late = project._replace(build=_LateAdapter)
    for mutant in (EQUIVALENT, NOT_CALLED):
        runner = Runner(late, 1, 5, 1, told)
        with pytest.raises(InputError, match=f"kills mutant {mutant.id}, fails without it, too"):
            runner.run([mutant], {})
        assert runner._known(mutant, 5) is None
    command = mutants_command(lambda: late, tmp_path / "none.toml")
    result = CliRunner().invoke(command, ["--only", EQUIVALENT.id, "--limit", "5"])
    assert result.exit_code == 2
    assert "fails without it, too" in result.output
    # What differs before is the mutant's.
    assert [entry.outcome for entry in entries_of(late, [OBVIOUS, IN_MODEL])] == [KILLED, KILLED]


class _Failing(PurseAdapter):
    def generate(self, twin: Any, rng: Any) -> Any:
        raise IndexError("nothing to draw from")


class _Stuck(PurseAdapter):
    def generate(self, twin: Any, rng: Any) -> Any:
        while True:
            pass


@pytest.mark.parametrize(
    ("adapter", "kind"), [(_Failing, "crash IndexError"), (_Stuck, "crash NeverEnds")]
)
def test_a_campaign_that_cannot_go_on_counts_as_noticed(
    adapter: type[PurseAdapter], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hunt_module, "STUCK_SECONDS", 0.2)
    verdict, trace = hunt(adapter({}), chains(({},), 1), 5)
    assert (verdict.outcome, verdict.kind) == (KILLED, kind)
    assert trace is not None
    assert kind.split()[1] in doubt(adapter({}), trace)
    assert doubt(PurseAdapter({}), trace) == ""


def test_chains_begin_with_what_is_given_after_the_first_round() -> None:
    step = Step("save", "saver_0", (7,), 10**9)
    some = list(islice(chains(({"a": 1}, {"a": 2}), 1, [({"a": 2}, [step])]), 5))
    assert [(chain.number, len(chain.beginning)) for chain in some] == [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 0),
        (4, 0),
    ]
    assert [chain.config["a"] for chain in some] == [1, 2, 2, 1, 2]
    assert [chain.steps for chain in some] == [100, 100, 21, 500, 500]


def test_everything_is_looked_at_where_a_beginning_ends() -> None:
    looks = []

    class Looked(PurseTwin):
        def views(self) -> Any:
            looks.append(self.now)
            return super().views()

    class LookedAdapter(PurseAdapter):
        def new_twin(self, engine: Engine, config: Config) -> PurseTwin:
            return Looked(engine, self.codes)

    begin = [Step("save", who, (7,), GENESIS_TIME + i) for i, who in enumerate(ACTORS)]
    some = islice(chains(({},), 1, [({}, begin)]), 1, 2)
    verdict, _ = hunt(LookedAdapter({}), some, 5)
    assert verdict.steps == 23
    assert looks[0] == GENESIS_TIME + 2
    assert len(looks) == 2


def test_who_never_ends_is_ended() -> None:
    def work(seconds: float) -> float:
        time.sleep(seconds)
        if seconds == 0.1:
            raise SystemExit
        return seconds

    done = {item.item: item for item in each([30.0, 0.1, 0.0], work, 2, lambda item: 1.0)}
    assert done[30.0].failure == "hang"
    assert done[0.1].failure == "died"
    assert done[0.0].value == 0.0


def test_who_fails_is_no_result() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(each([0], lambda number: 1 // number, 1))


def test_code_is_planted_in_functions_and_properties_for_a_while() -> None:
    purse = purse_model.Purse(9)
    text = (ROOT / MODEL).read_text()
    with planted_code({MODEL: text.replace("self.total + self.fees", "7")}):
        assert purse.sum == 7
    assert purse.sum == 0
    with pytest.raises(NothingPlanted), planted_code({MODEL: text.replace("FEE = 30", "FEE = 31")}):
        pass


def test_what_a_campaign_is_made_of_is_found_by_its_imports() -> None:
    files = imported_files(ROOT, "tests.mutation.purse")
    assert MODEL in files
    assert "lockstep/checker.py" not in files
    assert {"lockstep/compiler.py", "lockstep/engines/base.py"} <= set(files)


GOOD = entry_text(EQUIVALENT, "the loop never gets to 2, so that one and at least one are the same")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace(EQUIVALENT.id, "0000000000"), "matches no mutant"),
        (GOOD + GOOD, "is there twice"),
        (GOOD.replace('"relational"', '"edge"'), "says operator 'edge'"),
        (GOOD.replace("if i == 1", "if i == 2"), "says before"),
        (GOOD.split("reason")[0] + 'reason = "so"\n', "gives no reason"),
        (GOOD.split("reason")[0], "exactly the fields"),
        (GOOD.split("reason")[0] + "reason = 7\n", "no text"),
        (GOOD.replace('"', "", 1), "correct the file"),
        ("equivalent = [1]\n", "exactly the fields"),
    ],
)
def test_a_reason_must_be_about_a_mutant(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_reasons(path, {item.id: item for item in CONTRACTS})


def test_a_reason_makes_a_survivor_equivalent_and_is_refuted_by_a_kill(
    tmp_path: Path, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons, report = tmp_path / "reasons.toml", tmp_path / "report.json"
    options: dict[str, Any] = {"seconds": 1, "processes": 2, "report": str(report)}
    only = ",".join(item.id for item in (EDGE, EQUIVALENT))
    assert run(project, reasons, only=only, **options) == 1
    printed = capsys.readouterr().out
    assert f"{EQUIVALENT.id} {CONTRACT}:{EQUIVALENT.line} relational" in printed
    assert "- if i == 1:\n  + if i >= 1:" in printed
    reasons.write_text(GOOD)
    assert run(project, reasons, only=only, **options) == 0
    saved = json.loads(report.read_text())
    assert saved["count"] == {
        "killed": 1,
        "survived": 0,
        "equivalent": 1,
        "invalid": 0,
        "duplicate": 0,
        "same": 0,
    }
    assert saved["edges"]["killed"] == 1
    assert 0 < saved["edges"]["aimed_steps"]["most"] < 1_000
    assert [entry.get("reason", "")[:8] for entry in saved["entries"]] == ["", "the loop"]
    reasons.write_text(GOOD + entry_text(EDGE, "nobody ever saves exactly the largest amount"))
    assert run(project, reasons, only=only, **options) == 1
    assert "though a reason says" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "nothing-of-this-name"], "no mutant has the id, file or operator"),
        (["--only", " , "], "ONLY names no mutant"),
        (["--limit", "0"], "no whole number"),
        (["--report", "."], "is a directory"),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, project: Project, arguments: list[str], words: str
) -> None:
    command = mutants_command(lambda: project, tmp_path / "none.toml")
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.splitlines()[-1].startswith("error: ")

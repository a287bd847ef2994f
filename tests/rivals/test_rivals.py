"""What all tools of `make rivals` share; none of the others is needed to run these."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from lockstep.campaign import Plan, run_campaign
from lockstep.checker import LARGEST_BATCH
from lockstep.engines.base import open_engine
from lockstep.errors import InputError
from lockstep.step import Step
from rivals import homes, table
from rivals.__main__ import chosen, main
from rivals.bench import Hunt, Rate, Shrink
from rivals.bugs import BUGS, Bug, overrides
from rivals.compiled import job
from rivals.drivers import hypothesis, ringfence
from rivals.drivers.common import (
    BATCH,
    START_NEW,
    Difference,
    Vault,
    check_verdict,
    repeat,
    revert_reason,
)
from rivals.foundry.handler import handler, selectors
from rivals.tools import TOOLS
from rivals.vault.adapter import ADAPTER, SIGNATURES, VaultAdapter
from rivals.vault.generator import WEIGHTS
from rivals.vault.model import ADDRESSES

STEPS = 6_000


@pytest.fixture(scope="module")
def campaign():
    result = run_campaign(Plan(ADAPTER, STEPS, 3, length=2_000))
    assert result.divergence is None, result.divergence
    return result.tally.summary()


def test_the_vault_and_its_model_agree(campaign) -> None:
    assert campaign["steps"] == STEPS
    assert campaign["invariants"]["V1"]["checked"] > 0


def test_the_generator_reverts_a_quarter_and_aims_a_tenth(campaign) -> None:
    succeeded = sum(action["succeeded"] for action in campaign["actions"].values())
    assert 0.15 < 1 - succeeded / STEPS < 0.30
    assert 0.05 < campaign["aims"]["edge"]["share"] < 0.15
    reasons = {reason for action in campaign["actions"].values() for reason in action["reverts"]}
    source = (homes.ROOT / "rivals/vault/Vault.vy").read_text()
    assert reasons == set(re.findall(r'assert .*, "(.*)"', source))


def test_half_of_the_bugs_move_a_guard_and_edges_are_four() -> None:
    assert len(BUGS) == 10
    assert sum(bug.edge for bug in BUGS) == 4


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_every_bug_is_found(bug: Bug) -> None:
    assert job(bug).initcode != job().initcode
    found = run_campaign(Plan(VaultAdapter(overrides(bug)), 40_000, 1)).divergence
    assert found is not None
    assert not found.kind.startswith(("halt", "model error", "invariant"))


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.edge], ids=lambda bug: bug.id)
def test_an_edge_is_not_found_without_aims(bug: Bug) -> None:
    adapter = VaultAdapter(overrides(bug), aimed=False)
    assert run_campaign(Plan(adapter, 3_000, 1)).divergence is None


def test_the_handler_of_foundry_calls_the_same_functions_in_the_same_mix() -> None:
    assert selectors() == [*SIGNATURES.values(), "state(address,uint256)"]
    external = re.findall(r"function (\w+)_\d+\([^)]*\) external", handler())
    assert Counter(external) == WEIGHTS


def test_the_ghost_of_foundry_has_the_constants_of_the_vault() -> None:
    vault = (homes.ROOT / "rivals/vault/Vault.vy").read_text()
    ghost = (homes.ROOT / "rivals/foundry/Campaign.sol").read_text()
    constants = re.findall(r"^(\w+): constant\(uint256\) = ([\d_* ]+\d)", vault, re.MULTILINE)
    assert len(constants) == 11
    for name, value in constants:
        assert f"uint256 constant {name} = {value.replace('**', ' ** ')};" in ghost, name


class FakeVault:
    """Answers as the model does, but for one action."""

    def __init__(self, wrong: str) -> None:
        self.expect = Vault(job())
        self.wrong = wrong
        self.rng = Random(1)

    def step(self) -> None:
        draw, _, reason = self.expect.draw(self.rng)
        check_verdict(draw, reason, "nonsense" if draw[0] == self.wrong else reason)


def test_a_driver_stops_at_the_first_difference_or_when_its_steps_are_done() -> None:
    done = repeat(job()._replace(steps=250), lambda: FakeVault("").step, 100)
    assert (done.steps, done.found) == (250, "")
    found = repeat(job()._replace(steps=250), lambda: FakeVault("fund").step, 100)
    assert found.steps < 250
    assert "nonsense" in found.found


def test_ringfence_finds_a_bug_in_batches_and_one_step_at_a_time() -> None:
    (bug,) = (bug for bug in BUGS if bug.id == "fee-down")
    for variant in ("", "one at a time"):
        found = ringfence.run(job(bug)._replace(variant=variant, seed=1))
        assert "fees: expected" in found.found, variant
        clean = ringfence.run(job()._replace(variant=variant, seed=1, steps=START_NEW + 100))
        assert (clean.steps, clean.found) == (START_NEW + 100, ""), variant


@pytest.mark.parametrize("variant", ["rules", "seeded"])
def test_hypothesis_finds_a_bug(variant: str) -> None:
    (bug,) = (bug for bug in BUGS if bug.id == "fee-down")
    assert hypothesis.run(job(bug)._replace(variant=variant, seed=1)).found
    clean = hypothesis.run(job()._replace(variant=variant, seed=1, steps=200))
    assert (clean.steps, clean.found) == (200, "")


def test_every_action_is_a_rule_of_hypothesis() -> None:
    assert hypothesis.ARGUMENTS.keys() == WEIGHTS.keys()


def test_wake_compares_words_at_times_as_often_as_ringfence() -> None:
    assert BATCH == LARGEST_BATCH


def test_calldata_by_hand_is_what_the_adapter_encodes() -> None:
    expect, rng = Vault(job()), Random(2)
    engine = open_engine("revm")
    twin = ADAPTER.new_twin(engine, {})
    for _ in range(200):
        draw, value, reason = expect.draw(rng)
        result = twin.execute_model(Step(*draw))
        topics, data = expect.event(draw, value)
        assert result.logs == ([] if reason else [(twin.address, tuple(topics), data)])
        assert twin.encode(Step(*draw)) == (
            ADDRESSES[draw[1]],
            twin.address,
            expect.calldata(draw),
        )
        call, state = expect.state(ADDRESSES[draw[1]], expect.position(draw, value))
        assert len(call) == 4 + 64
        assert len(state) == 14 * 32


def test_a_revert_reason_is_read_from_its_data() -> None:
    data = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + (7).to_bytes(32, "big")
    assert revert_reason(data + b"healthy".ljust(32, b"\0")) == "healthy"
    assert revert_reason(b"") == "no reason"
    with pytest.raises(Difference, match="expected healthy, got no reason"):
        check_verdict(("liquidate", "user_1", (1,), 1, "valid"), "healthy", "no reason")


# -- the tables and the command --------------------------------------------------------------------

FAST, SLOW = Rate(40_000, 39_000, 41_000), Rate(25_000, 24_000, 26_000)
RATES = {"Ringfence `lockstep`": FAST, "Wake 5 FuzzTest": SLOW}


def test_the_table_names_ratios_targets_and_who_was_skipped() -> None:
    text = table.rates_table(TOOLS, RATES, {"boa": "pip found no wheel"})
    assert "| Ringfence `lockstep` | 40,000 | 39,000 to 41,000 |  |  |" in text
    assert "| Wake 5 FuzzTest | 25,000 | 24,000 to 26,000 | 1.6 times | at least 2 |" in text
    assert text.count("| skipped | pip found no wheel |") == 4
    assert "Foundry" not in text


def test_a_missed_target_is_told() -> None:
    assert table.missed_targets(TOOLS, RATES) == ["Wake 5 FuzzTest: 1.6 times, wanted 2"]
    assert table.missed_targets(TOOLS, {**RATES, "Wake 5 FuzzTest": Rate(9_000, 1, 1)}) == []


def test_a_bug_most_seeds_miss_is_a_dash() -> None:
    hunts = {
        "Wake 5 FuzzTest": {
            bug.id: Hunt([0.5, None, None] if bug.edge else [0.1, 3.0, 0.2], [1, 2, 3])
            for bug in BUGS
        }
    }
    lines = table.hunts_table(TOOLS, hunts).splitlines()
    assert lines[2].endswith("| - (1/3) |")
    assert lines[6].endswith("| 0.20 |")
    assert lines[-1] == "| found of 10 | 6 |"
    shrunk = table.shrinks_table(TOOLS, {"Wake 5 FuzzTest": Shrink(0.125, 7)})
    assert shrunk.splitlines()[-1] == "| Wake 5 FuzzTest | 0.12 | 7 | no |"


def test_the_record_is_put_between_its_marks(tmp_path: Path, monkeypatch) -> None:
    document = tmp_path / "rivals.md"
    monkeypatch.setattr(table, "DOCUMENT", document)
    document.write_text(f"before\n{table.MARKS[0]}old\n{table.MARKS[1]}after\n")
    table.record("| new |\n")
    assert document.read_text() == f"before\n{table.MARKS[0]}\n| new |\n\n{table.MARKS[1]}after\n"
    document.write_text("no marks")
    with pytest.raises(InputError, match="marks of the record"):
        table.record("| new |\n")


def test_only_names_tools_and_ringfence_always_runs() -> None:
    assert {tool.key for tool in chosen("wake, boa")} == {"ringfence", "wake", "boa"}
    result = CliRunner().invoke(main, ["run", "--only", "echidna"])
    assert result.exit_code == 2
    assert "'echidna' is none of ringfence, wake, foundry, hypothesis, boa" in result.output
    refused = CliRunner().invoke(main, ["run", "--update", "--only", "wake"])
    assert refused.exit_code == 2
    assert "records all figures" in refused.output


def test_a_rival_that_cannot_be_installed_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "HOMES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(homes.Unavailable, match="npm is missing; install Node"):
        homes.install("foundry")
    assert not homes.ready("foundry")


def test_requirements_of_the_rivals_are_pinned_by_hash_and_name_no_index() -> None:
    for name in ("wake", "boa"):
        text = (homes.HERE / f"requirements-{name}.txt").read_text()
        packages = re.findall(r"^[a-z][\w.-]*==", text, re.MULTILINE)
        assert len(packages) > 20
        assert text.count("--hash=sha256:") > len(packages)
        assert "://" not in text
    assert "resolved" not in (homes.HERE / "foundry" / "package-lock.json").read_text()


def test_no_variable_of_make_is_one_that_bash_sets_itself() -> None:
    makefile = (homes.ROOT / "Makefile").read_text()
    names = re.findall(r"\w+", makefile.split("VARIABLES :=")[1].split("\nliteral")[0])
    assert {"ONLY", "BUDGET"} <= set(names)
    bash = shutil.which("bash")
    told = subprocess.run(
        [bash, "-c", "compgen -v"], capture_output=True, text=True, check=True, env={}
    )
    assert not set(names) & set(told.stdout.split())

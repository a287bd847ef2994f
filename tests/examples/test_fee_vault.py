"""The second protocol: its campaign agrees, finds what is planted, and is all there is to it."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from examples.fee_vault.__main__ import main
from examples.fee_vault.adapter import ADAPTER, CONFIGS, FeeVaultMirror
from examples.fee_vault.fee_vault import FeeVault
from lockstep.campaign import Divergence, Plan, investigate, run_campaign
from lockstep.mirror import MirrorAdapter
from lockstep.mirror.mutants import project_of
from lockstep.mutation.review import read_reasons
from lockstep.mutation.runner import all_mutants

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "fee_vault"
VAULT = "examples/fee_vault/FeeVault.vy"
COIN = "examples/fee_vault/Coin.vy"

BUGS = {
    "lock ends a second late": (
        VAULT,
        "assert block.timestamp >= self.unlocked_at[owner]",
        "assert block.timestamp > self.unlocked_at[owner]",
        "contract reverts",
    ),
    "cap is out of reach": (
        VAULT,
        "+ assets <= self.cap",
        "+ assets < self.cap",
        "contract reverts",
    ),
    "lock rounds down": (
        VAULT,
        "(held * start + shares * end + total - 1) // total",
        "(held * start + shares * end) // total",
        "storage",
    ),
    "limit of the coin is out of reach": (
        COIN,
        "+ amount <= MAX_SUPPLY",
        "+ amount < MAX_SUPPLY",
        "contract reverts",
    ),
}


def hunt(adapter: MirrorAdapter, steps: int = 12_000) -> Divergence:
    found = run_campaign(Plan(adapter, steps, 1, CONFIGS, length=2_000)).divergence
    assert found is not None
    return found


def missed_lines(coverage: dict[str, Any]) -> set[str]:
    """Of the contracts, those that did not run, or ran one way only."""
    assert set(coverage) == {VAULT, COIN}
    return {
        (ROOT / item["path"]).read_text().splitlines()[item["number"] - 1].strip()
        for entry in coverage.values()
        for item in entry["missed"]
    }


def test_contracts_and_models_agree_and_the_campaign_reaches_every_guard() -> None:
    result = run_campaign(Plan(ADAPTER, 12_000, 1, CONFIGS, length=2_000, coverage=True))
    assert result.divergence is None, result.divergence.text
    assert missed_lines(result.tally.coverage.summary()) == {
        'assert fee_bps <= MAX_FEE_BPS, "fee too high"',  # of the constructor
    }
    counts = result.tally.counts
    assert {action for action, _, ok, *_ in counts if ok} == set(ADAPTER.actions)
    assert {reason for *_, reason in counts} == {
        "",  # overflows
        "allowance",
        "balance",
        "fee too high",
        "locked",
        "no shares",
        "not owner",
        "over the cap",
        "over the limit",
        "to nobody",
    }


def test_another_engine_says_the_same() -> None:
    here, there = (
        run_campaign(Plan(ADAPTER, 120, 3, CONFIGS, engine=engine)) for engine in ("revm", "pyevm")
    )
    assert here.divergence is None
    assert there.divergence is None
    assert here.tally.counts == there.tally.counts


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(bug: str) -> None:
    path, old, new, kind = BUGS[bug]
    found = hunt(ADAPTER.planted(path, old, new))
    assert found.kind == kind, found.text


def test_a_failure_becomes_a_story_and_a_test(tmp_path: Path) -> None:
    buggy = ADAPTER.planted(VAULT, "    self.fees += fee\n", "")
    shrunk = investigate(buggy, hunt(buggy), seconds=20, directory=tmp_path)
    assert len(shrunk.steps) == 2, shrunk.steps
    written = Path(shrunk.regression).read_text()
    assert "from examples.fee_vault.adapter import ADAPTER" in written
    assert "vault.fees: expected 1, got 0" in written
    assert "saver_" in written


class GenerousVault(FeeVault):
    """Pays out rounded up."""

    def _assets_down(self, shares: int) -> int:
        whole = self.totalSupply + self.VIRTUAL_SHARES
        return (shares * (self._assets() + 1) + whole - 1) // whole


class GenerousMirror(FeeVaultMirror):
    contracts = FeeVaultMirror.contracts | {"vault": (VAULT, GenerousVault)}


def test_a_bug_of_both_forms_is_found_by_an_invariant() -> None:
    down = "return shares * (self._assets() + 1) // (self.totalSupply + VIRTUAL_SHARES)"
    both = MirrorAdapter(GenerousMirror).planted(
        VAULT,
        down,
        down.replace(") // (", ") + self.totalSupply + VIRTUAL_SHARES - 1) // (").replace(
            "return ", "return ("
        ),
    )
    found = hunt(both)
    assert found.kind == "invariant V3", found.text


# -- what it stands on -----------------------------------------------------------------------------


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """(file, top-level package) of every import."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path.name, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                yield path.name, (node.module or "").split(".")[0]


def test_lockstep_knows_no_protocol() -> None:
    protocols = {"examples", "perp_fuzz", "python_model", "simulation", "scripts", "tests"}
    found = [item for item in imports(ROOT / "lockstep") if item[1] in protocols]
    assert found == []


def test_the_example_stands_on_lockstep_alone() -> None:
    allowed = {"lockstep", "examples", "click"} | set(sys.stdlib_module_names)
    found = list(imports(ROOT / "examples"))
    assert ("adapter.py", "lockstep") in found
    assert [item for item in found if item[1] not in allowed] == []


def test_the_adapter_is_short() -> None:
    assert len((EXAMPLE / "adapter.py").read_text().splitlines()) < 150


# -- its commands ----------------------------------------------------------------------------------


def test_command_fuzzes() -> None:
    done = CliRunner().invoke(main, ["fuzz", "--steps=500", "--processes=2", "--length=250"])
    assert done.exit_code == 0, done.output
    assert "fee vault on revm, seed 1" in done.output
    assert "no divergence" in done.output


def test_command_refuses_a_model_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FeeVault, "redeem")
    monkeypatch.delitem(vars(ADAPTER), "interfaces", raising=False)
    monkeypatch.delitem(vars(ADAPTER), "actions", raising=False)
    done = CliRunner().invoke(main, ["fuzz", "--steps=500", "--processes=2"])
    assert done.exit_code == 2
    told = "vault.redeem(shares, receiver, owner) is missing: write it, or name vault.redeem in"
    assert told in done.output
    assert "Traceback" not in done.output


def test_mutants_that_are_argued_are_mutants() -> None:
    project = project_of(ADAPTER, CONFIGS)
    contracts, model = all_mutants(project)
    assert {item.file for item in contracts} == {VAULT, COIN}
    assert len(contracts) > 400
    known = {item.id: item for item in (*contracts, *model)}
    assert len(read_reasons(EXAMPLE / "equivalent_mutants.toml", known)) == 2

"""The pool under a published suite: how it gets there, and what the command makes of forge's word.

The suite itself is `make vault-suite`: forge and its compiler are no part of `make setup`, and half
a minute of compiling no part of these tests. Here a script stands for forge; node and deployment
are real.
"""

import json
import re
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.errors import InputError
from operations.chain import Chain, hash_of
from operations.codec import artifact_of, compiled_from
from operations.market import TOTALS, Function, ask, status_of
from perp_fuzz.planted import BUGS
from suites import forge, vault
from suites.forge import Properties, Subject, Verdict, verdicts
from suites.market import NEXT_PRICE, POSITIONS, pool_on_anvil
from suites.vault import (
    DEPLOYED,
    LIVING,
    UNPRICED,
    applicable,
    contract_texts,
    failures,
    lines,
    main,
    pool_bug,
)

TOTAL_SUPPLY = Function("totalSupply()", "uint256")
PROPERTIES = Properties(
    ("test_asset", "test_withdraw_without_allowance"), ("test_closed_without_a_price", "test_ours")
)
NAMES = PROPERTIES.published + PROPERTIES.own
# As forge prints it, with a line about its progress before.
STAND_IN = """#!/usr/bin/env bash
cd "$(dirname "$0")/../../../.."
printf '%s\\n' "$@" >"$1.arguments"
case $1 in
  build) exit 0 ;;
  test) [ -n "$POOL" ] && printf '%s\\n' "Ran 3 tests" "$(cat answer.json)"; exit "$(cat code)" ;;
esac
"""


def result(failure: str = "", runs: int = 7) -> dict:
    example = {"Single": {"raw_args": "(1, 2)", "args": "Init(..)"}} if failure else None
    return {
        "status": "Failure" if failure else "Success",
        "reason": failure or None,
        "counterexample": example,
        "kind": {"Fuzz": {"runs": runs}},
    }


def answer(**results: dict) -> str:
    tests = {f"{name}((address[4],int256),uint256)": found for name, found in results.items()}
    return json.dumps({"test/PoolSuite.t.sol:PoolSuite": {"test_results": tests}})


def all_well() -> dict[str, dict]:
    return {name: result() for name in NAMES}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation whose forge is a script that gives the prepared answer."""
    binary = tmp_path / "node_modules/@foundry-rs/forge-here/bin/forge"
    abis = {
        "ERC4626.test.sol/ERC4626Test": ["setUp", "test_asset", "testFail_withdraw"],
        "PoolSuite.t.sol/PoolSuite": [
            *("setUp", "test_asset", "testFail_withdraw", "deposit"),
            *("test_withdraw_without_allowance", "test_ours", "test_closed_without_a_price"),
        ],
    }
    for path in (binary, *(tmp_path / f"out/{name}.json" for name in abis), tmp_path / "test/x"):
        path.parent.mkdir(parents=True)
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    for name, functions in abis.items():
        abi = [{"type": "function", "name": function} for function in functions]
        (tmp_path / f"out/{name}.json").write_text(json.dumps({"abi": [*abi, {"type": "error"}]}))
    (tmp_path / "installed").write_text(forge.stamp_of(tmp_path, forge.FILES))
    (tmp_path / "answer.json").write_text(answer(**all_well()))
    (tmp_path / "code").write_text("0")
    return tmp_path


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command with that installation: exit code and what it says."""
    original = vault.vault_suite
    monkeypatch.setattr(vault, "vault_suite", lambda **values: original(**values, home=home))

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["vault", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    return run


def test_a_pool_is_deployed_then_has_positions_and_ends_with_its_node(tmp_path: Path) -> None:
    with pool_on_anvil(tmp_path) as pool:
        web3 = pool.chain.web3
        assert pool.pool_terms() == (True, False, 0, 0, 0)
        assert ask(web3, pool.pool.address, TOTAL_SUPPLY) == 0
        assert hash_of(Chain(web3).code(pool.pool.address)) == pool.pool.code_hash
        pool.live()
        terms = pool.pool_terms()
        assert terms.is_priced
        assert not terms.has_backlog
        assert terms.reserved > 0
        assert terms.profit_up == terms.profit_down + 1  # no whole number of units
        assert ask(web3, pool.target.market, TOTALS)[6] == len(POSITIONS)
        assert status_of(web3, pool.target).price == NEXT_PRICE
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(pool.url.rpartition(":")[2]))) != 0


def test_every_property_that_holds_is_exit_code_0(command, home: Path) -> None:
    code, said = command("--runs", "12", "--seed", "5")
    assert code == 0, said
    assert "2 properties of the suite and 2 of ours, 56 inputs: all hold" in said
    assert said.index(DEPLOYED) < said.index(LIVING) < said.index(UNPRICED)
    arguments = (home / "test.arguments").read_text().split()
    assert arguments[arguments.index("--fuzz-seed") + 1] == "5"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", arguments[arguments.index("--fork-url") + 1])
    assert int(arguments[arguments.index("--fork-block-number") + 1]) > 0
    # The last state is that of a price that is too old: what moves nothing, and what shows that.
    assert r"^(test_asset|test_closed_without_a_price)(\(|$)" in arguments


def test_a_property_that_fails_is_exit_code_1(command, home: Path) -> None:
    found = all_well() | {"test_asset": result("assertion failed: 3 > 2")}
    (home / "answer.json").write_text(answer(**found))
    (home / "code").write_text("1")
    code, said = command("--bug", "mint-price-down")
    assert code == 1
    assert "FAILED with positions: test_asset: assertion failed: 3 > 2; arguments (1, 2)\n" in said
    assert "planted: mint-price-down" in said
    assert said.rstrip().endswith("noticed by test_asset")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--bug", "mint-price"), "no bug is called mint-price; the ids are "),
        (("--bug", "model-funding-floor"), "no bug is called"),
        (("--runs", "0"), "'0' is no whole number of at least 1"),
        (("--seed", "x"), "'x' is no whole number of at least 0"),
    ],
)
def test_bad_input_is_exit_code_2_in_one_line(command, arguments, told: str) -> None:
    code, said = command(*arguments)
    assert code == 2
    assert told in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_what_forge_says_besides_results_is_an_error(home: Path) -> None:
    (home / "answer.json").write_text("")
    (home / "code").write_text("1")
    with pytest.raises(InputError, match="forge test failed: Ran 3 tests"):
        forge.run(Subject("http://127.0.0.1:8545", 1, "0x" + "ab" * 20), NAMES, 1, 1, home)


def test_a_suite_that_cannot_be_installed_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is missing; install Node\.js 20 or later; .*npm"):
        forge.install(tmp_path / "home")
    assert not forge.is_installed(tmp_path / "home")


def test_the_properties_are_those_that_are_compiled(home: Path) -> None:
    assert forge.properties(home) == PROPERTIES


def test_a_property_that_forge_leaves_out_is_an_error() -> None:
    found = all_well()
    del found["test_withdraw_without_allowance"]
    with pytest.raises(InputError, match="forge has not run test_withdraw_without_allowance"):
        verdicts(answer(**found), NAMES)
    with pytest.raises(InputError, match="forge has not run test_asset, "):
        verdicts("No tests found", NAMES)


def test_a_set_up_that_fails_is_an_error() -> None:
    text = answer(setUp=result("environment variable POOL not found"))
    with pytest.raises(InputError, match="does not start: environment variable POOL not found"):
        verdicts(text, NAMES)


def test_inputs_that_are_all_assumed_away_are_no_success() -> None:
    found = all_well() | {"test_ours": result("`vm.assume` rejected too many inputs", runs=0)}
    told = {DEPLOYED: verdicts(answer(**found), NAMES)}
    assert failures(told) == {"test_ours"}
    assert any("rejected too many inputs" in line for line in lines(told, PROPERTIES))


def test_without_a_price_only_what_moves_nothing_applies() -> None:
    assert applicable(UNPRICED, PROPERTIES) == ["test_asset", "test_closed_without_a_price"]
    for state in (DEPLOYED, LIVING):
        assert applicable(state, PROPERTIES) == [*PROPERTIES.published, "test_ours"]


def test_the_table_has_a_line_for_each_property() -> None:
    told = {
        DEPLOYED: {name: Verdict(1_000, "") for name in NAMES},
        UNPRICED: {"test_asset": Verdict(7, "")},
    }
    shown = list(lines(told, PROPERTIES))
    assert [line.split() for line in shown[1:-1]] == [
        ["the", "suite:"],
        ["test_asset", "1,000", "7"],
        ["test_withdraw_without_allowance", "1,000", "-"],
        ["ours:"],
        ["test_closed_without_a_price", "1,000", "-"],
        ["test_ours", "1,000", "-"],
    ]


def test_a_planted_bug_is_compiled_in_place_of_the_pool() -> None:
    sound = artifact_of("LiquidityPool")
    with compiled_from(contract_texts(pool_bug("minted-shares-up"))):
        assert artifact_of("LiquidityPool").initcode != sound.initcode
    assert artifact_of("LiquidityPool") == sound


def test_a_bug_of_the_model_alone_is_refused() -> None:
    name = next(bug.id for bug in BUGS if bug.where == "model")
    with pytest.raises(InputError, match=f"--bug {name}: is in the model alone"):
        pool_bug(name)


def test_the_pins_name_no_registry_and_the_lock_agrees() -> None:
    lock = json.loads((forge.HERE / "package-lock.json").read_text())
    package = json.loads((forge.HERE / "package.json").read_text())
    assert "resolved" not in json.dumps(lock)
    for name, pin in (package["dependencies"] | package["optionalDependencies"]).items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == pin
        assert lock["packages"][f"node_modules/{name}"]["integrity"].startswith("sha512-")

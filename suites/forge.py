"""The suite as forge runs it: installed under .suites, compiled, run, and what came of it."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.errors import InputError
from operations.codec import ROOT
from rivals.homes import Unavailable, forge, install_forge, stamp_of

HERE = ROOT / "suites" / "erc4626"
HOME = ROOT / ".suites" / "erc4626"
TESTS = HERE / "PoolSuite.sol"
FILES = (
    HERE / "foundry.toml",
    HERE / "package.json",
    HERE / "package-lock.json",
    ROOT / "rivals" / "foundry" / "solc.js",
)
# Properties of the suite with names that forge refuses since 1.0, and what runs them here.
STAND_INS = {
    "testFail_withdraw": "test_withdraw_without_allowance",
    "testFail_redeem": "test_redeem_without_allowance",
}
REMEDY = "is npm's registry in reach? Remove .suites to install anew"


class Verdict(NamedTuple):
    """What came of one property."""

    inputs: int  # that it was held against
    failure: str  # empty: it holds


class Subject(NamedTuple):
    """A pool on a node, and a moment."""

    url: str
    block: int
    pool: str
    age: int = 0  # seconds after that block


class Properties(NamedTuple):
    """Names of the tests."""

    published: tuple[str, ...]  # of the suite, by the names under which they run here
    own: tuple[str, ...]


def is_installed(home: Path) -> bool:
    """Whether nothing is to be downloaded."""
    stamp = home / "installed"
    return stamp.exists() and stamp.read_text() == stamp_of(home, FILES)


def install(home: Path) -> None:
    """Suite, forge and compiler, in the versions of package-lock.json. InputError if not."""
    if is_installed(home):
        return
    shutil.rmtree(home, ignore_errors=True)
    try:
        install_forge(home, FILES)
    except Unavailable as reason:
        raise InputError(f"the suite cannot be installed: {reason}; {REMEDY}") from None
    (home / "installed").write_text(stamp_of(home, FILES))


def build(home: Path) -> None:
    """Compiles the suite, if it or ours has changed."""
    shutil.copy(TESTS, home / "test" / "PoolSuite.t.sol")
    _run(["build", "--quiet"], {}, home)


def run(
    subject: Subject, names: Sequence[str], runs: int, seed: int, home: Path
) -> dict[str, Verdict]:
    """Holds properties against the pool as it is in a block of a node, each with `runs` random
    inputs."""
    arguments = ["test", "--json", "--fuzz-seed", str(seed)]
    arguments += ["--match-test", rf"^({'|'.join(names)})(\(|$)"]
    arguments += ["--fork-url", subject.url, "--fork-block-number", str(subject.block)]
    env = {"POOL": subject.pool, "AGE": str(subject.age), "FOUNDRY_FUZZ_RUNS": str(runs)}
    with tempfile.TemporaryDirectory() as folder:
        # An input that failed is kept and tried first by the next run: not here.
        output = _run(arguments, env | {"FOUNDRY_FUZZ_FAILURE_PERSIST_DIR": folder}, home)
    return verdicts(output, names)


def properties(home: Path) -> Properties:
    """The tests that are compiled: what the suite brings, and what is ours."""
    suite = _tests(home / "out" / "ERC4626.test.sol" / "ERC4626Test.json")
    here = _tests(home / "out" / "PoolSuite.t.sol" / "PoolSuite.json")
    published = tuple(sorted(STAND_INS.get(name, name) for name in suite))
    return Properties(
        published, tuple(name for name in here if name not in published + tuple(STAND_INS))
    )


def verdicts(output: str, names: Sequence[str]) -> dict[str, Verdict]:
    """What forge's JSON says of these properties. InputError if forge has not run each of them."""
    # Lines about its progress come before the one with the results.
    line = next((line for line in output.splitlines() if line.startswith("{")), "{}")
    found: dict[str, Verdict] = {}
    for suite in json.loads(line).values():
        for signature, result in suite["test_results"].items():
            name = signature.partition("(")[0]
            found[name] = Verdict(_inputs(result), _failure(result))
    if "setUp" in found:
        raise InputError(f"the suite does not start: {found['setUp'].failure}")
    missing = [name for name in names if name not in found]
    if missing or not names:
        raise InputError(f"forge has not run {', '.join(missing) or 'anything'}; {REMEDY}")
    return {name: found[name] for name in names}


def _tests(artifact: Path) -> list[str]:
    functions = json.loads(artifact.read_text())["abi"]
    return sorted(item["name"] for item in functions if item.get("name", "").startswith("test"))


def _inputs(result: Mapping[str, Any]) -> int:
    kind = result["kind"]
    return int(kind["Fuzz"]["runs"]) if "Fuzz" in kind else 0


def _failure(result: Mapping[str, Any]) -> str:
    if result["status"] == "Success":
        return ""
    reason = str(result["reason"] or "does not hold")
    example = (result["counterexample"] or {}).get("Single")
    return f"{reason}; arguments {example['raw_args']}" if example else reason


def _run(arguments: list[str], env: Mapping[str, str], home: Path) -> str:
    """What forge prints. Tests that fail are no error of forge."""
    inherited = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    done = subprocess.run(
        [str(forge(home)), *arguments],
        cwd=home,
        env={**inherited, **env, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and '"test_results"' not in done.stdout:
        told = " ".join((done.stderr or done.stdout).split())
        raise InputError(f"forge {arguments[0]} failed: {told[:400]}")
    return done.stdout


def _is_setting(name: str) -> bool:
    """Whether a variable would change what forge does; all that counts is in foundry.toml."""
    return name.startswith(("FOUNDRY_", "DAPP_", "ETH_"))

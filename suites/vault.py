"""`make vault-suite`: the pool of a deployment under published properties of ERC-4626 vaults.

Exit codes: 0 every property holds, 1 one does not, 2 bad input, 130 Ctrl-C.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console

from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from operations.codec import compiled_from
from perp_fuzz.planted import BUGS, Bug, choose
from suites import forge
from suites.forge import Properties, Subject, Verdict
from suites.market import PoolOnAnvil, pool_on_anvil

RUNS = 500
DEPLOYED, LIVING, UNPRICED = "as deployed", "with positions", "price too old"
# What says something while nothing moves; the others are about deposits and withdrawals.
ANSWERS = (
    *("test_asset", "test_totalAssets", "test_convertToShares", "test_convertToAssets"),
    *("test_maxDeposit", "test_maxMint", "test_maxWithdraw", "test_maxRedeem"),
)
CLOSED = "test_closed_without_a_price"
Results = Mapping[str, Mapping[str, Verdict]]  # by state of the pool and property
SHOWN = 1_000  # letters of a failure

ABOUT = """The ERC-4626 pool under a published property suite, run against deployed bytecode.

The suite (a16z's erc4626-tests, see docs/vault_suite.md) is not part of this project: npm brings
it, forge and a compiler, pinned, into .suites. Ringfence is deployed on anvil as `ape run deploy`
deploys networks/local.toml, its code is compared with the source, and forge runs every property
on a fork of that chain: on the pool as it is deployed, then with open positions, unrealised
profit and reserved cash, and, those that apply, when the price has grown too old.

\b
Examples:
  make vault-suite
  make vault-suite RUNS=10_000 SEED=7
  make vault-suite BUG=minted-shares-up   (a pool that has this bug: the suite must notice)

Exit codes: 0 every property holds, 1 one does not, 2 bad input, 130 Ctrl-C.
"""


def vault_suite(runs: int, seed: int, bug_id: str | None, home: Path = forge.HOME) -> int:
    """The command, with the suite installed in `home`; its exit code."""
    console = Console()
    bug = pool_bug(bug_id) if bug_id else None
    try:
        results = held(runs, seed, bug, console, home)
    except KeyboardInterrupt:
        _say(console, "interrupted: nothing is left running")
        return 130
    found = forge.properties(home)
    for line in lines(results, found):
        _say(console, line)
    failed = failures(results)
    if bug is not None:
        caught = ", ".join(sorted(failed)) or "nothing"
        _say(console, f"planted: {bug.id} ({bug.sentence}); noticed by {caught}")
    return 1 if failed else 0


def pool_bug(name: str) -> Bug:
    """A bug by its id. InputError for one that leaves the contracts as they are."""
    (bug,) = choose([name], BUGS)
    if not contract_texts(bug):
        raise InputError(f"--bug {name}: is in the model alone, the contracts would be sound")
    return bug


def contract_texts(bug: Bug) -> dict[str, str]:
    """What is compiled in place of the contracts' files."""
    texts = bug.texts()
    return {path: text for path, text in texts.items() if path.startswith("contracts/")}


def held(
    runs: int, seed: int, bug: Bug | None, console: Console, home: Path
) -> dict[str, dict[str, Verdict]]:
    """What came of every property, on the pool in both states."""
    if not forge.is_installed(home):
        _say(console, "installing suite, forge and compiler into .suites (some seconds)")
        forge.install(home)
    with console.status("compiling the suite (half a minute when it is new)"):
        forge.build(home)
    planted = compiled_from(contract_texts(bug)) if bug else nullcontext()
    results = {}
    with planted, tempfile.TemporaryDirectory() as folder, pool_on_anvil(Path(folder)) as pool:
        _say(console, f"{suite_name()}; pool {pool.pool.address}, code {pool.pool.code_hash}")
        for state, subject in subjects(pool):
            began, terms = time.monotonic(), pool.pool_terms()
            names = applicable(state, forge.properties(home))
            with console.status(f"{state}: {runs:,} inputs for each of {len(names)} properties"):
                results[state] = forge.run(subject, names, runs, seed, home)
            later = f", {subject.age} s later" if subject.age else ""
            _say(
                console,
                f"{state}: profit of traders {terms.profit_down:,} to {terms.profit_up:,} units, "
                f"reserved {terms.reserved:,}{later}; {time.monotonic() - began:.0f} s",
            )
    return results


def subjects(pool: PoolOnAnvil) -> Iterator[tuple[str, Subject]]:
    """Brings a pool from one state to the next."""
    address = pool.pool.address
    yield DEPLOYED, Subject(pool.url, pool.block(), address)
    pool.live()
    yield LIVING, Subject(pool.url, pool.block(), address)
    yield UNPRICED, Subject(pool.url, pool.block(), address, pool.max_price_age() + 1)


def applicable(state: str, properties: Properties) -> list[str]:
    """Names of the properties that say something about the pool in a state."""
    if state == UNPRICED:
        return [name for name in properties.published if name in ANSWERS] + [CLOSED]
    return [name for name in properties.published + properties.own if name != CLOSED]


def suite_name() -> str:
    """What is installed, with versions."""
    lock = json.loads((forge.HERE / "package.json").read_text())
    pins = lock["dependencies"] | lock["optionalDependencies"]
    named = {name.rpartition("/")[2].partition("-linux")[0]: pin for name, pin in pins.items()}
    return (
        f"erc4626-tests of v4-core {named['v4-core']}, forge {named['forge']}, solc {named['solc']}"
    )


def failures(results: Results) -> set[str]:
    """Names of the properties that do not hold in some state."""
    return {
        name for found in results.values() for name, verdict in found.items() if verdict.failure
    }


def lines(results: Results, properties: Properties) -> Iterator[str]:
    """What is told at the end: a line for each property, the failures, the sum."""
    width = max(map(len, properties.published + properties.own))
    yield f"{'':{width}}  {'  '.join(results)}"
    for title, names in (("the suite", properties.published), ("ours", properties.own)):
        yield f"{title}:"
        for name in names:
            cells = [f"{_cell(found.get(name)):>{len(state)}}" for state, found in results.items()]
            yield f"{name:{width}}  {'  '.join(cells)}"
    for state, found in results.items():
        for name, verdict in found.items():
            if verdict.failure:
                yield f"FAILED {state}: {name}: {verdict.failure[:SHOWN]}"
    failed = len(failures(results))
    inputs = sum(verdict.inputs for found in results.values() for verdict in found.values())
    published, own = len(properties.published), len(properties.own)
    told = f"{failed} do not hold" if failed else "all hold"
    yield f"{published} properties of the suite and {own} of ours, {inputs:,} inputs: {told}"


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "-"
    return "FAILED" if verdict.failure else f"{verdict.inputs:,}"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _callback(**values: int | str | None) -> None:
    raise SystemExit(vault_suite(**values))  # type: ignore[arg-type]  # click has converted them


main = click.Group(
    "suites",
    commands=[
        FuzzCommand(
            "vault",
            callback=_callback,
            help=ABOUT,
            params=[
                click.Option(["--runs"], type=Whole(1), default=RUNS, show_default=True,
                             help="Random inputs for each property and state."),
                click.Option(["--seed"], type=Whole(0), default=1, show_default=True,
                             help="The same seed repeats the same inputs."),
                click.Option(["--bug", "bug_id"], help="Id of a planted bug, see make planted."),
            ],
        )
    ],
)  # fmt: skip

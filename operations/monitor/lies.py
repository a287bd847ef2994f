"""Markets that lie: bugs that the fuzzer knows, planted in what is deployed, and whether the
monitor, which believes the manifest, names the block and the invariant.

The fuzzer drives such a market on anvil until it notices the bug itself; by that block the monitor,
which follows, must have named it. A bug that is planted in contract and model alike cannot be seen
by comparing: an invariant has to find it.
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from lockstep.errors import InputError
from operations.monitor.database import Database
from operations.monitor.follow import Follower
from operations.monitor.fuzz_market import NAME, FuzzMarket
from operations.monitor.node import Node
from operations.monitor.replica import SENTENCES, Finding
from operations.monitor.system import Given, Subject
from operations.monitor.watch import artifacts_of
from perp_fuzz.deployment import compile_contracts
from perp_fuzz.planted import BUGS, Bug, choose, planted

STEPS = 2_000
AFTER = 3  # blocks, once the bug has shown
CONFIG = {"decimals": 6, "feed": "signed"}
CHOSEN = (
    "value-ceil",
    "maintenance-down",
    "initial-down",
    "both-removal-unchecked",
    "both-healthy-liquidated",
    "both-add-margin-not-refiled",
)


class Verdict(NamedTuple):
    """What fuzzer and monitor said of a bug."""

    bug: str
    noticed: int | None  # block
    as_what: str
    findings: list[Finding]

    @property
    def is_caught(self) -> bool:
        """Whether the monitor named it, in the block where the fuzzer did, or before."""
        if not self.findings:
            return False
        return self.noticed is None or self.findings[0].block <= self.noticed


def hunt(bug: Bug, steps: int = STEPS, seed: int = 1) -> Verdict:
    """Deploys a market with a bug, drives it, and has the monitor look at it."""
    with planted(bug) as texts:
        market = FuzzMarket(CONFIG | {"seed": seed}, compile_contracts(texts))
        try:
            with following(market) as follower:
                return _driven(bug, market, follower, steps, seed)
        finally:
            market.close()


def _driven(bug: Bug, market: FuzzMarket, follower: Follower, steps: int, seed: int) -> Verdict:
    def is_enough() -> bool:
        to_head(follower)
        return bool(follower.broken)

    found = market.generate(steps, seed, is_enough)
    noticed = market.head if found is not None else None
    for _ in range(AFTER):
        to_head(follower)
        market.publish(10_000)
    to_head(follower)
    findings = follower.database.findings()
    return Verdict(bug.id, noticed, found.kind if found else "", findings)


@contextmanager
def following(market: FuzzMarket) -> Iterator[Follower]:
    """A monitor that believes the market's manifest."""
    subject = Subject(market.manifest(), NAME)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "monitor.sqlite", subject)
        try:
            node = Node(market.web3, subject.addresses)
            given = Given(int(market.config["decimals"]))
            yield Follower(node, database, subject, given, artifacts_of(subject))
        finally:
            database.close()


def to_head(follower: Follower) -> None:
    """Follows until there is no block left."""
    while follower.step():
        pass


@click.command()
@click.option("--only", default="", help="Ids of bugs with commas, or all.  [a chosen few]")
@click.option("--steps", default=STEPS, show_default=True, help="Most steps for each.")
@click.option("--seed", default=1, show_default=True)
def main(only: str, steps: int, seed: int) -> None:
    """Plants bugs in markets on anvil and shows what the monitor says of each."""
    logging.getLogger("ringfence").setLevel(logging.CRITICAL)
    names: Sequence[str] = only.split(",") if only else CHOSEN
    try:
        bugs = list(BUGS) if only == "all" else choose(names, BUGS)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    missed = 0
    for bug in bugs:
        began = time.monotonic()
        verdict = hunt(bug, steps, seed)
        missed += not verdict.is_caught
        _show(bug, verdict, time.monotonic() - began)
    click.echo(f"{len(bugs) - missed} of {len(bugs)} named with the block they first showed in")
    raise SystemExit(1 if missed else 0)


def _show(bug: Bug, verdict: Verdict, seconds: float) -> None:
    click.echo(f"{bug.id} ({bug.where}): {bug.sentence}; {seconds:.0f} s")
    noticed = f"in block {verdict.noticed}: {verdict.as_what}" if verdict.noticed else "never"
    click.echo(f"  the fuzzer notices it {noticed}")
    for finding in verdict.findings[:4]:
        text = " ".join(finding.text.split())[:160]
        click.echo(f"  the monitor: block {finding.block}, {finding.invariant}: {text}")
    if not verdict.findings:
        click.echo(f"  the monitor finds nothing of {len(SENTENCES)} invariants broken")


if __name__ == "__main__":
    main()

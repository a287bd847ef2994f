"""Markets that lie: bugs that the fuzzer knows, planted in what is deployed, and whether the
monitor, which believes the manifest, names the block and the invariant.

The fuzzer drives such a market on anvil until it notices the bug itself; by that block the monitor,
which follows, must have named it. A bug that is planted in contract and model alike cannot be seen
by comparing: an invariant has to find it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from operations.monitor.database import Database
from operations.monitor.follow import Follower
from operations.monitor.fuzz_market import NAME, FuzzMarket
from operations.monitor.node import Node
from operations.monitor.replica import Finding
from operations.monitor.system import Subject
from operations.monitor.watch import artifacts_of, given_of
from perp_fuzz.deployment import compile_contracts
from perp_fuzz.planted import Bug, planted

STEPS = 2_000
AFTER = 3  # blocks, once the bug has shown
CONFIG = {"decimals": 6, "feed": "signed"}
CHOSEN = (
    "fee-down",
    "minted-shares-up",
    "quorum-one-less",
    "owner-unchecked",
    "penalty-to-fees",
    "reward-to-caller",
    "engine-open-to-all",
    "both-restriction-ignored",
    "both-value-ceil",
    "both-removal-unchecked",
    "both-healthy-liquidated",
    "both-entry-cost-not-removed",
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
            given = given_of(node, subject, database)
            yield Follower(node, database, subject, given, artifacts_of(subject))
        finally:
            database.close()


def to_head(follower: Follower) -> None:
    """Follows until there is no block left."""
    while follower.step():
        pass

"""How fast the monitor is: a market with many open positions and a price in every block.

The positions are opened on anvil by transactions, 25 in a block, and the monitor rebuilds
them from these. Then every block brings a price that moves; some positions are liquidated on the
way. The monitor runs in a process of its own on one core, first behind the chain, then at its head,
asked for each block as soon as it is there.
"""

import multiprocessing
import os
import random
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from web3 import Web3

from operations.manifest import Manifest, read_manifest, write_manifest
from operations.monitor.database import Database
from operations.monitor.follow import Follower
from operations.monitor.fuzz_market import NAME, FuzzMarket
from operations.monitor.node import Node
from operations.monitor.system import Given, Subject
from operations.monitor.watch import artifacts_of
from perp_fuzz.deployment import ADDRESSES, LPS, TRADERS, WAD

POSITIONS, BLOCKS = 10_000, 100
PER_BLOCK = 25  # positions opened in one block
DECIMALS = 6
TOKEN = 10**DECIMALS
PRICE = 10_000
ANY = 2**256 - 1
CONFIG = {
    "decimals": DECIMALS,
    "feed": "signed",
    "params": {
        "max_open_interest": 50_000 * WAD,
        "max_skew": 20_000 * WAD,
        "max_liquidated_size": 50_000 * WAD,
        "skew_scale": 2 * 10**7 * WAD,
    },
}


class Figures(NamedTuple):
    """Of one stretch of blocks."""

    blocks: int
    seconds: float
    processor: float  # seconds, of this process alone
    memory: int  # bytes, the most so far
    open_positions: int
    findings: int
    is_measured: bool = True


def fill(market: FuzzMarket, positions: int) -> None:
    """A pool, and positions of both sides with leverages from 2 to 20."""
    rng = random.Random(1)
    market.publish(PRICE)
    for role in LPS[:3]:
        market.act("deposit", role, 100_000_000 * TOKEN, role)
    market.rpc("evm_setBlockGasLimit", hex(10**9))
    for done in range(0, positions, PER_BLOCK):
        if done % (10 * PER_BLOCK) == 0:
            market.publish(PRICE)
        count = min(PER_BLOCK, positions - done)
        _open(market, [_position(rng, done + place) for place in range(count)])


def _position(rng: random.Random, place: int) -> tuple[str, tuple[int, int, int, int]]:
    side = place % 2
    size = rng.randrange(5, 100) * WAD // 100
    leverage = rng.randrange(20, 200)
    margin = size * PRICE * 10 * TOKEN // leverage // WAD + rng.randrange(TOKEN)
    return TRADERS[place % 8], (side, size, margin + 20 * TOKEN, ANY if side == 0 else 0)


def _open(market: FuzzMarket, positions: list[tuple[str, tuple[int, int, int, int]]]) -> None:
    """All of them in one block."""
    market.rpc("evm_setAutomine", False)
    before = market.head
    for trader, arguments in positions:
        target, data = market.twin.codec.calldata("open", arguments)
        fields = {"from": ADDRESSES[trader], "to": target, "data": "0x" + data.hex()}
        market.rpc("eth_sendTransaction", fields | {"gas": hex(2_000_000), "gasPrice": "0x0"})
    market.now += 1
    market.rpc("evm_setNextBlockTimestamp", market.now)
    market.rpc("evm_mine")
    market.rpc("evm_setAutomine", True)
    if market.head != before + 1:
        raise RuntimeError("the positions took more than a block")


class Prices:
    """Moves by a tenth of a per cent at most."""

    def __init__(self) -> None:
        self._rng = random.Random(2)
        self._price = PRICE * 1_000

    def bring(self, market: FuzzMarket) -> None:
        """The next one, in a block of its own."""
        self._price += self._price * self._rng.randrange(-1_000, 1_001) // 1_000_000
        market.now += 2
        market.engine.set_time(market.now)
        price = self._price * WAD // 1_000
        arguments = (price, price // 2_000, market.now, 0)
        target, data = market.twin.codec.calldata("publish", arguments)
        outcome = market.engine.call(ADDRESSES["keeper_0"], target, data)
        if not outcome.ok:
            raise RuntimeError(f"a price was refused: {outcome.output!r}")


def serve(pipe: Connection, url: str, path: str, folder: str) -> None:
    """A monitor that follows to the head whenever it is told to, and says what that took."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    follower = _follower(url, read_manifest(Path(path)), Path(folder))
    while until := pipe.recv():
        began, used = time.perf_counter(), time.process_time()
        blocks = 0
        while follower.next_number <= until:
            blocks += follower.step()
        seen = follower.replica.seen
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        spent = time.perf_counter() - began, time.process_time() - used
        is_open = len(seen.live) if seen else 0
        pipe.send(Figures(blocks, *spent, most, is_open, sum(follower.progress.findings.values())))


def _follower(url: str, manifest: Manifest, folder: Path) -> Follower:
    subject = Subject(manifest, NAME)
    database = Database(folder / "monitor.sqlite", subject)
    node = Node(Web3(Web3.HTTPProvider(url)), subject.addresses)
    return Follower(node, database, subject, Given(DECIMALS), artifacts_of(subject))


def measure(positions: int, blocks: int) -> list[tuple[str, Figures]]:
    """Figures of filling, of blocks behind the chain, of blocks at its head."""
    market = FuzzMarket(CONFIG)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.json"
        write_manifest(manifest, market.manifest())
        process = context.Process(target=serve, args=(theirs, market.url, str(manifest), folder))
        try:
            process.start()
            return _measured(market, ours, positions, blocks)
        finally:
            ours.send(0)
            process.join()
            market.close()


def _measured(
    market: FuzzMarket, pipe: Connection, positions: int, blocks: int
) -> list[tuple[str, Figures]]:
    def follow() -> Figures:
        pipe.send(market.head)
        figures: Figures = pipe.recv()
        return figures

    fill(market, positions)
    rows = [("rebuilding the positions", follow()._replace(is_measured=False))]
    prices = Prices()
    for _ in range(blocks):
        prices.bring(market)
    rows.append(("a price every block, behind the chain", follow()))
    one_by_one = []
    for _ in range(blocks):
        prices.bring(market)
        one_by_one.append(follow())
    last = one_by_one[-1]
    count, seconds, used = (sum(column) for column in list(zip(*one_by_one, strict=True))[:3])
    rows.append(
        (
            "a price every block, at the head",
            last._replace(blocks=count, seconds=seconds, processor=used),
        )
    )
    return rows

"""Everything that makes a market live: chain, contracts, pool, traders, publisher, keeper, monitor.

The parts are those of a real network; only the chain and the traders are this machine's own.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from eth_account import Account
from web3 import HTTPProvider, Web3

from lockstep.engines.base import EngineError
from operations.accounts import LocalSigner, Sender
from operations.demo.chain import Clock, LocalChain
from operations.demo.parts import Parts
from operations.demo.tape import Replay
from operations.demo.traders import Traders
from operations.deploy import deploy
from operations.keeper import BACKLOG, Keeper
from operations.keeper import Settings as KeeperSettings
from operations.manifest import Manifest, params_of
from operations.market import TOTALS, ask, status_of, target_of
from operations.monitor.watch import Options, watch
from operations.publisher import SignedPublisher, Thresholds
from operations.rpc import Policy, block_of, connect
from operations.settings import read_settings
from operations.sources import Tape
from python_model.modules.constants import WAD

NETWORK = Path(__file__).resolve().parents[2] / "networks" / "local.toml"
MNEMONIC = "test test test test test test test test test test test junk"  # anvil's: known to all
DEPLOYER, KEEPER, PROVIDER, FIRST_TRADER = 0, 10, 11, 12  # accounts; the file names others
BLOCK_SECONDS = 15  # of the tape
AHEAD = 3_600  # seconds of the chain before the tape begins: for deploying
HEARTBEAT = 60  # seconds
SILENCE = 600  # of a tape, after which it has no price
COIN_PRICE = 200 * WAD  # of the native coin, as it was then
RESEND_SECONDS = 10.0
LOOK_SECONDS = 0.1
OPEN_POSITIONS = 6  # its place among the totals

NODE_LOG, MANIFEST, DATABASE = "anvil.log", "manifest.json", "monitor.db"
MARKET_FILES = (NODE_LOG, MANIFEST, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
LOG = logging.getLogger("ringfence.demo")
Say = Callable[[str], None]


def signer(index: int) -> LocalSigner:
    """A development account."""
    Account.enable_unaudited_hdwallet_features()
    path = f"m/44'/60'/0'/0/{index}"
    return LocalSigner(Account.from_mnemonic(MNEMONIC, account_path=path))


class Market:
    """A living market, and what stops with it."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder = folder
        self._say = say
        self._stack = ExitStack()
        self.parts = Parts()
        self._pace = Parts()  # what the others need to come to an end

    def close(self) -> None:
        """Stops whatever was started: the clock and the node after those who use them."""
        with self._stack:
            self.parts.close()
            self._pace.close()

    def wait(self, seconds: float) -> bool:
        """Whether a part has ended within that time."""
        return self.parts.stop.wait(seconds) or self._pace.stop.is_set()

    @property
    def failure(self) -> str | None:
        """What ended first, and why."""
        return self._pace.failure or self.parts.failure

    def start(
        self, replay: Replay, speed: int, traders: int, seed: int, page: tuple[str, int]
    ) -> None:
        """From nothing to traders that trade."""
        settings = read_settings(NETWORK)
        count = FIRST_TRADER + traders
        first = replay.start - AHEAD
        log = self._folder / NODE_LOG
        self.chain = LocalChain(first, settings.chain_id, count, log, self._policy())
        self._stack.callback(self.chain.close)
        self._say(f"anvil at {self.chain.url}")
        self._say("deploying; the first time in a clone, contracts are compiled: half a minute")
        began = time.monotonic()
        manifest = deploy(
            self._web3(), signer(DEPLOYER), settings, self._folder / MANIFEST, LOG.info
        )
        self.target = target_of(self._web3(), manifest)
        self._say(f"market {self.target.market} deployed in {time.monotonic() - began:.1f} s")
        name = manifest.market_name()
        params, risk = params_of(manifest.at(f"market:{name}"))
        accounts = self.chain.accounts
        crowd = Traders(self.chain, self.target, params, risk, accounts[FIRST_TRADER:count], seed)
        pool = manifest.at(f"pool:{name}").address
        cash, reserve = crowd.endow(pool, accounts[PROVIDER], replay.price)
        unit = 10**self.target.decimals
        self._say(f"pool {cash // unit:,}, insurance {reserve // unit:,}, {traders} traders")
        self._live(replay, speed, crowd, manifest, page)

    def _live(
        self,
        replay: Replay,
        speed: int,
        crowd: Traders,
        manifest: Manifest,
        page: tuple[str, int],
    ) -> None:
        clock = Clock(self.chain, replay.start, BLOCK_SECONDS, BLOCK_SECONDS / speed)
        publishers = [signer(i) for i in publisher_indices(manifest)]
        web3 = self._web3()
        publisher = SignedPublisher(
            web3,
            self.target,
            publishers,
            Sender(web3, publishers[0], wait=RESEND_SECONDS),
            Tape(replay.points, 1.0, SILENCE, lambda: clock.now),
            Thresholds(heartbeat=HEARTBEAT),
            clock=lambda: clock.now,
        )
        publisher.check()
        web3 = self._web3()
        keeper = Keeper(
            web3,
            self.target,
            Sender(web3, signer(KEEPER), wait=RESEND_SECONDS),
            # In a crash there is little left to earn, and the market waits for it all the same.
            KeeperSettings(rate_wad=COIN_PRICE, at_a_loss=frozenset({BACKLOG})),
        )
        self._pace.start("clock", clock.run)
        self.parts.start("publisher", lambda stop: publisher.run(stop, LOOK_SECONDS))
        self.parts.start("keeper", lambda stop: keeper.run(stop, LOOK_SECONDS))
        self.parts.start("traders", lambda stop: trade(crowd, clock, stop))
        self.parts.start("monitor", lambda stop: self._monitor(manifest, page))

    def _monitor(self, manifest: Manifest, page: tuple[str, int]) -> None:
        options = Options(
            database=self._folder / DATABASE,
            interval=LOOK_SECONDS,
            page_host=page[0],
            page_port=page[1],
            policy=self._policy(),
            on_page=lambda address: self._say(f"THE PAGE: {address}    Ctrl-C ends everything"),
        )
        watch(Web3(HTTPProvider(self.chain.url)), manifest, options)

    def line(self) -> str:
        """How it does, in one line."""
        web3, target = self._web3(), self.target
        head = block_of(web3)
        status = status_of(web3, target)
        positions = ask(web3, target.market, TOTALS)[OPEN_POSITIONS]
        at = datetime.fromtimestamp(head.timestamp, UTC)
        held = ", a price is held" if status.is_halted else ""
        exits = ", exits only" if status.is_restricted else ""
        return (
            f"{at:%d %B %H:%M} price {status.price / WAD:,.2f}, {positions} positions{held}{exits}"
        )

    def _web3(self) -> Web3:
        """Its own connection for each part."""
        return connect(self.chain.url, self._policy())

    def _policy(self) -> Policy:
        """Patience that ends with the demonstration."""
        return Policy(stop=self.parts.stop)


def publisher_indices(manifest: Manifest) -> list[int]:
    """The development accounts that the feed lists."""
    listed = {address.lower() for address in manifest.roles.publishers}
    return [i for i in range(FIRST_TRADER) if signer(i).address.lower() in listed]


def trade(crowd: Traders, clock: Clock, stop: threading.Event) -> None:
    """Lets the traders act after each block."""
    seen = clock.now
    while not stop.wait(LOOK_SECONDS):
        if clock.now != seen:
            seen = clock.now
            try:
                crowd.act(seen)
            except EngineError as error:  # the node has refused one of them
                LOG.warning("traders: %s", error)

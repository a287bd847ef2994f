"""A pool to hold the suite against: Ringfence on anvil, deployed as a deployer would."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lockstep.engines.base import EngineError
from operations.accounts import Sender
from operations.demo.chain import LocalChain
from operations.demo.market import DEPLOYER, NETWORK, publisher_indices, signer
from operations.demo.traders import ANY_PRICE, APPROVE, DEPOSIT, FUND_INSURANCE, MINT, OPEN
from operations.deploy import deploy
from operations.market import MARKS, Function, ask, status_of, target_of
from operations.publisher import SignedPublisher, Thresholds
from operations.rpc import Policy, block_of
from operations.settings import read_settings
from operations.verify import verify
from python_model.evm import MAX_UINT256
from python_model.modules.constants import LONG, SHORT, WAD

POOL_TERMS = Function("pool_terms()", "(bool,bool,int256,int256,uint256)")
PROVIDER, FIRST_TRADER, ACCOUNTS = 10, 11, 14  # the deploy file names those before
START = 1_704_067_200  # 2024
CASH, RESERVE = 5_000_000, 10_000  # tokens
FIRST_PRICE, NEXT_PRICE = 10_000 * WAD, 10_131_707 * WAD // 1_000
POSITIONS = ((LONG, 73 * WAD // 10), (SHORT, 47 * WAD // 10), (LONG, 4_999 * WAD // 1_000))
LEVERAGE = 5
PAUSE = 37  # seconds, in which funding and interest accrue


class Terms(NamedTuple):
    """What the market tells its pool; token units."""

    is_priced: bool
    has_backlog: bool
    profit_up: int  # of the traders
    profit_down: int
    reserved: int


class Quote:
    """A price that somebody says."""

    is_over = False

    def __init__(self, price: int) -> None:
        self.price = price

    def quote(self) -> int:
        """The price, WAD."""
        return self.price


class PoolOnAnvil:
    """Node, addresses, and the way from a new market to one with positions."""

    def __init__(self, folder: Path) -> None:
        settings = read_settings(NETWORK)
        manifest_path = folder / "manifest.json"
        log = folder / "anvil.log"
        self.chain = LocalChain(START, settings.chain_id, ACCOUNTS, log, Policy())
        try:
            # No clock of this machine decides about the state: the same seed is the same inputs.
            self.chain.ask("anvil_setBlockTimestampInterval", 1)
            web3 = self.chain.web3
            manifest = deploy(web3, signer(DEPLOYER), settings, manifest_path, lambda _: None)
            report = verify(web3, settings, manifest_path)
            if report.differences:
                raise EngineError(" ".join(report.lines()))
            self.target = target_of(web3, manifest)
            self.pool = manifest.at(f"pool:{manifest.market_name()}")
            self._quote = Quote(FIRST_PRICE)
            keys = [signer(place) for place in publisher_indices(manifest)]
            self._publisher = SignedPublisher(
                web3,
                self.target,
                keys,
                Sender(web3, keys[0]),
                self._quote,
                Thresholds(),
                clock=lambda: block_of(web3).timestamp,
            )
            self._publisher.check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops the node."""
        self.chain.close()

    @property
    def url(self) -> str:
        return self.chain.url

    def block(self) -> int:
        """Number of the latest block."""
        return block_of(self.chain.web3).number

    def pool_terms(self) -> Terms:
        """As of the latest block."""
        return Terms(*ask(self.chain.web3, self.target.market, POOL_TERMS))

    def max_price_age(self) -> int:
        """Seconds for which a price is one to deposit at."""
        return int(ask(self.chain.web3, self.target.market, MARKS)[5][5])

    def live(self) -> None:
        """Gives the market a pool, positions on both sides, and a price at which traders have a
        profit that is no whole number of token units."""
        self._publish(FIRST_PRICE)
        unit = 10**self.target.decimals
        provider, traders = self.chain.accounts[PROVIDER], self.chain.accounts[FIRST_TRADER:]
        market, pool = self.target.market, self.pool.address
        calls = [
            *self._funding(provider, (CASH + RESERVE) * unit),
            (provider, pool, DEPOSIT(CASH * unit, provider)),
            (provider, market, FUND_INSURANCE(RESERVE * unit)),
        ]
        for trader, (side, size) in zip(traders, POSITIONS, strict=True):
            margin = size * FIRST_PRICE * unit // WAD**2 // LEVERAGE
            calls += self._funding(trader, 2 * margin)
            calls.append((trader, market, OPEN(side, size, margin, ANY_PRICE[side])))
        self.chain.transact(calls)
        self._pause()
        self._publish(NEXT_PRICE)
        self._pause()

    def _funding(self, holder: str, amount: int) -> list[tuple[str, str, bytes]]:
        token = self.target.token
        spenders = (self.target.market, self.pool.address)
        approvals = [(holder, token, APPROVE(spender, MAX_UINT256)) for spender in spenders]
        return [(holder, token, MINT(holder, amount)), *approvals]

    def _pause(self) -> None:
        self.chain.mine(block_of(self.chain.web3).timestamp + PAUSE)

    def _publish(self, price: int) -> None:
        """A price, signed by all publishers and brought by one."""
        self._quote.price = price
        self._publisher.step()
        self.chain.ask("evm_mine")
        status = status_of(self.chain.web3, self.target)
        if not status.is_priced or status.price != price:
            raise EngineError(f"the price {price} has not arrived: {status}")
        self._publisher.step()  # takes down that it was mined


@contextmanager
def pool_on_anvil(folder: Path) -> Iterator[PoolOnAnvil]:
    """A pool, and the end of its node."""
    pool = PoolOnAnvil(folder)
    try:
        yield pool
    finally:
        pool.close()

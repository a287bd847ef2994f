"""What is watched: the contracts of one market, and their models as they were deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from coincurve import PublicKey

from lockstep import abi
from lockstep.errors import InputError
from operations.manifest import Contract as Deployment
from operations.manifest import Manifest
from operations.monitor.node import Addresses
from operations.monitor.outside import DECIMALS, Aggregator, Outside, Token
from perp_fuzz.deployment import created_address
from perp_fuzz.signing import digest
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import ZERO_ADDRESS, Chain
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.perp_market import PerpMarket
from python_model.risk_engine import RiskEngine
from python_model.signed_price_feed import Header, SignedPriceFeed

MASK_255 = 2**255 - 1


class Given(NamedTuple):
    """What contracts of others said of themselves when they were first asked."""

    token_decimals: int
    aggregator_decimals: int = 0


@dataclass
class Subject:
    """One market of a manifest."""

    manifest: Manifest
    name: str
    from_block: int | None = None  # instead of the manifest's

    def at(self, kind: str) -> Deployment:
        """The contract of this market of a kind: "pool"."""
        return self.manifest.at(f"{kind}:{self.name}")

    @property
    def first_block(self) -> int:
        """From which on blocks are followed: nothing of the deployment is older."""
        first = self.manifest.block if self.from_block is None else self.from_block
        if first is None:
            raise InputError(
                "block: the manifest does not say in which block the deployment began, since all "
                "of it was there before; say so with --from-block"
            )
        return first

    @cached_property
    def addresses(self) -> Addresses:
        """Where everything is."""
        created = self.at("market").arguments
        return Addresses(
            self.at("market").address,
            self.at("pool").address,
            self.at("engine").address,
            str(created["feed_"]),
            self.manifest.at("configurator").address,
            self.manifest.at("factory").address,
            str(created["token_"]),
        )

    @cached_property
    def feed(self) -> Deployment:
        """The feed of this market."""
        address = self.addresses.feed
        for found in self.manifest.contracts.values():
            if found.address == address:
                return found
        raise InputError(f"market:{self.name}: the manifest has no feed at {address}")

    @property
    def creations(self) -> frozenset[str]:
        """Transactions that deployed what is in the manifest."""
        found = self.manifest.contracts.values()
        return frozenset(one.transaction for one in found if one.transaction is not None)

    @property
    def is_signed(self) -> bool:
        """Whether prices are signed by publishers, and not an aggregator's."""
        return self.feed.contract == "SignedPriceFeed"

    @property
    def contract_names(self) -> dict[str, str]:
        """Of the system, by address."""
        at = self.addresses
        return {
            at.market: "PerpMarket",
            at.pool: "LiquidityPool",
            at.engine: "RiskEngine",
            at.feed: self.feed.contract,
            at.configurator: "Configurator",
            at.factory: "MarketFactory",
        }


class LiveChain(Chain):
    """A chain on which a signature is whose it is."""

    def recover(self, message: tuple[Any, ...], r: int, vs: int) -> str:
        _, feed, feed_id, decimals, price, confidence, price_time = message
        header = Header(self.chain_id, feed_id, decimals, price_time)
        signed = digest(feed, header, price, confidence)
        signature = abi.words(r, vs & MASK_255) + bytes([vs >> 255])
        try:
            key = PublicKey.from_signature_and_message(signature, signed, hasher=None)
        except ValueError:
            return ZERO_ADDRESS
        return "0x" + abi.keccak(key.format(compressed=False)[1:])[-20:].hex()


class Base(NamedTuple):
    """What there is before the market is created."""

    chain: Chain
    token: Token
    configurator: Configurator
    factory: MarketFactory
    feed: SignedPriceFeed | AggregatorPriceFeed


@dataclass
class System:
    """Everything, from the market's creation on."""

    chain: Chain
    token: Token
    factory: MarketFactory
    configurator: Configurator
    market: PerpMarket
    pool: LiquidityPool
    engine: RiskEngine
    feed: SignedPriceFeed | AggregatorPriceFeed


def base_of(subject: Subject, given: Given, outside: Outside) -> Base:
    """The models as their constructors leave them."""
    manifest, at = subject.manifest, subject.addresses
    chain = LiveChain(0, created_address, manifest.chain_id)
    named = manifest.at("configurator").arguments
    configurator = Configurator(chain, at.configurator, named["guardian"], named["owner"])
    named = manifest.at("factory").arguments
    factory = MarketFactory(chain, at.factory, configurator, named["treasury"], named["owner"])
    feed = _feed(subject, given, chain, outside)
    token = Token(chain, at.token, given.token_decimals, outside)
    return Base(chain, token, configurator, factory, feed)


def _feed(
    subject: Subject, given: Given, chain: Chain, outside: Outside
) -> SignedPriceFeed | AggregatorPriceFeed:
    at, named = subject.addresses, subject.feed.arguments
    if subject.is_signed:
        return SignedPriceFeed(
            chain,
            at.feed,
            named["factory"],
            named["configurator"],
            bytes.fromhex(named["feed_id"].removeprefix("0x")),
            int(named["decimals"]),
            named["publishers"],
            int(named["quorum"]),
        )
    sequencer = _aggregator(named, "sequencer_feed", 0, outside)
    aggregator = _aggregator(named, "aggregator", given.aggregator_decimals, outside)
    assert aggregator is not None
    return AggregatorPriceFeed(
        chain,
        at.feed,
        named["factory"],
        aggregator,
        int(named["heartbeat"]),
        int(named["confidence_fraction"]),
        sequencer,
        int(named["grace_period"]),
    )


def _aggregator(
    named: Mapping[str, Any], key: str, decimals: int, outside: Outside
) -> Aggregator | None:
    address = str(named[key])
    return None if address == ZERO_ADDRESS else Aggregator(address, decimals, outside)


class Foreign:
    """A contract that is none of the system, as an argument: another token, for one."""

    def __init__(self, address: str, outside: Outside) -> None:
        self.address = address
        self._outside = outside

    @cached_property
    def decimals(self) -> int:
        """As it answered in the call that is executed."""
        return int.from_bytes(self._outside.ask(self.address, DECIMALS, True)[:32], "big")

"""Transactions that are tried and undone: what both forms would answer to every single fault in a
set of parameters, to a contract that is no market, to prices of a feed that has none.

What is tried follows from the state alone, so that a replay tries the same.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.adapter import Refusal, View
from lockstep.compiler import Artifact
from lockstep.engines.base import Engine
from perp_fuzz.bounds import a_little_off, at_bound
from perp_fuzz.deployment import (
    ADDRESSES,
    FEED_DECIMALS,
    FEED_ID,
    POOL_NAME,
    POOL_SYMBOL,
    PUBLISHERS,
    QUORUM,
    RISK_TYPE,
    ROLE_OF,
    SIGNED_FEED_TYPES,
    call_of,
    create_market_calldata,
)
from perp_fuzz.feeds import PUBLISH
from perp_fuzz.signing import Signer, by_address
from perp_fuzz.variants import ABSURD
from python_model.evm import Revert
from python_model.modules.constants import FRACTION_UNIT, WAD
from python_model.risk_engine import RiskParams
from python_model.signed_price_feed import MAX_PUBLISHERS, SignedPriceFeed

if TYPE_CHECKING:
    from perp_fuzz.adapter import PerpTwin

# Runtime code: whatever it is asked, it answers this address. PUSH20, PUSH0, MSTORE, 32, PUSH0,
# RETURN; and initcode that deploys it.
_ECHO = "73{}5f5260205ff3"
_DEPLOY = "601b8060093d393df3"
# It sends nothing else, so that what others deploy later is where it would be without.
DEPLOYER = f"0x{0xDE911 << 140:040x}"
OF_MARKET, OF_RISK, TIGHTENED = 16, 60, 24  # of the faults there are, how many at a time
AT_BOUNDS = 3

_PROPOSE = abi.selector(f"propose_params(address,{RISK_TYPE})")
_TIGHTEN = abi.selector(f"tighten(address,{RISK_TYPE})")
_RESTRICT = abi.encoder("guardian_restrict(address,uint256)")


class _NoMarket:
    """Says that the engine of a market is its own; the engine knows better."""

    def __init__(self, address: str, engine: Any) -> None:
        self.address = address
        self.engine = engine


class WhatIf:
    """Tries things on one deployment, both forms."""

    def __init__(self, engine: Engine, twin: "PerpTwin", artifacts: Mapping[str, Artifact]) -> None:
        self.twin = twin
        self.system = system = twin.system
        # Whoever deploys here has sent nothing else: engines differ in what counts for a nonce.
        echo = _DEPLOY + _ECHO.format(system.engine.address[2:])
        self._no_market = _NoMarket(engine.deploy(bytes.fromhex(echo), DEPLOYER), system.engine)
        listed = [ADDRESSES[role] for role in by_address(*PUBLISHERS)]
        # As many publishers as there may be, all of them before whoever signs.
        strangers = [f"0x{i:040x}" for i in range(1, MAX_PUBLISHERS + 1)]
        self.unbound, self._crowded = (
            self._deploy_unbound(engine, artifacts["SignedPriceFeed"], publishers)
            for publishers in (listed, strangers)
        )
        self._risk = system.engine.params()

    def _deploy_unbound(
        self, engine: Engine, artifact: Artifact, listed: list[str]
    ) -> SignedPriceFeed:
        """A feed that no market was ever created with."""
        system = self.system
        places = (system.factory.address, system.configurator.address)
        settings = [*places, FEED_ID, FEED_DECIMALS, listed, QUORUM]
        arguments = abi_encode(SIGNED_FEED_TYPES, settings)
        address = engine.deploy(artifact.initcode + arguments, DEPLOYER)
        return SignedPriceFeed(
            system.chain, address, *places, FEED_ID, FEED_DECIMALS, listed, QUORUM
        )

    @property
    def parts(self) -> Sequence[Callable[[random.Random], Iterator[View]]]:
        return self._of_market, self._of_risk, self._at_bounds, self._of_strangers

    def _try(
        self, to: str, data: bytes, label: str, sender: str, call: Callable[[], bytes]
    ) -> View:
        caller, to, data = call_of(ROLE_OF[sender], to, data)
        return to, data, partial(self._answer, call), label, caller

    def _answer(self, call: Callable[[], bytes]) -> bytes:
        try:
            return self.system.chain.probe(call)
        except Revert as revert:
            return Refusal(abi.error_string(revert.reason) if revert.reason else b"")

    def _of_market(self, rng: random.Random) -> Iterator[View]:
        """Markets whose parameters have one fault, or a large or small value that is none."""
        system = self.system
        factory, risk = system.factory, self._risk
        sender = factory.owner
        faults = list(_faults(system.engine.PARAMS))
        for label, params in rng.sample(faults, OF_MARKET):
            plain = [system.token, system.feed, POOL_NAME, POOL_SYMBOL, params, risk]

            def create(plain: list[Any] = plain) -> bytes:
                return abi.word(factory.create_market(*plain, sender=sender).address)

            data = create_market_calldata(plain)
            yield self._try(factory.address, data, f"a market with {label}", sender, create)

    def _of_risk(self, rng: random.Random) -> Iterator[View]:
        """Parameters that are proposed, or that are tightened at once."""
        system = self.system
        present = system.engine.params()
        for name, selector, values, count in (
            ("propose_params", _PROPOSE, ABSURD, OF_RISK),
            ("tighten", _TIGHTEN, (), TIGHTENED),
        ):
            for label, params in rng.sample(list(_faults(present, values)), count):
                yield self._on_configurator(name, selector, params, label)

    def _at_bounds(self, rng: random.Random) -> Iterator[View]:
        """A market, proposals and tightenings with a number exactly at a bound, or next to it."""
        system = self.system
        engine, factory = system.engine, system.factory
        params, risk = at_bound(rng, engine.PARAMS, engine.params())
        plain: list[Any] = [system.token, self.unbound, POOL_NAME, POOL_SYMBOL, params, risk]
        data = create_market_calldata(plain)
        sender = factory.owner

        def create() -> bytes:
            return abi.word(factory.create_market(*plain, sender=sender).address)

        yield self._try(factory.address, data, f"a market with {params}, {risk}", sender, create)
        for _ in range(AT_BOUNDS):
            proposed = at_bound(rng, engine.PARAMS, engine.params())[1]
            yield self._on_configurator("propose_params", _PROPOSE, proposed, str(proposed))
            tighter = a_little_off(rng, engine.params())
            yield self._on_configurator("tighten", _TIGHTEN, tighter, str(tighter))

    def _on_configurator(self, name: str, selector: bytes, risk: RiskParams, label: str) -> View:
        configurator, market = self.system.configurator, self.system.market
        sender = configurator.owner
        data = selector + abi.word(market.address) + abi.words(*_flat(risk))

        def call() -> bytes:
            value = getattr(configurator, name)(market, risk, sender=sender)
            return b"" if value is None else abi.word(value)

        return self._try(configurator.address, data, f"{name} with {label}", sender, call)

    def _of_strangers(self, rng: random.Random) -> Iterator[View]:
        """A restriction of what is no market, and prices that no market takes."""
        yield self._of_no_market()
        for feed in (self.unbound, self._crowded):
            yield self._of_unbound(feed)

    def _of_no_market(self) -> View:
        configurator, fake = self.system.configurator, self._no_market
        sender = configurator.guardian
        call = partial(configurator.guardian_restrict, fake, 60, sender=sender)  # type: ignore[arg-type]
        data = _RESTRICT(fake.address, 60)
        return self._try(
            configurator.address, data, "restrict no market", sender, lambda: abi.word(call())
        )

    def _of_unbound(self, feed: SignedPriceFeed) -> View:
        """Reports for a feed without a market."""
        sender = ADDRESSES["keeper_0"]
        signer = Signer(self.system.chain, feed.address, FEED_ID, FEED_DECIMALS)
        header = signer.header(self.twin.now)
        reports = [
            signer.report(role, header, WAD, WAD // 1_000)
            for role in by_address(*PUBLISHERS[:QUORUM])
        ]
        data = PUBLISH + abi.words(*header, 160, len(reports))
        data += b"".join(abi.words(*report) for report in reports)
        call = partial(feed.publish, header, reports, sender=sender)
        return self._try(
            feed.address, data, "a price for no market", sender, lambda: abi.word(call())
        )


def _faults(params: Any, values: tuple[int, ...] = ABSURD) -> Iterator[tuple[str, Any]]:
    """The parameters with one number replaced: by each of `values`, or a little off."""
    for name in params._fields:
        present = getattr(params, name)
        numbers = present if isinstance(present, tuple) else (present,)
        for place, number in enumerate(numbers):
            step = max(number // 20 // FRACTION_UNIT * FRACTION_UNIT, 1)
            for value in (*values, number + step, max(number - step, 0), number + 1):
                changed = (*numbers[:place], value, *numbers[place + 1 :])
                replaced = changed if isinstance(present, tuple) else value
                yield f"{name}[{place}] {value}", params._replace(**{name: replaced})


def _flat(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flat(value) if isinstance(value, tuple | list) else (value,))
    return flat

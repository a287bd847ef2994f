"""What pool and engine do when their market tells them what one hardly ever does: profits of about
all that a pool has, the edges of deleveraging.

A puppet (contracts/testing/MarketPuppet.vy) has a pool and an engine of its own and the positions
of the market. What it does is undone.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.adapter import Call, Refusal, View
from lockstep.edges import find_edge
from lockstep.engines.base import VIEWER, Engine
from perp_fuzz.deployment import (
    ADDRESSES,
    FOUNDER,
    LPS,
    POOL_NAME,
    POOL_SYMBOL,
    SIGNERS,
    TRADERS,
    Artifacts,
    System,
    created_address,
)
from perp_fuzz.sequels import Decode, Encode
from python_model.evm import MAX_UINT256, Revert
from python_model.liquidity_pool import LiquidityPool
from python_model.perp_market import PoolTerms
from python_model.risk_engine import RiskEngine

NAME = "testing/MarketPuppet"
BLUEPRINTS = 1, 2  # of pool and engine, by nonce of the owner
OWNERS = [role for role in TRADERS if role not in SIGNERS]
PROVIDERS = [role for role in LPS if role not in SIGNERS]
_ACT = abi.selector("act(address,bytes)")
_APPROVE = abi.encoder("approve(address,uint256)")
_TRANSFER = abi.encoder("transfer(address,uint256)")


class Puppet:
    """The model's side."""

    def __init__(self, system: System, address: str) -> None:
        self.address = address
        self._market = system.market
        chain, token = system.chain, system.token
        self.pool = LiquidityPool(
            chain,
            created_address(address, 1),
            token,
            POOL_NAME,
            POOL_SYMBOL,
            self,  # type: ignore[arg-type]
        )
        place, engine = created_address(address, 2), system.engine
        configurator = system.configurator.address
        self.engine = RiskEngine(
            chain,
            place,
            configurator,
            token.decimals,
            engine.PARAMS,
            engine.params(),
            self,  # type: ignore[arg-type]
        )

    def accrue(self, *, sender: str) -> None:
        """Nothing."""

    def pool_terms(self) -> PoolTerms:
        return PoolTerms(True, False, 0, 0, 0)

    def position(self, position_id: int) -> Any:
        return self._market.position(position_id)

    def index_word(self, level: int, word_id: int) -> int:
        return self._market.index_word(level, word_id)


class Act(NamedTuple):
    """Something done on the model and the call that does it on the engine."""

    run: Callable[[], Any]
    call: Call
    decode: Callable[[Any], bytes]
    label: str


class Puppets:
    """Questions to the pool and the engine of one puppet."""

    def __init__(
        self,
        engine: Engine,
        system: System,
        artifacts: Artifacts,
        deployer: str,
        encode: Encode,
        decode: Decode,
    ) -> None:
        self._system = system
        self._encode, self._decode = encode, decode
        market, token = system.market, system.token
        pool, risk = (created_address(FOUNDER, nonce) for nonce in BLUEPRINTS)
        arguments = [
            market.address,
            pool,
            abi_encode(["address", "string", "string"], [token.address, POOL_NAME, POOL_SYMBOL]),
            risk,
            abi.words(
                system.configurator.address,
                token.decimals,
                *_flat(system.engine.PARAMS),
                *_flat(system.engine.params()),
            ),
        ]
        kinds = ["address", "address", "bytes", "address", "bytes"]
        initcode = artifacts[NAME].initcode + abi_encode(kinds, arguments)
        self._puppet = Puppet(system, engine.deploy(initcode, deployer))
        self._deployer = deployer

    @property
    def parts(self) -> Sequence[Callable[[random.Random], Iterator[View]]]:
        return self._of_profits, self._of_deleveraging

    # How they are told

    def _own(self, contract: Any, name: str, *values: Any, sender: str = VIEWER) -> Act:
        """A call of anyone's; of nobody's in particular, it only reads."""
        kind = type(contract).__name__
        data = self._encode(kind, name, values)

        def run() -> Any:
            found = getattr(contract, name)
            if isinstance(found, dict):
                return found[values[0]]
            if sender != VIEWER:
                return found(*values, sender=sender)
            return found(*values) if callable(found) else found

        call = sender, contract.address, data
        label = f"{name}{values}"
        return Act(run, call, lambda value: self._decode(kind, name, value), label)

    def _told(self, contract: Any, name: str, *values: Any) -> Act:
        """A call of the puppet's."""
        puppet = self._puppet.address
        own = self._own(contract, name, *values, sender=puppet)
        call = self._deployer, puppet, _act(contract.address, own.call[2])
        return Act(own.run, call, lambda value: abi.word(32) + _bytes(own.decode(value)), own.label)

    def _token(self, encode: Any, name: str, to: str, amount: int, sender: str) -> Act:
        token = self._system.token
        data = encode(to, amount)
        call = sender, token.address, data
        if sender == self._puppet.address:
            call = self._deployer, sender, _act(token.address, data)
        function = getattr(token, name)
        return Act(lambda: function(to, amount, sender=sender), call, lambda value: b"", name)

    def _view(self, before: Sequence[Act], last: Act) -> View:
        """The last after the others, or the first that is refused."""
        done: list[Act] = []
        asked = last

        def run() -> bytes:
            nonlocal asked
            for act in before:
                asked = act
                act.run()
                done.append(act)
            asked = last
            return last.decode(last.run())

        try:
            expected = self._system.chain.probe(run)
        except Revert as revert:
            expected = Refusal(abi.error_string(revert.reason) if revert.reason else b"")
        sender, to, data = asked.call
        label = "a puppet: " + ", ".join(act.label for act in (*done, asked))
        return to, data, expected, label, sender, [act.call for act in done]

    # What is asked

    def _of_profits(self, rng: random.Random) -> Iterator[View]:
        """The market takes about all that the pool has, and gives a little back."""
        puppet, pool = self._puppet.address, self._puppet.pool
        owner, lp = ADDRESSES[rng.choice(OWNERS)], ADDRESSES[rng.choice(PROVIDERS)]
        cash = 10 ** rng.randrange(6, 12)
        profit = max(cash + rng.choice((-2, -1, 0, 1, 2, rng.randrange(1, 10**6))), 0)
        before = [
            self._token(_APPROVE, "approve", pool.address, MAX_UINT256, lp),
            self._own(pool, "deposit", cash, lp, sender=lp),
            self._told(pool, "pay_profit", owner, profit),
        ]
        back = rng.choice((0, 1, 2, rng.randrange(1, 10**6)))
        if 0 < back <= profit:
            before.append(self._token(_TRANSFER, "transfer", pool.address, back, puppet))
            before.append(self._told(pool, "collect_loss", back))
            if profit > cash and rng.random() < 0.5:
                before.append(self._own(pool, "withdraw_claim", sender=owner))
        for name in ("account", "claims", "totalAssets", "totalSupply"):
            yield self._view(before, self._own(pool, name))
        yield self._view(before, self._own(pool, "claim_of", owner))
        for name in ("maxDeposit", "maxMint", "maxWithdraw", "maxRedeem"):
            yield self._view(before, self._own(pool, name, lp))
        assets = rng.choice((1, 10**6))
        for name in ("previewDeposit", "previewMint", "previewWithdraw", "previewRedeem"):
            yield self._view(before, self._own(pool, name, assets))
        yield self._view(before, self._own(pool, "deposit", assets, lp, sender=lp))
        yield self._view(before, self._own(pool, "withdraw_claim", sender=owner))

    def _of_deleveraging(self, rng: random.Random) -> Iterator[View]:
        """Whom the engine names when the traders' profit is as much as the pool can bear, or a
        little more."""
        market, engine = self._system.market, self._puppet.engine
        marks = market._accrued()
        price = max(marks.price * rng.randrange(80, 126) // 100, 1)
        funding, epoch = list(marks.funding), marks.epoch + rng.randrange(2)
        cash = rng.randrange(10 ** rng.randrange(1, 15))
        visits = rng.choice((1, 2, 3, rng.randrange(1, 21)))
        largest = 10**16 * engine.VALUE_SCALE

        def told(profit: int) -> Act:
            values = (price, funding, epoch, profit, cash, visits)
            return self._told(engine, "choose_deleveraged", *values)

        def named(profit: int) -> int:
            visited, _ = self._system.chain.probe(told(profit).run)
            return len(visited)

        profits = [largest]
        if (most := named(largest)) > 1:
            fewer = rng.randrange(1, most)
            profits += find_edge(lambda profit: named(profit) <= fewer, 0, largest) or ()
        for profit in profits:
            yield self._view((), told(profit))
        # Once more from where visits ran out.
        yield self._view((told(profits[-1]),), told(profits[0]))


def _act(target: str, data: bytes) -> bytes:
    return _ACT + abi.words(target, 64) + _bytes(data)


def _bytes(data: bytes) -> bytes:
    return abi.word(len(data)) + data + bytes(-len(data) % 32)


def _flat(values: Any) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flat(value) if isinstance(value, tuple | list) else (value,))
    return flat

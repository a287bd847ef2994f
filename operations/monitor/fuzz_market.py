"""A market as the fuzzer deploys it, on anvil, with the manifest that `ape run deploy` would write.

For tests and for measuring. The contracts may have planted bugs: whoever reads the manifest cannot
tell.
"""

import random
from collections.abc import Callable, Collection
from typing import Any

from web3 import Web3

from lockstep.abi import keccak
from lockstep.adapter import Config
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.anvil import AnvilEngine
from lockstep.engines.base import Outcome
from operations.manifest import Compiler, Contract, Manifest, Roles
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.deployment import (
    ADDRESSES,
    CONFIDENCE_FRACTION,
    FEED_DECIMALS,
    FEED_ID,
    GRACE_PERIOD,
    HEARTBEAT,
    PUBLISHERS,
    QUORUM,
    Artifacts,
    System,
    call_of,
)
from perp_fuzz.signing import by_address
from python_model.evm import ZERO_ADDRESS

NAME = "fuzzed"
CHAIN_ID = 31_337
WAD = 10**18
# What a token does that is not what it should be.
UNSOUND = ("seize", "set_fee", "set_hook", "donate")


class FuzzMarket:
    """Steps of the fuzzer's generator, and single calls, each a block of a real node."""

    def __init__(self, config: Config, artifacts: Artifacts | None = None) -> None:
        self.config = config
        self.engine = AnvilEngine()
        try:
            adapter = PerpAdapter(artifacts=artifacts)
            self.checker = Checker(adapter, self.engine, config, whole_every=0)
        except BaseException:
            self.engine.close()
            raise
        twin: Any = self.checker.twin
        self.twin = twin
        self.system: System = twin.system
        self.url = self.engine.url
        self.web3 = Web3(Web3.HTTPProvider(self.url))
        self.now: int = self.system.chain.timestamp

    def close(self) -> None:
        """Ends the node."""
        self.engine.close()

    def generate(
        self,
        count: int,
        seed: int = 1,
        is_enough: Callable[[], bool] = lambda: False,
        besides: Collection[str] = UNSOUND,
    ) -> Mismatch | None:
        """So many generated steps, besides some actions. Ends when it is enough, or when the fuzzer
        notices that contracts and model differ or that an invariant is broken."""
        rng = random.Random(seed)
        while count and not is_enough():
            step = self.checker.adapter.generate(self.twin, rng)
            if step.action in besides:
                continue
            count -= 1
            self.now = step.at
            try:
                self.checker.step(step)
            except Mismatch as found:
                return found
        return None

    def act(self, action: str, actor: str, *args: int | str, after: int = 12) -> Outcome:
        """One call in a block of its own, `after` seconds after the last."""
        self.now += after
        self.engine.set_time(self.now)
        target, data = self.twin.codec.calldata(action, args)
        return self.engine.call(*call_of(actor, target, data))

    def publish(self, price: int, actor: str = "keeper_0", after: int = 12) -> Outcome:
        """A price in whole units, signed by the publishers."""
        at = self.now + after
        return self.act("publish", actor, price * WAD, price * WAD // 2_000, at, 0, after=after)

    @property
    def head(self) -> int:
        """Number of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def rpc(self, method: str, *params: Any) -> Any:
        """Anything else that is asked of the node."""
        return self.engine._rpc(method, *params)

    def manifest(self) -> Manifest:
        """What was deployed."""
        owner, guardian = ADDRESSES["owner_0"], ADDRESSES["guardian_0"]
        treasury, system = ADDRESSES["treasury_0"], self.system
        created = {"token_": system.token.address, "feed_": system.feed.address}
        named: dict[str, tuple[str, Any, dict[str, Any]]] = {
            "configurator": (
                "Configurator",
                system.configurator,
                {"guardian": guardian, "owner": owner},
            ),
            "factory": ("MarketFactory", system.factory, {"treasury": treasury, "owner": owner}),
            f"feed:{NAME}": (type(system.feed).__name__, system.feed, self._feed_arguments()),
            f"market:{NAME}": ("PerpMarket", system.market, created),
            f"pool:{NAME}": ("LiquidityPool", system.pool, {}),
            f"engine:{NAME}": ("RiskEngine", system.engine, {}),
        }
        return Manifest(
            network="local",
            chain_id=CHAIN_ID,
            profile="fuzz",
            git_commit="",
            settings="",
            compiler=Compiler("0.4.3", "cancun", "gas"),
            roles=Roles(owner, guardian, treasury, self._publishers(), owner),
            block=1,
            finished=True,
            contracts={key: self._entry(*what) for key, what in named.items()},
        )

    def _publishers(self) -> list[str]:
        return [ADDRESSES[role] for role in by_address(*PUBLISHERS)]

    def _feed_arguments(self) -> dict[str, Any]:
        system = self.system
        factory = system.factory.address
        if self.config.get("feed") == "signed":
            return {
                "factory": factory,
                "configurator": system.configurator.address,
                "feed_id": "0x" + FEED_ID.hex(),
                "decimals": str(FEED_DECIMALS),
                "publishers": self._publishers(),
                "quorum": str(QUORUM),
            }
        has_sequencer = bool(self.config.get("sequencer"))
        return {
            "factory": factory,
            "aggregator": system.aggregator.address,
            "heartbeat": str(HEARTBEAT),
            "confidence_fraction": str(CONFIDENCE_FRACTION),
            "sequencer_feed": system.sequencer.address if has_sequencer else ZERO_ADDRESS,
            "grace_period": str(GRACE_PERIOD),
        }

    def _entry(self, contract: str, model: Any, arguments: dict[str, Any]) -> Contract:
        code_hash = "0x" + keccak(self.engine.code(model.address)).hex()
        return Contract(
            contract, model.address, arguments, "create", None, None, 1, code_hash, None
        )

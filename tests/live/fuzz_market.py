"""A market as the fuzzer deploys it, on anvil, with the manifest that `ape run deploy` would write.

`artifacts` may have planted bugs: whoever reads the manifest cannot tell.
"""

import random

from web3 import Web3

from lockstep.abi import keccak
from lockstep.checker import Checker
from lockstep.engines.anvil import AnvilEngine
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
    call_of,
)
from perp_fuzz.signing import by_address
from python_model.evm import ZERO_ADDRESS

NAME = "fuzzed"
WAD = 10**18
# What a token does that is not what it should be.
UNSOUND = ("seize", "set_fee", "set_hook", "donate")


class FuzzMarket:
    """Steps of the fuzzer's generator, and single calls, as blocks of a real node."""

    def __init__(self, config, artifacts=None):
        self.config = config
        self.engine = AnvilEngine()
        try:
            # Model and contracts are compared by the monitor, so the twin has the sound ones.
            self.checker = Checker(PerpAdapter(artifacts=artifacts), self.engine, config, 0)
        except BaseException:
            self.engine.close()
            raise
        self.twin = self.checker.twin
        self.system = self.twin.system
        self.url = f"http://127.0.0.1:{self.engine._http.port}"
        self.web3 = Web3(Web3.HTTPProvider(self.url))
        self.now = self.system.chain.timestamp

    def close(self):
        self.engine.close()

    def generate(self, count, seed=1, is_compared=True):
        """So many generated steps, none of which makes the token unsound. With `is_compared`
        false the model alone says what comes next, and the chain does as it does."""
        rng = random.Random(seed)
        while count:
            step = self.checker.adapter.generate(self.twin, rng)
            if step.action in UNSOUND:
                continue
            count -= 1
            self.now = step.at
            if is_compared:
                self.checker.step(step)
            else:
                self.engine.set_time(step.at)
                self.twin.execute_model(step)
                self.engine.call(*self.twin.encode(step))

    def act(self, action, actor, *args, after=12):
        """One call in a block of its own, `after` seconds after the last."""
        self.now += after
        self.engine.set_time(self.now)
        target, data = self.twin.codec.calldata(action, args)
        return self.engine.call(*call_of(actor, target, data))

    def publish(self, price, actor="keeper_0", after=12):
        """A price of the quote in whole units, signed by the publishers."""
        at = self.now + after
        return self.act("publish", actor, price * WAD, price * WAD // 2_000, at, 0, after=after)

    @property
    def head(self):
        return self.web3.eth.block_number

    def rpc(self, method, *params):
        return self.engine._rpc(method, *params)

    def manifest(self):
        owner = ADDRESSES["owner_0"]
        system = self.system
        configurator, factory = system.configurator.address, system.factory.address
        contracts = {
            "configurator": self._entry(
                "Configurator",
                configurator,
                {"guardian": ADDRESSES["guardian_0"], "owner": owner},
            ),
            "factory": self._entry(
                "MarketFactory",
                factory,
                {"treasury": ADDRESSES["treasury_0"], "owner": owner},
            ),
            f"feed:{NAME}": self._feed(),
            f"market:{NAME}": self._entry(
                "PerpMarket",
                system.market.address,
                {"token_": system.token.address, "feed_": system.feed.address},
            ),
            f"pool:{NAME}": self._entry("LiquidityPool", system.pool.address, {}),
            f"engine:{NAME}": self._entry("RiskEngine", system.engine.address, {}),
        }
        publishers = [ADDRESSES[role] for role in by_address(*PUBLISHERS)]
        guardian, treasury = ADDRESSES["guardian_0"], ADDRESSES["treasury_0"]
        return Manifest(
            network="local",
            chain_id=31_337,
            profile="fuzz",
            git_commit="",
            settings="",
            compiler=Compiler("0.4.3", "cancun", "gas"),
            roles=Roles(owner, guardian, treasury, publishers, owner),
            block=1,
            finished=True,
            contracts=contracts,
        )

    def _feed(self):
        system = self.system
        factory = system.factory.address
        if self.config.get("feed") == "signed":
            arguments = {
                "factory": factory,
                "configurator": system.configurator.address,
                "feed_id": "0x" + FEED_ID.hex(),
                "decimals": str(FEED_DECIMALS),
                "publishers": [ADDRESSES[role] for role in by_address(*PUBLISHERS)],
                "quorum": str(QUORUM),
            }
            return self._entry("SignedPriceFeed", system.feed.address, arguments)
        has_sequencer = bool(self.config.get("sequencer"))
        arguments = {
            "factory": factory,
            "aggregator": system.aggregator.address,
            "heartbeat": str(HEARTBEAT),
            "confidence_fraction": str(CONFIDENCE_FRACTION),
            "sequencer_feed": system.sequencer.address if has_sequencer else ZERO_ADDRESS,
            "grace_period": str(GRACE_PERIOD),
        }
        return self._entry("AggregatorPriceFeed", system.feed.address, arguments)

    def _entry(self, contract, address, arguments):
        code_hash = "0x" + keccak(self.engine.code(address)).hex()
        return Contract(contract, address, arguments, "create", None, None, 1, code_hash, None)

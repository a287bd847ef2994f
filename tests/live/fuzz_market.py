"""A market as the fuzzer deploys it, on anvil, with a manifest that says so."""

from operations.manifest import Compiler, Contract, Manifest, Roles
from operations.monitor.system import Given, Subject
from perp_fuzz.deployment import (
    ADDRESSES,
    CONFIDENCE_FRACTION,
    FEED_DECIMALS,
    FEED_ID,
    GRACE_PERIOD,
    HEARTBEAT,
    QUORUM,
)
from perp_fuzz.signing import by_address
from python_model.evm import ZERO_ADDRESS

NAME = "fuzzed"


def manifest_of(system, config, chain_id=31_337, block=1):
    """The manifest of a system, as `ape run deploy` would write it."""
    owner = ADDRESSES["owner_0"]

    def entry(contract, model, arguments):
        return Contract(
            contract, model.address, arguments, "create", None, None, block, "0x", None
        )

    feed = system.feed
    contracts = {
        "configurator": entry(
            "Configurator",
            system.configurator,
            {"guardian": ADDRESSES["guardian_0"], "owner": owner},
        ),
        "factory": entry(
            "MarketFactory",
            system.factory,
            {"treasury": ADDRESSES["treasury_0"], "owner": owner},
        ),
        f"feed:{NAME}": entry(
            type(feed).__name__,
            feed,
            {
                "factory": system.factory.address,
                "configurator": system.configurator.address,
                "feed_id": "0x" + FEED_ID.hex(),
                "decimals": str(FEED_DECIMALS),
                "publishers": [ADDRESSES[role] for role in by_address(*PUBLISHERS)],
                "quorum": str(QUORUM),
            }
            if type(feed).__name__ == "SignedPriceFeed"
            else {
                "factory": system.factory.address,
                "aggregator": system.aggregator.address,
                "heartbeat": str(HEARTBEAT),
                "confidence_fraction": str(CONFIDENCE_FRACTION),
                "sequencer_feed": system.sequencer.address
                if config.get("sequencer")
                else ZERO_ADDRESS,
                "grace_period": str(GRACE_PERIOD),
            },
        ),
        f"market:{NAME}": entry(
            "PerpMarket",
            system.market,
            {"token": system.token.address, "feed": feed.address},
        ),
        f"pool:{NAME}": entry("LiquidityPool", system.pool, {}),
        f"engine:{NAME}": entry("RiskEngine", system.engine, {}),
    }
    roles = Roles(owner, ADDRESSES["guardian_0"], ADDRESSES["treasury_0"], [], owner)
    compiler = Compiler("0.4.3", "cancun", "gas")
    return Manifest(
        "local", chain_id, "fuzz", "", "", compiler, roles, block, True, contracts
    )


def subject_of(system, config):
    """What the monitor watches, and what the others' contracts say of themselves."""
    return Subject(manifest_of(system, config), NAME), Given(config["decimals"], FEED_DECIMALS)


PUBLISHERS = tuple(f"publisher_{i}" for i in range(5))

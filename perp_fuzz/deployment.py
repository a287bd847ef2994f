"""The system under test, deployed twice: contracts on an engine, and their model."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_canonical_address
from rlp import encode as rlp_encode

from lockstep import abi
from lockstep.adapter import Config
from lockstep.compiler import Artifact, blueprint_initcode, compile_vyper
from lockstep.engines.base import GENESIS_TIME, Engine
from python_model.evm import MAX_UINT256, Chain
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.perp_market import MarketParams, PerpMarket, Tier
from python_model.price_feed import PriceFeed
from python_model.testing.token_mock import TokenMock

ROOT = Path(__file__).resolve().parents[1]
WAD = 10**18

TRADERS = tuple(f"trader_{i}" for i in range(8))
LPS = tuple(f"lp_{i}" for i in range(3))
KEEPERS = ("keeper_0", "keeper_1")
PUBLISHERS = ("publisher_0", "publisher_1")
OWNERS = ("owner_0", "owner_1")
TREASURIES = ("treasury_0", "treasury_1")
ATTACKER = "attacker"
ROLES = (*TRADERS, *LPS, *KEEPERS, *PUBLISHERS, *OWNERS, *TREASURIES, ATTACKER)
ADDRESSES = {role: f"0x{0xACC0 << 144 | i + 1:040x}" for i, role in enumerate(ROLES)}
ROLE_OF = {address: role for role, address in ADDRESSES.items()}

POOL_NAME, POOL_SYMBOL = "Ringfence Pool", "RFP"
CONTRACTS = ("PerpMarket", "LiquidityPool", "PriceFeed", "MarketFactory")
TOKENS = {"standard": "testing/TokenMock", "no return": "testing/NoReturnTokenMock"}

# Sizes in units of a 10,000-dollar underlying: a market of 200 units a side.
DEFAULT_PARAMS = MarketParams(
    min_size=WAD // 100,
    max_open_interest=200 * WAD,
    max_skew=60 * WAD,
    skew_scale=50_000 * WAD,
    max_funding_rate=240 * 10**12,
    max_utilisation_rate=10**10,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    liquidation_penalty=5 * 10**15,
    keeper_share=10**17,
    reserve_fraction=3 * 10**17,
    max_price_age=240,
    tiers=(
        Tier(WAD, 20 * 10**15, 10 * 10**15),
        Tier(5 * WAD, 40 * 10**15, 20 * 10**15),
        Tier(20 * WAD, 100 * 10**15, 50 * 10**15),
        Tier(50 * WAD, 200 * 10**15, 100 * 10**15),
    ),
)


class System(NamedTuple):
    """Both halves of one deployment."""

    chain: Chain
    token: TokenMock
    factory: MarketFactory
    market: PerpMarket
    pool: LiquidityPool
    feed: PriceFeed


Overrides = Mapping[str, str]


def compile_contracts(overrides: Overrides | None = None) -> dict[str, Artifact]:
    """All deployables and test tokens by name, from the cache where the sources are unchanged."""
    if not overrides:
        return _compile_unchanged()
    return {name: _compile(name, overrides) for name in (*CONTRACTS, *TOKENS.values())}


@lru_cache(maxsize=1)
def _compile_unchanged() -> dict[str, Artifact]:
    return {name: _compile(name, None) for name in (*CONTRACTS, *TOKENS.values())}


def _compile(name: str, overrides: Overrides | None) -> Artifact:
    artifact = compile_vyper(f"contracts/{name}.vy", root=ROOT, overrides=overrides)
    abi.register_events(artifact.abi)
    return artifact


def created_address(creator: str, nonce: int) -> str:
    """Address of the contract that `creator` creates with this nonce (CREATE)."""
    payload = rlp_encode([to_canonical_address(creator), nonce])
    return "0x" + abi.keccak(payload)[-20:].hex()


def params_of(config: Config) -> MarketParams:
    """The market parameters of a configuration: the default ones with some replaced."""
    changed: dict[str, Any] = dict(config.get("params", {}))
    if "tiers" in changed:
        changed["tiers"] = tuple(Tier(*tier) for tier in changed["tiers"])
    return DEFAULT_PARAMS._replace(**changed)


def deploy(engine: Engine, config: Config, overrides: Overrides | None = None) -> System:
    """Deploys contracts and model through the factory; gives every role tokens and allowances."""
    artifacts = compile_contracts(overrides)
    owner = ADDRESSES["owner_0"]
    decimals = config["decimals"]
    params = params_of(config)
    engine.set_time(GENESIS_TIME)

    def create(name: str, types: list[str], values: list[Any], blueprint: bool = False) -> str:
        initcode = artifacts[name].initcode
        if blueprint:
            return engine.deploy(blueprint_initcode(initcode), owner)
        return engine.deploy(initcode + abi_encode(types, values), owner)

    def transact(sender: str, to: str, data: bytes) -> bytes:
        outcome = engine.call(sender, to, data)
        if not outcome.ok:
            reason = outcome.halted or abi.revert_reason(outcome.output)
            raise RuntimeError(f"set-up failed: {reason}")
        return outcome.output

    blueprints = [create(name, [], [], blueprint=True) for name in CONTRACTS[:3]]
    treasury = ADDRESSES["treasury_0"]
    factory_address = create("MarketFactory", ["address"] * 4, [*blueprints, treasury])
    token_address = create(TOKENS[config.get("token", "standard")], ["uint8"], [decimals])
    publisher = ADDRESSES["publisher_0"]
    engine.set_time(GENESIS_TIME + 1)
    signature = f"create_market(address,address,string,string,{PARAMS_TYPE})"
    arguments = abi_encode(
        ["address", "address", "string", "string", PARAMS_TYPE],
        [token_address, publisher, POOL_NAME, POOL_SYMBOL, params],
    )
    created = transact(owner, factory_address, abi.selector(signature) + arguments)

    chain = Chain(GENESIS_TIME + 1, created_address)
    factory = MarketFactory(chain, factory_address, treasury, owner)
    token = TokenMock(chain, token_address, decimals)
    market = factory.create_market(token, publisher, POOL_NAME, POOL_SYMBOL, params, sender=owner)
    if created != abi.word(market.address):
        raise RuntimeError("set-up failed: the model derives another market address")

    mint, approve = abi.encoder("mint(address,uint256)"), abi.encoder("approve(address,uint256)")
    for address in ADDRESSES.values():
        amount = 10 ** (decimals + 12)
        transact(owner, token_address, mint(address, amount))
        token.mint(address, amount, sender=owner)
        for spender in (market.address, market.pool.address):
            transact(address, token_address, approve(spender, MAX_UINT256))
            token.approve(spender, MAX_UINT256, sender=address)
    return System(chain, token, factory, market, market.pool, market.feed)


TIER_TYPE = "(uint256,uint256,uint256)"
PARAMS_TYPE = f"({','.join(['uint256'] * 12)},{TIER_TYPE}[4])"

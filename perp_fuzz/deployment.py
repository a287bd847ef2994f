"""The system under test, deployed twice: contracts on an engine, and their model."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_canonical_address
from rlp import encode as rlp_encode

from lockstep import abi
from lockstep.adapter import Config
from lockstep.compare import outcome_mismatch
from lockstep.compiler import Artifact, Sources, blueprint_initcode, compile_vyper
from lockstep.engines.base import GENESIS_TIME, Engine, Log
from lockstep.step import ModelResult
from perp_fuzz.signing import address_of, by_address
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Chain
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.perp_market import MarketParams, PerpMarket
from python_model.risk_engine import RiskEngine, RiskParams
from python_model.signed_price_feed import SignedPriceFeed
from python_model.testing.aggregator_mock import AggregatorMock
from python_model.testing.price_relay import PriceRelay
from python_model.testing.token_mock import TokenMock

ROOT = Path(__file__).resolve().parents[1]
WAD = 10**18


def created_address(creator: str, nonce: int) -> str:
    """Address of the contract that `creator` creates with this nonce (CREATE)."""
    payload = rlp_encode([to_canonical_address(creator), nonce])
    return "0x" + abi.keccak(payload)[-20:].hex()


# Wallets are contracts: whoever signs for one is not who calls.
WALLETS = ("trader_wallet", "lp_wallet", "keeper_wallet", "owner_wallet", "guardian_wallet")
TRADERS = (*(f"trader_{i}" for i in range(8)), WALLETS[0])
LPS = (*(f"lp_{i}" for i in range(3)), WALLETS[1])
KEEPERS = ("keeper_0", "keeper_1", WALLETS[2])
PUBLISHERS = tuple(f"publisher_{i}" for i in range(5))
OWNERS = ("owner_0", "owner_1", WALLETS[3])
TREASURIES = ("treasury_0", "treasury_1")
GUARDIANS = ("guardian_0", "guardian_1", WALLETS[4])
ATTACKER = "attacker"
ROLES = (*TRADERS, *LPS, *KEEPERS, *OWNERS, *GUARDIANS, *TREASURIES, ATTACKER, *PUBLISHERS)
SIGNERS = {role: f"0x{0x516E << 144 | i + 1:040x}" for i, role in enumerate(WALLETS)}
# Calls addresses one after the other, each with its data, which its length goes before; gives the
# last answer, or reverts as the first does that does.
WALLET = bytes.fromhex(
    "60368060093d393df35f5b8035816020013580836040015f375f5f825f5f865af16022573d5f5f3e3d5ffd5b90"
    "50016040018036116001573d5f5f3e3d5ff3"
)
ADDRESSES = {role: f"0x{0xACC0 << 144 | i + 1:040x}" for i, role in enumerate(ROLES)}
ADDRESSES |= {role: address_of(role) for role in (*PUBLISHERS, ATTACKER)}
ADDRESSES |= {role: created_address(SIGNERS[role], 0) for role in WALLETS}
# Nobody's: whoever creates the contracts has no say in them.
FOUNDER = f"0x{0xC4EA << 144:040x}"
ROLE_OF = {address: role for role, address in ADDRESSES.items()}

POOL_NAME, POOL_SYMBOL = "Ringfence Pool", "RFP"
CONTRACTS = (
    "PerpMarket",
    "LiquidityPool",
    "RiskEngine",
    "MarketFactory",
    "Configurator",
    "SignedPriceFeed",
    "AggregatorPriceFeed",
    "MarketLens",
    "testing/AggregatorMock",
    "testing/PriceRelay",
)
DOUBLES = ("testing/MarketDouble", "testing/MarketPuppet")  # with no part in a system
TOKENS = {"standard": "testing/TokenMock", "no return": "testing/NoReturnTokenMock"}

# Sizes in units of a 10,000-dollar underlying: a market of 200 units a side.
DEFAULT_PARAMS = MarketParams(
    min_size=WAD // 100,
    skew_scale=50_000 * WAD,
    max_funding_rate=240 * 10**12,
    max_utilisation_rate=10**10,
    liquidation_penalty=5 * 10**15,
    keeper_share=10**17,
    reserve_fraction=3 * 10**17,
    max_price_age=240,
    tier_sizes=(WAD, 5 * WAD, 20 * WAD, 50 * WAD),
)
DEFAULT_RISK = RiskParams(
    max_open_interest=200 * WAD,
    max_skew=60 * WAD,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    initial_fractions=(20 * 10**15, 40 * 10**15, 100 * 10**15, 200 * 10**15),
    maintenance_fractions=(10 * 10**15, 20 * 10**15, 50 * 10**15, 100 * 10**15),
    calm_volatility=5 * 10**16,
    max_volatility_multiplier=3 * WAD,
    volatility_window=3_600,
    crowding_lower=5 * 10**17,
    crowding_upper=WAD,
    max_confidence=2 * 10**16,
    max_jump=10**17,
    move_windows=(300, 3_600),
    max_moves=(10**17, 2 * 10**17),
    cool_down=120,
    max_liquidated_size=60 * WAD,
    max_pool_loss=2 * 10**17,
    max_bad_debt=10**12,
    max_insurance_draw=5 * 10**17,
    max_profit_share=6 * 10**17,
)
FEED_ID = abi.keccak(b"underlying/quote")
FEED_DECIMALS = 18
QUORUM = 3
HEARTBEAT = 60
GRACE_PERIOD = 30
TOO_MANY_DECIMALS = 19
CONFIDENCE_FRACTION = 10**15


class System(NamedTuple):
    """Both halves of one deployment. `aggregator` is what an aggregator feed reads."""

    chain: Chain
    token: TokenMock
    factory: MarketFactory
    configurator: Configurator
    market: PerpMarket
    pool: LiquidityPool
    engine: RiskEngine
    feed: SignedPriceFeed | AggregatorPriceFeed
    aggregator: AggregatorMock
    relay: PriceRelay
    sequencer: AggregatorMock
    coarse_token: TokenMock  # with more decimals than a market takes


MIRRORS = {name.lower() for name in CONTRACTS}
MODEL_FILES = tuple(
    path
    for path in sorted((ROOT / "python_model").glob("**/*.py"))
    if path.stem.replace("_", "") in MIRRORS or path.parent.name == "modules"
)

Overrides = Mapping[str, str]
Artifacts = Mapping[str, Artifact]  # by name


def compile_contracts(overrides: Overrides | None = None) -> dict[str, Artifact]:
    """All deployables and test tokens by name, from the cache where the sources are unchanged."""
    if not overrides:
        return _compile_unchanged()
    return {name: _compile(name, overrides) for name in (*CONTRACTS, *TOKENS.values(), *DOUBLES)}


@lru_cache(maxsize=1)
def _compile_unchanged() -> dict[str, Artifact]:
    return {name: _compile(name, None) for name in (*CONTRACTS, *TOKENS.values(), *DOUBLES)}


def sources(overrides: Overrides | None = None) -> dict[str, Sources]:
    """The contracts of the protocol itself, by name."""
    return {
        name: Sources.of(f"contracts/{name}.vy", ROOT, overrides)
        for name in CONTRACTS
        if not name.startswith("testing/")
    }


def _compile(name: str, overrides: Overrides | None) -> Artifact:
    artifact = compile_vyper(f"contracts/{name}.vy", root=ROOT, overrides=overrides)
    abi.register_events(artifact.abi)
    return artifact


def params_of(config: Config) -> tuple[MarketParams, RiskParams]:
    """The parameters of a configuration: the default ones with some replaced by name."""
    changed: dict[str, Any] = {
        name: tuple(changed) if isinstance(changed, list) else changed
        for name, changed in config.get("params", {}).items()
    }
    fixed = {name: changed.pop(name) for name in MarketParams._fields if name in changed}
    return DEFAULT_PARAMS._replace(**fixed), DEFAULT_RISK._replace(**changed)


def deploy(engine: Engine, config: Config, artifacts: Artifacts | None = None) -> System:
    """Deploys contracts and model through the factory; gives every role tokens and allowances."""
    artifacts = artifacts or compile_contracts()
    owner = ADDRESSES["owner_0"]
    decimals = config["decimals"]
    params, risk = params_of(config)
    engine.set_time(GENESIS_TIME)

    def create(name: str, types: list[str], values: list[Any], blueprint: bool = False) -> str:
        initcode = artifacts[name].initcode
        if blueprint:
            return engine.deploy(blueprint_initcode(initcode), FOUNDER)
        return engine.deploy(initcode + abi_encode(types, values), FOUNDER)

    def transact(sender: str, to: str, data: bytes) -> bytes:
        outcome = engine.call(sender, to, data)
        if not outcome.ok:
            reason = outcome.halted or abi.revert_reason(outcome.output)
            raise RuntimeError(f"set-up failed: {reason}")
        return outcome.output

    blueprints = [create(name, [], [], blueprint=True) for name in CONTRACTS[:3]]
    treasury, guardian = ADDRESSES["treasury_0"], ADDRESSES["guardian_0"]
    configurator_address = create("Configurator", ["address"] * 2, [guardian, owner])
    factory_address = create(
        "MarketFactory", ["address"] * 6, [*blueprints, configurator_address, treasury, owner]
    )
    token_address = create(TOKENS[config.get("token", "standard")], ["uint8"], [decimals])
    aggregator_address = create("testing/AggregatorMock", ["uint256"], [FEED_DECIMALS])
    sequencer_address = create("testing/AggregatorMock", ["uint256"], [0])
    coarse_address = create(TOKENS["standard"], ["uint8"], [TOO_MANY_DECIMALS])
    has_sequencer = bool(config.get("sequencer"))
    relay_address = create("testing/PriceRelay", ["address"], [aggregator_address])
    publishers = [ADDRESSES[role] for role in by_address(*PUBLISHERS)]
    is_signed = config.get("feed", "aggregator") == "signed"
    if is_signed:
        feed_address = create(
            "SignedPriceFeed",
            SIGNED_FEED_TYPES,
            [factory_address, configurator_address, FEED_ID, FEED_DECIMALS, publishers, QUORUM],
        )
    else:
        feed_address = create(
            "AggregatorPriceFeed",
            ["address", "address", "uint256", "uint256", "address", "uint256"],
            [
                factory_address,
                aggregator_address,
                HEARTBEAT,
                CONFIDENCE_FRACTION,
                sequencer_address if has_sequencer else ZERO_ADDRESS,
                GRACE_PERIOD,
            ],
        )
    engine.set_time(GENESIS_TIME + 1)
    arguments = [token_address, feed_address, POOL_NAME, POOL_SYMBOL, params, risk]
    created = engine.call(owner, factory_address, create_market_calldata(arguments))

    system = deploy_model(
        config,
        Addresses(
            configurator_address,
            factory_address,
            token_address,
            aggregator_address,
            sequencer_address,
            coarse_address,
            relay_address,
            feed_address,
        ),
    )
    market, token = system.market, system.token
    logs = _created_logs(system, artifacts)
    # Its share token is somebody else's code, which announces its roles.
    created = created._replace(logs=[log for log in created.logs if log[0] != market.pool.address])
    if not created.ok or created.output != abi.word(market.address) or created.logs != logs:
        raise outcome_mismatch(ModelResult(True, abi.word(market.address), logs), created)
    # It has been up since long before.
    transact(owner, sequencer_address, SET_ROUND(*SEQUENCER_RUNS))

    mint, approve = abi.encoder("mint(address,uint256)"), abi.encoder("approve(address,uint256)")
    for role in WALLETS:
        engine.deploy(WALLET, SIGNERS[role])
    for role, address in ADDRESSES.items():
        amount = 10 ** (decimals + 12)
        transact(owner, token_address, mint(address, amount))
        token.mint(address, amount, sender=owner)
        for spender in (market.address, market.pool.address):
            transact(*call_of(role, token_address, approve(spender, MAX_UINT256)))
            token.approve(spender, MAX_UINT256, sender=address)
    return system


def call_of(role: str, target: str, data: bytes) -> tuple[str, str, bytes]:
    """Sender, target and calldata with which a role calls: a wallet is called by its signer."""
    if role in SIGNERS:
        return calls_of(role, [(target, data)])
    return ADDRESSES[role], target, data


def calls_of(wallet: str, calls: Sequence[tuple[str, bytes]]) -> tuple[str, str, bytes]:
    """The same for several calls of a wallet, targets and calldata, in one transaction."""
    joined = (abi.words(target, len(data)) + data for target, data in calls)
    return SIGNERS[wallet], ADDRESSES[wallet], b"".join(joined)


def _created_logs(system: System, artifacts: Artifacts) -> list[Log]:
    """What the model logged when it created the market."""
    contracts = (system.factory, system.market, system.pool, system.engine, system.feed)
    encoders = {
        contract.address: abi.register_events(artifacts[type(contract).__name__].abi)
        for contract in contracts
    }
    return [
        encoders[event.address][event.name](event.address, *event.fields)
        for event in system.chain.events
    ]


def create_market_calldata(arguments: Iterable[Any]) -> bytes:
    """Of `MarketFactory.create_market`: token and feed (the model's will do), names, parameters."""
    return _create_market_calldata(tuple(getattr(item, "address", item) for item in arguments))


@lru_cache(maxsize=1 << 10)  # the same are tried in every deployment
def _create_market_calldata(arguments: tuple[Any, ...]) -> bytes:
    return CREATE_MARKET + abi_encode(CREATE_MARKET_TYPES, arguments)


class Addresses(NamedTuple):
    """Where the contracts are that no contract creates."""

    configurator: str
    factory: str
    token: str
    aggregator: str
    sequencer: str
    coarse_token: str
    relay: str
    feed: str


def deploy_model(config: Config, at: Addresses) -> System:
    """The model's half alone; nobody has tokens yet."""
    params, risk = params_of(config)
    decimals = config["decimals"]
    owner, guardian = ADDRESSES["owner_0"], ADDRESSES["guardian_0"]
    chain = Chain(GENESIS_TIME + 1, created_address)
    configurator = Configurator(chain, at.configurator, guardian, owner)
    factory = MarketFactory(chain, at.factory, configurator, ADDRESSES["treasury_0"], owner)
    token = TokenMock(chain, at.token, decimals)
    aggregator = AggregatorMock(chain, at.aggregator, FEED_DECIMALS)
    sequencer = AggregatorMock(chain, at.sequencer, 0)
    sequencer.set_round(*SEQUENCER_RUNS, sender=owner)
    feed: SignedPriceFeed | AggregatorPriceFeed
    if config.get("feed", "aggregator") == "signed":
        feed = SignedPriceFeed(
            chain,
            at.feed,
            at.factory,
            at.configurator,
            FEED_ID,
            FEED_DECIMALS,
            [ADDRESSES[role] for role in by_address(*PUBLISHERS)],
            QUORUM,
        )
    else:
        feed = AggregatorPriceFeed(
            chain,
            at.feed,
            at.factory,
            aggregator,
            HEARTBEAT,
            CONFIDENCE_FRACTION,
            sequencer if config.get("sequencer") else None,
            GRACE_PERIOD,
        )
    market = factory.create_market(token, feed, POOL_NAME, POOL_SYMBOL, params, risk, sender=owner)
    return System(
        chain,
        token,
        factory,
        configurator,
        market,
        market.pool,
        market.engine,
        feed,
        aggregator,
        PriceRelay(chain, at.relay, aggregator),
        sequencer,
        TokenMock(chain, at.coarse_token, TOO_MANY_DECIMALS),
    )


SEQUENCER_RUNS = (1, 0, GENESIS_TIME - 1, GENESIS_TIME - 1, 1)
SET_ROUND = abi.encoder("set_round(uint256,int256,uint256,uint256,uint256)")
PARAMS_TYPE = f"({','.join(['uint256'] * 8)},uint256[4])"
RISK_TYPE = (
    f"({','.join(['uint256'] * 4)},uint256[4],uint256[4],{','.join(['uint256'] * 7)},"
    f"uint256[2],uint256[2],{','.join(['uint256'] * 6)})"
)
CREATE_MARKET_TYPES = ["address", "address", "string", "string", PARAMS_TYPE, RISK_TYPE]
CREATE_MARKET = abi.selector(f"create_market({','.join(CREATE_MARKET_TYPES)})")
SIGNED_FEED_TYPES = ["address", "address", "bytes32", "uint8", "address[]", "uint256"]

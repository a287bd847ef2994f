"""A configurator in both forms, a signed feed, and a market that is no more than its engine."""

from typing import Any

from engine_forms import PARAMS, PARAMS_TYPE, RISK, RISK_TYPE, engine_words
from eth_abi.abi import encode as abi_encode
from feed_forms import ADDRESSES, ROOT, FeedForms, artifact

from lockstep import abi
from lockstep.compiler import blueprint_initcode, compile_vyper
from python_model.configurator import Configurator
from python_model.evm import Chain, Contract, external
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskEngine, RiskParams
from python_model.signed_price_feed import SignedPriceFeed

for _number, _role in enumerate(("owner", "new_owner", "guardian", "new_guardian")):
    ADDRESSES[_role] = f"0x{0xFEED << 144 | 0x200 + _number:040x}"
PUBLISHERS = tuple(f"0x{0x9B << 144 | number + 1:040x}" for number in range(8))
QUORUM = 3
FEED_ID = bytes(range(32))

STUB_PATH = "tests/contracts/stub_owner_of_engine.vy"
STUB_SOURCE = """\
# pragma version 0.4.3
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IRiskEngine

engine: public(immutable(address))

@deploy
def __init__(
    blueprint: address,
    configurator: address,
    params: IPerpMarket.MarketParams,
    risk: IRiskEngine.RiskParams,
):
    decimals: uint256 = 6
    engine = create_from_blueprint(blueprint, configurator, decimals, params, risk)
"""


FALSE_PATH = "tests/contracts/stub_false_market.vy"
FALSE_SOURCE = """\
# pragma version 0.4.3
from contracts.interfaces import IPerpMarket

engine: public(address)
market: public(address)
market_params: public(IPerpMarket.MarketParams)

@deploy
def __init__(params: IPerpMarket.MarketParams):
    self.engine = self
    self.market = self
    self.market_params = params

@external
def set_engine(engine: address):
    self.engine = engine
"""


class EngineOwner(Contract):
    """Mirror of the source above, with the engine's mirror."""

    engine: RiskEngine


class FalseMarket(Contract):
    """First its own engine, with parameters of its choice; then it names the engine of another."""

    def __init__(self, chain: Chain, address: str, params: MarketParams) -> None:
        super().__init__(chain, address)
        self.engine: Any = self
        self.market = address
        self._params = params

    def market_params(self) -> MarketParams:
        return self._params

    @external
    def set_engine(self, engine: RiskEngine, *, sender: str) -> None:
        self.engine = engine


class ConfiguratorForms(FeedForms):
    """`governs` is a call of the owner that succeeds."""

    def __init__(self) -> None:
        super().__init__()
        guardian = ADDRESSES["guardian"]
        address = self._create("Configurator", ["address"] * 2, [guardian, ADDRESSES["owner"]])
        self.configurator = Configurator(self.chain, address, guardian, ADDRESSES["owner"])
        self.market = self._create_market(address)
        self.engine_model = self.market.engine
        feed_args = (ADDRESSES["factory"], address, FEED_ID, 8, PUBLISHERS[:5], QUORUM)
        feed_address = self._create(
            "SignedPriceFeed",
            ["address", "address", "bytes32", "uint8", "address[]", "uint256"],
            list(feed_args),
        )
        self.feed = SignedPriceFeed(self.chain, feed_address, *feed_args)
        self.state(self.configurator)

    def _create(self, kind: str, types: list[str], args: list[Any]) -> str:
        initcode = artifact(kind).initcode + abi_encode(types, args)
        address = self.engine.deploy(initcode, ADDRESSES["keeper"])
        self._kinds[address] = kind
        return address

    def _create_market(self, configurator: str) -> EngineOwner:
        blueprint = self.engine.deploy(
            blueprint_initcode(artifact("RiskEngine").initcode), ADDRESSES["owner"]
        )
        stub = compile_vyper(STUB_PATH, root=ROOT, overrides={STUB_PATH: STUB_SOURCE})
        arguments = abi_encode(
            ["address", "address", PARAMS_TYPE, RISK_TYPE],
            [blueprint, configurator, PARAMS, RISK],
        )
        address = self.engine.deploy(stub.initcode + arguments, ADDRESSES["owner"])
        market = EngineOwner(self.chain, address)
        output = self.engine.view(address, abi.selector("engine()")).output
        engine_address = "0x" + output[-20:].hex()
        market.engine = RiskEngine(
            self.chain, engine_address, configurator, 6, PARAMS, RISK, deployer=market
        )
        self._kinds[engine_address] = "RiskEngine"
        return market

    def false_market(self, params: MarketParams) -> FalseMarket:
        stub = compile_vyper(FALSE_PATH, root=ROOT, overrides={FALSE_PATH: FALSE_SOURCE})
        arguments = abi_encode([PARAMS_TYPE], [params])
        address = self.engine.deploy(stub.initcode + arguments, ADDRESSES["attacker"])
        return FalseMarket(self.chain, address, params)

    def renames(self, market: FalseMarket, engine: RiskEngine) -> None:
        """The false market names an engine, in both forms."""
        data = abi.selector("set_engine(address)") + abi.word(engine.address)
        assert self.engine.call(ADDRESSES["attacker"], market.address, data).ok
        market.set_engine(engine, sender=ADDRESSES["attacker"])

    def governs(self, function: str, *args: Any) -> Any:
        return self.does("owner", self.configurator, function, *args)

    def denies(self, reason: str, function: str, *args: Any, role: str = "owner") -> None:
        self.refuses(reason, role, self.configurator, function, *args)

    def params(self) -> RiskParams:
        return self.engine_model.params()

    def events(self) -> list[tuple[str, tuple[Any, ...]]]:
        return [(event.name, event.fields) for event in self.chain.events]

    def state(self, contract: Any) -> dict[str, Any]:
        """What the configurator, the engine and the feed say, and the engine's words."""
        if contract is not self.configurator:
            return super().state(contract)
        found = {
            **{name: self.view(contract, name) for name in ("guardian", "owner", "pending_owner")},
            "params": self.view(contract, "proposed_params", self.market),
            "publishers": self.view(contract, "proposed_publishers", self.feed),
            "restricted": self.engine.view(
                contract.address, self.calldata(contract, "restricted_until", self.market)
            ).output,
            "engine": super().state(self.engine_model),
            "feed": super().state(self.feed),
        }
        until = contract.restricted_until[self.market.address]
        assert found["restricted"] == until.to_bytes(32, "big")
        compiled = artifact("RiskEngine")
        for name, words in engine_words(self.engine_model).items():
            for offset, word in enumerate(words):
                slot = compiled.slot(name) + offset
                assert self.engine.storage(self.engine_model.address, slot) == word, name
        return found

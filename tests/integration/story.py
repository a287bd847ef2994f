"""What happens on a chain, told once: each transaction through ape, and the same on the model."""

from typing import Any

import ape

from lockstep import abi
from perp_fuzz.deployment import FEED_ID, PUBLISHERS, QUORUM, created_address
from perp_fuzz.signing import Signer, address_of, by_address
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import ZERO_ADDRESS, Chain, Event, Revert
from python_model.market_factory import MarketFactory
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, MAX_SIZE
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams
from python_model.signed_price_feed import SignedPriceFeed
from python_model.testing.aggregator_mock import AggregatorMock
from python_model.testing.token_mock import TokenMock

WAD = 10**18
PRICE = 10_000 * WAD
ANY = 2**256 - 1
ROLES = (
    *("owner", "trader", "other_trader", "lp", "keeper", "publisher", "treasury", "attacker"),
    *("other_keeper", "guardian"),
)
PARAMS = MarketParams(
    min_size=WAD // 20,
    skew_scale=100_000 * WAD,
    max_funding_rate=10**14,
    max_utilisation_rate=10**10,
    liquidation_penalty=5 * 10**15,
    keeper_share=10**17,
    reserve_fraction=2 * 10**17,
    max_price_age=3_600,
    tier_sizes=(WAD, 5 * WAD, 20 * WAD, 50 * WAD),
)
# Breakers as wide as they may be, and no more margin for volatility: a story narrows its own.
RISK = RiskParams(
    max_open_interest=200 * WAD,
    max_skew=100 * WAD,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    initial_fractions=(20 * 10**15, 40 * 10**15, 100 * 10**15, 200 * 10**15),
    maintenance_fractions=(10 * 10**15, 20 * 10**15, 50 * 10**15, 100 * 10**15),
    calm_volatility=WAD,
    max_volatility_multiplier=WAD,
    volatility_window=3_600,
    crowding_lower=WAD - FRACTION_UNIT,
    crowding_upper=WAD,
    max_confidence=10**16,
    max_jump=WAD,
    move_windows=(300, 3_600),
    max_moves=(WAD, WAD),
    cool_down=60,
    max_liquidated_size=MAX_SIZE,
    max_pool_loss=WAD,
    max_bad_debt=MAX_MARGIN,
    max_insurance_draw=WAD,
    max_profit_share=WAD,
)
CONFIDENCE = 10**15  # of the price, WAD
HEARTBEAT = 3_600


class Story:
    """One market. Every figure a test asks for is the same on the chain and in the model."""

    def __init__(
        self,
        project: Any,
        chain: Any,
        people: dict[str, Any],
        factory: Any,
        configurator: Any,
        token: Any,
        decimals: int,
        feed: str,
        **changes: Any,
    ) -> None:
        self.chain = chain
        self.people = people
        self.unit = 10**decimals
        self.risk = RISK._replace(**changes)
        owner = people["owner"]
        publishers = [address_of(role) for role in by_address(*PUBLISHERS)]
        aggregator = owner.deploy(project.AggregatorMock, 18)
        if feed == "signed":
            listed = (FEED_ID, 18, publishers, QUORUM)
            source = owner.deploy(project.SignedPriceFeed, factory, configurator, *listed)
        else:
            settings = (HEARTBEAT, CONFIDENCE, ZERO_ADDRESS, 0)
            source = owner.deploy(project.AggregatorPriceFeed, factory, aggregator, *settings)
        given = (token, source, "Ringfence Pool", "RFP")
        terms = (PARAMS._asdict(), self.risk._asdict())
        receipt = factory.create_market(*given, *terms, sender=owner)
        (created,) = receipt.decode_logs(factory.MarketCreated)
        self.contracts = {
            "token": token,
            "factory": factory,
            "configurator": configurator,
            "aggregator": aggregator,
            "market": project.PerpMarket.at(created.market),
            "pool": project.LiquidityPool.at(created.pool),
            "engine": project.RiskEngine.at(created.engine),
            "feed": source,
        }
        self._encoders = {
            contract.address.lower(): _encoders(contract) for contract in self.contracts.values()
        }

        mirrored_chain = Chain(receipt.timestamp, created_address, chain.chain_id)
        self.model_chain = mirrored_chain
        governor = Configurator(
            mirrored_chain, _address(configurator), _address(people["guardian"]), _address(owner)
        )
        mirror = MarketFactory(
            mirrored_chain,
            _address(factory),
            governor,
            _address(people["treasury"]),
            _address(owner),
        )
        mirrored = TokenMock(mirrored_chain, _address(token), decimals)
        answers = AggregatorMock(mirrored_chain, _address(aggregator), 18)
        mirrored_feed: SignedPriceFeed | AggregatorPriceFeed
        if feed == "signed":
            roles = (_address(factory), _address(configurator))
            mirrored_feed = SignedPriceFeed(mirrored_chain, _address(source), *roles, *listed)
        else:
            mirrored_feed = AggregatorPriceFeed(
                *(mirrored_chain, _address(source), _address(factory), answers),
                *(HEARTBEAT, CONFIDENCE, None, 0),
            )
        market = mirror.create_market(
            mirrored, mirrored_feed, *given[2:], PARAMS, self.risk, sender=_address(owner)
        )
        assert market.address == created.market.lower()
        assert market.engine.address == created.engine.lower()
        self.models = {
            "token": mirrored,
            "factory": mirror,
            "configurator": governor,
            "aggregator": answers,
            "market": market,
            "pool": market.pool,
            "engine": market.engine,
            "feed": mirrored_feed,
        }
        self.signer = Signer(mirrored_chain, _address(source), FEED_ID, 18)
        self.publishers = PUBLISHERS
        self.price_time = 0

    def fund(self, *roles: str, tokens: int = 1_000_000) -> None:
        """Gives tokens and unlimited allowances."""
        for role in roles:
            self.does(role, "token.mint", role, tokens * self.unit)
            spender = "pool" if role == "lp" else "market"
            self.does(role, "token.approve", spender, ANY)

    def publish(self, price: int, role: str = "publisher") -> Any:
        """A price of a second ago. Blocks may share a second, so the next one is moved ahead."""
        at = max(self.chain.pending_timestamp, self.price_time + 2)
        self.chain.pending_timestamp = at
        self.price_time = at - 1
        if isinstance(self.models["feed"], SignedPriceFeed):
            return self.does(role, "feed.publish", *self.batch(price))
        at = self.price_time
        self.does("owner", "aggregator.set_round", at, price, at, at, at)
        return self.does(role, "market.update_price", role)

    def batch(self, price: int) -> tuple[Any, Any]:
        """Header and reports of a quorum, for the time of the last price."""
        header = self.signer.header(self.price_time, self.chain.chain_id)
        confidence = price * CONFIDENCE // WAD
        reports = [
            self.signer.report(role, header, price, confidence)
            for role in by_address(*self.publishers[:QUORUM])
        ]
        return header, reports

    def later(self, seconds: int) -> None:
        """A block so much later: calls that are only simulated happen at its time."""
        self.chain.pending_timestamp += seconds
        self.chain.mine()

    def does(self, role: str, function: str, *args: Any) -> Any:
        """The receipt of a transaction whose events are exactly the model's."""
        target, name = function.split(".")
        account = self.people[role]
        sent = [self._resolve(arg) for arg in args]
        receipt = getattr(self.contracts[target], name)(*sent, sender=account)
        self.model_chain.timestamp = receipt.timestamp
        getattr(self.models[target], name)(*self._mirrored(target, args), sender=_address(account))
        expected = [self._encode(event) for event in self.model_chain.events]
        assert [_log(log) for log in receipt.logs] == expected
        return receipt

    def refuses(self, reason: str, role: str, function: str, *args: Any) -> None:
        """Chain and model revert for this reason. Simulated: tracing a revert takes seconds."""
        target, name = function.split(".")
        account = self.people[role]
        sent = [self._resolve(arg) for arg in args]
        with ape.reverts(reason):
            getattr(self.contracts[target], name).call(*sent, sender=account, skip_trace=True)
        self.model_chain.timestamp = self.chain.pending_timestamp
        try:
            values = self._mirrored(target, args)
            getattr(self.models[target], name)(*values, sender=_address(account))
        except Revert as revert:
            told = revert.reason
        else:
            told = "the model does not revert"
        assert told == reason

    def events(self, receipt: Any, name: str) -> list[Any]:
        """Events of this name as ape decodes them."""
        found: list[Any] = receipt.decode_logs(getattr(self.contracts["market"], name))
        return found

    def balance(self, who: str) -> int:
        """Tokens of a role or contract."""
        holder = self._resolve(who)
        found: int = self.contracts["token"].balanceOf(holder)
        assert found == self.models["token"].balanceOf[_plain(holder)]
        return found

    def view(self, function: str, *args: int | str) -> Any:
        """A number or record, as of the latest block."""
        target, name = function.split(".")
        sent = [self._resolve(arg) for arg in args]
        self.model_chain.timestamp = self.chain.blocks.head.timestamp
        mirror = getattr(self.models[target], name)
        plain = [_plain(arg) for arg in sent]
        expected = mirror(*plain) if callable(mirror) else mirror[plain[0]] if plain else mirror
        found = getattr(self.contracts[target], name)(
            *sent, block_identifier=self.chain.blocks.head.number
        )
        names = getattr(expected, "_fields", None)
        if names is None:
            assert found == expected, function
        else:
            values = [_as_tuple(getattr(found, field)) for field in names]
            assert values == [_as_tuple(item) for item in expected], function
        return expected

    def position(self, position_id: int) -> Any:
        """A position with every stored figure."""
        expected = self.models["market"].position(position_id)
        found = self.contracts["market"].position(position_id)
        for field in expected.__slots__:
            value = getattr(found, field)
            assert (value.lower() if field == "owner" else value) == getattr(expected, field)
        return expected

    def check(self) -> None:
        """What the market owns and owes, and every balance."""
        solvency = self.view("market.solvency")
        held = self.balance("market")
        assert held == sum((solvency.margin, solvency.insurance, solvency.fees, solvency.credits))
        assert self.balance("pool") == self.view("pool.cash") == solvency.pool_cash
        for role in ROLES:
            self.balance(role)

    def _resolve(self, value: Any) -> Any:
        """What the chain is told: accounts and contracts by their names."""
        if not isinstance(value, str) or value.startswith("0x"):
            return value
        return self.people.get(value) or self.contracts[value]

    def _mirrored(self, target: str, args: tuple[Any, ...]) -> list[Any]:
        """What the model is told. Its configurator acts on what it is given, others are told
        addresses."""
        models = self.models if target == "configurator" else {}
        return [
            models[arg] if isinstance(arg, str) and arg in models else _plain(self._resolve(arg))
            for arg in args
        ]

    def _encode(self, event: Event) -> tuple[str, tuple[bytes, ...], bytes]:
        return self._encoders[event.address][event.name](event.address, *event.fields)


def _encoders(contract: Any) -> dict[str, abi.Event]:
    return {
        event.name: abi.Event(
            f"{event.name}("
            + ",".join(f"{i.type} {'indexed ' if i.indexed else ''}{i.name}" for i in event.inputs)
            + ")"
        )
        for event in contract.contract_type.events
    }


def _address(holder: Any) -> str:
    return str(holder.address).lower()


def _plain(value: Any) -> Any:
    return _address(value) if hasattr(value, "address") else value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _log(log: Any) -> tuple[str, tuple[bytes, ...], bytes]:
    return (
        str(log["address"]).lower(),
        tuple(bytes(topic) for topic in log["topics"]),
        bytes(log["data"]),
    )

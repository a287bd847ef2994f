"""What happens on a chain, told once: each transaction through ape, and the same on the model."""

from typing import Any

import ape

from lockstep import abi
from perp_fuzz.deployment import created_address
from python_model.evm import Chain, Event, Revert
from python_model.market_factory import MarketFactory
from python_model.perp_market import MarketParams, Tier
from python_model.testing.token_mock import TokenMock

WAD = 10**18
PRICE = 10_000 * WAD
ANY = 2**256 - 1
ROLES = (
    *("owner", "trader", "other_trader", "lp", "keeper", "publisher", "treasury", "attacker"),
    "other_keeper",
)
PARAMS = MarketParams(
    min_size=WAD // 20,
    max_open_interest=200 * WAD,
    max_skew=100 * WAD,
    skew_scale=100_000 * WAD,
    max_funding_rate=10**14,
    max_utilisation_rate=10**10,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    liquidation_penalty=5 * 10**15,
    keeper_share=10**17,
    reserve_fraction=2 * 10**17,
    max_price_age=3_600,
    tiers=(
        Tier(WAD, 20 * 10**15, 10 * 10**15),
        Tier(5 * WAD, 40 * 10**15, 20 * 10**15),
        Tier(20 * WAD, 100 * 10**15, 50 * 10**15),
        Tier(50 * WAD, 200 * 10**15, 100 * 10**15),
    ),
)


class Story:
    """One market. Every figure a test asks for is the same on the chain and in the model."""

    def __init__(
        self,
        project: Any,
        chain: Any,
        people: dict[str, Any],
        factory: Any,
        token: Any,
        decimals: int,
    ) -> None:
        self.chain = chain
        self.people = people
        self.unit = 10**decimals
        owner, publisher = people["owner"], people["publisher"]
        given = (token, publisher, "Ringfence Pool", "RFP")
        params = PARAMS._asdict() | {"tiers": [tuple(tier) for tier in PARAMS.tiers]}
        receipt = factory.create_market(*given, params, sender=owner)
        (created,) = receipt.decode_logs(factory.MarketCreated)
        self.contracts = {
            "token": token,
            "factory": factory,
            "market": project.PerpMarket.at(created.market),
            "pool": project.LiquidityPool.at(created.pool),
            "feed": project.PriceFeed.at(created.feed),
        }
        self._encoders = {
            contract.address.lower(): _encoders(contract) for contract in self.contracts.values()
        }

        self.model_chain = Chain(receipt.timestamp, created_address)
        mirror = MarketFactory(
            self.model_chain, _address(factory), _address(people["treasury"]), _address(owner)
        )
        mirrored = TokenMock(self.model_chain, _address(token), decimals)
        market = mirror.create_market(
            mirrored, _address(publisher), *given[2:], PARAMS, sender=_address(owner)
        )
        assert market.address == created.market.lower()
        self.models = {
            "token": mirrored,
            "factory": mirror,
            "market": market,
            "pool": market.pool,
            "feed": market.feed,
        }
        self.price_time = 0

    def fund(self, *roles: str, tokens: int = 1_000_000) -> None:
        """Gives tokens and unlimited allowances."""
        for role in roles:
            self.does(role, "token.mint", role, tokens * self.unit)
            spender = "pool" if role == "lp" else "market"
            self.does(role, "token.approve", spender, ANY)

    def publish(self, price: int) -> Any:
        """A price of a second ago. Blocks may share a second, so the next one is moved ahead."""
        at = max(self.chain.pending_timestamp, self.price_time + 2)
        self.chain.pending_timestamp = at
        self.price_time = at - 1
        return self.does("publisher", "feed.publish", price, self.price_time)

    def does(self, role: str, function: str, *args: int | str) -> Any:
        """The receipt of a transaction whose events are exactly the model's."""
        target, name = function.split(".")
        account = self.people[role]
        sent = [self._resolve(arg) for arg in args]
        receipt = getattr(self.contracts[target], name)(*sent, sender=account)
        self.model_chain.timestamp = receipt.timestamp
        getattr(self.models[target], name)(*map(_plain, sent), sender=_address(account))
        expected = [self._encode(event) for event in self.model_chain.events]
        assert [_log(log) for log in receipt.logs] == expected
        return receipt

    def refuses(self, reason: str, role: str, function: str, *args: int | str) -> None:
        """Chain and model revert for this reason. Simulated: tracing a revert takes seconds."""
        target, name = function.split(".")
        account = self.people[role]
        sent = [self._resolve(arg) for arg in args]
        with ape.reverts(reason):
            getattr(self.contracts[target], name).call(*sent, sender=account, skip_trace=True)
        self.model_chain.timestamp = self.chain.pending_timestamp
        try:
            getattr(self.models[target], name)(*map(_plain, sent), sender=_address(account))
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
            assert [getattr(found, field) for field in names] == list(expected), function
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

    def _resolve(self, value: int | str) -> Any:
        if isinstance(value, int):
            return value
        return self.people.get(value) or self.contracts[value]

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
    return value if isinstance(value, int) else _address(value)


def _log(log: Any) -> tuple[str, tuple[bytes, ...], bytes]:
    return (
        str(log["address"]).lower(),
        tuple(bytes(topic) for topic in log["topics"]),
        bytes(log["data"]),
    )

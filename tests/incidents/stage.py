"""A market with people on it, in both forms: every call is made on the contract and on the model,
and result, reason, events and figures are compared.

Amounts are whole tokens, sizes whole units and prices quote per unit, as text, integers or
fractions that must come out as integers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, is_dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.edges import largest_accepted
from lockstep.engines import GENESIS_TIME, open_engine
from perp_fuzz.deployment import (
    ADDRESSES,
    CONFIDENCE_FRACTION,
    HEARTBEAT,
    PUBLISHERS,
    compile_contracts,
    deploy,
)
from perp_fuzz.signing import Signer, by_address
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Contract, Revert
from python_model.modules.constants import LONG, SHORT, WAD
from python_model.perp_market import MarketParams, PerpMarket
from python_model.risk_engine import RiskParams
from python_model.signed_price_feed import SignedPriceFeed
from python_model.testing.aggregator_mock import AggregatorMock

Number = int | str | Fraction

ANY_PRICE = {LONG: MAX_UINT256, SHORT: 0}  # the worst acceptable price of a buyer and of a seller

ROLE: dict[str, str] = {
    "trader": "trader_0",
    "other_trader": "trader_1",
    "accomplice": "trader_2",
    "attacker": "attacker",
    "keeper": "keeper_0",
    "lp": "lp_0",
    "other_lp": "lp_1",
    "owner": "owner_0",
    "guardian": "guardian_0",
    "treasury": "treasury_0",
}

CONTRACTS = {
    "market": "PerpMarket",
    "pool": "LiquidityPool",
    "engine": "RiskEngine",
    "configurator": "Configurator",
    "factory": "MarketFactory",
    "token": "testing/TokenMock",
    "aggregator": "testing/AggregatorMock",
}


def wad(value: Number) -> int:
    """A price, size, fraction or rate as the contracts hold it."""
    scaled = Fraction(value) * WAD
    assert scaled.denominator == 1, f"{value} has more than 18 decimals"
    return int(scaled)


def wads(*values: Number) -> tuple[int, int, int, int]:
    first, second, third, fourth = (wad(value) for value in values)
    return first, second, third, fourth


PARAMS = MarketParams(
    min_size=wad("0.01"),
    skew_scale=wad(12_000_000),
    max_funding_rate=wad("0.0000001"),
    max_utilisation_rate=wad("0.00000001"),
    liquidation_penalty=wad("0.01"),
    keeper_share=wad("0.1"),
    reserve_fraction=wad("0.1"),
    max_price_age=3_600,
    tier_sizes=wads(1_000, 10_000, 20_000, 50_000),
)
RISK = RiskParams(
    max_open_interest=wad(100_000),
    max_skew=wad(20_000),
    maker_fee=wad("0.0002"),
    taker_fee=wad("0.0005"),
    initial_fractions=wads("0.05", "0.1", "0.2", "0.4"),
    maintenance_fractions=wads("0.02", "0.04", "0.08", "0.16"),
    calm_volatility=wad("0.05"),
    max_volatility_multiplier=wad(2),
    volatility_window=3_600,
    crowding_lower=wad("0.5"),
    crowding_upper=wad(1),
    max_confidence=wad("0.05"),
    max_jump=wad("0.2"),
    move_windows=(300, 3_600),
    max_moves=(wad("0.1"), wad("0.3")),
    cool_down=900,
    max_liquidated_size=wad(30_000),
    max_pool_loss=wad("0.2"),
    max_bad_debt=50_000 * 10**6,
    max_insurance_draw=wad("0.5"),
    max_profit_share=wad("0.5"),
)

# Time costs nothing.
STILL: dict[str, Any] = {"max_funding_rate": 0, "max_utilisation_rate": 0}

# Nothing but prices moves money, and only the tier sets the initial requirement.
FRICTIONLESS: dict[str, Any] = {
    **STILL,
    "maker_fee": 0,
    "taker_fee": 0,
    "skew_scale": 2**104 - 1,
    "max_volatility_multiplier": WAD,
}


class Stage:
    """One deployment with a first price, liquidity and an insurance reserve."""

    def __init__(
        self,
        price: Number = 100,
        liquidity: Number = 1_000_000,
        insurance: Number = 0,
        feed: str = "signed",
        sequencer_grace: int | None = None,
        decimals: int = 6,
        **params: Any,
    ) -> None:
        self.evm = open_engine("revm")
        changed = {**PARAMS._asdict(), **RISK._asdict(), **params}
        config = {"decimals": decimals, "token": "standard", "feed": feed, "params": changed}
        self.system = deploy(self.evm, config)
        self.unit = 10**decimals
        self.now = GENESIS_TIME + 1_000
        artifacts = compile_contracts()
        names = dict(CONTRACTS)
        names["sequencer"] = "testing/AggregatorMock"
        names["feed"] = "SignedPriceFeed" if feed == "signed" else "AggregatorPriceFeed"
        self._abis = {name: artifacts[file].abi for name, file in names.items()}
        self.sequencer: AggregatorMock | None = None
        self._functions = {name: _functions_of(self._abis[name]) for name in names}
        if sequencer_grace is not None:
            self._add_sequenced_market(sequencer_grace)
        self._events = {
            self.target(name).address: _events_of(self._abis[name])
            for name in names
            if name != "sequencer"
        }
        self.donated = {"market": 0, "pool": 0}
        self.lost = {"market": 0, "pool": 0}
        self.is_signed = feed == "signed"
        self.rounds = 0
        if isinstance(self.system.feed, SignedPriceFeed):
            signed = self.system.feed
            self.signer = Signer(self.system.chain, signed.address, signed.FEED_ID, signed.DECIMALS)
        self.funds = self.balance("trader")
        if price:
            self.publish(price)
        if liquidity:
            self.deposit(liquidity)
        if insurance:
            self.does("lp", "market.fund_insurance", self.tokens(insurance))

    def _add_sequenced_market(self, grace: int) -> None:
        """Another market in place of the first, its feed watching a sequencer."""
        system, artifacts = self.system, compile_contracts()
        owner = self.address("owner")
        self._set_time()

        def deploy_one(file: str, types: list[str], values: list[Any]) -> str:
            return self.evm.deploy(artifacts[file].initcode + abi_encode(types, values), owner)

        self.sequencer = AggregatorMock(
            system.chain, deploy_one("testing/AggregatorMock", ["uint8"], [0]), 0
        )
        settings = (HEARTBEAT, CONFIDENCE_FRACTION)
        address = deploy_one(
            "AggregatorPriceFeed",
            ["address", "address", "uint256", "uint256", "address", "uint256"],
            [
                system.factory.address,
                system.aggregator.address,
                *settings,
                self.sequencer.address,
                grace,
            ],
        )
        feed = AggregatorPriceFeed(
            system.chain,
            address,
            system.factory.address,
            system.aggregator,
            *settings,
            self.sequencer,
            grace,
        )
        params, risk = system.engine.market_params(), system.engine.params()
        created = system.factory.market_count
        self._events = {}
        types, _ = self._functions["factory"]["create_market"]
        arguments = (system.token, feed, "pool", "LP", params, risk)
        data = abi.selector(f"create_market({','.join(types)})")
        encoded = abi_encode(types, [_plain(argument) for argument in arguments])
        assert self.evm.call(owner, system.factory.address, data + encoded).ok
        market = system.factory.create_market(*arguments, sender=owner)
        assert system.factory.market_count == created + 1
        self.system = system._replace(
            market=market, pool=market.pool, engine=market.engine, feed=feed
        )
        for role in ROLE:
            for spender in ("market", "pool"):
                approve = abi.encoder("approve(address,uint256)")
                sender = self.address(role)
                to = self.address(spender)
                assert self.evm.call(sender, system.token.address, approve(to, MAX_UINT256)).ok
                system.token.approve(to, MAX_UINT256, sender=sender)

    # Calls

    def target(self, name: str) -> Any:
        """The model of a contract by name."""
        return self.sequencer if name == "sequencer" else getattr(self.system, name)

    def does(self, role: str, function: str, *args: Any) -> Any:
        """The call succeeds in both forms; its return value."""
        ok, value = self.call(role, function, *args)
        assert ok, f"{function}{args} by {role} reverts: {value!r}"
        return value

    def refuses(self, reason: str, role: str, function: str, *args: Any) -> None:
        """Both forms revert for this reason."""
        ok, value = self.call(role, function, *args)
        assert not ok, f"{function}{args} by {role} succeeds"
        assert value == reason, f"{function}{args} by {role}"

    def call(self, role: str, function: str, *args: Any) -> tuple[bool, Any]:
        """Whether it succeeds, and the value or the reason. Any difference is an error."""
        target, name = function.split(".")
        contract = self.target(target)
        sender = self.address(role)
        self._set_time()
        _, outputs = self._functions[target][name]
        got = self.evm.call(sender, contract.address, self.calldata(function, *args))
        assert not got.halted, got.halted
        refused: Revert | None = None
        value: Any = None
        try:
            value = getattr(contract, name)(*map(self._for_model, args), sender=sender)
        except Revert as revert:
            refused = revert
        if refused is not None:
            expected = abi.error_string(refused.reason) if refused.reason else b""
            assert not got.ok, f"{function} succeeds, the model says {refused.reason!r}"
            assert got.output == expected, abi.revert_reason(got.output)
            return False, refused.reason
        assert got.ok, f"{function} reverts, the model does not: {abi.revert_reason(got.output)}"
        assert got.output == _encoded(outputs, value), function
        logs = [
            self._events[event.address][event.name](event.address, *event.fields)
            for event in self.system.chain.events
        ]
        assert got.logs == logs, [abi.show_log(log) for log in got.logs]
        return True, value

    def view(self, function: str, *args: Any) -> Any:
        """What a view returns, equal in both forms."""
        target, name = function.split(".")
        contract = self.target(target)
        self._set_time()
        _, outputs = self._functions[target][name]
        found = getattr(contract, name)
        values = [self._for_model(arg) for arg in args]
        value = found(*values) if callable(found) else found[values[0]] if values else found
        got = self.evm.view(contract.address, self.calldata(function, *args))
        assert got.ok, f"{function}{args} reverts: {abi.revert_reason(got.output)}"
        assert got.output == _encoded(outputs, value), f"{function}{args}"
        return value

    def calldata(self, function: str, *args: Any) -> bytes:
        """What is sent to the contract."""
        target, name = function.split(".")
        types, _ = self._functions[target][name]
        values = [_plain(self._for_model(arg)) for arg in args]
        return abi.selector(f"{name}({','.join(types)})") + abi_encode(types, values)

    def in_every_transfer(self, function: str = "", *args: Any) -> None:
        """From now on the token itself calls this whenever it moves; nothing to stop it."""
        self._set_time()
        token = self.system.token
        target, data, hook = ZERO_ADDRESS, b"", None
        if function:
            contract = getattr(self.system, function.split(".")[0])
            model = getattr(contract, function.split(".")[1])
            values = [self._for_model(arg) for arg in args]
            target, data = contract.address, self.calldata(function, *args)
            hook = lambda: model(*values, sender=token.address)  # noqa: E731 - a hook is a call
        encoded = abi.selector("set_hook(address,bytes)") + abi.arguments(
            ["address", "bytes"], [target, data]
        )
        assert self.evm.call(self.address("owner"), token.address, encoded).ok
        token.set_hook(hook, sender=self.address("owner"))

    def largest(self, call: Callable[[int], Any], lo: int, hi: int) -> int:
        """The largest number that the model accepts in a call, which is undone."""

        def accepts(number: int) -> bool:
            self._set_time()
            try:
                self.system.chain.probe(lambda: call(number))
            except Revert:
                return False
            return True

        found = largest_accepted(accepts, lo, hi)
        assert found is not None
        return found

    # What people do

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def publish(
        self, price: Number, after: int = 1, by: str = "keeper", confidence: int = 1
    ) -> int:
        """A new price after some seconds, signed or of a round; number of positions liquidated."""
        self.wait(after)
        liquidated: int
        if self.is_signed:
            liquidated = self.does(by, "feed.publish", *self.reports(price, confidence))
        else:
            self.set_round(price)
            liquidated = self.does(by, "market.update_price", by)
        return liquidated

    def set_round(self, price: Number) -> None:
        """What the aggregator says from now on."""
        self.rounds += 1
        answer = (self.rounds, wad(price), self.now, self.now, self.rounds)
        self.does("keeper", "aggregator.set_round", *answer)

    def walk(self, price: Number, step: Number = 1, after: int = 300) -> None:
        """Prices from the present one to another, in steps slow enough for every breaker."""
        present = Fraction(self.market._marks.price, WAD)
        target, step = Fraction(price), Fraction(step)
        while present != target:
            present += max(min(target - present, step), -step)
            self.publish(present, after)

    def reports(
        self,
        price: Number,
        confidence: int = 1,
        price_time: int | None = None,
        publishers: Iterable[str] = PUBLISHERS[:3],
    ) -> tuple[Any, Any]:
        """Header and reports of a batch, confidence in WAD of quote."""
        header = self.signer.header(self.now if price_time is None else price_time)
        signed = [
            self.signer.report(publisher, header, wad(price), confidence)
            for publisher in by_address(*publishers)
        ]
        return header, signed

    def publishers(self) -> tuple[str, ...]:
        """Three that sign, in the order of their addresses."""
        return by_address(*PUBLISHERS[:3])

    def old_reports(self) -> tuple[Any, Any]:
        """A batch of the time of the last price."""
        return self.reports(50, price_time=self.market._marks.price_time)

    def set_sequencer(self, is_down: bool) -> None:
        """What the sequencer's feed says from now on."""
        answer = (1, int(is_down), self.now, self.now, 1)
        self.does("keeper", "sequencer.set_round", *answer)

    def deposit(self, amount: Number, by: str = "lp") -> int:
        shares: int = self.does(by, "pool.deposit", self.tokens(amount), by)
        return shares

    def open(self, side: int, size: Number, margin: Number, by: str = "trader") -> int:
        position_id: int = self.does(
            by, "market.open", side, wad(size), self.tokens(margin), ANY_PRICE[side]
        )
        return position_id

    def reduce(self, position_id: int, size: Number, by: str = "trader") -> None:
        self.does(by, "market.reduce", position_id, wad(size), self.worst_exit(position_id))

    def close(self, position_id: int, by: str = "trader") -> int:
        payout: int = self.does(by, "market.close", position_id, self.worst_exit(position_id))
        return payout

    def add_margin(self, position_id: int, amount: Number, by: str = "trader") -> None:
        self.does(by, "market.add_margin", position_id, self.tokens(amount))

    def worst_exit(self, position_id: int) -> int:
        return ANY_PRICE[1 - self.position(position_id).side]

    # What can be seen

    def tokens(self, value: Number) -> int:
        """Whole tokens in token units."""
        scaled = Fraction(value) * self.unit
        assert scaled.denominator == 1, f"{value} has more decimals than the token"
        return int(scaled)

    def address(self, role: str) -> str:
        name = ROLE.get(role, role)
        if name in ADDRESSES:
            return ADDRESSES[name]
        if name.startswith("0x"):
            return name
        address: str = getattr(self.system, name).address
        return address

    def abi_of(self, name: str) -> Any:
        """The compiled interface of a contract."""
        return self._abis[name]

    def balance(self, name: str) -> int:
        """Tokens of a role or contract."""
        balance: int = self.view("token.balanceOf", name)
        return balance

    def gained(self, *roles: str) -> int:
        """Token units that roles have more than at the start, what they are owed included."""
        return sum(
            self.balance(role)
            + self.view("market.credit_of", role)
            + self.view("pool.claim_of", role)
            - self.funds
            for role in roles
        )

    def position(self, position_id: int) -> Any:
        return self.view("market.position", position_id)

    def funding(self) -> list[int]:
        """The indices of both sides as they are stored."""
        return list(self.market._marks.funding)

    def is_open(self, position_id: int) -> bool:
        return self.market._positions[position_id] is not None

    def open_ids(self) -> list[int]:
        return [i for i, position in self.market._positions.items() if position is not None]

    def health(self, position_id: int) -> tuple[int, int]:
        health: tuple[int, int] = self.view("market.health", position_id)
        return health

    def is_liquidatable(self, position_id: int) -> bool:
        equity, requirement = self.health(position_id)
        return equity < requirement

    @property
    def market(self) -> PerpMarket:
        """The model: to be looked at, not called."""
        return self.system.market

    @property
    def books(self) -> Any:
        """solvency(), in both forms."""
        return self.view("market.solvency")

    @property
    def is_reduce_only(self) -> bool:
        until: int = self.view("engine.breaker").reduce_only_until
        return self.now < until

    # What must come out, from the parameters and exact fractions

    def mark(self) -> Fraction:
        """The market's price."""
        return Fraction(self.market._marks.price, WAD)

    def fill(self, side: int, size: Number) -> Fraction:
        """Price of a trade now: moved by the skew half-way through it, rounded to a wei."""
        totals, scale = self.view("market.totals"), self.market.engine.PARAMS.skew_scale
        sign = 1 if side == LONG else -1
        skew = totals.long_size - totals.short_size + sign * Fraction(size) * WAD / 2
        price = self.mark() * (1 + skew / scale) * WAD
        return Fraction(ceil(price) if side == LONG else floor(price), WAD)

    def value(self, position_id: int, price: Number, size: Number | None = None) -> int:
        """Profit or loss at a price, without funding, in token units."""
        position = self.position(position_id)
        sized = Fraction(position.size, WAD) if size is None else Fraction(size)
        move = Fraction(price) - Fraction(position.entry_price, WAD)
        return floor(sized * self.unit * (move if position.side == LONG else -move))

    def exit_price(self, position_id: int) -> Fraction:
        """At which the position would be closed now."""
        position = self.position(position_id)
        return self.fill(1 - position.side, Fraction(position.size, WAD))

    def value_of(self, size: Number, entry: Number, exit_price: Number) -> int:
        """What a long of this size gains between two prices."""
        return floor((Fraction(exit_price) - Fraction(entry)) * Fraction(size) * self.unit)

    def notional(self, size: Number, price: Number) -> Fraction:
        """In token units."""
        return Fraction(size) * Fraction(price) * self.unit

    def part(self, size: Number, price: Number, fraction: Number) -> int:
        """A requirement, fee or penalty in token units: a fraction of the notional, rounded up."""
        return ceil(Fraction(size) * Fraction(price) * Fraction(fraction) * self.unit)

    def events(self, name: str) -> list[tuple[Any, ...]]:
        """Fields of the last transaction's events of this name."""
        return [event.fields for event in self.system.chain.events if event.name == name]

    # What must hold

    def figures(self) -> tuple[Any, ...]:
        """What market, pool and engine say of themselves, and every balance, in both forms."""
        roles = list(ROLE)
        return (
            self.view("market.totals"),
            self.view("market.solvency"),
            self.view("market.pool_terms"),
            self.view("engine.breaker"),
            self.view("engine.params"),
            self.view("pool.account"),
            self.view("pool.totalSupply"),
            [(i, self.view("market.position", i), self.health(i)) for i in self.open_ids()],
            [self.balance(name) for name in (*roles, "market", "pool", "engine", "feed")],
            [self.view("market.credit_of", role) for role in roles],
            [self.view("pool.claim_of", role) for role in roles],
            [self.view("pool.balanceOf", role) for role in roles],
        )

    def assert_books_balance(self) -> None:
        """Every token unit is in one ledger, and every total is the sum over the positions."""
        self.figures()
        totals, account = self.view("market.totals"), self.view("pool.account")
        held = self.balance("market") - self.donated["market"] + self.lost["market"]
        assert held == totals.margin + totals.insurance + totals.fees + totals.credits
        held = self.balance("pool") - self.donated["pool"] + self.lost["pool"]
        assert held == account.cash
        positions = [self.position(position_id) for position_id in self.open_ids()]
        assert totals.open_positions == len(positions)
        assert totals.margin == sum(position.margin for position in positions)
        for side, size in ((LONG, totals.long_size), (SHORT, totals.short_size)):
            assert size == sum(p.size for p in positions if p.side == side)
        assert totals.credits == sum(self.market.credit_of.values())
        assert account.claims == sum(self.system.pool.claim_of.values())

    def close_engine(self) -> None:
        self.evm.close()

    def _set_time(self) -> None:
        if self.system.chain.timestamp != self.now:
            self.evm.set_time(self.now)
            self.system.chain.timestamp = self.now

    def _for_model(self, value: Any) -> Any:
        return self.address(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """What the ABI codec takes: contracts as addresses, structs as tuples."""
    if isinstance(value, Contract):
        return value.address
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(astuple(value))
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    return value


def _encoded(outputs: list[str], value: Any) -> bytes:
    if not outputs:
        return b""
    values = [_plain(value)] if len(outputs) == 1 else list(_plain(value))
    return abi_encode(outputs, values)


def _events_of(contract_abi: Iterable[Mapping[str, Any]]) -> dict[str, abi.Event]:
    events = {}
    for item in contract_abi:
        if item["type"] == "event":
            fields = [
                f"{field['type']} {'indexed ' if field['indexed'] else ''}{field['name']}"
                for field in item["inputs"]
            ]
            events[item["name"]] = abi.Event(f"{item['name']}({', '.join(fields)})")
    return events


def _functions_of(
    contract_abi: Iterable[Mapping[str, Any]],
) -> dict[str, tuple[list[str], list[str]]]:
    """Types of arguments and of results by function."""
    return {
        item["name"]: (
            [_type(entry) for entry in item["inputs"]],
            [_type(entry) for entry in item["outputs"]],
        )
        for item in contract_abi
        if item["type"] == "function"
    }


def _type(entry: Mapping[str, Any]) -> str:
    kind: str = entry["type"]
    if kind.startswith("tuple"):
        inside = ",".join(_type(part) for part in entry["components"])
        return f"({inside}){kind[5:]}"
    return kind

"""What no action reaches, compared all the same: plain getters, the lens, the engine's terms, and
deployments with settings that are refused.

What is asked follows from the state alone, so that a replay asks the same.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.adapter import Refusal, View
from lockstep.compiler import Artifact
from lockstep.engines.base import Engine
from lockstep.mirror.codec import canonical, signature
from perp_fuzz.deployment import (
    ADDRESSES,
    CONFIDENCE_FRACTION,
    FEED_DECIMALS,
    FEED_ID,
    FOUNDER,
    GRACE_PERIOD,
    HEARTBEAT,
    LPS,
    PUBLISHERS,
    ROLES,
    SIGNED_FEED_TYPES,
    TRADERS,
    created_address,
)
from perp_fuzz.doubles import LISTS, OF_POSITION, Doubles
from perp_fuzz.doubles import NAME as DOUBLE
from perp_fuzz.puppet import Puppets
from perp_fuzz.sequels import Sequels
from perp_fuzz.signing import by_address
from perp_fuzz.what_if import WhatIf
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Chain, Contract, Revert
from python_model.market_lens import MAX_LOOKS, MarketLens
from python_model.modules.constants import LONG, MAX_SIZE, MIN_NOTIONAL, TIERS, WAD
from python_model.modules.risk_bounds import MAX_FEE
from python_model.perp_market import SETTLEMENT_DELAY
from python_model.signed_price_feed import SignedPriceFeed

if TYPE_CHECKING:
    from perp_fuzz.adapter import PerpTwin
    from perp_fuzz.generator import Generator

Part = Callable[[], Iterator[View]]

# It sends nothing else: engines count deployments alike, but not all count what a sender calls.
DEPLOYER = f"0x{0xDE910 << 140:040x}"

# CREATE with the calldata as initcode: gives the new address, or reverts as the constructor does.
CREATOR = bytes.fromhex("601a8060093d393df3365f5f37365f5ff0806013573d5f5f3e3d5ffd5b5f5260205ff3")
AGGREGATOR_FEED_TYPES = ["address", "address", "uint256", "uint256", "address", "uint256"]
PREVIEWS = ("open", "increase", "reduce", "close", "add_margin", "remove_margin")
# Getters that the model has no word for.
NOT_MODELLED = frozenset(("eip712Domain",))
# What the owner deploys first.
BLUEPRINTS = ("MARKET_BLUEPRINT", "POOL_BLUEPRINT", "ENGINE_BLUEPRINT")


class _Functions:
    """The functions of one contract, encoded by its ABI."""

    def __init__(self, artifact: Artifact) -> None:
        self._items = {item["name"]: item for item in artifact.abi if item["type"] == "function"}
        self._inputs = {name: _Fields(item["inputs"]) for name, item in self._items.items()}
        self._outputs = {name: _Fields(item["outputs"]) for name, item in self._items.items()}
        self._selectors = {
            name: abi.selector(f"{name}({','.join(fields.kinds)})")
            for name, fields in self._inputs.items()
        }

    def getters(self) -> Iterator[str]:
        for name, item in self._items.items():
            if item["stateMutability"] in ("view", "pure") and not item["inputs"]:
                yield name

    def call(self, name: str, values: Sequence[Any]) -> bytes:
        return self._selectors[name] + self._inputs[name].encode(values)

    def result(self, name: str, value: Any) -> bytes:
        fields = self._outputs[name]
        if not fields.kinds:
            return b""
        return fields.encode([value] if len(fields.kinds) == 1 else list(value))


class _Fields:
    """Arguments or results. Those of fixed length are words in a row: no general codec needed."""

    def __init__(self, fields: Sequence[dict[str, Any]]) -> None:
        self.kinds = [canonical(field) for field in fields]
        joined = ",".join(self.kinds)
        self._is_fixed = not any(part in joined for part in ("string", "[]", "bytes)", "bytes,"))
        self._is_fixed &= not joined.endswith("bytes")

    def encode(self, values: Sequence[Any]) -> bytes:
        plain = [_plain(value) for value in values]
        return abi.words(*_flat(plain)) if self._is_fixed else abi_encode(self.kinds, plain)


class ViewChecks:
    """Asks one deployment, both forms."""

    never_changes = True  # in a way that a step would notice

    def __init__(self, engine: Engine, twin: "PerpTwin", artifacts: Mapping[str, Artifact]) -> None:
        system = twin.system
        self.twin = twin
        self.system = system
        self.market = system.market
        self._artifacts = artifacts
        self._creator = engine.deploy(CREATOR, DEPLOYER)
        lens = MarketLens(system.chain, engine.deploy(artifacts["MarketLens"].initcode, DEPLOYER))
        system.chain.contracts.remove(lens)  # it has no state to restore
        self.lens = lens
        contracts: list[Any] = [
            system.market,
            system.pool,
            system.engine,
            system.feed,
            system.factory,
            system.configurator,
            lens,
        ]
        self._contracts = [(each, _Functions(artifacts[type(each).__name__])) for each in contracts]
        self._functions = {type(each).__name__: functions for each, functions in self._contracts}
        self._asker: Generator | None = None
        initcode = artifacts[DOUBLE].initcode + abi.word(self.market.address)
        self._doubles = Doubles(self.market, lens, engine.deploy(initcode, DEPLOYER))
        self._puppets = Puppets(engine, system, artifacts, DEPLOYER, self._encoded, self._decoded)
        self._ask_double = abi.selector(_signature(artifacts[DOUBLE], "ask"))
        self._what_if = WhatIf(engine, twin, artifacts)
        self._sequels = Sequels(system, self._what_if.unbound, self._encoded, self._decoded)

    def looks(self) -> Sequence[Part]:
        """What the contracts say of the state they are in."""
        return [
            self._of_getters,
            *self._drawing(self._of_mappings, self._of_engine, self._of_index, self._of_lens),
            *self._drawing(self._of_previews),
        ]

    def trials(self) -> Sequence[Part]:
        """Deployments and transactions that are tried and undone."""
        return self._drawing(
            self._of_doubles,
            self._of_deployments,
            *self._what_if.parts,
            *self._sequels.parts,
            *self._puppets.parts,
        )

    def _drawing(self, *parts: Callable[[random.Random], Iterator[View]]) -> Sequence[Part]:
        """Each asks the same questions at the same time, whatever the others ask and whatever came
        before: a failure goes on showing when steps are taken away."""
        moment = f"{self.twin.config.get('seed')} {self.twin.now}"
        return [
            partial(_drawn, part, f"{moment} {getattr(part, '__qualname__', '')}") for part in parts
        ]

    def _of_getters(self) -> Iterator[View]:
        for contract, functions in self._contracts:
            for name in functions.getters():
                if name in BLUEPRINTS:
                    place = created_address(FOUNDER, BLUEPRINTS.index(name))
                    yield self._view(contract, name, partial(str, place))
                elif name not in NOT_MODELLED:
                    yield self._view(contract, name, partial(_read, contract, name))

    def _encoded(self, contract: str, name: str, values: Sequence[Any]) -> bytes:
        return self._functions[contract].call(name, values)

    def _decoded(self, contract: str, name: str, value: Any) -> bytes:
        return self._functions[contract].result(name, value)

    def states(self) -> Iterator[str]:
        """Rare states in which the views take other ways."""
        market, pool, token = self.market, self.system.pool, self.system.token
        params = self.system.engine._params
        booked = market._total_margin + market._insurance + market._fees + market._credits
        age = self.twin.now - market._marks.price_time
        is_stale = age > self.system.engine.PARAMS.max_price_age
        for name, is_so in (
            ("halted", market._halted),
            ("backlog", market._backlog),
            ("stale", is_stale),
            ("expired", age > SETTLEMENT_DELAY),
            ("claims", pool.claims > 0),
            ("nobody", not self.twin.live),
            ("a crowd", len(self.twin.live) > MAX_LOOKS),
            ("just seen", self._is_seen()),
            ("the highest fee", params.taker_fee == MAX_FEE and bool(self.twin.live)),
            ("all asked for", self._is_all_asked() and bool(self.twin.live)),
            ("a market short of tokens", token.balanceOf[market.address] < booked),
            ("a pool short of tokens", token.balanceOf[pool.address] < pool.cash()),
        ):
            if is_so:
                yield name
        if is_stale or market._halted:
            return
        due = self.lens.next_to_liquidate(market, 3)
        for position_id in due:
            closing = self.lens.preview_liquidate(market, position_id)
            # Rare and different each time: worth more than one look in a chain.
            yield f"due {position_id % 16}{' in part' if closing.holding.size else ''}"
            if closing.bad_debt:
                yield "due and bankrupt"
            if closing.value > 0:
                yield "due with a profit"
        if len(due) > 1:
            yield "several due"

    def _is_all_asked(self) -> bool:
        """Whether a position has to keep all that it is worth as margin."""
        return self.system.engine._present_maintenance()[0] > WAD - WAD // 1_000

    def _is_seen(self) -> bool:
        """Whether a position nearest to liquidation was looked at in this second."""
        market = self.market
        if market._marks.accrued_at < self.twin.now:
            return False
        rings = (market._worst_ring(list_id) for list_id in range(2 * TIERS))
        heads = (market._ring_heads[ring - 1] for ring in rings if ring)
        return any(market._stored(head).epoch == market._marks.epoch for head in heads)

    def _view(self, contract: Any, name: str, ask: Callable[[], Any], *values: Any) -> View:
        functions = self._functions[type(contract).__name__]
        shown = ", ".join(str(getattr(value, "address", value)) for value in values)
        expected = partial(_answer, ask, partial(functions.result, name))
        return contract.address, functions.call(name, values), expected, f"{name}({shown})"

    def _ask(self, contract: Any, name: str, *values: Any) -> View:
        return self._view(contract, name, lambda: getattr(contract, name)(*values), *values)

    def _of_mappings(self, rng: random.Random) -> Iterator[View]:
        """What a mapping gives for some keys, also such as the model never wrote."""
        system, market, pool = self.system, self.market, self.system.pool
        owners = [ADDRESSES[role] for role in rng.sample(ROLES, 3)]
        mappings: list[tuple[Any, str, list[Any]]] = [
            (system.factory, "is_market", [market.address, owners[0]]),
            (system.factory, "markets", [0, 1]),
            (system.configurator, "restricted_until", [market.address, owners[0]]),
            (market, "credit_of", owners),
            (pool, "claim_of", owners),
            (pool, "balanceOf", [*owners, market.address, pool.address]),
        ]
        for contract, name, keys in mappings:
            for key in keys:
                yield self._view(contract, name, partial(_entry, contract, name, key), key)
        for owner in (rng.choice(LPS), rng.choice(TRADERS)):
            for spender in (rng.choice(ROLES), rng.choice(LPS)):
                pair = ADDRESSES[owner], ADDRESSES[spender]
                yield self._view(pool, "allowance", partial(_entry, pool, "allowance", pair), *pair)
        yield self._ask(system.configurator, "proposed_params", market)
        yield self._ask(system.configurator, "proposed_publishers", system.feed)

    def _of_engine(self, rng: random.Random) -> Iterator[View]:
        """The engine's terms for the book as it is, and for books that a market hardly has."""
        engine, market = self.system.engine, self.market
        present = market._book_state(market._accrued())
        reserved = engine._reserved(present)
        # At which the least size is worth the least that there may be.
        least_price = MIN_NOTIONAL * market.NOTIONAL_SCALE // engine.PARAMS.min_size
        books = [present]
        for _ in range(2):
            cash = rng.choice((0, 1, reserved, max(reserved - 1, 0), reserved + 1, present.cash))
            odd = present._replace(cash=cash)
            if rng.random() < 0.4:
                odd = odd._replace(long_size=rng.choice((0, 1, present.short_size)), short_size=0)
            if rng.random() < 0.4:
                odd = odd._replace(price=max(least_price + rng.randrange(-1, 2), 1))
            books.append(odd)
        size = engine.PARAMS.min_size
        # So many shorts that a fill costs nothing; and more longs than there are numbers for.
        shorts = present.long_size + engine.PARAMS.skew_scale - size // 2 + rng.randrange(-1, 2)
        for odd in (
            present._replace(short_size=shorts),
            present._replace(long_size=2**254, short_size=0, price=1),
        ):
            for held, closed in ((2 * size, size), (size, size), (1, 1)):
                yield self._ask(engine, "exit_terms", rng.randrange(2), held, closed, odd)
        sizes = (0, 1, size, MAX_SIZE + rng.randrange(2))
        for book in books:
            size = rng.choice(sizes)
            before = rng.choice((0, size))
            yield self._ask(engine, "increase_terms", rng.randrange(2), before, size, book)
            yield self._ask(engine, "removal_terms", rng.randrange(4), book)
            yield self._ask(engine, "terms", rng.choice((0, 1, 3_600)), book)
            yield self._ask(engine, "exit_terms", rng.randrange(2), size, size // 2, book)
        amount = rng.randrange(market._insurance + 2)
        for shortfall in (amount, market._insurance, market._insurance + amount):
            yield self._ask(engine, "shortfall_terms", shortfall, market._insurance)
        equity = rng.choice((rng.randrange(10**12), 10**36))
        for price in (market._marks.price, 0):
            penalty = rng.choice((equity, equity + 1, max(equity - 1, 0), equity // 3, 10**6))
            yield self._ask(engine, "partial_terms", rng.randrange(4), equity, penalty, price)

    def _of_index(self, rng: random.Random) -> Iterator[View]:
        """Words of the liquidation index, of levels that exist and of one that does not."""
        market = self.market
        for level, words in enumerate(
            (market._leaves, market._middles, market._tops, market._ring_heads)
        ):
            # Not those that something undone has left behind as zero.
            held = sorted(number for number, word in words.items() if word)
            word = rng.choice(held) if held else 0
            yield self._ask(market, "index_word", level, word)

    def _of_lens(self, rng: random.Random) -> Iterator[View]:
        market, lens, live = self.market, self.lens, self.twin.live
        yield self._ask(lens, "status", market)
        for name in LISTS:
            for count in (rng.randrange(6), rng.choice((63, 64, 65))):
                yield self._ask(lens, name, market, count)
        due = lens.next_to_liquidate(market, 3)
        ids = [
            *due,
            *live[-2:],
            *rng.sample(live, min(3, len(live))),
            rng.choice((0, 1, MAX_UINT256)),
        ]
        ids.append(market._position_count + rng.randrange(2))
        for position_id in dict.fromkeys(ids):
            for name in OF_POSITION:
                yield self._ask(lens, name, market, position_id)
        for position_id in lens.nearest_to_liquidation(market, 1):
            position = market._stored(position_id)
            reduced = position_id, position.size // 2, 0 if position.side == LONG else MAX_UINT256
            yield self._ask(lens, "preview_reduce", market, position.owner, *reduced)
        for position_id in due[:2]:
            # What its owner may no longer do.
            owner = market._stored(position_id).owner
            yield self._ask(lens, "preview_close", market, owner, position_id, 0)
            yield self._ask(lens, "preview_reduce", market, owner, position_id, 1, MAX_UINT256)

    def _of_previews(self, rng: random.Random) -> Iterator[View]:
        for action, actor, args in self._drawn(rng):
            caller = () if action == "open" else (ADDRESSES[actor],)
            yield self._ask(self.lens, f"preview_{action}", self.market, *caller, *args)

    def _drawn(self, rng: random.Random) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
        """Actions as a campaign draws them, aimed ones among them."""
        from perp_fuzz.generator import Generator

        twin = self.twin
        if self._asker is None:
            self._asker = Generator(twin, iter(()))
        asker = self._asker
        asker.at = twin.now
        asker._marks = None
        for name in PREVIEWS:
            if name != "open" and not twin.live:
                continue
            for aim in ("valid", "edge", "invalid"):
                drawn = None
                if aim == "edge":
                    drawn = asker.edge(name, rng)
                elif aim == "invalid":
                    drawn = asker.invalid(name, rng)
                drawn = drawn or getattr(asker, name)(rng)
                asker.at = twin.now
                self.system.chain.timestamp = twin.now
                if drawn[0] == name:
                    yield drawn

    def _of_doubles(self, rng: random.Random) -> Iterator[View]:
        """The lens about markets that are not quite this one."""
        lens, functions = self.lens, self._functions["MarketLens"]
        for double, name, values in self._doubles(rng, self.twin.live):
            data = functions.call(name, (double, *values))
            head = abi.word(lens.address) + double.words()
            expected = partial(
                _answer,
                partial(getattr(lens, name), double, *values),
                partial(_as_bytes, functions, name),
            )
            data = self._ask_double + head + abi.word(len(head) + 32) + _bytes(data)
            label = f"{name}{values} with {double.present}, {double.made_up}"
            yield double.address, data, expected, label

    def _of_deployments(self, rng: random.Random) -> Iterator[View]:
        """Feeds with settings one off: what the constructor says, or where the feed would be."""
        system = self.system
        chain = Chain(self.twin.now, created_address)
        created = created_address(self._creator, 1)
        places = (system.factory.address, system.configurator.address)
        for label, decimals, publishers, quorum in rng.sample(_signed_settings(), 3):
            data = self._artifacts["SignedPriceFeed"].initcode + abi_encode(
                SIGNED_FEED_TYPES, [*places, FEED_ID, decimals, publishers, quorum]
            )
            create = partial(
                SignedPriceFeed, chain, created, *places, FEED_ID, decimals, publishers, quorum
            )
            expected = partial(_answer, create, _address)
            yield self._creator, data, expected, f"a signed feed with {label}"
        sources: list[tuple[str, Any]] = [
            ("", system.aggregator),
            (" and too many decimals", _Source(system.coarse_token.address, abi.word(19))),
            (" and a source that is no contract", _Source(ADDRESSES["attacker"], b"")),
            (" and a source without decimals", _Source(system.factory.address, None)),
        ]
        drawn = [*rng.sample(_aggregator_settings(), 2), _aggregator_settings()[0]]
        for label, heartbeat, fraction in drawn:
            more, source = rng.choice(sources)
            label += more
            settings = (heartbeat, fraction, None, GRACE_PERIOD)
            arguments = [places[0], source.address, heartbeat, fraction, ZERO_ADDRESS, GRACE_PERIOD]
            data = self._artifacts["AggregatorPriceFeed"].initcode + abi_encode(
                AGGREGATOR_FEED_TYPES, arguments
            )
            create_aggregator = partial(
                AggregatorPriceFeed, chain, created, places[0], source, *settings
            )
            expected = partial(_answer, create_aggregator, _address)
            yield self._creator, data, expected, f"an aggregator feed with {label}"


def _drawn(part: Callable[[random.Random], Iterator[View]], state: str) -> Iterator[View]:
    return part(random.Random(state))


class _Source:
    """Something in the place of an aggregator, with what it answers when asked for decimals."""

    def __init__(self, address: str, answer: bytes | None) -> None:
        self.address = address
        self._answer = answer

    def decimals(self) -> bytes:
        if self._answer is None:
            raise Revert
        return self._answer


def _signed_settings() -> list[tuple[str, int, list[str], int]]:
    """What is said of the settings; decimals, publishers, quorum."""
    listed = [ADDRESSES[role] for role in by_address(*PUBLISHERS)]
    count = len(listed)
    more = [f"0x{i:040x}" for i in range(1, 9)]
    return [
        ("one publisher", FEED_DECIMALS, listed[:1], 1),
        ("everybody needed", 0, listed, count),
        ("19 decimals", 19, listed, 3),
        ("17 decimals", 17, listed, 3),
        ("no quorum", FEED_DECIMALS, listed, 0),
        ("a quorum beyond the publishers", FEED_DECIMALS, listed, count + 1),
        ("nobody", FEED_DECIMALS, [], 0),
        ("one twice", FEED_DECIMALS, [listed[0], listed[0]], 1),
        ("a wrong order", FEED_DECIMALS, listed[::-1], 2),
        ("the zero address", FEED_DECIMALS, [ZERO_ADDRESS, *listed], 2),
        ("as many as there may be", FEED_DECIMALS, more, 8),
    ]


def _aggregator_settings() -> list[tuple[str, int, int]]:
    """What is said of the settings; heartbeat and confidence."""
    return [
        ("sound settings", HEARTBEAT, CONFIDENCE_FRACTION),
        ("no heartbeat", 0, CONFIDENCE_FRACTION),
        ("the least heartbeat", 1, 1),
        ("no confidence", HEARTBEAT, 0),
        ("all the confidence", HEARTBEAT, WAD),
        ("too much confidence", HEARTBEAT, WAD + 1),
    ]


def _read(contract: Any, name: str) -> Any:
    """An attribute of the model, or what a function without arguments gives."""
    constants = vars(sys.modules[type(contract).__module__])
    value = getattr(contract, name) if hasattr(contract, name) else constants[name]
    value = value() if callable(value) and not isinstance(value, Contract) else value
    return ZERO_ADDRESS if value is None else value


def _entry(contract: Any, name: str, key: Any) -> Any:
    value = getattr(contract, name)[key]
    return ZERO_ADDRESS if value is None else value


def _address(contract: Contract) -> bytes:
    return abi.word(contract.address)


def _answer(ask: Callable[[], Any], encode: Callable[[Any], bytes]) -> bytes:
    try:
        return encode(ask())
    except Revert as revert:
        return Refusal(abi.error_string(revert.reason) if revert.reason else b"")


def _as_bytes(functions: _Functions, name: str, value: Any) -> bytes:
    """A result of one function as the only result, bytes, of another."""
    return abi.word(32) + _bytes(functions.result(name, value))


def _bytes(data: bytes) -> bytes:
    return abi.word(len(data)) + data + bytes(-len(data) % 32)


def _signature(artifact: Artifact, name: str) -> str:
    return signature(next(item for item in artifact.abi if item.get("name") == name))


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple):
            yield from _flat(value)
        else:
            yield value


def _plain(value: Any) -> Any:
    """Records as tuples, contracts as their addresses."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    if hasattr(value, "__slots__") and not isinstance(value, int | str | bytes):
        return tuple(_plain(getattr(value, name)) for name in value.__slots__)
    return getattr(value, "address", value)

"""Storage words of the contracts, written from the model's records: the state that is compared."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from lockstep.abi import mapping_slot, unsigned
from lockstep.compiler import Artifact
from perp_fuzz.deployment import Artifacts
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import ZERO_ADDRESS, Chain
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.modules.constants import FRACTION_UNIT
from python_model.perp_market import PerpMarket, Position
from python_model.risk_engine import HOUR, RiskEngine
from python_model.signed_price_feed import SignedPriceFeed

Word = tuple[str, int, int]
FUNDING_OFFSET = 2**127
RESULT_OFFSET = 2**103
UNUSED_SLOT = 2**200  # of a feed that stores nothing
PARAM_WORDS = ("_terms", "_ramp", "_rules", "_caps", "_dynamics", "_limits")
FULL_EVERY = 8  # changes between two looks at every scalar word


class Deployed(Protocol):
    """The models of one market and of what belongs to it."""

    @property
    def chain(self) -> Chain: ...
    @property
    def token(self) -> Any: ...
    @property
    def factory(self) -> MarketFactory: ...
    @property
    def configurator(self) -> Configurator: ...
    @property
    def market(self) -> PerpMarket: ...
    @property
    def pool(self) -> LiquidityPool: ...
    @property
    def engine(self) -> RiskEngine: ...
    @property
    def feed(self) -> SignedPriceFeed | AggregatorPriceFeed: ...


class Words:
    """Knows where each record of one deployment lives. A token without a name is somebody else's:
    its words are nobody's business."""

    def __init__(self, system: Deployed, artifacts: Artifacts, token_name: str | None) -> None:
        self.system = system
        market, pool, token = system.market, system.pool, system.token
        self._market_slots = slots_of(artifacts["PerpMarket"])
        self._pool_slots = slots_of(artifacts["LiquidityPool"])
        self._is_signed = isinstance(system.feed, SignedPriceFeed)
        self._engine_slots = slots_of(artifacts["RiskEngine"])
        self._feed_slots = slots_of(artifacts[type(system.feed).__name__])
        self._configurator_slots = slots_of(artifacts["Configurator"])
        self._factory_slots = slots_of(artifacts["MarketFactory"])
        self._token_slots = slots_of(artifacts[token_name]) if token_name else None
        self._positions_slot = self._market_slots["_positions"]
        self._turns = 0
        self._written: list[list[Any]] = []
        self._params = system.engine._params
        self._param_words = param_words(system.engine)
        self._names: dict[tuple[str, int], str] = {}
        slot = self._market_slots
        shares = self._pool_slots
        self._writers: dict[int, Callable[[Any], list[Word]]] = {
            id(market._positions): self._position,
            id(market._ring_heads): self._map(
                market.address, slot["_ring_heads"], market._ring_heads
            ),
            id(market._tops): self._map(market.address, slot["trigger_index._tops"], market._tops),
            id(market._middles): self._map(
                market.address, slot["trigger_index._middles"], market._middles
            ),
            id(market._leaves): self._map(
                market.address, slot["trigger_index._leaves"], market._leaves
            ),
            id(market.credit_of): self._map(market.address, slot["credit_of"], market.credit_of),
            id(pool.claim_of): self._map(pool.address, shares["claim_of"], pool.claim_of),
            id(pool.balanceOf): self._map(
                pool.address, shares["erc4626.erc20.balanceOf"], pool.balanceOf
            ),
            id(pool.allowance): self._map2(
                pool.address, shares["erc4626.erc20.allowance"], pool.allowance
            ),
        }
        self._mappings: list[tuple[str, Any]] = [
            ("position", market._positions),
            ("ring head", market._ring_heads),
            ("top", market._tops),
            ("middle", market._middles),
            ("leaf", market._leaves),
            ("credit of", market.credit_of),
            ("claim of", pool.claim_of),
            ("shares of", pool.balanceOf),
            ("share allowance", pool.allowance),
        ]
        coins = self._token_slots
        if coins is not None:
            holdings, allowances = token.balanceOf, token.allowance
            self._writers[id(holdings)] = self._map(
                token.address, coins["token_ledger.balanceOf"], holdings
            )
            self._writers[id(allowances)] = self._map2(
                token.address, coins["token_ledger.allowance"], allowances
            )
            self._mappings += [("tokens of", holdings), ("token allowance", allowances)]
        self._last: list[int] = [value for _, _, value in self.scalars()]
        self._scalar_slots = [(address, slot) for address, slot, _ in self.scalars()]

    def scalar_values(self) -> list[int]:
        """Values of the words that are no mapping entries and change in most transactions."""
        system = self.system
        market, pool, engine = system.market, system.pool, system.engine
        marks = market._marks
        if engine._params is not self._params:
            self._params, self._param_words = engine._params, param_words(engine)
        windows = engine._price_windows
        return [
            market._worst_buckets,
            marks.price | marks.price_time << 88 | marks.accrued_at << 136 | marks.epoch << 184,
            marks.funding[0] + FUNDING_OFFSET | marks.funding[1] + FUNDING_OFFSET << 128,
            market._total_sizes[0]
            | market._total_sizes[1] << 104
            | market._backlog << 208
            | market._halted << 209,
            unsigned(market._entry_value),
            market._position_count | market._open_positions << 64 | market._total_margin << 128,
            market._insurance | market._fees << 128,
            market._credits,
            market.bad_debt,
            pool._account[0] | pool._account[1] + FUNDING_OFFSET << 128,
            pool.claims,
            pool.totalSupply,
            engine._variance
            | engine._reduce_only_until << 128
            | engine._confidence << 176
            | engine._is_halted << 236,
            engine._pending_price
            | engine._pending_time << 88
            | engine._seen_at << 136
            | engine._halted_since << 184,
            windows[0].previous_price
            | windows[1].previous_price << 88
            | windows[0].start << 176
            | windows[1].start << 216,
            windows[0].current_price | windows[1].current_price << 88,
            engine._previous_result + RESULT_OFFSET
            | engine._current_result + RESULT_OFFSET << 104
            | engine._result_start << 208,
            engine._liquidated_size | engine._liquidation_start << 104,
            engine._drawn | engine._bad_debt << 96 | engine._deficit_start << 192,
            engine._cursor_equity + FUNDING_OFFSET | engine._cursor_epoch << 128,
            *self._param_words,
            *self._rare_values(),
        ]

    def _rare_values(self) -> list[int]:
        """Words that only roles and the feed change."""
        system = self.system
        configurator, factory = system.configurator, system.factory
        feed_word = 0
        if isinstance(system.feed, SignedPriceFeed):
            feed = system.feed
            feed_word = (
                feed._price
                | feed._confidence << 88
                | feed._price_time << 176
                | feed._records << 224
            )
        return [
            feed_word,
            int(configurator.owner, 16),
            int(configurator.pending_owner, 16),
            int(configurator.guardian, 16),
            int(factory.owner, 16),
            int(factory.pending_owner, 16),
            int(factory.treasury, 16),
            factory.market_count,
        ]

    def scalars(self) -> Iterator[Word]:
        """The same with their places."""
        system = self.system
        market, pool, engine = self._market_slots, self._pool_slots, self._engine_slots
        configurator, factory = self._configurator_slots, self._factory_slots
        places = [
            (system.market.address, market["trigger_index._worst_buckets"]),
            *(
                (system.market.address, market[name])
                for name in (
                    "_marks",
                    "_funding",
                    "_sizes",
                    "_entry_value",
                    "_book",
                    "_ledgers",
                    "_credits",
                    "bad_debt",
                )
            ),
            *(
                (system.pool.address, pool[name])
                for name in ("_account", "claims", "erc4626.erc20.totalSupply")
            ),
            (system.engine.address, engine["_state"]),
            (system.engine.address, engine["_pending"]),
            (system.engine.address, engine["_price_windows"]),
            (system.engine.address, engine["_current_prices"]),
            *(
                (system.engine.address, engine[name])
                for name in (
                    "_results",
                    "_liquidations",
                    "_deficits",
                    "_deleverage_cursor",
                    *PARAM_WORDS,
                )
            ),
            (system.feed.address, self._feed_slots["_latest"])
            if self._is_signed
            else (system.feed.address, UNUSED_SLOT),
            (system.configurator.address, configurator["ownable.owner"]),
            (system.configurator.address, configurator["ownable_2step.pending_owner"]),
            (system.configurator.address, configurator["guardian"]),
            (system.factory.address, factory["ownable.owner"]),
            (system.factory.address, factory["ownable_2step.pending_owner"]),
            (system.factory.address, factory["treasury"]),
            (system.factory.address, factory["market_count"]),
        ]
        for (address, slot), value in zip(places, self.scalar_values(), strict=True):
            yield address, slot, value

    def note(self) -> None:
        """Remember what the last transaction of the model wrote."""
        self._written.append(self.system.chain.writes)

    def touched(self) -> list[Word]:
        """Words written since this was last asked; scalars whenever one differs."""
        words: list[Word] = []
        entries = {(id(storage), key): 0 for writes in self._written for storage, key, _ in writes}
        self._written.clear()
        writers = self._writers
        for storage, key in entries:
            writer = writers.get(storage)
            if writer is not None:
                words += writer(key)
        last, values = self._last, self.scalar_values()
        if words or values != last:
            self._last = values
            # Those that changed; all of them now and then, against a write that nobody expects.
            self._turns += 1
            slots, is_full = self._scalar_slots, not self._turns % FULL_EVERY
            words += [
                (*slots[i], value) for i, value in enumerate(values) if is_full or value != last[i]
            ]
        return words

    def everything(self) -> Iterator[Word]:
        """Every word that was ever written."""
        yield from self.scalars()
        for _, storage in self._mappings:
            writer = self._writers[id(storage)]
            for key in storage:
                yield from writer(key)
        token, coins = self.system.token, self._token_slots
        if coins is not None:
            yield token.address, coins["token_ledger.totalSupply"], token.totalSupply
            yield token.address, coins["token_ledger.fee_bps"], token.fee_bps
        factory, slots = self.system.factory, self._factory_slots
        for number, market in factory.markets.items():
            address = market.address if market else ZERO_ADDRESS
            yield factory.address, mapping_slot(slots["markets"], number), int(address, 16)
        for address, is_market in factory.is_market.items():
            yield factory.address, mapping_slot(slots["is_market"], address), int(is_market)

    def name(self, address: str, slot: int) -> str:
        """A word in words."""
        if not self._names:
            for owner, slots in (
                (self.system.market, self._market_slots),
                (self.system.pool, self._pool_slots),
                (self.system.engine, self._engine_slots),
                (self.system.configurator, self._configurator_slots),
                (self.system.feed, self._feed_slots),
                (self.system.factory, self._factory_slots),
                (self.system.token, self._token_slots or {}),
            ):
                for label, place in slots.items():
                    self._names[owner.address, place] = f"{type(owner).__name__}.{label}"
        for label, storage in self._mappings:
            writer = self._writers[id(storage)]
            for key in storage:
                for number, (owner_address, place, _) in enumerate(writer(key)):
                    self._names[owner_address, place] = f"{label} {key} (word {number})"
        return self._names.get((address, slot), f"slot {slot:#x} of {address}")

    def _position(self, position_id: int) -> list[Word]:
        address = self.system.market.address
        slot = mapping_slot(self._positions_slot, position_id)
        identity, sizes, entry = position_words(self.system.market._positions[position_id])
        return [(address, slot, identity), (address, slot + 1, sizes), (address, slot + 2, entry)]

    def _map(self, address: str, slot: int, values: Any) -> Callable[[Any], list[Word]]:
        def write(key: int | str) -> list[Word]:
            return [(address, mapping_slot(slot, key), values[key])]

        return write

    def _map2(self, address: str, slot: int, values: Any) -> Callable[[Any], list[Word]]:
        def write(keys: tuple[str, str]) -> list[Word]:
            return [(address, mapping_slot(mapping_slot(slot, keys[0]), keys[1]), values[keys])]

        return write


def param_words(engine: RiskEngine) -> list[int]:
    """The words of the engine's parameters, in the order of PARAM_WORDS."""
    params = engine._params

    def units(fraction: int) -> int:
        return fraction // FRACTION_UNIT

    def packed(fractions: Sequence[int]) -> int:
        return sum(units(fraction) << 24 * tier for tier, fraction in enumerate(fractions))

    ramp_hour = 0
    if engine._ramp_duration:
        ramp_hour = -(-(engine._ramp_start + engine._ramp_duration) // HOUR)
    return [
        packed(params.maintenance_fractions)
        | packed(params.initial_fractions) << 96
        | units(params.maker_fee) << 192
        | units(params.taker_fee) << 209
        | ramp_hour << 226,
        packed(engine._old_maintenance) | engine._ramp_start << 96 | engine._ramp_duration << 144,
        units(params.max_moves[0])
        | params.move_windows[0] << 24
        | units(params.max_moves[1]) << 44
        | params.move_windows[1] << 68
        | units(params.max_jump) << 88
        | units(params.max_pool_loss) << 112
        | units(params.max_profit_share) << 136
        | units(params.max_confidence) << 160
        | params.volatility_window << 184
        | params.cool_down << 204,
        params.max_open_interest | params.max_skew << 104,
        units(params.calm_volatility)
        | units(params.crowding_lower) << 24
        | units(params.crowding_upper) << 48
        | units(params.max_volatility_multiplier) << 72,
        params.max_liquidated_size
        | params.max_bad_debt << 104
        | units(params.max_insurance_draw) << 200,
    ]


def position_words(position: Position | None) -> tuple[int, int, int]:
    """The three words of a position; zeros once it is closed."""
    if position is None:
        return 0, 0, 0
    identity = (
        int(position.owner, 16)
        | position.side << 160
        | position.tier << 161
        | position.previous_id << 176
        | position.next_id << 216
    )
    sizes = position.size | position.margin << 104 | position.epoch << 200
    return identity, sizes, position.entry_price | position.entry_funding + FUNDING_OFFSET << 128


def slots_of(artifact: Artifact) -> dict[str, int]:
    """Slot by dotted name."""
    found: dict[str, int] = {}

    def fill(layout: dict[str, Any], prefix: str) -> None:
        for name, entry in layout.items():
            if "slot" in entry:
                found[prefix + name] = int(entry["slot"])
            else:
                fill(entry, f"{prefix}{name}.")

    fill(artifact.layout, "")
    return found

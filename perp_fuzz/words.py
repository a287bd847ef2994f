"""Storage words of the contracts, written from the model's records: the state that is compared."""

from collections.abc import Callable, Iterator
from typing import Any

from lockstep.abi import mapping_slot, unsigned
from lockstep.compiler import Artifact
from perp_fuzz.deployment import System
from python_model.evm import ZERO_ADDRESS
from python_model.perp_market import Position

Word = tuple[str, int, int]
FUNDING_OFFSET = 2**127
FULL_EVERY = 8  # changes between two looks at every scalar word


class Words:
    """Knows where each record of one deployment lives."""

    def __init__(self, system: System, artifacts: dict[str, Artifact], token_name: str) -> None:
        self.system = system
        market, pool, token = system.market, system.pool, system.token
        self._market_slots = _Slots(artifacts["PerpMarket"])
        self._pool_slots = _Slots(artifacts["LiquidityPool"])
        self._feed_slots = _Slots(artifacts["PriceFeed"])
        self._factory_slots = _Slots(artifacts["MarketFactory"])
        self._token_slots = _Slots(artifacts[token_name])
        self._positions_slot = self._market_slots["_positions"]
        self._turns = 0
        self._names: dict[tuple[str, int], str] = {}
        slot = self._market_slots
        shares = self._pool_slots
        coins = self._token_slots
        self._writers: dict[int, Callable[[Any], list[Word]]] = {
            id(market._positions): self._position,
            id(market._entry_costs): self._array(
                market.address, slot["_entry_costs"], market._entry_costs
            ),
            id(market._entry_fundings): self._array(
                market.address, slot["_entry_fundings"], market._entry_fundings
            ),
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
            id(market.claim_of): self._map(market.address, slot["claim_of"], market.claim_of),
            id(pool.balanceOf): self._map(
                pool.address, shares["erc4626.erc20.balanceOf"], pool.balanceOf
            ),
            id(pool.allowance): self._map2(
                pool.address, shares["erc4626.erc20.allowance"], pool.allowance
            ),
            id(token.balanceOf): self._map(
                token.address, coins["token_ledger.balanceOf"], token.balanceOf
            ),
            id(token.allowance): self._map2(
                token.address, coins["token_ledger.allowance"], token.allowance
            ),
        }
        self._mappings: list[tuple[str, Any]] = [
            ("position", market._positions),
            ("entry cost", market._entry_costs),
            ("entry funding", market._entry_fundings),
            ("ring head", market._ring_heads),
            ("top", market._tops),
            ("middle", market._middles),
            ("leaf", market._leaves),
            ("credit of", market.credit_of),
            ("claim of", market.claim_of),
            ("shares of", pool.balanceOf),
            ("share allowance", pool.allowance),
            ("tokens of", token.balanceOf),
            ("token allowance", token.allowance),
        ]
        self._last: list[int] = [value for _, _, value in self.scalars()]
        self._scalar_slots = [(address, slot) for address, slot, _ in self.scalars()]

    def scalar_values(self) -> list[int]:
        """Values of the words that are no mapping entries and change in most transactions."""
        market, pool, feed, factory = (
            self.system.market,
            self.system.pool,
            self.system.feed,
            self.system.factory,
        )
        marks = market._marks
        return [
            market._worst_buckets,
            marks.price | marks.price_time << 88 | marks.accrued_at << 136 | marks.epoch << 184,
            marks.funding[0] + FUNDING_OFFSET | marks.funding[1] + FUNDING_OFFSET << 128,
            market._total_sizes[0] | market._total_sizes[1] << 104 | market._backlog << 208,
            market._position_count | market._open_positions << 64 | market._total_margin << 128,
            market._insurance | market._fees << 128,
            market._credits | market._claims << 128,
            market.bad_debt,
            pool.cash,
            pool.totalSupply,
            feed._price | feed._price_time << 88,
            int(feed.publisher, 16),
            int(feed.owner, 16),
            int(feed.pending_owner, 16),
            int(factory.owner, 16),
            int(factory.pending_owner, 16),
            int(factory.treasury, 16),
            factory.market_count,
        ]

    def scalars(self) -> Iterator[Word]:
        """The same with their places."""
        system = self.system
        market, pool = self._market_slots, self._pool_slots
        feed, factory = self._feed_slots, self._factory_slots
        places = [
            (system.market.address, market["trigger_index._worst_buckets"]),
            (system.market.address, market["_marks"]),
            (system.market.address, market["_funding"]),
            (system.market.address, market["_sizes"]),
            (system.market.address, market["_book"]),
            (system.market.address, market["_ledgers"]),
            (system.market.address, market["_owed"]),
            (system.market.address, market["bad_debt"]),
            (system.pool.address, pool["cash"]),
            (system.pool.address, pool["erc4626.erc20.totalSupply"]),
            (system.feed.address, feed["_latest"]),
            (system.feed.address, feed["publisher"]),
            (system.feed.address, feed["ownable.owner"]),
            (system.feed.address, feed["ownable_2step.pending_owner"]),
            (system.factory.address, factory["ownable.owner"]),
            (system.factory.address, factory["ownable_2step.pending_owner"]),
            (system.factory.address, factory["treasury"]),
            (system.factory.address, factory["market_count"]),
        ]
        for (address, slot), value in zip(places, self.scalar_values(), strict=True):
            yield address, slot, value

    def touched(self) -> list[Word]:
        """Words that the last transaction of the model wrote; scalars whenever one differs."""
        words: list[Word] = []
        seen: set[tuple[int, Any]] = set()
        writers = self._writers
        for storage, key, _ in self.system.chain.writes:
            entry = (id(storage), key)
            if entry not in seen:
                seen.add(entry)
                writer = writers.get(entry[0])
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
        yield token.address, coins["token_ledger.totalSupply"], token.totalSupply
        yield token.address, coins["token_ledger.fee_bps"], token.fee_bps
        factory, slots = self.system.factory, self._factory_slots
        for number, market in factory.markets.items():
            address = market.address if market else ZERO_ADDRESS
            yield factory.address, mapping_slot(slots["markets"], number), int(address, 16)
            yield factory.address, mapping_slot(slots["is_market"], address), 1
        market_word = int(self.system.market.address, 16)
        yield self.system.pool.address, self._pool_slots["market"], market_word
        yield self.system.feed.address, self._feed_slots["market"], market_word

    def name(self, address: str, slot: int) -> str:
        """A word in words."""
        if not self._names:
            for owner, slots in (
                (self.system.market, self._market_slots),
                (self.system.pool, self._pool_slots),
                (self.system.feed, self._feed_slots),
                (self.system.factory, self._factory_slots),
                (self.system.token, self._token_slots),
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

    def _array(self, address: str, slot: int, values: Any) -> Callable[[Any], list[Word]]:
        def write(index: int) -> list[Word]:
            return [(address, slot + index, unsigned(values[index]))]

        return write

    def _map(self, address: str, slot: int, values: Any) -> Callable[[Any], list[Word]]:
        def write(key: int | str) -> list[Word]:
            return [(address, mapping_slot(slot, key), values[key])]

        return write

    def _map2(self, address: str, slot: int, values: Any) -> Callable[[Any], list[Word]]:
        def write(keys: tuple[str, str]) -> list[Word]:
            return [(address, mapping_slot(mapping_slot(slot, keys[0]), keys[1]), values[keys])]

        return write


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


class _Slots(dict[str, int]):
    """Slot by dotted name."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self._fill(artifact.layout, "")

    def _fill(self, layout: dict[str, Any], prefix: str) -> None:
        for name, entry in layout.items():
            if "slot" in entry:
                self[prefix + name] = int(entry["slot"])
            else:
                self._fill(entry, f"{prefix}{name}.")

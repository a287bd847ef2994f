"""The chain's words put into the model: the reverse of writing the model's words.

Used where the two differ, so that the chain's own state can be judged and what comes later is
compared on its own.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lockstep.abi import mapping_slot, signed
from operations.monitor.records import Block, entries
from operations.monitor.system import System
from perp_fuzz.deployment import Artifacts
from perp_fuzz.words import FUNDING_OFFSET, RESULT_OFFSET, slots_of
from python_model.configurator import NO_PARAMS, ParamsProposal, PublishersProposal
from python_model.evm import Storage
from python_model.modules.constants import FRACTION_UNIT, TIERS
from python_model.perp_market import Marks, Position
from python_model.risk_engine import PriceWindow, RiskParams
from python_model.signed_price_feed import MAX_PUBLISHERS, SignedPriceFeed

Read = Callable[[str, int], int]  # address, slot


class Bits:
    """A word taken apart from its lowest bit on."""

    def __init__(self, word: int) -> None:
        self._word = word

    def take(self, bits: int) -> int:
        value = self._word & ((1 << bits) - 1)
        self._word >>= bits
        return value

    def fraction(self, bits: int) -> int:
        """Stored in units of FRACTION_UNIT."""
        return self.take(bits) * FRACTION_UNIT

    def fractions(self) -> tuple[int, int, int, int]:
        """Of all tiers."""
        values = [self.fraction(24) for _ in range(TIERS)]
        return values[0], values[1], values[2], values[3]

    def address(self) -> str:
        return _address(self.take(160))


def adopt(system: System, artifacts: Artifacts, read: Read, people: Iterable[str]) -> None:
    """Makes the model hold what the chain holds, as a transaction of the model. `people` are those
    who may have come to own something."""
    _adopt_market(system, slots_of(artifacts["PerpMarket"]), read)
    _adopt_owned(system, artifacts, read, frozenset(people))
    _adopt_engine(system, slots_of(artifacts["RiskEngine"]), read)
    _adopt_roles(system, artifacts, read)
    market = system.market
    marks = market._marks.copy()
    marks.terms = system.engine.terms(0, market._book_state(marks))
    market._marks = marks


def _adopt_market(system: System, slots: dict[str, int], read: Read) -> None:
    market = system.market

    def word(name: str) -> Bits:
        return Bits(read(market.address, slots[name]))

    marks, funding = word("_marks"), word("_funding")
    market._marks = Marks(
        price=marks.take(88),
        price_time=marks.take(48),
        accrued_at=marks.take(48),
        epoch=marks.take(72),
        funding=[funding.take(128) - FUNDING_OFFSET for _ in range(2)],
    )
    sizes = word("_sizes")
    for side in range(2):
        _set(market._total_sizes, side, sizes.take(104))
    market._backlog, market._halted = bool(sizes.take(1)), bool(sizes.take(1))
    market._entry_value = signed(read(market.address, slots["_entry_value"]))
    book = word("_book")
    market._position_count, market._open_positions = book.take(64), book.take(64)
    market._total_margin = book.take(128)
    ledgers = word("_ledgers")
    market._insurance, market._fees = ledgers.take(128), ledgers.take(128)
    market._credits = read(market.address, slots["_credits"])
    market.bad_debt = read(market.address, slots["bad_debt"])
    market._worst_buckets = read(market.address, slots["trigger_index._worst_buckets"])
    rings = set(market._ring_heads)
    for position_id in range(1, market._position_count + 1):
        position = _position(read, market.address, slots["_positions"], position_id)
        if position != market._positions[position_id]:
            market._positions[position_id] = position
        if position is not None and position.size:
            rings.add(market._ring_of(position))
    for storage, name, keys in (
        (market._ring_heads, "_ring_heads", rings),
        (market._leaves, "trigger_index._leaves", {ring >> 8 for ring in rings}),
        (market._middles, "trigger_index._middles", {ring >> 16 for ring in rings}),
        (market._tops, "trigger_index._tops", {ring >> 24 for ring in rings}),
    ):
        for key in keys:
            _set(storage, key, read(market.address, mapping_slot(slots[name], key)))


def _position(read: Read, address: str, slot: int, position_id: int) -> Position | None:
    first = mapping_slot(slot, position_id)
    words = [read(address, first + i) for i in range(3)]
    if not any(words):
        return None
    identity, sizes, entry = map(Bits, words)
    owner, side, tier = identity.address(), identity.take(1), identity.take(15)
    size, margin, epoch = sizes.take(104), sizes.take(96), sizes.take(56)
    price, funding = entry.take(128), entry.take(128) - FUNDING_OFFSET
    links = identity.take(40), identity.take(40)
    return Position(owner, side, tier, size, margin, price, funding, epoch, *links)


def _adopt_owned(system: System, artifacts: Artifacts, read: Read, people: frozenset[str]) -> None:
    market, pool = system.market, system.pool
    slots, shares = slots_of(artifacts["PerpMarket"]), slots_of(artifacts["LiquidityPool"])
    account = Bits(read(pool.address, shares["_account"]))
    pool._account = account.take(128), account.take(128) - FUNDING_OFFSET
    pool.claims = read(pool.address, shares["claims"])
    pool.totalSupply = read(pool.address, shares["erc4626.erc20.totalSupply"])
    for owned, owner, slot in (
        (market.credit_of, market.address, slots["credit_of"]),
        (pool.claim_of, pool.address, shares["claim_of"]),
        (pool.balanceOf, pool.address, shares["erc4626.erc20.balanceOf"]),
    ):
        for person in people | owned.keys():
            _set(owned, person, read(owner, mapping_slot(slot, person)))
    slot = shares["erc4626.erc20.allowance"]
    pairs = {(owner, spender) for owner in people for spender in people}
    for giver, spender in pairs | pool.allowance.keys():
        value = read(pool.address, mapping_slot(mapping_slot(slot, giver), spender))
        _set(pool.allowance, (giver, spender), value)


def _adopt_engine(system: System, slots: dict[str, int], read: Read) -> None:
    engine = system.engine

    def word(name: str) -> Bits:
        return Bits(read(engine.address, slots[name]))

    state, pending = word("_state"), word("_pending")
    engine._variance, engine._reduce_only_until = state.take(128), state.take(48)
    engine._confidence, engine._is_halted = state.take(60), bool(state.take(1))
    engine._pending_price, engine._pending_time = pending.take(88), pending.take(48)
    engine._seen_at, engine._halted_since = pending.take(48), pending.take(48)
    windows, current = word("_price_windows"), word("_current_prices")
    previous = [windows.take(88) for _ in range(2)]
    starts = [windows.take(40) for _ in range(2)]
    engine._price_windows = (
        PriceWindow(previous[0], current.take(88), starts[0]),
        PriceWindow(previous[1], current.take(88), starts[1]),
    )
    results = word("_results")
    engine._previous_result = results.take(104) - RESULT_OFFSET
    engine._current_result = results.take(104) - RESULT_OFFSET
    engine._result_start = results.take(48)
    liquidations, deficits = word("_liquidations"), word("_deficits")
    engine._liquidated_size = liquidations.take(104)
    engine._liquidation_start = liquidations.take(152)
    engine._drawn, engine._bad_debt = deficits.take(96), deficits.take(96)
    engine._deficit_start = deficits.take(64)
    cursor = word("_deleverage_cursor")
    engine._cursor_equity = cursor.take(128) - FUNDING_OFFSET
    engine._cursor_epoch = cursor.take(128)
    ramp = word("_ramp")
    engine._old_maintenance = ramp.fractions()
    engine._ramp_start, engine._ramp_duration = ramp.take(48), ramp.take(112)
    params = _params(word)
    if params != engine._params:
        engine._params = params


def _params(word: Callable[[str], Bits]) -> RiskParams:
    terms, rules, caps = word("_terms"), word("_rules"), word("_caps")
    dynamics, limits = word("_dynamics"), word("_limits")
    maintenance, initial = terms.fractions(), terms.fractions()
    first_move, first_window = rules.fraction(24), rules.take(20)
    second_move, second_window = rules.fraction(24), rules.take(20)
    return RiskParams(
        maintenance_fractions=maintenance,
        initial_fractions=initial,
        maker_fee=terms.fraction(17),
        taker_fee=terms.fraction(17),
        max_moves=(first_move, second_move),
        move_windows=(first_window, second_window),
        max_jump=rules.fraction(24),
        max_pool_loss=rules.fraction(24),
        max_profit_share=rules.fraction(24),
        max_confidence=rules.fraction(24),
        volatility_window=rules.take(20),
        cool_down=rules.take(52),
        max_open_interest=caps.take(104),
        max_skew=caps.take(104),
        calm_volatility=dynamics.fraction(24),
        crowding_lower=dynamics.fraction(24),
        crowding_upper=dynamics.fraction(24),
        max_volatility_multiplier=dynamics.fraction(184),
        max_liquidated_size=limits.take(104),
        max_bad_debt=limits.take(96),
        max_insurance_draw=limits.fraction(56),
    )


def _adopt_roles(system: System, artifacts: Artifacts, read: Read) -> None:
    configurator, factory, feed = system.configurator, system.factory, system.feed
    slots = slots_of(artifacts["Configurator"])
    for contract, places in (
        (configurator, slots),
        (factory, slots_of(artifacts["MarketFactory"])),
    ):
        contract.owner = _address(read(contract.address, places["ownable.owner"]))
        pending = read(contract.address, places["ownable_2step.pending_owner"])
        contract.pending_owner = _address(pending)
    configurator.guardian = _address(read(configurator.address, slots["guardian"]))
    places = slots_of(artifacts["MarketFactory"])
    factory.treasury = _address(read(factory.address, places["treasury"]))
    factory.market_count = read(factory.address, places["market_count"])
    market = system.market.address
    until = mapping_slot(slots["restricted_until"], market)
    _set(configurator.restricted_until, market, read(configurator.address, until))
    _adopt_proposals(system, slots, read)
    if isinstance(feed, SignedPriceFeed):
        latest = Bits(read(feed.address, slots_of(artifacts["SignedPriceFeed"])["_latest"]))
        feed._price, feed._confidence = latest.take(88), latest.take(88)
        feed._price_time, feed._records = latest.take(48), latest.take(32)


def _adopt_proposals(system: System, slots: dict[str, int], read: Read) -> None:
    configurator = system.configurator
    first = mapping_slot(slots["_params_proposals"], system.market.address)
    words = iter([read(configurator.address, first + i) for i in range(32)])
    eta = next(words)
    fields = [
        tuple(next(words) for _ in value) if isinstance(value, tuple) else next(words)
        for value in NO_PARAMS
    ]
    proposal = ParamsProposal(eta, RiskParams(*fields))  # type: ignore[arg-type]  # by their shape
    _set(configurator._params_proposals, system.market.address, proposal)
    first = mapping_slot(slots["_publishers_proposals"], system.feed.address)
    eta, quorum, count = (read(configurator.address, first + i) for i in range(3))
    listed = tuple(
        _address(read(configurator.address, first + 3 + i))
        for i in range(min(count, MAX_PUBLISHERS))
    )
    publishers = PublishersProposal(eta, quorum, listed)
    _set(configurator._publishers_proposals, system.feed.address, publishers)


def _set(storage: Storage[Any, Any], key: Any, value: Any) -> None:
    """Writes what differs."""
    if storage[key] != value:
        storage[key] = value


def _address(number: int) -> str:
    return f"0x{number % 2**160:040x}"


def people_in(block: Block) -> Iterator[str]:
    """Whoever is named in the calls and events of a block."""
    for transaction in block.transactions:
        for entry in entries(transaction.items):
            yield entry.sender
            yield from _addresses(entry.data[4:])
            for _, topics, data in entry.logs:
                for topic in topics[1:]:
                    yield from _addresses(topic)
                yield from _addresses(data)


def _addresses(data: bytes) -> Iterator[str]:
    """Words that look like an address."""
    for start in range(0, len(data) - 31, 32):
        word = data[start : start + 32]
        if not any(word[:12]) and any(word[12:20]):
            yield "0x" + word[12:].hex()

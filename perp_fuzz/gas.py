"""Gas of every action, each measured as one transaction on py-evm and checked against the model.

A market is filled on the model, its words are copied to the engine, and the measured transaction
then runs on both: figures of a transaction that did something else would not be reported.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from eth.abc import ComputationAPI
from eth.vm import opcode_values
from eth.vm.forks.cancun.computation import CancunComputation
from eth.vm.forks.cancun.state import CancunState
from eth_abi.abi import encode as abi_encode
from eth_typing import Address, Hash32

from lockstep import abi
from lockstep.adapter import Config
from lockstep.compare import look
from lockstep.engines.base import Outcome
from lockstep.engines.pyevm import PyEvmEngine
from perp_fuzz.adapter import PerpTwin, flat_fields
from perp_fuzz.deployment import (
    ADDRESSES,
    FEED_DECIMALS,
    FEED_ID,
    POOL_NAME,
    POOL_SYMBOL,
    QUORUM,
    SIGNED_FEED_TYPES,
    WAD,
    compile_contracts,
    create_market_calldata,
    params_of,
)
from python_model.evm import MAX_UINT256, Revert
from python_model.modules.constants import LONG, SHORT, TIERS
from python_model.perp_market import Position
from python_model.signed_price_feed import SignedPriceFeed

# What gas is paid for. Their sum is the gas of the transaction; the refund is negative.
PARTS = ("base", "accounts", "reads", "writes", "logs", "code", "compute", "refund")

COLD_ACCOUNT, COLD_SLOT, WARM = 2600, 2100, 100
CREATE, CODE_BYTE = 32_000, 200


class Usage(NamedTuple):
    """Gas of one transaction and what it was paid for."""

    gas: int
    parts: dict[str, int]


Row = tuple[str, Usage]


class GasEngine(PyEvmEngine):
    """py-evm that says what the gas of the last transaction was paid for."""

    def __init__(self) -> None:
        self.last = Usage(0, {})
        self._spent: Counter[str] = Counter()
        super().__init__()

    def _open(self, root: Hash32) -> CancunState:
        return _traced_state(self._spent)(self._db, self._context(), root)

    def _run(self, sender: str, to: bytes, data: bytes) -> tuple[ComputationAPI, int]:
        self._spent.clear()
        computation, gas = super()._run(sender, to, data)
        spent = dict(self._spent)
        spent["base"] = 21_000 + sum(16 if byte else 4 for byte in data)
        used = self._gas - computation.get_gas_remaining()
        spent["compute"] = used - sum(spent.values())
        spent["refund"] = gas - used
        self.last = Usage(gas, {part: spent.get(part, 0) for part in PARTS})
        return computation, gas

    def put(self, address: str, slot: int, value: int) -> None:
        """Set a word without a transaction."""
        self._state.set_storage(Address(bytes.fromhex(address[2:])), slot, value)


def _traced_state(spent: Counter[str]) -> type[CancunState]:
    """A state whose computations count what the opcodes they run are charged for."""

    def charged(opcode: Any, count: Callable[[int], None]) -> Callable[..., None]:
        def run(computation: Any) -> None:
            before = computation.get_gas_remaining()
            opcode(computation=computation)
            count(before - computation.get_gas_remaining())

        return run

    def load(gas: int) -> None:
        if gas == COLD_SLOT:
            spent["reads"] += gas

    def store(gas: int) -> None:
        cold = gas in (COLD_SLOT + WARM, COLD_SLOT + 2_900, COLD_SLOT + 20_000)
        spent["reads"] += COLD_SLOT * cold
        spent["writes"] += gas - COLD_SLOT * cold

    def log(gas: int) -> None:
        spent["logs"] += gas

    def account(opcode: Any, depth: int) -> Callable[..., None]:
        def run(computation: Any) -> None:
            operand = computation._stack.values[-depth]
            number = operand if isinstance(operand, int) else int.from_bytes(operand, "big")
            target = Address((number % 2**160).to_bytes(20, "big"))
            if not computation.state.is_address_warm(target):
                spent["accounts"] += COLD_ACCOUNT
            opcode(computation=computation)

        return run

    def create(opcode: Any) -> Callable[..., None]:
        def run(computation: Any) -> None:
            opcode(computation=computation)
            created = computation._stack.values[-1]
            code = computation.state.get_code(Address(created[-20:]))
            spent["code"] += CREATE + CODE_BYTE * len(code)

        return run

    known: dict[int, Any] = dict(CancunComputation.opcodes)
    known[opcode_values.SLOAD] = charged(known[opcode_values.SLOAD], load)
    known[opcode_values.SSTORE] = charged(known[opcode_values.SSTORE], store)
    for value in (opcode_values.LOG1, opcode_values.LOG2, opcode_values.LOG3, opcode_values.LOG4):
        known[value] = charged(known[value], log)
    for value in (opcode_values.EXTCODESIZE, opcode_values.EXTCODECOPY):
        known[value] = account(known[value], 1)
    for value in (opcode_values.CALL, opcode_values.STATICCALL):
        known[value] = account(known[value], 2)
    known[opcode_values.CREATE] = create(known[opcode_values.CREATE])

    class Computation(CancunComputation):
        opcodes = known

    class State(CancunState):
        computation_class = Computation

    return State


# A market in a high-priced underlying, large enough for 10,000 positions. The smallest size is half
# a unit, so that positions of the lower tiers are liquidated in full with something left.
PRICE = 13_000 * WAD
CONFIG: Config = {
    "decimals": 6,
    "token": "standard",
    "feed": "signed",
    "params": {
        "min_size": WAD // 2,
        "skew_scale": 10_000_000 * WAD,
        "tier_sizes": [WAD, 2 * WAD, 4 * WAD, 8 * WAD],
        "max_open_interest": 40_000 * WAD,
        "max_skew": 10_000 * WAD,
        "initial_fractions": [40 * 10**15, 60 * 10**15, 100 * 10**15, 200 * 10**15],
        "maintenance_fractions": [20 * 10**15, 30 * 10**15, 50 * 10**15, 100 * 10**15],
        # The crash of these scenarios is meant to be traded through.
        "max_volatility_multiplier": WAD,
        "max_jump": WAD,
        "max_moves": [WAD, WAD],
        "max_liquidated_size": 40_000 * WAD,
        "max_pool_loss": WAD,
    },
}
UNIT = 10**6  # of the token
SCALE = 10**30  # WAD size times WAD price over this is token units
ANY_PRICE = (MAX_UINT256, 0)  # acceptable to a long, to a short
TYPICAL = 1_000  # open positions


class World:
    """A filled market: the model and the engine are equal, apart from what was put in neither."""

    def __init__(self, positions: int) -> None:
        self.engine = GasEngine()
        self.twin = PerpTwin(self.engine, CONFIG, compile_contracts())
        self.system = self.twin.system
        self.market = self.system.market
        self.params, self.risk = params_of(CONFIG)
        self._owners = 0
        self.publish(PRICE)
        lp = ADDRESSES["lp_0"]
        self.system.pool.deposit(500_000_000 * UNIT, lp, sender=lp)
        self.fill(positions)

    # On the model alone

    def wait(self, seconds: int) -> None:
        self.system.chain.timestamp += seconds

    def publish(self, price: int, after: int = 12) -> int:
        self.wait(after)
        return int(self.twin.codec.call_model("publish", "publisher_0", self._report(price)))

    def _report(self, price: int) -> tuple[int, int, int, int]:
        """Signed by three, of this very second."""
        return price, price // 5_000, self.system.chain.timestamp, 0

    def new_owner(self) -> str:
        """An address that appears nowhere yet but in the token's ledger."""
        self._owners += 1
        owner = f"0x{0xFACADE << 136 | self._owners:040x}"
        self.system.token.mint(owner, 10**12 * UNIT, sender=owner)
        for spender in (self.market.address, self.system.pool.address):
            self.system.token.approve(spender, MAX_UINT256, sender=owner)
        return owner

    def open(self, side: int, size: int, margin: int, owner: str = "") -> int:
        sender = owner or self.new_owner()
        return self.market.open(side, size, margin, ANY_PRICE[side], sender=sender)

    def quote(self, side: int, size: int) -> tuple[int, int]:
        """Fill price and fee, LONG buying."""
        fill = self.system.engine._fill(side, size, self.market._book_state(self.market.marks()))
        return fill.price, fill.fee

    def size_in(self, tier: int, ppm: int) -> int:
        """A size of the tier, from its smallest (0) to its largest (1,000,000)."""
        least = self.params.tier_sizes[tier - 1] + 1 if tier else self.params.min_size
        return least + (self.params.tier_sizes[tier] - least) * ppm // 10**6

    def fill(self, count: int) -> None:
        """Opens positions over both sides, all tiers and many keys, while time and price move.
        Their margins let them survive everything that is measured."""
        for i in range(count):
            if i % 16 == 15:
                self.publish(PRICE + (i % 7 - 3) * PRICE // 997)
            size = self.size_in(i // 2 % TIERS, i * 7919 % 1_000_003 % 10**6)
            margin = size * PRICE * (450 + i * 104_729 % 350) // (SCALE * 1000)
            self.open(i % 2, size, margin)
        self.publish(PRICE)

    def long_with(self, tier: int, price: int, equity_bps: int, ppm: int = 50_000) -> int:
        """Opens a long whose equity at `price` will be this share of its notional."""
        size = self.size_in(tier, ppm)
        fill_price, fee = self.quote(LONG, size)
        margin = size * (fill_price - price + price * equity_bps // 10_000) // SCALE
        return self.open(LONG, size, margin + fee)

    def ring_of_new(self, side: int, size: int, margin: int) -> int:
        """The ring that opening this now would file the position in."""
        fill_price, fee = self.quote(side, size)
        funding = self.market.marks().funding[side]
        tier = self.system.engine._tier_of(size)
        position = Position("", side, tier, size, margin - fee, fill_price, funding, 0, 0, 0)
        return self.market._ring_of(position)

    def margin_for(self, side: int, size: int, fits: Callable[[int], bool]) -> int:
        """The least margin from 45 % of notional on, in steps of 1/20,000, whose ring fits."""
        notional = size * PRICE // SCALE
        for step in range(9_000, 20_000):
            margin = notional * step // 20_000
            if fits(self.ring_of_new(side, size, margin)):
                return margin
        raise RuntimeError("no margin leads to such a ring")

    # On the engine

    def copy_to_engine(self) -> None:
        """Makes the engine's storage the model's, and checks it by the contracts' own views."""
        for address, slot, value in self.twin.all_words():
            if self.engine.storage(address, slot) != value:
                self.engine.put(address, slot, value)
        self.engine.set_time(self.system.chain.timestamp)
        count = self.market._position_count
        opened = [i for i in range(1, count + 1) if self.market._positions[i] is not None]
        self.twin.live[:] = opened[:: len(opened) // 20 + 1]
        for view in self.twin.state_views():
            if look(self.engine, view) is not None:
                raise RuntimeError(f"the copied state differs from the model in {view[3]}")

    def measure(self, action: str, sender: str, *args: int | str, after: int = 12) -> Usage:
        """One transaction on both sides; an error if they differ in anything."""
        self.wait(after)
        codec = self.twin.codec
        origin = ADDRESSES.get(sender, sender)
        try:
            value = codec.call_model(action, origin, args)
        except Revert as revert:
            raise RuntimeError(f"{action}: {revert.reason}") from None
        outcome = self._call(origin, *codec.calldata(action, args))
        if outcome.output != self.twin.codec.output(action, value):
            raise RuntimeError(f"{action}: the model returns {value}")
        events = self.system.chain.events
        if [log[0] for log in outcome.logs] != [event.address for event in events]:
            raise RuntimeError(f"{action}: the model logs other events")
        for address, slot, word in self.twin.words.touched():
            if self.engine.storage(address, slot) != word:
                name = self.twin.word_name(address, slot)
                raise RuntimeError(f"{action}: the model has another {name}")
        return self.engine.last

    def measure_publish(self, price: int, liquidated: int = 0) -> Usage:
        """A price of this very second; it must liquidate so many."""
        at = self.system.chain.timestamp + 12
        before = self.market.marks()
        usage = self.measure("publish", "publisher_0", price, price // 5_000, at, 0)
        events = [event.name for event in self.system.chain.events]
        if events.count("PositionLiquidated") != liquidated:
            raise RuntimeError(f"{events.count('PositionLiquidated')} liquidated, not {liquidated}")
        after = self.market.marks()
        same = before.price == after.price or before.price_time == after.price_time
        if same or any(map(int.__eq__, before.funding, after.funding)):
            raise RuntimeError("a price or funding index stood still")
        return usage

    def measure_update(self, price: int) -> Usage:
        """The same price, already at the feed: what the market's part of a publish costs."""
        feed = self.system.feed
        assert isinstance(feed, SignedPriceFeed)
        self.wait(12)
        feed._price, feed._confidence = price, price // 5_000
        feed._price_time = self.system.chain.timestamp
        self.copy_to_engine()
        usage = self.measure("update_price", "keeper_0", "keeper_0", after=0)
        _expect(self.market._marks.price == price, "the price has arrived")
        return usage

    def measure_view(self, name: str) -> Usage:
        """A view of the market, read in a transaction of its own."""
        self.wait(12)
        data = abi.selector(f"{name}()")
        outcome = self._call(ADDRESSES["keeper_0"], self.market.address, data)
        if outcome.output != abi.words(*flat_fields(getattr(self.market, name)())):
            raise RuntimeError(f"{name}: the model says something else")
        return self.engine.last

    def create_market(self) -> Usage:
        """The second market of the factory."""
        self.wait(12)
        system, owner = self.system, ADDRESSES["owner_0"]
        assert isinstance(system.feed, SignedPriceFeed)
        publishers = system.feed.publishers()
        values: list[Any] = [
            system.factory.address,
            system.configurator.address,
            FEED_ID,
            FEED_DECIMALS,
            publishers,
            QUORUM,
        ]
        initcode = compile_contracts()["SignedPriceFeed"].initcode
        address = self.engine.deploy(initcode + abi_encode(SIGNED_FEED_TYPES, values), owner)
        feed = SignedPriceFeed(system.chain, address, *values)
        created = system.factory.create_market(
            system.token, feed, POOL_NAME, POOL_SYMBOL, self.params, self.risk, sender=owner
        )
        values = [system.token.address, address, POOL_NAME, POOL_SYMBOL, self.params, self.risk]
        data = create_market_calldata(values)
        outcome = self._call(owner, system.factory.address, data)
        if outcome.output != abi.word(created.address):
            raise RuntimeError("create_market: the model derives another address")
        return self.engine.last

    def _call(self, sender: str, to: str, data: bytes) -> Outcome:
        self.engine.set_time(self.system.chain.timestamp)
        outcome = self.engine.call(sender, to, data)
        if not outcome.ok:
            reason = outcome.halted or abi.revert_reason(outcome.output)
            raise RuntimeError(f"the contract reverts: {reason}")
        return outcome


# Scenarios. Each begins with a fresh market.

CRASH = 9_900 * WAD  # liquidates what `victims` opens
ALMOST = 11_500 * WAD  # leaves it alone
Scenario = Callable[[], Iterator[Row]]


def windows_turn() -> Iterator[Row]:
    """The update at which both price windows and that of the pool's results turn at once."""
    world = World(10)
    for price in (PRICE + WAD, PRICE):
        world.publish(price, after=world.risk.move_windows[1] + 400)
    world.wait(world.risk.move_windows[1] + 400)
    yield "update alone, every window turns", world.measure_update(PRICE + PRICE // 500)


def publish_at(positions: int) -> Scenario:
    def scenario() -> Iterator[Row]:
        world = World(positions)
        world.copy_to_engine()
        price = PRICE + PRICE // 1_009
        yield f"publish, {positions:,} open positions", world.measure_publish(price)
        yield f"update alone, {positions:,} open positions", world.measure_update(PRICE)
        yield f"solvency(), {positions:,} open positions", world.measure_view("solvency")

    return scenario


def trading() -> Iterator[Row]:
    """What a trader does, in a market with 1,000 positions of others."""
    world = World(TYPICAL)
    market, owner = world.market, world.new_owner()
    heads, leaves, middles, tops = market._ring_heads, market._leaves, market._middles, market._tops
    size = world.size_in(1, 500_000)
    twins = world.size_in(2, 500_000)
    shared = world.margin_for(SHORT, twins, lambda ring: heads[ring] == 0)
    for _ in range(2):
        world.open(SHORT, twins, shared)
    margins = [
        world.margin_for(LONG, size, lambda ring: not heads[ring] and leaves[ring >> 8] > 0),
        world.margin_for(
            LONG, size, lambda ring: not leaves[ring >> 8] and middles[ring >> 16] > 0
        ),
    ]
    world.copy_to_engine()

    def open_(side: int, amount: int, margin: int, by: str) -> Usage:
        return world.measure("open", by, side, amount, margin, ANY_PRICE[side], after=6)

    yield "update_price, no newer price", world.measure("update_price", "keeper_0", "keeper_0")
    yield "open, new bucket", open_(LONG, size, margins[0], owner)
    mine = market._position_count
    yield "open, new bucket, first of its leaf word", open_(LONG, size, margins[1], owner)
    ring = world.ring_of_new(LONG, size, size * PRICE // SCALE // 8)
    _expect(not middles[ring >> 16] and tops[ring >> 24] > 0, "a top bit is new, its word is not")
    _expect(ring >= market._worst_ring(ring >> 24), "the position becomes the list's worst")
    yield (
        "open, new bucket, first of its middle word",
        open_(LONG, size, size * PRICE // SCALE // 8, owner),
    )
    ring = world.ring_of_new(SHORT, twins, shared)
    first = market._positions[heads[ring]]
    _expect(first is not None and first.next_id != heads[ring], "two positions share the bucket")
    yield "open, bucket shared with others", open_(SHORT, twins, shared, owner)
    _expect(heads[ring] == market._position_count, "the bucket is shared")

    tenth = size // 10
    margin = tenth * PRICE // SCALE
    yield "increase", world.measure("increase", owner, mine, tenth, margin, MAX_UINT256)
    yield "add_margin", world.measure("add_margin", owner, mine, margin)
    yield "remove_margin", world.measure("remove_margin", owner, mine, margin // 2)
    world.measure_publish(PRICE - PRICE // 100)
    yield "reduce at a loss", world.measure("reduce", owner, mine, tenth, 0)
    yield "close at a loss", world.measure("close", owner, mine, 0)
    world.measure_publish(PRICE + PRICE // 50)
    yield "reduce at a profit", world.measure("reduce", owner, mine + 1, tenth, 0)
    yield "close at a profit", world.measure("close", owner, mine + 1, 0)

    deposit = 1_000 * UNIT
    yield "pool deposit, first of its owner", world.measure("deposit", "lp_1", deposit, "lp_1")
    yield "pool deposit", world.measure("deposit", "lp_1", deposit, "lp_1")
    yield "pool withdraw", world.measure("withdraw", "lp_1", deposit, "lp_1", "lp_1")
    yield "collect_fees", world.measure("collect_fees", "keeper_0")
    yield "create_market", world.create_market()


def first_positions() -> Iterator[Row]:
    """What happens eight times, and once, in the life of a market."""
    world = World(7)  # the eighth list is empty
    owner = world.new_owner()
    size = world.size_in(3, 500_000)
    _expect(not world.market._tops[2 * TIERS - 1], "the list is empty")
    world.copy_to_engine()
    margin = size * PRICE // SCALE
    yield (
        "open, first of its list",
        world.measure("open", owner, SHORT, size, margin, ANY_PRICE[SHORT]),
    )
    world = World(0)
    owner = world.new_owner()
    world.copy_to_engine()
    yield (
        "open, first of the market",
        world.measure("open", owner, SHORT, size, margin, ANY_PRICE[SHORT]),
    )


def victims(world: World, count: int, equities: Sequence[int]) -> None:
    """Opens longs that fall due at CRASH, on four tiers and as many leaf words as there are."""
    rings = set()
    for i in range(count):
        position_id = world.long_with(i % TIERS, CRASH, equities[i // TIERS % len(equities)])
        rings.add(world.market._ring_of(world.market.position(position_id)) >> 8)
    _expect(len(rings) == min(count, TIERS * len(equities)), "every position has its own leaf word")


# Equity at the crash, in hundredths of a percent of notional; the penalty takes 50.
WITH_CREDIT = (70, 105, 140, 170, 195)
WITH_BAD_DEBT = (-30, -70, -110, -150, -190)


def liquidations(name: str, equities: Sequence[int], count: int) -> Scenario:
    def scenario() -> Iterator[Row]:
        for price, liquidated in ((ALMOST, 0), (CRASH, count)):
            world = World(TYPICAL)
            insurance = 1_000 * UNIT  # pays a part of the bad debt
            world.market.fund_insurance(insurance, sender=ADDRESSES["lp_0"])
            victims(world, count, equities)
            world.copy_to_engine()
            usage = world.measure_publish(price, liquidated)
            for event in world.system.chain.events:
                if event.name == "PositionLiquidated":
                    position_id, returned = event.fields[0], event.fields[7]
                    uncovered = event.fields[8] + event.fields[9]  # by insurance, by the pool
                    _expect((returned > 0) == (equities[0] > 0), name)
                    _expect((uncovered > 0) == (equities[0] < 0), name)
                    _expect(world.market._positions[position_id] is None, "liquidated in full")
            yield f"publish, {liquidated} of {count} liquidated, {name}", usage

    return scenario


def backlog() -> Iterator[Row]:
    """More due than one call may look at, and what is left for others."""
    world = World(TYPICAL)
    victims(world, 60, WITH_CREDIT)
    last = world.market._position_count
    owner = world.market.position(last).owner
    world.copy_to_engine()
    yield "publish, 32 liquidated and a backlog left", world.measure_publish(CRASH, 32)
    _expect(world.market._has_backlog(), "a backlog is left")
    yield "liquidate", world.measure("liquidate", "keeper_0", last)
    yield "continue_backlog, 20 of 27", world.measure("continue_backlog", "keeper_1", 20)
    yield "continue_backlog, the last 7", world.measure("continue_backlog", "keeper_1", 20)
    _expect(not world.market._has_backlog(), "no backlog is left")
    yield "withdraw_credit", world.measure("withdraw_credit", owner)


def partial() -> Iterator[Row]:
    """One large position that is brought back to its initial requirement."""
    world = World(TYPICAL)
    position_id = world.long_with(3, CRASH, 500, ppm=10**6)
    world.copy_to_engine()
    yield "publish, 1 liquidated in part", world.measure_publish(CRASH, 1)
    _expect(world.market.position(position_id).size > 0, "a part stays open")


def healthy_visit() -> Iterator[Row]:
    """A position in a due bucket that the exact rule lets live: looked at and marked as seen."""
    world = World(TYPICAL)
    position_id = world.long_with(0, CRASH, WITH_CREDIT[0])
    chain, market = world.system.chain, world.market

    def liquidates(price: int) -> bool:
        now = chain.timestamp
        count = chain.probe(lambda: world.publish(price))
        chain.timestamp = now
        return count > 0

    due, healthy = CRASH, ALMOST
    while healthy - due > 1:
        price = (due + healthy) // 2
        due, healthy = (price, healthy) if liquidates(price) else (due, price)
    world.copy_to_engine()
    yield "publish, 1 healthy position looked at", world.measure_publish(healthy)
    _expect(market.position(position_id).epoch == market._marks.epoch, "it was looked at")


def _expect(condition: bool, what: str) -> None:
    """A scenario that is not what it is called must not be measured."""
    if not condition:
        raise RuntimeError(f"the scenario is not what it should be: {what}")


CREDIT, BAD_DEBT = "a credit left", "bad debt"
BATCH = 20
GROUPS: dict[str, Scenario] = {
    "publish 10": publish_at(10),
    "publish 100": publish_at(100),
    "publish 1,000": publish_at(1_000),
    "publish 10,000": publish_at(10_000),
    "windows": windows_turn,
    "trading": trading,
    "first positions": first_positions,
    "1 with credit": liquidations(CREDIT, WITH_CREDIT, 1),
    "20 with credit": liquidations(CREDIT, WITH_CREDIT, BATCH),
    "20 with bad debt": liquidations(BAD_DEBT, WITH_BAD_DEBT, BATCH),
    "partial": partial,
    "healthy visit": healthy_visit,
    "backlog": backlog,
}

UPDATE_LIMIT, OPEN_LIMIT, LIQUIDATION_LIMIT = 110_000, 260_000, 60_000
FLATNESS = 100  # the part of its gas by which a publish may depend on the number of positions
FLAT_ROW = "update alone, difference of 10 and 10,000 positions"
LIMITS = {
    **{f"update alone, {n:,} open positions": UPDATE_LIMIT for n in (10, 100, 1_000, 10_000)},
    "update alone, every window turns": UPDATE_LIMIT,
    **{
        f"open, {where}": OPEN_LIMIT
        for where in (
            "new bucket",
            "new bucket, first of its leaf word",
            "bucket shared with others",
        )
    },
    **{f"each of {BATCH} liquidated, {kind}": LIQUIDATION_LIMIT for kind in (CREDIT, BAD_DEBT)},
}


def measure(groups: Sequence[str], tick: Callable[[], None] = lambda: None) -> dict[str, Usage]:
    """The rows of these groups, with those that follow from several."""
    rows: dict[str, Usage] = {}
    for group in groups:
        rows.update(GROUPS[group]())
        tick()
    for kind in (CREDIT, BAD_DEBT):
        none = rows.get(f"publish, 0 of {BATCH} liquidated, {kind}")
        batch = rows.get(f"publish, {BATCH} of {BATCH} liquidated, {kind}")
        if none and batch:
            rows[f"each of {BATCH} liquidated, {kind}"] = _share(none, batch)
    few, many = (rows.get(f"update alone, {n:,} open positions") for n in (10, 10_000))
    if few and many:
        rows[FLAT_ROW] = Usage(abs(many.gas - few.gas), {})
    return rows


def limit_of(name: str, rows: dict[str, Usage]) -> int | None:
    """The most gas a row may take."""
    if name == FLAT_ROW:
        return rows["update alone, 10 open positions"].gas // FLATNESS
    return LIMITS.get(name)


def _share(none: Usage, batch: Usage) -> Usage:
    """What one of the batch adds, rounded up; what rounding leaves is in the last part."""
    gas = -((none.gas - batch.gas) // BATCH)
    parts = {part: (batch.parts[part] - none.parts[part]) // BATCH for part in PARTS}
    parts["compute"] += gas - sum(parts.values())
    return Usage(gas, parts)

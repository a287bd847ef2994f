"""A market of the model with people in it: what the tests of exact, vectors and model stand on.

Amounts are given in whole tokens, sizes in whole units and prices in quote per unit, as text,
integers or fractions; they must come out as integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from python_model.configurator import Configurator
from python_model.evm import MAX_UINT256, Chain, Contract, Revert, Storage, external
from python_model.invariants import INVARIANTS, Observation
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.modules.constants import FRACTION_UNIT, LONG, MAX_MARGIN, MAX_SIZE, SHORT, WAD
from python_model.perp_market import NO_TERMS, MarketParams, Marks, PerpMarket
from python_model.risk_engine import RiskEngine, RiskParams
from python_model.testing.token_mock import TokenMock

Number = int | str | Fraction

START = 1_700_000_000  # seconds, as on a chain that has been running
ANY_PRICE = {LONG: MAX_UINT256, SHORT: 0}  # the worst acceptable price of a buyer and of a seller
FUNDS = 2**120  # token units that everyone starts with
MAX_TOKENS = 2**95  # largest deposit the tests make, token units
FEW = 8  # open positions up to which every invariant is checked after every transaction


def address(number: int) -> str:
    return f"0x{number:040x}"


NAMES = ("token", "factory", "treasury", "owner", "publisher", "configurator", "guardian", "feed")
PEOPLE = ("trader", "other_trader", "third_trader", "keeper", "lp", "other_lp", "attacker")
ROLE = {name: address(0xA0 + index) for index, name in enumerate(NAMES + PEOPLE)}


def wad(value: Number) -> int:
    """A price, size, fraction or rate as the model holds it."""
    scaled = Fraction(value) * WAD
    assert scaled.denominator == 1, f"{value} has more than 18 decimals"
    return int(scaled)


def tiers(*rows: tuple[Number, Number, Number]) -> dict[str, Any]:
    """Four tiers of (largest size, initial, maintenance); the last row is repeated."""
    filled = [*rows, *[rows[-1]] * (4 - len(rows))]
    names = ("tier_sizes", "initial_fractions", "maintenance_fractions")
    columns = zip(*filled, strict=True)
    return {
        name: tuple(wad(item) for item in column)
        for name, column in zip(names, columns, strict=True)
    }


TIERS = tiers((1_000, "0.05", "0.02"), (10_000, "0.1", "0.04"), (100_000, "0.2", "0.08"))
PARAMS = MarketParams(
    min_size=wad("0.1"),
    skew_scale=wad(100_000_000),
    max_funding_rate=wad("0.0000001"),
    max_utilisation_rate=wad("0.00000001"),
    liquidation_penalty=wad("0.01"),
    keeper_share=wad("0.1"),
    reserve_fraction=wad("0.1"),
    max_price_age=3600,
    tier_sizes=TIERS["tier_sizes"],
)
# As wide as the bounds allow: what restricts, deleverages or raises a margin is another test's own.
RISK = RiskParams(
    max_open_interest=wad(100_000),
    max_skew=wad(100_000),
    maker_fee=wad("0.0002"),
    taker_fee=wad("0.0005"),
    initial_fractions=TIERS["initial_fractions"],
    maintenance_fractions=TIERS["maintenance_fractions"],
    calm_volatility=WAD,
    max_volatility_multiplier=WAD,
    volatility_window=3600,
    crowding_lower=WAD - FRACTION_UNIT,
    crowding_upper=WAD,
    max_confidence=wad("0.1"),
    max_jump=WAD,
    move_windows=(60, 3600),
    max_moves=(WAD, WAD),
    cool_down=60,
    max_liquidated_size=MAX_SIZE,
    max_pool_loss=WAD,
    max_bad_debt=MAX_MARGIN,
    max_insurance_draw=WAD,
    max_profit_share=WAD,
)

# Nothing but prices moves money: fees and rates zero, and a skew scale that no trade feels.
FRICTIONLESS: dict[str, Any] = {
    "max_funding_rate": 0,
    "max_utilisation_rate": 0,
    "maker_fee": 0,
    "taker_fee": 0,
    "skew_scale": 2**104 - 1,
}


def params_of(changes: Mapping[str, Any]) -> tuple[MarketParams, RiskParams]:
    """The parameters above with some replaced by name."""
    fixed = {name: value for name, value in changes.items() if name in MarketParams._fields}
    risk = {name: value for name, value in changes.items() if name not in fixed}
    return PARAMS._replace(**fixed), RISK._replace(**risk)


class Feed(Contract):
    """Says what it was told last, and has the market look at it."""

    def __init__(self, chain: Chain, address: str) -> None:
        super().__init__(chain, address)
        self.market: PerpMarket | None = None
        self._latest = (0, 0, 0)

    @external
    def set_market(self, market: PerpMarket, *, sender: str) -> None:
        self.market = market

    @external
    def publish(self, price: int, price_time: int, confidence: int = 0, *, sender: str) -> int:
        self._latest = (price, confidence, price_time)
        assert self.market is not None
        return self.market.update_price(sender, sender=self.address)

    def latest_price(self) -> tuple[int, int, int]:
        return self._latest


class WatchedChain(Chain):
    """A chain on which every promise about one market is checked after every transaction."""

    seen: Observation | None = None

    def execute(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        seen = self.seen
        if seen is None:
            return super().execute(call, *args, **kwargs)
        market, called = seen.market, args[0]
        is_own = called in (market, market.pool) and len(args) > 1 and type(args[1]) is int
        is_about = is_own and "position_id" in call.__code__.co_varnames[:2]
        seen.begin(call.__name__, args[1] if is_about else 0)
        try:
            result = super().execute(call, *args, **kwargs)
        except BaseException:
            seen.end(False)
            self.check()
            raise
        seen.end(True)
        if called is market.token:
            self._note_gift()
        self.check()
        return result

    def check(self) -> None:
        """All invariants that are due; with many positions the costly ones only now and then."""
        seen = self.seen
        assert seen is not None
        token = seen.market.token
        is_sound = token.hook is None and token.fee_bps == 0 and type(token) is TokenMock
        seen.token_is_sound = is_sound
        for item in INVARIANTS:
            if len(seen.live) <= FEW or seen.turn % item.every == 0:
                broken = item.check(seen)
                assert broken is None, f"{item.id}: {item.sentence}: {broken}"

    def _note_gift(self) -> None:
        assert self.seen is not None
        donated = self.seen.donated
        for event in self.events:
            if event.name == "Transfer":
                giver, receiver, amount = event.fields
                donated[receiver] = donated.get(receiver, 0) + amount
                donated[giver] = donated.get(giver, 0) - amount


class World:
    """A chain with one token and one market; every role has tokens and has allowed their use."""

    def __init__(
        self,
        decimals: int = 6,
        price: Number | None = 100,
        cash: Number = 1_000_000,
        token: Callable[[Chain, str, int], TokenMock] = TokenMock,
        is_watched: bool = True,
        **changes: Any,
    ) -> None:
        self.chain = WatchedChain(START)
        self.unit = 10**decimals
        owner = ROLE["owner"]
        self.token = token(self.chain, ROLE["token"], decimals)
        self.configurator = Configurator(self.chain, ROLE["configurator"], ROLE["guardian"], owner)
        self.factory = MarketFactory(
            self.chain, ROLE["factory"], self.configurator, ROLE["treasury"], owner
        )
        self.feed = Feed(self.chain, ROLE["feed"])
        params, risk = params_of(changes)
        self.market: PerpMarket = self.factory.create_market(
            self.token, self.feed, "pool", "LP", params, risk, sender=owner
        )
        self.pool: LiquidityPool = self.market.pool
        self.engine: RiskEngine = self.market.engine
        for name in PEOPLE:
            self.token.mint(ROLE[name], FUNDS, sender=ROLE[name])
            for spender in (self.market.address, self.pool.address):
                self.token.approve(spender, MAX_UINT256, sender=ROLE[name])
        if is_watched:
            self.chain.seen = Observation(self.market)
        if price is not None:
            self.publish(price)
            if cash:
                self.deposit(cash)

    def tokens(self, value: Number) -> int:
        """Whole tokens in token units."""
        scaled = Fraction(value) * self.unit
        assert scaled.denominator == 1, f"{value} has more decimals than the token"
        return int(scaled)

    def amount(self, units: int) -> Fraction:
        """Token units in whole tokens."""
        return Fraction(units, self.unit)

    # What people do

    def wait(self, seconds: int) -> None:
        self.chain.timestamp += seconds

    def publish(self, price: Number, after: int = 1) -> int:
        """A new price after some seconds; number of positions liquidated."""
        self.wait(after)
        return self.publish_wad(wad(price))

    def publish_wad(self, price: int, confidence: int = 0) -> int:
        """A price of this second."""
        return self.feed.publish(price, self.chain.timestamp, confidence, sender=ROLE["publisher"])

    def deposit(self, amount: Number, by: str = "lp") -> int:
        return self.pool.deposit(self.tokens(amount), ROLE[by], sender=ROLE[by])

    def open(self, side: int, size: Number, margin: Number, by: str = "trader") -> int:
        return self.market.open(
            side, wad(size), self.tokens(margin), ANY_PRICE[side], sender=ROLE[by]
        )

    def open_at_mark(self, side: int, size: Number, margin: Number, by: str = "trader") -> int:
        """Opens at the oracle price itself: another's position of half the size on the other side
        makes the skew before and after the trade cancel out."""
        half = Fraction(size) / 2
        self.open(1 - side, half, self.amount(2**70), by="other_trader")
        position_id = self.open(side, size, margin, by)
        assert self.position(position_id).entry_price == self.market.marks().price
        return position_id

    def increase(
        self, position_id: int, size: Number, margin: Number = 0, by: str = "trader"
    ) -> None:
        side = self.position(position_id).side
        self.market.increase(
            position_id, wad(size), self.tokens(margin), ANY_PRICE[side], sender=ROLE[by]
        )

    def reduce(self, position_id: int, size: Number, by: str = "trader") -> None:
        worst = ANY_PRICE[1 - self.position(position_id).side]
        self.market.reduce(position_id, wad(size), worst, sender=ROLE[by])

    def close(self, position_id: int, by: str = "trader") -> int:
        worst = ANY_PRICE[1 - self.position(position_id).side]
        return self.market.close(position_id, worst, sender=ROLE[by])

    def add_margin(self, position_id: int, amount: Number, by: str = "trader") -> None:
        self.market.add_margin(position_id, self.tokens(amount), sender=ROLE[by])

    def remove_margin(self, position_id: int, amount: Number, by: str = "trader") -> None:
        self.market.remove_margin(position_id, self.tokens(amount), sender=ROLE[by])

    def update_price(self, by: str = "keeper") -> int:
        return self.market.update_price(ROLE[by], sender=ROLE[by])

    def settle(self, position_id: int, by: str = "keeper") -> None:
        self.market.settle(position_id, sender=ROLE[by])

    def quote(self, side: int, size: Number) -> tuple[int, int]:
        """Fill price and fee of a trade now."""
        market = self.market
        fill = self.engine._fill(side, wad(size), market._book_state(market._accrued()))
        return fill.price, fill.fee

    # What can be seen

    def position(self, position_id: int) -> Any:
        return self.market.position(position_id)

    def is_open(self, position_id: int) -> bool:
        try:
            self.position(position_id)
        except Revert:
            return False
        return True

    def open_ids(self) -> list[int]:
        count = self.market._position_count
        return [number for number in range(1, count + 1) if self.is_open(number)]

    def is_liquidatable(self, position_id: int) -> bool:
        equity, requirement = self.market.health(position_id)
        return equity < requirement

    def equity(self, position_id: int) -> int:
        return self.market.health(position_id)[0]

    def balance(self, name: str) -> int:
        return self.token.balanceOf[ROLE[name]]

    def spent(self, name: str) -> int:
        """Token units that a role has less than at the start."""
        return FUNDS - self.balance(name)

    def event(self, name: str) -> tuple[Any, ...]:
        """Fields of the last transaction's only event of this name."""
        found = [event.fields for event in self.chain.events if event.name == name]
        assert len(found) == 1, f"{len(found)} events {name}"
        return found[0]

    def event_names(self) -> list[str]:
        return [event.name for event in self.chain.events]

    # What must hold

    def state(self) -> dict[str, Any]:
        """Everything stored, deeply copied; entries at their default count as absent."""
        return {
            contract.address: {
                name: _frozen(value)
                for name, value in contract.__dict__.items()
                if name not in ("chain", "hook")
            }
            for contract in self.chain.contracts
        }

    def assert_books_balance(self) -> None:
        """Every token unit is accounted for, in market, pool and token."""
        books = self.market.solvency()
        owned = books.margin + books.insurance + books.fees + books.credits
        assert self.token.balanceOf[self.market.address] == owned
        assert self.token.balanceOf[self.pool.address] == books.pool_cash == self.pool.cash()
        assert sum(self.token.balanceOf.values()) == self.token.totalSupply
        positions = [self.position(number) for number in self.open_ids()]
        assert books.margin == sum(position.margin for position in positions)
        assert books.open_positions == len(positions)
        assert books.claims == self.pool.claims == sum(self.pool.claim_of.values())
        assert books.credits == sum(self.market.credit_of.values())


def _frozen(value: Any) -> Any:
    if isinstance(value, Marks):
        return replace(value, terms=NO_TERMS)  # not stored, but of the moment
    if isinstance(value, Storage):
        return {key: _frozen(item) for key, item in value.items() if item != value.default}
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_frozen(item) for item in value]
    return value.copy() if hasattr(value, "copy") else getattr(value, "address", value)


def reason_of(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The reason with which a call reverts; fails if it does not."""
    try:
        call(*args, **kwargs)
    except Revert as revert:
        return revert.reason
    raise AssertionError("the call did not revert")

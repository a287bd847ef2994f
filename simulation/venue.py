"""One market of the model with a pool, a feed that plays an aggregator, and figures of its events.

Everything that depends on how the model is built and called is here.
"""

from collections.abc import Callable
from typing import Any

from python_model.evm import MAX_UINT256, Chain, Contract, Event, Revert
from python_model.market_factory import MarketFactory
from python_model.modules import constants, errors
from python_model.modules.constants import WAD
from python_model.perp_market import MarketParams, PerpMarket
from python_model.perp_market import Tier as MarketTier
from python_model.testing.token_mock import TokenMock
from simulation.figures import Figures, Snapshot
from simulation.tiers import Tiers

DECIMALS = 6
DOLLAR = 10**DECIMALS
SHARES = 10**24  # enough of them for their value to tell parts per million
ANY_PRICE = {constants.LONG: MAX_UINT256, constants.SHORT: 0}


def address(number: int) -> str:
    return f"0x{number:040x}"


TOKEN, FACTORY, TREASURY, OWNER, FEED, KEEPER, LP = (address(0xA0 + i) for i in range(7))


class AggregatorFeed(Contract):
    """The last observation of a venue; none at all when it is older than the heartbeat."""

    def __init__(self, chain: Chain, heartbeat: int) -> None:
        super().__init__(chain, FEED)
        self.heartbeat = heartbeat
        self.price = 0
        self.price_time = 0

    def latest_price(self) -> tuple[int, int]:
        errors._require(
            self.price_time + self.heartbeat >= self.chain.timestamp, errors.STALE_PRICE
        )
        return self.price, self.price_time


class Venue:
    """The market; what anyone does to it, and what came of that in `figures`."""

    def __init__(
        self,
        at: int,
        price: int,
        tiers: Tiers,
        notional: int,
        max_price_age: int,
        calm_volatility: int,
        is_dynamic: bool,
    ) -> None:
        """A market for open interest of `notional` (token units) at `price`."""
        self.figures = Figures()
        self.chain = Chain(at)
        self.token = TokenMock(self.chain, TOKEN, DECIMALS)
        factory = MarketFactory(self.chain, FACTORY, TREASURY, OWNER)
        size = notional * 10 ** (36 - DECIMALS) // price
        penalty = tiers[0].maintenance_fraction // 2
        params = MarketParams(
            min_size=10 * WAD * WAD // price,
            max_open_interest=size,
            max_skew=size // 4,
            skew_scale=size * WAD * 10 // (9 * penalty) + 1,
            max_funding_rate=5 * 10**11,
            max_utilisation_rate=10**10,
            maker_fee=2 * 10**14,
            taker_fee=5 * 10**14,
            liquidation_penalty=penalty,
            keeper_share=WAD // 10,
            reserve_fraction=WAD * 3 // 10,
            max_price_age=max_price_age,
            tiers=tuple(
                MarketTier(
                    tier.max_notional * WAD * WAD // price,
                    tier.initial_fraction,
                    tier.maintenance_fraction,
                )
                for tier in tiers
            ),  # type: ignore[arg-type]
        )
        self.market: PerpMarket = factory.create_market(
            self.token, OWNER, "pool", "LP", params, sender=OWNER
        )
        self.pool = self.market.pool
        self.feed = AggregatorFeed(self.chain, max_price_age)
        self.market.feed = self.feed  # type: ignore[assignment]

    # The price

    def report(self, at: int, price: int, price_time: int) -> None:
        """The feed's newest observation, brought by a keeper."""
        self.chain.timestamp = at
        self.feed.price, self.feed.price_time = price, price_time
        try:
            self.market.update_price(KEEPER, sender=KEEPER)
        except Revert as revert:
            self.figures.refused[revert.reason] += 1
            return
        self._count(self.chain.events)
        figures = self.figures
        figures.updates += 1
        figures.saw_backlog(self.has_backlog(), at, True)
        figures.most_positions = max(figures.most_positions, self.open_positions())
        figures.largest_claims = max(figures.largest_claims, self.market._claims)
        figures.saw_share(self.pool.convertToAssets(SHARES))

    def continue_backlog(self, at: int) -> None:
        """One more call of a keeper."""
        self.chain.timestamp = at
        if self._did(self.market.continue_backlog, constants.MAX_VISITS, sender=KEEPER):
            self.figures.saw_backlog(self.has_backlog(), at, False)

    # Liquidity providers

    def provide(self, cash: int, reserve: int) -> None:
        """Pool cash and reserve, in token units, to begin with."""
        self.fund(LP, cash + reserve)
        self.pool.deposit(cash, LP, sender=LP)
        self.market.fund_insurance(reserve, sender=LP)

    def fund(self, holder: str, amount: int) -> None:
        self.token.mint(holder, amount, sender=holder)
        for spender in (self.market.address, self.pool.address):
            self.token.approve(spender, MAX_UINT256, sender=holder)

    # Traders: each returns whether it was done

    def open(self, trader: str, side: int, size: int, margin: int) -> int:
        """Id of the new position, zero for none."""
        if not self._did(self.market.open, side, size, margin, ANY_PRICE[side], sender=trader):
            return 0
        self.figures.opened += 1
        return self.market._position_count

    def increase(self, trader: str, position_id: int, side: int, size: int, margin: int) -> bool:
        arguments = (position_id, size, margin, ANY_PRICE[side])
        return self._did(self.market.increase, *arguments, sender=trader)

    def reduce(self, trader: str, position_id: int, side: int, size: int) -> bool:
        worst = ANY_PRICE[constants.SHORT - side]
        return self._did(self.market.reduce, position_id, size, worst, sender=trader)

    def close(self, trader: str, position_id: int, side: int) -> bool:
        worst = ANY_PRICE[constants.SHORT - side]
        return self._did(self.market.close, position_id, worst, sender=trader)

    def add_margin(self, trader: str, position_id: int, amount: int) -> bool:
        return self._did(self.market.add_margin, position_id, amount, sender=trader)

    def remove_margin(self, trader: str, position_id: int, amount: int) -> bool:
        return self._did(self.market.remove_margin, position_id, amount, sender=trader)

    # What can be seen

    def price(self) -> tuple[int, int]:
        """The market's price and the time it was observed."""
        marks = self.market.marks()
        return marks.price, marks.price_time

    def initial_fraction(self, side: int, size: int) -> int:
        """What adding a position of this size needs now, WAD."""
        return self.market.PARAMS.tiers[self.market._tier_of(size)].initial_fraction

    def position(self, position_id: int) -> tuple[int, int, int] | None:
        """Side, size and margin; None when it is no longer open."""
        stored = self.market._positions[position_id]
        return None if stored is None else (stored.side, stored.size, stored.margin)

    def health(self, position_id: int) -> tuple[int, int]:
        """Equity and maintenance requirement, token units."""
        return self.market.health(position_id)

    def notional(self, size: int, price: int) -> int:
        """Token units, rounded up."""
        return -(-size * price // self.market.NOTIONAL_SCALE)

    def has_backlog(self) -> bool:
        return self.market.has_backlog()

    def open_positions(self) -> int:
        return self.market._open_positions

    def snapshot(self) -> Snapshot:
        market = self.market
        books = market.solvency()
        size = market._side_size(constants.LONG) + market._side_size(constants.SHORT)
        return Snapshot(
            books.open_positions,
            self.notional(size, self.price()[0]),
            books.margin,
            books.pool_cash,
            books.insurance,
        )

    def faults(self) -> list[str]:
        """What must not be: a position left that should be liquidated, books that do not add up."""
        market = self.market
        found = []
        books = market.solvency()
        held = books.margin + books.insurance + books.fees + books.credits
        if self.token.balanceOf[market.address] != held:
            found.append("the market does not hold what it owes")
        if self.token.balanceOf[self.pool.address] != books.pool_cash:
            found.append("the pool does not hold its cash")
        if self.has_backlog():
            return found
        for position_id, stored in market._positions.items():
            if stored is not None:
                equity, requirement = market.health(position_id)
                if equity < requirement:
                    found.append(f"position {position_id} is liquidatable and open")
        return found

    def _did(self, call: Callable[..., Any], *arguments: Any, sender: str) -> bool:
        try:
            call(*arguments, sender=sender)
        except Revert as revert:
            self.figures.turned_away[revert.reason] += 1
            return False
        self._count(self.chain.events)
        return True

    def _count(self, events: list[Event]) -> None:
        figures = self.figures
        for event in events:
            if event.name == "PositionLiquidated":
                position_id, _, size, price, *_, insurance_used, bad_debt = event.fields
                figures.liquidated.add(position_id)
                figures.liquidated_notional += self.notional(size, price)
                if self.position(position_id) is None:
                    figures.full += 1
                else:
                    figures.partial += 1
                figures.reserve_used += insurance_used
                figures.bad_debt += bad_debt
                figures.ruined += bad_debt > 0

"""One market of the model, a feed of an aggregator's rounds, and figures of its events.

Everything that depends on how the model is built and called is here.
"""

import math
from collections.abc import Callable
from typing import Any

from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import MAX_UINT256, Chain, Event, Revert
from python_model.market_factory import MarketFactory
from python_model.modules import breaker_causes, constants
from python_model.modules.constants import FRACTION_UNIT, WAD
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams
from python_model.testing.aggregator_mock import AggregatorMock
from python_model.testing.token_mock import TokenMock
from simulation.figures import Figures, Snapshot
from simulation.tape import DAY, HOUR
from simulation.tiers import Tiers

DECIMALS = 6
PRICE_DECIMALS = 8  # of the aggregator
CONFIDENCE = WAD // 10_000  # the files have none; the feed wants one
DOLLAR = 10**DECIMALS
SHARES = 10**24  # enough of them for their value to tell parts per million
ANY_PRICE = {constants.LONG: MAX_UINT256, constants.SHORT: 0}

MOVE_WINDOWS = (300, HOUR)
MOVE_SIGMAS = 12  # a breaker trips at this many times the calm move of its window
LEAST_MOVE = WAD // 50
CAUSES = {
    breaker_causes.JUMP: "jump",
    breaker_causes.MOVE_SHORT: "move in five minutes",
    breaker_causes.MOVE_LONG: "move in an hour",
    breaker_causes.LIQUIDATED_VOLUME: "liquidated volume",
    breaker_causes.POOL_LOSS: "pool loss",
    breaker_causes.BAD_DEBT: "bad debt",
}


def address(number: int) -> str:
    return f"0x{number:040x}"


TOKEN, AGGREGATOR, FEED, FACTORY, CONFIGURATOR, OWNER, TREASURY, KEEPER, LP = (
    address(0xA0 + i) for i in range(9)
)


def market_params(price: int, tiers: Tiers, size: int, max_price_age: int) -> MarketParams:
    """What never changes, for open interest of `size` (WAD) a side."""
    first, second, third, fourth = (tier.max_notional * WAD * WAD // price for tier in tiers)
    penalty = tiers[0].maintenance_fraction // 2
    return MarketParams(
        min_size=10 * WAD * WAD // price,
        skew_scale=size * WAD * 10 // (9 * penalty) + 1,
        max_funding_rate=5 * 10**11,
        max_utilisation_rate=10**10,
        liquidation_penalty=penalty,
        keeper_share=WAD // 10,
        reserve_fraction=WAD // 5,
        max_price_age=max_price_age,
        tier_sizes=(first, second, third, fourth),
    )


def risk_params(
    tiers: Tiers, size: int, notional: int, calm_volatility: int, is_dynamic: bool
) -> RiskParams:
    """What the owner may change; the bands follow from the calm volatility."""
    first, second, third, fourth = tiers
    short, long = (
        max(LEAST_MOVE, MOVE_SIGMAS * calm_volatility * math.isqrt(window * 10**12 // DAY) // 10**6)
        for window in MOVE_WINDOWS
    )
    return RiskParams(
        max_open_interest=size,
        max_skew=size // 4,
        maker_fee=2 * 10**14,
        taker_fee=5 * 10**14,
        initial_fractions=(
            first.initial_fraction,
            second.initial_fraction,
            third.initial_fraction,
            fourth.initial_fraction,
        ),
        maintenance_fractions=(
            first.maintenance_fraction,
            second.maintenance_fraction,
            third.maintenance_fraction,
            fourth.maintenance_fraction,
        ),
        calm_volatility=calm_volatility,
        max_volatility_multiplier=5 * WAD if is_dynamic else WAD,
        volatility_window=HOUR,
        # Off: only the last ten-millionth of the pool would count.
        crowding_lower=WAD * 3 // 5 if is_dynamic else WAD - FRACTION_UNIT,
        crowding_upper=WAD,
        max_confidence=WAD // 50,
        max_jump=WAD // 10,
        move_windows=MOVE_WINDOWS,
        max_moves=(_whole_units(short), _whole_units(long)),
        cool_down=900,
        max_liquidated_size=size // 10,
        max_pool_loss=WAD // 10,
        max_bad_debt=notional // 1000,
        max_insurance_draw=WAD // 2,
        max_profit_share=WAD // 4,
    )


def _whole_units(fraction: int) -> int:
    return fraction // FRACTION_UNIT * FRACTION_UNIT


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
        self.aggregator = AggregatorMock(self.chain, AGGREGATOR, PRICE_DECIMALS)
        feed = AggregatorPriceFeed(
            self.chain, FEED, FACTORY, self.aggregator, max_price_age, CONFIDENCE, None, 0
        )
        configurator = Configurator(self.chain, CONFIGURATOR, OWNER, OWNER)
        size = notional * 10 ** (36 - DECIMALS) // price
        factory = MarketFactory(self.chain, FACTORY, configurator, TREASURY, OWNER)
        self.market = factory.create_market(
            self.token,
            feed,
            "pool",
            "LP",
            market_params(price, tiers, size, max_price_age),
            risk_params(tiers, size, notional, calm_volatility, is_dynamic),
            sender=OWNER,
        )
        self.pool = self.market.pool
        self._restricted_until = 0
        self._tripped_until: dict[int, int] = {}
        self._halted_at = 0

    # The price

    def report(self, at: int, price: int, price_time: int) -> bool:
        """A keeper calls with this as the aggregator's last round; whether the market took it."""
        self.chain.timestamp = at
        answer = price // 10 ** (18 - PRICE_DECIMALS)
        self.aggregator.set_round(
            price_time, answer, price_time, price_time, price_time, sender=OWNER
        )
        try:
            self.market.update_price(KEEPER, sender=KEEPER)
        except Revert as revert:
            self.figures.refused[revert.reason] += 1
            return False
        self._count(self.chain.events)
        figures = self.figures
        figures.updates += 1
        figures.saw_backlog(self.has_backlog(), at, True)
        figures.most_positions = max(figures.most_positions, self.open_positions())
        figures.largest_claims = max(figures.largest_claims, self.pool.claims)
        figures.saw_share(self.pool.convertToAssets(SHARES))
        return not self.is_halted()

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
        """What a new position of this size needs now, WAD; zero when none can be opened."""
        market = self.market
        try:
            book = market._book_state(market.marks())
            return market.engine.increase_terms(side, 0, size, book).initial_fraction
        except Revert:
            return 0

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
        return self.market.totals().has_backlog

    def is_halted(self) -> bool:
        return self.market.totals().is_halted

    def open_positions(self) -> int:
        return self.market.totals().open_positions

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
        """What must not be after an update that the market took: positions left to liquidate,
        traders with more profit than the pool may owe, books that do not add up."""
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
        left = books.pool_cash - min(books.pool_cash, books.claims)
        if books.net_trader_profit > left * market.engine.params().max_profit_share // WAD:
            found.append("the traders' profit is too large for the pool")
        marks = market.marks()
        for position_id, stored in market._positions.items():
            if stored is not None and market._is_liquidatable(stored, marks):
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
        figures, now = self.figures, self.chain.timestamp
        for event in events:
            match event.name:
                case "PositionLiquidated":
                    position_id, _, size, price, *_, insurance_used, bad_debt = event.fields
                    figures.liquidated.add(position_id)
                    figures.liquidated_notional += self.notional(size, price)
                    if self.position(position_id) is None:
                        figures.full += 1
                    else:
                        figures.partial += 1
                    figures.ruined += bad_debt > 0
                    figures.reserve_used += insurance_used
                    figures.bad_debt += bad_debt
                case "PositionSettled":
                    _, _, size, price, _, _, _, insurance_used, bad_debt, _ = event.fields
                    figures.deleveraged += 1
                    figures.deleveraged_notional += self.notional(size, price)
                    figures.reserve_used += insurance_used
                    figures.bad_debt += bad_debt
                case "PriceHeld":
                    figures.held += 1
                    self._halted_at = self._halted_at or now
                case "PriceConfirmed":
                    figures.halted_seconds += now - self._halted_at
                    self._halted_at = 0
                case "BreakerTripped":
                    cause, until = event.fields
                    # A trip is over with its cool-down: one that prolongs it is the same.
                    figures.trips[CAUSES[cause]] += now >= self._tripped_until.get(cause, 0)
                    self._tripped_until[cause] = until
                    figures.restricted_seconds += until - max(now, self._restricted_until)
                    self._restricted_until = until

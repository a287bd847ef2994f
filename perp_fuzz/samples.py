"""What the report shows of the market: leverage, distance to liquidation, price and falls."""

from collections.abc import Iterable, Mapping, Sequence

from lockstep.samples import Mark, Measure, Series
from python_model.evm import Chain
from python_model.market_lens import MarketLens
from python_model.modules.constants import LONG, WAD
from python_model.perp_market import PerpMarket

SAMPLED = "One open position, every 2,000 steps of a chain"
NEVER = 10_000.0  # stands for the distance of a position that no price makes due
MEASURES: Mapping[str, Measure] = {
    "leverage": Measure(
        "Leverage of open positions",
        "notional / equity",
        (0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100),
        SAMPLED,
    ),
    "distance": Measure(
        "Distance of open positions to liquidation",
        "% of the price",
        (-10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100),
        f"{SAMPLED}; below zero it is due",
    ),
}


class Watch:
    """The prices of one market, its liquidations, and where its positions stand."""

    def __init__(self, market: PerpMarket) -> None:
        self._market = market
        self._lens = MarketLens(Chain(), market.address)  # reads only: its address is no matter
        self._prices: list[tuple[int, int]] = []  # step, WAD
        self._liquidations: list[tuple[int, int, int]] = []  # step, price, side

    def priced(self, step: int, price: int) -> None:
        self._prices.append((step, price))

    def liquidated(self, step: int, price: int, side: int) -> None:
        self._liquidations.append((step, price, side))

    def samples(self, positions: Iterable[int]) -> Mapping[str, Sequence[float]]:
        if not self._market.marks().price:
            return {}
        healths = [self._lens.health(self._market, position_id) for position_id in positions]
        return {
            # Without equity there is no leverage to speak of.
            "leverage": [item.effective_leverage / WAD for item in healths if item.equity > 0],
            "distance": [min(100 * item.liquidation_distance / WAD, NEVER) for item in healths],
        }

    def series(self) -> Sequence[Series]:
        """Over steps, not over time: half of that may pass in one step."""
        if not self._prices:
            return ()
        points = [(step, price / WAD) for step, price in self._prices]
        marks = [
            Mark(step, price / WAD, f"{'long' if side == LONG else 'short'} liquidated")
            for step, price, side in self._liquidations
        ]
        return (Series("Price", "step of the chain", "quote per unit", points, marks),)

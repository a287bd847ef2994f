"""What a lens says of markets that nobody meets: one position or the marks are made up.

A lens only reads. So it is given the double of a market (contracts/testing/MarketDouble.vy), which
answers as the market does but for what is made up, and the model of the lens the same.
"""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from lockstep import abi
from perp_fuzz.deployment import ADDRESSES, TRADERS
from python_model.evm import MAX_UINT256, ZERO_ADDRESS
from python_model.modules import fixed_point, margin_math, trigger_key, trigger_price
from python_model.modules.constants import (
    FUNDING_PRECISION,
    MAX_MARGIN,
    MAX_PRICE,
    MAX_SIZE,
    TIERS,
    WAD,
)
from python_model.perp_market import Marks, PerpMarket, Position

if TYPE_CHECKING:
    from python_model.market_lens import MarketLens

NAME = "testing/MarketDouble"
POSITIONS, MARKS = 5, 2  # made up in one look
OF_POSITION = (
    "liquidation_price",
    "liquidation_distance",
    "effective_leverage",
    "health",
    "preview_liquidate",
    "preview_settle",
)
LISTS = ("next_to_liquidate", "nearest_to_liquidation", "next_to_deleverage")


class Double:
    """The model's side: a market, but for some marks and one position."""

    def __init__(self, market: PerpMarket, address: str, position_id: int) -> None:
        self._market = market
        self.address = address
        self.position_id = position_id
        self.made_up = Position(ZERO_ADDRESS, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        if 0 < position_id <= market._position_count:
            self.made_up = market.position(position_id)
        self.present: Marks = market.marks().copy()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._market, name)

    def marks(self) -> Marks:
        return self.present.copy()

    def position(self, position_id: int) -> Position:
        if position_id == self.position_id:
            return self.made_up.copy()
        return self._market.position(position_id)

    def words(self) -> bytes:
        """Marks, number and position, as `MarketDouble.ask` takes them."""
        present, made_up = self.present, self.made_up
        terms = present.terms
        return abi.words(
            *(present.price, present.price_time, present.accrued_at, present.epoch),
            *present.funding,
            *terms.maintenance_fractions,
            *terms.funding_steps,
            *(terms.reserved, terms.liquidation_penalty, terms.keeper_share, terms.max_price_age),
            self.position_id,
            *(made_up.owner, made_up.side, made_up.tier, made_up.size, made_up.margin),
            *(made_up.entry_price, made_up.entry_funding, made_up.epoch),
            *(made_up.previous_id, made_up.next_id),
        )


class Question(NamedTuple):
    """A function of the lens and what follows the market."""

    market: Double
    name: str
    values: tuple[Any, ...]


class Doubles:
    """Questions about the doubles of one market."""

    def __init__(self, market: PerpMarket, lens: "MarketLens", address: str) -> None:
        self._market = market
        self._lens = lens
        self._address = address

    def __call__(self, rng: random.Random, live: list[int]) -> Iterator[Question]:
        for _ in range(POSITIONS):
            yield from self._of_position(rng, live)
        for _ in range(MARKS):
            yield from self._of_marks(rng, live)

    def _double(self, rng: random.Random, live: list[int]) -> Double:
        chosen = rng.choice(live) if live else self._market._position_count + 1
        double = Double(self._market, self._address, chosen)
        double.present.price_time = self._market.chain.timestamp - rng.choice((0, 0, 0, 10**6))
        double.present.price = double.present.price or WAD
        return double

    def _of_position(self, rng: random.Random, live: list[int]) -> Iterator[Question]:
        double = self._double(rng, live)
        self._make_up(double, rng)
        for name in OF_POSITION:
            yield Question(double, name, (double.position_id,))
        yield from self._of_owner(double, rng)
        for name in LISTS:
            yield Question(double, name, (rng.choice((1, 64)),))

    def _of_owner(self, double: Double, rng: random.Random) -> Iterator[Question]:
        made_up = double.made_up
        own = made_up.owner, double.position_id
        price = rng.choice((0, double.present.price, MAX_UINT256))
        size = rng.choice((made_up.size // 2, 1, max(made_up.size - 1, 0), made_up.size))
        yield Question(double, "preview_close", (*own, price))
        yield Question(double, "preview_reduce", (*own, size, price))
        yield Question(double, "preview_add_margin", (*own, rng.choice((1, MAX_MARGIN))))

    def _make_up(self, double: Double, rng: random.Random) -> None:
        """A position near one of the places where something happens to it."""
        present, made_up = double.present, double.made_up
        params = self._market.engine.PARAMS
        made_up.owner = ADDRESSES[rng.choice(TRADERS)]
        made_up.side = rng.randrange(2)
        made_up.tier = rng.randrange(TIERS)
        largest = params.tier_sizes[made_up.tier]
        sizes = (largest, params.min_size, params.min_size + 1, rng.randrange(1, largest), 1)
        made_up.size = rng.choice((*sizes, *sizes, MAX_SIZE))
        price = present.price
        made_up.entry_price = min(rng.randrange(price * 8 // 10, price * 12 // 10) + 1, MAX_PRICE)
        if rng.random() < 0.2:
            made_up.entry_price = rng.choice((1, price, MAX_PRICE))
        drift = 10 ** rng.randrange(1, 13)
        made_up.entry_funding = present.funding[made_up.side] + rng.randrange(-drift, drift + 1)
        made_up.epoch = max(present.epoch - rng.randrange(2), 0)
        if rng.random() < 0.3:
            one, two, three, four = (
                min(rng.choice((1, 3, 10)) * part, WAD // 2)
                for part in present.terms.maintenance_fractions
            )
            dearer = one, two, three, four
            present.terms = present.terms._replace(maintenance_fractions=dearer)
        made_up.margin = self._margin(double, rng)
        if rng.random() < 0.3 and made_up.entry_price < MAX_PRICE // 2:
            self._align(double)

    def _margin(self, double: Double, rng: random.Random) -> int:
        """One where the rule changes, or between two of those."""
        lens, made_up = self._lens, double.made_up
        snapshot = lens._load(double)  # type: ignore[arg-type]
        value = lens._value(made_up, made_up.size, double.present.price, snapshot)
        due = lens._maintenance(made_up, snapshot)
        penalty = lens._penalty(made_up.size, snapshot)
        initial = self._market.engine._params.initial_fractions[made_up.tier]
        equity = rng.choice(
            (
                due,
                0,
                penalty,
                due * initial // WAD,
                rng.randrange(due + 1),
                rng.randrange(due + 1),
                rng.randrange(4 * due + 2),
            )
        )
        return min(max(equity - value + rng.randrange(-2, 3), 0), MAX_MARGIN)

    def _align(self, double: Double) -> None:
        """Funding such that the price at which its value is next lower is hardly one."""
        present, made_up, scale = double.present, double.made_up, self._market.NOTIONAL_SCALE
        side, size = made_up.side, made_up.size
        entry = made_up.entry_price, made_up.entry_funding
        funding = present.funding[side]
        fraction = present.terms.maintenance_fractions[made_up.tier]
        value_scale = scale * FUNDING_PRECISION
        key = trigger_key._trigger_key(side, size, made_up.margin, *entry, value_scale)
        price = trigger_price._meeting_price(side, key + 1, funding, fraction)
        value = margin_math._position_value(side, size, *entry, price, funding, value_scale)
        lower = fixed_point._signed_div_ceil(value * value_scale, size)
        limit = lower + margin_math._marked_value(side, 1, *entry) + funding
        made_up.entry_funding += (limit - 1) % FUNDING_PRECISION

    def _of_marks(self, rng: random.Random, live: list[int]) -> Iterator[Question]:
        """The positions there are at another price: who is due, who has won."""
        double = self._double(rng, live)
        present = double.present
        price = present.price
        present.price = min(rng.randrange(price * 7 // 10, price * 13 // 10) + 1, MAX_PRICE)
        present.epoch += rng.randrange(2)
        if not live:
            self._make_up(double, rng)
        if rng.random() < 0.5:
            # Looked at before, at these marks, or at none that were.
            double.made_up.epoch = present.epoch + rng.randrange(2)
        for name in LISTS:
            for count in (rng.randrange(6), 64):
                yield Question(double, name, (count,))
        due = self._lens.next_to_liquidate(double, 3)  # type: ignore[arg-type]
        for position_id in (*due, double.position_id):
            for name in OF_POSITION:
                yield Question(double, name, (position_id,))
        yield from self._of_owner(double, rng)

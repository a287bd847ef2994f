"""A seeded crowd of traders: who holds what, and what each does when looking at it.

Every trader has a random sequence of their own, and who looks when does not depend on what happens:
two replays with the same seed differ by what the market does, not by luck.
"""

import math
from dataclasses import dataclass
from random import Random

from lockstep.prices import MINUTE
from python_model.modules.constants import LONG, SHORT, WAD
from simulation.tape import DAY, HOUR
from simulation.tiers import Tiers
from simulation.venue import DOLLAR, Venue, address

FIRST_ADDRESS = 0x10000
LOOK_SECONDS = 30 * MINUTE  # a trader looks at the position this often, on average
LONG_SHARE = 0.58  # before a crash there are more longs
MIN_NOTIONAL = 100  # dollars

# Notional: log-normal, its median a twelfth of the first tier; one in a hundred holds far more.
MEDIAN_SHARE = 12
SPREAD = 1.6
WHALE_SHARE = 0.01

# Leverage as a share of the tier's greatest: (of traders, from, to)
APPETITES = ((0.15, 0.8, 1.0), (0.25, 0.4, 0.8), (0.35, 0.1, 0.4), (0.25, 0.02, 0.1))

# What a trader does about a loss
ADDS, STOPS, WAITS = "adds", "stops", "waits"
TEMPERS = (ADDS, STOPS, WAITS, WAITS)


@dataclass(slots=True)
class Trader:
    """One trader with at most one position."""

    address: str
    rng: Random
    notional: int  # of a new position, token units
    appetite: float
    temper: str
    opens_at: int  # not before
    position_id: int = 0
    first_margin: int = 0
    additions: int = 0


class Crowd:
    """All traders of a replay."""

    def __init__(self, seed: int, count: int, tiers: Tiers, start: int, crash_at: int) -> None:
        self.tiers = tiers
        self.crash_at = crash_at
        self._looks = Random(f"{seed} looks")
        self.traders = [
            self._new_trader(Random(f"{seed} trader {index}"), index, start)
            for index in range(count)
        ]

    def notional(self) -> int:
        """Of a position for each of them, token units."""
        return sum(trader.notional for trader in self.traders)

    def endow(self, venue: Venue) -> None:
        """Gives everyone more tokens than they can lose."""
        for trader in self.traders:
            venue.fund(trader.address, 2**90)

    def act(self, venue: Venue, now: int, seconds: int) -> None:
        """Some look at their positions: what `seconds` are good for."""
        looks = -(-len(self.traders) * seconds // LOOK_SECONDS)
        for index in self._looks.choices(range(len(self.traders)), k=looks):
            self._look(self.traders[index], venue, now)

    def _new_trader(self, rng: Random, index: int, start: int) -> Trader:
        first, _, third, fourth = (tier.max_notional for tier in self.tiers)
        if rng.random() < WHALE_SHARE:
            dollars = math.exp(rng.uniform(math.log(third / 4), math.log(fourth / 3)))
        else:
            dollars = math.exp(rng.gauss(math.log(first / MEDIAN_SHARE), SPREAD))
        draw, appetite = rng.random(), 0.0
        for share, least, most in APPETITES:
            if draw < share:
                appetite = rng.uniform(least, most)
                break
            draw -= share
        return Trader(
            address(FIRST_ADDRESS + index),
            rng,
            # Rounded: no figure hangs on the last bit of a logarithm.
            min(max(MIN_NOTIONAL, round(dollars)), fourth * 9 // 10) * DOLLAR,
            max(appetite, 0.02),
            rng.choice(TEMPERS),
            # Entries are spread over nine tenths of the time before the crash.
            start + int(rng.random() * 0.9 * (self.crash_at - start)),
        )

    def _look(self, trader: Trader, venue: Venue, now: int) -> None:
        if trader.position_id == 0:
            if now >= trader.opens_at:
                self._open(trader, venue, now)
            return
        found = venue.position(trader.position_id)
        if found is None:  # liquidated or deleveraged since the last look
            self._leave(trader, now)
            return
        side, size, margin = found
        equity, requirement = venue.health(trader.position_id)
        rng = trader.rng
        if equity < 2 * requirement and trader.temper == ADDS and trader.additions < 2:
            if venue.add_margin(trader.address, trader.position_id, trader.first_margin // 2 + 1):
                trader.additions += 1
        elif equity < margin // 2 and trader.temper == STOPS:
            self._close(trader, venue, side, now)
        elif equity > 2 * margin and rng.random() < 0.5:
            if rng.random() < 0.5:
                self._close(trader, venue, side, now)
            else:
                venue.reduce(trader.address, trader.position_id, side, size // 2)
        elif rng.random() < 0.02:
            self._change(trader, venue, side, size, margin, now)

    def _open(self, trader: Trader, venue: Venue, now: int) -> None:
        rng = trader.rng
        longs = LONG_SHARE if now < self.crash_at else 0.5
        side = LONG if rng.random() < longs else SHORT
        price, _ = venue.price()
        size = trader.notional * 10**30 // price
        margin = self._margin(trader, venue, side, size, trader.notional)
        trader.position_id = venue.open(trader.address, side, size, margin)
        trader.first_margin, trader.additions = margin, 0

    def _margin(self, trader: Trader, venue: Venue, side: int, size: int, notional: int) -> int:
        """What the appetite says, or what the market demands if that is more, and the fee."""
        tier = next(tier for tier in self.tiers if notional <= tier.max_notional * DOLLAR)
        appetite_ppm = round(trader.appetite * 10**6)
        wanted = notional * tier.initial_fraction // WAD * 10**6 // appetite_ppm
        demanded = notional * venue.initial_fraction(side, size) // WAD
        return min(max(wanted, demanded * 51 // 50), notional) + notional // 1000 + 1

    def _change(
        self, trader: Trader, venue: Venue, side: int, size: int, margin: int, now: int
    ) -> None:
        match trader.rng.randrange(4):
            case 0:
                notional = venue.notional(size // 2, venue.price()[0])
                if notional < trader.notional:
                    added = self._margin(trader, venue, side, size // 2, notional)
                    venue.increase(trader.address, trader.position_id, side, size // 2, added)
            case 1:
                venue.reduce(trader.address, trader.position_id, side, size // 2)
            case 2:
                venue.remove_margin(trader.address, trader.position_id, margin // 10 + 1)
            case _:
                self._close(trader, venue, side, now)

    def _close(self, trader: Trader, venue: Venue, side: int, now: int) -> None:
        if venue.close(trader.address, trader.position_id, side):
            self._leave(trader, now)

    def _leave(self, trader: Trader, now: int) -> None:
        """Comes back within the hour, in a crash within two days."""
        trader.position_id = 0
        most = HOUR if now < self.crash_at else 2 * DAY
        trader.opens_at = now + int(trader.rng.random() * most)

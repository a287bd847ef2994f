"""What a replay did to the market."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

PPM = 10**6


class Snapshot(NamedTuple):
    """The market at a moment; token units, the notional at its last price."""

    positions: int
    notional: int
    margin: int
    pool_cash: int
    reserve: int


@dataclass
class Figures:
    """Counts of a stretch of time; amounts in token units."""

    updates: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # updates, by reason
    held: int = 0  # prices that waited for a second report
    halted_seconds: int = 0
    restricted_seconds: int = 0  # during which only reducing was possible
    trips: Counter[str] = field(default_factory=Counter)  # of breakers, by cause
    turned_away: Counter[str] = field(default_factory=Counter)  # traders, by reason
    opened: int = 0
    most_positions: int = 0
    partial: int = 0
    full: int = 0
    liquidated: set[int] = field(default_factory=set)  # positions
    liquidated_notional: int = 0
    ruined: int = 0  # liquidations with bad debt
    bad_debt: int = 0
    reserve_used: int = 0
    deleveraged: int = 0
    deleveraged_notional: int = 0
    largest_claims: int = 0
    drawdown_ppm: int = 0
    backlogs: int = 0
    longest_backlog_updates: int = 0
    longest_backlog_seconds: int = 0
    _best_share: int = 0
    _backlog_since: int = -1
    _backlog_updates: int = 0

    def saw_share(self, value: int) -> None:
        """What a share of the pool is worth now: the drawdown is measured from its best so far."""
        self._best_share = max(self._best_share, value)
        fall = (self._best_share - value) * PPM // self._best_share
        self.drawdown_ppm = max(self.drawdown_ppm, fall)

    def saw_backlog(self, has_backlog: bool, at: int, is_update: bool) -> None:
        """After an update or a continuation: a backlog lasts until something ends it."""
        if self._backlog_since < 0:
            if not has_backlog:
                return
            self.backlogs += 1
            self._backlog_since, self._backlog_updates = at, 0
        self._backlog_updates += is_update
        self.longest_backlog_updates = max(self.longest_backlog_updates, self._backlog_updates)
        self.longest_backlog_seconds = max(self.longest_backlog_seconds, at - self._backlog_since)
        if not has_backlog:
            self._backlog_since = -1

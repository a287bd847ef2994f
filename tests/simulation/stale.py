"""What happens while the feed has nothing new."""

from simulation.tape import Report
from simulation.venue import Venue


class StaleWatch:
    """Notes every report at which the last observation was too old, and what moved nevertheless."""

    def __init__(self, max_price_age: int, start: int = 0, end: int = 2**63) -> None:
        self.max_price_age = max_price_age
        self.start, self.end = start, end
        self.stale = 0  # reports
        self.longest = 0  # seconds
        self.moved: list[int] = []  # reports at which price, epoch or a liquidation counter moved
        self.price_times: set[int] = set()
        self._last: tuple[int, ...] | None = None

    def __call__(self, venue: Venue, report: Report) -> None:
        age = report.at - report.price_time
        if age <= self.max_price_age or not self.start <= report.at < self.end:
            self._last = None
            return
        figures = venue.figures
        price, price_time = venue.price()
        seen = (price, price_time, figures.updates, figures.partial, figures.full, figures.opened)
        if self._last is not None and seen != self._last:
            self.moved.append(report.at)
        self._last = seen
        self.stale += 1
        self.longest = max(self.longest, age)
        self.price_times.add(price_time)

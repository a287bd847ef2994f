"""What the steps of one market came to: the figures of a report, from the model's events."""

from collections.abc import Callable
from typing import Any

from lockstep.step import Step
from perp_fuzz.samples import Watch
from python_model.evm import Event
from python_model.invariants import Observation
from python_model.modules import breaker_causes

CAUSES = {
    number: name.lower().replace("_", " ")
    for name, number in vars(breaker_causes).items()
    if name.isupper()
}
NAMES = (
    "liquidations",
    "liquidations in part",
    "liquidations in full",
    "liquidations with bad debt",
    "liquidations paid by insurance",
    "backlogs",
    "deleveraged",
    "settled",
    "claims",
    "claims paid",
    "prices held",
    "prices confirmed",
    "restrictions",
    "parameters changed",
    *(f"trips: {cause}" for cause in CAUSES.values()),
    "largest gap in ppm",
    "largest number of open positions",
    "largest number liquidated in one call",
)
Fields = tuple[Any, ...]  # of an event


class Counts(dict[str, int]):
    """Figures by name; those that begin with "largest" are no sums."""

    def __init__(self, seen: Observation, watch: Watch) -> None:
        super().__init__(dict.fromkeys(NAMES, 0))
        self._seen = seen
        self._watch = watch
        self._last_price = 0
        self._notes: dict[str, Callable[[Step, Fields], None]] = {
            "PositionOpened": self._opened,
            "PositionLiquidated": self._liquidated,
            "PositionSettled": self._settled,
            "BreakerTripped": self._tripped,
            "ProfitPaid": self._profit_paid,
            "BacklogChanged": self._backlog_changed,
            "PriceUpdated": self._price_updated,
            "PriceHeld": self._once("prices held"),
            "PriceConfirmed": self._once("prices confirmed"),
            "Restricted": self._once("restrictions"),
            "ParamsSet": self._once("parameters changed"),
            "ClaimPaid": self._once("claims paid"),
        }

    def note(self, step: Step, events: list[Event]) -> None:
        """Counts what a step did."""
        notes = self._notes
        if not self._seen.names.isdisjoint(notes):
            for _, name, fields in events:
                if name in notes:
                    notes[name](step, fields)

    def _once(self, name: str) -> Callable[[Step, Fields], None]:
        def note(step: Step, fields: Fields) -> None:
            self[name] += 1

        return note

    def _raise(self, name: str, value: int) -> None:
        if value > self[name]:
            self[name] = value

    def _opened(self, step: Step, fields: Fields) -> None:
        self._raise("largest number of open positions", len(self._seen.live))

    def _liquidated(self, step: Step, fields: Fields) -> None:
        seen, position_id = self._seen, fields[0]
        if (before := seen.changed.get(position_id)) is not None:
            self._watch.liquidated(seen.turn, fields[3], before.side)
        is_full = seen.market._positions[position_id] is None
        self["liquidations"] += 1
        self[f"liquidations in {'full' if is_full else 'part'}"] += 1
        self["liquidations paid by insurance"] += fields[8] > 0
        self["liquidations with bad debt"] += fields[9] > 0
        together = sum(event.name == "PositionLiquidated" for event in seen.events)
        self._raise("largest number liquidated in one call", together)

    def _settled(self, step: Step, fields: Fields) -> None:
        self["deleveraged" if fields[-1] else "settled"] += 1

    def _tripped(self, step: Step, fields: Fields) -> None:
        self[f"trips: {CAUSES[fields[0]]}"] += 1

    def _profit_paid(self, step: Step, fields: Fields) -> None:
        self["claims"] += fields[2] > 0

    def _backlog_changed(self, step: Step, fields: Fields) -> None:
        self["backlogs"] += fields[0]

    def _price_updated(self, step: Step, fields: Fields) -> None:
        price, last = fields[0], self._last_price
        if price == last:
            return
        self._watch.priced(self._seen.turn, price)
        if last and step.aim == "valid":
            gap = abs(price - last) * 10**6 // max(price, last)
            self._raise("largest gap in ppm", gap)
        self._last_price = price

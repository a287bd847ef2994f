"""What a campaign has reached, and weights that shift to what it has reached rarely.

A feature is a name of something that a step reached: a revert reason, an event, a state of the
protocol, a side of a boundary. A twin that knows more than outcomes names them in `features`.
"""

import random
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

SIDES = ("one below", "at", "one above")


def near(boundary: str) -> tuple[str, str, str]:
    """Names of the sides of a boundary, to be indexed by the distance from it: 0, 1 or -1."""
    below, at, above = (f"{boundary}: {side}" for side in SIDES)
    return at, above, below


def boundary_table(features: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Boundary -> side -> how many steps stood there, for every boundary among the features."""
    table: dict[str, dict[str, int]] = {}
    for name, count in sorted(features.items()):
        boundary, _, side = name.rpartition(": ")
        if side in SIDES and boundary:
            table.setdefault(boundary, dict.fromkeys(SIDES, 0))[side] = count
    return table


def outcome(action: str, ok: bool, reason: str) -> str:
    """The feature that every step has: how its action ended."""
    return f"{action}: {'succeeds' if ok else reason or 'no reason'}"


@runtime_checkable
class Featured(Protocol):
    """A twin that names what its steps reach, besides how they end."""

    def features(self) -> Iterable[str]:
        """Names of what was reached since this was last asked, each as often as it was.

        The sides of a boundary have the names that `near` gives.
        """


class Rarity:
    """Draws among choices, the more often the less they were drawn or credited so far.

    A choice of base weight w that was credited n times has the weight w / (1 + n / patience). The
    history decides and the generator's own random numbers, nothing else: a chain repeats.
    """

    def __init__(self, weights: Mapping[str, float], patience: float = 1.0) -> None:
        self._names = list(weights)
        self._base = list(weights.values())
        self._place = {name: i for i, name in enumerate(self._names)}
        self._credits = [0] * len(self._names)
        self._patience = patience
        self._cumulative: Sequence[float] = ()

    def credit(self, names: Iterable[str]) -> None:
        """What was reached; names that are no choices are nobody's."""
        place = self._place
        for name in names:
            if name in place:
                self._credits[place[name]] += 1
                self._cumulative = ()

    def draw(self, rng: random.Random) -> str:
        """One of the choices."""
        cumulative = self._cumulative
        if not cumulative:
            pairs = zip(self._base, self._credits, strict=True)
            cumulative = list(accumulate(w / (1 + n / self._patience) for w, n in pairs))
            self._cumulative = cumulative
        return self._names[bisect(cumulative, rng.random() * cumulative[-1])]


class Weights:
    """Draws among choices, heavier those of which some endings were rare so far.

    A choice has its base weight and `GAIN` of it for each ending that it has had less than `FEW`
    times, for `MOST` of them at most. What was never seen is nobody's: a base weight sees to that.
    """

    GAIN, FEW, MOST = 0.6, 10, 5
    EVERY = 300  # noted endings after which the weights shift

    def __init__(self, base: Mapping[str, float]) -> None:
        self._base = dict(base)
        self._names = list(base)
        self._cumulative = list(accumulate(base.values()))
        self._counts: dict[tuple[str, str], int] = {}
        self._left = self.EVERY

    def note(self, choice: str, ending: str) -> None:
        """A step of this choice has ended so."""
        key = choice, ending
        self._counts[key] = self._counts.get(key, 0) + 1
        self._left -= 1
        if not self._left:
            self._left = self.EVERY
            self._shift()

    def _shift(self) -> None:
        rare = dict.fromkeys(self._base, 0)
        for (choice, _), count in self._counts.items():
            if count < self.FEW and choice in rare:
                rare[choice] += 1
        self._cumulative = list(
            accumulate(
                weight * (1 + self.GAIN * min(rare[name], self.MOST))
                for name, weight in self._base.items()
            )
        )

    def draw(self, rng: random.Random) -> str:
        """One of the choices."""
        return self._names[bisect(self._cumulative, rng.random() * self._cumulative[-1])]

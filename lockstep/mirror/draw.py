"""What a mirror draws: arguments by type, aims at an exact edge, and spoiled steps."""

import random
from bisect import bisect
from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from lockstep.edges import find_edge
from lockstep.mirror.codec import Item
from lockstep.mirror.model import ZERO_ADDRESS
from lockstep.step import Step

if TYPE_CHECKING:
    from lockstep.mirror.twin import Mirror

Probe = Callable[[int], Any]  # what comes of the step with this number in the chosen place
T = TypeVar("T")
NUMBERS = 32  # remembered
ATTEMPTS = 8  # at a step that is possible
WEIGHT_UNDRAWN = 1.0  # of a function that nothing is said about
WEIGHT_VIEW = 0.3
WEIGHT_GETTER = 0.05
STRIDE = 8  # growth of the steps in which an edge is looked for
HORIZON = 2**25  # seconds, about a year: how far a guard on the time is looked for


class Arguments:
    """Arguments of any type, numbers preferably near those seen before."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self._numbers: deque[int] = deque((1, 1_000, 10**6, 10**18), NUMBERS)

    def remember(self, values: Sequence[Any]) -> None:
        self._numbers.extend(value for value in values if type(value) is int)

    def draw(self, rng: random.Random, item: Item) -> Any:
        """A value of the type, as a Step holds it."""
        kind: str = item["type"]
        if kind.endswith("]"):
            size = kind[kind.rindex("[") + 1 : -1]
            element = {**item, "type": kind[: kind.rindex("[")]}
            count = int(size) if size else rng.randrange(3)
            return tuple(self.draw(rng, element) for _ in range(count))
        if kind == "tuple":
            return tuple(self.draw(rng, part) for part in item["components"])
        if kind == "address":
            return rng.choice(self.addresses)
        if kind == "bool":
            return rng.randrange(2)
        if kind == "string":
            return rng.choice(("", "a", "text"))
        if kind.startswith("bytes"):
            length = int(kind[5:] or rng.randrange(33))
            return "0x" + rng.choice((bytes(length), rng.randbytes(length))).hex()
        return self._number(rng, *bounds(kind))

    def _number(self, rng: random.Random, least: int, largest: int) -> int:
        roll = rng.randrange(8)
        if roll == 0:
            return rng.choice((least, 0, 1, largest))
        if roll == 1:
            return min(largest, rng.getrandbits(rng.randrange(1, largest.bit_length() + 1)))
        near = rng.choice(self._numbers) + rng.choice((-1, 0, 0, 1))
        return min(max(near, least), largest)


def bounds(kind: str) -> tuple[int, int]:
    """Least and largest value of "uint128", "int256", ..."""
    if kind.startswith("uint"):
        return 0, 2 ** int(kind[4:]) - 1
    half = 2 ** (int(kind[3:]) - 1)
    return -half, half - 1


def nearest_edge(
    rng: random.Random, probe: Probe, value: int, least: int, largest: int
) -> int | None:
    """A number at an edge of what the step does: on it, or one unit to either side.

    Looked for from `value` in growing strides, up or down, then by bisection. None if the outcome
    is the same at both ends.
    """
    for up in rng.sample((True, False), 2):
        found = _edge(probe, value, largest if up else least)
        if found is not None:
            below, above = found
            near = rng.choice((below, below, above, above, below - 1, above + 1))
            return min(max(near, least), largest)
    return None


def _edge(probe: Probe, value: int, limit: int) -> tuple[int, int] | None:
    """Two neighbours, in rising order, between which the outcome changes."""
    first = probe(value)
    if probe(limit) == first:
        return None
    sign = 1 if limit > value else -1
    last, stride = value, 1
    while True:
        reached = value + sign * min(stride, abs(limit - value))
        if probe(reached) != first:
            low, high = sorted((last, reached))
            return find_edge(lambda x: probe(x) == first, low, high)
        last, stride = reached, STRIDE * stride


class Drawer:
    """Steps of one mirror: mostly meant to succeed, some spoiled, some aimed at an edge."""

    def __init__(self, twin: "Mirror") -> None:
        self.twin = twin
        self.arguments = Arguments([*twin.address, ZERO_ADDRESS])
        # Per action: its name, who may act, and the method that draws, if there is one.
        self._plans: list[tuple[str, Sequence[str], Callable[..., Any] | None]] = []
        weights = []
        for action, function in twin.functions.items():
            draw = twin.draws.get(action)
            by = draw.by if draw is not None else ()
            method = getattr(twin, draw.method) if draw is not None else None
            self._plans.append((action, by or twin.roles, method))
            usual = WEIGHT_VIEW if function.codec.is_view else WEIGHT_UNDRAWN
            usual = WEIGHT_GETTER if function.is_getter else usual
            weights.append(draw.weight if draw is not None else usual)
        *self._bounds, self._total = accumulate(weights)

    def step(self, rng: random.Random) -> Step:
        twin = self.twin
        self.arguments.remember((twin.returned,))  # an identifier, perhaps
        at = twin.now + one_of(rng, twin.delays)
        twin.chain.timestamp = at  # what the model says of now is said of then
        step = self._possible(rng, at)
        roll = rng.random()
        if roll < twin.edge_share:
            return self._aim(rng, step) or step
        if roll < twin.edge_share + twin.invalid_share:
            return self._spoil(rng, step)
        self.arguments.remember(step.args)
        return step

    def _possible(self, rng: random.Random, at: int) -> Step:
        twin = self.twin
        for _ in range(ATTEMPTS):
            place = bisect(self._bounds, rng.random() * self._total)
            action, roles, method = self._plans[place]
            actor = one_of(rng, roles)
            if method is None:
                break
            values = method(rng, twin.address[actor])
            if values is not None:
                args = tuple([twin.names.get(item, item) for item in values])
                return Step(action, actor, args, at)
        inputs = twin.functions[action].codec.inputs
        args = tuple(self.arguments.draw(rng, item) for item in inputs)
        return Step(action, actor, args, at, "random")

    def _spoil(self, rng: random.Random, step: Step) -> Step:
        """The same with one thing changed: who acts, or one of the arguments."""
        place = rng.randrange(-1, len(step.args))
        if place < 0:
            return step._replace(actor=rng.choice(self.twin.roles), aim="invalid")
        item = self.twin.functions[step.action].codec.inputs[place]
        return _with(step, place, self.arguments.draw(rng, item), "invalid")

    def _aim(self, rng: random.Random, step: Step) -> Step | None:
        """The same with one number, or the time, at an edge of what comes of it."""
        twin = self.twin
        inputs = twin.functions[step.action].codec.inputs
        places = [i for i, item in enumerate(inputs[: len(step.args)]) if is_number(item["type"])]
        place = rng.choice([*places, -1])
        if place < 0:
            at = nearest_edge(
                rng,
                lambda x: twin.outcome(step._replace(at=x)),
                step.at,
                twin.now,
                twin.now + HORIZON,
            )
            return None if at is None else step._replace(at=at, aim="edge")
        number = nearest_edge(
            rng,
            lambda x: twin.outcome(_with(step, place, x)),
            int(step.args[place]),
            *bounds(inputs[place]["type"]),
        )
        return None if number is None else _with(step, place, number, "edge")


def one_of(rng: random.Random, items: Sequence[T]) -> T:
    """random.choice at a fifth of its time."""
    return items[int(rng.random() * len(items))]


def is_number(kind: str) -> bool:
    return kind.startswith(("uint", "int")) and not kind.endswith("]")


def _with(step: Step, place: int, value: Any, aim: str = "") -> Step:
    args = (*step.args[:place], value, *step.args[place + 1 :])
    return step._replace(args=args, aim=aim or step.aim)

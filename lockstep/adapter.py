"""What a protocol implements to be fuzzed: an Adapter, and the Twin it makes."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from lockstep.engines.base import Engine
from lockstep.step import ModelResult, Step

# JSON-serialisable; everything a deployment depends on. A campaign adds "seed" (of the chain),
# "chain" (its number) and "chains" (how many there are).
Config = dict[str, Any]


class Refusal(bytes):
    """Expected output of a view that reverts: its revert data."""


Call = tuple[str, str, bytes]  # sender, target, calldata
# An expected output, or what gives it when it is asked for, which is before the next view is drawn
# or never. One that is a Refusal is that of a revert.
Expected = bytes | Callable[[], bytes]
# Address, calldata, expected output, label; and who asks, if that matters; and what is done before,
# all of it undone afterwards.
View = (
    tuple[str, bytes, Expected, str]
    | tuple[str, bytes, Expected, str, str]
    | tuple[str, bytes, Expected, str, str, Sequence[Call]]
)


class Twin(Protocol):
    """One deployed system and its model, at one moment."""

    now: int

    def execute_model(self, step: Step) -> ModelResult:
        """Run the step on the model. A revert leaves no trace in it."""

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        """Sender address, target address, calldata."""

    def touched_words(self) -> Iterable[tuple[str, int, int]]:
        """(address, slot, expected value) of what was touched since this was last asked.

        Asked after each step, or once for a batch of steps: then with the values after the last.
        """

    def all_words(self) -> Iterable[tuple[str, int, int]]:
        """The whole observable state, per the model. Signed values as unsigned words."""

    def views(self) -> Iterable[View]:
        """What is asked of the contracts, sampled at intervals."""

    def word_name(self, address: str, slot: int) -> str:
        """A storage word in words, for a report."""

    def describe(self, step: Step) -> str:
        """One sentence: who does what."""

    def statistics(self) -> dict[str, int]:
        """Counts of this twin. Added up over twins, except names that begin with "largest"."""

    # Optional, for distributions and lines in the report: `Sampled` in samples.py. For stories:
    # context() -> str, what a reader of the next step has to know (the price, say), and
    # show_log(log) -> str, an event in words (story.py).


@runtime_checkable
class Noteworthy(Protocol):
    """What a twin may offer: some views are compared where it first is in some state, too."""

    def states(self) -> Iterable[str]:
        """Names of the rare states that it is in. Asked every few steps: it has to be cheap."""

    def looks(self) -> Iterable[View]:
        """Those of its views that such a state may change."""


@runtime_checkable
class InParts(Protocol):
    """What a twin may offer whose views take long: only the part that showed a failure is asked
    again when it is shrunk."""

    def view_parts(self) -> Sequence[Callable[[], Iterable[View]]]:
        """Its views in parts, each of which depends on the state alone; the same parts always."""


class Invariant(NamedTuple):
    id: str
    sentence: str
    # Of a twin, or of its `observed` if it has that. None, or in words how it is broken.
    check: Callable[[Any], str | None]
    every: int = 1  # steps between two checks; 1 is each step that changed something
    # Names, such as of events: looked at only after a step that its subject says was about one of
    # them (`about()`); empty for any step.
    about: frozenset[str] = frozenset()


class Adapter(Protocol):
    name: str
    import_path: str  # "package.module:NAME" of this adapter, written into regression tests
    actions: Mapping[str, Any]
    # action -> (producing action, positions of the args that are its return values)
    references: Mapping[str, tuple[str, tuple[int, ...]]]
    invariants: Sequence[Invariant]
    # Optional: measures: Mapping[str, Measure], of what the twins' samples() give (samples.py).
    # complaint(step) -> str | None, what is wrong with the arguments of a step that was read from
    # a file (case.py).

    def new_twin(self, engine: Engine, config: Config) -> Twin:
        """Deploy. The same config gives the same addresses and state on a fresh engine."""

    def generate(self, twin: Twin, rng: random.Random) -> Step:
        """The next step; it may look at the model through the twin."""

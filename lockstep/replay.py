"""Run the same steps on several engines at once, beside the model, and say whether they agree.

Compared at every step: success, revert or halt, return or revert data, events in order; and, on the
engines of this process, the words that the model touched. At the end of a chain: every word that
was ever touched or that the model knows, and every view, on every engine.
"""

import gc
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lockstep.adapter import Adapter, Config, Twin
from lockstep.compare import look, outcome_mismatch, show_int
from lockstep.engines.base import Engine, EngineError, Outcome, open_engine
from lockstep.errors import InputError
from lockstep.step import ModelResult, Step

MODEL = "the model"
REMOTE = ("anvil",)  # reading a word of these is a request

Word = tuple[str, int]
Draw = Callable[[Twin], Step]


class Chain(NamedTuple):
    """Steps on one fresh deployment: given, or drawn from the model as they are needed."""

    config: Config
    length: int
    steps: Sequence[Step] | None = None

    def source(self, adapter: Adapter, twin: Twin) -> Iterator[Step]:
        """The steps one by one. Each is to be executed before the next is asked for."""
        if self.steps is not None:
            yield from self.steps
            return
        rng = random.Random(self.config["seed"])
        for _ in range(self.length):
            yield adapter.generate(twin, rng)


class Difference(NamedTuple):
    """The first thing that was not equal."""

    chain: int
    step: int  # from 1; 0 where only a look at everything shows it
    who: str  # who differs from whom
    text: str
    config: Config
    steps: list[Step]  # up to it


@dataclass
class Tally:
    """What was compared, and equal."""

    engines: list[str]
    chains: int = 0
    steps: int = 0
    succeeded: int = 0
    reverted: int = 0
    halted: int = 0
    events: int = 0
    words: int = 0
    views: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def note(self, result: ModelResult, outcome: Outcome) -> None:
        """One step on which all agreed."""
        self.steps += 1
        self.succeeded += outcome.ok
        self.halted += bool(outcome.halted)
        self.reverted += not outcome.ok and not outcome.halted
        self.events += len(outcome.logs)
        if not outcome.ok:
            self.reasons[result.reason] = self.reasons.get(result.reason, 0) + 1
        self.digest.update(repr((outcome.ok, outcome.output, outcome.logs)).encode())


def replay(
    adapter: Adapter,
    chains: Iterable[Chain],
    engines: Sequence[str],
    tally: Tally,
    tick: Callable[[int], None] = lambda steps: None,
) -> Difference | None:
    """All chains up to the first difference. What was done is in the tally however it ends."""
    for number, chain in enumerate(chains):
        difference = _Run(adapter, chain, number, engines, tally).run(tick)
        if difference is not None:
            return difference
        tally.chains += 1
    return None


class _Run:
    """One chain on all engines."""

    def __init__(
        self, adapter: Adapter, chain: Chain, number: int, engines: Sequence[str], tally: Tally
    ) -> None:
        self.adapter, self.chain, self.number, self.tally = adapter, chain, number, tally
        self.names = list(engines)
        self.engines: list[Engine] = []
        self.done: list[Step] = []
        self.seen: set[Word] = set()

    def run(self, tick: Callable[[int], None]) -> Difference | None:
        is_collecting = gc.isenabled()
        gc.disable()
        try:
            twin = self._deploy()
            for step in self.chain.source(self.adapter, twin):
                difference = self._step(twin, step)
                if difference is not None:
                    return difference
                tick(1)
            return self._final(twin)
        finally:
            for engine in self.engines:
                engine.close()
            if is_collecting:
                gc.enable()

    def _deploy(self) -> Twin:
        twins = []
        for name in self.names:
            self.engines.append(open_engine(name))
            try:
                twins.append(self.adapter.new_twin(self.engines[-1], self.chain.config))
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                if isinstance(error, EngineError | InputError):
                    raise
                raise InputError(
                    f"the config {self.chain.config} cannot be deployed on {name}: "
                    f"{type(error).__name__} {error}; correct it"
                ) from error
        places = [_places(twin) for twin in twins]
        for name, others in zip(self.names[1:], places[1:], strict=True):
            if others != places[0]:
                raise InputError(
                    f"the adapter deploys to other addresses on {name} than on {self.names[0]}, so "
                    "that no step can be the same; deploy with senders that send nothing before"
                )
        return twins[0]

    def _step(self, twin: Twin, step: Step) -> Difference | None:
        self.done.append(step)
        expected, outcomes = self._execute(twin, step)
        if isinstance(expected, Exception):
            text = f"the model crashed: {type(expected).__name__}: {expected}"
            return self._difference(len(self.done), MODEL, text)
        difference = self._outcomes(expected, outcomes)
        if difference is not None:
            return difference
        touched = list(twin.touched_words())
        self.seen.update((address, slot) for address, slot, _ in touched)
        for name, engine in zip(self.names, self.engines, strict=True):
            for address, slot, value in () if name in REMOTE else touched:
                got = engine.storage(address, slot)
                if got != value:
                    said = _word(twin, (address, slot), value, got)
                    return self._difference(len(self.done), f"{name} and {MODEL}", said)
        self.tally.note(expected, outcomes[0])
        return None

    def _execute(self, twin: Twin, step: Step) -> tuple[ModelResult | Exception, list[Outcome]]:
        try:
            expected = twin.execute_model(step)
            call = twin.encode(step)
        except Exception as error:  # a crash of the model is a finding
            return error, []
        outcomes = []
        for engine in self.engines:
            engine.set_time(step.at)
            outcomes.append(engine.call(*call))
        return expected, outcomes

    def _outcomes(self, expected: ModelResult, outcomes: Sequence[Outcome]) -> Difference | None:
        first = outcomes[0]
        for name, other in zip(self.names[1:], outcomes[1:], strict=True):
            if _plain(other) != _plain(first):
                as_model = ModelResult(first.ok, first.output, first.logs)
                if first.halted or other.halted:
                    text = f"{self.names[0]}: {_said(first)}; {name}: {_said(other)}"
                else:
                    text = outcome_mismatch(as_model, other).text
                    text = text.replace("the model", self.names[0]).replace("the contract", name)
                return self._difference(len(self.done), f"{self.names[0]} and {name}", text)
        if _plain(first) != (expected.ok, False, expected.output, expected.logs):
            text = outcome_mismatch(expected, first).text
            who = " and ".join(self.names)
            return self._difference(len(self.done), f"{MODEL} and the contract on {who}", text)
        return None

    def _final(self, twin: Twin) -> Difference | None:
        known = {(address, slot): value for address, slot, value in twin.all_words()}
        words = sorted(self.seen | set(known))
        held = {word: self.engines[0].storage(*word) for word in words}
        for word, value in known.items():
            if held[word] != value:
                said = _word(twin, word, value, held[word])
                return self._found_at(twin, word, f"{self.names[0]} and {MODEL}", said)
        for name, engine in zip(self.names[1:], self.engines[1:], strict=True):
            for word in words:
                got = engine.storage(*word)
                if got != held[word]:
                    said = _word(twin, word, held[word], got)
                    return self._found_at(twin, word, f"{self.names[0]} and {name}", said)
        for view in twin.views():
            for name, engine in zip(self.names, self.engines, strict=True):
                found = look(engine, view)
                if found is not None:
                    return self._difference(0, f"{name} and {MODEL}", f"{name}: {found.text}")
            self.tally.views += 1
        self.tally.words += len(words)
        self.tally.digest.update(repr(sorted(held.items())).encode())
        return None

    def _found_at(self, twin: Twin, word: Word, who: str, text: str) -> Difference:
        """The step at which a word became different: everything once more, looking at it alone."""
        again = _Run(self.adapter, self.chain, self.number, self.names, Tally(self.names))
        try:
            fresh = again._deploy()
            for number, step in enumerate(self.done, 1):
                expected, _ = again._execute(fresh, step)
                if isinstance(expected, Exception):
                    break
                values = {engine.storage(*word) for engine in again.engines}
                values |= {
                    v for address, slot, v in fresh.touched_words() if (address, slot) == word
                }
                if len(values) > 1:
                    return self._difference(number, who, text)
        finally:
            for engine in again.engines:
                engine.close()
        return self._difference(0, who, text)

    def _difference(self, step: int, who: str, text: str) -> Difference:
        steps = self.done[: step or None]
        return Difference(self.number, step, who, text, self.chain.config, steps)


def _places(twin: Twin) -> set[str]:
    """Where there is something to compare."""
    words = {address for address, _, _ in twin.all_words()}
    return words | {address for address, *_ in twin.views()}


def _plain(outcome: Outcome) -> tuple[bool, bool, bytes, list[object]]:
    """What has to be equal: engines name their halts differently and gas is not compared."""
    return outcome.ok, bool(outcome.halted), outcome.output, list(outcome.logs)


def _said(outcome: Outcome) -> str:
    if outcome.halted:
        return f"halts ({outcome.halted})"
    return f"{'returns' if outcome.ok else 'reverts with'} 0x{outcome.output.hex()}"


def _word(twin: Twin, word: Word, expected: int, got: int) -> str:
    name = twin.word_name(*word)
    return f"storage of {word[0]}: {name}: {show_int(expected)} and {show_int(got)}"

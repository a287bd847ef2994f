"""Tell what happened: who did what, at which price, and what each side said."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from lockstep.abi import revert_reason, show_log
from lockstep.adapter import Adapter, Config, Twin
from lockstep.compare import show_output
from lockstep.engines.base import Log, Outcome, open_engine
from lockstep.step import ModelResult, Step


class Teller:
    """Tells the steps of one twin, one after the other.

    A twin may help with `context()`, what somebody who reads the next step has to know (the price,
    say), and `show_log(log)`, an event in words; see Twin.
    """

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self._context: Callable[[], str] = getattr(twin, "context", str)
        self._show_log: Callable[[Log], str] = getattr(twin, "show_log", show_log)
        self.is_told = False  # whether an outcome showed a difference
        self._at = 0

    def before(self, step: Step) -> list[str]:
        """When, at which price, who does what. To be told before the model does it."""
        moment = datetime.fromtimestamp(step.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if self._at:
            gap = step.at - self._at
            moment = f"{gap:,} s later" if gap else "at the same time"
        self._at = step.at
        context = self._context()
        head = f"{moment}, {context}" if context else moment
        return [f"{head}:", f"   {self.twin.describe(step)}"]

    def after(self, expected: ModelResult | Exception, got: Outcome | None) -> list[str]:
        """What each side said."""
        if isinstance(expected, Exception):
            return [f"   model:    crashes with {type(expected).__name__}: {expected}"]
        model = self._answer(expected.ok, expected.output, expected.logs, "")
        if got is None:
            return _indented("model:    ", model)
        contract = self._answer(got.ok, got.output, got.logs, got.halted)
        if model == contract:
            return _indented("both:     ", model)
        self.is_told = True
        marked = (
            [line if line in other else f"{line}  <--" for line in lines]
            for lines, other in ((model, contract), (contract, model))
        )
        return [*_indented("model:    ", next(marked)), *_indented("contract: ", next(marked))]

    def _answer(self, ok: bool, output: bytes, logs: Sequence[Log], halted: str) -> list[str]:
        if halted:
            return [f"halts ({halted})"]
        if not ok:
            return [f"reverts with {revert_reason(output)}"]
        first = f"returns {show_output(output)}" if output else "succeeds"
        return [first, *(self._show_log(log) for log in logs)]


def _indented(name: str, lines: Sequence[str]) -> list[str]:
    blank = " " * len(name)
    return [f"   {blank if i else name}{line}" for i, line in enumerate(lines)]


def tell(
    adapter: Adapter, config: Config, steps: Sequence[Step], engine: str, text: str = ""
) -> list[str]:
    """The story, some lines a step. `text` is what differs, told if no outcome showed it."""
    running = open_engine(engine)
    told: list[str] = []
    try:
        teller = Teller(adapter.new_twin(running, config))
        for step in steps:
            lines = teller.before(step)
            running.set_time(step.at)
            lines += teller.after(*_both(teller.twin, running, step))
            told.append("\n".join(lines))
    finally:
        running.close()
    if told and text and not teller.is_told:
        told[-1] += "".join(f"\n   => {line}" for line in text.splitlines())
    return told


def numbered(told: Sequence[str], first: int = 1) -> str:
    """A story as text."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(told, first))


def _both(twin: Twin, engine: Any, step: Step) -> tuple[ModelResult | Exception, Outcome | None]:
    try:
        expected = twin.execute_model(step)
        call = twin.encode(step)
    except Exception as error:  # a crash of the model is part of the story
        return error, None
    return expected, engine.call(*call)

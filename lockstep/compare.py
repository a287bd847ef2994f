"""Put what differs between model and contract into words."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from lockstep.abi import revert_reason, show_log, signed
from lockstep.adapter import Call, Refusal, Twin, View
from lockstep.engines.base import VIEWER, Engine, Log, Outcome
from lockstep.step import ModelResult

WORD, VIEW = "storage", "view"  # kinds of what a look at everything shows


class Mismatch(Exception):
    """Model and contract differ, or an invariant is broken. `kind` names the class of failure,
    `view` which view it is, if that is what differs."""

    def __init__(self, kind: str, text: str, view: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        self.view = view


def outcome_mismatch(expected: ModelResult, got: Outcome) -> Mismatch:
    """The difference of two outcomes known to differ, the most telling part first."""
    if got.halted:
        wanted = "succeeds" if expected.ok else f"reverts with {revert_reason(expected.output)}"
        text = f"the contract halts ({got.halted}), which is no revert; the model {wanted}"
        return Mismatch("halt", text)
    if expected.ok and not got.ok:
        text = f"the model succeeds, the contract reverts with {revert_reason(got.output)}"
        return Mismatch("contract reverts", text)
    if got.ok and not expected.ok:
        text = f"the contract succeeds, the model reverts with {revert_reason(expected.output)}"
        return Mismatch("contract succeeds", text)
    if expected.output != got.output:
        if expected.ok:
            text = f"return value: expected {show_output(expected.output)}"
            return Mismatch("return value", f"{text}, got {show_output(got.output)}")
        text = f"revert reason: expected {revert_reason(expected.output)}"
        return Mismatch("revert reason", f"{text}, got {revert_reason(got.output)}")
    return Mismatch("events", events_difference(expected.logs, got.logs))


def events_difference(expected: Sequence[Log], got: Sequence[Log]) -> str:
    if len(expected) == len(got) and sorted(expected) == sorted(got):
        wanted = ", ".join(show_log(log).split("(")[0] for log in expected)
        found = ", ".join(show_log(log).split("(")[0] for log in got)
        return f"the same events in another order: expected {wanted}; got {found}"
    lines = ["events differ:"]
    for tag, i, j, m, n in SequenceMatcher(None, expected, got, False).get_opcodes():
        if tag != "equal":
            lines += [f"  expected {show_log(log)}" for log in expected[i:j]]
            lines += [f"  got      {show_log(log)}" for log in got[m:n]]
    return "\n".join(lines)


def word_mismatch(twin: Twin, address: str, slot: int, expected: int, got: int) -> Mismatch:
    name = twin.word_name(address, slot)
    text = f"storage of {address}: {name}: expected {show_int(expected)}, got {show_int(got)}"
    return Mismatch(WORD, text)


def look(engine: Engine, view: View) -> Mismatch | None:
    """How the engine answers otherwise than expected, if it does."""
    address, data, wanted, label, *more = view
    expected = wanted() if callable(wanted) else wanted
    got = _answer(engine, address, data, *more)
    if got.ok is not isinstance(expected, Refusal) and not got.halted and got.output == expected:
        return None
    return view_mismatch(label, expected, got)


def _answer(
    engine: Engine, to: str, data: bytes, sender: str = VIEWER, before: Sequence[Call] = ()
) -> Outcome:
    if not before:
        return engine.view(to, data, sender)
    mark = engine.snapshot()
    try:
        for call in before:
            engine.call(*call)
        return engine.view(to, data, sender)
    finally:
        engine.revert(mark)


def view_mismatch(label: str, expected: bytes, got: Outcome) -> Mismatch:
    if got.halted:
        found = f"a halt ({got.halted})"
    elif got.ok:
        found = show_output(got.output)
    else:
        found = f"a revert with {revert_reason(got.output)}"
    wanted = show_output(expected)
    if isinstance(expected, Refusal):
        wanted = f"a revert with {revert_reason(expected)}"
    return Mismatch(VIEW, f"view {label}: expected {wanted}, got {found}", label)


def show_int(value: int) -> str:
    """A word; also as a signed number when it looks like a negative one."""
    return f"{value} ({signed(value)} if signed)" if value >> 255 else str(value)


def show_output(output: bytes) -> str:
    if not output:
        return "nothing"
    if len(output) % 32 or len(output) > 32 * 32:
        return f"0x{output.hex()}"
    values = [int.from_bytes(output[i : i + 32], "big") for i in range(0, len(output), 32)]
    shown = ", ".join(show_int(value) for value in values)
    return shown if len(values) == 1 else f"({shown})"

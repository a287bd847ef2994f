"""From the call trees of a node's callTracer to what reached the system."""

from collections.abc import Collection, Iterator
from typing import Any

from lockstep.engines.base import Log
from lockstep.errors import InputError
from operations.monitor.records import Ask, Attempt, Entry, Item, Transaction

Frame = dict[str, Any]  # as the tracer gives it
NO_CODE = ("DELEGATECALL", "CALLCODE")  # run another's code on the caller's own storage
REVERTED = "execution reverted"


class Reader:
    """Cuts traces for one system, whose addresses are in lower case."""

    def __init__(self, system: Collection[str]) -> None:
        self.system = system

    def transaction(self, hash_: str, frame: Frame) -> Transaction | None:
        """What of a transaction reached the system, if anything."""
        items = tuple(self._items(frame))
        return Transaction(hash_, items) if items else None

    def plain(self, sent: Frame, receipt: Frame) -> Transaction | None:
        """The same of a transaction and its receipt, where nothing is traced. InputError if it
        reached the system through another contract: with what calls is only in traces."""
        logs = tuple(
            (log["address"], tuple(map(_bytes, log["topics"])), _bytes(log["data"]))
            for log in receipt["logs"]
            if log["address"] in self.system
        )
        if sent["to"] in self.system:
            head = (sent["from"], sent["to"], _bytes(sent["input"]), int(sent["value"], 16))
            is_ok = receipt["status"] == "0x1"
            entry = Entry(*head, is_ok, b"", "", False, logs, (), is_told=False)
            return Transaction(sent["hash"], (entry,))
        if logs:
            raise InputError(
                f"transaction {sent['hash']}: it reached the market through another contract, and "
                "with which calls only a trace tells: use a node that offers debug_traceBlockByHash"
            )
        return None

    def _items(self, frame: Frame) -> Iterator[Item]:
        """Of a frame that is not below one of the system."""
        if _enters(frame) and frame.get("to") in self.system:
            yield self._entry(frame)
            return
        found = tuple(item for call in frame.get("calls", ()) for item in self._items(call))
        if not found:
            return
        if "error" in frame:
            yield Attempt(found)
        else:
            yield from found

    def _entry(self, frame: Frame) -> Entry:
        error = frame.get("error", "")
        return Entry(
            frame["from"],
            frame["to"],
            _bytes(frame.get("input")),
            int(frame.get("value") or "0x0", 16),
            not error,
            _bytes(frame.get("output")),
            "" if error == REVERTED else error,
            _is_starved(frame),
            tuple(self._logs(frame)),
            tuple(self._asks(frame)),
        )

    def _asks(self, frame: Frame) -> Iterator[Ask]:
        """Calls that the system made from this frame on to what is outside of it."""
        for call in frame.get("calls", ()):
            if call["type"] in NO_CODE or call.get("to") in self.system:
                yield from self._asks(call)
                continue
            if call["type"] not in ("CALL", "STATICCALL"):
                continue
            yield Ask(
                call["to"],
                _bytes(call.get("input")),
                "error" not in call,
                _bytes(call.get("output")),
                call["type"] == "STATICCALL",
                tuple(item for inner in call.get("calls", ()) for item in self._items(inner)),
            )

    def _logs(self, frame: Frame) -> Iterator[Log]:
        """Of the system, in the order in which they were written; none of what was undone."""
        if "error" in frame:
            return
        calls = frame.get("calls", ())
        done = 0
        for log in frame.get("logs", ()):
            # The position is the number of calls that went before.
            position = int(log["position"], 16)
            for call in calls[done:position]:
                yield from self._logs(call)
            done = max(done, position)
            if log["address"] in self.system:
                topics = tuple(map(_bytes, log["topics"]))
                yield log["address"], topics, _bytes(log["data"])
        for call in calls[done:]:
            yield from self._logs(call)


def _enters(frame: Frame) -> bool:
    """Whether it could change what it calls."""
    return bool(frame["type"] == "CALL")


def _is_starved(frame: Frame) -> bool:
    """Whether something in it ended otherwise than by returning or reverting: for lack of gas,
    mostly, and what reverts then for that has no reason of its own."""
    error = frame.get("error", REVERTED)
    return error != REVERTED or any(map(_is_starved, frame.get("calls", ())))


def _bytes(text: str | None) -> bytes:
    return bytes.fromhex(text[2:]) if text else b""

"""Ctrl-C where it does no harm: raised anywhere, it may leave a library's lock taken for good."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

ENDINGS = (signal.SIGINT, signal.SIGTERM)  # of whoever types, and of whoever supervises


@contextmanager
def noted_interrupts(
    then: Callable[[], None] = lambda: None, numbers: Sequence[int] = (signal.SIGINT,)
) -> Iterator[list[bool]]:
    """A signal of these is put into the list and `then` is called; a second one of the same
    number does what it always did.

    Outside the main thread nobody hears of signals, and the list stays empty.
    """
    noted: list[bool] = []
    before: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        noted.append(True)
        signal.signal(number, before[number])
        then()

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before.update((number, signal.signal(number, note)) for number in numbers)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """SIGTERM is KeyboardInterrupt, as Ctrl-C is."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

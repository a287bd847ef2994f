"""Ctrl-C where it does no harm: raised anywhere, it may leave a library's lock taken for good."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def noted_interrupts(then: Callable[[], None] = lambda: None) -> Iterator[list[bool]]:
    """Ctrl-C is put into the list and `then` is called; a second one is not waited for.

    Outside the main thread nobody hears of Ctrl-C, and the list stays empty.
    """
    pressed: list[bool] = []

    def note(*_: Any) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, before)
        then()

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)

"""The parts of a demonstration: threads that stop together."""

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger("ringfence.demo")


class Parts:
    """Threads that run until `stop` is set, which also happens when one of them ends."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.failure: str | None = None  # the first
        self._threads: list[threading.Thread] = []

    def start(self, name: str, run: Callable[[threading.Event], object]) -> None:
        """Runs it in a thread of its own."""
        thread = threading.Thread(target=self._run, args=(name, run), name=name)
        self._threads.append(thread)
        thread.start()

    def _run(self, name: str, run: Callable[[threading.Event], object]) -> None:
        told = f"{name} has ended"
        try:
            run(self.stop)
        except Exception as error:
            if not self.stop.is_set():
                LOG.exception("%s has failed", name)
            told = f"{name} has failed: {error}"
        if not self.stop.is_set():
            self.failure = told
            self.stop.set()

    def close(self) -> None:
        """Stops all and waits for them."""
        self.stop.set()
        for thread in self._threads:
            thread.join()

"""Tells a webhook what was found: once each, however often the monitor or the network fails.

A POST of JSON. `id` is the same whenever the same finding is sent: a monitor that dies after the
answer and before it has noted it sends it again, and the receiver can tell.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import requests

from lockstep.errors import InputError
from operations.monitor.database import Stored
from operations.monitor.system import Subject

LOG = logging.getLogger("ringfence.monitor")
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
TIMEOUT = 10.0


class Alerts:
    """A thread that posts one finding after the other, each until it is taken."""

    def __init__(self, url: str, subject: Subject) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("--webhook: no address that begins with http:// or https://")
        self._url = url
        self._host = parts.hostname  # the rest may be a secret
        self._subject = subject
        self._waiting: queue.SimpleQueue[Stored | None] = queue.SimpleQueue()
        self._taken: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._open = 0  # sent to the thread, not yet seen among those taken
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def send(self, findings: Iterable[Stored]) -> None:
        """Returns at once."""
        for stored in findings:
            self._open += 1
            self._waiting.put(stored)

    def taken(self) -> list[int]:
        """Numbers of the findings that were taken since this was last asked."""
        found = []
        while not self._taken.empty():
            found.append(self._taken.get())
        self._open -= len(found)
        return found

    def wait(self, seconds: float) -> list[int]:
        """As `taken`, after waiting for all of them, for so long at most."""
        deadline = time.monotonic() + seconds
        found = self.taken()
        while self._open and time.monotonic() < deadline:
            time.sleep(0.02)
            found += self.taken()
        return found

    def close(self) -> None:
        """Gives up what is not yet taken: it stays in the database."""
        self._stop.set()
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (stored := self._waiting.get()) is not None:
            delay = FIRST_DELAY
            while not self._stop.is_set() and not self._post(stored):
                self.failures += 1
                self._stop.wait(delay)
                delay = min(2 * delay, LONGEST_DELAY)
            if self._stop.is_set():
                return

    def _post(self, stored: Stored) -> bool:
        try:
            answer = requests.post(
                self._url, json=self.content(stored), timeout=TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            LOG.warning("webhook at %s: %s", self._host, type(error).__name__)
            return False
        if not 200 <= answer.status_code < 300:
            LOG.warning("webhook at %s: HTTP status %d", self._host, answer.status_code)
            return False
        self._taken.put(stored.id)
        return True

    def content(self, stored: Stored) -> dict[str, Any]:
        """What is sent."""
        finding, subject = stored.finding, self._subject
        manifest, market = subject.manifest, subject.addresses.market
        what = f"{manifest.chain_id} {market} {finding.invariant} {finding.block_hash}"
        return {
            "id": hashlib.sha256(what.encode()).hexdigest(),
            "network": manifest.network,
            "chain_id": manifest.chain_id,
            "market": subject.name,
            "address": market,
            "invariant": finding.invariant,
            "sentence": finding.sentence,
            "block": finding.block,
            "block_hash": finding.block_hash,
            "transaction": finding.transaction or None,
            "difference": finding.text,
        }

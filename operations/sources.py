"""Where a publisher's prices come from: a tape that is replayed, an aggregator, a ticker."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from web3 import Web3

from lockstep.errors import InputError
from lockstep.prices import PricePoint, black_thursday_like, parse_wad, points, read_bars
from operations.market import AGGREGATOR_DECIMALS, LATEST_ROUND, Reverted, ask
from operations.rpc import NodeError, block_of

WAD_DECIMALS = 18
TICKER_TIMEOUT = 5.0


class NoQuote(Exception):
    """The source has no price now; the text says why."""


class Source(Protocol):
    """Prices of one underlying."""

    @property
    def is_over(self) -> bool:
        """Whether no price will ever come again."""

    def quote(self) -> int:
        """The price now, WAD. NoQuote if there is none."""


class Tape:
    """Price points replayed: `speed` of their seconds in one of ours.

    A point is the price until the next; where the tape is silent for longer than `max_age` of its
    own seconds there is no price, as there was none then.
    """

    def __init__(
        self,
        tape: Iterable[PricePoint],
        speed: float,
        max_age: int = 600,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0:
            raise InputError(f"--speed {speed:g}: give a number above zero; 1 is as it happened")
        self._tape: Iterator[PricePoint] = iter(tape)
        self._speed = speed
        self._max_age = max_age
        self._clock = clock
        self._began: float | None = None
        self._next = next(self._tape, None)
        if self._next is None:
            raise InputError("--prices: no price in this window; widen --start and --end")
        self._first = self._next.at
        self._now: PricePoint | None = None

    @property
    def is_over(self) -> bool:
        return self._next is None

    @property
    def time(self) -> int:
        """Where the tape is, in its own seconds since 1970."""
        if self._began is None:
            return self._first
        return self._first + int((self._clock() - self._began) * self._speed)

    def quote(self) -> int:
        if self._began is None:
            self._began = self._clock()
        now = self.time
        while self._next is not None and self._next.at <= now:
            self._now, self._next = self._next, next(self._tape, None)
        if self._now is None or now - self._now.at > self._max_age:
            raise NoQuote("the tape is silent here")
        return self._now.price


class NoSource:
    """For a market whose prices come without us."""

    is_over = False

    def quote(self) -> int:
        raise NoQuote("none is needed")


def file_tape(path: str | Path, start: str | None, end: str | None) -> Iterator[PricePoint]:
    """Four points a bar of a CSV (or .gz of one) with the columns ts,open,high,low,close."""
    return points(read_bars(path, start, end))


def synthetic_tape(seed: int) -> Iterator[PricePoint]:
    """The built-in crash: 36 hours, half the price lost within a few."""
    return black_thursday_like(seed)


class Aggregator:
    """The last round of a Chainlink-style aggregator, of this chain or another."""

    is_over = False

    def __init__(self, web3: Web3, address: str, max_age: int = 3_600) -> None:
        self._web3 = web3
        self._address = address
        self._max_age = max_age
        try:
            self._decimals = int(ask(web3, address, AGGREGATOR_DECIMALS))
            ask(web3, address, LATEST_ROUND)
        except Reverted:
            raise InputError(
                f"--aggregator {address}: no aggregator answers there; check address and node"
            ) from None
        if self._decimals > WAD_DECIMALS:
            raise InputError(f"--aggregator {address}: {self._decimals} decimals, at most 18 fit")

    def quote(self) -> int:
        try:
            number, answer, _, updated_at, answered_in = ask(
                self._web3, self._address, LATEST_ROUND
            )
            age = block_of(self._web3).timestamp - updated_at
        except (Reverted, NodeError) as error:
            raise NoQuote(f"aggregator: {error}") from None
        if answer <= 0 or updated_at == 0 or answered_in < number:
            raise NoQuote("aggregator: its last round is incomplete")
        if age > self._max_age:
            raise NoQuote(f"aggregator: its last round is {age} s old, more than {self._max_age}")
        scale: int = 10 ** (WAD_DECIMALS - self._decimals)
        return int(answer) * scale


class Ticker:
    """A number in a JSON answer: `path` are keys and list places with dots between."""

    is_over = False

    def __init__(self, address: str, path: str) -> None:
        if urlsplit(address).scheme not in ("http", "https"):
            raise InputError(f"--ticker {address}: give an address that begins with https://")
        self._address = address
        self._path = path.split(".")
        self._session = requests.Session()
        try:
            self.quote()
        except NoQuote as error:
            self.close()
            raise InputError(f"--ticker: {error}; check --ticker and --path") from None

    def close(self) -> None:
        """Ends the connection."""
        self._session.close()

    def quote(self) -> int:
        place = urlsplit(self._address).netloc
        try:
            answer = self._session.get(self._address, timeout=TICKER_TIMEOUT)
            answer.raise_for_status()
        except requests.HTTPError as error:
            raise NoQuote(f"{place}: HTTP status {error.response.status_code}") from None
        except requests.RequestException:
            raise NoQuote(f"{place}: no answer") from None
        try:
            # As text: a binary fraction would not be the number that was written.
            found: Any = json.loads(answer.text, parse_float=str, parse_int=str)
            for key in self._path:
                found = found[int(key)] if isinstance(found, list) else found[key]
            price: int = parse_wad(str(found))
        except (ValueError, KeyError, IndexError, TypeError):
            raise NoQuote(f"{place}: no number at {'.'.join(self._path)}") from None
        if price == 0:
            raise NoQuote(f"{place}: a price of zero")
        return price

"""`demo`: a market on a chain of one's own, living through a crash, watched on its page.

Exit codes: 0 stopped by Ctrl-C, 1 a part has failed, 2 bad input.
"""

import fcntl
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import click

from lockstep.cli import FuzzCommand, Whole, option
from lockstep.errors import InputError
from operations.demo.market import MARKET_FILES, Market
from operations.demo.tape import replay_of
from operations.market import Reverted
from operations.outbox import DeployError
from operations.page.server import HOST, PORT, check_address
from operations.rpc import NodeError, Stopped

FOLDER = Path("build/demo")
SAY_SECONDS = 10  # between two lines about the market
FASTEST = 100  # a report may be a minute old when it is mined
LOG_FILE = "demo.log"
FILES = (LOG_FILE, *MARKET_FILES)  # of an earlier run
LOG = logging.getLogger("ringfence.demo")


class Options(NamedTuple):
    """What can be chosen."""

    data: Path | None
    prices: Path | None
    start: str | None
    end: str | None
    speed: int
    traders: int
    seed: int
    host: str
    port: int
    folder: Path


def demo_command() -> click.Command:
    """The command."""

    def callback(**values: Any) -> None:
        raise SystemExit(run(Options(**values)))

    options = [
        option("data", click.Path(path_type=Path), "Directory of price files: March 2020."),
        option("prices", click.Path(path_type=Path), "Another file: ts,open,high,low,close."),
        option("start", str, "First moment of the prices: 2020-03-12T10:10 or a unix time."),
        option("end", str, "The moment they end; a quiet market follows."),
        option("speed", click.IntRange(1, FASTEST), "Seconds of the prices in one of ours.", 30),
        option("traders", click.IntRange(2, 2_000), "Traders with a position each.", 120),
        option("seed", Whole(0), "Of the traders and of what is drawn of the prices.", 1),
        option("host", str, "Where the page is served; 0.0.0.0 is everywhere.", HOST),
        option("port", click.IntRange(0, 65_535), "Its port; 0 takes a free one.", PORT),
        option("folder", click.Path(path_type=Path), "For what it writes.", FOLDER),
    ]
    text = (
        "A market on a chain of one's own: deployed, with a pool and traders, a publisher that "
        "replays a crash, a keeper, and a monitor with its page. Ctrl-C ends it."
        "\n\n\b\nExamples:\n  make demo\n  make demo DATA=prices SPEED=30"
        "\n  make demo PRICES=bars.csv.gz START=2021-05-19 PORT=8000"
        "\n\nExit codes: 0 stopped by Ctrl-C, 1 a part has failed, 2 bad input."
    )
    return FuzzCommand("demo", callback=callback, params=list(options), help=text)


main = click.Group("operations.demo", commands=[demo_command()])


def run(options: Options) -> int:
    """Starts everything and waits for Ctrl-C; the exit code."""
    folder = options.folder
    with _alone(folder):
        market = Market(folder, _say)
        with _interrupted_by_signals(market.parts.stop):
            try:
                failure = _live(market, options)
                _say("stopping")
            finally:
                market.close()
    if failure is not None:
        _say(f"{failure}; everything has been stopped, see {folder / LOG_FILE}")
        return 1
    _say("stopped, nothing is left running")
    return 0


def _live(market: Market, options: Options) -> str | None:
    """Why it has ended, if that was not asked for."""
    try:
        _start(market, options)
        _watch(market)
    except KeyboardInterrupt:
        return None
    except (DeployError, NodeError) as error:
        return str(error)
    return market.failure


def _start(market: Market, options: Options) -> None:
    check_address(options.host, options.port)
    replay = replay_of(options.data, options.prices, options.start, options.end, options.seed)
    _say(f"{replay.title}, {options.speed} times as fast; details in {options.folder / LOG_FILE}")
    page = (options.host, options.port)
    market.start(replay, options.speed, options.traders, options.seed, page)


def _watch(market: Market) -> None:
    """Says now and then how the market does, until a part has ended."""
    while not market.wait(SAY_SECONDS):
        with suppress(NodeError, Reverted, Stopped):
            _say(market.line())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The folder, emptied, for nobody else; all that happens is logged there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: a demo runs here already; stop it first") from None
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        handler = logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger = logging.getLogger("ringfence")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
            handler.close()


@contextmanager
def _interrupted_by_signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C, `kill` and a closed terminal interrupt what is under way, once, and set the event:
    a library may have caught the exception and gone on."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not stop.is_set():
            stop.set()
            raise KeyboardInterrupt

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _say(text: str) -> None:
    LOG.info("%s", text)
    click.echo(f"{time.strftime('%H:%M:%S')} {text}")

"""Serves the page of a market's health, and the records it shows: read-only, without state.

/                     the page; everything it loads comes from here
/api/latest           the newest record
/api/history?blocks=  what the charts need of the newest records, oldest first
/api/stream           server-sent events: each new record as it comes
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lockstep.errors import InputError

Record = Mapping[str, Any]  # of a block: operations.monitor.health

STATIC = Path(__file__).parent / "static"
HOST, PORT = "127.0.0.1", 8787
POLL_SECONDS = 0.1  # between two looks at the newest record
SILENCE_SECONDS = 10  # after which a stream says that it still lives
STOP_SECONDS = 2  # for what is being answered when the page closes
MAX_BLOCKS = 2_000
# What a chart or the list of events needs of a block that has passed.
PAST = ("block", "price", "breaker", "open_interest", "events")

HEADERS = {
    # The page may load, send and be framed by nothing but itself.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Page:
    """A page being served by a thread of its own."""

    def __init__(self, server: uvicorn.Server, feed: "Feed", bound: socket.socket) -> None:
        self._server = server
        self._feed = feed
        self.host, self.port = bound.getsockname()[:2]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.address = f"http://{shown}:{self.port}/"
        # Not a daemon: whoever serves closes.
        self._thread = threading.Thread(target=server.run, args=([bound],), name="page")
        self._thread.start()

    def close(self) -> None:
        """Ends every stream and frees the port. Doing it again does nothing."""
        self._feed.is_closing = True
        self._server.should_exit = True
        self._thread.join()


class Feed:
    """The newest record, as text, for any number of streams."""

    def __init__(self, latest: Callable[[], Record | None]) -> None:
        self._latest = latest
        self._record: Record | None = None
        self.text = ""  # of the newest record; empty before the first
        self.number = 0  # of its block
        self.turn = 0  # rises with each text
        self.is_closing = False
        self._changed = asyncio.Condition()

    async def follow(self) -> None:
        """Looks for a new record again and again."""
        while not self.is_closing:
            record = self._latest()
            if record is not None and record is not self._record:
                await self._take(record)
            await asyncio.sleep(POLL_SECONDS)
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, record: Record) -> None:
        self._record = record
        text = json.dumps(record, separators=(",", ":"))
        if text == self.text:
            return
        async with self._changed:
            self.text, self.number = text, record["block"]["number"]
            self.turn += 1
            self._changed.notify_all()

    async def after(self, turn: int) -> bool:
        """Waits for something newer than `turn`; False when nothing came for a while."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self.turn != turn or self.is_closing)
        except TimeoutError:
            return False
        return True

    async def stream(self) -> AsyncIterator[str]:
        """Server-sent events. Who comes back has missed nothing that /api/history does not tell."""
        yield "retry: 1000\n\n"
        turn = 0
        while not self.is_closing:
            if not await self.after(turn):
                yield ": nothing new\n\n"
            elif self.turn != turn:
                turn = self.turn
                yield f"id: {self.number}\ndata: {self.text}\n\n"


class SafeHeaders:
    """Adds HEADERS to every answer that does not say otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_safely)


def application(feed: Feed, history: Callable[[int], list[Record]], hosts: list[str]) -> Starlette:
    """The application; `hosts` are the names it answers to."""

    async def index(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def latest(request: Request) -> Response:
        if not feed.text:
            return JSONResponse({"error": "no block has been checked yet"}, 503)
        return Response(feed.text, media_type="application/json")

    async def past(request: Request) -> Response:
        asked = request.query_params.get("blocks", "")
        if not (asked.isascii() and asked.isdigit() and 0 < int(asked) <= MAX_BLOCKS):
            told = f"blocks={asked}: give a whole number from 1 to {MAX_BLOCKS}"
            return JSONResponse({"error": told}, 400)
        records = await asyncio.to_thread(history, int(asked))
        return JSONResponse([_past(record) for record in records])

    async def stream(request: Request) -> Response:
        return StreamingResponse(
            feed.stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(feed.follow())
        yield
        following.cancel()

    return Starlette(
        routes=[
            Route("/", index),
            Route("/api/latest", latest),
            Route("/api/history", past),
            Route("/api/stream", stream),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        # Another site whose name leads here gets no answer.
        middleware=[
            Middleware(SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
        ],
        lifespan=lifespan,
    )


def _past(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in PAST} | {"ratio": record["solvency"]["ratio"]}


def serve(
    latest: Callable[[], Record | None],
    history: Callable[[int], list[Record]],
    host: str = HOST,
    port: int = PORT,
) -> Page:
    """Serves the page until it is closed; port 0 takes a free one.

    `latest` gives the newest record, None before the first: it is asked ten times a second and
    must not wait. `history(n)` gives the newest n records, oldest first, to any thread.
    InputError when the address is not to be had.
    """
    bound = _bind(host, port)
    feed = Feed(latest)
    hosts = ["localhost", "127.0.0.1"] if _is_loopback(host) else ["*"]
    config = uvicorn.Config(
        application(feed, history, hosts),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Page(uvicorn.Server(config), feed, bound)


def check_address(host: str, port: int) -> None:
    """InputError when the page cannot be served there."""
    _bind(host, port).close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"page: cannot listen on {host} port {port} ({getattr(error, 'strerror', error)}); "
            "give another --host or --port"
        ) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host) == ip_address("127.0.0.1")
    except ValueError:
        return False

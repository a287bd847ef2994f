"""A node that fails: a real HTTP server in front of one that does not.

Faults are drawn from a seed, or set by hand while it runs.
"""

import json
import random
import threading
import time
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lockstep.abi import keccak

FAULTS = ("status", "cut", "garbage", "limit", "swallowed")
# "internal" is not one of them: nobody can tell it from a refusal that stays one.
ERRORS = {"limit": (-32005, "limit exceeded"), "internal": (-32603, "missing trie node")}


class FaultyNode:
    """Forwards to `node`. Of all requests `share` fail, each in one of five ways: HTTP status 503,
    a connection that is cut, an answer that is no JSON, an error of JSON-RPC about limits, and
    (the request having been done) no answer."""

    def __init__(self, node: str, seed: int = 1) -> None:
        self.node = node
        self.share = 0.0
        self.faults = FAULTS
        self.late = 0.0  # seconds, of `late_share` of the answers
        self.late_share = 1.0
        self.is_away = False
        self.is_tracing = True  # otherwise it has no debug methods
        self.per_second: int | None = None  # more are told to come back later
        self.lost_transactions = 0  # as many are answered and never forwarded
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._window = (0, 0)
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body are written apart: together with late acknowledgements 40 ms each.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.serve(self, body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:  # whoever asked has given up waiting
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """One request, well or not."""
        request = json.loads(body)
        with self._lock:
            for one in request if isinstance(request, list) else [request]:
                self.asked[one["method"]] += 1
            fault = self._fault()
            late = self.late if self._random.random() < self.late_share else 0.0
        if fault is None and self._is_lost(request):
            self.failed["lost"] += 1
            sent = "0x" + keccak(bytes.fromhex(request["params"][0][2:])).hex()
            return _answer(handler, {"jsonrpc": "2.0", "id": request["id"], "result": sent})
        if fault is not None:
            self.failed[fault] += 1
        if fault in ("away", "cut"):
            return _cut(handler)
        if fault == "status":
            return _status(handler, 503)
        if fault == "rate":
            return _status(handler, 429, {"Retry-After": "0.2"})
        if fault == "garbage":
            return _body(handler, b"<html>try later</html>")
        if fault in ERRORS:
            code, message = ERRORS[fault]
            error = {"code": code, "message": message}
            number = None if isinstance(request, list) else request["id"]
            return _answer(handler, {"jsonrpc": "2.0", "id": number, "error": error})
        if not self.is_tracing and b'"debug_' in body:
            return _answer_each(handler, request, {"code": -32601, "message": "no such method"})
        answer = self._forward(body)
        time.sleep(late)
        if fault == "swallowed":
            return _cut(handler)
        return _body(handler, answer)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _fault(self) -> str | None:
        if self.is_away:
            return "away"
        if self.per_second is not None:
            second, count = self._window
            now = int(time.monotonic())
            self._window = (now, count + 1 if second == now else 1)
            if self._window[1] > self.per_second:
                return "rate"
        if self._random.random() < self.share:
            return self._random.choice(self.faults)
        return None

    def _is_lost(self, request: dict[str, Any]) -> bool:
        if isinstance(request, list) or not self.lost_transactions:
            return False
        if request["method"] != "eth_sendRawTransaction":
            return False
        self.lost_transactions -= 1
        return True

    def _forward(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.node, body, headers)) as answer:
            found: bytes = answer.read()
            return found


def _answer_each(handler: BaseHTTPRequestHandler, request: Any, error: dict[str, Any]) -> None:
    """The same error to every question of a batch, or to one alone."""
    asked = request if isinstance(request, list) else [request]
    answers = [{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in asked]
    _body(handler, json.dumps(answers if isinstance(request, list) else answers[0]).encode())


def _answer(handler: BaseHTTPRequestHandler, content: dict[str, Any]) -> None:
    _body(handler, json.dumps(content).encode())


def _body(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _status(
    handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _cut(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.close()

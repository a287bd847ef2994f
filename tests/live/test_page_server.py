"""The server of the page by itself: what it answers, and what it refuses."""

import http.client
import inspect
import json
import time

import pytest

from lockstep.errors import InputError
from operations.page.server import PAST, serve

RECORD = {"block": {"number": 7}, "solvency": {"ratio": "1"}, "next": []}
RECORD |= {name: {} for name in PAST if name not in RECORD}


def ask_page(served, path="/", method="GET", host=None):
    """Status, headers and body."""
    connection = http.client.HTTPConnection(served.host, served.port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.fixture
def served():
    page = serve(lambda: RECORD, lambda count: [RECORD][-count:], port=0)
    yield page
    page.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/api/latest", "/api/stream", "/static/page.js"])
def test_nothing_can_be_sent_to_the_page(served, method, path):
    assert ask_page(served, path, method)[0] == 405


def test_the_page_lets_nothing_in_from_elsewhere(served):
    for path in ("/", "/api/history?blocks=3", "/static/page.css", "/nowhere"):
        _, headers, _ = ask_page(served, path)
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask_page(served, host="rebound.example")[0] == 400
    assert ask_page(served, host=f"localhost:{served.port}")[0] == 200


def test_the_page_is_bound_to_the_loopback_interface_unless_told_otherwise(served):
    assert served.host == "127.0.0.1"
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"


@pytest.mark.parametrize("asked", ["", "?blocks=", "?blocks=0", "?blocks=-1", "?blocks=2001"])
def test_history_says_what_it_takes(served, asked):
    status, _, body = ask_page(served, f"/api/history{asked}")
    assert status == 400
    assert "give a whole number from 1 to 2000" in json.loads(body)["error"]


def test_no_file_outside_the_page_is_served(served):
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/", "/server.py"):
        assert ask_page(served, path)[0] == 404


def test_before_the_first_block_there_is_no_record():
    page = serve(lambda: None, lambda count: [], port=0)
    try:
        assert ask_page(page, "/api/latest")[0] == 503
        assert ask_page(page, "/api/history?blocks=5")[2] == b"[]"
    finally:
        page.close()


def test_a_port_that_is_taken_is_named(served):
    with pytest.raises(InputError, match=f"page: cannot listen on 127.0.0.1 port {served.port}"):
        serve(lambda: None, lambda count: [], port=served.port)


def test_closing_ends_the_streams_and_frees_the_port():
    page = serve(lambda: RECORD, lambda count: [RECORD], port=0)
    connection = http.client.HTTPConnection(page.host, page.port, timeout=10)
    connection.request("GET", "/api/stream")
    answer = connection.getresponse()
    told = [answer.readline() for _ in range(4)]
    assert told[2] == f"id: {RECORD['block']['number']}\n".encode()
    assert json.loads(told[3].removeprefix(b"data: ")) == RECORD
    began = time.monotonic()
    page.close()
    assert time.monotonic() - began < 2
    assert answer.read().strip() == b""
    connection.close()
    serve(lambda: RECORD, lambda count: [], port=page.port).close()

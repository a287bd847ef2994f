"""Where prices come from: a tape at any speed, an aggregator, a ticker over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lockstep.errors import InputError
from lockstep.prices import PricePoint
from operations.market import SET_ROUND
from operations.rpc import Policy, connect
from operations.sources import Aggregator, NoQuote, Tape, Ticker, file_tape, synthetic_tape
from python_model.modules.constants import WAD

POINTS = [PricePoint(1_000 + 60 * i, (100 + i) * WAD) for i in range(20)]


class Watch:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 500.0

    def __call__(self):
        return self.now


@pytest.fixture
def watch():
    return Watch()


@pytest.mark.parametrize("speed", [0.5, 1, 60, 600])
def test_a_tape_runs_at_any_speed(watch, speed):
    tape = Tape(POINTS, speed, clock=watch)
    assert tape.quote() == 100 * WAD
    watch.now += 5 * 60 / speed
    assert tape.quote() == 105 * WAD
    watch.now += 59 / speed
    assert tape.quote() == 105 * WAD
    assert not tape.is_over
    watch.now += 14 * 60 / speed
    assert tape.quote() == 119 * WAD
    assert tape.is_over


def test_a_tape_starts_when_it_is_first_asked(watch):
    tape = Tape(POINTS, 1, clock=watch)
    watch.now += 300
    assert tape.quote() == 100 * WAD


def test_where_the_tape_is_silent_there_is_no_price(watch):
    tape = Tape([PricePoint(0, WAD), PricePoint(1_680, 2 * WAD)], 1, clock=watch)
    assert tape.quote() == WAD
    watch.now += 601
    with pytest.raises(NoQuote, match="silent"):
        tape.quote()
    watch.now += 1_079
    assert tape.quote() == 2 * WAD


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
def test_a_speed_is_above_zero(speed):
    with pytest.raises(InputError, match=r"^--speed .* above zero"):
        Tape(POINTS, speed)


def test_a_tape_of_a_file_has_four_points_a_bar(tmp_path):
    path = tmp_path / "crash.csv"
    path.write_text("ts,open,high,low,close\n60,100,110,95,105\n120,105.5,106,90,91\n")
    assert [(point.at, point.price) for point in file_tape(path, None, None)] == [
        (60, 100 * WAD),
        (75, 95 * WAD),
        (90, 110 * WAD),
        (105, 105 * WAD),
        (120, 1055 * WAD // 10),
        (135, 106 * WAD),
        (150, 90 * WAD),
        (165, 91 * WAD),
    ]


def test_a_window_without_prices_is_an_error(tmp_path):
    path = tmp_path / "crash.csv"
    path.write_text("ts,open,high,low,close\n60,100,110,95,105\n")
    with pytest.raises(InputError, match="no bar between"):
        list(file_tape(path, "2020-03-12", None))


def test_the_built_in_crash_loses_a_third_within_a_day():
    prices = [point.price for point in synthetic_tape(1)]
    assert min(prices) * 3 < prices[0] * 2


@pytest.fixture
def exchange():
    """An HTTP server that answers what the test says: status and body."""
    answers = {"status": 200, "body": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers["body"].encode()
            self.send_response(answers["status"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        answers["address"] = f"http://127.0.0.1:{server.server_port}/ticker"
        yield answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"price": "7911.43"}, "price"),
        ({"price": 7911.43}, "price"),
        ({"result": {"XXBTZUSD": {"c": ["7911.43", "1.0"]}}}, "result.XXBTZUSD.c.0"),
    ],
)
def test_a_ticker_is_read_exactly(exchange, content, path):
    exchange["body"] = json.dumps(content)
    ticker = Ticker(exchange["address"], path)
    assert ticker.quote() == 791_143 * WAD // 100
    ticker.close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, "", "HTTP status 500"),
        (200, "<html>", "no number at price"),
        (200, '{"other": 1}', "no number at price"),
        (200, '{"price": "none"}', "no number at price"),
        (200, '{"price": 0}', "a price of zero"),
        (200, '{"price": -5}', "no number at price"),
    ],
)
def test_a_ticker_that_fails_has_no_price_and_recovers(exchange, status, body, said):
    exchange["body"] = '{"price": 1}'
    ticker = Ticker(exchange["address"], "price")
    exchange |= {"status": status, "body": body}
    with pytest.raises(NoQuote, match=said):
        ticker.quote()
    exchange |= {"status": 200, "body": '{"price": 2}'}
    assert ticker.quote() == 2 * WAD
    ticker.close()


def test_a_ticker_that_fails_at_once_is_bad_input(exchange):
    exchange["body"] = "{}"
    with pytest.raises(InputError, match=r"^--ticker: .*no number at price; check --ticker"):
        Ticker(exchange["address"], "price")
    with pytest.raises(InputError, match=r"^--ticker: .*no answer"):
        Ticker("http://127.0.0.1:9/ticker", "price")
    with pytest.raises(InputError, match="https://"):
        Ticker("ftp://example.org", "price")


def test_an_aggregator_is_read_by_its_decimals_and_refused_when_old(node):
    address, owner = node.system.aggregator.address, "0x" + "ab" * 20
    with pytest.raises(InputError, match="no aggregator answers there"):
        Aggregator(node.web3, node.target.market)
    at = node.chain_time()
    node.send([(owner, address, SET_ROUND(7, 5 * WAD, at, at, 7))])
    source = Aggregator(connect(node.address, Policy(seconds=0.2)), address, max_age=100)
    assert source.quote() == 5 * WAD
    node.later(101)
    with pytest.raises(NoQuote, match="old, more than 100"):
        source.quote()
    now = node.chain_time()
    node.send([(owner, address, SET_ROUND(8, 6 * WAD, now, now, 7))])
    with pytest.raises(NoQuote, match="incomplete"):
        source.quote()

"""The page in a real browser, of a market that lives on a real chain: `make demo`, in small."""

import random
import time
from decimal import Decimal, localcontext
from pathlib import Path
from urllib.error import HTTPError

import pytest
from eth_abi.abi import decode

from lockstep.abi import selector
from operations.demo.market import MANIFEST
from operations.manifest import read_manifest
from operations.market import MARKS, TOTALS, Function, Reverted, ask, raw_ask, target_of
from operations.page.server import serve
from operations.rpc import connect
from python_model.market_lens import MAX_LISTED
from python_model.perp_market import Solvency
from tests.live.browser import NoBrowser, Visit, chromium, contacted, launched
from tests.live.living import NODE, PAGE, START, Demo

MINUS = "\N{MINUS SIGN}"
LOOKS = 3  # at as many blocks
MOST_SECONDS = 2  # from a block to the page
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
LIQUIDATION_PRICE = Function("liquidation_price(address,uint256)", "uint256")
LIQUIDATION_DISTANCE = Function("liquidation_distance(address,uint256)", "int256")
NEXT_TO_LIQUIDATE = Function("next_to_liquidate(address,uint256)", "uint256[]")
POSITION = Function(
    "position(uint256)",
    "(address,uint256,uint256,uint256,uint256,uint256,int256,uint256,uint256,uint256)",
)
# All at once, so that it is of one block.
READ = """() => {
  const value = (selector) => document.querySelector(selector).value;
  const rows = (selector, pick) => [...document.querySelectorAll(selector)].map(pick);
  return {
    block: document.documentElement.dataset.block,
    hash: document.querySelector("#block data").title,
    price: value("#price data"),
    ratio: value("#ratio data"),
    long: value("#long-size"),
    short: value("#short-size"),
    open: value("#positions data"),
    feed_age: value("#feed data"),
    solvency: rows("#solvency tr", (row) => [
      row.dataset.key ?? row.cells[0].textContent, row.querySelector("data").value]),
    distances: rows("#distances data", (one) => one.value),
    next: rows("#next tbody tr", (row) => [
      row.dataset.id, row.cells[1].className,
      ...[...row.querySelectorAll("data")].map((one) => one.value),
      row.querySelector(".address").title]),
  };
}"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demonstration, from when its page has positions. Ctrl-C ends all of it."""
    options = ("--traders=24", "--speed=30", f"--start={START}")
    started = Demo(tmp_path_factory.mktemp("demo"), *options)
    try:
        deadline = time.monotonic() + 120
        started.wait_for(PAGE)
        while not _is_trading(started):
            assert time.monotonic() < deadline, started.said
            time.sleep(0.2)
        yield started
        assert started.processes()
        assert started.stop() == 0
        assert "stopped, nothing is left running" in started.said
        assert started.processes() == {}
    finally:
        started.close()


def _is_trading(demo):
    try:
        latest = demo.get("/api/latest")
    except HTTPError as early:
        if early.code != 503:  # no block has been checked yet
            raise
        return False
    return int(latest["price"]["value"]) and latest["positions"]["open"] > 3


@pytest.fixture(scope="module")
def chain(demo):
    """The node behind it, and the market's addresses."""
    web3 = connect(demo.wait_for(NODE))
    return web3, target_of(web3, read_manifest(demo.folder / MANIFEST))


@pytest.fixture(scope="module")
def browser():
    try:
        with chromium() as running:
            yield running
    except NoBrowser as missing:
        pytest.fail(str(missing))


@pytest.fixture
def visit(browser):
    """Visits a page; nothing may go wrong there, and nobody else be asked for anything."""
    visits = []

    def go(address, **options):
        visits.append(Visit(browser, address, **options))
        return visits[-1]

    yield go
    for one in visits:
        one.close()
    for one in visits:
        assert one.troubles == []
        assert one.strangers == []


@pytest.fixture
def page(demo, visit):
    """The demonstration's, once it shows a block."""
    seen = visit(demo.wait_for(PAGE))
    seen.page.wait_for_selector("html[data-block]")
    return seen.page


@pytest.fixture(scope="module")
def records(demo):
    """Real ones: the newest, and those of the blocks before it as history tells them."""
    latest = demo.get("/api/latest")
    past = demo.get("/api/history?blocks=1000")
    return [one for one in past if one["block"]["number"] < latest["block"]["number"]], latest


def test_values_are_those_of_the_chain_at_the_same_block(page, chain):
    for _ in range(LOOKS):
        shown = page.evaluate(READ)
        assert_equal_to_chain(shown, *chain)
        page.wait_for_selector(f"html:not([data-block='{shown['block']}'])")


def assert_equal_to_chain(shown, web3, target):
    block = int(shown["block"])
    while web3.eth.block_number == block:  # of its newest block a node may tell the next one's time
        time.sleep(0.02)
    found = web3.eth.get_block(block)
    assert shown["hash"] == found["hash"].to_0x_hex()
    marks = ask(web3, target.market, MARKS, block=block)
    totals = ask(web3, target.market, TOTALS, block=block)
    assert int(shown["price"]) == marks[0]
    assert int(shown["feed_age"]) == found["timestamp"] - marks[1]
    assert (int(shown["long"]), int(shown["short"])) == totals[:2]
    assert int(shown["open"]) == totals[6]
    solvency = solvency_at(web3, target, block)
    assert int(shown["ratio"]) == solvency.ratio
    assert shown["solvency"] == [[name, str(value)] for name, value in figures_of(solvency)]
    nearest = nearest_at(web3, target, block, totals[5])
    assert sum(map(int, shown["distances"])) == len(nearest)
    assert shown["next"] == [list(map(str, row)) for row in nearest[: len(shown["next"])]]
    assert len(shown["next"]) == min(10, len(nearest))
    due = ask(web3, target.lens, NEXT_TO_LIQUIDATE, target.market, MAX_LISTED, block=block)
    assert set(due) <= {row[0] for row in nearest if row[2] < 0}


def solvency_at(web3, target, block):
    answer = raw_ask(web3, target.market, selector("solvency()"), block=block)
    signed = Solvency._fields.index("net_trader_profit")
    types = ["int256" if i == signed else "uint256" for i in range(len(Solvency._fields))]
    return Solvency(*decode(types, answer))


def figures_of(solvency):
    """What the page says of solvency(), from top to bottom."""
    yield "has", solvency.assets
    for name in ("pool_cash", "margin", "insurance", "fees", "credits"):
        yield name, getattr(solvency, name)
    yield "owes if everybody closed now", solvency.liabilities
    yield "traders", max(solvency.margin + solvency.net_trader_profit, 0)
    for name in ("claims", "credits", "fees"):
        yield name, getattr(solvency, name)
    yield "traders' profit not yet taken", solvency.net_trader_profit
    yield "bad debt so far", solvency.bad_debt


def nearest_at(web3, target, block, ever):
    """Every open position as the table has it, the nearest to liquidation first."""
    rows = []
    for position_id in range(1, ever + 1):
        try:
            stored = ask(web3, target.market, POSITION, position_id, block=block)
        except Reverted:
            continue
        asked = (target.market, position_id)
        price = ask(web3, target.lens, LIQUIDATION_PRICE, *asked, block=block)
        distance = ask(web3, target.lens, LIQUIDATION_DISTANCE, *asked, block=block) // 10**14
        owner, side, _, size, margin = stored[:5]
        name = ("long", "short")[side]
        rows.append((position_id, name, min(distance, 10**9), price, size, margin, owner))
    return sorted(rows, key=lambda row: (row[2], row[0]))


def test_a_block_is_shown_within_two_seconds(page, chain):
    web3, _ = chain
    last = web3.eth.block_number
    for _ in range(LOOKS):
        while (number := web3.eth.block_number) == last:
            time.sleep(0.01)
        began, last = time.monotonic(), number
        while int(page.evaluate("document.documentElement.dataset.block")) < number:
            time.sleep(0.01)
        assert time.monotonic() - began < MOST_SECONDS


def test_every_invariant_is_shown_to_hold(page, records):
    _, latest = records
    shown = page.locator("#invariants li").all()
    assert {one.get_attribute("data-id") for one in shown} == {
        one["id"] for one in latest["invariants"]
    }
    assert page.locator("#invariants li.holds").count() == len(shown)
    assert page.locator("#invariants-count").text_content() == f"{len(shown)} of {len(shown)} hold"


def test_nothing_is_sent_to_anybody_else(demo, browser, tmp_path):
    """By Chromium's own account of all its requests and connections."""
    log = tmp_path / "net.json"
    address = demo.wait_for(PAGE)
    with launched(browser.browser_type, f"--log-net-log={log}") as other:
        seen = Visit(other, address)
        first = seen.page.wait_for_selector("html[data-block]").get_attribute("data-block")
        seen.page.wait_for_selector(f"html:not([data-block='{first}'])")
        assert seen.troubles == []
        seen.page.evaluate("fetch('http://192.0.2.1/').catch(() => 0)")
        assert "Content Security Policy" in seen.troubles[0]  # not even when it wants to
    asked, connected = contacted(log)
    assert {one for one in asked if not one.startswith(address)} == set()
    assert len(asked) > 5
    assert connected == {address.split("/")[2]}


def test_a_phone_in_the_dark_shows_it_without_scrolling_sideways(demo, visit):
    seen = visit(demo.wait_for(PAGE), color_scheme="dark", **PHONE)
    seen.page.wait_for_selector("html[data-block]")
    widths = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1]


def test_figures_are_exact_to_the_last_digit(page):
    rng = random.Random(1)
    edges = [0, 1, -1, 10**18, 10**18 - 1, -(10**18), 2**255 - 1, -(2**255), 2**256 - 2]
    values = edges + [
        rng.choice((1, -1)) * rng.getrandbits(rng.randrange(1, 256)) for _ in range(99)
    ]
    cases = [(str(value), decimals) for value in values for decimals in (0, 2, 6, 16, 18)]
    shown = page.evaluate(
        """async (cases) => {
          const { exact, number } = await import("/static/numbers.js");
          return cases.map(([value, decimals]) => [
            exact(value, decimals), number(value, decimals, { shown: 2 }).textContent]);
        }""",
        cases,
    )
    with localcontext() as context:
        context.prec = 100
        for (value, decimals), texts in zip(cases, shown, strict=True):
            for text in texts:
                plain = text.replace(",", "").replace(MINUS, "-")
                assert Decimal(plain) == Decimal(value).scaleb(-decimals)


def test_digits_left_out_are_marked_and_shown_when_asked_for(page):
    tail = page.locator("#ratio .tail")
    assert not tail.is_visible()
    page.locator("#all-digits").check()
    page.wait_for_selector("#ratio .tail", state="visible")


def serving(shown, port=0):
    """A page of records: the last one is the newest."""
    return serve(lambda: shown[-1], lambda count: shown[-count:], port=port)


def test_a_page_that_was_away_catches_up(records, browser):
    """What came while nobody could tell it is fetched afterwards."""
    past, latest = records
    shown = [latest | one for one in past]
    now = shown[:5]
    first = serving(now)
    seen = Visit(browser, first.address)
    try:
        seen.wait_for_block(now[-1]["block"]["number"])
        first.close()
        seen.page.wait_for_selector("#link.broken")
        now.extend([*shown[5:], latest])
        again = serving(now, first.port)
        try:
            seen.wait_for_block(latest["block"]["number"])
            seen.page.wait_for_selector("#link.told")
            told = {event["kind"] for one in past for event in one["events"]}
            for kind in told:
                assert seen.page.locator(f"#events tr.{kind}").count() > 0
        finally:
            again.close()
    finally:
        seen.close()


def test_a_reorganisation_takes_back_what_was_shown(records, visit):
    past, latest = records
    shown = [latest | one for one in past] + [latest]
    number = latest["block"]["number"]
    gone = {"block": number, "time": latest["block"]["timestamp"], "kind": "liquidated", "id": 999}
    before = [*shown[:-1], latest | {"events": [*latest["events"], gone]}]
    now = list(before)
    served = serve(lambda: now[-1], lambda count: now[-count:], port=0)
    try:
        seen = visit(served.address)
        seen.wait_for_block(number)
        assert seen.page.locator("#events td.id", has_text="999").count() == 1
        now[:] = shown[:-1]
        seen.wait_for_block(number - 1)
        assert seen.page.locator("#events td.id", has_text="999").count() == 0
        now.append(latest)
        seen.wait_for_block(number)
        assert seen.page.locator("#events td.id", has_text="999").count() == 0
    finally:
        served.close()


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("solvency", {"assets": "1"}, "It owes more than it has"),
        ("solvency", {"bad_debt": "7000001"}, "Bad debt so far: 7.00"),
        ("solvency", {"claims": "5000000"}, "The pool owes claims: 5.00"),
        ("price", {"held": str(5 * 10**17)}, "A price waits for confirmation: 0.5"),
        ("feed", {"age": 1_000}, "The price is too old to trade at: 16 min 40 s"),
        ("breaker", {"until": 2**40}, "A breaker allows exits only until"),
    ],
)
def test_what_is_wrong_is_said_first(records, visit, part, change, told):
    _, latest = records
    served = serving([latest | {part: latest[part] | change}])
    try:
        seen = visit(served.address)
        seen.wait_for_block(latest["block"]["number"])
        assert told in seen.page.locator("#reasons").inner_text()
    finally:
        served.close()


def test_a_broken_invariant_is_named_with_its_sentence(records, visit):
    _, latest = records
    broken = latest["invariants"][3] | {"state": "broken", "since_block": 17, "text": "one is off"}
    kept = [one for one in latest["invariants"] if one["id"] != broken["id"]]
    served = serving([latest | {"invariants": [*kept, broken]}])
    try:
        seen = visit(served.address)
        seen.wait_for_block(latest["block"]["number"])
        assert seen.page.locator("#verdict.broken").count() == 1
        reason = seen.page.locator("#reasons li").first.inner_text()
        assert reason == f"Invariant {broken['id']} is broken since block 17: {broken['sentence']}"
        first = seen.page.locator("#invariants li").first
        assert first.get_attribute("data-id") == broken["id"]
        assert "one is off" in first.inner_text()
    finally:
        served.close()


def test_the_chart_library_is_as_published():
    published = Path("node_modules/uplot/dist")
    vendored = Path("operations/page/static/vendor")
    assert published.is_dir(), "run `make browser`"
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert (vendored / name).read_bytes() == (published / name).read_bytes()


def test_liquidations_appear_as_they_happen(page):
    page.wait_for_selector("#events tr.liquidated", timeout=60_000)
    assert page.locator("#events tr.liquidated data").count() >= 5

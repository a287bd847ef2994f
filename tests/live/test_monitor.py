"""The monitor follows a market on anvil: nothing skipped, nothing doubled, equal to the model."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from web3 import Web3

from lockstep.abi import selector
from lockstep.errors import InputError
from operations.manifest import read_manifest, write_manifest
from operations.monitor import checkpoint, records
from operations.monitor.database import Database
from operations.monitor.follow import Follower
from operations.monitor.fuzz_market import NAME, FuzzMarket
from operations.monitor.lies import following, to_head
from operations.monitor.node import Node
from operations.monitor.replica import AGREEMENT, COUNTED, Replica
from operations.monitor.system import Given, Subject
from operations.monitor.watch import BROKEN, WELL, Options, artifacts_of, watch
from operations.rpc import Policy, connect
from python_model.evm import Contract
from tests.live.faulty_rpc import FaultyNode

ROOT = Path(__file__).resolve().parents[2]
STEPS = 80
PROCESS = Path(__file__).with_name("monitor_process.py")
HOOK_FAILS = 2  # times, before the webhook takes anything


@pytest.fixture(scope="module")
def lasting():
    market = FuzzMarket({"decimals": 6, "feed": "signed"})
    market.generate(STEPS)
    yield market
    market.close()


@pytest.fixture
def market(lasting):
    """A market that has been going on; its chain is as before afterwards."""
    snapshot, now = lasting.rpc("evm_snapshot"), lasting.now
    yield lasting
    lasting.rpc("evm_revert", snapshot)
    lasting.now = lasting.engine._time = now


@pytest.fixture
def database(tmp_path):
    return tmp_path / "monitor.sqlite"


@pytest.fixture
def follow(market, database):
    """Makes followers of the market, on one database."""
    opened = []
    artifacts = artifacts_of(Subject(market.manifest(), NAME))

    def make(url=None, **options):
        for one in opened:
            one.close()
        subject = Subject(market.manifest(), NAME)
        policy = Policy(seconds=20, timeout=5)
        node = Node(Web3(Web3.HTTPProvider(url or market.url)), subject.addresses, policy)
        opened.append(Database(database, subject))
        given = Given(market.config["decimals"])
        return Follower(node, opened[-1], subject, given, artifacts, **options)

    yield make
    for one in opened:
        one.close()


def caught_up(follower):
    """Steps until nothing comes any more, three times: going back is a step without blocks."""
    idle = 0
    while idle < 3:
        idle = 0 if follower.step() else idle + 1
    return follower


def rows(path, question, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question, values).fetchall()


def state_of(replica):
    """Every word that the model has, and what the invariants count."""
    seen = replica.seen
    words = {(address, slot): value for address, slot, value in replica._words.everything()}
    held = {word: value for word, value in words.items() if value}
    counts = (seen.pool_flow, seen.pool_result, seen.drawn, seen.donated, seen.turn)
    return held, counts, sorted(seen.live), replica.last, seen.ranked


def rebuilt(follower):
    """Another replica, from the same blocks."""
    replica = Replica(follower.subject, follower._given, follower._artifacts)
    for block in follower.database.blocks():
        replica.apply(block, is_checking=False)
    return replica


def assert_each_block_once(path, market):
    """The database has the blocks of the chain, each with the chain's hash."""
    found = rows(path, "SELECT number, hash FROM blocks ORDER BY number")
    assert [number for number, _ in found] == list(range(1, market.head + 1))
    for number, hash_ in found[-20:]:
        assert hash_ == market.web3.eth.get_block(number)["hash"].to_0x_hex()


def test_every_block_is_followed_and_agrees(market, database):
    options = Options(database, is_once=True)
    assert watch(market.web3, market.manifest(), options) == WELL
    assert_each_block_once(database, market)
    assert rows(database, "SELECT * FROM findings") == []


def test_the_health_record_says_what_the_chain_answers(market, follow):
    follower = caught_up(follow())
    record = follower.latest
    lens = market.web3.eth
    solvency = lens.call(
        {"to": Web3.to_checksum_address(follower.subject.addresses.market), "data": "0x" + SOLVENCY}
    )
    words = [int.from_bytes(solvency[i : i + 32], "big") for i in range(0, len(solvency), 32)]
    assert record["block"]["number"] == market.head
    assert list(record["solvency"].values())[:2] == [str(word) for word in words[:2]]
    assert record["positions"]["open"] == words[11] == sum(record["distances"]["counts"])
    assert record["lag_blocks"] == 0
    assert {one["state"] for one in record["invariants"]} == {"holds"}
    json.dumps(record)


SOLVENCY = selector("solvency()").hex()


def test_the_distances_are_those_of_the_positions(market, follow):
    """Counted from the sorted lists; here from each position's own liquidation price."""
    follower = caught_up(follow())
    system, seen = follower.replica.system, follower.replica.seen
    next_ones = follower.latest["next"]
    assert [one["distance_bp"] for one in next_ones] == sorted(
        one["distance_bp"] for one in next_ones
    )
    assert len(next_ones) == min(10, len(seen.live))
    marks = system.market._accrued()
    counts = [0] * 8
    for one in next_ones:
        place = sum(one["distance_bp"] >= edge for edge in follower.latest["distances"]["edges"])
        counts[place] += 1
    assert len(next_ones) == len(seen.live)
    assert marks.price == int(follower.latest["price"]["value"])
    assert counts == follower.latest["distances"]["counts"]


def test_a_restart_rebuilds_the_model_without_the_node(market, follow):
    first = caught_up(follow())
    again = follow(url="http://127.0.0.1:9")
    assert state_of(again.replica) == state_of(first.replica)
    assert again.latest == first.latest
    assert again.next_number == market.head + 1


def test_a_restart_from_a_checkpoint_is_one_from_the_first_block(market, follow, database, caplog):
    """The same words, counts and events, the same blocks to take back, the same from there on."""
    caplog.set_level("INFO", "ringfence.monitor")
    first = caught_up(follow(journal=4, checkpoint_every=10))
    kept = rows(database, "SELECT number FROM checkpoints ORDER BY number")
    assert len(kept) == 1 + (market.head - kept[0][0]) // 10  # and nothing that is too old
    assert kept[0][0] <= market.head - 4
    expected, counts, calls = (state_of(first.replica), counted(first.replica), first.replica.calls)
    again = follow(url="http://127.0.0.1:9", journal=4)
    assert "resumed from the checkpoint" in caplog.text
    assert again.replica.depth == 4
    assert (state_of(again.replica), again.latest) == (expected, first.latest)
    assert (counted(again.replica), again.replica.calls) == (counts, calls)
    again.replica.undo(4)
    for block in again.database.blocks(again.next_number):
        assert again.replica.apply(block) == []
    assert state_of(again.replica) == expected
    again = follow()
    market.generate(40, seed=2)
    caught_up(again)
    assert state_of(again.replica) == state_of(rebuilt(again))
    assert rows_of(again, "findings") == 0


def counted(replica):
    """What is told of the past: figures over all transactions, and events."""
    figures = {name: getattr(replica.seen, name) for name in COUNTED}
    return figures, list(replica.recent), replica._known


def test_a_checkpoint_that_is_gone_back_behind_is_forgotten(market, follow, database):
    first = caught_up(follow(journal=2, checkpoint_every=3))
    (newest,) = rows(database, "SELECT MAX(number) FROM checkpoints")[0]
    first.database.go_back(newest - 1)
    assert rows(database, "SELECT MAX(number) FROM checkpoints")[0] < (newest,)
    again = caught_up(follow(journal=2, checkpoint_every=3))
    assert state_of(again.replica) == state_of(rebuilt(again))


@pytest.mark.parametrize(
    "change",
    [
        "source = 'another version'",
        "state = x'00'",
        "state = (SELECT record FROM blocks LIMIT 1)",
    ],
)
def test_a_checkpoint_that_does_not_fit_costs_time_alone(market, follow, database, change, caplog):
    caplog.set_level("INFO", "ringfence.monitor")
    first = caught_up(follow(journal=4, checkpoint_every=10))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE checkpoints SET {change}")
    again = follow(journal=4)
    assert "resumed" not in caplog.text
    assert f"rebuilt {market.head} blocks" in caplog.text
    assert state_of(again.replica) == state_of(first.replica)


def test_a_killed_monitor_skips_and_doubles_no_block(market, database, tmp_path):
    manifest = tmp_path / "manifest.json"
    write_manifest(manifest, market.manifest())
    command = [sys.executable, str(PROCESS), market.url, str(manifest), str(database), ""]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    counts = [0]
    for _ in range(2):
        process = subprocess.Popen([*command, "on"], env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while _count(database) <= counts[-1] and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        counts.append(_count(database))
        market.publish(10_000)
    done = subprocess.run([*command, "once"], env=environment, timeout=60)
    assert done.returncode == WELL
    assert len(set(counts)) == 3
    assert counts == sorted(counts)
    assert counts[1] < market.head  # it was killed on its way
    assert_each_block_once(database, market)


def _count(path):
    try:
        return rows(path, "SELECT COUNT(*) FROM blocks")[0][0]
    except sqlite3.OperationalError:  # nothing is there yet
        return 0


def test_a_reorganisation_is_followed(market, follow, database):
    follower = caught_up(follow())
    snapshot = market.engine.snapshot()
    before = market.now
    for price in (9_900, 9_800, 9_700, 9_600, 9_500):
        market.publish(price)
    caught_up(follower)
    market.engine.revert(snapshot)
    market.now = before
    for price in (10_100, 10_200, 10_300, 10_400, 10_500, 10_600):
        market.publish(price, after=15)
    caught_up(follower)
    assert follower.progress.undone == 5
    assert follower.progress.rebuilds == 0
    assert_each_block_once(database, market)
    assert state_of(rebuilt(follower)) == state_of(follower.replica)
    assert follower.latest["block"]["number"] == market.head
    assert rows_of(follower, "findings") == 0


def rows_of(follower, table):
    return follower.database._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]


def test_a_reorganisation_deeper_than_the_journal_is_followed(market, follow, database):
    follower = caught_up(follow(journal=2))
    snapshot = market.engine.snapshot()
    before = market.now
    for _ in range(5):
        market.act("open", "trader_1", 0, 10**17, 10**9, 2**255)
    caught_up(follower)
    market.engine.revert(snapshot)
    market.now = before
    for price in (10_010, 10_020, 10_030, 10_040, 10_050, 10_060):
        market.publish(price, after=14)
    caught_up(follower)
    assert follower.progress.rebuilds == 1
    assert_each_block_once(database, market)
    assert state_of(rebuilt(follower)) == state_of(follower.replica)


def test_every_block_can_be_taken_back_and_made_again(market, follow):
    """Back to before the market was there; half of them; one by one."""
    follower = caught_up(follow())
    blocks = list(follower.database.blocks())
    replica = Replica(follower.subject, follower._given, follower._artifacts, len(blocks))
    for block in blocks:
        replica.apply(block)
    for steps in (1, 3, len(blocks) // 2, len(blocks)):
        replica.undo(steps)
        for block in blocks[-steps:]:
            assert replica.apply(block) == []
        assert state_of(replica) == state_of(follower.replica)


def test_a_chain_that_has_become_shorter_is_believed_after_a_while(market, follow, database):
    snapshot = market.engine.snapshot()
    now = [0.0]
    market.publish(9_900)
    follower = caught_up(follow(clock=lambda: now[0]))
    market.engine.revert(snapshot)
    assert follower.step() == 0
    assert follower.next_number == market.head + 2
    now[0] = 11.0
    caught_up(follower)
    assert follower.next_number == market.head + 1
    assert_each_block_once(database, market)


def test_a_node_that_fails_three_times_in_ten_delays_and_nothing_more(market, follow, database):
    faulty = FaultyNode(market.url, seed=3)
    faulty.share = 0.3
    try:
        follower = follow(url=faulty.address)
        for price in (9_990, 9_980, 9_970):
            market.publish(price)
            caught_up(follower)
    finally:
        faulty.close()
    assert sum(faulty.failed.values()) > 5
    assert_each_block_once(database, market)
    assert state_of(rebuilt(follower)) == state_of(follower.replica)
    assert rows_of(follower, "findings") == 0


@pytest.fixture(scope="module")
def plain():
    """A market that nobody calls through a contract, and its node without debug methods."""
    market = FuzzMarket({"decimals": 6, "feed": "signed"})
    node = FaultyNode(market.url)
    node.is_tracing = False
    market.publish(10_000)
    market.act("deposit", "lp_0", 10**12, "lp_0")
    market.act("open", "trader_0", 0, 10**18, 10**10, 2**255)
    market.act("open", "trader_1", 0, 10**18, 1, 2**255)  # not enough
    market.publish(10_100)
    market.act("close", "trader_0", 1, 0)
    yield market, Web3(Web3.HTTPProvider(node.address))
    node.close()
    market.close()


def test_a_node_that_traces_nothing_is_enough_for_direct_calls(plain, database):
    market, web3 = plain
    assert watch(web3, market.manifest(), Options(database, is_once=True)) == WELL
    assert_each_block_once(database, market)
    ((record,),) = rows(database, "SELECT record FROM blocks WHERE number = ?", market.head)
    found = records.load(market.head, "", "", 0, record)
    assert not found.is_traced
    assert found.words


def test_a_call_through_a_contract_that_no_trace_tells_of_is_an_error(plain, database):
    market, web3 = plain
    market.act("deposit", "lp_wallet", 10**9, "lp_wallet")
    with pytest.raises(InputError, match="through another contract, and with which calls only a"):
        watch(web3, market.manifest(), Options(database, is_once=True))
    assert watch(market.web3, market.manifest(), Options(database, is_once=True)) == WELL


def test_a_node_that_goes_away_is_waited_for(market, database):
    node = FaultyNode(market.url)
    policy = Policy(seconds=0.1, timeout=1)
    options = Options(database, interval=0.05, policy=policy)
    manifest, codes = market.manifest(), []
    web3 = Web3(Web3.HTTPProvider(node.address))
    thread = threading.Thread(target=_watch_and_note, args=(web3, manifest, options, codes))
    thread.start()
    try:
        _wait_for(lambda: _count(database) == market.head)
        node.is_away = True
        _wait_for(lambda: policy.failures.total() > 3)
        market.publish(9_990)
        node.is_away = False
        _wait_for(lambda: _count(database) == market.head)
    finally:
        policy.stop.set()
        thread.join()
        node.close()
    assert codes == [WELL]
    assert_each_block_once(database, market)


def _wait_for(is_so):
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Hook:
    """A webhook that fails at first."""

    def __init__(self):
        self.bodies = []
        self.asked = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked += 1
                is_taken = hook.asked > HOOK_FAILS
                if is_taken:
                    hook.bodies.append(body)
                self.send_response(204 if is_taken else 500)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hook():
    found = Hook()
    yield found
    found.close()


def test_tokens_that_are_gone_are_told_once(market, database, hook):
    """A token that takes from the pool breaks P2; a restart does not tell it again."""
    market.act("seize", "attacker", "pool", 12_345)
    at = market.head
    for _ in range(2):
        options = Options(database, is_once=True, webhook=hook.url)
        assert watch(market.web3, market.manifest(), options) == BROKEN
        market.publish(10_000)
    assert hook.asked == HOOK_FAILS + 2
    body, other = hook.bodies
    assert (other["invariant"], other["block"]) == ("P6", at)
    assert (body["invariant"], body["block"]) == ("P2", at)
    assert body["sentence"] == "every token unit is in exactly one ledger"
    assert body["difference"].startswith("12345 tokens of ")
    acknowledged = Options(database, is_once=True, is_acknowledging=True)
    watch(market.web3, market.manifest(), acknowledged)
    # The books are still short: as soon as a block comes, that is told again.
    assert rows(database, "SELECT block FROM findings WHERE NOT is_acknowledged") == [
        (market.head,),
        (market.head,),
    ]


def test_metrics_and_page_are_served(market, database):
    pages = []
    options = Options(database, metrics_port=0, page_port=0, interval=0.05, on_page=pages.append)
    codes = []
    arguments = (market.web3, market.manifest(), options, codes)
    thread = threading.Thread(target=_watch_and_note, args=arguments)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        text = ""
        while f'"number":{market.head}' not in text and time.monotonic() < deadline:
            time.sleep(0.05)
            if pages:
                text = _read(f"{pages[0]}api/latest")
        assert f'"number":{market.head}' in text
        history = json.loads(_read(f"{pages[0]}api/history?blocks=5"))
        assert [one["block"]["number"] for one in history] == list(
            range(market.head - 4, market.head + 1)
        )
    finally:
        options.policy.stop.set()
        thread.join()
    assert codes == [WELL]


def _watch_and_note(web3, manifest, options, codes):
    codes.append(watch(web3, manifest, options))


def _read(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def test_metrics_say_what_is_broken(market, follow):
    from operations.monitor import metrics

    market.act("seize", "attacker", "market", 1)
    follower = caught_up(follow())
    port, close = metrics.serve(metrics.Collector(follower, dict), 0)
    try:
        text = _read(f"http://127.0.0.1:{port}/metrics")
    finally:
        close()
    assert 'ringfence_monitor_invariant_broken{invariant="P2"} 1.0' in text
    assert 'ringfence_monitor_invariant_broken{invariant="P7"} 0.0' in text
    assert f"ringfence_monitor_block {float(market.head)}" in text


# -- what does not fit -----------------------------------------------------------------------------


def test_a_database_of_another_version_is_refused_and_kept(market, database):
    watch(market.web3, market.manifest(), Options(database, is_once=True))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE about SET value = '99' WHERE key = 'format'")
    with pytest.raises(InputError, match="format: '99' is not '2': it is of another version"):
        watch(market.web3, market.manifest(), Options(database, is_once=True))
    assert rows(database, "SELECT MAX(number) FROM blocks") == [(market.head,)]


def test_a_file_that_is_no_database_is_refused(market, database):
    database.write_text("prices, and other things\n" * 100)
    with pytest.raises(InputError, match="no database of a monitor"):
        watch(market.web3, market.manifest(), Options(database, is_once=True))


def test_a_database_in_use_is_refused(market, follow, database):
    follow()
    with pytest.raises(InputError, match="another monitor has this database open"):
        watch(market.web3, market.manifest(), Options(database, is_once=True))


def test_a_manifest_edited_by_hand_is_refused(market, tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(path, market.manifest())
    path.write_text(path.read_text().replace(market.system.pool.address, "0x" + "12" * 20))
    with pytest.raises(InputError, match=f"contracts.pool:{NAME} was changed by hand"):
        read_manifest(path)


def test_another_manifest_is_refused(market, database):
    from dataclasses import replace

    manifest = market.manifest()
    watch(market.web3, manifest, Options(database, is_once=True))
    changed = dict(manifest.contracts)
    named = changed["factory"].arguments | {"treasury": "0x" + "34" * 20}
    changed["factory"] = replace(changed["factory"], arguments=named)
    with pytest.raises(InputError, match="the manifest has changed since"):
        watch(market.web3, replace(manifest, contracts=changed), Options(database, is_once=True))


def test_another_contract_is_refused(market, database):
    from dataclasses import replace

    manifest = market.manifest()
    changed = dict(manifest.contracts)
    key = f"market:{NAME}"
    elsewhere = replace(changed[key], address=market.system.token.address)
    wrong = replace(manifest, contracts=changed | {key: elsewhere})
    with pytest.raises(InputError, match=f"{key}: another contract is at"):
        watch(market.web3, wrong, Options(database, is_once=True))
    nowhere = replace(changed[key], address="0x" + "56" * 20)
    wrong = replace(manifest, contracts=changed | {key: nowhere})
    with pytest.raises(InputError, match=f"{key}: there is no contract at"):
        watch(market.web3, wrong, Options(database, is_once=True))
    assert not database.exists()


def test_another_chain_is_refused(market, database):
    from dataclasses import replace

    manifest = replace(market.manifest(), chain_id=5)
    with pytest.raises(InputError, match="chain_id: the manifest is of chain 5"):
        watch(market.web3, manifest, Options(database, is_once=True))


def test_a_node_that_is_away_is_told_at_once_where_it_is_asked_once(market, database):
    policy = Policy(seconds=0.2, timeout=1)
    options = Options(database, is_once=True, policy=policy)
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
        watch(connect("http://127.0.0.1:9", policy), market.manifest(), options)


@pytest.mark.parametrize("feed", ["signed", "aggregator"])
def test_a_token_that_does_as_it_likes_makes_no_difference(feed):
    """It keeps a fee, calls back in the middle of a transfer, takes what it likes: the model meets
    what the contracts met. Only the books are short where it took something."""
    market = FuzzMarket({"decimals": 18, "feed": feed, "sequencer": True})
    try:
        assert market.generate(90, seed=4, besides=()) is None
        with following(market) as follower:
            to_head(follower)
            assert AGREEMENT not in follower.broken
            assert set(follower.broken) <= {"P2"}
            assert follower.replica.seen.live == market.twin.live
    finally:
        market.close()


@pytest.mark.parametrize("feed", ["signed", "aggregator"])
def test_a_checkpoint_holds_every_attribute_of_every_model(feed):
    market = FuzzMarket({"decimals": 18, "feed": feed, "sequencer": True})
    try:
        assert market.generate(150, seed=4, besides=()) is None
        with following(market) as follower:
            to_head(follower)
            blocks = list(follower.database.blocks())
            replica = Replica(follower.subject, follower._given, follower._artifacts)
            while replica.system is None:
                replica.apply(blocks.pop(0), is_checking=False)
            checkpoint.put_back(replica, blocks[-1], checkpoint.taken(follower.replica))
            assert attributes(replica) == attributes(follower.replica)
            assert state_of(replica) == state_of(follower.replica)
    finally:
        market.close()


def attributes(replica):
    """By contract: what each attribute is, other contracts by their address."""

    def plain(value):
        if isinstance(value, Contract):
            return value.address
        if isinstance(value, dict):
            return {key: plain(held) for key, held in value.items()}
        return list(map(plain, value)) if type(value) is tuple else value

    return {
        contract.address: {
            name: (type(value), plain(value))
            for name, value in contract.__dict__.items()
            if not isinstance(value, checkpoint.WIRING)
        }
        for contract in replica.chain.contracts
    }


def test_a_lie_of_the_model_would_be_told_too(market, follow):
    """What makes the other tests worth something: a word that is wrong is found."""
    follower = caught_up(follow())
    follower.replica.system.market._insurance += 1
    market.publish(10_000)
    caught_up(follower)
    assert AGREEMENT in follower.broken

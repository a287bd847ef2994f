"""The publisher on a real chain: when it publishes, what it refuses to, and the faults it meets."""

import logging
import re
import time

import pytest
from eth_account.messages import _hash_eip191_message

from lockstep.errors import InputError
from operations.accounts import Sender
from operations.market import LATEST_PRICE, Function, ask, status_of
from operations.publisher import (
    AggregatorPublisher,
    SignedPublisher,
    Thresholds,
    compact,
    is_signed_feed,
    read_feed,
    report_message,
)
from operations.rpc import Policy, connect
from operations.stage import PRICE, publisher_keys, signer_named
from perp_fuzz.deployment import ADDRESSES, PUBLISHERS
from perp_fuzz.signing import digest
from python_model.signed_price_feed import Header
from tests.live.faulty_rpc import FaultyNode
from tests.live.people import Quotes, make_publisher, publish

REMOVE_PUBLISHER = Function("remove_publisher(address,address)")


def settled(publisher):
    """One round, and what it has sent mined."""
    sent = publisher.step()
    publisher.account(publisher._sender.drain(5.0))
    return sent


def effective(stage):
    return status_of(stage.web3, stage.target).price


def latest_time(stage):
    return ask(stage.web3, stage.target.feed, LATEST_PRICE)[2]


def sent_by(stage, publisher):
    return stage.web3.eth.get_transaction_count(publisher._sender.address)


def test_the_message_is_the_one_that_the_feed_recovers_signers_of(node):
    feed = read_feed(node.web3, node.target.feed)
    message = report_message(31337, feed, PRICE, 10**17, 1_600_000_000)
    header = Header(31337, feed.feed_id, feed.decimals, 1_600_000_000)
    expected = digest(node.system.feed.address, header, PRICE, 10**17)
    assert _hash_eip191_message(message) == expected


@pytest.mark.parametrize("v", [27, 28])
def test_signatures_are_compact(v):
    assert compact((v, 5, 7)) == (5, 7 | (v - 27) << 255)


def test_a_price_is_published_first_then_when_it_moves_or_grows_old(stage):
    quotes = Quotes(PRICE)
    thresholds = Thresholds(heartbeat=60, deviation_bps=50, confidence_bps=5)
    publisher = make_publisher(stage, quotes, thresholds)
    publisher.check()
    assert settled(publisher) == 1
    stage.later(10)
    assert settled(publisher) == 0
    quotes.price = PRICE * 10_049 // 10_000
    assert settled(publisher) == 0
    quotes.price = PRICE * 10_050 // 10_000
    assert settled(publisher) == 1
    assert effective(stage) == quotes.price
    stage.later(30)
    assert settled(publisher) == 0
    stage.later(30)
    assert settled(publisher) == 1
    reasons = {"first": 1, "deviation": 1, "heartbeat": 1}
    for reason, count in reasons.items():
        assert publisher.metrics.value("published_total", reason=reason) == count
    assert stage.follow() == 3
    stage.compare()


def test_a_price_beyond_the_band_is_confirmed_by_the_next_report(stage):
    publish(stage, PRICE)
    fallen = PRICE * 80 // 100
    publisher = make_publisher(stage, Quotes(fallen))
    stage.later(5)
    assert settled(publisher) == 1
    assert status_of(stage.web3, stage.target).is_halted
    assert effective(stage) == PRICE
    stage.later(1)
    assert settled(publisher) == 1
    assert effective(stage) == fallen
    stage.follow()
    stage.compare()


@pytest.mark.parametrize(("skew", "said"), [(300, "ahead of"), (-300, "behind")])
def test_a_publisher_with_a_wrong_clock_says_so_and_sends_nothing(node, caplog, skew, said):
    caplog.set_level(logging.WARNING)
    clock = {"skew": skew}
    publisher = make_publisher(node, Quotes(), clock=lambda: node.chain_time() + clock["skew"])
    for _ in range(3):
        assert publisher.step() == 0
    (record,) = caplog.records
    # As far as the next block would be ahead of the latest by then.
    assert re.match(
        rf"the clock of this machine is (30\d|29\d) s {said} the chain's .* set it \(NTP\)",
        record.getMessage(),
    )
    assert sent_by(node, publisher) == 0
    assert publisher.metrics.value("is_clock_wrong") == 1
    clock["skew"] = 0
    assert settled(publisher) == 1
    assert publisher.metrics.value("is_clock_wrong") == 0
    clock["skew"] = skew
    assert publisher.step() == 0
    assert len(caplog.records) == 2
    assert node.follow() == 1
    node.compare()


@pytest.mark.parametrize("skew", [-10, 10])
def test_a_clock_that_is_a_little_off_brings_no_time_ahead_of_the_chain(node, skew):
    publisher = make_publisher(node, Quotes(), clock=lambda: node.chain_time() + skew)
    node.later(20)
    at = node.chain_time()
    assert settled(publisher) == 1
    assert latest_time(node) == at + min(skew, 0)


def test_after_a_pause_without_blocks_the_time_is_that_of_the_next_block(node):
    offset = node.chain_time() - time.time()
    node.rpc("evm_increaseTime", 3_600)  # and no block since
    publisher = make_publisher(node, Quotes(), clock=lambda: time.time() + offset + 3_600)
    before = node.chain_time()
    assert settled(publisher) == 1
    assert latest_time(node) >= before + 3_600


def test_a_key_that_is_not_authorised_is_named_before_anything_is_sent(node):
    stranger = signer_named("attacker")
    publisher = make_publisher(node, Quotes(), keys=[*publisher_keys(2), stranger])
    with pytest.raises(InputError, match=f"^--publisher: {stranger.address} is not authorised"):
        publisher.check()
    assert sent_by(node, publisher) == 0


def test_fewer_keys_than_the_quorum_are_refused(node):
    publisher = make_publisher(node, Quotes(), keys=publisher_keys(2))
    with pytest.raises(InputError, match=r"^--publisher: 2 keys, and the quorum .* is 3"):
        publisher.check()


@pytest.mark.parametrize(
    ("thresholds", "named"),
    [
        (Thresholds(heartbeat=240), r"^--heartbeat 240: .* valid for 240 s"),
        (Thresholds(confidence_bps=201), r"^--confidence 201: .* at most 200 basis points"),
    ],
)
def test_thresholds_that_do_not_suit_the_market_are_refused(node, thresholds, named):
    publisher = make_publisher(node, Quotes(), thresholds)
    with pytest.raises(InputError, match=named):
        publisher.check()


@pytest.mark.parametrize("field", ["heartbeat", "deviation_bps", "confidence_bps", "most_skew"])
def test_thresholds_are_above_zero(field):
    with pytest.raises(InputError, match=r"give a number above zero"):
        Thresholds(**{field: 0}).check()


def test_what_the_market_would_refuse_is_told_and_not_sent(node, caplog):
    publish(node, PRICE)
    quotes = Quotes(PRICE * 101 // 100)
    publisher = make_publisher(node, quotes, Thresholds(confidence_bps=201))
    before = sent_by(node, publisher)
    node.later(2)
    assert [publisher.step() for _ in range(2)] == [0, 0]
    assert caplog.text.count("not sent: the feed or the market says confidence too wide") == 1
    assert sent_by(node, publisher) == before


def test_an_account_without_coin_is_refused(node):
    publisher = make_publisher(node, Quotes())
    node.rpc("anvil_setBalance", publisher._sender.address, "0x0")
    with pytest.raises(InputError, match="no native coin"):
        publisher.check()


def test_more_keys_than_the_quorum_all_sign(stage):
    publisher = make_publisher(stage, Quotes(), keys=publisher_keys(5))
    publisher.check()
    assert settled(publisher) == 1
    assert stage.follow() == 1
    stage.compare()


def test_a_key_removed_meanwhile_is_left_out_and_a_lost_quorum_is_said(stage, caplog):
    quotes = Quotes()
    publisher = make_publisher(stage, quotes, keys=publisher_keys(4))
    assert settled(publisher) == 1
    configurator = stage.system.configurator.address
    owner = ADDRESSES["owner_0"]
    feed = stage.system.feed.address
    stage.send([(owner, configurator, REMOVE_PUBLISHER(feed, ADDRESSES[PUBLISHERS[0]]))])
    quotes.price = PRICE * 101 // 100
    stage.later(2)
    assert settled(publisher) == 1
    assert effective(stage) == quotes.price
    stage.send([(owner, configurator, REMOVE_PUBLISHER(feed, ADDRESSES[PUBLISHERS[1]]))])
    quotes.price = PRICE
    stage.later(2)
    assert settled(publisher) == 0
    assert "only 2 of the keys are listed" in caplog.text


def test_a_report_that_is_not_mined_in_time_is_renewed_under_the_same_number(stage):
    quotes = Quotes()
    publisher = make_publisher(stage, quotes, wait=0.3)
    stage.hold_mining()
    assert publisher.step() == 1
    quotes.price = PRICE * 102 // 100
    stage.rpc("evm_increaseTime", 70)  # more than a report may be old
    time.sleep(0.4)
    publisher._clock = lambda: stage.chain_time() + 70
    publisher.step()
    stage.rpc("evm_mine")
    publisher.account(publisher._sender.drain(2.0))
    assert sent_by(stage, publisher) == 1
    assert publisher.published == 1
    assert effective(stage) == quotes.price


def test_a_third_of_the_requests_failing_loses_and_doubles_nothing(stage):
    node = FaultyNode(stage.address, seed=5)
    quotes = Quotes()
    publisher = make_publisher(stage, quotes, address=node.address)
    node.share = 0.3
    try:
        for round_ in range(3):
            quotes.price = PRICE * (100 + round_) // 100
            stage.later(2)
            assert publisher.step() == 1
            publisher.account(publisher._sender.drain(20.0))
    finally:
        node.close()
    assert publisher.published == sent_by(stage, publisher) == 3
    assert effective(stage) == quotes.price
    assert sum(node.failed.values()) >= 4
    assert stage.follow() == 3
    stage.compare()


def test_two_publishers_side_by_side_do_no_harm(stage):
    quotes = Quotes()
    publishers = [make_publisher(stage, quotes) for _ in range(2)]
    publishers[1]._sender = Sender(stage.web3, signer_named("other publisher"))
    stage.fund(signer_named("other publisher"))
    for round_ in range(3):
        quotes.price = PRICE * (100 + round_) // 100
        stage.later(2)
        assert [settled(publisher) for publisher in publishers] == [1, 0]
    assert stage.follow() == 3
    stage.compare()


def aggregator_publisher(stage, quotes, heartbeat=40):
    signer = signer_named("publisher")
    stage.fund(signer)
    web3 = connect(stage.address, Policy(seconds=10.0))
    given = (Sender(web3, signer), quotes, Thresholds(heartbeat=heartbeat))
    return AggregatorPublisher(web3, stage.target, *given, clock=stage.chain_time)


def test_a_market_on_a_test_aggregator_gets_rounds_and_is_told_of_them(make_stage):
    stage = make_stage(feed="aggregator")
    assert not is_signed_feed(stage.web3, stage.target.feed)
    quotes = Quotes()
    with pytest.raises(InputError, match=r"^--heartbeat 60: the feed takes a round for 60 s"):
        aggregator_publisher(stage, quotes, 60).check()
    publisher = aggregator_publisher(stage, quotes)
    publisher.check()
    assert [settled(publisher) for _ in range(3)] == [1, 1, 0]
    assert effective(stage) == PRICE
    quotes.price = PRICE * 103 // 100
    stage.later(2)
    assert [settled(publisher) for _ in range(3)] == [1, 1, 0]
    assert effective(stage) == quotes.price
    assert publisher.published == 2
    assert stage.follow() == 4
    stage.compare()


def test_rounds_of_a_real_aggregator_are_only_brought(make_stage):
    stage = make_stage(feed="aggregator")
    test = aggregator_publisher(stage, Quotes())
    assert test.step() == 1
    stage.target = stage.target._replace(test_aggregator=None)
    publisher = aggregator_publisher(stage, Quotes(PRICE * 2))
    assert [settled(publisher) for _ in range(2)] == [1, 0]
    assert effective(stage) == PRICE


def test_signed_and_aggregator_feeds_are_told_apart(node):
    assert is_signed_feed(node.web3, node.target.feed)
    assert isinstance(make_publisher(node, Quotes()), SignedPublisher)

"""The publisher: signs prices with several keys and brings them to a market's feed.

It publishes when a price has moved by so much from the one in effect (deviation), or when that has
grown so old (heartbeat). A price that the market holds for confirmation is not in effect, so the
next report confirms it by the same rule.

Time is the chain's: a report bears no time ahead of a block, which the feed would refuse, and a
machine whose clock does not agree with the chain's sends nothing.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from eth_account.messages import SignableMessage, encode_typed_data
from web3 import Web3

from lockstep.errors import InputError
from operations.accounts import Call, Result, Sender, Signer
from operations.market import (
    AGGREGATOR_DECIMALS,
    FEED_DECIMALS,
    FEED_ID,
    HEARTBEAT,
    LATEST_PRICE,
    LATEST_ROUND,
    MARKS,
    MAX_CONFIDENCE,
    PARAMS,
    PUBLISH,
    PUBLISHERS,
    QUORUM,
    SET_ROUND,
    UPDATE_PRICE,
    WAD,
    Reverted,
    Status,
    Tag,
    Target,
    ask,
    estimate_gas,
    status_of,
)
from operations.metrics import Metrics
from operations.rounds import Rounds
from operations.rpc import Block, NodeError, Stopped, block_of
from operations.sources import NoQuote, Source

LOG = logging.getLogger("ringfence.publisher")
PUBLICATION, ROUND, ROUND_BROUGHT = "publish", "set_round", "update_price"
NO_PRICE, WRONG_CLOCK = "no price", "wrong clock"  # what is told once
MAX_PUBLISHERS = 8  # reports of one batch
PENDING_TIME = 3  # its place among the breakers
PARTS_OF_BPS = 100_000
GAS_SPARE_PERCENT, GAS_SPARE = 50, 300_000
EIP712 = [
    ("EIP712Domain", "string name,string version,uint256 chainId,address verifyingContract"),
    (
        "PriceReport",
        "bytes32 feedId,uint8 decimals,int256 price,uint256 confidence,uint256 publishTime",
    ),
]
TYPES = {
    kind: [dict(zip(("type", "name"), field.split(), strict=True)) for field in fields.split(",")]
    for kind, fields in EIP712
}


class Thresholds(NamedTuple):
    """When a price is worth publishing, as oracle networks say it; fractions in basis points."""

    heartbeat: int = 30  # seconds
    deviation_bps: float = 10.0
    confidence_bps: float = 5.0  # half the width of the band, of the price
    # Seconds that this machine's clock may be off the chain's before nothing is sent.
    most_skew: int = 15

    def check(self) -> None:
        """InputError for what makes no sense."""
        for name, value in self._asdict().items():
            if not value > 0:
                option = name.replace("_bps", "").replace("_", "-")
                raise InputError(f"--{option} {value:g}: give a number above zero")


class Feed(NamedTuple):
    """A feed of signed reports, as it is now."""

    address: str
    feed_id: bytes
    decimals: int
    publishers: tuple[str, ...]  # lower case
    quorum: int


class PublisherMetrics(Metrics):
    """What can be asked of a publisher while it runs."""

    def __init__(self) -> None:
        super().__init__("publisher")
        self.published = self.counter("published", "Prices published, by why", "reason")
        self.price = self.gauge("price", "The source's last price")
        self.effective = self.gauge("price_in_effect", "The market's price")
        self.age = self.gauge("price_age_seconds", "Age of the price in effect")
        self.skew = self.gauge("clock_skew_seconds", "This clock less the chain's")
        self.is_clock_wrong = self.gauge("is_clock_wrong", "1 while nothing is sent for it")
        self.silent = self.counter("silent", "Looks at a source that had no price")


def report_message(
    chain_id: int, feed: Feed, price: int, confidence: int, price_time: int
) -> SignableMessage:
    """What a publisher signs. Price and confidence in the feed's decimals."""
    return encode_typed_data(
        full_message={
            "types": TYPES,
            "primaryType": "PriceReport",
            "domain": {
                "name": "Ringfence",
                "version": "1",
                "chainId": chain_id,
                "verifyingContract": feed.address,
            },
            "message": {
                "feedId": feed.feed_id,
                "decimals": feed.decimals,
                "price": price,
                "confidence": confidence,
                "publishTime": price_time,
            },
        }
    )


def compact(signature: tuple[int, int, int]) -> tuple[int, int]:
    """v, r, s as r and vs (EIP-2098)."""
    v, r, s = signature
    return r, s | (v - 27) << 255


class Publisher(Rounds):
    """Looks when a price is to be published, and at the clock. How is up to the kind of feed."""

    metrics: PublisherMetrics

    def __init__(
        self,
        web3: Web3,
        target: Target,
        sender: Sender,
        source: Source,
        thresholds: Thresholds,
        metrics: PublisherMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        thresholds.check()
        super().__init__(LOG, sender, metrics or PublisherMetrics())
        self._web3 = web3
        self._target = target
        self._source = source
        self._thresholds = thresholds
        self._clock = clock
        self.published = 0

    @property
    def is_over(self) -> bool:
        return self._source.is_over and not self._sender.in_flight

    def check(self) -> None:
        """InputError, before anything is sent, for what feed or market would refuse."""
        heartbeat = self._thresholds.heartbeat
        max_age = int(ask(self._web3, self._target.market, MARKS)[5][5])
        if heartbeat >= max_age:
            raise InputError(
                f"--heartbeat {heartbeat}: the market's prices are valid for {max_age} s "
                "(max_price_age); give less"
            )
        self._sender.check()

    def summary(self) -> str:
        return f"{self.published:,} prices published"

    def step(self) -> int:
        self.account(self._sender.poll())
        try:
            price = self._source.quote()
        except NoQuote as reason:
            self.metrics.silent.inc()
            self.tell(f"no price: {reason}", logging.WARNING, NO_PRICE)
            return 0
        self.is_over_with(NO_PRICE)
        self.metrics.price.set(price / WAD)
        if self._sender.in_flight:
            return 0
        head = block_of(self._web3)
        status = status_of(self._web3, self._target, head.number)
        self._show(head, status)
        now = self.time_of_report(head)
        reason_why = None if now is None else self._reason(price, status, now)
        if now is None or reason_why is None:
            return 0
        return self._publish(price, now, head, reason_why)

    def _publish(self, price: int, now: int, head: Block, reason: str) -> int:
        """Sends a price, WAD, of this moment; how many transactions."""
        raise NotImplementedError

    def _reason(self, price: int, status: Status, now: int) -> str | None:
        """Why to publish this price now, if at all."""
        if status.price == 0:
            return "first"
        # In integers: a deviation of a hundred-thousandth of a basis point can be told.
        moved = abs(price - status.price) * 10_000 * PARTS_OF_BPS
        if moved >= int(self._thresholds.deviation_bps * PARTS_OF_BPS) * status.price:
            return "deviation"
        if status.is_halted:
            return "confirmation"
        return "heartbeat" if now - status.price_time >= self._thresholds.heartbeat else None

    def time_of_report(self, head: Block) -> int | None:
        """The time that a report may bear; None while clock and chain do not agree, which is said.

        That of the latest block, or of this clock if it is a little behind; after a pause without
        blocks, that of the block that the node would make now.
        """
        clock, most = int(self._clock()), self._thresholds.most_skew
        chain = head.timestamp
        if clock - chain > most:
            chain = max(chain, self._pending_time())
        skew = clock - chain
        self.metrics.skew.set(skew)
        self.metrics.is_clock_wrong.set(abs(skew) > most)
        if abs(skew) <= most:
            self.is_over_with(WRONG_CLOCK)
            return min(clock, chain)
        what = "ahead of" if skew > 0 else "behind"
        other = ", or the chain stands still" if skew > 0 else ""
        self.tell(
            f"the clock of this machine is {abs(skew)} s {what} the chain's (block {head.number})"
            f"{other}; set it (NTP): nothing is published meanwhile",
            logging.ERROR,
            WRONG_CLOCK,
        )
        return None

    def _pending_time(self) -> int:
        try:
            return block_of(self._web3, "pending").timestamp
        except (NodeError, Stopped):
            raise
        except Exception:  # a node without a pending block says so in its own way
            return 0

    def _show(self, head: Block, status: Status) -> None:
        self.metrics.block.set(head.number)
        self.metrics.block_time.set(head.timestamp)
        self.metrics.effective.set(status.price / WAD)
        self.metrics.age.set(head.timestamp - status.price_time)


class SignedPublisher(Publisher):
    """For a feed of signed reports: one batch, signed by all keys, is one transaction."""

    def __init__(
        self,
        web3: Web3,
        target: Target,
        keys: Sequence[Signer],
        sender: Sender,
        source: Source,
        thresholds: Thresholds,
        metrics: PublisherMetrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(web3, target, sender, source, thresholds, metrics, clock)
        # A batch brings its reports in the order of their signers.
        self._keys = sorted(keys, key=lambda key: int(key.address, 16))
        self._chain_id = int(web3.eth.chain_id)
        self._reasons: dict[bytes, str] = {}

    def check(self) -> None:
        feed = read_feed(self._web3, self._target.feed)
        for place, key in enumerate(self._keys):
            if key.address in {other.address for other in self._keys[:place]}:
                raise InputError(f"--publisher: {key.address} twice; it signs once")
            if key.address.lower() not in feed.publishers:
                raise InputError(
                    f"--publisher: {key.address} is not authorised: feed {feed.address} lists "
                    f"{', '.join(feed.publishers)}; leave it out, or have the owner list it"
                )
        if len(self._listed(feed)) < feed.quorum:
            raise InputError(
                f"--publisher: {len(self._keys)} keys, and the quorum of feed {feed.address} is "
                f"{feed.quorum}; give more of its publishers"
            )
        most = int(ask(self._web3, self._target.engine, PARAMS)[MAX_CONFIDENCE])
        if self._thresholds.confidence_bps * WAD > most * 10_000:
            raise InputError(
                f"--confidence {self._thresholds.confidence_bps:g}: the market takes at most "
                f"{most * 10_000 / WAD:g} basis points (max_confidence)"
            )
        super().check()

    def on_result(self, result: Result) -> None:
        reason = self._reasons.pop(result.call.data, "unknown")
        if result.status == "done":
            self.published += 1
            self.metrics.published.labels(reason).inc()

    def batch(self, feed: Feed, price: int, now: int) -> bytes:
        """Calldata that brings a price, WAD, as signed by those of the keys that count."""
        scale: int = 10 ** (18 - feed.decimals)
        quoted = max(price // scale, 1)
        parts = int(self._thresholds.confidence_bps * PARTS_OF_BPS)
        confidence = max(quoted * parts // (10_000 * PARTS_OF_BPS), 1)
        message = report_message(self._chain_id, feed, quoted, confidence, now)
        reports = [
            (quoted, confidence, *compact(key.sign_message(message))) for key in self._listed(feed)
        ]
        return PUBLISH((self._chain_id, feed.feed_id, feed.decimals, now), reports)

    def _listed(self, feed: Feed) -> list[Signer]:
        listed = [key for key in self._keys if key.address.lower() in feed.publishers]
        return listed[:MAX_PUBLISHERS]

    def _publish(self, price: int, now: int, head: Block, reason: str) -> int:
        feed = read_feed(self._web3, self._target.feed)
        if len(self._listed(feed)) < feed.quorum:
            self.tell(
                f"only {len(self._listed(feed))} of the keys are listed by feed {feed.address} now "
                f"and its quorum is {feed.quorum}; nothing is published meanwhile",
                logging.ERROR,
            )
            return 0
        last = ask(self._web3, feed.address, LATEST_PRICE)[2]
        # As late as possible: a report grows old from here on.
        head = block_of(self._web3)
        now = self.time_of_report(head) or 0
        if now <= last:
            return 0  # in the same second; or another publisher was here
        data = self.batch(feed, price, now)
        block: Tag = "latest" if now <= head.timestamp else "pending"
        try:
            gas = estimate_gas(self._web3, self._sender.address, feed.address, data, block)
        except Reverted as refused:
            self.tell(f"not sent: the feed or the market says {refused}", logging.ERROR)
            return 0
        self._reasons[data] = reason
        self._sender.send(self._call(feed, data, gas))
        return 1

    def _call(self, feed: Feed, data: bytes, gas: int) -> Call:
        limit = gas + gas * GAS_SPARE_PERCENT // 100 + GAS_SPARE
        return Call(PUBLICATION, feed.address, data, limit, lambda: self._renewed(feed, data, gas))

    def _renewed(self, feed: Feed, data: bytes, gas: int) -> Call:
        """The price of now in place of one that was not mined in time; that one if there is no
        newer."""
        try:
            price = self._source.quote()
        except NoQuote:
            return self._call(feed, data, gas)
        now = self.time_of_report(block_of(self._web3))
        if now is None or now <= ask(self._web3, feed.address, LATEST_PRICE)[2]:
            return self._call(feed, data, gas)
        renewed = self.batch(feed, price, now)
        self._reasons[renewed] = self._reasons.pop(data, "unknown")
        return self._call(feed, renewed, gas)


class AggregatorPublisher(Publisher):
    """For a feed that reads an aggregator: whatever round it has, the market is told of it. A test
    aggregator also gets its rounds here; any other one gets them from its own network."""

    def check(self) -> None:
        most = int(ask(self._web3, self._target.feed, HEARTBEAT))
        if self._target.test_aggregator is not None and self._thresholds.heartbeat >= most:
            raise InputError(
                f"--heartbeat {self._thresholds.heartbeat}: the feed takes a round for {most} s "
                "(heartbeat in the deploy file); give less"
            )
        super().check()

    def step(self) -> int:
        self.account(self._sender.poll())
        if self._sender.in_flight:
            return 0
        status = status_of(self._web3, self._target)
        held_at = status.breaker[PENDING_TIME] if status.is_halted else 0
        if status.has_newer_price and status.feed_time > held_at:
            return self._send(ROUND_BROUGHT, self._target.market, UPDATE_PRICE(self.address))
        if self._target.test_aggregator is None:
            self._show(block_of(self._web3), status)
            return 0
        return super().step()

    def on_result(self, result: Result) -> None:
        if result.status == "done" and result.call.label == ROUND_BROUGHT:
            self.published += 1
            self.metrics.published.labels("round").inc()

    @property
    def address(self) -> str:
        return self._sender.address

    def _publish(self, price: int, now: int, head: Block, reason: str) -> int:
        aggregator = self._target.test_aggregator
        assert aggregator is not None  # step has looked
        number, last = 0, 0
        try:
            number, _, _, last, _ = ask(self._web3, aggregator, LATEST_ROUND)
        except Reverted:
            self.tell("the first round of this aggregator", logging.INFO)
        if now <= last:
            return 0
        decimals = int(ask(self._web3, aggregator, AGGREGATOR_DECIMALS))
        number += 1
        answer = price // 10 ** (18 - decimals)
        return self._send(ROUND, aggregator, SET_ROUND(number, answer, now, now, number))

    def _send(self, label: str, to: str, data: bytes) -> int:
        try:
            gas = estimate_gas(self._web3, self.address, to, data)
        except Reverted as refused:
            self.tell(f"{label}: not sent: the contract says {refused}", logging.ERROR)
            return 0
        limit = gas + gas * GAS_SPARE_PERCENT // 100 + GAS_SPARE
        self._sender.send(Call(label, to, data, limit))
        return 1


def read_feed(web3: Web3, address: str) -> Feed:
    """A feed of signed reports."""
    publishers = tuple(publisher.lower() for publisher in ask(web3, address, PUBLISHERS))
    decimals = int(ask(web3, address, FEED_DECIMALS))
    return Feed(
        address, ask(web3, address, FEED_ID), decimals, publishers, int(ask(web3, address, QUORUM))
    )


def is_signed_feed(web3: Web3, address: str) -> bool:
    """Whether prices are brought to it as signed reports."""
    try:
        return bool(ask(web3, address, FEED_ID))
    except Reverted:
        return False

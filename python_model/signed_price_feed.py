"""Mirror of contracts/SignedPriceFeed.vy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from python_model.evm import ZERO_ADDRESS, Chain, Contract, external
from python_model.modules import constants, errors, fixed_point, sorted_median

if TYPE_CHECKING:
    from python_model.perp_market import PerpMarket

MAX_PUBLISHERS = 8
MAX_LENGTH = 16
MAX_DELAY = 60


class Header(NamedTuple):
    """What the reports of a batch have in common."""

    chain_id: int
    feed_id: bytes
    decimals: int
    price_time: int


class Report(NamedTuple):
    """Price and confidence in the feed's decimals, and a signature of them and the header."""

    price: int
    confidence: int
    r: int
    vs: int


class SignedPriceFeed(Contract):
    """Prices signed by a quorum of publishers; addresses are in lower case."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        factory: str,
        configurator: str,
        feed_id: bytes,
        decimals: int,
        publishers: Sequence[str],
        quorum: int,
    ) -> None:
        super().__init__(chain, address)
        errors._require(decimals <= 18, errors.BAD_FEED)
        self.FACTORY = factory
        self.CONFIGURATOR = configurator
        self.FEED_ID = feed_id
        self.DECIMALS = decimals
        self.PRICE_SCALE = 10 ** (18 - decimals)
        self.MAX_REPORTED_PRICE = fixed_point._mul_div_down(
            constants.MAX_PRICE, 1, self.PRICE_SCALE
        )
        self._price = 0
        self._confidence = 0
        self._price_time = 0
        self._records = 0
        self._set_publishers(publishers, quorum, None)

    @external
    def set_market(self, market: "PerpMarket", *, sender: str) -> None:
        errors._require(sender == self.FACTORY, errors.NOT_FACTORY)
        errors._require(self._market() is None, errors.ALREADY_SET)
        self._store(self._publishers(), self._quorum(), market)
        self.log("MarketSet", market.address)

    @external
    def set_publishers(self, publishers: Sequence[str], quorum: int, *, sender: str) -> None:
        errors._require(sender == self.CONFIGURATOR, errors.NOT_CONFIGURATOR)
        self._set_publishers(publishers, quorum, self._market())

    @external
    def remove_publisher(self, publisher: str, *, sender: str) -> None:
        errors._require(sender == self.CONFIGURATOR, errors.NOT_CONFIGURATOR)
        publishers = self._publishers()
        errors._require(publisher in publishers, errors.NOT_PUBLISHER)
        others = [other for other in publishers if other != publisher]
        self._check_publishers(others, self._quorum())
        self._store(others, self._quorum(), self._market())
        self.log("PublisherRemoved", publisher)

    @external
    def publish(self, header: Header, reports: Sequence[Report], *, sender: str) -> int:
        errors._require(header.chain_id == self.chain.chain_id, errors.WRONG_CHAIN)
        errors._require(header.feed_id == self.FEED_ID, errors.WRONG_FEED)
        errors._require(header.decimals == self.DECIMALS, errors.WRONG_DECIMALS)
        errors._require(header.price_time <= self.chain.timestamp, errors.FUTURE_PRICE)
        errors._require(header.price_time > self._price_time, errors.OLD_PRICE)
        errors._require(header.price_time + MAX_DELAY >= self.chain.timestamp, errors.STALE_PRICE)
        publishers, quorum, market = self._record
        errors._require(len(reports) >= quorum, errors.TOO_FEW_REPORTS)
        errors._require(len(reports) <= MAX_PUBLISHERS, errors.TOO_MANY_REPORTS)
        prices = []
        confidences = []
        place = 0
        for report in reports:
            message = (
                self.chain.chain_id,
                self.address,
                header.feed_id,
                header.decimals,
                report.price,
                report.confidence,
                header.price_time,
            )
            signer = self.chain.recover(message, report.r, report.vs)
            while place < len(publishers) and publishers[place] < signer:
                place += 1
            if place == len(publishers) or publishers[place] != signer:
                self._refuse_signer(publishers, signer, place)
            place += 1
            if not 0 < report.confidence <= report.price <= self.MAX_REPORTED_PRICE:
                self._refuse_report(report.price, report.confidence)
            prices.append(report.price)
            confidences.append(report.confidence)
        if len(reports) == 3:
            price = sorted_median._median_of_three(prices[0], prices[1], prices[2])
            confidence = sorted_median._median_of_three(
                confidences[0], confidences[1], confidences[2]
            )
        else:
            price = sorted_median._median(prices, len(reports))
            confidence = sorted_median._median(confidences, len(reports))
        price *= self.PRICE_SCALE
        confidence *= self.PRICE_SCALE
        self._price, self._confidence, self._price_time = price, confidence, header.price_time
        self.log("PricePublished", price, confidence, header.price_time)
        errors._require(market is not None, errors.NO_MARKET)
        assert market is not None
        return market.update_price(sender, sender=self.address)

    def latest_price(self) -> tuple[int, int, int]:
        return self._price, self._confidence, self._price_time

    def publishers(self) -> tuple[str, ...]:
        return self._publishers()

    def quorum(self) -> int:
        return self._quorum()

    def market(self) -> "PerpMarket | None":
        return self._market()

    def _set_publishers(
        self, publishers: Sequence[str], quorum: int, market: "PerpMarket | None"
    ) -> None:
        self._check_publishers(publishers, quorum)
        self._store(publishers, quorum, market)
        for publisher in publishers:
            self.log("PublisherListed", publisher)
        self.log("PublishersSet", len(publishers), quorum)

    def _check_publishers(self, publishers: Sequence[str], quorum: int) -> None:
        errors._require(0 < quorum <= len(publishers), errors.BAD_PUBLISHERS)
        last = ZERO_ADDRESS
        for publisher in publishers:
            errors._require(publisher > last, errors.BAD_PUBLISHERS)
            last = publisher

    def _refuse_signer(self, publishers: Sequence[str], signer: str, place: int) -> None:
        errors._require(signer in publishers, errors.NOT_PUBLISHER)
        errors._require(publishers[place - 1] != signer, errors.DUPLICATE_SIGNER)
        errors._require(False, errors.UNORDERED_SIGNERS)

    def _refuse_report(self, price: int, confidence: int) -> None:
        errors._require(price != 0, errors.ZERO_PRICE)
        errors._require(price > 0, errors.NEGATIVE_PRICE)
        errors._require(price <= self.MAX_REPORTED_PRICE, errors.PRICE_TOO_LARGE)
        errors._require(confidence > 0, errors.ZERO_CONFIDENCE)
        errors._require(False, errors.CONFIDENCE_TOO_LARGE)

    def _store(self, publishers: Sequence[str], quorum: int, market: "PerpMarket | None") -> None:
        self._record = (tuple(publishers), quorum, market)
        self._records += 1

    def _publishers(self) -> tuple[str, ...]:
        return self._record[0]

    def _quorum(self) -> int:
        return self._record[1]

    def _market(self) -> "PerpMarket | None":
        return self._record[2]

# pragma version 0.4.3
"""
@title SignedPriceFeed
@license AGPL-3.0-only
@notice Prices signed by a quorum of publishers (EIP-712). Anyone may bring a batch of reports;
        their median is the price, and the market is settled in the same transaction.
@dev    ASSUMPTIONS  Fewer than half of any quorum sign falsehoods: then the median lies between two
                     honest prices. All reports of a batch bear one time, and times only increase:
                     no report counts twice, no two batches mix. Chain, feed and contract are part
                     of what is signed. A second form of the same signature is worth nothing, since
                     no signature is remembered.
        ROUNDING     The mean of two middle prices or confidences is rounded down, in units of the
                     feed's decimals.
        GAS          Publishers, quorum and market are the code of a contract that only recites
                     them: a batch reads them all for the price of one cold account. `_latest`
                     counts these records, from which the address of the last one follows.
@custom:kill The configurator removes publishers or raises the quorum; without a quorum the price
             goes stale and the market refuses whatever adds risk. See docs/shutdown.md.
"""

from snekmate.utils import create
from snekmate.utils import eip712_domain_separator

from contracts.interfaces import IPerpMarket
from contracts.interfaces import IPriceFeed
from contracts.interfaces import ISignedPriceFeed
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import sorted_median

implements: IPriceFeed
implements: ISignedPriceFeed
initializes: eip712_domain_separator
exports: eip712_domain_separator.eip712Domain

interface Record:
    def words() -> uint256[RECORD_WORDS]: view

version: public(constant(String[8])) = "0.2.0"

MAX_PUBLISHERS: constant(uint256) = 8
# Longer batches revert while they are decoded, without a reason.
MAX_LENGTH: constant(uint256) = 16
# Seconds. An older price would liquidate those who had no chance to act on it.
MAX_DELAY: constant(uint256) = 60

REPORT_TYPE_HASH: constant(bytes32) = keccak256(
    "PriceReport(bytes32 feedId,uint8 decimals,int256 price,uint256 confidence,uint256 publishTime)"
)

# A record is one word per publisher, ascending, the rest filled up with NOBODY, then the quorum
# above the market: a number past every address, at which a search ends.
NOBODY: constant(uint256) = max_value(uint256)
RECORD_WORDS: constant(uint256) = MAX_PUBLISHERS + 1
# Whoever calls a record is given its words. The first ten bytes, at creation, return what follows
# (0x12a bytes), the next ten, at every call, what follows them (0x120 bytes).
RECORD_INITCODE: constant(Bytes[20]) = x"61012a80600a3d393df361012080600a3d393df3"

MASK_48: constant(uint256) = 2**48 - 1
MASK_160: constant(uint256) = 2**160 - 1
MASK_255: constant(uint256) = 2**255 - 1

FACTORY: immutable(address)
CONFIGURATOR: immutable(address)
FEED_ID: public(immutable(bytes32))
DECIMALS: public(immutable(uint8))
PRICE_SCALE: immutable(uint256)
MAX_REPORTED_PRICE: immutable(uint256)

_latest: uint256  # price 88 | confidence 88 | price_time 48 | records 32


@deploy
def __init__(
    factory: address,
    configurator: address,
    feed_id: bytes32,
    decimals: uint8,
    publishers: DynArray[address, MAX_PUBLISHERS],
    quorum: uint256,
):
    """
    @notice The market follows: see `set_market`.
    @param factory Binds the feed to its market.
    @param configurator Replaces and removes publishers.
    @param feed_id What the publishers call the underlying.
    @param decimals Of prices and confidences as they are signed, at most 18.
    @param publishers Addresses that sign, ascending.
    @param quorum Reports that make a price.
    """
    eip712_domain_separator.__init__("Ringfence", "1")
    errors._require(decimals <= 18, errors.BAD_FEED)
    FACTORY = factory
    CONFIGURATOR = configurator
    FEED_ID = feed_id
    DECIMALS = decimals
    PRICE_SCALE = 10 ** convert(18 - decimals, uint256)
    MAX_REPORTED_PRICE = fixed_point._mul_div_down(constants.MAX_PRICE, 1, PRICE_SCALE)
    self._set_publishers(publishers, quorum, empty(address))


@external
def set_market(market: address):
    """
    @notice Binds the feed to its market, once. Factory only.
    """
    errors._require(msg.sender == FACTORY, errors.NOT_FACTORY)
    errors._require(self._market() == empty(address), errors.ALREADY_SET)
    self._store(self._publishers(), self._quorum(), market)
    log IPriceFeed.MarketSet(market=market)


@external
def set_publishers(publishers: DynArray[address, MAX_PUBLISHERS], quorum: uint256):
    """
    @notice Replaces all publishers and the quorum. Configurator only.
    @param publishers Addresses that sign, ascending.
    @param quorum Reports that make a price.
    """
    errors._require(msg.sender == CONFIGURATOR, errors.NOT_CONFIGURATOR)
    self._set_publishers(publishers, quorum, self._market())


@external
def remove_publisher(publisher: address):
    """
    @notice Removes one publisher; the others still reach the quorum, which stays. Configurator
            only.
    """
    errors._require(msg.sender == CONFIGURATOR, errors.NOT_CONFIGURATOR)
    publishers: DynArray[address, MAX_PUBLISHERS] = self._publishers()
    errors._require(publisher in publishers, errors.NOT_PUBLISHER)
    others: DynArray[address, MAX_PUBLISHERS] = []
    for other: address in publishers:
        if other != publisher:
            others.append(other)
    self._check_publishers(others, self._quorum())
    self._store(others, self._quorum(), self._market())
    log ISignedPriceFeed.PublisherRemoved(publisher=publisher)


@external
def publish(
    header: ISignedPriceFeed.Header, reports: DynArray[ISignedPriceFeed.Report, MAX_LENGTH]
) -> uint256:
    """
    @notice Brings a price to the market. Anyone may call, whoever does is rewarded for the
            liquidations that follow.
    @param header What the reports have in common and every publisher has signed: chain, feed,
           decimals, Unix time; the time newer than the last, not ahead, at most MAX_DELAY ago.
    @param reports At least the quorum and at most eight, ascending by signer: price and confidence
           in the feed's decimals, signature as r and vs (EIP-2098).
    @return Number of positions liquidated.
    """
    # Reasons stand inline here, a third of the gas of a shared body; those of a single report are
    # sorted out once it is known that there is one.
    assert header.chain_id == chain.id, errors.WRONG_CHAIN
    assert header.feed_id == FEED_ID, errors.WRONG_FEED
    assert header.decimals == convert(DECIMALS, uint256), errors.WRONG_DECIMALS
    latest: uint256 = self._latest
    assert header.price_time <= block.timestamp, errors.FUTURE_PRICE
    assert header.price_time > (latest >> 176) & MASK_48, errors.OLD_PRICE
    # Not ahead of the block's time, so the sum is far from the bound.
    assert unsafe_add(header.price_time, MAX_DELAY) >= block.timestamp, errors.STALE_PRICE
    record: uint256[RECORD_WORDS] = self._record(latest >> 224)
    assert len(reports) >= record[MAX_PUBLISHERS] >> 160, errors.TOO_FEW_REPORTS
    assert len(reports) <= MAX_PUBLISHERS, errors.TOO_MANY_REPORTS
    domain: bytes32 = eip712_domain_separator._domain_separator_v4()
    prices: uint256[MAX_PUBLISHERS] = empty(uint256[MAX_PUBLISHERS])
    confidences: uint256[MAX_PUBLISHERS] = empty(uint256[MAX_PUBLISHERS])
    count: uint256 = 0
    place: uint256 = 0
    for report: ISignedPriceFeed.Report in reports:
        digest: bytes32 = keccak256(
            concat(
                x"1901",
                domain,
                keccak256(
                    abi_encode(
                        REPORT_TYPE_HASH,
                        header.feed_id,
                        header.decimals,
                        report.price,
                        report.confidence,
                        header.price_time,
                    )
                ),
            )
        )
        # The zero address where the signature is none.
        signer: uint256 = convert(
            ecrecover(digest, unsafe_add(report.vs >> 255, 27), report.r, report.vs & MASK_255),
            uint256,
        )
        if record[place] != signer:
            # At most eight steps lead to the last word, which is past every signer.
            for _: uint256 in range(MAX_PUBLISHERS):
                if record[place] >= signer:
                    break
                place = unsafe_add(place, 1)
            if record[place] != signer:
                self._refuse_signer(record, signer, place)
        place = unsafe_add(place, 1)
        # Below zero it is a huge number here, and with a confidence within it, it is not zero.
        reported: uint256 = convert(convert(report.price, bytes32), uint256)
        if not (
            report.confidence > 0
            and report.confidence <= reported
            and reported <= MAX_REPORTED_PRICE
        ):
            self._refuse_report(report.price, report.confidence)
        prices[count] = reported
        confidences[count] = report.confidence
        count = unsafe_add(count, 1)
    price: uint256 = 0
    confidence: uint256 = 0
    if count == 3:
        price = sorted_median._median_of_three(prices[0], prices[1], prices[2])
        confidence = sorted_median._median_of_three(
            confidences[0], confidences[1], confidences[2]
        )
    else:
        price = sorted_median._median(prices, count)
        confidence = sorted_median._median(confidences, count)
    # No confidence is above its price, so the median of them is not above that of the prices, and
    # both are within MAX_PRICE.
    price = unsafe_mul(price, PRICE_SCALE)
    confidence = unsafe_mul(confidence, PRICE_SCALE)
    self._latest = (
        price | (confidence << 88) | (header.price_time << 176) | (latest >> 224 << 224)
    )
    log ISignedPriceFeed.PricePublished(
        price=price, confidence=confidence, price_time=header.price_time
    )
    market: address = convert(record[MAX_PUBLISHERS] & MASK_160, address)
    assert market != empty(address), errors.NO_MARKET
    return extcall IPerpMarket(market).update_price(msg.sender)


@external
@view
def latest_price() -> (uint256, uint256, uint256):
    """
    @notice The last price, its confidence (both WAD) and its time; zeros before the first.
    """
    latest: uint256 = self._latest
    return (
        latest & constants.MAX_PRICE,
        (latest >> 88) & constants.MAX_PRICE,
        (latest >> 176) & MASK_48,
    )


@external
@view
def publishers() -> DynArray[address, MAX_PUBLISHERS]:
    """
    @notice Addresses whose reports count, ascending.
    """
    return self._publishers()


@external
@view
def quorum() -> uint256:
    """
    @notice Number of reports that make a price.
    """
    return self._quorum()


@external
@view
def market() -> address:
    """
    @notice The market that is settled with every price.
    """
    return self._market()


@internal
def _set_publishers(
    publishers: DynArray[address, MAX_PUBLISHERS], quorum: uint256, market: address
):
    self._check_publishers(publishers, quorum)
    self._store(publishers, quorum, market)
    for publisher: address in publishers:
        log ISignedPriceFeed.PublisherListed(publisher=publisher)
    log ISignedPriceFeed.PublishersSet(count=len(publishers), quorum=quorum)


@internal
@pure
def _check_publishers(publishers: DynArray[address, MAX_PUBLISHERS], quorum: uint256):
    """
    @notice Distinct, ascending, none the zero address, enough for the quorum.
    """
    errors._require(quorum > 0 and quorum <= len(publishers), errors.BAD_PUBLISHERS)
    last: uint256 = 0
    for publisher: address in publishers:
        errors._require(convert(publisher, uint256) > last, errors.BAD_PUBLISHERS)
        last = convert(publisher, uint256)


@internal
@pure
def _refuse_signer(publishers: uint256[RECORD_WORDS], signer: uint256, place: uint256):
    """
    @notice Says why `signer` is not found at or after `place`.
    """
    errors._require(signer in publishers, errors.NOT_PUBLISHER)
    errors._require(publishers[place - 1] != signer, errors.DUPLICATE_SIGNER)
    errors._require(False, errors.UNORDERED_SIGNERS)


@internal
@view
def _refuse_report(price: int256, confidence: uint256):
    """
    @notice Says what is wrong with the numbers of a report.
    """
    errors._require(price != 0, errors.ZERO_PRICE)
    errors._require(price > 0, errors.NEGATIVE_PRICE)
    errors._require(convert(price, uint256) <= MAX_REPORTED_PRICE, errors.PRICE_TOO_LARGE)
    errors._require(confidence > 0, errors.ZERO_CONFIDENCE)
    errors._require(False, errors.CONFIDENCE_TOO_LARGE)


@internal
def _store(publishers: DynArray[address, MAX_PUBLISHERS], quorum: uint256, market: address):
    """
    @notice Writes the next record.
    """
    record: uint256[RECORD_WORDS] = empty(uint256[RECORD_WORDS])
    for i: uint256 in range(MAX_PUBLISHERS):
        record[i] = convert(publishers[i], uint256) if i < len(publishers) else NOBODY
    record[MAX_PUBLISHERS] = (quorum << 160) | convert(market, uint256)
    self._latest += 1 << 224
    # Nothing else is created here: the number of a record is the nonce that it is created with.
    created: address = raw_create(concat(RECORD_INITCODE, abi_encode(record)))
    assert created == create._compute_create_address_self(self._latest >> 224)


@internal
@view
def _record(number: uint256) -> uint256[RECORD_WORDS]:
    """
    @notice The words of a record.
    """
    return staticcall Record(create._compute_create_address_self(number)).words()


@internal
@view
def _publishers() -> DynArray[address, MAX_PUBLISHERS]:
    publishers: DynArray[address, MAX_PUBLISHERS] = []
    record: uint256[RECORD_WORDS] = self._record(self._latest >> 224)
    for word: uint256 in record:
        if word <= MASK_160:
            publishers.append(convert(word, address))
    return publishers


@internal
@view
def _quorum() -> uint256:
    return self._record(self._latest >> 224)[MAX_PUBLISHERS] >> 160


@internal
@view
def _market() -> address:
    return convert(self._record(self._latest >> 224)[MAX_PUBLISHERS] & MASK_160, address)

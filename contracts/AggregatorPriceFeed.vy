# pragma version 0.4.3
"""
@title AggregatorPriceFeed
@license AGPL-3.0-only
@notice Prices of a Chainlink-style aggregator. Whoever calls the market's `update_price` brings the
        last round to it.
@dev    ASSUMPTIONS  The aggregator is trusted for the answer, not for its form: a round that is
                     stale, incomplete, out of range or garbage is refused, each for its own reason.
                     It reports no confidence; a fixed fraction of the price stands in for it.
        LIVENESS     While the last round is refused the market has no price, and refuses whatever
                     needs one.
@custom:kill Nothing to do: when the aggregator stops, its last round goes stale. See
             docs/shutdown.md.
"""

from contracts.interfaces import IPriceFeed
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point

implements: IPriceFeed

version: public(constant(String[8])) = "0.2.0"

ROUND_BYTES: constant(uint256) = 160
WORD_BYTES: constant(uint256) = 32
MAX_ROUND_ID: constant(uint256) = 2**80 - 1
LATEST_ROUND: constant(Bytes[4]) = method_id("latestRoundData()")
READ_DECIMALS: constant(Bytes[4]) = method_id("decimals()")

FACTORY: immutable(address)
AGGREGATOR: public(immutable(address))
HEARTBEAT: public(immutable(uint256))
CONFIDENCE_FRACTION: public(immutable(uint256))
SEQUENCER_FEED: public(immutable(address))
GRACE_PERIOD: public(immutable(uint256))
DECIMALS: public(immutable(uint256))
PRICE_SCALE: immutable(uint256)

market: public(address)


struct Round:
    round_id: uint256
    answer: int256
    started_at: uint256
    updated_at: uint256
    answered_in_round: uint256


@deploy
def __init__(
    factory: address,
    aggregator: address,
    heartbeat: uint256,
    confidence_fraction: uint256,
    sequencer_feed: address,
    grace_period: uint256,
):
    """
    @notice The market follows: see `set_market`.
    @param factory Binds the feed to its market.
    @param aggregator Offers `latestRoundData` and `decimals`; at most 18 of them.
    @param heartbeat Age from which on a round is stale, seconds.
    @param confidence_fraction Of the price, WAD: what the confidence is taken to be.
    @param sequencer_feed Says whether the sequencer of a rollup runs; zero where there is none.
    @param grace_period Seconds after its return in which prices are still refused, so that nobody
           is liquidated before he could act.
    """
    decimals: uint256 = self._decimals(aggregator)
    errors._require(
        decimals <= 18
        and heartbeat > 0
        and confidence_fraction > 0
        and confidence_fraction <= constants.WAD,
        errors.BAD_FEED,
    )
    FACTORY = factory
    AGGREGATOR = aggregator
    HEARTBEAT = heartbeat
    CONFIDENCE_FRACTION = confidence_fraction
    SEQUENCER_FEED = sequencer_feed
    GRACE_PERIOD = grace_period
    DECIMALS = decimals
    PRICE_SCALE = 10 ** (18 - decimals)


@external
def set_market(market: address):
    """
    @notice Binds the feed to its market, once. Factory only.
    """
    errors._require(msg.sender == FACTORY, errors.NOT_FACTORY)
    errors._require(self.market == empty(address), errors.ALREADY_SET)
    self.market = market
    log IPriceFeed.MarketSet(market=market)


@external
@view
def latest_price() -> (uint256, uint256, uint256):
    """
    @notice Price and confidence of the last round, WAD, and its time. Reverts when the round is not
            to be trusted.
    """
    self._check_sequencer()
    errors._require(self._decimals(AGGREGATOR) == DECIMALS, errors.DECIMALS_CHANGED)
    last: Round = self._round(AGGREGATOR)
    errors._require(last.round_id > 0 and last.updated_at > 0, errors.INCOMPLETE_ROUND)
    errors._require(last.answered_in_round >= last.round_id, errors.EARLIER_ROUND)
    errors._require(last.updated_at <= block.timestamp, errors.FUTURE_PRICE)
    errors._require(block.timestamp - last.updated_at <= HEARTBEAT, errors.STALE_PRICE)
    errors._require(last.answer != 0, errors.ZERO_PRICE)
    errors._require(last.answer > 0, errors.NEGATIVE_PRICE)
    answer: uint256 = convert(last.answer, uint256)
    # The first comparison keeps the product within its word.
    errors._require(
        answer <= constants.MAX_PRICE and answer * PRICE_SCALE <= constants.MAX_PRICE,
        errors.PRICE_TOO_LARGE,
    )
    price: uint256 = answer * PRICE_SCALE
    confidence: uint256 = fixed_point._mul_div_up(price, CONFIDENCE_FRACTION, constants.WAD)
    return price, confidence, last.updated_at


@internal
@view
def _check_sequencer():
    """
    @notice On a rollup whose sequencer stood still prices moved without anyone being able to act.
    """
    if SEQUENCER_FEED != empty(address):
        status: Round = self._round(SEQUENCER_FEED)
        errors._require(status.answer == 0, errors.SEQUENCER_DOWN)
        errors._require(status.started_at > 0, errors.INCOMPLETE_ROUND)
        errors._require(
            status.started_at <= block.timestamp
            and block.timestamp - status.started_at > GRACE_PERIOD,
            errors.SEQUENCER_GRACE,
        )


@internal
@view
def _round(aggregator: address) -> Round:
    """
    @notice The last round, as long as it has the form of one.
    """
    ok: bool = False
    # A word more than expected, so that what is too long is seen to be.
    answer: Bytes[ROUND_BYTES + WORD_BYTES] = b""
    ok, answer = raw_call(
        aggregator,
        LATEST_ROUND,
        max_outsize=ROUND_BYTES + WORD_BYTES,
        is_static_call=True,
        revert_on_failure=False,
    )
    errors._require(ok, errors.AGGREGATOR_FAILED)
    errors._require(len(answer) == ROUND_BYTES, errors.BAD_ROUND)
    last: Round = abi_decode(answer, Round)
    errors._require(
        last.round_id <= MAX_ROUND_ID and last.answered_in_round <= MAX_ROUND_ID, errors.BAD_ROUND
    )
    return last


@internal
@view
def _decimals(aggregator: address) -> uint256:
    """
    @notice What the aggregator calls its decimals now.
    """
    ok: bool = False
    answer: Bytes[2 * WORD_BYTES] = b""
    ok, answer = raw_call(
        aggregator,
        READ_DECIMALS,
        max_outsize=2 * WORD_BYTES,
        is_static_call=True,
        revert_on_failure=False,
    )
    errors._require(ok and len(answer) == WORD_BYTES, errors.AGGREGATOR_FAILED)
    return abi_decode(answer, uint256)

"""Mirror of contracts/AggregatorPriceFeed.vy."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from python_model.evm import Chain, Contract, Revert, external
from python_model.modules import constants, errors, fixed_point

if TYPE_CHECKING:
    from python_model.perp_market import PerpMarket

ROUND_BYTES = 160
WORD_BYTES = 32
MAX_ROUND_ID = 2**80 - 1


class Round(NamedTuple):
    """One round of an aggregator."""

    round_id: int
    answer: int
    started_at: int
    updated_at: int
    answered_in_round: int


class Aggregator(Protocol):
    """Somebody else's contract: what it returns is bytes until they have been looked at."""

    address: str

    def latestRoundData(self) -> bytes: ...

    def decimals(self) -> bytes: ...


class AggregatorPriceFeed(Contract):
    """Prices of a Chainlink-style aggregator; no sequencer feed is None."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        factory: str,
        aggregator: Aggregator,
        heartbeat: int,
        confidence_fraction: int,
        sequencer_feed: Aggregator | None,
        grace_period: int,
    ) -> None:
        super().__init__(chain, address)
        decimals = self._decimals(aggregator)
        errors._require(
            decimals <= 18 and heartbeat > 0 and 0 < confidence_fraction <= constants.WAD,
            errors.BAD_FEED,
        )
        self.FACTORY = factory
        self.AGGREGATOR = aggregator
        self.HEARTBEAT = heartbeat
        self.CONFIDENCE_FRACTION = confidence_fraction
        self.SEQUENCER_FEED = sequencer_feed
        self.GRACE_PERIOD = grace_period
        self.DECIMALS = decimals
        self.PRICE_SCALE = 10 ** (18 - decimals)
        self.market: PerpMarket | None = None

    @external
    def set_market(self, market: "PerpMarket", *, sender: str) -> None:
        errors._require(sender == self.FACTORY, errors.NOT_FACTORY)
        errors._require(self.market is None, errors.ALREADY_SET)
        self.market = market
        self.log("MarketSet", market.address)

    def latest_price(self) -> tuple[int, int, int]:
        self._check_sequencer()
        errors._require(self._decimals(self.AGGREGATOR) == self.DECIMALS, errors.DECIMALS_CHANGED)
        last = self._round(self.AGGREGATOR)
        errors._require(last.round_id > 0 and last.updated_at > 0, errors.INCOMPLETE_ROUND)
        errors._require(last.answered_in_round >= last.round_id, errors.EARLIER_ROUND)
        errors._require(last.updated_at <= self.chain.timestamp, errors.FUTURE_PRICE)
        errors._require(
            self.chain.timestamp - last.updated_at <= self.HEARTBEAT, errors.STALE_PRICE
        )
        errors._require(last.answer != 0, errors.ZERO_PRICE)
        errors._require(last.answer > 0, errors.NEGATIVE_PRICE)
        price = last.answer * self.PRICE_SCALE
        errors._require(price <= constants.MAX_PRICE, errors.PRICE_TOO_LARGE)
        confidence = fixed_point._mul_div_up(price, self.CONFIDENCE_FRACTION, constants.WAD)
        return price, confidence, last.updated_at

    def _check_sequencer(self) -> None:
        if self.SEQUENCER_FEED is not None:
            status = self._round(self.SEQUENCER_FEED)
            errors._require(status.answer == 0, errors.SEQUENCER_DOWN)
            errors._require(status.started_at > 0, errors.INCOMPLETE_ROUND)
            errors._require(
                self.chain.timestamp - status.started_at > self.GRACE_PERIOD,
                errors.SEQUENCER_GRACE,
            )

    def _round(self, aggregator: Aggregator) -> Round:
        ok, answer = _raw_call(aggregator.latestRoundData)
        errors._require(ok, errors.AGGREGATOR_FAILED)
        errors._require(len(answer) == ROUND_BYTES, errors.BAD_ROUND)
        words = [answer[i : i + WORD_BYTES] for i in range(0, ROUND_BYTES, WORD_BYTES)]
        last = Round(
            int.from_bytes(words[0], "big"),
            int.from_bytes(words[1], "big", signed=True),
            int.from_bytes(words[2], "big"),
            int.from_bytes(words[3], "big"),
            int.from_bytes(words[4], "big"),
        )
        errors._require(
            last.round_id <= MAX_ROUND_ID and last.answered_in_round <= MAX_ROUND_ID,
            errors.BAD_ROUND,
        )
        return last

    def _decimals(self, aggregator: Aggregator) -> int:
        ok, answer = _raw_call(aggregator.decimals)
        errors._require(ok and len(answer) == WORD_BYTES, errors.AGGREGATOR_FAILED)
        return int.from_bytes(answer, "big")


def _raw_call(call: Callable[[], bytes]) -> tuple[bool, bytes]:
    """A call that may fail."""
    try:
        return True, call()
    except Revert:
        return False, b""

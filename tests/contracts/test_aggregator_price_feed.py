"""AggregatorPriceFeed: a round that can be trusted is a price, every other has its own refusal."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from feed_forms import ADDRESSES, WAD, FeedForms, StubMarket

from lockstep.engines import EngineError
from python_model.aggregator_price_feed import MAX_ROUND_ID, AggregatorPriceFeed
from python_model.evm import ZERO_ADDRESS, Contract, Revert
from python_model.modules import errors
from python_model.modules.constants import MAX_PRICE
from python_model.testing.aggregator_mock import AggregatorMock

UNIT = 10**8
PRICE = 60_000 * UNIT
HEARTBEAT = 3_600
FRACTION = 10**15  # a tenth of a percent
GRACE = 1_800
ROUND_ID = 18_446_744_073_709_562_301  # phase 1, as a proxy counts


class AggregatorForms(FeedForms):
    """An aggregator's feed, bound to its market."""

    def __init__(
        self, decimals: int = 8, fraction: int = FRACTION, has_sequencer: bool = False
    ) -> None:
        super().__init__()
        self.market = self.deploy("StubMarket", StubMarket)
        self.aggregator = self.mock(decimals)
        self.sequencer = self.mock(0) if has_sequencer else None
        self.feed = self.create(fraction=fraction)
        self.does("factory", self.feed, "set_market", self.market)
        self.answer()
        if has_sequencer:
            self.sequencer_says(0, self.now - GRACE - 1)

    def mock(self, decimals: int) -> Any:
        return self.deploy("testing/AggregatorMock", AggregatorMock, decimals)

    def create(
        self, aggregator: Any = None, heartbeat: int = HEARTBEAT, fraction: int = FRACTION
    ) -> Any:
        """A feed without a market."""
        return self.deploy(
            "AggregatorPriceFeed",
            AggregatorPriceFeed,
            ADDRESSES["factory"],
            aggregator or self.aggregator,
            heartbeat,
            fraction,
            self.sequencer,
            GRACE,
        )

    def answer(self, answer: int = PRICE, **changes: int) -> None:
        """The aggregator's round, complete and of this second unless said otherwise."""
        entries = {
            "round_id": ROUND_ID,
            "answer": answer,
            "started_at": self.now,
            "updated_at": self.now,
            "answered_in_round": ROUND_ID,
        }
        entries |= changes
        self.does("keeper", self.aggregator, "set_round", *entries.values())

    def sequencer_says(self, answer: int, started_at: int) -> None:
        """The sequencer's state and since when."""
        values = (ROUND_ID, answer, started_at, started_at, ROUND_ID)
        self.does("keeper", self.sequencer, "set_round", *values)

    def gives(self, price: int, confidence: int, price_time: int) -> None:
        """The feed has this price, and the market gets it."""
        expected = (price, confidence, price_time)
        assert self.view(self.feed, "latest_price") == expected
        self.does("keeper", self.market, "settle", self.feed)
        assert self.chain.events[0].fields == (ADDRESSES["keeper"], *expected)

    def withholds(self, reason: str) -> None:
        """The feed has no price, and the market learns this very reason."""
        assert self.view(self.feed, "latest_price") == reason
        self.refuses(reason, "keeper", self.market, "settle", self.feed)


@pytest.fixture
def forms() -> Iterator[AggregatorForms]:
    made = AggregatorForms()
    yield made
    made.engine.close()


@pytest.fixture
def rollup() -> Iterator[AggregatorForms]:
    """With a sequencer that has been up for longer than the grace period."""
    made = AggregatorForms(has_sequencer=True)
    yield made
    made.engine.close()


# What is a price


def test_a_complete_round_is_a_price(forms: AggregatorForms) -> None:
    forms.gives(60_000 * WAD, 60 * WAD, forms.now)
    forms.answer(1)
    forms.gives(10**10, 10**7, forms.now)
    forms.answer(answered_in_round=ROUND_ID + 1)
    forms.gives(60_000 * WAD, 60 * WAD, forms.now)


@pytest.mark.parametrize("decimals", range(19))
def test_any_decimals_up_to_eighteen_are_scaled(decimals: int) -> None:
    forms = AggregatorForms(decimals)
    scale = 10 ** (18 - decimals)
    greatest = MAX_PRICE // scale
    for answer in (1, 7 * 10**decimals, greatest):
        forms.answer(answer)
        price = answer * scale
        forms.gives(price, -(-price * FRACTION // WAD), forms.now)
    for answer in (greatest + 1, MAX_PRICE + 1, 2**255 - 1):
        forms.answer(answer)
        forms.withholds(errors.PRICE_TOO_LARGE)
    assert forms.view(forms.feed, "DECIMALS") == decimals
    forms.engine.close()


@pytest.mark.parametrize("fraction", [1, 3, FRACTION, WAD - 1, WAD])
def test_the_confidence_is_rounded_up_and_within_the_price(fraction: int) -> None:
    forms = AggregatorForms(18, fraction)
    for answer in (1, 2, WAD - 1, WAD, WAD + 1, MAX_PRICE):
        forms.answer(answer)
        confidence = -(-answer * fraction // WAD)
        assert 0 < confidence <= answer
        forms.gives(answer, confidence, forms.now)
    forms.engine.close()


# Time


def test_a_round_is_good_for_a_heartbeat(forms: AggregatorForms) -> None:
    forms.answer(updated_at=forms.now - HEARTBEAT)
    forms.gives(60_000 * WAD, 60 * WAD, forms.now - HEARTBEAT)
    forms.set_time(forms.now + 1)
    forms.withholds(errors.STALE_PRICE)
    forms.answer(updated_at=1)
    forms.withholds(errors.STALE_PRICE)


def test_a_round_of_the_future_is_refused(forms: AggregatorForms) -> None:
    for late in (forms.now + 1, 2**64, 2**256 - 1):
        forms.answer(updated_at=late)
        forms.withholds(errors.FUTURE_PRICE)


# Form


def test_an_incomplete_round_is_refused(forms: AggregatorForms) -> None:
    for changes in ({"round_id": 0}, {"updated_at": 0}, {"round_id": 0, "answered_in_round": 0}):
        forms.answer(**changes)
        forms.withholds(errors.INCOMPLETE_ROUND)
    forms.does("keeper", forms.aggregator, "set_round", 0, 0, 0, 0, 0)
    forms.withholds(errors.INCOMPLETE_ROUND)


def test_an_answer_of_an_earlier_round_is_refused(forms: AggregatorForms) -> None:
    for earlier in (ROUND_ID - 1, 1, 0):
        forms.answer(answered_in_round=earlier)
        forms.withholds(errors.EARLIER_ROUND)


def test_zero_and_negative_answers_are_refused(forms: AggregatorForms) -> None:
    forms.answer(0)
    forms.withholds(errors.ZERO_PRICE)
    for answer in (-1, -PRICE, -(2**255)):
        forms.answer(answer)
        forms.withholds(errors.NEGATIVE_PRICE)


def test_a_failing_aggregator_is_named_as_such(forms: AggregatorForms) -> None:
    for failing in ((True, False), (False, True), (True, True)):
        forms.does("keeper", forms.aggregator, "set_failing", *failing)
        forms.withholds(errors.AGGREGATOR_FAILED)
    forms.does("keeper", forms.aggregator, "set_failing", False, False)
    forms.gives(60_000 * WAD, 60 * WAD, forms.now)


def test_garbage_is_no_round(forms: AggregatorForms) -> None:
    good = forms.aggregator.round_output
    for output in (b"", b"\xff", good[:-1], good[:-32], good + b"\0", good + good[:96]):
        forms.does("keeper", forms.aggregator, "set_round_output", output)
        forms.withholds(errors.BAD_ROUND)
    forms.does("keeper", forms.aggregator, "set_round_output", b"\xff" * 160)
    forms.withholds(errors.BAD_ROUND)
    for changes in ({"round_id": MAX_ROUND_ID + 1}, {"answered_in_round": MAX_ROUND_ID + 1}):
        forms.answer(**changes)
        forms.withholds(errors.BAD_ROUND)
    forms.answer(round_id=MAX_ROUND_ID, answered_in_round=MAX_ROUND_ID)
    forms.gives(60_000 * WAD, 60 * WAD, forms.now)


def test_other_decimals_than_at_the_start_are_refused(forms: AggregatorForms) -> None:
    for decimals in (0, 7, 9, 18, 8 + 2**8, 2**256 - 1):
        forms.does("keeper", forms.aggregator, "set_decimals", decimals)
        forms.withholds(errors.DECIMALS_CHANGED)
    for output in (b"", b"\x08", bytes(31) + b"\x08\0", bytes(63) + b"\x08", bytes(256)):
        forms.does("keeper", forms.aggregator, "set_decimals_output", output)
        forms.withholds(errors.AGGREGATOR_FAILED)
    forms.does("keeper", forms.aggregator, "set_decimals", 8)
    forms.gives(60_000 * WAD, 60 * WAD, forms.now)


# The sequencer of a rollup


def test_no_price_while_the_sequencer_is_down(rollup: AggregatorForms) -> None:
    rollup.gives(60_000 * WAD, 60 * WAD, rollup.now)
    for answer in (1, 2, -1):
        rollup.sequencer_says(answer, rollup.now - GRACE - 1)
        rollup.withholds(errors.SEQUENCER_DOWN)


def test_no_price_until_the_grace_period_is_over(rollup: AggregatorForms) -> None:
    for since in (rollup.now, rollup.now - GRACE, rollup.now + 1, 2**256 - 1):
        rollup.sequencer_says(0, since)
        rollup.withholds(errors.SEQUENCER_GRACE)
    rollup.sequencer_says(0, rollup.now - GRACE)
    rollup.set_time(rollup.now + 1)
    rollup.gives(60_000 * WAD, 60 * WAD, rollup.now - 1)


def test_a_broken_sequencer_feed_gives_no_price(rollup: AggregatorForms) -> None:
    rollup.sequencer_says(0, 0)
    rollup.withholds(errors.INCOMPLETE_ROUND)
    rollup.does("keeper", rollup.sequencer, "set_round_output", b"\0" * 96)
    rollup.withholds(errors.BAD_ROUND)
    rollup.does("keeper", rollup.sequencer, "set_failing", True, False)
    rollup.withholds(errors.AGGREGATOR_FAILED)


# Deployment


def test_the_market_is_set_once_by_the_factory(forms: AggregatorForms) -> None:
    unbound = forms.create()
    assert forms.view(unbound, "market") is None
    for role in ("attacker", "configurator", "keeper"):
        forms.refuses(errors.NOT_FACTORY, role, unbound, "set_market", forms.market)
    forms.does("factory", unbound, "set_market", forms.market)
    assert [event.name for event in forms.chain.events] == ["MarketSet"]
    for market in (forms.market, unbound):
        forms.refuses(errors.ALREADY_SET, "factory", unbound, "set_market", market)


def deployment_is_refused(forms: AggregatorForms, reason: str, *values: Any) -> None:
    with pytest.raises(EngineError, match=reason.encode().hex()):
        forms.deploy("AggregatorPriceFeed", AggregatorPriceFeed, *values)
    with pytest.raises(Revert, match=f"^{reason}$"):
        AggregatorPriceFeed(forms.chain, ZERO_ADDRESS, *values)


def test_bad_settings_are_refused(forms: AggregatorForms) -> None:
    factory, aggregator = ADDRESSES["factory"], forms.aggregator
    for heartbeat, fraction in ((0, FRACTION), (HEARTBEAT, 0), (HEARTBEAT, WAD + 1)):
        values = (factory, aggregator, heartbeat, fraction, None, 0)
        deployment_is_refused(forms, errors.BAD_FEED, *values)
    for decimals in (19, 2**256 - 1):
        values = (factory, forms.mock(decimals), HEARTBEAT, FRACTION, None, 0)
        deployment_is_refused(forms, errors.BAD_FEED, *values)


class Nothing(Contract):
    """An address without code: a call of it succeeds and returns nothing."""

    def latestRoundData(self) -> bytes:
        return b""

    def decimals(self) -> bytes:
        return b""


def test_what_is_no_aggregator_is_refused(forms: AggregatorForms) -> None:
    nothing = Nothing(forms.chain, "0x" + "0e" * 20)
    values = (ADDRESSES["factory"], nothing, HEARTBEAT, FRACTION, None, 0)
    deployment_is_refused(forms, errors.AGGREGATOR_FAILED, *values)
    forms.sequencer = nothing
    forms.feed = forms.create()
    forms.withholds(errors.BAD_ROUND)


# Everything at once


REFUSALS = {
    errors.AGGREGATOR_FAILED,
    errors.BAD_ROUND,
    errors.INCOMPLETE_ROUND,
    errors.EARLIER_ROUND,
    errors.FUTURE_PRICE,
    errors.STALE_PRICE,
    errors.ZERO_PRICE,
    errors.NEGATIVE_PRICE,
    errors.PRICE_TOO_LARGE,
    errors.DECIMALS_CHANGED,
    errors.SEQUENCER_DOWN,
    errors.SEQUENCER_GRACE,
}


def test_random_rounds_have_one_outcome_in_both_forms(rollup: AggregatorForms) -> None:
    draw = random.Random(20_221_109)
    seen: dict[str | None, int] = {}
    for _ in range(500):
        rollup.set_time(rollup.now + draw.choice((0, 1, 60)))
        # As a rule all is well; then one or two things are not.
        rollup.does("keeper", rollup.aggregator, "set_failing", False, False)
        rollup.does("keeper", rollup.aggregator, "set_decimals", 8)
        rollup.sequencer_says(0, rollup.now - GRACE - 1)
        changes: dict[str, int] = {"answer": draw.randint(1, 2 * PRICE)}
        output = b""
        for _ in range(draw.choice((0, 0, 1, 1, 2))):
            match draw.randrange(8):
                case 0:
                    failing = (draw.random() < 0.5, draw.random() < 0.5)
                    rollup.does("keeper", rollup.aggregator, "set_failing", *failing)
                case 1:
                    rollup.does("keeper", rollup.aggregator, "set_decimals", draw.choice((6, 18)))
                case 2:
                    rollup.sequencer_says(draw.choice((0, 1)), rollup.now - draw.randint(0, GRACE))
                case 3:
                    output = draw.randbytes(draw.choice((32, 128, 160, 192, 256)))
                case 4:
                    changes["updated_at"] = draw.choice(
                        (0, rollup.now + 1, rollup.now - HEARTBEAT - 1)
                    )
                case 5:
                    changes["answer"] = draw.choice((0, -1, 2**100, 2**255 - 1))
                case 6:
                    changes["answered_in_round"] = ROUND_ID + draw.choice((-1, 1, 2**80))
                case 7:
                    changes["round_id"] = draw.choice((0, ROUND_ID - 1, 2**80))
        rollup.answer(**changes)
        if output:
            rollup.does("keeper", rollup.aggregator, "set_round_output", output)
        reason, _ = rollup.call("keeper", rollup.market, "settle", rollup.feed)
        seen[reason] = seen.get(reason, 0) + 1
    assert seen[None] > 100
    assert set(seen) - {None} == REFUSALS

"""The feeds of the model alone: medians by counting, and what nobody can do to a price."""

import statistics
from itertools import combinations, permutations, product
from typing import Any

import pytest

from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.evm import Chain, Contract, Revert, external
from python_model.modules import errors
from python_model.modules.sorted_median import MAX_COUNT, _median, _median_of_three
from python_model.signed_price_feed import Header, Report, SignedPriceFeed
from python_model.testing.aggregator_mock import AggregatorMock

WAD = 10**18
FACTORY, CONFIGURATOR, KEEPER, FEED = (f"0x{i:040x}" for i in (0xFA, 0xC0, 0xEE, 0xFEED))
PUBLISHERS = tuple(f"0x{i:040x}" for i in range(1, 9))
FEED_ID = bytes(31) + b"\x01"
NOW = 1_600_000_000


def padded(numbers: tuple[int, ...]) -> list[int]:
    """As many words as the contract has."""
    return [*numbers, *[0] * (MAX_COUNT - len(numbers))]


@pytest.mark.parametrize("count", range(1, 6))
def test_the_median_is_right_for_every_small_batch(count: int) -> None:
    for numbers in product(range(5), repeat=count):
        assert _median(padded(numbers), count) == int(statistics.median(numbers) // 1)


@pytest.mark.parametrize("count", [6, 7, 8])
def test_the_median_does_not_depend_on_the_order(count: int) -> None:
    # An insertion sort is right when it sorts every order of distinct numbers.
    numbers = tuple(10 * i for i in range(count))
    expected = int(statistics.median(numbers) // 1)
    for order in permutations(numbers):
        assert _median(padded(order), count) == expected


def test_the_short_way_for_three_is_the_long_one() -> None:
    for numbers in product(range(6), repeat=3):
        assert _median_of_three(*numbers) == _median(padded(numbers), 3)


def test_the_mean_of_the_middle_is_rounded_down_without_overflow() -> None:
    greatest = 2**256 - 1
    cases = ((0, 1, 0), (1, 2, 1), (3, 5, 4), (greatest, greatest, greatest))
    for low, high, mean in (*cases, (greatest - 1, greatest, greatest - 1)):
        assert _median(padded((low, high)), 2) == mean


@pytest.mark.parametrize("count", range(1, 9))
def test_fewer_than_half_cannot_leave_the_range_of_the_others(count: int) -> None:
    liars = (count - 1) // 2
    honest = [100 + 3 * i for i in range(count - liars)]
    for places in combinations(range(count), liars):
        for lies in product((0, 2**88 - 1), repeat=liars):
            numbers = dict(zip(places, lies, strict=True))
            rest = iter(honest)
            batch = tuple(numbers[i] if i in numbers else next(rest) for i in range(count))
            assert honest[0] <= _median(padded(batch), count) <= honest[-1]


class Market(Contract):
    """Counts."""

    updates = 0

    @external
    def update_price(self, recipient: str, *, sender: str) -> int:
        self.updates += 1
        return self.updates


def signed_feed(quorum: int = 3, decimals: int = 8) -> tuple[Chain, Any, Any]:
    chain = Chain(NOW)
    feed = SignedPriceFeed(
        chain, FEED, FACTORY, CONFIGURATOR, FEED_ID, decimals, PUBLISHERS[:5], quorum
    )
    market: Any = Market(chain, "0x" + "aa" * 20)
    feed.set_market(market, sender=FACTORY)
    return chain, feed, market


def batch(chain: Chain, signers: tuple[str, ...], price: int = 10**8) -> tuple[Any, list[Report]]:
    """Reports with signatures that this chain knows."""
    header = Header(chain.chain_id, FEED_ID, 8, chain.timestamp)
    reports = []
    for signer in signers:
        report = Report(price, 1, int(signer, 16), 7)
        message = (chain.chain_id, FEED, FEED_ID, 8, price, 1, chain.timestamp)
        chain.register_signature(message, report.r, report.vs, signer)
        reports.append(report)
    return header, reports


def test_a_batch_is_a_price_once() -> None:
    chain, feed, market = signed_feed()
    signed = batch(chain, PUBLISHERS[:3])
    assert feed.publish(*signed, sender=KEEPER) == 1
    assert feed.latest_price() == (WAD, 10**10, NOW)
    with pytest.raises(Revert, match=errors.OLD_PRICE):
        feed.publish(*signed, sender=KEEPER)
    assert market.updates == 1


def test_every_choice_of_publishers_is_a_quorum_and_no_other_order_of_it() -> None:
    chain, feed, _ = signed_feed()
    for signers in combinations(PUBLISHERS[:5], 3):
        for order in permutations(signers):
            chain.timestamp += 1
            signed = batch(chain, order)
            if order == signers:
                feed.publish(*signed, sender=KEEPER)
            else:
                with pytest.raises(Revert, match=errors.UNORDERED_SIGNERS):
                    feed.publish(*signed, sender=KEEPER)


def test_signatures_of_nobody_known_are_nobodys() -> None:
    chain, feed, market = signed_feed()
    header, reports = batch(chain, PUBLISHERS[:3])
    for place in range(3):
        forged = list(reports)
        forged[place] = reports[place]._replace(vs=8)
        with pytest.raises(Revert, match=errors.NOT_PUBLISHER):
            feed.publish(header, forged, sender=KEEPER)
    with pytest.raises(Revert, match=errors.NOT_PUBLISHER):
        feed.publish(*batch(chain, PUBLISHERS[4:7]), sender=KEEPER)
    assert (feed.latest_price(), market.updates) == ((0, 0, 0), 0)


def test_publishers_change_only_by_the_configurators_word() -> None:
    _, feed, _ = signed_feed()
    for sender in (FACTORY, KEEPER, PUBLISHERS[0]):
        with pytest.raises(Revert, match=errors.NOT_CONFIGURATOR):
            feed.set_publishers(PUBLISHERS[:3], 1, sender=sender)
        with pytest.raises(Revert, match=errors.NOT_CONFIGURATOR):
            feed.remove_publisher(PUBLISHERS[0], sender=sender)
    feed.remove_publisher(PUBLISHERS[1], sender=CONFIGURATOR)
    assert feed.publishers() == (PUBLISHERS[0], *PUBLISHERS[2:5])
    feed.set_publishers(PUBLISHERS, 8, sender=CONFIGURATOR)
    with pytest.raises(Revert, match=errors.BAD_PUBLISHERS):
        feed.remove_publisher(PUBLISHERS[0], sender=CONFIGURATOR)
    assert (feed.publishers(), feed.quorum()) == (PUBLISHERS, 8)


def test_an_aggregators_round_is_a_price_for_a_heartbeat() -> None:
    chain = Chain(NOW)
    aggregator = AggregatorMock(chain, "0x" + "a9" * 20, 8)
    feed = AggregatorPriceFeed(chain, FEED, FACTORY, aggregator, 3_600, 10**15, None, 0)
    aggregator.set_round(5, 10**8 + 1, NOW, NOW, 5, sender=KEEPER)
    price = (10**8 + 1) * 10**10
    for chain.timestamp in (NOW, NOW + 3_600):
        assert feed.latest_price() == (price, -(-price // 1_000), NOW)
    chain.timestamp += 1
    with pytest.raises(Revert, match=errors.STALE_PRICE):
        feed.latest_price()

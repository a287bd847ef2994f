"""What the figures count, on a market with two traders."""

import pytest

from python_model.modules import errors
from python_model.modules.constants import LONG, SHORT, WAD
from simulation.figures import Figures
from simulation.tiers import BUILT_IN
from simulation.venue import DOLLAR, Venue, address

START = 1_600_000_000
TRADER, OTHER = address(0x10000), address(0x10001)


@pytest.fixture
def venue() -> Venue:
    """A pool of 100,000 dollars at a price of 100, made for open interest of 1,000,000."""
    made = Venue(START, 100 * WAD, BUILT_IN, 1_000_000 * DOLLAR, 120, WAD // 20, False)
    assert made.report(START, 100 * WAD, START)
    made.provide(100_000 * DOLLAR, 1_000 * DOLLAR)
    for trader in (TRADER, OTHER):
        made.fund(trader, 10**15)
    return made


def fall(venue: Venue, *prices: int) -> None:
    """Prices a minute apart, each shown twice so that a jump is confirmed."""
    for price in prices:
        for _ in range(2):
            at = venue.chain.timestamp + 60
            venue.report(at, price * WAD, at)


def test_a_liquidation_in_part_and_in_full(venue: Venue) -> None:
    opened = venue.open(TRADER, LONG, 1_000 * WAD, 2_100 * DOLLAR)
    assert opened == 1
    at = venue.chain.timestamp + 1
    venue.report(at, 98_900 * WAD // 1_000, at)
    assert (venue.figures.partial, venue.figures.full) == (1, 0)
    assert venue.position(opened) is not None
    fall(venue, 90)
    assert (venue.figures.partial, venue.figures.full) == (1, 1)
    assert venue.position(opened) is None
    assert venue.figures.liquidated == {opened}
    assert 99_000 * DOLLAR > venue.figures.liquidated_notional > 90_000 * DOLLAR
    assert venue.faults() == []


def test_a_gap_uses_the_reserve_as_far_as_it_may_be_drawn(venue: Venue) -> None:
    venue.open(TRADER, LONG, 1_000 * WAD, 2_100 * DOLLAR)
    fall(venue, 91)
    figures = venue.figures
    assert figures.ruined == figures.full == 1
    assert figures.reserve_used == venue.snapshot().reserve == 500 * DOLLAR
    assert figures.bad_debt == venue.market.solvency().bad_debt > 6_000 * DOLLAR
    assert figures.trips["bad debt"] == 1


def test_profit_beyond_the_share_of_the_pool_is_deleveraged(venue: Venue) -> None:
    winner = venue.open(TRADER, SHORT, 1_500 * WAD, 100_000 * DOLLAR)
    smaller = venue.open(OTHER, SHORT, 50 * WAD, 500 * DOLLAR)
    fall(venue, 92, 85)
    assert venue.figures.deleveraged == 0
    fall(venue, 78)
    assert venue.figures.deleveraged == 1
    assert venue.figures.deleveraged_notional == 1_500 * 78 * DOLLAR
    assert venue.position(winner) is None
    assert venue.position(smaller) is not None
    assert venue.faults() == []


def test_a_jump_is_held_until_a_second_report(venue: Venue) -> None:
    at = venue.chain.timestamp + 60
    assert not venue.report(at, 80 * WAD, at)
    assert venue.is_halted()
    assert venue.price()[0] == 100 * WAD
    assert venue.open(TRADER, LONG, 10 * WAD, 1_000 * DOLLAR) == 0
    assert venue.report(at + 60, 81 * WAD, at + 60)
    assert venue.price() == (81 * WAD, at + 60)
    figures = venue.figures
    assert (figures.held, figures.halted_seconds, figures.trips["jump"]) == (1, 60, 1)
    assert venue.open(TRADER, LONG, 10 * WAD, 1_000 * DOLLAR) == 0
    assert figures.turned_away == {errors.HALTED: 1, errors.REDUCE_ONLY: 1}
    assert figures.restricted_seconds == 900


def test_a_trip_that_goes_on_is_counted_once(venue: Venue) -> None:
    fall(venue, 92, 91, 90)
    trips = venue.figures.trips
    assert trips["move in five minutes"] == 1
    fall(venue, *[90] * 20)
    fall(venue, 83)
    assert trips["move in five minutes"] == 2


def test_an_old_observation_is_refused_and_changes_nothing(venue: Venue) -> None:
    before = venue.snapshot()
    assert not venue.report(START + 121, 90 * WAD, START)
    assert venue.figures.refused == {errors.STALE_PRICE: 1}
    assert venue.open(TRADER, LONG, 10 * WAD, 1_000 * DOLLAR) == 0
    assert venue.figures.turned_away == {errors.STALE_PRICE: 1}
    assert venue.snapshot() == before


def test_dynamic_leverage_off_asks_for_the_tier_alone(venue: Venue) -> None:
    dynamic = Venue(START, 100 * WAD, BUILT_IN, 1_000_000 * DOLLAR, 120, WAD // 20, True)
    dynamic.report(START, 100 * WAD, START)
    dynamic.provide(100_000 * DOLLAR, 0 + DOLLAR)
    for made in (venue, dynamic):
        made.fund(KEEN := address(0x10002), 10**15)
        made.open(KEEN, SHORT, 2_000 * WAD, 200_000 * DOLLAR)
        for price in (101, 99, 101, 99):
            at = made.chain.timestamp + 15
            made.report(at, price * WAD, at)
    confidence = WAD // 10_000
    for size, tier in ((10, 0), (2_000, 1)):
        fraction = BUILT_IN[tier].initial_fraction
        assert venue.initial_fraction(LONG, size * WAD) == fraction + confidence
        assert dynamic.initial_fraction(LONG, size * WAD) > 3 * fraction


def test_a_backlog_is_measured_from_the_update_that_began_it() -> None:
    figures = Figures()
    figures.saw_backlog(False, 100, True)
    assert figures.backlogs == 0
    figures.saw_backlog(True, 115, True)
    figures.saw_backlog(True, 127, False)
    figures.saw_backlog(True, 130, True)
    figures.saw_backlog(False, 142, False)
    figures.saw_backlog(True, 145, True)
    figures.saw_backlog(False, 157, False)
    assert figures.backlogs == 2
    assert figures.longest_backlog_updates == 2
    assert figures.longest_backlog_seconds == 27


def test_drawdown_is_from_the_best_so_far() -> None:
    figures = Figures()
    for value in (1_000, 900, 1_200, 1_080, 1_150):
        figures.saw_share(value)
    assert figures.drawdown_ppm == 100_000

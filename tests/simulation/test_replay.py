"""A replay repeats itself, keeps a population, refuses what is stale and notices a broken model."""

import pytest

from lockstep.errors import InputError
from python_model.modules import errors
from python_model.modules.constants import LONG
from simulation.crowd import Crowd
from simulation.replay import Fault, Result, replay
from simulation.tape import SYNTHETIC, Report, Tape, read_tape
from simulation.tiers import BUILT_IN
from simulation.venue import DOLLAR, Venue
from tests.simulation.stale import StaleWatch

POSITIONS = 300
AGE = 120  # seconds: two bars


@pytest.fixture(scope="module")
def tape() -> Tape:
    return read_tape(SYNTHETIC, None)


@pytest.fixture(scope="module")
def off(tape: Tape) -> Result:
    return replay(tape, BUILT_IN, False, positions=POSITIONS)


@pytest.fixture(scope="module")
def on(tape: Tape) -> Result:
    return replay(tape, BUILT_IN, True, positions=POSITIONS)


def test_a_seed_repeats_a_replay(tape: Tape, off: Result) -> None:
    again = replay(tape, BUILT_IN, False, positions=POSITIONS)
    other = replay(tape, BUILT_IN, False, positions=POSITIONS, seed=2)
    assert again.figures == off.figures
    assert (again.before, again.after) == (off.before, off.after)
    assert other.figures != off.figures


def test_the_crash_does_its_damage(off: Result) -> None:
    assert off.before.positions > POSITIONS * 7 // 10
    assert off.figures.partial > 20
    assert off.figures.full > 20
    assert off.figures.partial + off.figures.full >= len(off.figures.liquidated)
    assert off.figures.liquidated_notional > off.before.notional // 20
    assert 0 < off.figures.drawdown_ppm < 10**6


def test_dynamic_leverage_asks_for_more_margin_and_liquidates_less(off: Result, on: Result) -> None:
    assert on.before.positions > POSITIONS * 7 // 10
    assert on.before.margin * off.before.notional > off.before.margin * on.before.notional
    assert len(on.figures.liquidated) < len(off.figures.liquidated)


def test_the_crash_trips_breakers(off: Result) -> None:
    figures = off.figures
    assert figures.trips["jump"] == 1
    assert figures.trips["move in five minutes"] > 1
    assert figures.trips["move in an hour"] > 1
    assert figures.held >= 1
    assert figures.halted_seconds >= 60
    assert 900 < figures.restricted_seconds < 86_400
    assert figures.turned_away[errors.REDUCE_ONLY] > 0


def test_reserve_moves_by_penalties_and_what_was_used(off: Result) -> None:
    penalties = off.after.reserve - off.before.reserve + off.figures.reserve_used
    assert 0 < penalties < off.figures.liquidated_notional // 200


def test_the_silence_of_the_feed_is_refused_as_stale(tape: Tape) -> None:
    watch = StaleWatch(AGE)
    result = replay(tape, BUILT_IN, False, positions=POSITIONS, watch=watch)
    assert watch.stale == result.figures.refused[errors.STALE_PRICE] > 20
    assert watch.longest >= 27 * 60
    assert watch.moved == []
    assert result.figures.turned_away[errors.STALE_PRICE] > 0


def test_entries_are_spread_over_prices_and_sides(tape: Tape) -> None:
    first: dict[int, tuple[int, int]] = {}

    def note(venue: Venue, report: Report) -> None:
        if report.at < tape.crash_at:
            for position_id, stored in venue.market._positions.items():
                if stored is not None and position_id not in first:
                    first[position_id] = (stored.side, stored.entry_price)

    replay(tape, BUILT_IN, False, positions=POSITIONS, watch=note)
    longs = sum(side == LONG for side, _ in first.values())
    assert len(first) // 2 < longs < len(first) * 7 // 10
    assert len({price for _, price in first.values()}) > POSITIONS // 2


def test_the_crowd_fits_the_tiers() -> None:
    crowd = Crowd(1, 5_000, BUILT_IN, 0, 86_400)
    notionals = sorted(trader.notional for trader in crowd.traders)
    assert notionals[0] >= 100 * DOLLAR
    assert notionals[-1] <= BUILT_IN[3].max_notional * DOLLAR
    held = [0] * 4
    for notional in notionals:
        held[sum(notional > tier.max_notional * DOLLAR for tier in BUILT_IN)] += 1
    assert held[0] > held[1] > held[2] > held[3] > 0
    assert sum(notionals) == crowd.notional()
    assert all(0.02 <= trader.appetite <= 1 for trader in crowd.traders)
    assert all(0 <= trader.opens_at <= 0.9 * 86_400 for trader in crowd.traders)


def test_a_position_left_to_liquidate_is_a_fault(tape: Tape) -> None:
    def rob(venue: Venue, report: Report) -> None:
        for position_id, stored in venue.market._positions.items():
            if stored is not None:
                stored.margin = 0
                assert position_id > 0

    with pytest.raises(Fault, match="is liquidatable and open"):
        replay(tape, BUILT_IN, False, positions=50, watch=rob)


def test_profit_that_the_pool_may_not_owe_is_a_fault(
    tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulation.replay.AUDIT_UPDATES", 1)

    def promise(venue: Venue, report: Report) -> None:
        venue.market._entry_value -= 10**60

    with pytest.raises(Fault, match="profit is too large"):
        replay(tape, BUILT_IN, False, positions=50, watch=promise)


def test_books_that_do_not_add_up_are_a_fault(tape: Tape) -> None:
    def print_money(venue: Venue, report: Report) -> None:
        venue.token.mint(venue.pool.address, 1, sender=venue.pool.address)

    with pytest.raises(Fault, match="the pool does not hold its cash"):
        replay(tape, BUILT_IN, False, positions=50, watch=print_money)


def test_a_crash_outside_the_window_is_bad_input(tape: Tape) -> None:
    with pytest.raises(InputError, match="not inside the window"):
        replay(tape._replace(crash_at=tape.reports[-1].at), BUILT_IN, False, positions=5)


@pytest.mark.slow
def test_two_thousand_positions_are_open_when_the_crash_begins(tape: Tape) -> None:
    result = replay(tape, BUILT_IN, True, positions=2_500)
    assert result.before.positions >= 2_000

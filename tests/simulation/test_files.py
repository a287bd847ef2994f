"""The real crashes; they need the directory of the price files in the environment as DATA."""

import os
from pathlib import Path

import pytest

from lockstep.prices import parse_time
from python_model.modules import errors
from simulation.replay import replay
from simulation.tape import SCENARIOS, Scenario, read_tape
from simulation.tiers import FILE, read_tiers
from tests.simulation.stale import StaleWatch

DATA = Path(os.environ.get("DATA") or "missing")

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="no directory of price files in DATA"),
    pytest.mark.slow,
]


def scenario(name: str) -> Scenario:
    return next(found for found in SCENARIOS if found.name == name)


def test_every_file_is_replayed() -> None:
    assert {found.file for found in SCENARIOS} == {path.name for path in DATA.glob("*.csv.gz")}


def test_the_dead_venue_of_13_march_2020_is_stale_and_not_traded_through() -> None:
    chosen = scenario("xbt-march-2020")
    tape = read_tape(chosen, DATA)
    start, end = parse_time("2020-03-13T02:16"), parse_time("2020-03-13T02:44")
    outage = tape.outages[0]
    assert outage[0] == start
    assert end <= outage[1] <= end + 600
    watch = StaleWatch(2 * tape.bar_seconds, *outage)
    tiers = read_tiers(DATA / FILE, chosen.symbol)
    result = replay(tape, tiers, True, positions=2_500, watch=watch)
    assert result.before.positions >= 2_000
    # Four reports a minute from two minutes after the last trade to the end, all of them refused.
    assert watch.stale == (outage[1] - outage[0]) // 15 - 8 >= 100
    assert result.figures.refused[errors.STALE_PRICE] >= watch.stale
    assert watch.moved == []
    assert watch.price_times == {start - 15}
    assert result.figures.turned_away[errors.STALE_PRICE] > 0


@pytest.mark.parametrize("name", [found.name for found in SCENARIOS])
def test_a_file_has_two_thousand_positions_before_its_crash(name: str) -> None:
    chosen = scenario(name)
    tape = read_tape(chosen, DATA)
    until = tape.crash_at + 900
    tape = tape._replace(reports=[report for report in tape.reports if report.at < until])
    result = replay(tape, read_tiers(DATA / FILE, chosen.symbol), True, positions=2_500)
    assert result.before.positions >= 2_000

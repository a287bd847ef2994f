"""Bars become reports; outages and gaps become the last report again."""

import gzip
from pathlib import Path

import pytest

from lockstep.errors import InputError
from lockstep.prices import Bar, PricePoint, parse_time
from python_model.modules.constants import WAD
from simulation.tape import (
    MINUTE,
    SYNTHETIC,
    Report,
    Scenario,
    find_outages,
    observations,
    read_tape,
    reports,
    volatility,
)

START = parse_time("2020-03-10")
TEST = Scenario("test", "Test", "bars.csv", "X", "2020-03-10", "2020-03-10T01:00", "2020-03-10T04")


def bar(minute: int, *prices: int) -> Bar:
    return Bar(START + minute * MINUTE, *(price * WAD for price in prices))


def test_the_extreme_nearer_to_the_open_comes_first() -> None:
    rising = [point.price // WAD for point in observations([bar(0, 10, 15, 9, 14)], MINUTE)]
    falling = [point.price // WAD for point in observations([bar(0, 10, 11, 5, 6)], MINUTE)]
    assert rising == [10, 9, 15, 14]
    assert falling == [10, 11, 5, 6]


def test_each_observation_has_its_own_second() -> None:
    points = list(observations([bar(0, 10, 10, 10, 10), bar(1, 10, 10, 10, 10)], MINUTE))
    assert [point.at - START for point in points] == [0, 15, 30, 45, 60, 75, 90, 105]


def test_a_gap_repeats_the_last_report_with_its_old_time() -> None:
    bars = [bar(0, 1, 4, 1, 3), bar(2, 5, 5, 5, 5)]
    said = list(reports(bars, MINUTE, [], START + 4 * MINUTE))
    assert [report.at - START for report in said] == list(range(0, 240, 15))
    assert [report.price // WAD for report in said] == [1, 1, 4, 3, *[3] * 4, *[5] * 4, *[5] * 4]
    assert [report.price_time - START for report in said[3:9]] == [45] * 5 + [120]
    assert said[-1] == Report(START + 225, 5 * WAD, START + 165)


def test_nothing_of_an_outage_is_reported() -> None:
    bars = [bar(minute, *[10 + minute] * 4) for minute in range(4)]
    outage = (START + MINUTE, START + 3 * MINUTE)
    said = list(reports(bars, MINUTE, [outage], START + 4 * MINUTE))
    assert [report.price // WAD for report in said] == [10] * 12 + [13] * 4
    assert not [report for report in said if outage[0] <= report.price_time < outage[1]]


def test_reports_begin_with_the_first_observation() -> None:
    bars = [bar(minute, *[10 + minute] * 4) for minute in range(2)]
    said = list(reports(bars, MINUTE, [(START, START + MINUTE)], START + 2 * MINUTE))
    assert [report.at for report in said] == [START + second for second in range(60, 120, 15)]


def volumes(*amounts: int) -> list[tuple[int, int]]:
    return [(START + minute * MINUTE, amount) for minute, amount in enumerate(amounts)]


def test_an_outage_lasts_until_five_bars_in_a_row_are_alive() -> None:
    quiet, dead, weak = [1_000] * 60, [9] * 10, [249] * 3
    spurt, alive = [900] * 4 + [0], [250] * 5
    found = find_outages(volumes(*quiet, *dead, *weak, *spurt, *alive, *quiet), MINUTE)
    assert found == [(START + 60 * MINUTE, START + (60 + 10 + 3 + 5 + 5) * MINUTE)]


@pytest.mark.parametrize("dead", [[9] * 9, [9] * 9 + [10], [0] * 5 + [10] + [0] * 4])
def test_less_than_ten_dead_minutes_are_no_outage(dead: list[int]) -> None:
    assert find_outages(volumes(*[1_000] * 60, *dead, *[1_000] * 60), MINUTE) == []


def test_an_outage_at_the_end_of_a_file_lasts_to_its_end() -> None:
    found = find_outages(volumes(*[1_000] * 60, *[0] * 12), MINUTE)
    assert found == [(START + 60 * MINUTE, START + 72 * MINUTE)]


def test_volatility_is_the_root_mean_square_move_of_a_day() -> None:
    # 1 % up every 864 seconds: a hundred times a day.
    prices = [WAD]
    for _ in range(20):
        prices.append(prices[-1] * 101 // 100)
    points = [PricePoint(START + 864 * index, price) for index, price in enumerate(prices)]
    assert volatility(points) == pytest.approx(WAD // 10, rel=1e-6)
    assert volatility(points[:1]) == volatility([]) == 10**11


def write_bars(path: Path, shift: int = 0, dead: range = range(0)) -> None:
    """Eight hours of minutes around 100, four of them before the window."""
    lines = ["ts,open,high,low,close,volume"]
    for minute in range(-240, 240):
        at = START + minute * MINUTE + shift
        price = 100 + minute % 3
        volume = 1 if minute in dead else 5_000
        lines.append(f"{at * 1000},{price},{price + 1},{price - 1},{price},{volume}")
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def test_a_file_is_read_with_its_calm_and_its_outages(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.csv", dead=range(120, 140))
    tape = read_tape(TEST, tmp_path)
    assert tape.outages == [(START + 120 * MINUTE, START + 145 * MINUTE)]
    assert tape.crash_at == START + 60 * MINUTE
    assert len(tape.reports) == 4 * 240
    assert tape.reports[0].at == START
    assert tape.calm_volatility > WAD // 10
    frozen = [report for report in tape.reports if report.at - report.price_time > 0]
    assert len(frozen) == 4 * 25
    assert {report.price_time for report in frozen} == {START + 119 * MINUTE + 45}


def test_bars_stamped_at_their_end_are_moved(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.csv")
    write_bars(tmp_path / "ends.csv.gz", shift=MINUTE)
    ends = TEST._replace(file="ends.csv.gz", is_stamped_at_end=True)
    assert read_tape(ends, tmp_path).reports == read_tape(TEST, tmp_path).reports


def test_a_file_without_volumes_has_no_outages(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.csv", dead=range(120, 140))
    text = (tmp_path / "bars.csv").read_text().replace("volume", "trades")
    (tmp_path / "bars.csv").write_text(text)
    assert read_tape(TEST, tmp_path).outages == []


def test_a_volume_that_is_no_number_is_bad_input(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.csv")
    text = (tmp_path / "bars.csv").read_text().replace(",5000\n", ",many\n")
    (tmp_path / "bars.csv").write_text(text)
    with pytest.raises(InputError, match="'many' is no number"):
        read_tape(TEST, tmp_path)


def test_missing_files_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_tape(TEST, tmp_path)
    with pytest.raises(InputError, match="--data"):
        read_tape(TEST, None)


def test_a_file_without_history_is_bad_input(tmp_path: Path) -> None:
    write_bars(tmp_path / "bars.csv")
    late = TEST._replace(start="2020-03-09T20:00")
    with pytest.raises(InputError, match="no bars before"):
        read_tape(late, tmp_path)


def test_the_synthetic_crash_needs_no_file() -> None:
    tape = read_tape(SYNTHETIC, None, seed=3)
    assert tape == read_tape(SYNTHETIC, None, seed=3)
    assert tape != read_tape(SYNTHETIC, None, seed=4)
    prices = [report.price for report in tape.reports]
    assert min(prices) < max(prices) * 6 // 10
    silent = [report for report in tape.reports if report.at > report.price_time]
    assert len(silent) == 27

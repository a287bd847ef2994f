"""The command: its tables, and bad input in one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.errors import InputError
from lockstep.prices import parse_time
from perp_fuzz.commands import main
from simulation import command


def crashes(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["crashes", *arguments])
    return done.exit_code, done.output


def test_without_data_the_synthetic_crash_is_replayed() -> None:
    code, output = crashes("--positions", "100")
    assert code == 0
    assert "A synthetic crash" in output
    assert "worst drawdown of a pool share" in output
    assert "prices refused: stale price" in output
    assert "found a broken promise" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "nowhere: no such directory"),
        (["--only", "xbt-march-2020"], "--data"),
        (["--only", "tulips"], "tulips"),
        (["--positions", "0"], "try"),
        (["--update"], "--data"),
        (["--start", "2020-03-12", "--end", "2020-03-13"], "of one file"),
        (["--prices", "bars.csv"], "--start and --end"),
        (["--prices", "bars.csv", "--start", "2020-03-12", "--end", "2020-03-11"], "not between"),
        (["--prices", "bars.csv", "--start", "2020-03-12", "--end", "soon"], "'soon' is no time"),
        (["--prices", "bars.csv", "--start", "2020-03-12", "--end", "2020-03-13"], "no such file"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments: list[str], says: str) -> None:
    code, output = crashes(*arguments)
    assert code == 2
    assert says in output
    assert output.startswith("error: ")
    assert output.count("\n") == 1


def test_an_empty_directory_is_bad_input(tmp_path: Path) -> None:
    code, output = crashes("--data", str(tmp_path))
    assert code == 2
    assert "no such file" in output


def test_another_file_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    start = parse_time("2021-01-01")
    lines = ["ts,open,high,low,close,volume"]
    for bar in range(-200, 300):
        price = 1_000 if bar < 200 else 800
        at = start + bar * 300
        lines.append(f"{at},{price},{price + 2 + bar % 3},{price - 2},{price},100")
    path.write_text("\n".join(lines) + "\n")
    window = ("--start", "2021-01-01", "--end", "2021-01-02", "--crash", "2021-01-01T12:00")
    code, output = crashes("--prices", str(path), "--positions", "100", *window)
    assert code == 0
    assert "bars.csv, 2021-01-01 to 2021-01-02" in output
    assert "positions were open when the crash began" in output
    held = next(line for line in output.splitlines() if "held for a second report" in line)
    assert held.split("│")[2:4] == [held.split("│")[2]] * 2
    assert held.split("│")[2].strip() == "1"


def test_a_window_of_one_crash_can_be_chosen() -> None:
    data = Path("prices")
    chosen = command.choose(data, "xbt-march-2020", None, "2020-06-01", None, "2020-06-03")
    assert len(chosen) == 1
    assert (chosen[0].file, chosen[0].is_stamped_at_end) == ("bitmex_XBTUSD_1m_2020.csv.gz", True)
    assert parse_time(chosen[0].crash) == parse_time("2020-06-02")
    assert len(command.choose(data, None, None, None, None, None)) == 6
    assert command.choose(None, None, None, None, None, None) == [command.SYNTHETIC]


def test_a_fault_is_told_and_exits_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.venue.Venue.faults", lambda venue: ["the moon is full"])
    code, output = crashes("--positions", "10")
    assert code == 1
    assert "BROKEN in synthetic" in output
    assert "the moon is full" in output


def test_the_document_takes_the_tables_between_its_marks() -> None:
    begin, end = command.MARKS
    text = f"before\n{begin}old\n{end}after\n"
    assert command.document_with(text, ["a\n", "b\n"]) == f"before\n{begin}a\n\nb\n{end}after\n"
    with pytest.raises(InputError, match="no tables between"):
        command.document_with("nothing", [])

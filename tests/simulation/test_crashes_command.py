"""The command: its tables, and bad input in one line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep.errors import InputError
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
    assert "the books added up" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "nowhere: no such directory"),
        (["--only", "xbt-march-2020"], "--data"),
        (["--only", "tulips"], "tulips"),
        (["--positions", "0"], "try"),
        (["--update"], "--data"),
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

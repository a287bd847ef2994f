"""`make fuzz`: bad input is one line and exit 2 with nothing written; what was done is reported."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from rich.console import Console

from lockstep.cli import fuzz_command
from lockstep.report import render
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import main
from perp_fuzz.deployment import ROOT

HEADER = "ts,open,high,low,close\n"
ROWS = "".join(f"{1_583_971_200 + 60 * i},{8000 - i},8010,7900,{7999 - i}\n" for i in range(50))


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `fuzz` with these options in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*options: str, command: click.Command = main, name: str = "fuzz") -> Result:
        args = [name, *options] if name else list(options)
        with pytest.raises(SystemExit) as caught:
            command(args)
        out, err = capsys.readouterr()
        code = caught.value.code
        return Result(code if isinstance(code, int) else -1, out, err)

    return invoke


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(result: Result, *says: str) -> None:
    """Exit 2, nothing on stdout, one line on stderr that says all of this."""
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert result.err.endswith("\n")
    for text in says:
        assert text in result.err


def packed(text: str) -> bytes:
    return gzip.compress(text.encode())


BAD_PRICES: dict[str, tuple[str, str | bytes, tuple[str, ...]]] = {
    "malformed": ("p.csv", HEADER + "1,2,3\n", ("line 2", "3 fields", "complete or delete")),
    "no number": ("p.csv", HEADER + "1,x,3,3,3\n", ("line 2", "open 'x'", "positive decimal")),
    "no time": ("p.csv", HEADER + "x,3,3,3,3\n", ("line 2", "ts 'x'", "unix time")),
    "unsorted": ("p.csv", HEADER + "2,1,1,1,1\n1,1,1,1,1\n", ("line 3", "before", "sort")),
    "doubled": ("p.csv", HEADER + "2,1,1,1,1\n2,1,1,1,1\n", ("line 3", "repeats", "duplicates")),
    "empty": ("p.csv", "", ("line 1", "empty", "start it with")),
    "header only": ("p.csv", HEADER, ("line 2", "no bars", "give a file with data")),
    "no column": ("p.csv", "ts,open,high,low\n1,1,1,1\n", ("line 1", "'close'", "add it")),
    "zero": ("p.csv", HEADER + "1,1,1,0,1\n", ("line 2", "zero", "positive")),
    "negative": ("p.csv", HEADER + "1,1,1,-1,1\n", ("line 2", "low '-1'", "positive decimal")),
    "not a number": ("p.csv", HEADER + "1,nan,1,1,1\n", ("line 2", "open 'nan'", "positive")),
    "infinite": ("p.csv", HEADER + "1,1,inf,1,1\n", ("line 2", "high 'inf'", "positive")),
    "too fine": ("p.csv", HEADER + "1,1,1,1,1e-19\n", ("line 2", "18 decimal places")),
    "high below low": ("p.csv", HEADER + "1,2,1,2,2\n", ("line 2", "high is below low")),
    "truncated gz": ("p.csv.gz", packed(HEADER + ROWS)[:-20], ("line ", "truncated", "again")),
    "half a gz": ("p.csv.gz", packed(HEADER + ROWS)[:60], ("line ", "truncated", "again")),
    "no gz": ("p.csv.gz", HEADER + ROWS, ("line 1", "not valid gzip", "download")),
    "binary": ("p.csv", b"\x00\xff\xfe", ("line 1", "not text", "give a CSV")),
    "late in the file": ("p.csv", HEADER + ROWS + "9999999999,1,1,1,\n", ("line 52", "close ''")),
}


@pytest.mark.parametrize("case", BAD_PRICES)
def test_a_bad_price_file_is_named_by_line_and_remedy(run: Run, tmp_path: Path, case: str) -> None:
    name, content, says = BAD_PRICES[case]
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = files(tmp_path)
    refused(run(f"--prices={path}", "--report=report.json", "--steps=10"), str(path), *says)
    assert files(tmp_path) == before


def test_a_price_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    refused(run("--prices=missing.csv"), "missing.csv", "no such file", "check the path")
    refused(run(f"--prices={tmp_path}"), str(tmp_path), "is a directory", "check the path")
    assert files(tmp_path) == {}


def test_a_window_outside_the_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER + ROWS)
    refused(run(f"--prices={path}", "--start=2021-01-01"), str(path), "choose a window")
    refused(run(f"--prices={path}", "--start=soon"), "'soon' is no time", "write 2020-03-12")
    swapped = run(f"--prices={path}", "--start=2020-03-13", "--end=2020-03-12")
    refused(swapped, "not before end", "swap")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("steps", value) for value in ("", "abc", "-1", "0", "1.5", "1e5", "0x10", "٣")),
        *(("seed", value) for value in ("", "abc", "-1", "1.5", "²")),
    ],
)
def test_a_number_that_is_none(run: Run, tmp_path: Path, option: str, value: str) -> None:
    result = run(f"--{option}={value}", "--report=report.json")
    refused(result, f"--{option}", repr(value), "no whole number", "try 100_000")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("value", ["7", "6.0", "six", "", "-6"])
def test_unknown_decimals(run: Run, tmp_path: Path, value: str) -> None:
    refused(run(f"--decimals={value}", "--report=report.json"), "--decimals", "'6', '8', '18'")
    assert files(tmp_path) == {}


def test_an_unknown_engine_or_option(run: Run, tmp_path: Path) -> None:
    refused(run("--engine=ganache"), "--engine", "'revm', 'pyevm', 'anvil'")
    refused(run("--stepz=1"), "--stepz", "--help")
    refused(run("more"), "more", "--help")
    assert files(tmp_path) == {}


def test_a_report_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    refused(run("--report=no/such/report.json"), "no/such/report.json", "no directory", "create it")
    (tmp_path / "folder").mkdir()
    refused(run("--report=folder"), "folder", "is a directory", "name a file")
    # A folder in which not even the superuser can create a file.
    refused(run("--report=/proc/report.json"), "/proc/report.json", "choose another path")
    assert files(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_report_without_permission(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    old = folder / "old.json"
    old.write_text("{}")
    old.chmod(0o400)
    folder.chmod(0o500)
    try:
        refused(run(f"--report={folder}/new.json"), "new.json", "choose another path")
        refused(run(f"--report={old}"), "old.json", "not writable")
        assert old.read_text() == "{}"
    finally:
        folder.chmod(0o700)


def test_an_old_report_survives_bad_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")
    refused(run("--report=report.json", "--prices=missing.csv"), "missing.csv")
    assert files(tmp_path) == {"report.json": b"old"}


# Runs


def figures(text: str) -> list[str]:
    """What a table says, whatever its width: words without lines and padding."""
    return re.sub(r"[^\w%.,:/()'-]+", " ", text).split()


def test_the_report_holds_what_was_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    path = tmp_path / "p.csv.gz"
    path.write_bytes(packed(HEADER + ROWS))
    result = run(
        "--steps=1_500", "--seed=3", "--length=500", f"--prices={path}", "--report=report.json"
    )
    assert result.code == 0, result.out
    assert result.err == ""
    report = json.loads((tmp_path / "report.json").read_text())
    shown = io.StringIO()
    Console(file=shown, width=160).print(render(report), highlight=False, markup=False)
    printed = re.sub(
        r"(?m)^[\d,]+ steps, \d+%, .*$", "", result.out
    )  # progress, if it took long enough
    assert figures(shown.getvalue()) == figures(printed)[: len(figures(shown.getvalue()))]
    assert report["steps"] == sum(action["steps"] for action in report["actions"].values()) == 1500
    assert report["chains"] == 3
    assert report["divergence"] is None
    assert report["seed"] == 3
    assert report["statistics"]["liquidations"] > 0
    assert all(invariant["checked"] > 0 for invariant in report["invariants"].values())
    assert result.out.rstrip().endswith("no divergence")


def test_the_same_seed_gives_the_same_report(run: Run, tmp_path: Path) -> None:
    reports = []
    for name in ("a.json", "b.json"):
        assert run("--steps=300", "--seed=9", f"--report={name}").code == 0
        reports.append(json.loads((tmp_path / name).read_text()))
    for report in reports:
        for clock in ("seconds", "steps_per_second", "timing"):
            del report[clock]
    assert reports[0] == reports[1]


def test_a_planted_divergence_exits_1_and_is_written_down(run: Run, tmp_path: Path) -> None:
    feed = "contracts/SignedPriceFeed.vy"
    source = (ROOT / feed).read_text()
    right = "price=price, confidence=confidence, price_time=header.price_time"
    assert source.count(right) == 1
    wrong = source.replace(
        right, "price=confidence, confidence=price, price_time=header.price_time"
    )
    planted = PerpAdapter(overrides={feed: wrong})
    config = {"decimals": 6, "feed": "signed"}
    command = fuzz_command(lambda _: (planted, [config]), about="Planted.")
    result = run("--steps=100", "--report=report.json", command=command, name="")
    assert result.code == 1, result.out
    assert "DIVERGENCE" in result.out
    assert "PricePublished" in result.out
    divergence = json.loads((tmp_path / "report.json").read_text())["divergence"]
    assert divergence["minimal"]
    assert len(divergence["steps"]) == 1
    regression = (tmp_path / divergence["regression"]).read_text()
    assert "brings price" in regression
    assert "from perp_fuzz.adapter import ADAPTER" in regression
    compile(regression, divergence["regression"], "exec")


def test_the_module_is_the_command() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "perp_fuzz", "fuzz", "--steps=many"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.splitlines() == [
        "error: Invalid value for '--steps': 'many' is no whole number of at least 1; try 100_000"
    ]


def test_the_variables_of_make_arrive_as_they_were_typed() -> None:
    report = "no such/$(touch x) 'y' \"z\".json"
    finished = subprocess.run(
        ["scripts/_ci/run.sh", "options", "fuzz", "STEPS", "SEED", "REPORT"],
        cwd=ROOT,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        | {"STEPS": "10", "SEED": "", "REPORT": report},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.startswith(f"error: report {report}: no directory no such; create it")
    assert not (ROOT / "x").exists()


def test_help_names_every_variable_of_make(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    for name in ("steps", "seed", "prices", "report", "decimals", "start", "end", "engine"):
        assert f"--{name}" in result.out

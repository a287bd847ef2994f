"""Price paths are exact, and a bad price file is named by file, line and remedy."""

import gzip
from itertools import pairwise
from pathlib import Path

import pytest

from lockstep.errors import InputError
from lockstep.prices import (
    WAD,
    Bar,
    PriceFileError,
    PricePoint,
    black_thursday_like,
    jump_diffusion,
    parse_time,
    parse_wad,
    points,
    read_bars,
)

HEADER = "ts,open,high,low,close,volume\n"
GOOD = HEADER + "1583971200000,10,12,9.5,11,1\n1583971260000,11,11,11,11,2\n"


def write(folder: Path, content: str | bytes, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "wad"),
    [
        ("1", WAD),
        ("7163.05", 716_305 * 10**16),
        ("0.1", 10**17),
        (".5", 5 * 10**17),
        ("0.000000000000000001", 1),
        ("1e-18", 1),
        ("6.5E3", 6_500 * WAD),
    ],
)
def test_decimal_text_is_read_exactly(text: str, wad: int) -> None:
    assert parse_wad(text) == wad


@pytest.mark.parametrize("text", ["", ".", "nan", "inf", "-1", "0x10", "1,5", "1e-19", "٣"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"decimal"):
        parse_wad(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2020-03-12", 1_583_971_200),
        ("2020-03-12T10:00", 1_584_007_200),
        ("2020-03-12T10:00+02:00", 1_584_000_000),
        ("1583971200", 1_583_971_200),
        ("1583971200000", 1_583_971_200),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


def test_bars_and_points(tmp_path: Path) -> None:
    bars = read_bars(write(tmp_path, GOOD))
    first = Bar(1_583_971_200, 10 * WAD, 12 * WAD, 95 * 10**17, 11 * WAD)
    assert bars[0] == first
    assert list(points(bars)) == [
        PricePoint(first.at, 10 * WAD),
        PricePoint(first.at + 15, 95 * 10**17),  # the nearer extreme first
        PricePoint(first.at + 30, 12 * WAD),
        PricePoint(first.at + 45, 11 * WAD),
        PricePoint(first.at + 60, 11 * WAD),
    ]
    packed = write(tmp_path, gzip.compress(GOOD.encode()), "prices.csv.gz")
    assert read_bars(packed) == bars
    seconds = GOOD.replace("200000,", "200,").replace("260000,", "260,")
    assert read_bars(write(tmp_path, seconds)) == bars
    assert read_bars(packed, "2020-03-12T00:01") == bars[1:]
    assert read_bars(packed, end="1583971260000") == bars[:1]


ROW = "1583971200000,10,12,9,11,1\n"
BAD = {
    "empty": ("", "line 1: empty; start it with ts,open,high,low,close"),
    "header only": (HEADER, "line 2: no bars after the header; give a file with data"),
    "missing column": ("ts,open,high,low\n1,1,1,1\n", "line 1: no column 'close' in the header"),
    "few fields": (HEADER + "1583971200000,10,12\n", "line 2: 3 fields where the header has 6"),
    "unsorted": (GOOD + "1583971230000,1,1,1,1,1\n", "line 4: ts 1583971230000 is before the prev"),
    "duplicate": (HEADER + ROW + ROW, "line 3: ts 1583971200000 repeats the previous one; sort"),
    "bad ts": (HEADER + "noon,1,1,1,1,1\n", "line 2: ts 'noon' is no unix time in s or ms"),
    "zero": (HEADER + ROW.replace(",9,", ",0.0,"), "line 2: a price is zero; give positive"),
    "negative": (HEADER + ROW.replace(",9,", ",-9,"), "line 2: low '-9' is not a decimal number"),
    "nan": (HEADER + ROW.replace(",9,", ",NaN,"), "line 2: low 'NaN' is not a decimal number"),
    "infinite": (HEADER + ROW.replace(",12,", ",inf,"), "line 2: high 'inf' is not a decimal"),
    "no number": (HEADER + ROW.replace(",9,", ",,"), "line 2: low '' is not a decimal number"),
    "high below low": (HEADER + ROW.replace(",12,", ",8,"), "line 2: high is below low; correct"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_names_line_and_remedy(tmp_path: Path, case: str) -> None:
    content, says = BAD[case]
    path = write(tmp_path, content)
    with pytest.raises(PriceFileError) as failure:
        read_bars(path)
    text = str(failure.value)
    assert text.startswith(f"{path}: {says}")
    assert "\n" not in text


def test_bad_packed_files(tmp_path: Path) -> None:
    packed = gzip.compress((HEADER + ROW).encode() * 500)
    with pytest.raises(PriceFileError, match=r"line \d+: the gzip is truncated; download it again"):
        read_bars(write(tmp_path, packed[:-30], "cut.csv.gz"))
    with pytest.raises(PriceFileError, match="line 1: not valid gzip"):
        read_bars(write(tmp_path, GOOD, "plain.csv.gz"))
    with pytest.raises(PriceFileError, match="not text"):
        read_bars(write(tmp_path, b"\xff\xfe\x00binary"))
    with pytest.raises(PriceFileError, match="no such file or directory; check the path"):
        read_bars(tmp_path / "nowhere.csv")
    with pytest.raises(PriceFileError, match="is a directory; check the path"):
        read_bars(tmp_path)


def test_bad_windows(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(PriceFileError, match="no bar between 2021-01-01 and the end; choose"):
        read_bars(path, start="2021-01-01")
    with pytest.raises(InputError, match="is not before end"):
        read_bars(path, "2020-03-13", "2020-03-12")
    with pytest.raises(InputError, match="'tomorrow' is no time"):
        read_bars(path, "tomorrow")


def test_jump_diffusion_is_the_same_everywhere() -> None:
    path = list(jump_diffusion(7, 1_000, 100 * WAD, steps=1_000, jumps_per_million=50_000))
    assert path == list(jump_diffusion(7, 1_000, 100 * WAD, steps=1_000, jumps_per_million=50_000))
    assert [point.at for point in path] == [1_000 + 60 * i for i in range(1_000)]
    assert path[-1].price == 109_746_623_759_282_661_223  # recorded once; equal on 3.11 and 3.12
    assert path != list(jump_diffusion(8, 1_000, 100 * WAD, steps=1_000, jumps_per_million=50_000))


@pytest.mark.parametrize("seed", range(10))
def test_black_thursday_like_crashes_and_falls_silent(seed: int) -> None:
    path = list(black_thursday_like(seed))
    prices = [point.price for point in path]
    times = [point.at for point in path]
    assert all(price > 0 for price in prices)
    assert max(later - earlier for earlier, later in pairwise(times)) == 28 * 60
    low = prices.index(min(prices))
    eight_hours = prices[max(0, low - 480) : low]
    assert min(prices) * 100 < max(eight_hours) * 60  # falls by more than 40 %
    assert prices[-1] * 100 > min(prices) * 120  # and rebounds

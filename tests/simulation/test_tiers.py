"""Margin tiers are taken from the exchange's own rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from lockstep.errors import InputError
from python_model.modules.constants import WAD
from simulation.tiers import BUILT_IN, Tier, read_tiers


def rows(*tiers: tuple[float, float, float]) -> list[dict[str, Any]]:
    names = ("maxNotional", "maxLeverage", "maintenanceMarginRate")
    return [dict(zip(names, tier, strict=True)) for tier in tiers]


ROWS = rows(
    (50_000.0, 125.0, 0.004),
    (600_000.0, 100.0, 0.005),
    (3_000_000.0, 75.0, 0.0065),
    (12_000_000.0, 50.0, 0.01),
    (70_000_000.0, 25.0, 0.02),
)


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_first_four_rows_are_taken_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "tiers.json", {"BTC/USDT:USDT": ROWS})
    assert read_tiers(path, "BTC/USDT:USDT") == (
        Tier(50_000, 8 * 10**15, 4 * 10**15),
        Tier(600_000, 10**16, 5 * 10**15),
        Tier(3_000_000, 133_334 * 10**11, 65 * 10**14),  # 1/75, rounded up
        Tier(12_000_000, 2 * 10**16, 10**16),
    )


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"BTC": ROWS},
        {"X": ROWS[:3]},
        {"X": [*ROWS[:3], {}]},
        {"X": rows(*[(1.0, 0.0, 0.1)] * 4)},
        [],
    ],
)
def test_other_files_are_bad_input(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match="no 4 rows of X"):
        read_tiers(write(tmp_path / "tiers.json", content), "X")


def test_a_missing_or_broken_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        read_tiers(tmp_path / "none.json", "X")
    broken = tmp_path / "tiers.json"
    broken.write_text("{")
    with pytest.raises(InputError, match="no 4 rows"):
        read_tiers(broken, "X")


def test_the_built_in_tiers_rise() -> None:
    assert list(BUILT_IN) == sorted(BUILT_IN)
    for tier in BUILT_IN:
        assert 0 < tier.maintenance_fraction < tier.initial_fraction < WAD

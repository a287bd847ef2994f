"""The measurement of the loop's stages: complete, and without effect on what the loop does."""

import pytest

from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.stages import STAGES, busiest, stages


def test_the_stages_make_up_the_loop() -> None:
    found = stages(PerpAdapter(), 300, 1, {"decimals": 6})
    assert list(found) == [*STAGES, "the rest", "all"]
    parts = [value for stage, value in found.items() if stage != "all"]
    assert sum(parts) == pytest.approx(found["all"])
    never = {"whole state and views"}  # not within so few steps
    assert all(value > 0 for stage, value in found.items() if stage not in never)


def test_the_busiest_functions_come_first() -> None:
    rows = busiest(PerpAdapter(), 300, 1, {"decimals": 6}, 5)
    times = [own for _, _, own in rows]
    assert len(rows) == 5
    assert times == sorted(times, reverse=True)
    assert times[-1] > 0

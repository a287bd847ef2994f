"""The table of docs/invariants.md lists what the code checks, in its words, and nothing else."""

import re
from pathlib import Path

import pytest

from python_model.invariants import INVARIANTS, Invariant

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
HEADING, *PARTS = re.split(r"^Held elsewhere.*$", DOCUMENT, flags=re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """Cells of the table in `text`, without its heading."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


CHECKED = {row[0]: row for row in rows(HEADING)}
ELSEWHERE = {name.strip() for row in rows("".join(PARTS)) for name in row[0].split(",")}


@pytest.mark.parametrize("invariant", INVARIANTS, ids=lambda invariant: invariant.id)
def test_every_invariant_stands_in_the_table_in_its_own_words(invariant: Invariant) -> None:
    every = "step" if invariant.every == 1 else str(invariant.every)
    assert CHECKED[invariant.id][1:3] == [invariant.sentence, every]


def test_the_table_names_no_invariant_that_is_not_checked() -> None:
    assert list(CHECKED) == [invariant.id for invariant in INVARIANTS]


def test_what_is_held_elsewhere_is_not_checked_under_its_own_name() -> None:
    assert ELSEWHERE
    assert ELSEWHERE.isdisjoint(CHECKED)


def test_every_promise_is_in_one_of_the_two_tables() -> None:
    promised = {f"P{number}" for number in range(1, 8)} | {f"I-{n}" for n in range(1, 19)}
    assert promised - set(CHECKED) - ELSEWHERE == set()


def test_every_note_is_explained_once_and_used() -> None:
    used = [letter for row in CHECKED.values() for letter in row[3].split(", ") if letter]
    explained = re.findall(r"^- ([a-z]): ", HEADING, re.MULTILINE)
    assert explained == sorted(used)

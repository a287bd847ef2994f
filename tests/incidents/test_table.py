"""The tables of docs/incidents.md name every row, and every test that exists, once."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = (HERE.parents[1] / "docs" / "incidents.md").read_text(encoding="utf-8")
PLAYED, NOT_PLAYED = DOCUMENT.split("## What cannot be played here")

INCIDENTS = {
    "May 2022, Perpetual v1, Drift v1",
    "Sep 2022, GMX v1 AVAX",
    "Oct 2022, Mango",
    "Mar 2023, Euler v1",
    "Nov 2023, dYdX v3 YFI",
    "Jun 2024, CRV founder",
    "12 Mar 2025, Hyperliquid whale",
    "26 Mar 2025, Hyperliquid JELLY",
    "Apr 2025, KiloEx",
    "Jul 2025, GMX v1",
    "10 Oct 2025, Hyperliquid",
    "Nov 2025, Hyperliquid POPCAT",
    "Mar 2026, LlamaLend sDOLA",
    "Apr 2026, Drift v2",
    "Resupply, first deposits",
}
FINDINGS = {
    "GMX v2": "M-4 M-22 M-23 M-20 M-18 H-5 M-27 M-25 M-10 M-32",
    "Perennial": "026-H 051-H 049-M 043-H 044-M 060-M 064-M 072-M #59",
    "Flatcoin": "H-3 H-5 H-7 M-6 M-7 #182 #230",
    "Velar": "H-1 H-2 M-2 M-4 M-5 M-6 M-7 M-8 M-9 M-10 #90",
    "USDN": "#718",
}


def rows(text: str) -> list[list[str]]:
    """Cells of every table in `text`, without headings."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("incident", "finding", "promise", "---")]


def written() -> list[str]:
    """Names of the tests in this folder, but for those of the table itself."""
    names = []
    for path in sorted(HERE.glob("test_*.py")):
        if path != Path(__file__).resolve():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            names += [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


def test_every_row_names_one_test_and_every_test_has_one_row() -> None:
    named = [cell for row in rows(PLAYED) for cell in re.findall(r"`(test_\w+)`", row[1])]
    assert len(named) == len(rows(PLAYED))
    assert sorted(named) == sorted(written())


def test_every_row_says_what_bounds_the_loss() -> None:
    assert all(len(row) == 3 and row[2] for row in rows(DOCUMENT))


def test_every_incident_is_played() -> None:
    labels = {row[0] for row in rows(PLAYED)}
    assert labels >= INCIDENTS


def test_every_finding_is_played() -> None:
    labels = [row[0] for row in rows(PLAYED)]
    played = {
        (system, finding)
        for label in labels
        for system, findings in FINDINGS.items()
        for finding in findings.split()
        if re.search(rf"{re.escape(system)}[^|;]*(?<!\S){re.escape(finding)}(?![\w-])", label)
    }
    assert {(system, f) for system, found in FINDINGS.items() for f in found.split()} == played
    assert {"JOJO", "Unstoppable"} <= set(labels)


def test_what_cannot_be_played_belongs_to_a_row_and_has_a_reason() -> None:
    labels = {row[0] for row in rows(PLAYED)}
    for label, part, reason in rows(NOT_PLAYED):
        parts = label.split(", ")
        assert label in labels or all(any(piece in other for other in labels) for piece in parts), (
            label
        )
        assert part
        assert reason

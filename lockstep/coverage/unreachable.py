"""What nothing can reach, with the reason that a person gave.

A TOML file of tables:

    [[unreachable]]
    file = "contracts/Vault.vy"
    line = "for _: uint256 in range(MAX_ROUNDS):"   # its text, so that moved code stays listed
    below = "rounds: uint256 = 0"                   # the line before, if the text is there twice
    branch = "range(MAX_ROUNDS) never runs out"     # as the report says it; without it, the line
    reason = "a round ends the loop before, as ..."
"""

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from lockstep.coverage.probes import Item, Line
from lockstep.coverage.record import Coverage, told
from lockstep.errors import InputError


class Entry(NamedTuple):
    file: str
    line: str
    reason: str
    branch: str = ""
    below: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.line}" + (f" ({self.branch})" if self.branch else "")


def read_entries(path: str | Path) -> list[Entry]:
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file).get("unreachable", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}; it lists what nothing can reach") from None
    entries = []
    for number, table in enumerate(tables, 1):
        needed = {"file", "line", "reason"}
        if not needed <= set(table) <= set(Entry._fields) or not all(table[x] for x in needed):
            fields = ", ".join(Entry._fields)
            raise InputError(f"{path}: entry {number} needs file, line and reason, out of {fields}")
        entries.append(Entry(**table))
    return entries


def resolve(
    entries: Iterable[Entry], coverage: Coverage, text_of: Callable[[str], str]
) -> tuple[dict[Item, str], list[str]]:
    """The reason of each item that an entry names, and what is wrong with the entries: one that
    names nothing there is, or something that ran."""
    reasons: dict[Item, str] = {}
    wrong = []
    lines: dict[str, list[str]] = {}
    for entry in entries:
        if entry.file not in lines:
            lines[entry.file] = ["", *(line.strip() for line in text_of(entry.file).splitlines())]
        found = [item for item in coverage.all if _names(entry, item, lines[entry.file])]
        if not found:
            wrong.append(f"{entry}: names nothing; say line and branch as the report does")
        elif any(item in coverage.hit for item in found):
            wrong.append(f"{entry}: was reached; take the entry out")
        reasons.update((item, entry.reason) for item in found)
    return reasons, wrong


def _names(entry: Entry, item: Item, lines: list[str]) -> bool:
    return (
        item.path == entry.file
        and lines[item.number] == entry.line
        and (not entry.below or lines[item.number - 1] == entry.below)
        and (told(item) if not isinstance(item, Line) else "") == entry.branch
    )

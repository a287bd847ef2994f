"""What of the sources a campaign ran: picklable, and that of several processes adds up."""

from collections.abc import Mapping
from typing import Any

from lockstep.coverage.probes import Branch, Item, Line


class Coverage:
    """The lines and branches there are, and which of them ran."""

    def __init__(self) -> None:
        self.all: set[Item] = set()
        self.hit: set[Item] = set()

    def merge(self, other: "Coverage") -> None:
        self.all |= other.all
        self.hit |= other.hit

    def missed(self) -> list[Item]:
        """In the order of the sources."""
        return sorted(self.all - self.hit, key=place)

    def summary(self, reasons: Mapping[Item, str] | None = None) -> dict[str, Any]:
        """Per file, as plain JSON values: [hit, total] of lines and of branches, the numbers of the
        lines with code, and what was missed, with the reason where nothing can reach it."""
        paths = sorted({item.path for item in self.all})
        files: dict[str, Any] = {
            path: {"lines": [0, 0], "branches": [0, 0], "code": set(), "missed": []}
            for path in paths
        }
        for item in self.all:
            entry = files[item.path]
            pair = entry["branches" if isinstance(item, Branch) else "lines"]
            pair[0] += item in self.hit
            pair[1] += 1
            entry["code"].add(item.number)
        for entry in files.values():
            entry["code"] = sorted(entry["code"])
        for item in self.missed():
            reason = (reasons or {}).get(item, "")
            files[item.path]["missed"].append(item._asdict() | {"reason": reason})
        return files


def told(item: Item) -> str:
    """What did not happen, in words."""
    if isinstance(item, Line):
        return "never runs"
    if item.kind == "for":
        return f"{item.text} {'is never entered' if item.outcome else 'never runs out'}"
    if item.kind == "jump":
        return f"never goes on {item.text}"
    return f"{item.text} is never {'true' if item.outcome else 'false'}"


def place(item: Item) -> tuple[Any, ...]:
    """A key that sorts items by their place in the sources, a line before its branches."""
    if isinstance(item, Line):
        return item.path, item.number, -1, "", False
    return item.path, item.number, item.column, item.kind, not item.outcome

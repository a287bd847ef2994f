"""What of the sources a campaign ran: picklable, and that of several processes adds up."""

from collections.abc import Iterable
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

    def paths(self) -> list[str]:
        return sorted({item.path for item in self.all})

    def summary(self) -> dict[str, Any]:
        """Per file: [hit, total] of lines and branches, and what was missed; plain JSON values."""
        files: dict[str, Any] = {
            path: {"lines": [0, 0], "branches": [0, 0], "missed": []} for path in self.paths()
        }
        for item in self.all:
            pair = files[item.path]["branches" if isinstance(item, Branch) else "lines"]
            pair[0] += item in self.hit
            pair[1] += 1
        for item in self.missed():
            files[item.path]["missed"].append(as_json(item))
        return files


def place(item: Item) -> tuple[Any, ...]:
    """A key that sorts items by their place in the sources, a line before its branches."""
    if isinstance(item, Line):
        return item.path, item.number, -1, "", False
    return item.path, item.number, item.column, item.kind, not item.outcome


def as_json(item: Item) -> dict[str, Any]:
    return item._asdict()


def shares(items: Iterable[Item], hit: set[Item]) -> tuple[int, int]:
    """How many of the items ran, and how many there are."""
    known = list(items)
    return sum(item in hit for item in known), len(known)

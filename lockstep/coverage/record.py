"""What of the sources a campaign ran: picklable, and that of several processes adds up."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lockstep.coverage.probes import Branch, Item, Line

# What became of a line of a source.
NO_CODE, HIT, MISSED, PARTLY, UNREACHABLE = "no code", "hit", "missed", "partly", "unreachable"


class LineStatus(NamedTuple):
    """A line of a source. `notes` says which outcomes are missing, or why nothing can be hit."""

    number: int
    text: str
    status: str  # one of the above; PARTLY: it ran, but not with every outcome that it can have
    notes: list[str]


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
            files[item.path]["missed"].append(item._asdict())
        return files

    def lines(
        self, path: str, text: str, reasons: Mapping[Item, str] | None = None
    ) -> list[LineStatus]:
        """Every line of the file `path`, whose content is `text`. `reasons` says of items why
        nothing can hit them."""
        found: dict[int, list[Item]] = {}
        for item in self.all:
            if item.path == path:
                found.setdefault(item.number, []).append(item)
        return [
            self._line(number, line, sorted(found.get(number, ()), key=place), reasons or {})
            for number, line in enumerate(text.splitlines(), 1)
        ]

    def _line(
        self, number: int, text: str, items: Sequence[Item], reasons: Mapping[Item, str]
    ) -> LineStatus:
        if not items:
            return LineStatus(number, text, NO_CODE, [])
        missed = [item for item in items if item not in self.hit]
        open_ = [item for item in missed if item not in reasons]
        notes = [f"{told(item)}: {reasons[item]}" for item in missed if item in reasons]
        if not open_:
            return LineStatus(number, text, UNREACHABLE if notes else HIT, notes)
        if len(missed) == len(items):
            return LineStatus(number, text, MISSED, notes)
        return LineStatus(number, text, PARTLY, [*(told(item) for item in open_), *notes])


def told(item: Item) -> str:
    """What did not happen, in words."""
    if isinstance(item, Line):
        return "never ran"
    if item.kind == "for":
        return f"{item.text} {'never enters' if item.outcome else 'never runs out'}"
    return f"{item.text} is never {'true' if item.outcome else 'false'}"


def place(item: Item) -> tuple[Any, ...]:
    """A key that sorts items by their place in the sources, a line before its branches."""
    if isinstance(item, Line):
        return item.path, item.number, -1, "", False
    return item.path, item.number, item.column, item.kind, not item.outcome

"""Coverage on a terminal: a table of files, and what was missed with its text."""

from collections.abc import Callable, Iterable, Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lockstep.coverage.probes import Branch, Item
from lockstep.coverage.record import Coverage, told


def table(title: str, coverage: Coverage, reasons: Mapping[Item, str] | None = None) -> Table:
    """Lines and branches that ran, per file, and how many nothing can reach."""
    shown = Table(title, title_justify="left")
    for column in ("lines", "branches", "unreachable", "missed"):
        shown.add_column(column, justify="right")
    for path in sorted({item.path for item in coverage.all}):
        items = [item for item in coverage.all if item.path == path]
        shown.add_row(path, *_figures(items, coverage.hit, reasons or {}))
    shown.add_section()
    shown.add_row("all", *_figures(coverage.all, coverage.hit, reasons or {}))
    return shown


def _figures(items: Iterable[Item], hit: set[Item], reasons: Mapping[Item, str]) -> list[str]:
    known = set(items)
    branches = {item for item in known if isinstance(item, Branch)}
    missed = known - hit
    listed = sum(item in reasons for item in missed)
    return [
        *(f"{len(part & hit):,} of {len(part):,}" for part in (known - branches, branches)),
        f"{listed:,}",
        f"{len(missed) - listed:,}",
    ]


def missed(items: Iterable[Item], text_of: Callable[[str], str]) -> Group:
    """Each with its place, what did not happen, and the line."""
    lines: list[Text] = []
    for item in items:
        source = text_of(item.path).splitlines()[item.number - 1].strip()
        lines.append(Text(f"{item.path}:{item.number}: {told(item)}", style="bold"))
        lines.append(Text(f"    {source}"))
    return Group(*lines)

"""The figures as tables of Markdown, which are read on a terminal as well."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lockstep.errors import InputError
from rivals.bench import UNAIMED, Hunt, Rate, Shrink
from rivals.bugs import BUGS
from rivals.tools import Tool

DOCUMENT = Path(__file__).parents[1] / "docs" / "rivals.md"
MARKS = ("<!-- recorded by make rivals UPDATE=1 -->\n", "<!-- end of the record -->\n")
OURS = "Ringfence `lockstep`"

Hunts = Mapping[str, Mapping[str, Hunt]]


def rates_table(
    tools: Sequence[Tool], rates: Mapping[str, Rate], skipped: Mapping[str, str]
) -> str:
    """Steps per second, and how many times as fast Ringfence is."""
    ours = rates.get(OURS)
    rows = [["Set-up", "steps/s", "least to most", "Ringfence is", "wanted"]]
    for tool in tools:
        if tool.key in skipped:
            rows.append([tool.name, "skipped", skipped[tool.key], "", ""])
        elif tool.name in rates:
            rate = rates[tool.name]
            times = f"{ours.median / rate.median:.1f} times" if ours and tool.name != OURS else ""
            wanted = f"at least {tool.target:g}" if tool.target else ""
            span = f"{_steps(rate.least)} to {_steps(rate.most)}"
            rows.append([tool.name, _steps(rate.median), span, times, wanted])
    return _table(rows)


def pairs_table(pairs: Mapping[str, Rate], rates: Mapping[str, Rate]) -> str:
    rows = [["Two processes", "steps/s", "least to most"]]
    rows += [
        [name, _steps(rate.median), f"{_steps(rate.least)} to {_steps(rate.most)}"]
        for name, rate in pairs.items()
    ]
    return _table(rows)


def hunts_table(tools: Sequence[Tool], hunts: Hunts, edges_only: bool = False) -> str:
    """Seconds to find each bug; a dash where most seeds did not find it in the time given."""
    bugs = UNAIMED if edges_only else BUGS
    columns = [tool for tool in tools if tool.name in hunts]
    rows = [["Bug", *[tool.name for tool in columns]]]
    for bug in bugs:
        rows.append([bug.sentence, *[_seconds(hunts[tool.name][bug.id]) for tool in columns]])
    counts = [sum(hunt.median() is not None for hunt in hunts[t.name].values()) for t in columns]
    rows.append([f"found of {len(bugs)}", *[str(count) for count in counts]])
    return _table(rows)


def shrinks_table(tools: Sequence[Tool], shrinks: Mapping[str, Shrink]) -> str:
    rows = [["Shrinking", "seconds", "steps left", "values too"]]
    rows += [
        [tool.name, f"{found.seconds:.2f}", str(found.left), tool.values]
        for tool in tools
        if (found := shrinks.get(tool.name))
    ]
    return _table(rows)


def missed_targets(tools: Sequence[Tool], rates: Mapping[str, Rate]) -> list[str]:
    """What Ringfence wants to be and is not, in words."""
    ours = rates.get(OURS)
    return [
        f"{tool.name}: {ours.median / rates[tool.name].median:.1f} times, wanted {tool.target:g}"
        for tool in tools
        if ours and tool.target and tool.name in rates
        and ours.median < tool.target * rates[tool.name].median
    ]  # fmt: skip


def record(text: str) -> None:
    """Put the tables between the marks of the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    if not all(document.count(mark) == 1 for mark in MARKS):
        raise InputError(f"{DOCUMENT.name}: the marks of the record are not there once each")
    before, rest = document.split(MARKS[0])
    DOCUMENT.write_text(
        before + MARKS[0] + "\n" + text + "\n" + MARKS[1] + rest.split(MARKS[1])[1],
        encoding="utf-8",
    )


def _steps(rate: float) -> str:
    return f"{rate:,.0f}"


def _seconds(hunt: Hunt) -> str:
    middle = hunt.median()
    found = sum(item is not None for item in hunt.seconds)
    if middle is None:
        return f"- ({found}/{len(hunt.seconds)})" if found else "-"
    return f"{middle:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)

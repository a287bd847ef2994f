"""`python -m rivals run`: Ringfence beside other fuzzers on one contract and one machine."""

import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from lockstep.report.files import check_writable, write_report
from rivals import homes, table
from rivals.bench import UNAIMED, hunts, pairs, rates, shrinks
from rivals.bugs import BUGS
from rivals.homes import Unavailable
from rivals.runner import prepare_forge
from rivals.tools import KEYS, TOOLS, Tool

SEEDS = 3

ABOUT = """Ringfence beside Wake 5, Foundry, Hypothesis and titanoboa.

One contract (rivals/vault), one mix of actions, one model, the same comparisons. First the steps
per second of each, in rounds that take turns; then how long each needs to find ten planted bugs,
four of which only one exact value shows; then how well each shrinks.

What is not installed yet is installed under .rivals, from pinned requirements. A tool that cannot
be installed or does not run is skipped and named.

\b
Examples:
  make rivals
  make rivals ONLY=wake,foundry ROUNDS=3
  make rivals BUDGET=0 REPORT=rivals.json   (rates alone)

Exit codes: 0 measured, 1 a figure is short of what it should be, 2 bad input.
"""


@dataclass
class Figures:
    """All that was measured."""

    tools: list[Tool]
    skipped: dict[str, str] = field(default_factory=dict)  # key -> why
    rates: dict[str, Any] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)
    hunts: dict[str, Any] = field(default_factory=dict)
    unaimed: dict[str, Any] = field(default_factory=dict)
    shrinks: dict[str, Any] = field(default_factory=dict)

    def present(self) -> list[Tool]:
        return [tool for tool in self.tools if tool.key not in self.skipped]


def chosen(only: str | None) -> list[Tool]:
    """The tools of ONLY=, and always Ringfence."""
    keys = [key.strip() for key in (only or ",".join(KEYS)).split(",")]
    for key in keys:
        if key not in KEYS:
            raise InputError(f"--only: {key!r} is none of {', '.join(KEYS)}")
    return [tool for tool in TOOLS if tool.key in (*keys, "ringfence")]


def install(figures: Figures, console: Console) -> None:
    for tool in figures.tools:
        if not tool.home or tool.key in figures.skipped:
            continue
        try:
            if not homes.ready(tool.home):
                _say(console, f"installing {tool.home} under .rivals (a minute or two)")
                homes.install(tool.home)
            if tool.home == "foundry":
                prepare_forge()
        except Unavailable as reason:
            figures.skipped[tool.key] = str(reason)
            _say(console, f"{tool.key} is skipped: {reason}")


def measure(figures: Figures, rounds: int, seconds: int, console: Console) -> None:
    """All measurements; Ctrl-C keeps those that are complete."""

    def tell(text: str) -> None:
        _say(console, text)

    present = figures.present()
    figures.rates = rates(present, rounds, tell)
    figures.pairs = pairs({tool.key for tool in present}, rounds, tell)
    if not seconds:
        return
    hunters = [tool for tool in present if tool.hunts]
    figures.hunts = hunts(hunters, BUGS, SEEDS, seconds, True, tell)
    plain = [tool for tool in hunters if tool.key != "boa" and tool.variant != "rules"]
    figures.unaimed = hunts(plain, UNAIMED, 1, seconds, False, tell)
    figures.shrinks = shrinks([tool for tool in hunters if tool.shrinks], SEEDS, seconds, tell)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def tables(figures: Figures, rounds: int, seconds: int) -> str:
    tools = figures.tools
    parts = [
        f"Python {platform.python_version()}, {platform.machine()}; {rounds} rounds, medians; "
        "a rate is steps per second of processor time on one core, start-up and compilation "
        f"left out. Load average {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores.\n",
        table.rates_table(tools, figures.rates, figures.skipped),
    ]
    if figures.pairs:
        parts.append(table.pairs_table(figures.pairs, figures.rates))
    if figures.hunts:
        told = f"seconds of processor time to find a bug, median of {SEEDS} seeds, {seconds} s each"
        parts += [f"{told.capitalize()}:\n", table.hunts_table(tools, figures.hunts)]
    if figures.unaimed:
        parts.append("The four edges when nobody aims at them, one seed:\n")
        parts.append(table.hunts_table(tools, figures.unaimed, edges_only=True))
    if figures.shrinks:
        parts.append(table.shrinks_table(tools, figures.shrinks))
    return "\n".join(parts)


@click.group()
def main() -> None:
    """Ringfence beside other fuzzers."""


def run(rounds: int, only: str | None, seconds: int, report: str | None, update: bool) -> int:
    """The command; its exit code."""
    console = Console()
    figures = Figures(chosen(only))
    if report:
        check_writable(Path(report))
    if update and (only or not seconds):
        raise InputError("--update records all figures: leave --only and --budget out")
    begun = time.monotonic()
    install(figures, console)
    try:
        measure(figures, rounds, seconds, console)
    except Unavailable as failure:
        raise InputError(f"{failure}; leave it out with --only") from None
    except KeyboardInterrupt:
        _say(console, "interrupted: what was complete is shown")
        update = False
    text = tables(figures, rounds, seconds)
    _say(console, "\n" + text)
    _say(console, f"{time.monotonic() - begun:,.0f} s in all")
    if report:
        write_report(report, as_json(figures))
    if update:
        table.record(text)
    missed = table.missed_targets(figures.tools, figures.rates)
    for line in missed:
        _say(console, f"short of its target: {line}")
    return 1 if missed else 0


def as_json(figures: Figures) -> dict[str, Any]:
    """Everything as plain values."""
    return {
        "skipped": figures.skipped,
        "rates": {name: rate._asdict() for name, rate in figures.rates.items()},
        "two_processes": {name: rate._asdict() for name, rate in figures.pairs.items()},
        "hunts": _plain(figures.hunts),
        "hunts_without_aims": _plain(figures.unaimed),
        "shrinks": {name: found._asdict() for name, found in figures.shrinks.items()},
    }


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return {name: {bug: hunt._asdict() for bug, hunt in own.items()} for name, own in found.items()}


def _callback(**values: Any) -> None:
    raise SystemExit(run(**values))


main.add_command(
    FuzzCommand(
        "run",
        callback=_callback,
        help=ABOUT,
        params=[
            click.Option(["--rounds"], type=Whole(1), default=5, show_default=True,
                         help="Rounds of the rates."),
            click.Option(["--only"], help=f"Some of {','.join(KEYS)}; Ringfence always runs."),
            click.Option(["--budget", "seconds"], type=Whole(0), default=5, show_default=True,
                         help="Seconds of processor time for each bug and seed; 0: none."),
            click.Option(["--report"], type=click.Path(), help="All figures as JSON."),
            click.Option(["--update"], is_flag=True, help="Record the tables in docs/rivals.md."),
        ],
    )
)  # fmt: skip

if __name__ == "__main__":
    main(prog_name="python -m rivals")

"""`crashes`: replays price files with a crowd of traders, once without dynamic leverage, once with.

Exit codes: 0 the promises held, 1 one was broken, 2 bad input.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from lockstep.regression import write_whole
from lockstep.report import check_writable
from simulation.replay import Fault, Result, replay
from simulation.table import heading, markdown, rows
from simulation.tape import SCENARIOS, SYNTHETIC, Scenario, read_tape
from simulation.tiers import BUILT_IN, FILE, read_tiers

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/crashes.md"
MARKS = ("<!-- recorded by make crashes UPDATE=1 -->\n", "<!-- end of the record -->\n")
LEAST_POSITIONS = 2_000


def run(scenario: Scenario, data: Path | None, seed: int, positions: int) -> list[Result]:
    """The scenario without and with dynamic leverage."""
    tape = read_tape(scenario, data, seed)
    tiers = BUILT_IN
    if scenario.file and data is not None:
        tiers = read_tiers(data / FILE, scenario.symbol)
    return [
        replay(tape, tiers, is_dynamic, seed=seed, positions=positions)
        for is_dynamic in (False, True)
    ]


def document_with(text: str, tables: Sequence[str]) -> str:
    """The document with its tables replaced."""
    begin, end = MARKS
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise InputError(f"{DOCUMENT}: no tables between {begin.strip()} and {end.strip()}")
    return before + begin + "\n".join(tables) + end + after


def _show(scenario: Scenario, results: Sequence[Result], console: Console) -> None:
    table = Table(heading(results)[0], title=scenario.title, title_justify="left")
    for name in heading(results)[1:]:
        table.add_column(name, justify="right")
    for row in rows(results):
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)
    seconds = sum(result.seconds for result in results)
    console.print(f"{scenario.name}: {seconds:.1f} s", highlight=False)


def crashes_command() -> click.Command:
    """The command."""

    def callback(**values: Any) -> None:
        raise SystemExit(_crashes(**values))

    names = [scenario.name for scenario in (*SCENARIOS, SYNTHETIC)]
    options = [
        click.Option(
            ["--data"],
            type=click.Path(path_type=Path),
            help="Directory of the price files and of the leverage tiers. Without it the built-in "
            "synthetic crash is replayed.",
        ),
        click.Option(["--seed"], type=Whole(0), default=1, show_default=True, help="Of the crowd."),
        click.Option(
            ["--positions"],
            type=Whole(1),
            default=4_000,
            show_default=True,
            help="Traders with a position each; some are flat at any moment.",
        ),
        click.Option(["--only"], type=click.Choice(names), help="One crash of them."),
        click.Option(["--update"], is_flag=True, help="Record the tables in docs/crashes.md."),
    ]
    text = (
        "Replay crashes on the model with a seeded crowd of traders, once without dynamic "
        "leverage and once with: what is liquidated, lost, paid and refused."
        "\n\n\b\nExamples:\n  make crashes\n  make crashes DATA=prices ONLY=xbt-march-2020"
        "\n\nExit codes: 0 the promises held, 1 one was broken, 2 bad input."
    )
    return FuzzCommand("crashes", callback=callback, params=list(options), help=text)


def _crashes(data: Path | None, seed: int, positions: int, only: str | None, update: bool) -> int:
    if data is not None and not data.is_dir():
        raise InputError(f"{data}: no such directory; it holds the price files")
    chosen = [s for s in (*SCENARIOS, SYNTHETIC) if (data or not s.file) and only in (None, s.name)]
    if not chosen:
        raise InputError(f"{only} needs the price files: give their directory with --data")
    text = ""
    if update:
        if data is None or only:
            raise InputError("--update records all crashes: give --data and leave --only out")
        check_writable(DOCUMENT)
        text = DOCUMENT.read_text(encoding="utf-8")
        document_with(text, [])
    console = Console()
    tables = []
    for scenario in chosen:
        try:
            results = run(scenario, data, seed, positions)
        except Fault as fault:
            console.print(f"BROKEN in {scenario.name}: {fault}", highlight=False, markup=False)
            return 1
        _show(scenario, results, console)
        fewest = min(result.before.positions for result in results)
        if fewest < LEAST_POSITIONS:
            console.print(f"only {fewest:,} positions were open when the crash began")
        tables.append(f"### {scenario.title}\n\n{markdown(results)}")
    if update:
        write_whole(DOCUMENT, document_with(text, tables))
    console.print("no look at all positions found one left to liquidate, and the books added up")
    return 0

"""`crashes`: replays price files with a crowd of traders, once without dynamic leverage, once with.

Exit codes: 0 the promises held, 1 one was broken, 2 bad input.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lockstep.cli import FuzzCommand, Whole, option
from lockstep.errors import InputError
from lockstep.prices import parse_time
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
    if scenario.symbol and data is not None:
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
        option("data", click.Path(path_type=Path), "Directory of price files and margin tiers."),
        option("only", click.Choice(names), "One of the crashes."),
        option("prices", click.Path(path_type=Path), "Another file, on built-in margin tiers."),
        option("start", str, "Of another window of --only or --prices: 2020-03-12 or unix time."),
        option("crash", str, "When the figures of that window start; without it halfway."),
        option("end", str, "The moment that window ends."),
        option("seed", Whole(0), "Of the crowd.", 1),
        option("positions", Whole(1), "Traders with a position each.", 4_000),
        click.Option(["--update"], is_flag=True, help="Record the tables in docs/crashes.md."),
    ]
    text = (
        "Replay crashes on the model with a seeded crowd of traders, once without dynamic "
        "leverage and once with: what is liquidated, lost, paid and refused. Without --data and "
        "--prices it is a synthetic crash."
        "\n\n\b\nExamples:\n  make crashes\n  make crashes DATA=prices ONLY=xbt-march-2020"
        "\n  make crashes PRICES=bars.csv.gz START=2021-05-17 CRASH=2021-05-19 END=2021-05-20"
        "\n\nExit codes: 0 the promises held, 1 one was broken, 2 bad input."
    )
    return FuzzCommand("crashes", callback=callback, params=list(options), help=text)


def choose(
    data: Path | None,
    only: str | None,
    prices: Path | None,
    start: str | None,
    crash: str | None,
    end: str | None,
) -> list[Scenario]:
    """The crashes that the options ask for."""
    found = [s for s in (*SCENARIOS, SYNTHETIC) if only in (None, s.name)]
    if prices is not None:
        if only or not (start and end):
            raise InputError(f"{prices}: give --start and --end with it, and leave --only out")
        found = [Scenario(prices.name, "", prices.name, "", start, "", end, bar_seconds=0)]
    elif data is None:
        found = [scenario for scenario in found if not scenario.file]
        if not found:
            raise InputError(f"{only} needs the price files: give their directory with --data")
    if not (start or crash or end):
        return found
    if len(found) > 1 or not found[0].file or not (start and end):
        raise InputError("a window is --start and --end of one file: give --only or --prices")
    first, last = parse_time(start), parse_time(end)
    middle = parse_time(crash) if crash else (first + last) // 2
    if not first < middle < last:
        raise InputError(f"the crash is not between {start} and {end}: move one of them")
    title = f"{found[0].file}, {start} to {end}"
    return [found[0]._replace(title=title, start=start, crash=str(middle), end=end)]


def _crashes(
    data: Path | None,
    seed: int,
    positions: int,
    update: bool,
    only: str | None,
    prices: Path | None,
    **window: str | None,
) -> int:
    if data is not None and not data.is_dir():
        raise InputError(f"{data}: no such directory; it holds the price files")
    chosen = choose(data, only, prices, **window)
    text = ""
    if update:
        if data is None or only or prices:
            raise InputError("--update records all crashes: give --data alone")
        check_writable(DOCUMENT)
        text = DOCUMENT.read_text(encoding="utf-8")
        document_with(text, [])
    console = Console()
    tables = []
    for scenario in chosen:
        try:
            results = run(scenario, prices.parent if prices else data, seed, positions)
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
    console.print("no look at all positions found a broken promise")
    return 0

"""`isolation`: pairs of runs with and without another trader's ruin, on model and contracts.

Exit codes: 0 every other position was equal, 1 something leaked, 2 bad input.
"""

import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table

from lockstep.cli import FuzzCommand, Whole
from perp_fuzz.isolation import Figures, Leak, run_pairs

SECONDS = 10  # between two signs of life


def _signs_of_life(console: Console, what: str, pairs: int) -> Callable[[int], None]:
    done = 0
    told = time.monotonic()

    def tick(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told >= SECONDS:
            told = time.monotonic()
            console.print(f"{what}: {done:,} of {pairs:,} pairs", highlight=False)

    return tick


def _show(rows: list[tuple[str, Figures, float]], console: Console) -> None:
    table = Table("", *(name for name, _, _ in rows), title="isolation", title_justify="left")
    for field in Figures._fields:
        values = (f"{getattr(figures, field):,}" for _, figures, _ in rows)
        table.add_row(field.replace("_", " "), *values)
    table.add_row("seconds", *(f"{seconds:.1f}" for _, _, seconds in rows))
    console.print(table, highlight=False)


def isolation_command() -> click.Command:
    """The command."""

    @click.command("isolation", cls=FuzzCommand)
    @click.option("--pairs", type=Whole(1), default=10_000, show_default=True, help="On the model.")
    @click.option(
        "--contract-pairs", type=Whole(1), default=500, show_default=True, help="On the contracts."
    )
    @click.option("--seed", type=Whole(0), default=1, show_default=True, help="Of all pairs.")
    def isolation(pairs: int, contract_pairs: int, seed: int) -> None:
        """Run random sequences with and without another trader's ruin; nobody else may notice.

        Every other position must be equal to the last word, and so must its owner's tokens,
        credit, claim and results. Funding, utilisation and skew are neutralised.
        """
        console = Console()
        rows: list[tuple[str, Figures, float]] = []
        for what, count, engine in (("model", pairs, None), ("contracts", contract_pairs, "revm")):
            started = time.monotonic()
            tick = _signs_of_life(console, what, count)
            try:
                figures = run_pairs(count, seed, engine, tick=tick)
            except Leak as leak:
                console.print(f"LEAK on the {what}: {leak}", highlight=False, markup=False)
                raise SystemExit(1) from None
            rows.append((what, figures, time.monotonic() - started))
        _show(rows, console)
        console.print("every other trader was untouched")

    return isolation

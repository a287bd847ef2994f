"""`solvency`: the contract's solvency() against the sum over all positions, after every step.

Exit codes: 0 inside its bound and on the safe side throughout, 1 not, 2 bad input, 130 Ctrl-C.
"""

import random
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from lockstep import abi
from lockstep.adapter import Config
from lockstep.checker import Checker
from lockstep.cli import FuzzCommand, Whole
from lockstep.compare import Mismatch
from lockstep.engines import open_engine
from lockstep.progress import StepProgress
from perp_fuzz.adapter import PerpAdapter, PerpTwin, flat_fields
from python_model.invariants import solvency_bounded, sum_of_values

LENGTH = 10_000  # steps between two fresh deployments
SOLVENCY = abi.selector("solvency()")


class Gaps:
    """How far the stated net profit was above the sum of the positions' own."""

    def __init__(self) -> None:
        self.steps = 0
        self.positions = 0
        self.largest = 0
        self.exact = 0
        self.tightest: tuple[int, int] = (0, 1)  # the gap that came nearest to its bound, and that

    def add(self, gap: int, bound: int) -> None:
        """One reading."""
        self.steps += 1
        self.positions = max(self.positions, bound - 1)
        self.largest = max(self.largest, gap)
        self.exact += gap == 0
        if gap * self.tightest[1] > self.tightest[0] * bound:
            self.tightest = gap, bound


def run(steps: int, seed: int, configs: Sequence[Config], progress: StepProgress) -> Gaps:
    """Chains of random steps on model and contracts; raises Mismatch at the first bad reading."""
    gaps = Gaps()
    for number in range(-(-steps // LENGTH)):
        adapter, engine = PerpAdapter(), open_engine("revm")
        config = {**configs[number % len(configs)], "seed": seed + number}
        checker = Checker(adapter, engine, config, LENGTH)
        twin: PerpTwin = checker.twin  # type: ignore[assignment]
        rng = random.Random(f"{seed}/{number}")
        for _ in range(min(LENGTH, steps - number * LENGTH)):
            checker.step(adapter.generate(twin, rng))
            _read(twin, engine.view(twin.market.address, SOLVENCY).output, gaps)
            progress.tick(1)
        engine.close()
    return gaps


def _read(twin: PerpTwin, output: bytes, gaps: Gaps) -> None:
    market = twin.market
    stated = market.solvency()
    if output != abi.words(*flat_fields(stated)):
        raise Mismatch("solvency", f"the contract says 0x{output.hex()}, the model {stated}")
    if twin.seen.token_is_sound and (broken := solvency_bounded(twin.seen)):
        raise Mismatch("solvency", broken)
    total = sum_of_values(twin.seen)
    gap = stated.net_trader_profit - total
    if not 0 <= gap < stated.rounding_bound:
        raise Mismatch("solvency", f"stated {stated.net_trader_profit}, sum {total}")
    gaps.add(gap, stated.rounding_bound)


def solvency_command(configs: Sequence[Config]) -> click.Command:
    """The command."""

    @click.command("solvency", cls=FuzzCommand)
    @click.option(
        "--steps", type=Whole(1), default=100_000, show_default=True, help="Steps in all."
    )
    @click.option("--seed", type=Whole(0), default=1, show_default=True, help="Of all steps.")
    def solvency(steps: int, seed: int) -> None:
        """Compare solvency() with the sum over all positions after every step of a campaign.

        The stated net profit of the traders may be above the sum of the positions' own values, by
        less than the bound that solvency() states, and never below it.
        """
        console = Console()
        try:
            with StepProgress(steps, console) as progress:
                gaps = run(steps, seed, configs, progress)
        except Mismatch as mismatch:
            console.print(f"BROKEN: {mismatch}", highlight=False, markup=False)
            raise SystemExit(1) from None
        table = Table("solvency() less the sum over positions", "", title_justify="left")
        table.add_row("readings, one per step", f"{gaps.steps:,}")
        table.add_row("most positions open", f"{gaps.positions:,}")
        table.add_row("exactly equal", f"{gaps.exact:,}")
        table.add_row("largest gap, token units", f"{gaps.largest:,}")
        nearest, bound = gaps.tightest
        table.add_row("nearest to its bound", f"{nearest:,} of less than {bound:,}")
        console.print(table)
        console.print("never below the sum, always inside the bound")

    return solvency

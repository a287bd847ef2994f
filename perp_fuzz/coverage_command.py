"""What of contracts and model a campaign runs, and whether anything reachable is missed."""

from collections.abc import Sequence

import click
from rich.console import Console

from lockstep.adapter import Config
from lockstep.campaign import Plan, run_campaign
from lockstep.cli import FuzzCommand, Whole, open_corpus
from lockstep.coverage.show import missed, table
from lockstep.progress import StepProgress
from lockstep.workers import cores
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.corpus_command import SEEDS

TRACE_EVERY = 8  # batches: a campaign that is about coverage can spend more on that of the model


def coverage_command(configs: Sequence[Config]) -> click.Command:
    @click.command("coverage", cls=FuzzCommand)
    @click.option("--steps", type=Whole(1), default=100_000, show_default=True, help="In all.")
    @click.option("--seed", type=Whole(0), default=1, show_default=True, help="Of the campaign.")
    @click.option("--processes", type=Whole(1), default=cores, show_default="one per core")
    def command(steps: int, seed: int, processes: int) -> None:
        """Run a campaign and show which lines and branches of contracts and model it ran.

        What nothing can reach is listed with its reason in perp_fuzz/unreachable.toml.

        Exit codes: 0 all else of the contracts ran, 1 something was missed, or the list is wrong,
        or contracts and model differ, 130 Ctrl-C.
        """
        console = Console()
        adapter = PerpAdapter()
        plan = Plan(
            adapter,
            steps,
            seed,
            configs,
            coverage=True,
            trace_every=TRACE_EVERY,
            corpus=open_corpus(adapter, SEEDS, None),
        )
        with StepProgress(steps, console) as progress:
            result = run_campaign(plan, processes, progress.tick)
        tally = result.tally
        reasons, wrong = tally.scope.reasons(tally.coverage)
        open_ = [item for item in tally.coverage.missed() if item not in reasons]
        console.print(table("contracts", tally.coverage, reasons))
        console.print(table("model", tally.scope.model_coverage(tally.arcs)))
        console.print(missed(open_, tally.scope.text))
        for text in wrong:
            console.print(f"perp_fuzz/unreachable.toml: {text}", highlight=False, markup=False)
        if result.interrupted:
            console.print("interrupted: the figures cover what was done")
            raise SystemExit(130)
        if result.divergence is not None:
            console.print(f"contracts and model differ: {result.divergence.text}", markup=False)
        if open_ or wrong or result.divergence is not None:
            raise SystemExit(1)
        console.print("every line and branch of the contracts ran, or is listed with its reason")

    return command

"""What the monitor can do, shown: `python -m operations.monitor lies`, `load`."""

import logging
import time

import click

from lockstep.cli import FuzzCommand, Whole
from operations.monitor import lies as trials
from operations.monitor import load as loads
from operations.monitor.replica import SENTENCES
from perp_fuzz.planted import BUGS, Bug, choose

ENOUGH = 10  # blocks a second


@click.group()
def main() -> None:
    """What the monitor can do."""


@main.command(cls=FuzzCommand)
@click.option("--only", default="", help="Ids of bugs with commas; all.  [a chosen few]")
@click.option("--steps", type=Whole(1), default=trials.STEPS, show_default=True, help="At most.")
@click.option("--seed", type=Whole(0), default=1, show_default=True)
def lies(only: str, steps: int, seed: int) -> None:
    """Plants bugs in markets on anvil and shows what the monitor says of each."""
    logging.getLogger("ringfence").setLevel(logging.CRITICAL)
    names = only.split(",") if only else trials.CHOSEN
    bugs = list(BUGS) if only == "all" else choose(names, BUGS)
    missed = 0
    for bug in bugs:
        began = time.monotonic()
        verdict = trials.hunt(bug, steps, seed)
        missed += not verdict.is_caught
        _show(bug, verdict, time.monotonic() - began)
    click.echo(f"{len(bugs) - missed} of {len(bugs)} named by the monitor, not after the fuzzer")
    raise SystemExit(1 if missed else 0)


def _show(bug: Bug, verdict: trials.Verdict, seconds: float) -> None:
    click.echo(f"{bug.id} ({bug.where}): {bug.sentence}; {seconds:.0f} s")
    if verdict.noticed is not None:
        click.echo(f"  the fuzzer notices it in block {verdict.noticed}: {verdict.as_what}")
    for finding in verdict.findings[:3]:
        text = " ".join(finding.text.split())[:150]
        click.echo(f"  the monitor: block {finding.block}, {finding.invariant}: {text}")
    if not verdict.findings:
        click.echo(f"  the monitor finds none of {len(SENTENCES)} invariants broken")


@main.command(cls=FuzzCommand)
@click.option("--positions", type=Whole(1), default=loads.POSITIONS, show_default=True)
@click.option("--blocks", type=Whole(1), default=loads.BLOCKS, show_default=True)
def load(positions: int, blocks: int) -> None:
    """Measures the monitor on a market with many positions; exit code 1 below ten blocks a
    second."""
    slowest = float("inf")
    for what, figures in loads.measure(positions, blocks):
        rate = figures.blocks / figures.seconds
        if figures.is_measured:
            slowest = min(slowest, rate)
        click.echo(
            f"{what}: {figures.blocks:,} blocks in {figures.seconds:.1f} s "
            f"({figures.processor:.1f} s of one core), {rate:.0f} blocks/s, "
            f"{figures.open_positions:,} positions open, {figures.findings} findings, "
            f"{figures.memory / 2**20:.0f} MiB at most"
        )
    raise SystemExit(0 if slowest >= ENOUGH else 1)


if __name__ == "__main__":
    main()

"""The command: which mutants, progress, report, exit code.

Exit codes: 0 every mutant killed or argued, 1 a survivor, or a reason that is refuted, 2 bad input,
130 Ctrl-C.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from lockstep.interrupts import ended_as_interrupted
from lockstep.mutation.mutants import Mutant, sample
from lockstep.mutation.project import Project
from lockstep.mutation.review import read_reasons
from lockstep.mutation.runner import Runner, Unfinished, all_mutants
from lockstep.mutation.summary import Summary
from lockstep.report import check_writable, write_report

SECONDS = 60
OF_CONTRACTS, OF_MODEL = 480, 150
# What a person says to be equivalent is hunted too, though not for long.
EQUIVALENT_SECONDS = 5.0
QUIET_SECONDS = 10.0


def choose(
    contracts: Sequence[Mutant],
    model: Sequence[Mutant],
    only: str | None,
    everything: bool,
    seed: int,
) -> list[Mutant]:
    """The mutants of a run."""
    known = [*contracts, *model]
    if only is not None:
        names = [name.strip() for name in only.split(",") if name.strip()]
        if not names:
            raise InputError("ONLY names no mutant; leave it out to run the sample")
        chosen = [m for m in known if any(_is_meant(m, name) for name in names)]
        unknown = [n for n in names if not any(_is_meant(m, n) for m in known)]
        if unknown:
            raise InputError(
                f"ONLY: no mutant has the id, file or operator {', '.join(unknown)}; "
                "a report of REPORT= lists them"
            )
        return chosen
    if everything:
        return known
    return [*sample(contracts, OF_CONTRACTS, seed), *sample(model, OF_MODEL, seed)]


def _is_meant(mutant: Mutant, name: str) -> bool:
    return name in (mutant.id, mutant.file, Path(mutant.file).stem, mutant.operator)


class _Progress:
    """A line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done in (0, total) or now - self._told >= QUIET_SECONDS:
            self._told = now
            text = "checking that nothing is found without a mutant"
            if what != "baseline":
                text = f"{what} {done:,} of {total:,}"
            self._console.print(text, highlight=False, markup=False)


def run(
    project: Project,
    reviewed: Path,
    *,
    only: str | None = None,
    everything: bool = False,
    seed: int = 1,
    seconds: int = SECONDS,
    processes: int = 1,
    report: str | None = None,
) -> int:
    """Runs the chosen mutants, shows and saves what became of them; the exit code."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(width=160, soft_wrap=True)
    started = time.monotonic()
    contracts, model = all_mutants(project)
    reasons = read_reasons(reviewed, {item.id: item for item in (*contracts, *model)})
    chosen = choose(contracts, model, only, everything, seed)
    console.print(
        f"{len(chosen):,} of {len(contracts):,} mutants of the contracts and {len(model):,} of the "
        "model",
        highlight=False,
    )
    runner = Runner(project, seed, float(seconds), processes, _Progress(console))
    interrupted = False
    try:
        with ended_as_interrupted():  # no process is left, nothing is lost
            entries = runner.run(chosen, _short_hunts(reasons, seconds))
    except Unfinished as unfinished:
        entries, interrupted = unfinished.entries, True
    summary = Summary(entries, reasons)
    summary.show(console)
    took = time.monotonic() - started
    console.print(f"{took:.0f} s in all", highlight=False)
    if report:
        about = {"seed": seed, "seconds_allowed": seconds, "seconds": round(took, 1)}
        write_report(report, {**about, "interrupted": interrupted, **summary.as_json()})
    if interrupted:
        console.print("interrupted: the same command goes on from here", highlight=False)
        return 130
    return 0 if summary.is_clean else 1


def _short_hunts(reasons: Mapping[str, str], seconds: int) -> dict[str, float]:
    return dict.fromkeys(reasons, min(EQUIVALENT_SECONDS, float(seconds)))


def mutants_command(build: Callable[[], Project], reviewed: Path) -> click.Command:
    """The command for a project; `reviewed` is the file of reasons."""

    def callback(
        only: str | None,
        everything: bool,
        seed: int,
        limit: int,
        processes: int,
        report: str | None,
    ) -> None:
        if report:
            check_writable(report)
        code = run(
            build(),
            reviewed,
            only=only,
            everything=everything,
            seed=seed,
            seconds=limit,
            processes=processes,
            report=report,
        )
        raise SystemExit(code)

    options: list[click.Parameter] = [
        click.Option(["--only"], help="Ids, files or operators, separated by commas."),
        click.Option(["--all", "everything"], is_flag=True, help="Every mutant, not a sample."),
        click.Option(
            ["--seed"],
            type=Whole(0),
            default=1,
            show_default=True,
            help="Of the sample and of the campaigns.",
        ),
        click.Option(
            ["--limit"],
            type=Whole(1),
            default=SECONDS,
            show_default=True,
            help="Seconds in which a mutant must be killed, without compilation.",
        ),
        click.Option(
            ["--processes"],
            type=Whole(1),
            default=os.cpu_count() or 1,
            show_default="number of cores",
            help="Mutants to compile or hunt at a time.",
        ),
        click.Option(["--report"], type=click.Path(), help="Write everything to this JSON file."),
    ]
    text = (
        "Change contracts and model in many small ways, each alone, and show that a campaign "
        "notices. An interrupted run goes on where it was."
        "\n\n\b\nExamples:\n  make mutants\n  make mutants ONLY=LiquidityPool\n"
        "  make mutants ALL=1 REPORT=mutants.json"
        "\n\nExit codes: 0 every mutant killed or argued, 1 one survived or a reason is refuted, "
        "2 bad input, 130 Ctrl-C."
    )
    return FuzzCommand("mutants", callback=callback, params=options, help=text)

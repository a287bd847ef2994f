"""`planted`: plants each known bug in turn and shows what catches it, after how many steps.

Exit codes: 0 every bug was caught, 1 one survived or could not be run, 2 bad input, 130 Ctrl-C.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from lockstep.adapter import Config
from lockstep.campaign import Plan, run_campaign
from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from lockstep.mutation.processes import each
from lockstep.report import check_writable, write_report
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.deployment import compile_contracts
from perp_fuzz.planted import BUGS, Bug, check_texts, choose, planted

STEPS = 100_000
LENGTH = 20_000
SHOWN = 64  # characters of what differed

CAUGHT, SURVIVED, ERROR = "caught", "survived", "error"


class Verdict(NamedTuple):
    """What became of one bug."""

    id: str
    outcome: str
    kind: str = ""  # of the divergence, or of the error
    text: str = ""
    chain: int = -1
    steps: int = 0  # over all chains, the failing step included
    seconds: float = 0.0


def hunt(bug: Bug, configs: Sequence[Config], steps: int, seed: int) -> Verdict:
    """Plants the bug and runs a campaign up to its first divergence."""
    started = time.monotonic()
    try:
        with planted(bug) as overrides:
            plan = Plan(PerpAdapter(overrides=overrides), steps, seed, configs, length=LENGTH)
            found = run_campaign(plan).divergence
    except InputError:
        raise
    except Exception as error:  # it does not compile or deploy, or the generator crashed
        text = f"{type(error).__name__}: {error}"
        return Verdict(bug.id, ERROR, "error", text, seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    if found is None:
        return Verdict(bug.id, SURVIVED, steps=steps, seconds=seconds)
    done = found.chain * LENGTH + len(found.steps)
    return Verdict(bug.id, CAUGHT, found.kind, found.text, found.chain, done, seconds)


def hunt_all(
    bugs: Sequence[Bug],
    configs: Sequence[Config],
    steps: int,
    seed: int,
    processes: int,
    tell: Callable[[str], None],
) -> tuple[list[Verdict], bool]:
    """Every bug in a process of its own, `processes` at a time; whether Ctrl-C ended it early."""
    verdicts: dict[str, Verdict] = {}
    interrupted = False

    def idle(running: list[Bug]) -> None:
        tell(f"still at {', '.join(bug.id for bug in running)}")

    try:
        for done in each(bugs, lambda bug: hunt(bug, configs, steps, seed), processes, idle=idle):
            bug = done.item
            text = "its process died without a report"
            verdicts[bug.id] = done.value or Verdict(bug.id, ERROR, "error", text)
            tell(f"{len(verdicts)} of {len(bugs)}: {_sentence(verdicts[bug.id])}")
    except KeyboardInterrupt:
        interrupted = True
    return [verdicts[bug.id] for bug in bugs if bug.id in verdicts], interrupted


def run(
    bugs: Sequence[Bug],
    configs: Sequence[Config],
    steps: int,
    seed: int,
    processes: int,
    report: str | None,
) -> int:
    """Hunt the bugs, show and save the table; the exit code."""
    check_texts(bugs)
    compile_contracts()  # so that no bug is charged with what they all need
    console = Console(soft_wrap=True)

    def tell(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    started = time.monotonic()
    verdicts, interrupted = hunt_all(bugs, configs, steps, seed, processes, tell)
    seconds = time.monotonic() - started
    _print_table(bugs, verdicts)
    count = {
        name: sum(verdict.outcome == name for verdict in verdicts)
        for name in (CAUGHT, SURVIVED, ERROR)
    }
    if report:
        write_report(
            report, _as_json(bugs, verdicts, steps, seed, seconds, interrupted) | {"count": count}
        )
    tell(
        f"{count[CAUGHT]} of {len(bugs)} bugs caught, {count[SURVIVED]} survived "
        f"{steps:,} steps, {count[ERROR]} could not be run; {seconds:.0f} s"
    )
    for verdict in verdicts:
        if verdict.outcome != CAUGHT:
            tell(_sentence(verdict))
    if interrupted:
        tell("interrupted: the table covers what was done")
        return 130
    return 0 if count[CAUGHT] == len(bugs) else 1


def _sentence(verdict: Verdict) -> str:
    if verdict.outcome == ERROR:
        return f"{verdict.id} could not be run: {_brief(verdict.text, 400)}"
    if verdict.outcome == SURVIVED:
        return f"{verdict.id} SURVIVED {verdict.steps:,} steps in {verdict.seconds:.1f} s"
    return (
        f"{verdict.id} caught after {verdict.steps:,} steps in {verdict.seconds:.1f} s: "
        f"{verdict.kind}"
    )


def _print_table(bugs: Sequence[Bug], verdicts: Sequence[Verdict]) -> None:
    table = Table("bug", "where", "edge", "caught by", title="planted bugs", title_justify="left")
    for column in ("chain", "steps", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    by_id = {bug.id: bug for bug in bugs}
    for verdict in verdicts:
        bug = by_id[verdict.id]
        caught = f"{verdict.kind}: {_brief(verdict.text)}" if verdict.kind else "SURVIVED"
        table.add_row(
            f"{bug.id}\n  {bug.sentence}",
            bug.where,
            "edge" if bug.is_edge else "",
            caught,
            str(verdict.chain) if verdict.outcome == CAUGHT else "",
            f"{verdict.steps:,}" if verdict.outcome != ERROR else "",
            f"{verdict.seconds:.1f}",
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table, highlight=False, markup=False)


# What the kind, told before it, says already.
_TOLD = re.compile(
    r"storage of 0x\w+: |events differ: |invariant [\w-]+ |return value: |revert reason: "
    r"|the contract succeeds, |the model succeeds, the contract "
)


def _brief(text: str, length: int = SHOWN) -> str:
    """The beginning of what differed, in one line."""
    plain = _TOLD.sub("", " ".join(text.split()))
    return plain if len(plain) <= length else plain[: length - 2] + ".."


def _as_json(
    bugs: Sequence[Bug],
    verdicts: Sequence[Verdict],
    steps: int,
    seed: int,
    seconds: float,
    interrupted: bool,
) -> dict[str, Any]:
    by_id = {bug.id: bug for bug in bugs}
    return {
        "steps": steps,
        "seed": seed,
        "seconds": round(seconds, 3),
        "interrupted": interrupted,
        "bugs": [
            {
                "id": verdict.id,
                "files": by_id[verdict.id].files,
                "where": by_id[verdict.id].where,
                "category": by_id[verdict.id].category,
                "sentence": by_id[verdict.id].sentence,
                "is_edge": by_id[verdict.id].is_edge,
                "outcome": verdict.outcome,
                "kind": verdict.kind,
                "text": verdict.text,
                "chain": verdict.chain,
                "steps": verdict.steps,
                "seconds": round(verdict.seconds, 3),
            }
            for verdict in verdicts
        ],
    }


def planted_command(configs: Sequence[Config], bugs: Sequence[Bug] = BUGS) -> click.Command:
    """The command, on the deployments that the chains of a campaign take in turn."""

    def callback(
        only: str | None, steps: int, seed: int, processes: int, report: str | None
    ) -> None:
        chosen = list(bugs)
        if only is not None:
            chosen = choose([name.strip() for name in only.split(",") if name.strip()], bugs)
            if not chosen:
                raise InputError("ONLY names no bug; leave it out to run them all")
        if report:
            check_writable(report)
        raise SystemExit(run(chosen, configs, steps, seed, processes, report))

    cores = os.cpu_count() or 1
    options: list[click.Parameter] = [
        click.Option(["--only"], help="Ids of the bugs to plant, separated by commas."),
        click.Option(
            ["--steps"],
            type=Whole(1),
            default=STEPS,
            show_default=True,
            help="Steps within which a bug must be caught.",
        ),
        click.Option(
            ["--seed"],
            type=Whole(0),
            default=1,
            show_default=True,
            help="The same seed repeats the same campaigns.",
        ),
        click.Option(
            ["--processes"],
            type=Whole(1),
            default=cores,
            show_default="number of cores",
            help="Bugs to hunt at a time.",
        ),
        click.Option(["--report"], type=click.Path(), help="Write the table to this JSON file."),
    ]
    text = (
        "Plant each known bug in a copy of the contracts, of the model or of both, and show what "
        "catches it, after how many steps."
        "\n\n\b\nExamples:\n  make planted\n  make planted ONLY=liquidation-rule,fee-down SEED=7"
        "\n\nExit codes: 0 all caught, 1 one survived or could not be run, 2 bad input, "
        "130 Ctrl-C."
    )
    return FuzzCommand("planted", callback=callback, params=options, help=text)

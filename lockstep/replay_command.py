"""A command that replays a case, or a corpus drawn anew, on several engines.

Exit codes: 0 all agree, 1 something differs, 2 bad input or an engine that is not there,
130 Ctrl-C.
"""

import re
from collections.abc import Callable, Sequence

import click
from rich.console import Console

from lockstep.adapter import Adapter, Config
from lockstep.campaign import Plan
from lockstep.case import Case, read_case
from lockstep.cli import FuzzCommand, Whole
from lockstep.engines.base import ENGINES, EngineError
from lockstep.progress import StepProgress
from lockstep.replay import Chain, Difference, Tally, replay
from lockstep.story import numbered, tell

STEPS, LENGTH = 5_000, 1_000
TOLD = 200  # steps of a case up to which its whole story is told
TAIL = 12  # steps told otherwise, up to the difference
_SPEC = re.compile(r"(\d+):(\d[\d_,]*)")


def replay_command(
    adapter: Adapter, configs: Sequence[Config], name: str = "replay"
) -> click.Command:
    """The command for an adapter; chains of a corpus take the configs in turn."""

    def callback(case: str | None, steps: int, seed: int, length: int, engine: str | None) -> None:
        console = Console(soft_wrap=True)
        engines, missing = available([engine] if engine else list(ENGINES))
        given, chains = None, corpus(adapter, configs, steps, seed, length)
        if case is not None and (match := _SPEC.fullmatch(case)):
            count = int(re.sub("[_,]", "", match[2]))
            chains = corpus(adapter, configs, count, int(match[1]), length)
        elif case is not None:
            given = read_case(case, adapter)
            chains = [Chain(given.config, len(given.steps), given.steps)]
        raise SystemExit(run(adapter, chains, engines, missing, given, console))

    options: list[click.Parameter] = [
        click.Option(
            ["--case"], help="A case file, a regression test, or SEED:STEPS for steps drawn anew."
        ),
        click.Option(
            ["--steps"], type=Whole(1), default=STEPS, show_default=True, help="Steps to draw."
        ),
        click.Option(
            ["--seed"],
            type=Whole(0),
            default=1,
            show_default=True,
            help="The same seed draws the same steps.",
        ),
        click.Option(
            ["--length"],
            type=Whole(1),
            default=LENGTH,
            show_default=True,
            help="Steps between two fresh deployments.",
        ),
        click.Option(
            ["--engine"],
            type=click.Choice(ENGINES),
            help="One engine beside the model; without it all of them.",
        ),
    ]
    text = (
        "Run the same steps on every engine beside the model and compare outcomes, reasons, return "
        "values, events and the final state; tell the story of a case."
        "\n\n\b\nExamples:"
        "\n  make replay CASE=tests/regressions/test_events_0123abcd.py"
        "\n  make replay CASE=7:1000 ENGINE=pyevm"
        "\n  make replay STEPS=5000 SEED=1"
        "\n\nExit codes: 0 all agree, 1 something differs, 2 bad input or an engine that is not "
        "there, 130 Ctrl-C."
    )
    return FuzzCommand(name, callback=callback, params=options, help=text)


def available(names: Sequence[str]) -> tuple[list[str], str]:
    """The engines that can be had, and why one cannot."""
    if "anvil" not in names:
        return list(names), ""
    from lockstep.engines.anvil import find_anvil

    try:
        find_anvil()
    except EngineError as error:
        others = [name for name in names if name != "anvil"]
        if not others:
            raise
        return others, str(error)
    return list(names), ""


def corpus(
    adapter: Adapter, configs: Sequence[Config], steps: int, seed: int, length: int
) -> list[Chain]:
    """The chains of a campaign with this seed."""
    chains = Plan(adapter, steps, seed, configs, length=length).chains()
    return [Chain(chain.config, chain.steps) for chain in chains]


def run(
    adapter: Adapter,
    chains: Sequence[Chain],
    engines: Sequence[str],
    missing: str,
    case: Case | None,
    console: Console,
) -> int:
    """Replay and say what came of it; the exit code."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    tally, found, is_interrupted = Tally(list(engines)), None, False
    total = sum(chain.length for chain in chains)
    if missing:
        say(f"without anvil: {missing}")
    try:
        with StepProgress(total, console) as progress:
            found = replay(adapter, chains, engines, tally, progress.tick)
    except KeyboardInterrupt:
        is_interrupted = True
    if case is not None and len(case.steps) <= TOLD:
        say(numbered(tell(adapter, case.config, case.steps, engines[0])))
        say("")
    say(_figures(tally))
    if case is not None and case.kind:
        say(f"found when the case was written: {case.text}")
    if found is not None:
        _say_difference(adapter, found, case is None or len(case.steps) > TOLD, engines[0], say)
        return 1
    if is_interrupted:
        say("interrupted: what was compared so far agrees")
        return 130
    say(f"{' and '.join(engines)} agree with each other and with the model")
    if missing:
        say(f"not compared with anvil: {missing}")
        return 2
    return 0


def _figures(tally: Tally) -> str:
    digest = tally.digest.hexdigest()[:16]
    reasons = len(tally.reasons)
    return (
        f"{tally.steps:,} steps in {tally.chains:,} finished chains on {', '.join(tally.engines)}: "
        f"{tally.succeeded:,} succeeded, {tally.reverted:,} reverted for {reasons} reasons, "
        f"{tally.halted:,} halted; {tally.events:,} events, {tally.words:,} words of final state "
        f"and {tally.views:,} views equal; digest {digest}"
    )


def _say_difference(
    adapter: Adapter, found: Difference, is_told: bool, engine: str, say: Callable[[str], None]
) -> None:
    if is_told:
        first = max(len(found.steps) - TAIL, 0)
        say(numbered(tell(adapter, found.config, found.steps, engine)[first:], first + 1))
    where = f"step {found.step:,}" if found.step else "the end"
    say(f"DIFFERENCE at {where} of chain {found.chain} between {found.who}: {found.text}")

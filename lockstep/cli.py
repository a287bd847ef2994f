"""A fuzzing command for an adapter: options, progress, report, exit code.

Exit codes: 0 agreement, 1 a divergence or a broken invariant, 2 bad input, 130 Ctrl-C.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from lockstep.adapter import Adapter, Config
from lockstep.campaign import LENGTH, Divergence, Plan, investigate, run_campaign
from lockstep.corpus import Corpus
from lockstep.distil import keep_rare
from lockstep.engines.base import ENGINES, EngineError
from lockstep.errors import InputError
from lockstep.prices import parse_time, read_bars
from lockstep.progress import StepProgress
from lockstep.report import print_summary, report_paths, write_reports
from lockstep.report.summary import campaign_summary, source_texts
from lockstep.tally import Tally
from lockstep.workers import cores

DISTIL_SECONDS = 10.0  # at the end of a campaign, for what it found
Build = Callable[[dict[str, Any]], tuple[Adapter, Sequence[Config]]]


class Whole(click.ParamType):
    """A whole number of at least `least`; underscores and commas may group the digits."""

    name = "number"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        digits = str(value).replace(",", "").replace("_", "")
        number = int(digits) if digits.isascii() and digits.isdigit() else -1
        if number < self.least:
            self.fail(f"{value!r} is no whole number of at least {self.least}; try 100_000")
        return number


class Seeds(click.ParamType):
    """A seed, or a range of them: 7 or 1..20, both ends included."""

    name = "seed"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """First seed and number of seeds."""
        if isinstance(value, tuple):
            return value
        first, dots, last = str(value).partition("..")
        whole = Whole(0)
        start = whole.convert(first, param, ctx)
        end = whole.convert(last, param, ctx) if dots else start
        if end < start:
            self.fail(f"{value!r} is a range from its end: write {end}..{start}")
        return start, end - start + 1


class OneLineError(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.format_message()}", err=True)


class FuzzCommand(click.Command):
    """A command whose usage errors are one line, also when it runs inside another program."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            self._one_line(error)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.UsageError, InputError, EngineError) as error:
            self._one_line(error)

    def _one_line(self, error: Exception) -> NoReturn:
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        if isinstance(error, click.UsageError) and not isinstance(error, click.BadParameter):
            text += " See --help."
        raise OneLineError(" ".join(text.split())) from None


def open_corpus(adapter: Adapter, given: Path | None, chosen: str | None) -> Corpus | None:
    """The entries `given` with an adapter and those of the `chosen` folder, which takes more."""
    if chosen == "none":
        return None
    folders = [] if given is None else [given]
    return Corpus(adapter, folders, Path(chosen) if chosen else None)


def fuzz_command(
    build: Build,
    *,
    name: str = "fuzz",
    about: str,
    examples: Sequence[str] = (),
    options: Sequence[click.Option] = (),
    directory: str = "tests/regressions",
    default_steps: int = 100_000,
    default_length: int = LENGTH,
    corpus: Path | None = None,
) -> click.Command:
    """The command. `build` gets all option values, "bars" (the bars of --prices, or None) among
    them, and returns the adapter and its configs, which the chains of the campaign take in turn.
    `corpus` is a folder of entries that come with the adapter.
    """

    def run(**values: Any) -> None:
        for edge in ("start", "end"):
            if values[edge]:
                parse_time(values[edge])
        values["bars"] = None
        if values["prices"]:
            values["bars"] = read_bars(values["prices"], values["start"], values["end"])
        reports = report_paths(values["report"])
        adapter, configs = build(values)
        seed, seeds = values["seed"]
        plan = Plan(
            adapter,
            values["steps"],
            seed,
            configs,
            values["engine"],
            values["length"],
            seeds=seeds,
            coverage=values["coverage"],
            corpus=open_corpus(adapter, corpus, values["corpus"]),
        )
        processes, cluster = values["processes"] or cores(), values["cluster"]
        raise SystemExit(fuzz(plan, processes, reports, directory, cluster))

    common = [
        option("steps", Whole(1), "Steps of a seed; 100_000 is the same as 100000.", default_steps),
        option(
            "seed", Seeds(), "The same seed repeats the same campaign; 1..20 is 20 of them.", "1"
        ),
        option("prices", click.Path(), "CSV or .gz with columns ts,open,high,low,close."),
        option("start", str, "First moment of the prices: 2020-03-12 or a unix time."),
        option("end", str, "The moment the prices end (itself not included)."),
        click.Option(
            ["--report"],
            multiple=True,
            metavar="FILE[,FILE]",
            help="Write a page (.html), JUnit (.xml) or all figures (.json); several with commas.",
        ),
        option("engine", click.Choice(ENGINES), "EVM to run the contracts on.", "revm"),
        option("length", Whole(1), "Steps between two fresh deployments.", default_length),
        option("coverage", bool, "Record which lines and branches of the contracts ran.", True),
        option(
            "corpus",
            click.Path(),
            "Folder of short stories that reach rare states: the campaign starts from them and "
            "adds to them. Without it, from those that come with the protocol; none: from nothing.",
        ),
        option("processes", Whole(1), "Processes to share the work; one per core if not given."),
        option("cluster", str, "Address of a Dask scheduler whose workers do the work."),
    ]
    shown = "".join(f"\n  {line}" for line in examples)
    text = f"{about}\n\n\b\nExamples:{shown}" if examples else about
    text += (
        "\n\nExit codes: 0 agreement, 1 divergence or broken invariant, 2 bad input, 130 Ctrl-C."
    )
    return FuzzCommand(name, callback=run, params=[*common, *options], help=text)


def option(name: str, kind: Any, text: str, default: Any = None) -> click.Option:
    """`--name`, with its default in the help if it has one."""
    shown = default is not None
    return click.Option([f"--{name}"], type=kind, default=default, help=text, show_default=shown)


def fuzz(
    plan: Plan,
    processes: int,
    reports: Sequence[Path],
    directory: str,
    cluster: str | None = None,
) -> int:
    """Run the plan, show and save what it exercised; the exit code."""
    console = Console()
    began = time.time()
    with StepProgress(plan.steps * plan.seeds, console) as progress:
        result = run_campaign(plan, processes, progress.tick, cluster)
    found = result.divergence
    if found is not None:
        told = f"{found.kind} in chain {found.chain} after {len(found.steps):,} steps; shrinking"
        console.print(told, highlight=False, markup=False)
        try:
            found = investigate(plan.adapter, found, directory=directory)
        except KeyboardInterrupt:
            console.print("shrinking stopped; the steps are reported as they were found")
    summary = campaign_summary(plan, processes, result, found, began)
    print_summary(summary, console)
    if found is not None:
        _tell(found, console)
    write_reports(reports, summary, source_texts(plan.adapter, summary) if reports else {})
    if found is not None:
        return 1
    if plan.corpus is not None and not result.interrupted:
        _keep(plan, result.tally, console)
    if result.interrupted:
        console.print("interrupted: the figures cover what was done")
        return 130
    console.print("no divergence")
    return 0


def _keep(plan: Plan, tally: Tally, console: Console) -> None:
    """Shorten what was found for the corpus; what there is no time for waits in its folder."""
    assert plan.corpus is not None
    if plan.corpus.keep is None:
        return
    with suppress(KeyboardInterrupt):
        made = keep_rare(plan.adapter, plan.corpus, tally, DISTIL_SECONDS)
        told = f"corpus {plan.corpus.keep}: {len(made):,} entries added"
        console.print(told, highlight=False, markup=False)


def _tell(found: Divergence, console: Console) -> None:
    lines = [f"DIVERGENCE ({found.kind}): {found.text}"]
    if found.regression:
        lines.append(f"shrunk to {len(found.steps)} steps; run it again with")
        lines.append(f"  python -m pytest {found.regression}")
    if found.case:
        lines.append(f"as a case, to be replayed on other engines: {found.case}")
    console.print("\n".join(lines), highlight=False, markup=False)

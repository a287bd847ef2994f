"""`make gas`: measures every action and compares with the snapshot, or records it."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from lockstep.cli import FuzzCommand
from lockstep.errors import InputError
from lockstep.regression import write_whole
from lockstep.report import check_writable
from perp_fuzz.deployment import ROOT

Record = dict[str, int]  # "gas" and its parts

SNAPSHOT = ROOT / "tests/snapshots/gas.json"
DOCUMENT = ROOT / "docs/gas.md"
MARKS = ("<!-- recorded by make gas UPDATE=1 -->\n", "<!-- end of the record -->\n")
UPDATE_HINT = "record it with make gas UPDATE=1"


def read_snapshot(path: Path) -> dict[str, Record]:
    """Row by name."""
    try:
        rows = json.loads(path.read_text())
        good = all(isinstance(row["gas"], int) for row in rows.values())
    except FileNotFoundError:
        raise InputError(f"{path}: there is no snapshot; {UPDATE_HINT}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        good = False
    if not good:
        raise InputError(f"{path}: not a snapshot of gas; {UPDATE_HINT}")
    found: dict[str, Record] = rows
    return found


def document_with(rows: dict[str, Record], limits: dict[str, int | None], text: str) -> str:
    """The document with its table replaced."""
    begin, end = MARKS
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    if not opening or not closing:
        raise InputError(f"{DOCUMENT}: its table is not between {begin.strip()} and {end.strip()}")
    return before + begin + markdown(rows, limits) + end + after


def markdown(rows: dict[str, Record], limits: dict[str, int | None]) -> str:
    """The rows and their parts as a table."""
    parts = list(next(iter(rows.values()))) if rows else ["gas"]
    heading = ["scenario", "gas", "limit", *parts[1:]]
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)]]
    for name, row in rows.items():
        limit = limits[name]
        shown = [f"{row[part]:,}" if part in row else "" for part in parts]
        lines.append([name, shown[0], "" if limit is None else f"{limit:,}", *shown[1:]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def problems(
    rows: dict[str, Record], recorded: dict[str, Record], limits: dict[str, int | None]
) -> list[str]:
    """What is wrong, a line each."""
    found = []
    for name in sorted(rows.keys() ^ recorded.keys()):
        what = "not in the snapshot" if name in rows else "in the snapshot only"
        found.append(f"{name}: {what}")
    for name, row in rows.items():
        limit = limits[name]
        if limit is not None and row["gas"] > limit:
            found.append(f"{name}: {row['gas']:,} gas is over the limit of {limit:,}")
        old = recorded.get(name, row)
        if row["gas"] != old["gas"]:
            found.append(f"{name}: {row['gas']:,} gas, recorded are {old['gas']:,}")
        elif row != old:
            found.append(f"{name}: the same gas, paid for other things than recorded")
    return found


def show(
    rows: dict[str, Record], recorded: dict[str, Record], limits: dict[str, int | None]
) -> None:
    width = max(map(len, rows))
    click.echo(f"{'scenario':<{width}} {'gas':>10} {'recorded':>10} {'change':>9} {'limit':>8}")
    for name, row in rows.items():
        gas, limit = row["gas"], limits[name]
        old = recorded[name]["gas"] if name in recorded else None
        cells = [
            f"{gas:>10,}",
            f"{'-' if old is None else f'{old:,}':>10}",
            f"{'-' if old is None else f'{gas - old:+,}' if gas != old else '0':>9}",
            f"{'-' if limit is None else f'{limit:,}':>8}",
        ]
        over = limit is not None and gas > limit
        click.echo(f"{name:<{width}} {' '.join(cells)}{'  OVER' if over else ''}")


def run(update: bool) -> int:
    """Measures all; the exit code."""
    # Imported late: py-evm takes a second to load, and only this command needs it.
    from perp_fuzz.gas import GROUPS, limit_of, measure

    recorded: dict[str, Record] = {}
    text = ""
    if update:
        for path in (SNAPSHOT, DOCUMENT):
            check_writable(path)
        try:
            text = DOCUMENT.read_text()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{DOCUMENT}: {reason}; the table goes in there") from None
        document_with({}, {}, text)
    else:
        recorded = read_snapshot(SNAPSHOT)
    console = Console(stderr=True)
    with console.status("measuring on py-evm") as status:
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            status.update(f"measuring on py-evm: {done} of {len(GROUPS)} groups")

        usages = measure(list(GROUPS), tick)
    rows: dict[str, Record] = {name: {"gas": use.gas, **use.parts} for name, use in usages.items()}
    limits = {name: limit_of(name, usages) for name in rows}
    if update:
        try:
            write_whole(SNAPSHOT, json.dumps(rows, indent=1) + "\n")
            write_whole(DOCUMENT, document_with(rows, limits, text))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{error.filename}: {reason}; the figures were not recorded") from None
        recorded = rows
    show(rows, recorded, limits)
    found = problems(rows, recorded, limits)
    for problem in found:
        click.echo(problem, err=True)
    if not found:
        click.echo("recorded" if update else "as recorded, within the limits")
    return 1 if found else 0


def gas_command() -> click.Command:
    def callback(**values: Any) -> None:
        raise SystemExit(run(values["update"]))

    text = (
        "Measure the gas of every action, each as a transaction of its own on py-evm, and compare "
        "it with tests/snapshots/gas.json and the limits."
        "\n\n\b\nExamples:\n  make gas\n  make gas UPDATE=1"
        "\n\nExit codes: 0 as recorded, 1 another figure or one over its limit, 2 bad input."
    )
    option = click.Option(
        ["--update"], is_flag=True, help="Record the figures, in docs/gas.md too."
    )
    return FuzzCommand("gas", callback=callback, params=[option], help=text)

"""What a campaign exercised, shown as tables and saved as JSON."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lockstep.errors import InputError
from lockstep.regression import write_whole


def render(summary: dict[str, Any]) -> Group:
    """The summary as tables."""
    actions = Table("action", title=summary.get("title", "campaign"), title_justify="left")
    for column in ("steps", "share", "success"):
        actions.add_column(column, justify="right")
    actions.add_column("reverts")
    for name, entry in summary["actions"].items():
        reverts = sorted(entry["reverts"].items(), key=lambda item: -item[1])
        actions.add_row(
            name,
            f"{entry['steps']:,}",
            f"{entry['share']:.1%}",
            f"{entry['success_share']:.1%}",
            "\n".join(f"{reason}  {count / entry['steps']:.1%}" for reason, count in reverts),
        )
    facts = Table("", "", show_header=False)
    for name, entry in summary["aims"].items():
        facts.add_row(
            f"aimed {name}", f"{entry['share']:.1%} of steps, {entry['success_share']:.1%} succeed"
        )
    facts.add_row("succeed as state change", f"{summary['state_changing_share']:.1%} of steps")
    for name, value in summary["statistics"].items():
        facts.add_row(name, f"{value:,}")
    facts.add_row("whole-state comparisons", f"{summary['whole_state_comparisons']:,}")
    for name, entry in summary["invariants"].items():
        facts.add_row(f"{name} checked", f"{entry['checked']:,}  {entry['sentence']}")
    speed = Text(
        f"{summary['steps']:,} steps in {summary['chains']:,} chains, {summary['seconds']:.1f} s, "
        f"{summary['steps_per_second']:,} steps/s"
    )
    return Group(actions, facts, speed)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    console.print(render(summary), highlight=False, markup=False)


def check_writable(path: str | Path) -> None:
    """Fail before the campaign, not after it, if the report cannot be written."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"report {path}: is a directory; name a file in it")
    parent = target.parent
    if not parent.is_dir():
        raise InputError(f"report {path}: no directory {parent}; create it or choose another path")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"report {path}: not writable; change its permissions or the path")
    try:
        handle, name = tempfile.mkstemp(dir=parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"report {path}: {reason} in {parent}; choose another path") from None
    os.close(handle)
    os.unlink(name)


def write_report(path: str | Path, summary: dict[str, Any]) -> None:
    write_whole(path, json.dumps(summary, indent=2) + "\n")

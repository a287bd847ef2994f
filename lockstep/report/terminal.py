"""What a campaign exercised, as tables on a terminal."""

from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lockstep.guidance import SIDES


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
    sides = Table("steps at a boundary")
    for side in SIDES:
        sides.add_column(side, justify="right")
    for name, counts in summary["boundaries"].items():
        sides.add_row(name, *(f"{counts[side]:,}" for side in SIDES))
    corpus = summary["corpus"]
    if corpus["entries"]:
        facts.add_row("corpus", f"{corpus['digest']}, {corpus['entries']:,} entries")
        facts.add_row("chains begun from it", f"{corpus['chains']:,}")
    speed = Text(
        f"{summary['steps']:,} steps in {summary['chains']:,} chains, {summary['seconds']:.1f} s, "
        f"{summary['steps_per_second']:,} steps/s"
    )
    tables = (actions, sides, facts) if summary["boundaries"] else (actions, facts)
    return Group(*tables, speed)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    console.print(render(summary), highlight=False, markup=False)

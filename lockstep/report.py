"""What a campaign exercised: counted as it goes, shown as a table, saved as JSON."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lockstep.adapter import Adapter
from lockstep.checker import Checker
from lockstep.errors import InputError
from lockstep.regression import write_whole

Key = tuple[str, str, bool, bool, str]  # action, aim, succeeded, changed state, revert reason


class Tally:
    """Counts of one campaign; those of several processes can be merged."""

    def __init__(self, adapter: Adapter) -> None:
        self.counts: dict[Key, int] = {}
        self.actions = list(adapter.actions)
        self.sentences = {item.id: item.sentence for item in adapter.invariants}
        self.checked = dict.fromkeys(self.sentences, 0)
        self.statistics: dict[str, int] = {}
        self.chains = 0
        self.wholes = 0
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        return sum(self.counts.values())

    def add_twin(self, checker: Checker) -> None:
        self.chains += 1
        self.wholes += checker.wholes
        for name, count in checker.invariants_checked().items():
            self.checked[name] += count
        self._add_statistics(checker.twin.statistics())

    def _add_statistics(self, statistics: dict[str, int]) -> None:
        for name, value in statistics.items():
            old = self.statistics.get(name, 0)
            self.statistics[name] = max(old, value) if name.startswith("largest") else old + value

    def merge(self, other: "Tally") -> None:
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
        for name, count in other.checked.items():
            self.checked[name] += count
        self._add_statistics(other.statistics)
        self.chains += other.chains
        self.wholes += other.wholes

    def summary(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        steps = self.steps
        actions: dict[str, Any] = {
            name: {"steps": 0, "succeeded": 0, "reverts": {}} for name in self.actions
        }
        aims: dict[str, Any] = {}
        changed = 0
        for (name, aim, ok, changes, reason), count in sorted(self.counts.items()):
            action = actions.setdefault(name, {"steps": 0, "succeeded": 0, "reverts": {}})
            aimed = aims.setdefault(aim, {"steps": 0, "succeeded": 0})
            action["steps"] += count
            aimed["steps"] += count
            if ok:
                action["succeeded"] += count
                aimed["succeeded"] += count
                changed += count if changes else 0
            else:
                reverts = action["reverts"]
                reverts[reason or "no reason"] = reverts.get(reason or "no reason", 0) + count
        for group in (actions, aims):
            for entry in group.values():
                entry["share"] = _share(entry["steps"], steps)
                entry["success_share"] = _share(entry["succeeded"], entry["steps"])
        return {
            "steps": steps,
            "chains": self.chains,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(steps / self.seconds) if self.seconds else 0,
            "state_changing_share": _share(changed, steps),
            "actions": actions,
            "aims": aims,
            "statistics": self.statistics,
            "whole_state_comparisons": self.wholes,
            "invariants": {
                name: {"sentence": self.sentences[name], "checked": count}
                for name, count in self.checked.items()
            },
        }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


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

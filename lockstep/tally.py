"""What a campaign counted: cheap to keep, picklable, and those of several processes add up."""

from typing import Any

from lockstep.adapter import Adapter
from lockstep.checker import Checker

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

"""The outcome of a run: by operator and by file, the survivors one by one."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from lockstep.mutation.hunt import KILLED, SURVIVED
from lockstep.mutation.mutants import OPERATORS
from lockstep.mutation.runner import DUPLICATE, INVALID, SAME, Entry

EQUIVALENT = "equivalent"  # survived, and a person says why
COLUMNS = (KILLED, SURVIVED, EQUIVALENT, INVALID, DUPLICATE, SAME)


class Summary:
    """What is to be said about the entries, with a person's reasons by id."""

    def __init__(self, entries: Sequence[Entry], reasons: Mapping[str, str]) -> None:
        self.entries = entries
        self.reasons = reasons
        self.count = Counter(self.outcome(entry) for entry in entries)
        self.killed = [entry for entry in entries if self.outcome(entry) == KILLED]
        self.survivors = [entry for entry in entries if self.outcome(entry) == SURVIVED]
        # A reason for what a campaign does notice is wrong, whatever it says.
        self.refuted = [entry for entry in self.killed if entry.mutant.id in reasons]

    def outcome(self, entry: Entry) -> str:
        if entry.outcome == SURVIVED and entry.mutant.id in self.reasons:
            return EQUIVALENT
        return entry.outcome

    @property
    def is_clean(self) -> bool:
        return not self.survivors and not self.refuted

    @property
    def unique(self) -> int:
        """Mutants that compile to something of their own."""
        return sum(self.count[name] for name in (KILLED, SURVIVED, EQUIVALENT))

    @property
    def kill_share(self) -> float:
        """Of those that are not equivalent."""
        hunted = self.count[KILLED] + self.count[SURVIVED]
        return self.count[KILLED] / hunted if hunted else 1.0

    @property
    def invalid_share(self) -> float:
        return self.count[INVALID] / len(self.entries) if self.entries else 0.0

    def seconds(self) -> list[float]:
        return [entry.verdict.seconds for entry in self.killed if entry.verdict]

    def edges(self) -> list[Entry]:
        """Exact edges of guards that were hunted."""
        hunted = (KILLED, SURVIVED)
        return [e for e in self.entries if e.mutant.is_edge and self.outcome(e) in hunted]

    def by(self, key: Callable[[Entry], str]) -> dict[str, Counter[str]]:
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries:
            groups[key(entry)][self.outcome(entry)] += 1
        return groups

    def as_json(self) -> dict[str, Any]:
        times, edges = self.seconds(), self.edges()
        return {
            "count": {name: self.count[name] for name in COLUMNS},
            "mutants": len(self.entries),
            "unique": self.unique,
            "kill_share": round(self.kill_share, 4),
            "invalid_share": round(self.invalid_share, 4),
            "seconds_to_kill": _spread(times),
            "steps_to_kill": _spread([e.verdict.steps for e in self.killed if e.verdict]),
            "edges": {
                "hunted": len(edges),
                "killed": sum(entry.outcome == KILLED for entry in edges),
                "aimed_steps": _spread(
                    [e.verdict.aimed for e in edges if e.verdict and e.outcome == KILLED]
                ),
            },
            "operators": {
                name: dict(count) for name, count in self.by(lambda e: e.mutant.operator).items()
            },
            "files": {
                name: dict(count) for name, count in self.by(lambda e: e.mutant.file).items()
            },
            "entries": [self._entry(entry) for entry in self.entries],
        }

    def _entry(self, entry: Entry) -> dict[str, Any]:
        mutant, verdict = entry.mutant, entry.verdict
        fields: dict[str, Any] = {
            "id": mutant.id,
            "file": mutant.file,
            "line": mutant.line,
            "function": mutant.function,
            "operator": mutant.operator,
            "before": mutant.before,
            "after": mutant.after,
            "is_edge": mutant.is_edge,
            "outcome": self.outcome(entry),
        }
        if entry.text:
            fields["text"] = entry.text
        if mutant.id in self.reasons:
            fields["reason"] = self.reasons[mutant.id]
        if verdict is not None:
            fields |= {
                "found": verdict.kind,
                "difference": verdict.text,
                "seconds": round(verdict.seconds, 3),
                "steps": verdict.steps,
                "aimed": verdict.aimed,
            }
        return fields

    def show(self, console: Console) -> None:
        """Tables, figures, survivors."""
        order = {name: i for i, name in enumerate(OPERATORS)}
        operators = self.by(lambda entry: entry.mutant.operator)
        self._table(console, "operator", sorted(operators.items(), key=lambda x: order[x[0]]))
        self._table(console, "file", sorted(self.by(lambda entry: entry.mutant.file).items()))
        for line in self.sentences():
            console.print(line, highlight=False, markup=False)
        for title, entries in (
            ("survived:", self.survivors),
            ("killed, though a reason says that nothing can tell them apart:", self.refuted),
        ):
            if entries:
                console.print(title, highlight=False, markup=False)
            for entry in entries:
                mutant = entry.mutant
                text = f"{mutant.id} {mutant.where} {mutant.operator}"
                text += f"\n  - {mutant.before}\n  + {mutant.after}"
                console.print(text, highlight=False, markup=False)

    def sentences(self) -> list[str]:
        """The figures in words."""
        times, edges = self.seconds(), self.edges()
        lines = [
            f"{len(self.entries):,} mutants, {self.unique:,} unique: "
            f"{self.count[KILLED]:,} killed, {self.count[SURVIVED]:,} survived, "
            f"{self.count[EQUIVALENT]:,} equivalent by a person's reason; "
            f"{self.kill_share:.1%} of the non-equivalent killed",
            f"{self.count[INVALID]:,} do not compile ({self.invalid_share:.1%}), "
            f"{self.count[DUPLICATE]:,} compile to what another does, {self.count[SAME]:,} to the "
            "original",
        ]
        if times:
            lines.append(
                f"time to kill without compilation: median {median(times):.2f} s, "
                f"most {max(times):.1f} s"
            )
        aimed = [e.verdict.aimed for e in edges if e.verdict and e.outcome == KILLED]
        if aimed:
            lines.append(
                f"exact edges of guards: {len(aimed)} of {len(edges)} killed, after at most "
                f"{max(aimed):,} steps aimed at an edge, median {median(aimed):.0f}"
            )
        return lines

    @staticmethod
    def _table(console: Console, name: str, rows: Sequence[tuple[str, Counter[str]]]) -> None:
        table = Table(name)
        for column in COLUMNS:
            table.add_column(column, justify="right")
        for label, count in rows:
            table.add_row(label, *(str(count[column] or "") for column in COLUMNS))
        console.print(table, highlight=False, markup=False)


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ranked = sorted(values)
    return {
        "median": round(median(ranked), 3),
        "p90": round(ranked[len(ranked) * 9 // 10], 3),
        "most": round(ranked[-1], 3),
    }

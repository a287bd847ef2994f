"""A mutant: one small change of a source file, found by syntax and named so that it stays the same.

The name of a mutant is made of what it changes (file, function, lines, operator, replacement), not
of where that stands, so that what a person has written about it survives changes elsewhere.
"""

import io
import re
import tokenize
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

# Families of changes. An "edge" exchanges a strict comparison and its neighbour.
OPERATORS = (
    "edge",
    "relational",
    "condition",
    "arithmetic",
    "rounding",
    "statement",
    "assertion",
    "arguments",
    "event",
    "constant",
    "variable",
    "storage",
    "field",
    "sender",
    "lock",
)

_CLOSED = re.compile(r"[\w.]+(\(\)|\[[\w.]*\])?")


class Mutant(NamedTuple):
    id: str
    file: str
    function: str  # "" outside of functions
    operator: str
    line: int
    start: int  # characters of the file that are replaced
    end: int
    new: str
    before: str  # the changed lines, in one
    after: str
    is_guard: bool  # within a condition or an assertion

    def apply(self, text: str) -> str:
        """The file with the change made."""
        return text[: self.start] + self.new + text[self.end :]

    @property
    def is_edge(self) -> bool:
        """An exact edge of a guard: only the value on it tells the two apart."""
        return self.is_guard and self.operator == "edge"

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Source:
    """The text of a file, and the mutants collected of it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.function = ""
        self._lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._bare = _without_comments(text, self._starts)
        self._found: dict[tuple[int, int, str], Mutant] = {}
        self._names: Counter[str] = Counter()

    def offset(self, line: int, column: int) -> int:
        """Place in the text of a position as parsers give it: from 1, in bytes from 0."""
        if self._lines and line <= len(self._lines) and not self._lines[line - 1].isascii():
            column = len(self._lines[line - 1].encode()[:column].decode())
        return self._starts[line - 1] + column

    def span(self, node: object) -> tuple[int, int]:
        """Start and end of a node."""
        line, column = getattr(node, "lineno"), getattr(node, "col_offset")  # noqa: B009
        last, after = getattr(node, "end_lineno"), getattr(node, "end_col_offset")  # noqa: B009
        return self.offset(line, column), self.offset(last, after)

    def of(self, node: object) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def find(self, token: str, start: int, end: int) -> tuple[int, int]:
        """Where an operator stands between two operands."""
        bounds = r"(?<!\w){}(?!\w)" if token[0].isalpha() else r"{}"
        pattern = bounds.format(r"\s+".join(re.escape(part) for part in token.split()))
        found = re.compile(pattern).search(self._bare, start, end)
        if found is None:
            raise ValueError(f"{self.file}: no {token!r} in {self.text[start:end]!r}")
        return found.span()

    def add(
        self, operator: str, span: tuple[int, int], new: str, *, is_guard: bool = False
    ) -> None:
        """Collects a mutant, unless the same text has come out before."""
        start, end = span
        if self.text[start:end] == new or (start, end, new) in self._found:
            return
        line, last = bisect(self._starts, start), bisect(self._starts, end)
        first, stop = self._starts[line - 1], self._starts[last]
        lines, changed = self.text[first:stop], self.text[first:start] + new + self.text[end:stop]
        before, after = " ".join(lines.split()), " ".join(changed.split())
        column = len(" ".join(self.text[first:start].split()))
        key = "\0".join((self.file, self.function, operator, before, str(column), after))
        self._names[key] += 1
        name = sha256(f"{key}\0{self._names[key]}".encode()).hexdigest()[:10]
        self._found[start, end, new] = Mutant(
            name, self.file, self.function, operator, line, start, end, new, before, after, is_guard
        )

    def mutants(self) -> list[Mutant]:
        """All of them, in the order of the text."""
        return sorted(self._found.values(), key=lambda item: (item.start, item.end, item.new))


def enclosed(text: str) -> str:
    """An expression as an operand of anything."""
    if _CLOSED.fullmatch(text):
        return text
    return f"({text})"


def _without_comments(text: str, starts: Sequence[int]) -> str:
    """The text with comments and strings blanked: operators are looked for in the rest."""
    bare = list(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            first = starts[token.start[0] - 1] + token.start[1]
            last = starts[token.end[0] - 1] + token.end[1]
            for i in range(first, last):
                if bare[i] != "\n":
                    bare[i] = " "
    return "".join(bare)


# What the operators of both languages share


RELATIONS = ("<", "<=", ">", ">=", "==", "!=")
NEIGHBOURS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
# As an operator, what takes its place; "" drops the right operand, "." the left one.
ARITHMETIC: dict[str, tuple[str, ...]] = {
    "+": ("-", ""),
    "-": ("+", ""),
    "*": ("+", "//"),
    "//": ("*", "%"),
    "%": ("//",),
    "<<": (">>", ""),
    ">>": ("<<", ""),
    "&": ("|", ""),
    "|": ("&", "", "."),
    "^": ("|", ""),
    "**": ("*",),
}
ASSIGNED = {
    symbol: tuple(new for new in others if new not in ("", "."))
    for symbol, others in ARITHMETIC.items()
}
ROUNDINGS = {"up": "down", "down": "up", "ceil": "floor", "floor": "ceil"}


def rounded_otherwise(name: str) -> str:
    """The name of the function that rounds the other way; empty if this one does not say."""
    head, _, tail = name.rpartition("_")
    return f"{head}_{ROUNDINGS[tail]}" if tail in ROUNDINGS else ""


def relations_of(symbol: str, is_unsigned_to_zero: bool) -> Iterator[str]:
    """What may stand for a relation. Of a number that cannot be below zero, compared with zero,
    some relations say the same."""
    same = {">": "!=", "!=": ">", "==": "<=", "<=": "=="}
    for other in RELATIONS:
        if other != symbol and not (is_unsigned_to_zero and same.get(symbol) == other):
            yield other


# The sample


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of the mutants: of each pair of file and operator its share, at least one, by chance.

    Chance is the hash of seed and name: the choice depends neither on the order of the mutants nor
    on the mutants of other files.
    """
    if count >= len(mutants):
        return list(mutants)
    groups: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        groups[mutant.file, mutant.operator].append(mutant)
    for group in groups.values():
        group.sort(key=lambda item: sha256(f"{seed}/{item.id}".encode()).digest())
    chosen: list[tuple[Fraction, str, Mutant]] = []
    for group in groups.values():
        # Rank within the group, as a share of it: taking the lowest gives each its share.
        for rank, mutant in enumerate(group):
            share = Fraction(rank, len(group)) if rank else Fraction(-1)
            chosen.append((share, mutant.id, mutant))
    chosen.sort(key=lambda item: item[:2])
    taken = {mutant.id for _, _, mutant in chosen[:count]}
    return [mutant for mutant in mutants if mutant.id in taken]

"""Coverage of the model: which of its lines ran, and where each went on from there.

Python is traced by the package `coverage`. That costs several times what the model costs, so a
campaign traces a batch now and then; what one of them does not see another may.
"""

import ast
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import coverage

from lockstep.coverage.probes import Branch, Item, Line
from lockstep.coverage.record import Coverage

# File, relative to the base -> from line, to line; a negative one is an end.
Arcs = dict[str, set[tuple[int, int]]]


class Tracer:
    """Traces some of the time. One of a process may be on at a time."""

    def __init__(self, files: Iterable[str], base: Path) -> None:
        self._base = base
        self._coverage = _new(list(files))

    @contextmanager
    def on(self) -> Iterator[None]:
        self._coverage.start()
        try:
            yield
        finally:
            self._coverage.stop()

    def arcs(self) -> Arcs:
        data = self._coverage.get_data()
        return {
            Path(name).relative_to(self._base).as_posix(): set(data.arcs(name) or ())
            for name in data.measured_files()
        }


def merge_arcs(into: Arcs, other: Arcs) -> None:
    for name, arcs in other.items():
        into.setdefault(name, set()).update(arcs)


def covered(files: Iterable[str], arcs: Arcs, base: Path) -> Coverage:
    """What of the files the arcs cover. Only what is inside functions counts: the rest ran when
    the files were imported."""
    names = list(files)
    tool = _new(names)
    tool.get_data().add_arcs({str(base / name): ran for name, ran in arcs.items()})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        tool.json_report(morfs=names, outfile=str(report))
        figures = json.loads(report.read_text())["files"]
    result = Coverage()
    for shown, entry in figures.items():
        full = Path(shown).resolve()
        path = full.relative_to(base).as_posix()
        inside = _in_functions(full)
        for hit, lines, jumps in (
            (True, "executed_lines", "executed_branches"),
            (False, "missing_lines", "missing_branches"),
        ):
            items: list[Item] = [Line(path, number) for number in entry[lines] if number in inside]
            items += [
                Branch(path, start, 0, "jump", _target(end), True)
                for start, end in entry[jumps]
                if start in inside
            ]
            result.all.update(items)
            if hit:
                result.hit.update(items)
    return result


def _new(files: list[str]) -> Any:
    return coverage.Coverage(
        data_file=None, branch=True, include=files, config_file=False, messages=False
    )


def _target(line: int) -> str:
    return f"to line {line}" if line > 0 else "to the end of the function"


@lru_cache(maxsize=256)
def _in_functions(path: Path) -> frozenset[int]:
    numbers: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            last = node.end_lineno or node.lineno
            numbers.update(range(node.body[0].lineno, last + 1))
    return frozenset(numbers)

"""What a protocol tells mutation testing: which files, and how a mutant is put to the test."""

import ast
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.step import Step


class Project(NamedTuple):
    """Paths are relative to `root`."""

    root: Path
    contracts: Sequence[str]  # sources of contracts and modules to mutate
    model: Sequence[str]  # sources of the model to mutate; importable from root
    deployables: Mapping[str, str]  # by name, the source of each contract that is deployed
    # The adapter, with the initcode of some deployables replaced.
    build: Callable[[Mapping[str, bytes]], Adapter]
    configs: Sequence[Config]
    # Everything that decides what a campaign does, contracts and model included: what was found
    # before one of them changed is not used again.
    inputs: Sequence[str]
    results: str = ".mutants"
    # Names of functions whose first two arguments may be exchanged: that is no mutant.
    commutative: Sequence[str] = ()
    unmutated: Sequence[str] = ()  # names of functions of the model that are no part of it
    # Deployments, each with steps that reach what is rare there, that some chains begin with.
    beginnings: Callable[[], Sequence[tuple[Config, Sequence[Step]]]] = tuple


def imported_files(root: Path, *modules: str) -> list[str]:
    """The files below root that these modules are made of, with all that they import."""
    found: dict[str, None] = {}
    waiting = list(modules)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        stem = name.replace(".", "/")
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if (root / path).is_file():
                found[path] = None
                waiting += _imports(ast.parse((root / path).read_text()))
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return sorted(found)


def _imports(tree: ast.Module) -> list[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{item.name}" for item in node.names)]
    return names

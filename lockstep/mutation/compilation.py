"""Compile a mutant once, and only what it can have changed."""

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vyper.compiler.settings import anchor_settings
from vyper.ir import optimizer

from lockstep.compiler import Sources


class InvalidMutant(Exception):
    """The compiler refuses it."""


@contextmanager
def _each_subtree_once() -> Iterator[None]:
    """Within it, the compiler's optimizer does not walk again what it left unchanged.

    It is a function of a node and its parent's operation alone and starts over after every change,
    which takes half of the time it takes to compile. The code is the same byte by byte.
    """
    original = optimizer._optimize

    def once(node: Any, parent: Any) -> tuple[bool, Any]:
        operation = parent.value if parent is not None else None
        known: set[Any] | None = node.__dict__.get("_unchanged_below")
        if known is not None and operation in known:
            return False, node
        changed, result = original(node, parent)
        if not changed and result is node:
            node.__dict__.setdefault("_unchanged_below", set()).add(operation)
        return changed, result

    collects = gc.isenabled()
    gc.disable()
    optimizer._optimize = once
    try:
        yield
    finally:
        optimizer._optimize = original
        if collects:
            gc.enable()


def compile_initcode(path: str, root: Path, overrides: Mapping[str, str]) -> bytes:
    """Initcode of root/path without metadata; raises InvalidMutant with the compiler's words."""
    with _each_subtree_once():
        try:
            data, _ = Sources.of(path, root, overrides).load()
            with anchor_settings(data.settings):
                code: bytes = data.bytecode
        except Exception as error:  # the compiler crashes on some, 1**x say, in many ways
            raise InvalidMutant(f"{type(error).__name__}: {_first_line(error)}") from None
    return code


def digest(codes: Mapping[str, bytes]) -> str:
    """Of what a mutant changed: deployables by name and their initcode."""
    text = "\n".join(f"{name} {code.hex()}" for name, code in sorted(codes.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def tree_digest(root: Path, names: Sequence[str]) -> str:
    """Of the files of these paths."""
    parts = [
        f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}" for name in sorted(names)
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

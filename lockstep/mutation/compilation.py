"""Compile a mutant once, and only what it can have changed."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vyper.compiler.settings import anchor_settings

from lockstep.compiler import Sources, each_subtree_once


class InvalidMutant(Exception):
    """The compiler refuses it."""


def compile_initcode(path: str, root: Path, overrides: Mapping[str, str]) -> bytes:
    """Initcode of root/path without metadata; raises InvalidMutant with the compiler's words."""
    with each_subtree_once():
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

"""The two forms of a module, to be proved about: its compiled code, and its Python mirror.

`planted` replaces a piece of the text first: a proof that cannot fail proves nothing.
"""

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import machine
from symbolic import Number

from lockstep import abi
from lockstep.compiler import compile_vyper
from lockstep.engines import Engine, open_engine
from python_model.evm import Revert

ROOT = Path(__file__).resolve().parents[2]
DEPLOYER = "0x" + "de" * 20
FUNCTION = re.compile(
    r"^@internal\n@pure\ndef (?P<name>_\w+)\((?P<args>[^)]*)\) -> (?P<returns>\w+):", re.MULTILINE
)
CONSTANT = re.compile(r"^([A-Z_]+): constant\(uint256\) = (\d+)$", re.MULTILINE)

Planted = tuple[str, str]  # what is replaced by what
Argument = Number | list[Number]


class Contract:
    """The module's functions as compiled, on the symbolic machine or on revm."""

    def __init__(self, module: str, planted: Planted | None = None) -> None:
        self._code, self._functions = _compiled(module, planted)

    def call(self, name: str, *args: Argument) -> Number | None:
        """What the function gives, or None where it reverts."""
        signature, returns = self._functions[name]
        words = [word for arg in args for word in (arg if isinstance(arg, list) else [arg])]
        found = machine.run(self._code, abi.selector(signature), words)
        if found is None:
            return None
        return machine.signed(found) if returns == "int256" else machine.unsigned(found)


class Mirror:
    """The mirror's own functions, on numbers that stand for many."""

    def __init__(self, module: str, planted: Planted | None = None) -> None:
        self._module = _loaded(module, planted)

    def call(self, name: str, *args: Argument) -> Number | None:
        """What the function gives, or None where it reverts."""
        try:
            found: Number = getattr(self._module, name)(*args)
        except (Revert, ZeroDivisionError):
            return None
        return found


class Deployed:
    """The same code on revm: plain numbers only."""

    def __init__(self, module: str, planted: Planted | None = None) -> None:
        code, self._functions = _compiled(module, planted)
        self._engine: Engine = open_engine("revm")
        # Copy what follows these ten bytes, and return it.
        start = bytes.fromhex("61" + f"{len(code):04x}" + "80600a5f395ff3")
        self._address = self._engine.deploy(start + code, DEPLOYER)
        self._selectors = {name: abi.selector(found[0]) for name, found in self._functions.items()}

    def call(self, name: str, *args: int | list[int]) -> int | None:
        """What the function gives, or None where it reverts."""
        words = [word for arg in args for word in (arg if isinstance(arg, list) else [arg])]
        outcome = self._engine.view(self._address, self._selectors[name] + abi.words(*words))
        assert not outcome.halted, outcome.halted
        if not outcome.ok:
            return None
        value = int.from_bytes(outcome.output, "big")
        return abi.signed(value) if self._functions[name][1] == "int256" else value


FORMS: dict[str, Any] = {"contract": Contract, "mirror": Mirror}


def functions(module: str) -> set[str]:
    """Names of the module's functions; a proof about all of them asks this."""
    return set(_compiled(module, None)[1])


@cache
def _compiled(module: str, planted: Planted | None) -> tuple[bytes, dict[str, tuple[str, str]]]:
    """Code of a contract whose functions do nothing but call the module's, and their signatures."""
    path, inner = f"tests/proofs/{module}_harness.vy", f"contracts/modules/{module}.vy"
    text = _replaced((ROOT / inner).read_text(encoding="utf-8"), planted)
    parts = [f"# pragma version 0.4.3\nfrom contracts.modules import {module}\n"]
    signatures = {}
    sizes = dict(CONSTANT.findall(text))
    for match in FUNCTION.finditer(text):
        name, returns = match["name"], match["returns"]
        declared = " ".join(match["args"].split()).strip(" ,")
        for constant, size in sizes.items():
            declared = declared.replace(f"[{constant}]", f"[{size}]")
        pairs = [argument.split(": ") for argument in declared.split(", ")]
        kinds = ",".join(kind for _, kind in pairs)
        signatures[name] = (f"prove{name}({kinds})", returns)
        passed = ", ".join(argument for argument, _ in pairs)
        parts.append(
            f"@external\n@pure\ndef prove{name}({declared}) -> {returns}:\n"
            f"    return {module}.{name}({passed})\n"
        )
    assert len(signatures) == len(re.findall(r"^def ", text, re.MULTILINE))
    texts = {path: "\n".join(parts), inner: text}
    return compile_vyper(path, root=ROOT, overrides=texts).runtime, signatures


def _loaded(module: str, planted: Planted | None) -> ModuleType:
    name = f"python_model.modules.{module}"
    if planted is None:
        return importlib.import_module(name)
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.origin
    changed = importlib.util.module_from_spec(spec)
    text = Path(spec.origin).read_text(encoding="utf-8")
    exec(compile(_replaced(text, planted), spec.origin, "exec"), changed.__dict__)
    return changed


def _replaced(text: str, planted: Planted | None) -> str:
    if planted is None:
        return text
    old, new = planted
    assert text.count(old) == 1, f"{text.count(old)} places for {old!r}"
    return text.replace(old, new)

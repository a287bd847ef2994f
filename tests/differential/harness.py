"""A module's internal functions on a deployed contract, beside their mirrors.

The harness is written from the module's own text, so a new function is in it without being asked.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from lockstep import abi
from lockstep.compiler import compile_vyper
from lockstep.engines import Engine, open_engine
from python_model.evm import Revert

ROOT = Path(__file__).resolve().parents[2]
DEPLOYER = "0x" + "de" * 20
FUNCTION = re.compile(
    r"^@internal\n(?P<kind>@pure\n|@view\n)?def (?P<name>_\w+)\((?P<args>[^)]*)\)"
    r"(?: -> (?P<returns>\w+))?:",
    re.MULTILINE,
)


class Harness:
    """One module, deployed. `call` gives the value, or None where the contract reverts."""

    def __init__(self, module: str) -> None:
        text = (ROOT / f"contracts/modules/{module}.vy").read_text()
        self.functions: dict[str, list[tuple[str, str]]] = {}
        self._returns: dict[str, str] = {}
        parts = [f"# pragma version 0.4.3\nfrom contracts.modules import {module}\n"]
        if "@internal\ndef" in text:
            parts.append(f"initializes: {module}\n")
        for match in FUNCTION.finditer(text):
            parts.append(self._wrap(module, match))
        assert len(self.functions) == len(re.findall(r"^def ", text, re.MULTILINE))
        path = f"tests/differential/{module}_harness.vy"
        artifact = compile_vyper(path, root=ROOT, overrides={path: "\n".join(parts)})
        self.engine: Engine = open_engine("revm")
        self.address = self.engine.deploy(artifact.initcode, DEPLOYER)

    def call(self, name: str, *args: int, changes: bool = False) -> int | None:
        """The contract's answer."""
        types = ",".join(kind for _, kind in self.functions[name])
        data = abi.selector(f"harness{name}({types})") + abi.words(*args)
        if changes:
            outcome = self.engine.call(DEPLOYER, self.address, data)
        else:
            outcome = self.engine.view(self.address, data)
        assert not outcome.halted, outcome.halted
        if not outcome.ok:
            return None
        value = int.from_bytes(outcome.output, "big")
        return abi.signed(value) if self._returns[name] == "int256" else value

    def _wrap(self, module: str, match: re.Match[str]) -> str:
        """An external function that does nothing but call the internal one."""
        name, returns = match["name"], match["returns"]
        args = [tuple(part.split(": ")) for part in " ".join(match["args"].split()).split(", ")]
        self.functions[name] = [(arg.strip(), kind.strip(" ,")) for arg, kind in args]
        self._returns[name] = returns or ""
        declared = ", ".join(f"{arg}: {kind}" for arg, kind in self.functions[name])
        passed = ", ".join(arg for arg, _ in self.functions[name])
        arrow = f" -> {returns}" if returns else ""
        give = "return " if returns else ""
        return (
            f"@external\n{match['kind'] or ''}def harness{name}({declared}){arrow}:\n"
            f"    {give}{module}.{name}({passed})\n"
        )


@cache
def harness(module: str) -> Harness:
    """One deployment per module and process."""
    return Harness(module)


def answer(function: Callable[..., Any], *args: int) -> int | None:
    """The model's answer: the value, or None where it reverts."""
    try:
        value: int = function(*args)
    except Revert:
        return None
    return value


def whole(least: int, most: int) -> st.SearchStrategy[int]:
    """Whole numbers of every length between two bounds, the bounds and their neighbours often."""
    edges = {least, least + 1, most - 1, most, 0, 1, -1}
    lengths = st.integers(0, max(abs(least), abs(most)).bit_length())
    sized = lengths.flatmap(lambda bits: st.integers(max(least, -(2**bits)), min(most, 2**bits)))
    return st.one_of(
        st.sampled_from(sorted(edge for edge in edges if least <= edge <= most)),
        sized if least <= 1 else st.integers(least, most),
        st.integers(least, most),
    )

"""Values of the ABI as calldata, and as the JSON of a manifest."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.address import is_address

from lockstep.abi import selector
from lockstep.compiler import Artifact, compile_vyper
from lockstep.mirror.codec import canonical, signature

ROOT = Path(__file__).resolve().parents[1]

Inputs = Sequence[dict[str, Any]]  # as an ABI lists them


_replaced: dict[str, str] = {}


def artifact_of(name: str) -> Artifact:
    """A contract by its name under contracts/, compiled as the fuzzer compiles it."""
    return _compiled(name, tuple(_replaced.items()))


@lru_cache
def _compiled(name: str, replaced: tuple[tuple[str, str], ...]) -> Artifact:
    return compile_vyper(f"contracts/{name}.vy", root=ROOT, overrides=dict(replaced))


@contextmanager
def compiled_from(texts: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile these texts, by path, take the place of files."""
    before = dict(_replaced)
    _replaced.update(texts)
    try:
        yield
    finally:
        _replaced.clear()
        _replaced.update(before)


def constructor_inputs(artifact: Artifact) -> Inputs:
    """What the constructor takes."""
    for item in artifact.abi:
        if item["type"] == "constructor":
            inputs: Inputs = item["inputs"]
            return inputs
    return ()


def function_of(artifact: Artifact, name: str) -> dict[str, Any]:
    """An external function."""
    for item in artifact.abi:
        if item["type"] == "function" and item["name"] == name:
            return item
    raise KeyError(f"{artifact.path} has no function {name!r}")


def encoded(inputs: Inputs, values: Sequence[Any]) -> bytes:
    """Arguments without a selector."""
    return encode([canonical(item) for item in inputs], list(values))


def calldata(artifact: Artifact, name: str, *values: Any) -> bytes:
    """A call of a function."""
    function = function_of(artifact, name)
    return selector(signature(function)) + encoded(function["inputs"], values)


def decoded(artifact: Artifact, name: str, output: bytes) -> Any:
    """What a function has returned, as JSON: one value, or several by name."""
    outputs = function_of(artifact, name)["outputs"]
    values = decode([canonical(item) for item in outputs], output)
    if len(outputs) == 1:
        return plain(outputs[0], values[0])
    return [plain(item, value) for item, value in zip(outputs, values, strict=True)]


def plain_arguments(inputs: Inputs, values: Sequence[Any]) -> dict[str, Any]:
    """Arguments by name, as JSON."""
    return {item["name"]: plain(item, value) for item, value in zip(inputs, values, strict=True)}


def plain(item: dict[str, Any], value: Any) -> Any:
    """A value as JSON: integers as strings, addresses lower case, structs by name."""
    kind = str(item["type"])
    if kind.endswith("]"):
        inner = dict(item) | {"type": kind[: kind.rindex("[")]}
        return [plain(inner, part) for part in value]
    if kind == "tuple":
        return plain_arguments(item["components"], value)
    if isinstance(value, bool):
        return value
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int):
        return str(value)
    return value.lower() if kind == "address" and is_address(value) else value

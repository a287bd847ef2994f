"""The functions of a contract, as a call from the chain is made on its model."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from lockstep import abi
from lockstep.mirror.codec import FunctionCodec, canonical, signature, value_maker
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams
from python_model.signed_price_feed import MAX_LENGTH, MAX_PUBLISHERS, Header, Report

RECORDS: dict[str, Callable[..., Any]] = {
    "params": RiskParams,
    "risk": RiskParams,
    "header": Header,
}
# What the contract cannot read, an ABI does not say.
LONGEST = {"reports": MAX_LENGTH, "publishers": MAX_PUBLISHERS}


class Unreadable(ValueError):
    """Calldata that the contract refuses before it runs."""


class Function(NamedTuple):
    """A function that changes state."""

    name: str
    inputs: tuple[str, ...]
    is_about_position: bool
    decode: Callable[[bytes], list[Any]]
    output: Callable[[Any], bytes]


def functions_of(contract_abi: Sequence[dict[str, Any]]) -> dict[bytes, Function | None]:
    """By selector; None for what changes nothing."""
    found: dict[bytes, Function | None] = {}
    for entry in contract_abi:
        if entry["type"] != "function":
            continue
        is_view = entry["stateMutability"] in ("view", "pure")
        found[abi.selector(signature(entry))] = None if is_view else _function(entry)
    return found


def _function(entry: dict[str, Any]) -> Function:
    inputs = entry["inputs"]
    names = tuple(item["name"] for item in inputs)
    return Function(
        entry["name"],
        names,
        names[:1] == ("position_id",),
        _decoder(inputs),
        FunctionCodec([entry]).output,
    )


def _decoder(inputs: Sequence[dict[str, Any]]) -> Callable[[bytes], list[Any]]:
    kinds = [canonical(item) for item in inputs]
    makers = [_maker(item) for item in inputs]
    limits = [
        (i, LONGEST[item["name"]]) for i, item in enumerate(inputs) if item["name"] in LONGEST
    ]

    def read(data: bytes) -> list[Any]:
        try:
            values = decode(kinds, data)
        except (DecodingError, OverflowError, ValueError) as error:
            raise Unreadable(str(error)) from None
        if any(len(values[i]) > most for i, most in limits):
            raise Unreadable("a list is too long")
        return [make(value) for make, value in zip(makers, values, strict=True)]

    return read


def _maker(item: dict[str, Any]) -> Callable[[Any], Any]:
    """What the model takes for a decoded argument."""
    name = item["name"]
    if name == "reports":
        return lambda reports: [Report(*report) for report in reports]
    if name == "params" and len(item["components"]) == len(MarketParams._fields):
        return lambda values: MarketParams(*map(_plain, values))
    if name in RECORDS:
        record = RECORDS[name]
        return lambda values: record(*map(_plain, values))
    return value_maker(item, {}) or (lambda value: value)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

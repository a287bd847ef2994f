"""Encoders made from an ABI: words by hand, everything else through eth_abi."""

import re
from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from lockstep import abi
from lockstep.engines.base import Log

Item = dict[str, Any]  # an input or output of the ABI
Encode = Callable[[Sequence[Any]], bytes]


def canonical(item: Item) -> str:
    """Type as in a signature: "(address,uint256)[]"."""
    kind: str = item["type"]
    if kind.startswith("tuple"):
        return f"({','.join(map(canonical, item['components']))}){kind[5:]}"
    return kind


def signature(entry: Item) -> str:
    return f"{entry['name']}({','.join(map(canonical, entry['inputs']))})"


# -- single words ----------------------------------------------------------------------------------


def _unsigned(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _signed(value: int) -> bytes:
    return value.to_bytes(32, "big", signed=True)


@lru_cache(maxsize=1 << 12)
def _text_address(text: str) -> bytes:
    return abi.word(text)


def _address(value: Any) -> bytes:
    """An address as text, or the model of the contract there."""
    return _text_address(value if isinstance(value, str) else value.address)


def _fixed_bytes(value: bytes) -> bytes:
    return value.ljust(32, b"\0")


def word_encoder(kind: str) -> Callable[[Any], bytes] | None:
    """Encoder of a type that is one word; None for the others. A value out of range raises."""
    if not re.fullmatch(r"u?int\d+|bool|address|bytes\d+", kind):
        return None
    if kind == "address":
        return _address
    if kind.startswith("bytes"):
        return _fixed_bytes
    return _signed if kind.startswith("int") else _unsigned


def encoder(items: Sequence[Item]) -> Encode:
    """encode(values): arguments, return values or the data of an event."""
    found = [word_encoder(item["type"]) for item in items]
    words = [one for one in found if one is not None]
    if len(words) < len(items):
        return _general(items)
    if len(words) == 1:
        (single,) = words
        return lambda values: single(*values)

    def encode(values: Sequence[Any]) -> bytes:
        return b"".join([one(value) for one, value in zip(words, values, strict=True)])

    return encode


def _general(items: Sequence[Item]) -> Encode:
    from eth_abi.abi import encode  # slow to load, and only some contracts need it

    kinds = [canonical(item) for item in items]
    return lambda values: encode(kinds, [_plain(value) for value in values])


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return getattr(value, "address", value)


# -- values ----------------------------------------------------------------------------------------


def value_maker(item: Item, addresses: dict[str, str]) -> Callable[[Any], Any] | None:
    """From an argument of a Step to what the model gets; None if they are the same.

    Names of roles and contracts become addresses, numbers booleans, 0x text bytes, lists tuples,
    and structs tuples with names.
    """
    kind: str = item["type"]
    if kind.endswith("]"):
        element = value_maker({**item, "type": kind[: kind.rindex("[")]}, addresses)
        return lambda value: tuple(element(one) if element else one for one in value)
    if kind == "address":
        return lambda value: addresses.get(value, value)
    if kind == "bool":
        return bool
    if kind.startswith("bytes"):
        return lambda value: bytes.fromhex(value[2:]) if isinstance(value, str) else value
    if kind == "tuple":
        return _struct_maker(item["components"], addresses)
    return None


def _struct_maker(components: list[Item], addresses: dict[str, str]) -> Callable[[Any], Any]:
    made = namedtuple("Struct", [part["name"] for part in components])  # type: ignore[misc]
    makers = [value_maker(part, addresses) for part in components]

    def make(value: Any) -> Any:
        pairs = zip(makers, value, strict=True)
        return made(*[maker(part) if maker else part for maker, part in pairs])

    return make


# -- functions and events --------------------------------------------------------------------------


class FunctionCodec:
    """A function of a contract, with the shorter forms that default arguments give it."""

    def __init__(self, forms: Sequence[Item]) -> None:
        longest = max(forms, key=lambda form: len(form["inputs"]))
        self.name: str = longest["name"]
        self.inputs: list[Item] = longest["inputs"]
        self.outputs: list[Item] = longest["outputs"]
        self.least = min(len(form["inputs"]) for form in forms)
        self.is_view = longest["stateMutability"] in ("view", "pure")
        self._encoders = {
            len(form["inputs"]): (abi.selector(signature(form)), encoder(form["inputs"]))
            for form in forms
        }
        self._output = encoder(self.outputs)
        # One struct is one value, several outputs are a tuple.
        self._is_single = len(self.outputs) == 1

    def calldata(self, values: Sequence[Any]) -> bytes:
        select, encode = self._encoders[len(values)]
        return select + encode(values) if values else select

    def output(self, value: Any) -> bytes:
        """ABI encoding of what the model returned."""
        if not self.outputs:
            if value is not None:
                raise TypeError(f"{self.name} returned {value!r}, the contract returns nothing")
            return b""
        if value is None:
            kinds = ", ".join(map(canonical, self.outputs))
            raise TypeError(f"{self.name} returned nothing, the contract returns {kinds}")
        return self._output((value,) if self._is_single else value)


def functions_of(contract_abi: Sequence[Item]) -> dict[str, FunctionCodec]:
    forms: dict[str, list[Item]] = {}
    for entry in contract_abi:
        if entry["type"] == "function":
            forms.setdefault(entry["name"], []).append(entry)
    return {name: FunctionCodec(found) for name, found in forms.items()}


def event_encoders(contract_abi: Sequence[Item]) -> dict[str, Callable[..., Log]]:
    """By name: encode(address, *fields) is the log. Reports know the events from here on."""
    events: dict[str, abi.Event] = {}
    for entry in contract_abi:
        if entry["type"] == "event":
            if any(map(_is_structured, entry["inputs"])):
                events[entry["name"]] = StructuredEvent(entry)
            else:
                events |= abi.register_events([entry])
    return {name: event.encode for name, event in events.items()}


def _is_structured(item: Item) -> bool:
    """Whether a field is no word, nor text or bytes that are not indexed."""
    if item["type"] in ("string", "bytes"):
        return bool(item["indexed"])
    return word_encoder(item["type"]) is None


class StructuredEvent(abi.Event):
    """An event with structs, arrays or indexed text."""

    def __init__(self, entry: Item) -> None:
        self.name = entry["name"]
        self.topic = abi.keccak(signature(entry).encode())
        self._inputs: list[Item] = entry["inputs"]
        self._data = [item for item in self._inputs if not item["indexed"]]
        self.encode = self._structured()
        abi.Event.known[self.topic] = self

    def _structured(self) -> Callable[..., Log]:
        topic = self.topic
        fields = list(enumerate(self._inputs))
        indexed = [(i, _topic_encoder(item["type"])) for i, item in fields if item["indexed"]]
        plain = [i for i, item in fields if not item["indexed"]]
        encode = encoder(self._data)

        def log(address: str, *values: Any) -> Log:
            topics = (topic, *[one(values[i]) for i, one in indexed])
            return address, topics, encode([values[i] for i in plain])

        return log

    def show(self, log: Log) -> str:
        from eth_abi.abi import decode

        _, topics, data = log
        found = iter(decode([canonical(item) for item in self._data], data))
        hashes = iter(topics[1:])
        shown = []
        for item in self._inputs:
            value = f"0x{next(hashes).hex()}" if item["indexed"] else next(found)
            shown.append(f"{item['name']}={value}")
        return f"{self.name}({', '.join(shown)})"


def _topic_encoder(kind: str) -> Callable[[Any], bytes]:
    """A word as it is; of text and bytes the hash."""
    found = word_encoder(kind)
    if found is not None:
        return found
    return lambda value: abi.keccak(value.encode() if isinstance(value, str) else value)

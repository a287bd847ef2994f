"""ABI encoding by hand, for the few shapes a fuzzer needs; general codecs cost 10x the EVM call."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from lockstep.engines.base import Log


def _load_keccak() -> Callable[[bytes], bytes]:
    try:  # in C, a tenth of the time: it decides how fast new mapping keys are
        from eth_hash.backends.pysha3 import keccak256
    except ImportError:
        from eth_hash.auto import keccak

        return keccak
    return keccak256


_keccak = _load_keccak()
WORD = 2**256
Value = int | str | bytes  # bool is an int; addresses are 0x.. text


@lru_cache(maxsize=1 << 16)
def keccak(data: bytes) -> bytes:
    return _keccak(data)


def selector(signature: str) -> bytes:
    """First four bytes of the hash of "open(uint256,bool)"."""
    return keccak(signature.encode())[:4]


@lru_cache(maxsize=1 << 12)
def _text_word(address: str) -> bytes:
    if len(address) != 42 or not address.startswith("0x"):
        raise ValueError(f"not an address: {address!r}")
    return bytes(12) + bytes.fromhex(address[2:])


def word(value: Value) -> bytes:
    """One static word: unsigned, signed, bool, address (0x text) or bytes32."""
    if isinstance(value, int):
        if value >= 0:
            return value.to_bytes(32, "big")
        return value.to_bytes(32, "big", signed=True)
    if isinstance(value, str):
        return _text_word(value)
    return value.ljust(32, b"\0")


def words(*values: Value) -> bytes:
    return b"".join([word(value) for value in values])


def call(select: bytes, *values: Value) -> bytes:
    """Calldata of a function whose arguments are all static."""
    return select + b"".join([word(value) for value in values])


def arguments(types: Sequence[str], values: Sequence[Value]) -> bytes:
    """Arguments of any mix of static words, string and bytes (constructors, events)."""
    head: list[bytes] = []
    tail = b""
    for kind, value in zip(types, values, strict=True):
        if kind in ("string", "bytes"):
            body = value.encode() if isinstance(value, str) else value
            assert isinstance(body, bytes)
            head.append(word(32 * len(types) + len(tail)))
            tail += word(len(body)) + body + bytes(-len(body) % 32)
        else:
            head.append(word(value))
    return b"".join(head) + tail


# -- reverts ---------------------------------------------------------------------------------------

ERROR_STRING = selector("Error(string)")
PANIC = selector("Panic(uint256)")


@lru_cache(maxsize=1 << 10)
def error_string(reason: str) -> bytes:
    """Revert data of `assert condition, "reason"`."""
    return ERROR_STRING + arguments(["string"], [reason])


def revert_reason(output: bytes) -> str:
    """Revert data in words."""
    if not output:
        return "no reason"
    if output[:4] == ERROR_STRING and len(output) >= 68:
        length = int.from_bytes(output[36:68], "big")
        return repr(output[68 : 68 + length].decode("utf-8", "replace"))
    if output[:4] == PANIC and len(output) == 36:
        return f"panic {int.from_bytes(output[4:], 'big'):#x}"
    return f"raw data 0x{output.hex()}"


# -- events ----------------------------------------------------------------------------------------


class Event:
    """Event("Paid(address indexed who, uint256 amount)"): encodes logs and names them again."""

    known: ClassVar[dict[bytes, "Event"]] = {}  # by topic, for reports

    def __init__(self, declaration: str) -> None:
        self.name, _, rest = declaration.strip().partition("(")
        fields = [field.split() for field in rest.rstrip(")").split(",") if field.strip()]
        self.fields = [(field[0], field[-1], "indexed" in field[1:-1]) for field in fields]
        self.signature = f"{self.name}({','.join(kind for kind, _, _ in self.fields)})"
        self.topic = keccak(self.signature.encode())
        self._indexed = [i for i, field in enumerate(self.fields) if field[2]]
        self._plain = [i for i, field in enumerate(self.fields) if not field[2]]
        self._types = [self.fields[i][0] for i in self._plain]
        Event.known[self.topic] = self
        self.encode = self._encoder()

    def __call__(self, address: str, *values: Value) -> Log:
        return self.encode(address, *values)

    def _encoder(self) -> Callable[..., Log]:
        """A function of address and values, written out for these fields: logs are many."""
        names = [f"value_{i}" for i in range(len(self.fields))]
        words = [
            f"{name}.to_bytes(32, 'big')" if kind.startswith("uint") else f"word({name})"
            for name, (kind, _, _) in zip(names, self.fields, strict=True)
        ]
        topics = "".join(f", {words[i]}" for i in self._indexed)
        data = f"b''.join([{', '.join(words[i] for i in self._plain)}])"
        if {"string", "bytes"} & set(self._types):
            data = f"arguments({self._types}, [{', '.join(names[i] for i in self._plain)}])"
        code = f"lambda address, {', '.join(names)}: (address, (topic{topics},), {data})"
        scope = {"word": word, "arguments": arguments, "topic": self.topic}
        encode: Callable[..., Log] = eval(code, scope)
        return encode

    def values(self, log: Log) -> tuple[Value | bool, ...]:
        """Fields of a log in order, as they were given to be encoded; static ones only."""
        _, topics, data = log
        indexed, plain = iter(topics[1:]), iter(range(0, len(data), 32))
        words = [
            next(indexed) if is_indexed else data[(at := next(plain)) : at + 32]
            for _, _, is_indexed in self.fields
        ]
        kinds = [kind for kind, _, _ in self.fields]
        return tuple(_value(kind, word) for kind, word in zip(kinds, words, strict=True))

    def show(self, log: Log) -> str:
        _, topics, data = log
        raw = dict(zip(self._indexed, topics[1:], strict=False))
        for position, index in enumerate(self._plain):
            raw[index] = data[32 * position : 32 * position + 32]
        shown = []
        for i, (kind, name, _) in enumerate(self.fields):
            value = raw.get(i, b"")
            if kind in ("string", "bytes"):
                start = int.from_bytes(value, "big")
                length = int.from_bytes(data[start : start + 32], "big")
                shown.append(f"{name}={data[start + 32 : start + 32 + length]!r}")
            else:
                shown.append(f"{name}={show_word(kind, value)}")
        return f"{self.name}({', '.join(shown)})"


def register_events(abi: Iterable[dict[str, Any]]) -> dict[str, Event]:
    """The events of a compiled contract by name; reports know them from here on."""
    events = {}
    for item in abi:
        if item["type"] == "event":
            fields = [
                f"{field['type']} {'indexed ' if field['indexed'] else ''}{field['name']}"
                for field in item["inputs"]
            ]
            events[item["name"]] = _event(f"{item['name']}({', '.join(fields)})")
    return events


@lru_cache(maxsize=1 << 10)  # every deployment registers the same
def _event(declaration: str) -> Event:
    return Event(declaration)


def _value(kind: str, raw: bytes) -> Value | bool:
    if kind == "address":
        return "0x" + raw[-20:].hex()
    if kind == "bool":
        return any(raw)
    if kind.startswith("bytes"):
        return raw
    return int.from_bytes(raw, "big", signed=kind.startswith("int"))


def show_word(kind: str, raw: bytes) -> str:
    if kind == "address":
        return "0x" + raw[-20:].hex()
    if kind == "bool":
        return str(any(raw))
    if kind.startswith("int"):
        return str(int.from_bytes(raw, "big", signed=True))
    if kind.startswith("bytes"):
        return "0x" + raw.hex()
    return str(int.from_bytes(raw, "big"))


def show_log(log: Log) -> str:
    address, topics, data = log
    event = Event.known.get(topics[0]) if topics else None
    if event is None:
        shown = ", ".join("0x" + topic.hex() for topic in topics)
        return f"unknown event [{shown}] data 0x{data.hex()} from {address}"
    return f"{event.show(log)} from {address}"


# -- storage ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 18)
def mapping_slot(slot: int, key: int | str) -> int:
    """Slot of mapping[key] in Vyper's layout: keccak(slot . key). Nest for nested mappings."""
    return int.from_bytes(_keccak(slot.to_bytes(32, "big") + word(key)), "big")


def signed(value: int) -> int:
    """A storage word read as int256."""
    return value - WORD if value >> 255 else value


def unsigned(value: int) -> int:
    """An int256 as its storage word."""
    return value % WORD


def encoder(signature: str) -> Callable[..., bytes]:
    """encoder("open(uint256,bool)")(3, True) is the calldata; static arguments only."""
    select = selector(signature)

    def encode(*values: Value) -> bytes:
        return select + b"".join([word(value) for value in values])

    return encode

"""Storage words of a model, by the layout of its contract."""

import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from lockstep import abi
from lockstep.mirror.model import Contract, HashMap

Word = tuple[str, int, int]  # address, slot, value
AsWords = Callable[[Any], list[int]]


class Variable(NamedTuple):
    """A variable of the layout; of a module's variable the model has the last part of the name."""

    name: str  # "total" or "ownable.owner"
    kind: str  # as Vyper writes it: "HashMap[address, uint256]"
    slot: int
    words: int

    @property
    def attribute(self) -> str:
        return self.name.rpartition(".")[2]

    @property
    def is_mapping(self) -> bool:
        return self.kind.startswith("HashMap[")


def variables(layout: dict[str, Any], prefix: str = "") -> Iterator[Variable]:
    for name, entry in layout.items():
        if "slot" in entry:
            yield Variable(prefix + name, entry["type"], int(entry["slot"]), int(entry["n_slots"]))
        else:
            yield from variables(entry, f"{prefix}{name}.")


def split_mapping(kind: str) -> tuple[list[str], str]:
    """Kinds of the keys and of the value: "HashMap[address, HashMap[uint256, D]]"."""
    keys = []
    while found := re.fullmatch(r"HashMap\[(.+?), (.+)\]", kind):
        keys.append(found[1])
        kind = found[2]
    return keys, kind


def words_of(kind: str) -> AsWords:
    """To the words of a value, as Vyper lays them out: whole words, one after another."""
    if re.fullmatch(r"uint\d+|bool", kind):
        return lambda value: [value]
    if re.fullmatch(r"(String|Bytes)\[\d+\]", kind):
        return _text_words
    if found := re.fullmatch(r"DynArray\[(.+), \d+\]", kind):
        element = words_of(found[1])
        return lambda value: [len(value), *[word for one in value for word in element(one)]]
    if found := re.fullmatch(r"(.+)\[\d+\]", kind):
        element = words_of(found[1])
        return lambda value: [word for one in value for word in element(one)]
    return _any_words


def _text_words(value: str | bytes) -> list[int]:
    body = value.encode() if isinstance(value, str) else value
    padded = body + bytes(-len(body) % 32)
    parts = [padded[i : i + 32] for i in range(0, len(padded), 32)]
    return [len(body), *[int.from_bytes(part, "big") for part in parts]]


def _any_words(value: Any) -> list[int]:
    """Of a signed number, an address, bytes, a struct, a flag."""
    if isinstance(value, int):
        return [value % abi.WORD]
    if isinstance(value, tuple):
        return [word for part in value for word in _any_words(part)]
    if isinstance(value, Contract):
        value = value.address
    return [int.from_bytes(abi.word(value), "big")]


class MappingWords:
    """The words of one HashMap."""

    def __init__(self, label: str, variable: Variable, model: Contract) -> None:
        self.label = label
        self.map: HashMap[Any, Any] = getattr(model, variable.attribute)
        self._address = model.address
        self._slot = variable.slot
        self._keys, kind = split_mapping(variable.kind)
        self._words = words_of(kind)
        self._is_plain = re.fullmatch(r"uint\d+|bool", kind) is not None
        self._slots: dict[Any, int] = {}

    def __call__(self, key: Any) -> list[Word]:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self._slot_of(key)
        value = self.map[key]
        if self._is_plain:
            return [(self._address, slot, value)]
        return [(self._address, slot + i, word) for i, word in enumerate(self._words(value))]

    def _slot_of(self, key: Any) -> int:
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(self._keys):
            raise TypeError(f"{self.label} has {len(self._keys)} keys, the model used {key!r}")
        slot = self._slot
        for kind, part in zip(self._keys, parts, strict=True):
            if isinstance(part, Contract):
                part = part.address
            elif kind.startswith(("String", "Bytes")):
                part = abi.keccak(part.encode() if isinstance(part, str) else part)
            slot = abi.mapping_slot(slot, part)
        return slot


class StorageWords:
    """All words of one model: what changed since it was last asked, and everything."""

    def __init__(self, name: str, model: Contract, found: Iterable[Variable]) -> None:
        self.model = model
        found = list(found)
        self.scalars = [variable for variable in found if not variable.is_mapping]
        self.mappings = [
            MappingWords(f"{name}.{variable.name}", variable, model)
            for variable in found
            if variable.is_mapping
        ]
        self._name = name
        self._to_words = [words_of(variable.kind) for variable in self.scalars]
        # A tuple whatever their number; the address is as good as any other first.
        self._read = attrgetter("address", "chain", *[item.attribute for item in self.scalars])
        self._last = self._read(model)

    def changed(self) -> list[Word]:
        """Words of the scalars that differ from when it was last asked."""
        values, last = self._read(self.model), self._last
        if values == last:
            return []
        self._last = values
        words: list[Word] = []
        for i, variable in enumerate(self.scalars):
            if values[i + 2] != last[i + 2]:
                words += self._scalar(variable, self._to_words[i], values[i + 2])
        return words

    def _scalar(self, variable: Variable, to_words: AsWords, value: Any) -> list[Word]:
        address, slot = self.model.address, variable.slot
        return [(address, slot + i, word) for i, word in enumerate(to_words(value))]

    def everything(self) -> Iterator[Word]:
        """Every scalar, and every entry of a mapping that was ever written."""
        values = self._read(self.model)[2:]
        for variable, to_words, value in zip(self.scalars, self._to_words, values, strict=True):
            yield from self._scalar(variable, to_words, value)
        for mapping in self.mappings:
            for key in mapping.map:
                yield from mapping(key)

    def name(self, slot: int, names: dict[str, str]) -> str:
        """A slot in words; `names` of addresses. "" if it is none of this model."""
        for variable in self.scalars:
            if variable.slot <= slot < variable.slot + variable.words:
                part = f" (word {slot - variable.slot})" if variable.words > 1 else ""
                return f"{self._name}.{variable.name}{part}"
        for mapping in self.mappings:
            for key in mapping.map:
                words = mapping(key)
                if words and words[0][1] <= slot <= words[-1][1]:
                    parts = key if isinstance(key, tuple) else (key,)
                    shown = "".join(f"[{names.get(part, part)}]" for part in parts)
                    part = f" (word {slot - words[0][1]})" if len(words) > 1 else ""
                    return f"{mapping.label}{shown}{part}"
        return ""

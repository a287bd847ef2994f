"""Remember what a graph of plain Python objects holds, and put it back in place again and again.

Deploying a system takes as long as a hundred steps, and a shrinker replays thousands of short
lists. So a twin is made once, and each replay begins by putting it back. Nothing is copied but
contents: the objects stay the ones that everybody holds, closures too. What a class declares with
`never_changes = True`, tables of codecs for example, is left alone, and what only it leads to.
"""

import datetime
import decimal
import functools
import random
import re
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from copy import copy
from enum import Enum
from operator import attrgetter, itemgetter, methodcaller
from pathlib import PurePath
from typing import Any

ATOMIC = (
    type(None),
    type(Ellipsis),
    type(NotImplemented),
    int,
    float,
    complex,
    bytes,
    str,
    range,
    type,
    Enum,
    property,
    types.ModuleType,
    types.CodeType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.GenericAlias,
    functools._lru_cache_wrapper,
    re.Pattern,
    decimal.Decimal,
    datetime.date,
    datetime.timedelta,
    PurePath,
    attrgetter,
    itemgetter,
    methodcaller,
)
_MISSING = object()


class Unsupported(TypeError):
    """The graph holds something whose state cannot be put back, such as a running generator."""


class Memento:
    """What `root` and everything it leads to holds now, except what is only behind `besides`."""

    def __init__(self, root: object, besides: Iterable[object] = ()) -> None:
        self._seen: dict[int, object] = {id(item): item for item in besides}  # alive, for their ids
        self._objects: list[tuple[Any, dict[str, Any]]] = []
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._restorers: list[Callable[[], None]] = []
        waiting = [root]
        while waiting:
            item = waiting.pop()
            kind: Any = type(item)
            if not _is_constant(kind) and id(item) not in self._seen:
                self._seen[id(item)] = item
                waiting += self._remember(item)

    def restore(self) -> None:
        """Put everything back."""
        for item, attributes in self._objects:
            own = item.__dict__  # looked up anew: some replace it
            own.clear()
            own.update(attributes)
        for mapping, content in self._dicts:
            if mapping or content:
                dict.clear(mapping)
                dict.update(mapping, content)  # past what a subclass does on each entry
        for restorer in self._restorers:
            restorer()

    def _remember(self, item: Any) -> list[Any]:
        """Notes what one object holds itself; the objects that it holds."""
        held = self._attributes(item)
        if isinstance(item, dict):
            self._note_dict(item)
            return [*held, *item, *item.values()]
        if isinstance(item, list | set | deque | bytearray):
            self._restorers.append(_refiller(item))
            return held if isinstance(item, bytearray) else [*held, *item]
        if isinstance(item, tuple | frozenset):
            return [*held, *item]
        if isinstance(item, types.FunctionType):
            return [*(item.__closure__ or ()), *(item.__defaults__ or ())]
        if isinstance(item, types.MethodType):
            return [item.__self__, item.__func__]
        if isinstance(item, types.CellType):
            return self._cell(item)
        if isinstance(item, functools.partial):
            return [item.func, *item.args, *item.keywords.values()]
        if isinstance(item, random.Random):
            self._restorers.append(functools.partial(item.setstate, item.getstate()))
            return held
        if not held and not _is_plain(item):
            name = f"{type(item).__module__}.{type(item).__qualname__}"
            raise Unsupported(f"the state of a {name} cannot be put back")
        return held

    def _attributes(self, item: Any) -> list[Any]:
        if isinstance(item, types.FunctionType):
            return []
        held: list[Any] = []
        own = getattr(item, "__dict__", None)
        if isinstance(own, dict):
            self._objects.append((item, own.copy()))
            held += own.values()
        kind: Any = type(item)
        for name in _slots(kind):
            value = getattr(item, name, _MISSING)
            if value is _MISSING:
                self._restorers.append(functools.partial(_unset, item, name))
            else:
                self._restorers.append(functools.partial(object.__setattr__, item, name, value))
                held.append(value)
        return held

    def _note_dict(self, mapping: dict[Any, Any]) -> None:
        if isinstance(mapping, OrderedDict):
            self._restorers.append(_refiller(mapping))
        else:
            self._dicts.append((mapping, dict(mapping)))

    def _cell(self, cell: types.CellType) -> list[Any]:
        try:
            value = cell.cell_contents
        except ValueError:  # empty: the name is not bound yet
            return []
        self._restorers.append(functools.partial(setattr, cell, "cell_contents", value))
        return [value]


def _refiller(container: Any) -> Callable[[], None]:
    content = copy(container)
    refill = container.update if hasattr(container, "update") else container.extend

    def restore() -> None:
        if container or content:
            container.clear()
            refill(content)

    return restore


@functools.cache
def _is_constant(kind: type) -> bool:
    return issubclass(kind, ATOMIC) or getattr(kind, "never_changes", False)


@functools.cache
def _slots(kind: type) -> list[str]:
    names: list[str] = []
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        names += (slots,) if isinstance(slots, str) else slots
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _is_plain(item: object) -> bool:
    """Of a class written in Python: its attributes are all there is to it."""
    return hasattr(item, "__dict__") or any(
        "__slots__" in vars(kind) for kind in type(item).__mro__
    )


def _unset(item: object, name: str) -> None:
    if hasattr(item, name):
        object.__delattr__(item, name)

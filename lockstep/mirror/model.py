"""What a Python model of a contract is made of. Standard library only: a model runs by itself.

A model is a class with the functions, arguments, reasons and storage names of its contract:

    class Counter(Contract):
        EVENTS = (Counted,)

        def __init__(self, first: int) -> None:
            self.count = first
            self.by: HashMap[str, int] = HashMap(0)

        def add(self, amount: int, *, sender: str) -> int:
            require(amount > 0, "nothing to add")
            self.count = uint256(self.count + amount)
            self.by[sender] = uint256(self.by[sender] + amount)
            self.log(Counted(by=sender, amount=amount))
            return self.count

State is what Vyper's is: integers, booleans, bytes, addresses (0x text in lower case), tuples (of
structs and arrays) and HashMaps. A call that reverts leaves no trace in it. The one keyword-only
argument of a function, if there is one, is msg.sender; `self.chain.timestamp` is block.timestamp.
Models of other contracts are called directly: `self.token.transfer(to, x, sender=self.address)`.
"""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

MAX_UINT256 = 2**256 - 1
ZERO_ADDRESS = "0x" + "00" * 20

K = TypeVar("K")
V = TypeVar("V")
R = TypeVar("R")
C = TypeVar("C", bound="Contract")


class Revert(Exception):
    """A call that changes nothing: `reason` of an assert, or the revert `data` as it is."""

    def __init__(self, reason: str = "", data: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data


def require(condition: object, reason: str = "") -> None:
    """Vyper's `assert condition, reason`."""
    if not condition:
        raise Revert(reason)


def uint256(value: int) -> int:
    """The value if it fits; otherwise the bare revert of Vyper's checked arithmetic."""
    if 0 <= value <= MAX_UINT256:
        return value
    raise Revert


def int256(value: int) -> int:
    """The same for signed numbers. `//` and `%` of negative ones differ: Vyper truncates."""
    if -(2**255) <= value < 2**255:
        return value
    raise Revert


class HashMap(dict[K, V]):
    """A mapping with a default that remembers what was written. Several keys: map[one, two]."""

    __slots__ = ("default", "journal")

    def __init__(self, default: V) -> None:
        super().__init__()
        self.default = default
        self.journal: list[tuple[HashMap[Any, Any], Any, Any]] = []

    def __missing__(self, key: K) -> V:
        return self.default

    def __setitem__(self, key: K, value: V) -> None:
        self.journal.append((self, key, self[key]))
        super().__setitem__(key, value)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a HashMap is read and written by map[key] only, as in Vyper")

    __delitem__ = get = pop = popitem = setdefault = update = clear = _refuse


class Chain:
    """Models of contracts that share time and transactions."""

    def __init__(self, timestamp: int = 1) -> None:
        self.timestamp = timestamp
        self.models: list[Contract] = []
        self.journal: list[tuple[HashMap[Any, Any], Any, Any]] = []
        self.events: list[tuple[str, tuple[Any, ...]]] = []  # (address, event) of a transaction
        self.before: list[dict[str, Any]] = []  # attributes of the models before it

    def deploy(
        self, model: type[C], *args: Any, sender: str = ZERO_ADDRESS, address: str = ""
    ) -> C:
        """Construct a model; without `address` at one that is free."""
        made: C = model.__new__(model)
        made.chain = self
        made.address = address or f"0x{0xC0DE + len(self.models):040x}"
        caller = caller_argument(model.__init__)
        made.__init__(*args, **({caller: sender} if caller else {}))  # type: ignore[misc]
        for name, value in vars(made).items():
            if isinstance(value, HashMap):
                value.journal = self.journal
            elif isinstance(value, list | dict | set | bytearray):
                kind = type(value).__name__
                raise TypeError(f"{name} is a {kind}, which a revert could not restore")
        self.models.append(made)
        return made

    def execute(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """One transaction: afterwards `journal` and `events` are its own; a revert undoes it."""
        self.journal.clear()
        self.events = []
        self.before = [model.__dict__.copy() for model in self.models]
        try:
            return call(*args, **kwargs)
        except BaseException:
            self._undo(self.before)
            raise

    def has_changed(self) -> bool:
        """Whether the transaction wrote anything, be it the same value."""
        if self.events or self.journal:
            return True
        return [model.__dict__ for model in self.models] != self.before

    def probe(self, call: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """One transaction that is undone even when it succeeds."""
        self.journal.clear()
        self.events = []
        self.before = [model.__dict__.copy() for model in self.models]
        try:
            return call(*args, **kwargs)
        finally:
            self._undo(self.before)

    def _undo(self, saved: list[dict[str, Any]]) -> None:
        for hash_map, key, old in reversed(self.journal):
            dict.__setitem__(hash_map, key, old)
        self.journal.clear()
        for model, state in zip(self.models, saved, strict=True):
            attributes = model.__dict__  # in place: whoever holds it goes on holding the state
            attributes.clear()
            attributes.update(state)
        self.events = []


class Contract:
    """A model of one deployed contract."""

    EVENTS: ClassVar[tuple[type[Any], ...]] = ()  # NamedTuples named and filled as the contract's
    chain: Chain
    address: str

    def log(self, event: tuple[Any, ...]) -> None:
        """Vyper's `log Event(...)`, with one of EVENTS."""
        self.chain.events.append((self.address, event))


def caller_argument(function: Callable[..., Any]) -> str:
    """Name of the keyword-only argument that gets msg.sender, or ""."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            return parameter.name
    return ""

"""The little of a chain that the model needs: time, atomic calls, events, revert reasons.

Storage is plain attributes (immutable values only) and `Storage` mappings. An external call that
reverts restores both, so a revert leaves no trace.
"""

from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

ZERO_ADDRESS = "0x" + "00" * 20
MAX_UINT256 = 2**256 - 1

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound="Contract")
K = TypeVar("K")
V = TypeVar("V")


class Revert(Exception):
    """A call that changes nothing. `reason` is empty where the contract gives none."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Event(NamedTuple):
    """One log entry; `fields` in the order of the event's declaration."""

    address: str
    name: str
    fields: tuple[Any, ...]


class Chain:
    """Contracts that share time and transactions.

    `chain_id` is part of what is signed. Signatures are known by having been registered: the model
    needs no cryptography to tell a signed message from another.

    `address_of(creator, nonce)` names the contracts that contracts create; a differential run
    passes the real derivation, on its own the model needs no hash function.
    """

    def __init__(
        self,
        timestamp: int = 1,
        address_of: Callable[[str, int], str] | None = None,
        chain_id: int = 31_337,
    ) -> None:
        self.timestamp = timestamp
        self.chain_id = chain_id
        self.signatures: dict[tuple[Any, ...], str] = {}
        self.contracts: list[Contract] = []
        self.writes: list[tuple[Storage[Any, Any], Any, Any]] = []
        self.events: list[Event] = []
        self.is_executing = False
        # Attributes as they were, of the contracts that the transaction has entered: a contract
        # changes no other's.
        self.saved: dict[Contract, dict[str, Any]] = {}
        self.results: dict[Any, tuple[Any, Any]] = {}  # of views that are `remembered`
        self._address_of = address_of or _plain_address

    def new_address(self, creator: str, nonce: int) -> str:
        """Address of the contract that `creator` creates as its `nonce`-th."""
        return self._address_of(creator, nonce)

    def register_signature(self, message: tuple[Any, ...], r: int, vs: int, signer: str) -> None:
        """Makes `signer` known as who signed this message with this signature."""
        self.signatures[message, r, vs] = signer

    def recover(self, message: tuple[Any, ...], r: int, vs: int) -> str:
        """Who signed; the zero address if nobody that is known."""
        return self.signatures.get((message, r, vs), ZERO_ADDRESS)

    def execute(self, call: Callable[..., R], called: "Contract", *args: Any, **kwargs: Any) -> R:
        """Runs `call` of `called` as one transaction: `writes` and `events` are its own, a revert
        undoes it."""
        self.writes = []
        self.events = []
        self.saved = {called: called.__dict__.copy()}
        count = len(self.contracts)
        self.is_executing = True
        try:
            return call(called, *args, **kwargs)
        except BaseException:
            self._restore(count)
            raise
        finally:
            self.is_executing = False

    def probe(self, call: Callable[[], R]) -> R:
        """Runs `call` as a transaction and undoes it even when it succeeds."""
        writes, events, saved = self.writes, self.events, self.saved
        self.writes = []
        self.events = []
        self.saved = {contract: contract.__dict__.copy() for contract in self.contracts}
        count = len(self.contracts)
        self.is_executing = True
        try:
            return call()
        finally:
            self._restore(count)
            self.is_executing = False
            self.writes, self.events, self.saved = writes, events, saved

    def before(self, contract: "Contract") -> dict[str, Any]:
        """The attributes of a contract just before the last transaction, if that succeeded."""
        return self.saved.get(contract, contract.__dict__)

    def has_changed(self) -> bool:
        """Whether the last transaction, if it succeeded, left anything behind."""
        return bool(self.events or self.writes) or any(
            contract.__dict__ != state for contract, state in self.saved.items()
        )

    def _restore(self, count: int) -> None:
        for storage, key, old in reversed(self.writes):
            dict.__setitem__(storage, key, old)
        for contract, state in self.saved.items():
            contract.__dict__ = state
        del self.contracts[count:]
        self.events = []


class Contract:
    """A model of one deployed contract."""

    def __init__(self, chain: Chain, address: str) -> None:
        self.chain = chain
        self.address = address
        chain.contracts.append(self)

    def log(self, name: str, *fields: Any) -> None:
        """Emits an event."""
        self.chain.events.append(Event(self.address, name, fields))


class Storage(dict[K, V]):
    """A mapping with a default value that remembers what was written."""

    def __init__(self, chain: Chain, default: V) -> None:
        super().__init__()
        self.chain = chain
        self.default = default

    def __missing__(self, key: K) -> V:
        return self.default

    def __setitem__(self, key: K, value: V) -> None:
        self.chain.writes.append((self, key, self[key]))
        dict.__setitem__(self, key, value)


def external(
    function: Callable[Concatenate[C, P], R],
) -> Callable[Concatenate[C, P], R]:
    """Marks a function that changes state: called from outside it is a transaction of its own."""

    @wraps(function)
    def call(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        chain = self.chain
        if chain.is_executing:
            if self not in chain.saved:
                chain.saved[self] = self.__dict__.copy()
            return function(self, *args, **kwargs)
        return chain.execute(function, self, *args, **kwargs)

    return call


def _plain_address(creator: str, nonce: int) -> str:
    return f"0x{(int(creator, 16) + (nonce << 128)) % 2**160:040x}"


def remembered(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Of a view that depends on its arguments, the time and these attributes: the last result is
    given again while all of them are equal. Marks are worked out by whoever plans a step, too."""
    attributes = attrgetter(*names)

    def remember(view: Callable[..., R]) -> Callable[..., R]:
        @wraps(view)
        def ask(self: Contract, *args: Any) -> R:
            chain = self.chain
            key = (args, chain.timestamp, attributes(self))
            last = chain.results.get((self.address, view))
            if last is not None and last[0] == key:
                return last[1]  # type: ignore[no-any-return]
            result = view(self, *args)
            chain.results[self.address, view] = (key, result)
            return result

        return ask

    return remember

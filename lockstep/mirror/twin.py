"""Mirror: a twin made of compiled contracts and their models. A protocol subclasses it."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from lockstep import abi
from lockstep.adapter import Config, Invariant
from lockstep.compare import Mismatch, outcome_mismatch, view_mismatch
from lockstep.engines.base import GENESIS_TIME, Engine, Log
from lockstep.errors import InputError
from lockstep.mirror.checks import check_state
from lockstep.mirror.codec import value_maker
from lockstep.mirror.draw import Arguments, Drawer
from lockstep.mirror.interface import Bound, Interface, getter
from lockstep.mirror.model import ZERO_ADDRESS, Chain, Contract, Revert
from lockstep.mirror.relay import forwarded, relay_code
from lockstep.mirror.storage import MappingWords, StorageWords, Word
from lockstep.step import ModelResult, Step

SAMPLES = 4  # calls of each view, when the whole state is compared

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Draw(NamedTuple):
    """How steps of one function are drawn."""

    action: str  # "contract.function"
    weight: float
    says: str
    by: Sequence[str]  # roles
    references: tuple[str, tuple[int, ...]] | None
    method: str


def step(
    action: str,
    *,
    weight: float = 10,
    says: str = "",
    by: Sequence[str] = (),
    returned_by: tuple[str, int] | None = None,
) -> Callable[[F], F]:
    """Mark a method (self, rng, me) that draws the arguments of `action`, "contract.function".

    `me` is the address of who acts. The method gives the arguments as a tuple, or None when there
    is nothing to do; `says` tells the step, with {0} for the first argument; `by` are the roles
    that act, all of them if there are none. With
    `returned_by=("vault.open", 0)`, argument 0 is what an earlier vault.open returned.
    """
    references = (returned_by[0], (returned_by[1],)) if returned_by else None

    def mark(method: F) -> F:
        method.draws = Draw(action, weight, says, by, references, method.__name__)  # type: ignore[attr-defined]
        return method

    return mark


def invariant(name: str, sentence: str, every: int = 1) -> Callable[[F], F]:
    """Mark a method (self) that gives None, or says how the sentence is broken."""

    def mark(method: F) -> F:
        method.invariant = Invariant(name, sentence, method, every)  # type: ignore[attr-defined]
        return method

    return mark


class Owner(Protocol):
    """What a twin needs of its adapter."""

    @property
    def interfaces(self) -> Mapping[str, Interface]: ...


class Mirror:
    """Contracts and models under one name each. See docs/first_campaign.md.

    A subclass says which contracts there are (`contracts`) and who acts (`roles`), deploys them
    (`deploy`), and may say how steps are drawn (`@step`) and what always holds (`@invariant`).
    All else follows from the compiled contracts. Roles and contracts stand for their addresses in
    arguments and reports.
    """

    name: ClassVar[str] = "mirror"
    root: ClassVar[str | Path] = "."  # what the paths of the contracts are relative to
    contracts: ClassVar[Mapping[str, tuple[str, type[Contract]]]] = {}  # name -> source, model
    roles: ClassVar[Sequence[str]] = ("owner", "user_0", "user_1", "user_2")
    # Those of them that are contracts, which the first role calls: where a contract reads tx.origin
    # and means msg.sender, only they show it.
    relays: ClassVar[Sequence[str]] = ()
    # "contract.function", event or variable that the models leave out -> why
    unmirrored: ClassVar[Mapping[str, str]] = {}
    delays: ClassVar[Sequence[int]] = (0, 0, 1, 12, 60, 3_600, 86_400)  # seconds between steps
    invalid_share: ClassVar[float] = 0.1
    edge_share: ClassVar[float] = 0.04
    draws: ClassVar[dict[str, Draw]] = {}
    invariants: ClassVar[tuple[Invariant, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        members = [value for base in reversed(cls.__mro__) for value in vars(base).values()]
        draws = [member.draws for member in members if hasattr(member, "draws")]
        cls.draws = {draw.action: draw for draw in draws if isinstance(draw, Draw)}
        found = [member.invariant for member in members if hasattr(member, "invariant")]
        cls.invariants = tuple({item.id: item for item in found}.values())

    def __init__(self, owner: Owner, engine: Engine, config: Config) -> None:
        self.engine = engine
        self.config = config
        self.now = GENESIS_TIME
        self.chain = Chain(self.now)
        self.address = {role: role_address(role) for role in self.roles}
        origin = self.address[self.roles[0]]
        for role in self.relays:
            self.address[role] = engine.deploy(relay_code(self.root), origin)
        self._origins = dict.fromkeys(self.relays, origin)
        self.names = {address: role for role, address in self.address.items()}
        self._interfaces = owner.interfaces
        self.functions: dict[str, Bound] = {}
        self._events: dict[tuple[str, type[Any]], Callable[..., Log]] = {}
        self._storage: list[StorageWords] = []
        self._mappings: dict[int, MappingWords] = {}
        self._touched: dict[tuple[int, Any], None] = {}
        self.returned: int | None = None  # by the last step that succeeded
        self._last: tuple[Step | None, Sequence[Any]] = None, ()
        self._drawer: Drawer | None = None
        self.deploy(config)
        for name in self.contracts:
            if name not in self.address:
                raise InputError(f"{self.name}: deploy() does not create {name!r}")
        self._touched.clear()
        for words in self._storage:
            words.changed()

    # -- what a protocol writes --------------------------------------------------------------------

    def deploy(self, config: Config) -> None:
        """Create the contracts, and bring them to where a campaign starts."""
        raise NotImplementedError

    def create(self, name: str, *args: Any, sender: str = "owner") -> Any:
        """Deploy one of `contracts` and construct its model, which is the result.

        Models and names of roles and contracts stand for addresses in `args`.
        """
        interface = known("contract", name, self._interfaces)
        makers = [value_maker(item, self.address) for item in interface.constructor.inputs]
        if len(args) != len(makers):
            names = ", ".join(item["name"] for item in interface.constructor.inputs)
            raise InputError(f"create({name!r}): the constructor takes ({names}), got {len(args)}")
        values = [maker(arg) if maker else arg for maker, arg in zip(makers, args, strict=True)]
        who = known("role", sender, self.address)
        try:
            encoded = interface.constructor.calldata(values)[4:]
        except Exception as error:  # of whatever kind the encoder of that type raises
            text = f"create({name!r}): {values} cannot be encoded: {error}"
            raise InputError(text) from error
        address = self.engine.deploy(interface.artifact.initcode + encoded, who)
        try:
            model = self.chain.deploy(interface.model, *values, sender=who, address=address)
        except Revert as revert:
            raise InputError(
                f"create({name!r}): the model reverts ({revert.reason}), the contract does not"
            ) from None
        except TypeError as error:
            raise InputError(f"create({name!r}): {error}") from None
        self.address[name], self.names[address] = address, name
        self._join(name, interface, model)
        return model

    def call(self, who: str, action: str, *args: Any) -> Any:
        """A call that belongs to the deployment: it must succeed, alike on both sides."""
        known("role", who, self.address)
        known("action", action, self.functions)
        first = Step(action, who, args, self.now)
        expected = self.execute_model(first)
        got = self.engine.call(*self.encode(first))
        if (expected.ok, expected.output, expected.logs) != (got.ok, got.output, got.logs):
            raise outcome_mismatch(expected, got)
        if not expected.ok:
            raise InputError(f"deployment: {self.describe(first)} reverts: {expected.reason}")
        return expected.value

    def statistics(self) -> dict[str, int]:
        """Counts for the report. Added up over twins, except names that begin with "largest"."""
        return {}

    # -- deployment --------------------------------------------------------------------------------

    def _join(self, name: str, interface: Interface, model: Contract) -> None:
        left_out = self.unmirrored
        check_state(name, interface.functions, interface.variables, model, left_out)
        found = [item for item in interface.variables if f"{name}.{item.name}" not in left_out]
        words = StorageWords(name, model, found)
        self._storage.append(words)
        self._mappings |= {id(mapping.map): mapping for mapping in words.mappings}
        for event, encode in interface.events.items():
            self._events[model.address, event] = encode
        for function, codec in interface.functions.items():
            action = f"{name}.{function}"
            if action not in left_out and hasattr(model, function):
                caller = interface.callers.get(function)
                call = getattr(model, function)
                if caller is None:
                    call = getter(model, function, interface.keys.get(function, 0))
                self.functions[action] = Bound(codec, model.address, call, caller, self.address)

    def draw(self, rng: random.Random) -> Step:
        """The next step; a subclass may draw quite differently."""
        if self._drawer is None:
            self._drawer = Drawer(self)
        return self._drawer.step(rng)

    def outcome(self, step: Step) -> Any:
        """What comes of a step, without doing it: the revert reason, or the kinds of events and
        whether anything but zero is returned.
        """
        self.chain.timestamp = step.at
        function = self.functions[step.action]
        caller = {function.caller: self.address[step.actor]} if function.caller else {}

        def run() -> Any:
            value = function.call(*function.values(step.args), **caller)
            return [not value, *[type(event) for _, event in self.chain.events]]

        try:
            return self.chain.probe(run)
        except Revert as revert:
            return revert.reason

    # -- Twin --------------------------------------------------------------------------------------

    def execute_model(self, step: Step) -> ModelResult:
        chain = self.chain
        chain.timestamp = self.now = step.at
        function = self.functions[step.action]
        values = function.values(step.args)
        self._last = step, values
        try:
            if function.caller:
                caller = {function.caller: self.address[step.actor]}
                value = chain.execute(function.call, *values, **caller)
            else:
                value = chain.execute(function.call, *values)
        except Revert as revert:
            return ModelResult(False, revert_data(revert), [], revert.reason, None, False)
        touched = self._touched
        for hash_map, key, _ in chain.journal:
            touched[id(hash_map), key] = None
        encoders = self._events
        logs = [encoders[place, type(event)](place, *event) for place, event in chain.events]
        output = function.codec.output(value)
        self.returned = number = value if type(value) is int else None
        return ModelResult(True, output, logs, "", number, chain.has_changed())

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        function = self.functions[step.action]
        last, values = self._last
        if last is not step:
            values = function.values(step.args)
        data, sender = function.codec.calldata(values), self.address[step.actor]
        if step.actor in self._origins:
            return self._origins[step.actor], sender, forwarded(function.address, data)
        return sender, function.address, data

    def touched_words(self) -> Iterable[Word]:
        """What was touched since it was last asked, after one step or after many."""
        words: list[Word] = []
        for storage in self._storage:
            words += storage.changed()
        if self._touched:
            mappings = self._mappings
            for identity, key in self._touched:
                mapping = mappings.get(identity)  # None for one that the contract does not have
                if mapping is not None:
                    words += mapping(key)
            self._touched.clear()
        return words

    def all_words(self) -> Iterator[Word]:
        for storage in self._storage:
            yield from storage.everything()

    def views(self) -> Iterator[tuple[str, bytes, bytes, str]]:
        """Every view of the models with a few arguments, and what has none."""
        self.chain.timestamp = self.now
        # Drawn from the last step alone: a replay of the same steps asks the same.
        arguments = Arguments([*self.address, ZERO_ADDRESS])
        arguments.remember(self._last[1])
        for action, bound in self.functions.items():
            # A getter with arguments reads words that are compared anyway.
            is_compared = bound.is_getter and bound.codec.inputs
            if bound.codec.is_view and not bound.caller and not is_compared:
                rng = random.Random(action)
                for _ in range(SAMPLES if bound.codec.inputs else 1):
                    args = [arguments.draw(rng, item) for item in bound.codec.inputs]
                    yield from self._view(action, bound, args)

    def word_name(self, address: str, slot: int) -> str:
        for storage in self._storage:
            if storage.model.address == address:
                return storage.name(slot, self.names) or f"slot {slot}"
        return f"slot {slot}"

    def describe(self, step: Step) -> str:
        shown = [f"{arg:,}" if isinstance(arg, int) else arg for arg in step.args]
        draw = self.draws.get(step.action)
        if draw is not None and draw.says:
            return f"{step.actor} {draw.says.format(*shown)}, at {step.at}"
        return f"{step.actor} calls {step.action}({', '.join(map(str, shown))}), at {step.at}"

    def _view(
        self, action: str, bound: Bound, args: Sequence[Any]
    ) -> Iterator[tuple[str, bytes, bytes, str]]:
        values = bound.values(args)
        label = f"{action}({', '.join(map(str, args))})"
        data = bound.codec.calldata(values)
        try:
            value = bound.call(*values)
        except Revert as revert:
            self._view_reverts(bound.address, data, revert, label)
        else:
            yield bound.address, data, bound.codec.output(value), label

    def _view_reverts(self, address: str, data: bytes, revert: Revert, label: str) -> None:
        expected = revert_data(revert)
        got = self.engine.view(address, data)
        if got.ok or got.halted or got.output != expected:
            raise Mismatch(
                "view",
                f"the model reverts ({revert.reason or 'no reason'}); "
                + view_mismatch(label, expected, got).text,
            )


def revert_data(revert: Revert) -> bytes:
    return revert.data or (abi.error_string(revert.reason) if revert.reason else b"")


def known(kind: str, name: str, names: Mapping[str, T]) -> T:
    """The entry of that name; InputError that lists the names if there is none."""
    if name not in names:
        raise InputError(f"there is no {kind} {name!r}; choose one of {', '.join(names)}")
    return names[name]


def role_address(role: str) -> str:
    """An address of its own for every name."""
    return "0x" + abi.keccak(role.encode())[-20:].hex()

"""The vault as lockstep sees it: its twin and adapter."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep import abi
from lockstep.adapter import Config, Invariant
from lockstep.compiler import Artifact, compile_vyper
from lockstep.engines.base import Engine, Log
from lockstep.step import ModelResult, Step
from rivals.vault.generator import NAMES, Generator
from rivals.vault.model import (
    ADDRESSES,
    DEPLOYER,
    NO_POSITION,
    ORACLE,
    START_PRICE,
    Model,
    Revert,
)

ROOT = Path(__file__).parents[2]
SOURCE = "rivals/vault/Vault.vy"

DEPOSITED = abi.Event("Deposited(address indexed user, uint256 amount)")
WITHDRAWN = abi.Event("Withdrawn(address indexed user, uint256 amount)")
FUNDED = abi.Event("Funded(address indexed user, uint256 amount)")
PRICE_SET = abi.Event("PriceSet(uint256 price)")
OPENED = abi.Event(
    "Opened(uint256 indexed id, address indexed owner, uint256 margin, uint256 size, bool is_long)"
)
CLOSED = abi.Event("Closed(uint256 indexed id, uint256 payout)")
LIQUIDATED = abi.Event("Liquidated(uint256 indexed id, address indexed keeper, uint256 reward)")

EVENTS = {
    "deposit": DEPOSITED,
    "withdraw": WITHDRAWN,
    "fund": FUNDED,
    "set_price": PRICE_SET,
    "open": OPENED,
    "close": CLOSED,
    "liquidate": LIQUIDATED,
}

SIGNATURES = {
    "deposit": "deposit(uint256)",
    "withdraw": "withdraw(uint256)",
    "fund": "fund(uint256)",
    "set_price": "set_price(uint256)",
    "open": "open(uint256,uint256,bool)",
    "close": "close(uint256)",
    "liquidate": "liquidate(uint256)",
}
STATE = abi.selector("state(address,uint256)")
SELECTORS = {name: abi.selector(signature) for name, signature in SIGNATURES.items()}
_make = tuple.__new__  # of a NamedTuple: a third of the time its constructor takes
FIELDS = ("owner", "margin", "size", "entry", "opened_at", "is_long")
GLOBALS = ("price", "priced_at", "pool", "fees", "open_interest", "held", "next_id")


class VaultTwin:
    """The vault on an engine, and its model."""

    def __init__(self, engine: Engine, artifact: Artifact, aimed: bool) -> None:
        initcode = artifact.initcode + abi.words(ORACLE, START_PRICE)
        self.address = engine.deploy(initcode, DEPLOYER)
        self.model = model = Model()
        self.generator = Generator(model, aimed)
        self.now = model.now
        self.closed = 0
        self._run = {name: getattr(self, f"_{name}") for name in SELECTORS}
        self._slots = {name: artifact.slot(name) for name in artifact.layout}
        self._globals = [(name, self._slots[name]) for name in GLOBALS]
        self._balance = {
            user: abi.mapping_slot(self._slots["balances"], user) for user in model.balances
        }
        self._users: set[str] = set()  # whose balance was touched since the last comparison
        self._positions: set[int] = set()  # likewise

    # -- one step ----------------------------------------------------------------------------------

    def execute_model(self, step: Step) -> ModelResult:
        action, actor, args, at, _ = step
        self.now = self.model.now = at
        sender = ADDRESSES[actor]
        try:
            value, log = self._run[action](sender, *args)
        except Revert as revert:
            reason = revert.args[0]
            return _make(ModelResult, (False, abi.error_string(reason), [], reason, None, False))
        self._users.add(sender)
        output = b"" if value is None else value.to_bytes(32, "big")
        return _make(ModelResult, (True, output, [log], "", value, True))

    def _deposit(self, sender: str, amount: int) -> tuple[int, Log]:
        return self.model.deposit(sender, amount), DEPOSITED.encode(self.address, sender, amount)

    def _withdraw(self, sender: str, amount: int) -> tuple[int, Log]:
        return self.model.withdraw(sender, amount), WITHDRAWN.encode(self.address, sender, amount)

    def _fund(self, sender: str, amount: int) -> tuple[int, Log]:
        return self.model.fund(sender, amount), FUNDED.encode(self.address, sender, amount)

    def _set_price(self, sender: str, price: int) -> tuple[None, Log]:
        self.model.set_price(sender, price)
        return None, PRICE_SET.encode(self.address, price)

    def _open(self, sender: str, margin: int, size: int, is_long: int) -> tuple[int, Log]:
        identifier = self.model.open(sender, margin, size, is_long == 1)
        self._positions.add(identifier)
        return identifier, OPENED.encode(self.address, identifier, sender, margin, size, is_long)

    def _close(self, sender: str, identifier: int) -> tuple[int, Log]:
        payout = self.model.close(sender, identifier)
        self._positions.add(identifier)
        self.closed += 1
        return payout, CLOSED.encode(self.address, identifier, payout)

    def _liquidate(self, sender: str, identifier: int) -> tuple[int, Log]:
        position = self.model.positions.get(identifier)
        reward = self.model.liquidate(sender, identifier)
        assert position is not None
        self._users.add(position[0])
        self._positions.add(identifier)
        return reward, LIQUIDATED.encode(self.address, identifier, sender, reward)

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        action, actor, args, _, _ = step
        words = b"".join([int(value).to_bytes(32, "big") for value in args])
        return ADDRESSES[actor], self.address, SELECTORS[action] + words

    # -- state -------------------------------------------------------------------------------------

    def touched_words(self) -> Iterable[tuple[str, int, int]]:
        users, positions = self._users, self._positions
        if users:
            self._users, self._positions = set(), set()
            yield from self._words(users, positions)

    def all_words(self) -> Iterable[tuple[str, int, int]]:
        return self._words(self._balance, self.model.positions)

    def _words(
        self, users: Iterable[str], positions: Iterable[int]
    ) -> Iterable[tuple[str, int, int]]:
        model, address = self.model, self.address
        for name, slot in self._globals:
            yield address, slot, getattr(model, name)
        for user in users:
            yield address, self._balance[user], model.balances[user]
        for identifier in positions:
            owner, *words = model.positions.get(identifier, NO_POSITION)
            base = abi.mapping_slot(self._slots["positions"], identifier)
            yield address, base, int(owner, 16)
            for offset, word in enumerate(words, 1):
                yield address, base + offset, word

    def views(self) -> Iterable[tuple[str, bytes, bytes, str]]:
        user, identifier = ORACLE, self.model.next_id - 1
        data = abi.call(STATE, user, identifier)
        yield self.address, data, abi.words(*self.model.state(user, identifier)), "state"

    def word_name(self, address: str, slot: int) -> str:
        for name, at in self._globals:
            if at == slot:
                return name
        for user, at in self._balance.items():
            if at == slot:
                return f"balance of {NAMES[user]}"
        for identifier in range(1, self.model.next_id):
            base = abi.mapping_slot(self._slots["positions"], identifier)
            if base <= slot < base + len(FIELDS):
                return f"position {identifier}.{FIELDS[slot - base]}"
        return f"slot {slot:#x}"

    def describe(self, step: Step) -> str:
        action, actor, args, at, _ = step
        told = ADAPTER.actions[action].format(*args)
        if action == "open":
            told += " long" if args[2] else " short"
        return f"at {at} {actor} {told}"

    def statistics(self) -> dict[str, int]:
        return {"closed": self.closed, "largest open interest": self.model.open_interest}


class VaultAdapter:
    """Of the vault, or with `overrides` of a copy of it that has a bug."""

    name = "vault"
    import_path = "rivals.vault.adapter:ADAPTER"
    actions: Mapping[str, str] = {
        "deposit": "deposits {}",
        "withdraw": "withdraws {}",
        "fund": "gives {} to the pool",
        "set_price": "sets the price to {}",
        "open": "opens with a margin of {} for a size of {}",
        "close": "closes position {}",
        "liquidate": "liquidates position {}",
    }
    references: Mapping[str, tuple[str, tuple[int, ...]]] = {
        "close": ("open", (0,)),
        "liquidate": ("open", (0,)),
    }
    invariants: Sequence[Invariant] = (
        Invariant(
            "V1",
            "what is held and open interest are the sums of their parts",
            lambda twin: twin.model.broken_sums() or None,
            500,
        ),
    )

    def __init__(self, overrides: dict[str, str] | None = None, aimed: bool = True) -> None:
        self.overrides = overrides or {}
        self.aimed = aimed
        self._artifact: Artifact | None = None

    def artifact(self) -> Artifact:
        """The compiled vault; compiled once."""
        if self._artifact is None:
            self._artifact = compile_vyper(SOURCE, root=ROOT, overrides=self.overrides)
        return self._artifact

    def new_twin(self, engine: Engine, config: Config) -> VaultTwin:
        return VaultTwin(engine, self.artifact(), self.aimed)

    def generate(self, twin: Any, rng: random.Random, name: str = "") -> Step:
        return _make(Step, twin.generator.draw(rng, name))


ADAPTER = VaultAdapter()

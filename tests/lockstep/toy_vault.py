"""Model and adapter of the toy vault: all that lockstep needs to know about a protocol."""

import random
from collections.abc import Iterable, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from lockstep import abi
from lockstep.adapter import Config, Invariant
from lockstep.compiler import Artifact, Sources
from lockstep.edges import largest_accepted
from lockstep.engines import GENESIS_TIME, Engine
from lockstep.step import ModelResult, Step

ROOT = Path(__file__).parents[2]
SOURCE = "tests/lockstep/Vault.vy"
CAP, MINIMUM, FEE_BPS, EARLY = 10**12, 10, 30, 3_600
ACTORS = {f"user_{i}": f"0x{i:040x}" for i in range(0x100, 0x104)}
DEPLOYER = "0x" + "de" * 20

OPENED = abi.Event("Opened(uint256 indexed id, address indexed owner, uint256 amount)")
FEE_TAKEN = abi.Event("FeeTaken(uint256 fee)")
CLOSED = abi.Event("Closed(uint256 indexed id, uint256 payout)")
ENCODERS = {name: abi.encoder(f"{name}(uint256)") for name in ("open", "close")}
TOTAL = abi.selector("total()")


class Revert(Exception):
    pass


class Model:
    def __init__(self, first_id: int) -> None:
        self.deposits: dict[int, tuple[str, int, int]] = {}
        self.next_id, self.total, self.fees = first_id, 0, 0
        self.change = dict.fromkeys(ACTORS.values(), 0)

    def open(self, sender: str, now: int, amount: int) -> int:
        if amount < MINIMUM:
            raise Revert("too small")
        if self.total + amount > CAP:
            raise Revert("over cap")
        self.next_id += 1
        self.deposits[self.next_id - 1] = (sender, amount, now)
        self.total += amount
        self.change[sender] -= amount
        return self.next_id - 1

    def close(self, sender: str, now: int, identifier: int) -> tuple[int, int]:
        owner, amount, opened_at = self.deposits.get(identifier, ("", 0, 0))
        if not amount:
            raise Revert("no deposit")
        if owner != sender:
            raise Revert("not owner")
        rate = FEE_BPS * (2 if now < opened_at + EARLY else 1)
        fee = -(-amount * rate // 10_000)
        del self.deposits[identifier]
        self.total -= amount
        self.fees += fee
        self.change[sender] += amount - fee
        return amount - fee, fee


class VaultTwin:
    def __init__(self, engine: Engine, config: Config, artifact: Artifact) -> None:
        first = config.get("first_id", 1)
        self.address = engine.deploy(artifact.initcode + abi.words(first), DEPLOYER)
        self.slots = {name: artifact.slot(name) for name in artifact.layout}
        self.model = Model(first)
        self.now = GENESIS_TIME
        self.closed = 0
        self.touched: dict[tuple[str, int], int] = {}  # since it was last asked for
        self.names = {self.slots[name]: name for name in ("next_id", "total", "fees")}

    def execute_model(self, step: Step) -> ModelResult:
        sender, (value,) = ACTORS[step.actor], step.args
        assert isinstance(value, int)
        self.now = step.at
        try:
            if step.action == "open":
                result = self.model.open(sender, self.now, value)
                logs = [OPENED(self.address, result, sender, value)]
                self._touch(sender, result)
            else:
                result, fee = self.model.close(sender, self.now, value)
                logs = [FEE_TAKEN(self.address, fee), CLOSED(self.address, value, result)]
                self._touch(sender, value)
                self.closed += 1
        except Revert as error:
            return ModelResult(False, abi.error_string(str(error)), [], str(error), None, False)
        return ModelResult(True, abi.word(result), logs, "", result)

    def _touch(self, sender: str, identifier: int) -> None:
        for address, slot, value in (*self._words(sender), *self._deposit(identifier)):
            self.touched[address, slot] = value

    def _words(self, sender: str) -> Iterable[tuple[str, int, int]]:
        model, slots, at = self.model, self.slots, self.address
        yield at, slots["next_id"], model.next_id
        yield at, slots["total"], model.total
        yield at, slots["fees"], model.fees
        slot = self._name(abi.mapping_slot(slots["balance_change"], sender), f"change of {sender}")
        yield at, slot, abi.unsigned(model.change[sender])

    def _deposit(self, identifier: int) -> Iterable[tuple[str, int, int]]:
        owner, amount, opened_at = self.model.deposits.get(identifier, ("0x0", 0, 0))
        base = abi.mapping_slot(self.slots["deposits"], identifier)
        fields = (("owner", int(owner, 16)), ("amount", amount), ("opened_at", opened_at))
        for i, (field, value) in enumerate(fields):
            yield self.address, self._name(base + i, f"deposit {identifier}.{field}"), value

    def _name(self, slot: int, name: str) -> int:
        self.names[slot] = name
        return slot

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        return ACTORS[step.actor], self.address, ENCODERS[step.action](step.args[0])

    def touched_words(self) -> Iterable[tuple[str, int, int]]:
        touched, self.touched = self.touched, {}
        return [(address, slot, value) for (address, slot), value in touched.items()]

    def all_words(self) -> Iterable[tuple[str, int, int]]:
        for sender in ACTORS.values():
            yield from self._words(sender)
        for identifier in self.model.deposits:
            yield from self._deposit(identifier)

    def views(self) -> Iterable[tuple[str, bytes, bytes, str]]:
        yield self.address, TOTAL, abi.word(self.model.total), "total()"

    def word_name(self, address: str, slot: int) -> str:
        return self.names[slot]

    def describe(self, step: Step) -> str:
        noun = "an amount of" if step.action == "open" else "deposit"
        return f"{step.actor} {step.action}s {noun} {step.args[0]} at {step.at}"

    def statistics(self) -> dict[str, int]:
        return {"closed": self.closed, "largest total": self.model.total}


def total_is_the_sum(twin: VaultTwin) -> str | None:
    held = sum(amount for _, amount, _ in twin.model.deposits.values())
    return None if held == twin.model.total else f"total {twin.model.total}, deposits {held}"


class VaultAdapter:
    name = "toy vault"
    import_path = "toy_vault:ADAPTER"
    actions = {"open": "deposit an amount", "close": "take a deposit out"}  # noqa: RUF012
    references = {"close": ("open", (0,))}  # noqa: RUF012
    invariants = (
        Invariant("T1", "total is the sum of the deposits", total_is_the_sum),
        Invariant("T2", "fees are never negative", lambda twin: None, 50),
    )

    def __init__(
        self, overrides: dict[str, str] | None = None, artifact: Artifact | None = None
    ) -> None:
        self.overrides = overrides or {}
        self.artifact = artifact

    def new_twin(self, engine: Engine, config: Config) -> VaultTwin:
        artifact = self.artifact or self.sources()["Vault"].artifact()
        return VaultTwin(engine, config, artifact)

    model_files = (Path(__file__),)

    def sources(self) -> dict[str, Sources]:
        return {"Vault": Sources.of(SOURCE, ROOT, self.overrides)}

    def compiled(self, artifacts: Mapping[str, Artifact]) -> "VaultAdapter":
        other = copy(self)
        other.artifact = artifacts["Vault"]
        return other

    def generate(self, twin: Any, rng: random.Random) -> Step:
        model = twin.model
        at = twin.now + rng.choice((0, 1, 12, 600, 3_599, 3_600))
        actor = rng.choice(tuple(ACTORS))
        kind = rng.randrange(10)
        if kind == 0:
            edge = largest_accepted(lambda x: model.total + x <= CAP, 0, CAP)
            assert edge is not None
            return Step("open", actor, (edge + rng.randrange(2),), at, "edge")
        if kind == 1:
            return Step("close", actor, (rng.randrange(1, model.next_id + 3),), at, "invalid")
        if kind < 6 and model.deposits:
            chosen = rng.choice(tuple(model.deposits))
            owner = model.deposits[chosen][0]
            actor = next(name for name, address in ACTORS.items() if address == owner)
            return Step("close", actor, (chosen,), at, "valid")
        return Step("open", actor, (rng.randrange(MINIMUM, 10**9),), at, "valid")


ADAPTER = VaultAdapter()


def planted(old: str, new: str) -> VaultAdapter:
    """The adapter of a copy of the contract with one bug."""
    text = (ROOT / SOURCE).read_text()
    assert text.count(old) == 1, old
    return VaultAdapter({SOURCE: text.replace(old, new)})

"""Adapter and project of the purse."""

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lockstep import abi
from lockstep.adapter import Config, Invariant
from lockstep.compiler import compile_vyper
from lockstep.engines.base import GENESIS_TIME, Engine
from lockstep.mutation.project import Project
from lockstep.step import ModelResult, Step
from tests.mutation import purse_model

ROOT = Path(__file__).parents[2]
CONTRACT, MODEL = "tests/mutation/Purse.vy", "tests/mutation/purse_model.py"
ACTORS = {f"saver_{i}": f"0x{i:040x}" for i in range(0x200, 0x203)}
LARGEST = 10**6
SAVED = abi.Event("Saved(address indexed who, uint256 amount, uint256 fee)")
SAVE, TAKE = abi.encoder("save(uint256)"), abi.encoder("take(uint256)")
TOTAL, FEES = abi.encoder("total()"), abi.encoder("fees()")


class PurseTwin:
    def __init__(self, engine: Engine, codes: Mapping[str, bytes]) -> None:
        artifact = compile_vyper(CONTRACT, root=ROOT)
        code = codes.get("Purse", artifact.initcode)
        self.address = engine.deploy(code + abi.words(LARGEST), "0x" + "de" * 20)
        self.slots = {name: artifact.slot(name) for name in artifact.layout if name != "_locked"}
        self.model = purse_model.Purse(LARGEST)
        self.now = GENESIS_TIME
        self.sender = ""

    def execute_model(self, step: Step) -> ModelResult:
        self.sender, (amount,) = ACTORS[step.actor], step.args
        assert isinstance(amount, int)
        self.now = step.at
        try:
            if step.action == "take":
                self.model.take(self.sender, self.now, amount)
                return ModelResult(True, b"", [])
            fee = self.model.save(self.sender, self.now, amount)
        except purse_model.Refused as error:
            return ModelResult(False, abi.error_string(str(error)), [], str(error), None, False)
        logs = [SAVED(self.address, self.sender, amount, fee)]
        return ModelResult(True, abi.word(fee), logs, "", fee)

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        encode = SAVE if step.action == "save" else TAKE
        return ACTORS[step.actor], self.address, encode(step.args[0])

    def touched_words(self) -> Iterable[tuple[str, int, int]]:
        return self.all_words()

    def all_words(self) -> Iterable[tuple[str, int, int]]:
        model, slots = self.model, self.slots
        yield self.address, slots["total"], model.total
        yield self.address, slots["fees"], model.sum - model.total
        for sender, (amount, since, is_open) in model.savings.items():
            slot = abi.mapping_slot(slots["saving_of"], sender)
            for i, value in enumerate((amount, since, int(is_open))):
                yield self.address, slot + i, value
        for name, values in (("spent_of", model.spent), ("given_of", model.given)):
            for sender, value in values.items():
                yield self.address, abi.mapping_slot(slots[name], sender), value

    def views(self) -> Iterable[tuple[str, bytes, bytes, str]]:
        yield self.address, TOTAL(), abi.word(self.model.total), "total()"
        yield self.address, FEES(), abi.word(self.model.fees), "fees()"

    def word_name(self, address: str, slot: int) -> str:
        return str(slot)

    def describe(self, step: Step) -> str:
        return f"{step.actor} {step.action}s {step.args[0]}"

    def statistics(self) -> dict[str, int]:
        return {}


class PurseAdapter:
    name = "purse"
    import_path = "tests.mutation.purse:ADAPTER"
    actions: Mapping[str, Any] = {"save": None, "take": None}
    references: Mapping[str, tuple[str, tuple[int, ...]]] = {}
    invariants: tuple[Invariant, ...] = ()

    def __init__(self, codes: Mapping[str, bytes]) -> None:
        self.codes = codes

    def new_twin(self, engine: Engine, config: Config) -> PurseTwin:
        return PurseTwin(engine, self.codes)

    def generate(self, twin: Any, rng: random.Random) -> Step:
        action, actor = rng.choice(("save", "take")), rng.choice(list(ACTORS))
        saved, since, _ = twin.model.savings.get(ACTORS[actor], (0, 0, False))
        at = twin.now + rng.choice((0, 1, 30))
        if action == "take":
            at = max(at, rng.choice((twin.now, since + 59, since + 60)))
        near = (LARGEST, LARGEST + 1) if action == "save" else (saved, saved + 1)
        amount = rng.choice((0, 1, rng.randrange(1, LARGEST), *near, *near))
        return Step(action, actor, (amount,), at, "edge" if amount in near else "valid")


ADAPTER = PurseAdapter({})


def purse_project(root: Path = ROOT) -> Project:
    return Project(
        root=root,
        contracts=[CONTRACT],
        model=[MODEL],
        deployables={"Purse": CONTRACT},
        build=PurseAdapter,
        configs=({},),
        inputs=(CONTRACT, MODEL),
        unmutated=("sum",),
    )

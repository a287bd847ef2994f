"""The lens in both forms: the same answers and refusals, and what it says is what then happens.

States come from the fuzzer, with all it does: misbehaving tokens, failing feeds, roles at work.
"""

import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from lens_checks import OF_OWNER, PREVIEWED, ask, assert_lists, assert_true

from lockstep import abi
from lockstep.checker import Checker
from lockstep.compiler import compile_vyper
from lockstep.engines import open_engine
from lockstep.mirror.codec import canonical
from lockstep.step import Step
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs
from perp_fuzz.deployment import ADDRESSES, ROOT
from python_model.evm import Revert
from python_model.market_lens import MarketLens

LENS = "contracts/MarketLens.vy"
OWNER = ADDRESSES["owner_0"]


class BothLenses:
    """The lens beside one deployment, on the engine and in the model."""

    def __init__(self, engine: Any, system: Any) -> None:
        artifact = compile_vyper(LENS, root=ROOT)
        self.engine = engine
        self.system = system
        self.address = engine.deploy(artifact.initcode, OWNER)
        self.model = MarketLens(system.chain, self.address)
        functions = [item for item in artifact.abi if item["type"] == "function"]
        self.types = {
            item["name"]: [(entry["type"]) for entry in item["inputs"]] for item in functions
        }
        self.returns = {item["name"]: canonical(item["outputs"][0]) for item in functions}

    def ask(self, name: str, *args: Any) -> tuple[Any, str]:
        """Value, or None and the reason: equal in both forms."""
        market = self.system.market
        types = self.types[name]
        data = abi.selector(f"{name}({','.join(types)})")
        data += abi_encode(types, [market.address, *args])
        got = self.engine.view(self.address, data)
        assert not got.halted, got.halted
        value, reason = None, ""
        try:
            value = getattr(self.model, name)(market, *args)
            expected = abi_encode([self.returns[name]], [value])
        except Revert as revert:
            reason = revert.reason
            expected = abi.error_string(reason) if reason else b""
        assert got.ok == (value is not None), f"{name}{args}: {abi.revert_reason(got.output)}"
        assert got.output == expected, f"{name}{args}: {value} or {reason!r} expected"
        return value, reason


class Watch:
    """A chain of the fuzzer's steps with the lens asked before each."""

    def __init__(self, config: dict[str, Any], seed: int) -> None:
        self.adapter = PerpAdapter()
        self.engine = open_engine("revm")
        self.checker = Checker(
            self.adapter, self.engine, {**config, "seed": seed, "chain": 0, "chains": 1}, 0
        )
        self.twin = self.checker.twin
        self.system = self.twin.system
        self.lenses = BothLenses(self.engine, self.system)
        self.rng = random.Random(seed)
        self.done = Counter[str]()
        self.refused = Counter[str]()
        self.asked = Counter[str]()

    def run(self, steps: int) -> None:
        for number in range(steps):
            step = self.step(number)
            self.engine.set_time(step.at)
            if number % 10 == 0:
                self.look()
            said, listed = None, None
            if step.action in PREVIEWED and all(isinstance(arg, int) for arg in step.args):
                said = self.preview(step.action, step.actor, step.args)
            elif step.action == "continue_backlog":
                listed, _ = self.lenses.ask("next_to_liquidate", 64)
            result = self.checker.step(step)
            if said is not None and self.twin.seen.token_is_sound:
                refused = None if result.ok else result.reason
                assert_true(said, self.lenses.model, self.system.market, refused, result.value)
                self.done[step.action] += result.ok
                if refused:
                    self.refused[refused] += 1
            if listed is not None and result.ok:
                events = self.system.chain.events
                ids = [event.fields[0] for event in events if event.name == "PositionLiquidated"]
                assert ids == listed[: len(ids)]
                self.done["continue_backlog"] += len(ids) > 0

    def step(self, number: int) -> Step:
        """The fuzzer's, with more of what is rare: backlogs, weeks without price, liquidations."""
        if number % 100 == 50:
            generator = self.twin.generator
            rare = (generator._herd, generator._herd, generator._drought, generator._abandoned)
            generator.episode = rare[number // 100 % 4](self.rng)
        step: Step = self.adapter.generate(self.twin, self.rng)
        self.system.chain.timestamp = self.twin.now = step.at
        market, caller = self.system.market, self.rng.choice(("keeper_0", "trader_0"))
        due = self.lenses.model.next_to_liquidate(market, 1)
        if self.twin.live and market._is_expired(market.marks()):
            return self._instead("settle", caller, self.rng.choice(self.twin.live), step)
        if due and self.rng.random() < 0.5:
            return self._instead("liquidate", caller, due[0], step)
        return step

    def _instead(self, action: str, caller: str, position_id: int, step: Step) -> Step:
        # An episode of the fuzzer's counts on its own steps.
        self.twin.generator.episode = iter(())
        return Step(action, caller, (position_id,), step.at)

    def preview(self, action: str, actor: str, args: Sequence[Any]) -> Any:
        caller = ADDRESSES[actor]
        callers = (caller,) if action in OF_OWNER else ()
        self.lenses.ask(f"preview_{action}", *callers, *args)
        return ask(self.lenses.model, self.system.market, action, caller, args)

    def look(self) -> None:
        """Everything that is no preview."""
        market = self.system.market
        self.lenses.ask("status")
        for name in ("next_to_liquidate", "nearest_to_liquidation", "next_to_deleverage"):
            listed, _ = self.lenses.ask(name, self.rng.choice((0, 1, 5, 64, 2**256 - 1)))
            self.asked[name] += len(listed) > 0
        live = [number for number, stored in market._positions.items() if stored]
        assert_lists(self.lenses.model, market, live)
        for position_id in [*self.rng.sample(live, min(3, len(live))), 0]:
            for name in ("liquidation_price", "liquidation_distance", "effective_leverage"):
                self.try_to_ask(name, position_id)
            self.try_to_ask("health", position_id)
            # Whatever anybody may try, at any time.
            self.try_to_ask("preview_liquidate", position_id)
            self.try_to_ask("preview_settle", position_id)
            self.try_to_ask("preview_close", OWNER, position_id, 0)

    def try_to_ask(self, name: str, *args: Any) -> None:
        value, reason = self.lenses.ask(name, *args)
        assert value is not None or reason, name
        self.asked[name] += value is not None


@pytest.mark.slow
@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_what_the_lens_says_happens_in_both_forms(decimals: int) -> None:
    done, refused, asked = Counter[str](), Counter[str](), Counter[str]()
    for seed, config in enumerate(configs([decimals])):
        watch = Watch(config, seed + decimals)
        try:
            watch.run(700)
            watch.checker.finish()
        finally:
            watch.engine.close()
        done += watch.done
        refused += watch.refused
        asked += watch.asked
    assert min(done[action] for action in PREVIEWED) > 5, done
    assert done["continue_backlog"] > 0, done
    assert len(refused) > 15, refused
    assert {"next_to_liquidate", "preview_settle"} <= set(asked), asked
    assert min(asked["liquidation_price"], asked["nearest_to_liquidation"]) > 100, asked
    assert asked["next_to_deleverage"] > 20, asked

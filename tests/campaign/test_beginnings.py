"""What the stories that chains begin with are for: each reaches it, whatever the seed."""

import random
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

import pytest

from lockstep.adapter import Config
from lockstep.campaign import Plan
from lockstep.checker import Checker
from lockstep.coverage.record import Coverage, told
from lockstep.coverage.recorder import Recorder, scope_of
from lockstep.coverage.unreachable import read_entries, resolve
from lockstep.engines.base import GENESIS_TIME
from lockstep.engines.revm import RevmEngine
from lockstep.step import Step
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs
from perp_fuzz.deployment import params_of
from python_model.modules.constants import WAD

ADAPTER = PerpAdapter()
KINDS = configs([6, 8, 18])
# By number of the chain: files, lines, and what is told of them while they are missed.
LENS, MARKET, ENGINE = (
    f"contracts/{name}.vy" for name in ("MarketLens", "PerpMarket", "RiskEngine")
)
KEY, PRICE, BOUNDS, TOKEN = (
    f"contracts/modules/{name}.vy"
    for name in ("trigger_key", "trigger_price", "risk_bounds", "token_transfer")
)
NEVER_PROFIT = "value > 0 is never true"
BROUGHT = {
    0: [
        (LENS, "for _: uint256 in range(MAX_LOOKS):", "range(MAX_LOOKS) never runs out"),
        (LENS, "if equity <= 0:", "equity <= 0 is never true"),
    ],
    1: [(MARKET, "cursor = trigger_index._next_ring(ring)", "never runs")],
    2: [
        (LENS, "if value > 0 or margin <= 0:", NEVER_PROFIT),
        (MARKET, "if value > 0 or margin <= 0:", NEVER_PROFIT),
        (LENS, "rest.size = 0", "never runs"),
        (MARKET, "rest.size = 0", "never runs"),
        (PRICE, "for _: uint256 in range(MAX_STEPS):", "range(MAX_STEPS) never runs out"),
        (
            BOUNDS,
            "and risk.crowding_upper <= present.crowding_upper",
            "risk.crowding_upper <= present.crowding_upper is never false",
        ),
        (KEY, "return magnitude", "never runs"),
        (KEY, "return compressed", "never runs"),
    ],
    3: [(ENGINE, "return visited, False", "never runs")],
    4: [
        (LENS, "return max_value(int256)", "never runs"),
        (
            MARKET,
            "errors._require(not self._is_liquidatable(position, marks), "
            "errors.INSUFFICIENT_MARGIN)",
            "not self._is_liquidatable(position, marks) is never false",
        ),
        (
            LENS,
            "errors._require(not self._is_liquidatable(position, snapshot), "
            "errors.INSUFFICIENT_MARGIN)",
            "not self._is_liquidatable(position, snapshot) is never false",
        ),
        (
            TOKEN,
            "errors._require(",
            "extcall token.transfer(receiver, amount, default_return_value=True) is never false",
        ),
    ],
}


def chain_of(number: int, seed: int) -> Config:
    return Plan(ADAPTER, 10_000 * len(KINDS), seed, KINDS).chains()[number].config


def begun(config: Config, coverage: Coverage) -> Checker:
    """The chain as far as its beginning, all compared."""
    engine = RevmEngine()
    recorder = Recorder(ADAPTER)
    checker = Checker(recorder.begin(coverage), engine, config)
    rng = random.Random(config["seed"])
    checker.batch(lambda twin: ADAPTER.generate(twin, rng), 1)
    twin: Any = checker.twin
    story = twin.generator.episode
    while getgeneratorstate(story) != GEN_CLOSED:
        checker.batch(lambda twin: ADAPTER.generate(twin, rng), 16)
    checker.finish()
    recorder.read(engine, coverage)
    return checker


@pytest.mark.parametrize("number", BROUGHT)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_beginning_reaches_what_it_is_for(number: int, seed: int) -> None:
    coverage, scope = Coverage(), scope_of(ADAPTER)
    begun(chain_of(number, seed), coverage)
    lines = {path: scope.text(path).splitlines() for path in {item.path for item in coverage.all}}
    reached = {
        (item.path, lines[item.path][item.number - 1].strip(), told(item)) for item in coverage.hit
    }
    assert set(BROUGHT[number]) <= reached


@pytest.mark.parametrize("number", [2, 4])
def test_a_beginning_puts_the_parameters_back(number: int) -> None:
    config = chain_of(number, 1)
    twin: Any = begun(config, Coverage()).twin
    assert twin.system.engine.params() == params_of(config)[1]


def test_only_fresh_chains_of_a_campaign_begin_with_a_story() -> None:
    price = Step(
        "publish", "publisher_0", (10_000 * WAD, WAD, GENESIS_TIME + 30, 0), GENESIS_TIME + 60
    )
    begins = []
    for own, before in (({"chain": 1}, []), ({}, []), ({"chain": 1}, [price])):
        twin: Any = ADAPTER.new_twin(RevmEngine(), KINDS[0] | own)
        assert all(twin.execute_model(step).ok for step in before)
        ADAPTER.generate(twin, random.Random(1))
        begins.append(next(twin.generator.episode, None) is not None)
    assert begins == [True, False, False]


def test_what_nothing_can_reach_is_there_with_a_reason() -> None:
    coverage = Coverage()
    Recorder(ADAPTER).begin(coverage)
    entries = read_entries(ADAPTER.unreachable)
    reasons, wrong = resolve(entries, coverage, scope_of(ADAPTER).text)
    assert not wrong
    assert len(reasons) == len(entries)

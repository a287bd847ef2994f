"""Short campaigns through the whole adapter: every engine, every deployment, along given prices."""

from pathlib import Path
from typing import Any

import pytest

from lockstep.campaign import Plan, run_campaign
from lockstep.engines import open_engine
from lockstep.prices import read_bars
from perp_fuzz.actions import ACTIONS
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs


def test_contracts_and_model_agree_on_every_kind_of_deployment() -> None:
    kinds = configs([6, 8, 18])
    result = run_campaign(Plan(PerpAdapter(), 1_000 * len(kinds), 5, kinds, length=1_000))
    assert result.divergence is None, result.divergence
    summary = result.tally.summary()
    assert summary["steps"] == 1_000 * len(kinds)
    assert set(summary["actions"]) == set(ACTIONS)
    assert summary["statistics"]["liquidations"] > 0


@pytest.mark.parametrize("engine", ["pyevm", "anvil"])
def test_contracts_and_model_agree_on_other_engines(engine: str) -> None:
    plan = Plan(PerpAdapter(), 100, 7, configs([6]), engine, length=100)
    result = run_campaign(plan)
    assert result.divergence is None, result.divergence
    assert result.tally.steps == 100


@pytest.mark.parametrize("config", configs([6]), ids=["signed", "aggregator", "narrow"])
def test_a_deployment_has_the_same_addresses_on_another_engine(config: dict[str, Any]) -> None:
    places = []
    for name in ("revm", "pyevm"):
        engine = open_engine(name)
        twin = PerpAdapter().new_twin(engine, {**config, "seed": 3})
        places.append({address for address, *_ in twin.views()})
        engine.close()
    assert places[0] == places[1]


def test_a_campaign_follows_a_price_file(tmp_path: Path) -> None:
    rows = [f"{1_600_000_000_000 + i * 60_000},{p},{p + 3},{p - 2},{p + 1}" for i, p in PRICES]
    path = tmp_path / "prices.csv"
    path.write_text("\n".join(["ts,open,high,low,close", *rows]) + "\n")
    bars = read_bars(path)
    seen = []

    class Watching(PerpAdapter):
        def generate(self, twin, rng):  # type: ignore[no-untyped-def]
            step = super().generate(twin, rng)
            if step.action == "publish" and step.aim == "valid":
                seen.append(step.args[0])
            return step

    plan = Plan(Watching(bars), 1_500, 1, configs([6], bars[0].open), length=1_500)
    assert run_campaign(plan).divergence is None
    allowed = {price * 10**18 for _, p in PRICES for price in (p, p + 3, p - 2, p + 1)}
    assert len(seen) > 50
    assert set(seen) <= allowed


PRICES = list(enumerate(list(range(40, 70)) + list(range(70, 30, -1))))

"""The fuzzer's actions under Hypothesis, which looks for short failures in its own way."""

from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from lockstep.compare import Mismatch
from lockstep.stateful import state_machine
from perp_fuzz.adapter import ADAPTER
from python_model.perp_market import PerpMarket

SETTINGS = settings(max_examples=10, stateful_step_count=40)


def case_of(config: dict[str, Any]) -> type:
    """A test of one deployment."""
    made: type = state_machine(ADAPTER, config).TestCase
    made.settings = SETTINGS
    return made


TestSixDecimals = case_of({"decimals": 6, "seed": 6})
TestEightDecimals = case_of({"decimals": 8, "seed": 8, "feed": "signed"})
TestEighteenDecimals = case_of({"decimals": 18, "seed": 18, "token": "no return"})


def test_a_fee_in_the_wrong_ledger_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(self: PerpMarket, insurance: int, fees: int) -> None:
        self._insurance += fees
        self._fees += insurance

    monkeypatch.setattr(PerpMarket, "_add_to_ledgers", swapped)
    quick = settings(SETTINGS, phases=[Phase.generate])
    with pytest.raises(Mismatch):
        run_state_machine_as_test(state_machine(ADAPTER, {"decimals": 6}), settings=quick)

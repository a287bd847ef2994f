"""A model that lacks a function of its contract, or takes other arguments, never starts."""

import pytest
from click.testing import CliRunner

from perp_fuzz.commands import main
from python_model.perp_market import PerpMarket


def refusal() -> str:
    done = CliRunner().invoke(main, ["fuzz", "--steps=100", "--processes=2"])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    return done.output


def test_missing_function_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(PerpMarket, "add_margin")
    told = refusal()
    assert told.startswith("error: model PerpMarket of contracts/PerpMarket.vy: ")
    assert "PerpMarket.add_margin(position_id, amount) is missing: write it" in told


def test_other_arguments_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_margin(self: PerpMarket, amount: int, *, sender: str) -> None:
        """One argument too few."""

    monkeypatch.setattr(PerpMarket, "add_margin", add_margin)
    told = refusal()
    assert (
        "add_margin takes (position_id, amount) in the contract and (amount) in the model" in told
    )
    assert "make names, number and order equal" in told

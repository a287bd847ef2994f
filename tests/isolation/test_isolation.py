"""Another trader's ruin is nothing to anybody: pairs of runs, and bugs that they must find."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from perp_fuzz.commands import main
from perp_fuzz.deployment import ROOT
from perp_fuzz.isolation import Leak, run_pairs
from python_model.perp_market import CloseOut, Marks, PerpMarket, Position

MARKET = "contracts/PerpMarket.vy"
RULE = "        self.bad_debt += close_out.bad_debt\n"


def test_the_model_isolates() -> None:
    figures = run_pairs(300, seed=1)
    assert figures.pairs == figures.bad_debts == 300
    assert 100 < figures.absent < 200
    assert figures.insurance_drained > 20
    assert figures.others_opened > 1_500
    assert figures.others_liquidated > 300
    assert figures.others_credited > 50
    assert figures.succeeded > figures.moves // 2
    assert figures.words_compared > 15_000


def test_the_contracts_isolate() -> None:
    figures = run_pairs(25, seed=2, engine="revm")
    assert figures.pairs == figures.bad_debts == 25
    assert figures.insurance_drained > 0
    assert figures.others_liquidated > 10
    assert figures.words_compared > 1_000


def test_contract_and_model_exercise_the_same() -> None:
    assert run_pairs(5, seed=3) == run_pairs(5, seed=3, engine="revm")


# Bugs that let others pay for a ruin. The first position is the large long of another trader.


def test_a_contract_that_makes_others_pay_is_found() -> None:
    source = Path(ROOT / MARKET).read_text()
    assert source.count(RULE) == 1
    leak = """\
        other: IPerpMarket.Position = self._load_position(1)
        self._store_sizes(1, other.size, other.margin - close_out.bad_debt, other.epoch)
"""
    overrides = {MARKET: source.replace(RULE, RULE + leak)}
    with pytest.raises(Leak, match="with the ruin"):
        run_pairs(5, seed=1, engine="revm", overrides=overrides)


def from_margin(market: PerpMarket, _: Position, bad_debt: int) -> None:
    other = market._stored(1)
    market._store_sizes(1, other.size, other.margin - bad_debt, other.epoch)


def from_entry_price(market: PerpMarket, ruined: Position, _: int) -> None:
    for position_id, stored in list(market._positions.items()):
        if stored is not None and stored.owner != ruined.owner:
            changed = stored.copy()
            changed.entry_price += 1
            market._positions[position_id] = changed


def from_credit(market: PerpMarket, ruined: Position, bad_debt: int) -> None:
    for owner, credit in list(market.credit_of.items()):
        if owner != ruined.owner:
            market.credit_of[owner] = max(credit - bad_debt, 0)


def through_funding(market: PerpMarket, _: Position, bad_debt: int) -> None:
    marks = market._load_marks()
    marks.funding[0] += bad_debt
    market._store_marks(marks)


def by_size(market: PerpMarket, ruined: Position, _: int) -> None:
    """The next liquidation finds a larger position than there was."""
    market._total_sizes[ruined.side] += ruined.size * 10**12


@pytest.fixture(params=[from_margin, from_entry_price, from_credit, through_funding, by_size])
def leak(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in which every bad debt is felt by others."""
    close_out = PerpMarket._close_out

    def leaking(
        self: PerpMarket, position_id: int, position: Position, marks: Marks, full_penalty: int
    ) -> CloseOut:
        result = close_out(self, position_id, position, marks, full_penalty)
        if result.bad_debt > 0:
            request.param(self, position, result.bad_debt)
        return result

    monkeypatch.setattr(PerpMarket, "_close_out", leaking)


@pytest.mark.usefixtures("leak")
def test_a_model_that_makes_others_pay_is_found() -> None:
    with pytest.raises(Leak, match="with the ruin"):
        run_pairs(300, seed=1)


def test_the_command_shows_what_was_exercised() -> None:
    result = CliRunner().invoke(main, ["isolation", "--pairs=3", "--contract-pairs=2"])
    assert result.exit_code == 0, result.output
    assert "every other trader was untouched" in result.output
    assert "words compared" in result.output


@pytest.mark.usefixtures("leak")
def test_the_command_fails_on_a_leak() -> None:
    result = CliRunner().invoke(main, ["isolation", "--pairs=300", "--contract-pairs=1"])
    assert result.exit_code == 1
    assert "LEAK on the model: pair " in result.output

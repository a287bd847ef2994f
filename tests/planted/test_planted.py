"""The table of bugs applies to today's sources, and the command tells caught from survived."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from perp_fuzz.commands import configs, main
from perp_fuzz.planted import (
    BUGS,
    MARKET,
    MODEL_POOL,
    ROOT,
    Bug,
    Edit,
    SourceMoved,
    choose,
    planted,
)
from perp_fuzz.planted_command import planted_command, run
from python_model.perp_market import PerpMarket

CONFIGS = configs([6])
CATEGORIES = {
    "rounding",
    "comparison",
    "accrual",
    "key not re-filed",
    "wrong side's index",
    "neighbour links",
    "bitmap",
    "worst cache",
    "aggregate",
    "fee to the wrong ledger",
    "revert missing",
    "event field",
    "state kept after a revert",
    "reserve",
    "insurance",
    "bad debt",
    "claims",
    "reward",
    "epoch",
    "backlog",
}

# When held equals cash, both say zero: nothing can tell it from the original.
EQUIVALENT = Bug(
    "equivalent",
    "comparison",
    "free cash of nothing, computed instead of stated",
    (Edit(MODEL_POOL, "or held >= self._cash():", "or held > self._cash():"),),
)


def test_every_bug_applies_to_the_sources_and_changes_them() -> None:
    for bug in BUGS:
        with planted(bug) as overrides:
            assert (bug.where == "model") == (not overrides)
        for file, text in bug.texts().items():
            assert text != (ROOT / file).read_text()


def test_the_table_covers_every_category_and_enough_edges() -> None:
    assert len({bug.id for bug in BUGS}) == len(BUGS)
    where = Counter(bug.where for bug in BUGS)
    assert where["contract"] >= 36
    assert where["model"] >= 6
    assert sum(bug.is_edge for bug in BUGS) >= 10
    assert {bug.category for bug in BUGS} >= CATEGORIES


def test_a_bug_of_the_model_is_planted_for_the_duration_only() -> None:
    (bug,) = choose(["model-liquidation-rule"], BUGS)
    before = PerpMarket._is_liquidatable.__code__
    with planted(bug):
        assert PerpMarket._is_liquidatable.__code__ != before
    assert PerpMarket._is_liquidatable.__code__ is before
    with pytest.raises(SourceMoved), planted(bug):
        raise SourceMoved
    assert PerpMarket._is_liquidatable.__code__ is before


def test_a_bug_whose_text_is_gone_says_so_before_anything_runs() -> None:
    gone = Bug("gone", "accrual", "", (Edit(MARKET, "no such text", ""),))
    with pytest.raises(SourceMoved, match="the source moved: bug gone no longer applies"):
        gone.texts()
    result = CliRunner().invoke(planted_command(CONFIGS, [gone, EQUIVALENT]), [])
    assert result.exit_code == 2
    assert result.output.startswith("error: the source moved: bug gone no longer applies")
    assert result.output.count("\n") == 1


def test_an_edit_that_changes_no_function_is_refused() -> None:
    comment = Bug(
        "comment", "accrual", "", (Edit(MODEL_POOL, "MAX_SUPPLY = ", "MAX_SUPPLY = 1 + "),)
    )
    with pytest.raises(ValueError, match="nothing was planted"), planted(comment):
        pass


def test_bugs_of_contract_and_model_and_an_edge_are_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["price-not-newer", "model-insurance-kept", "healthy-returns"]
    bugs = choose(names, BUGS)
    assert {bug.where for bug in bugs} == {"contract", "model"}
    assert any(bug.is_edge for bug in bugs)
    report = tmp_path / "planted.json"
    assert run(bugs, CONFIGS, 20_000, 1, 2, str(report)) == 0
    saved = json.loads(report.read_text())
    assert saved["count"] == {"caught": 3, "survived": 0, "error": 0}
    for entry in saved["bugs"]:
        assert entry["outcome"] == "caught"
        assert entry["kind"]
        assert entry["text"]
        assert 0 < entry["steps"] <= 20_000
    printed = capsys.readouterr().out
    assert "3 of 3 bugs caught" in printed
    assert all(name in printed for name in names)


def test_a_survivor_makes_the_command_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([EQUIVALENT], CONFIGS, 500, 1, 1, None) == 1
    assert "equivalent SURVIVED 500 steps" in capsys.readouterr().out


def test_a_bug_that_does_not_compile_is_an_error_of_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = Bug("broken", "accrual", "", (Edit(MARKET, "implements: IPerpMarket", "implements:"),))
    assert run([broken], CONFIGS, 500, 1, 1, None) == 1
    printed = capsys.readouterr().out
    assert "broken could not be run" in printed
    assert "1 could not be run" in printed


def test_an_unknown_bug_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["planted", "--only", "liquidation-rule,no-such-bug"])
    assert result.exit_code == 2
    assert result.output.startswith("error: no bug is called no-such-bug; the ids are ")
    assert all(bug.id in result.output for bug in BUGS)
    assert result.output.count("\n") == 1

"""What the perpetual market's campaigns reach: every boundary on all its sides."""

import random
from pathlib import Path

import pytest

from lockstep.campaign import Plan, run_campaign
from lockstep.corpus import Corpus
from lockstep.distil import Distiller
from lockstep.engines import open_engine
from perp_fuzz import features
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs
from perp_fuzz.corpus_command import SEEDS

ADAPTER = PerpAdapter()
# The thresholds that every campaign is to stand on, and a unit to either side of.
THRESHOLDS = {
    "liquidatable or not": [features.LIQUIDATION],
    "tier edge": features.TIER_EDGES,
    "cap": [features.CAP, features.SKEW],
    "reserve": [features.RESERVE],
    "staleness": [features.PRICE_AGE, features.REPORT_AGE, features.HEARTBEATS],
    "bucket edge": [features.BUCKET, features.SWEEP],
    "breaker bound": [
        features.JUMP,
        *features.MOVES,
        features.VOLUME,
        features.POOL_LOSS,
        features.DEBT,
        features.CONFIDENCE,
    ],
}


@pytest.fixture(scope="module")
def reached() -> dict[str, int]:
    """The features of a campaign of 20,000 steps."""
    plan = Plan(ADAPTER, 20_000, 1, configs([6, 8, 18]), corpus=Corpus(ADAPTER, [SEEDS]))
    result = run_campaign(plan)
    assert result.divergence is None, result.divergence
    assert result.tally.steps == 20_000
    changed = sum(count for key, count in result.tally.counts.items() if key[3])
    assert changed > 0.6 * 20_000
    return result.tally.features


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_campaign_stands_on_and_beside_every_threshold(
    threshold: str, reached: dict[str, int]
) -> None:
    for sides in THRESHOLDS[threshold]:
        missing = [side for side in sides if not reached.get(side)]
        assert missing == []


def test_every_entry_that_comes_with_the_market_reaches_what_it_is_kept_for() -> None:
    corpus = Corpus(ADAPTER, [SEEDS])
    assert len(corpus.entries) > 70
    distiller = Distiller(ADAPTER, 0)
    try:
        for entry in corpus.entries:
            lost = set(entry.features) - set(distiller.whole(entry).first)
            assert lost == set(), entry.file_name
    finally:
        distiller.close()


def test_taps_are_gone_after_a_step_and_change_nothing() -> None:
    config = {**configs([6])[0], "seed": 4}
    engine = open_engine("revm")
    twin, rng = ADAPTER.new_twin(engine, config), random.Random(4)
    plain = [set(vars(part)) for part in (twin.market, twin.system.engine, twin.system.pool)]
    steps, results = [], []
    for _ in range(600):
        steps.append(ADAPTER.generate(twin, rng))
        results.append(twin.execute_model(steps[-1]))
    assert [
        set(vars(part)) for part in (twin.market, twin.system.engine, twin.system.pool)
    ] == plain
    assert any(": at" in name for name in twin.features())
    engine.close()
    # Valid steps are not tapped: the same steps, all called valid, come to the same.
    engine = open_engine("revm")
    again = ADAPTER.new_twin(engine, config)
    assert [again.execute_model(step._replace(aim="valid")) for step in steps] == results
    assert not any(": at" in name for name in again.features())
    engine.close()


def test_the_corpus_command_lists_and_tells_what_is_lost(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from perp_fuzz.corpus_command import corpus_command

    corpus = Corpus(ADAPTER, [SEEDS])
    entry = min(corpus.entries, key=lambda entry: len(entry.steps))
    kept = Corpus(ADAPTER, [], tmp_path)
    kept.write(entry)
    sound = CliRunner().invoke(corpus_command, ["--corpus", str(tmp_path)])
    assert sound.exit_code == 0, sound.output
    assert "1 entries" in sound.output
    kept.write(entry._replace(features=("something else",)))
    lost = CliRunner().invoke(corpus_command, ["--corpus", str(tmp_path)])
    assert lost.exit_code == 1
    assert "NO LONGER" in lost.output
    none = CliRunner().invoke(corpus_command, ["--corpus", str(tmp_path / "nowhere")])
    assert none.exit_code == 2
    assert "no such folder" in none.output

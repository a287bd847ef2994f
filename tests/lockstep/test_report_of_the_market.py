"""What the report shows of the market is what its model says."""

import random
from collections import Counter
from fractions import Fraction

import pytest

from lockstep.checker import Checker
from lockstep.engines import open_engine
from perp_fuzz.adapter import ADAPTER, PerpTwin
from perp_fuzz.samples import MEASURES
from python_model.modules.constants import WAD


@pytest.fixture(scope="module")
def twin() -> PerpTwin:
    engine = open_engine("revm")
    rng = random.Random(5)
    checker = Checker(ADAPTER, engine, {"seed": 5, "decimals": 6}, whole_every=0)
    while checker.steps < 3_000 or len(checker.twin.live) < 5:
        checker.batch(lambda twin: ADAPTER.generate(twin, rng))
    engine.close()
    return checker.twin


def test_leverage_and_distance_are_those_of_the_open_positions(twin: PerpTwin) -> None:
    market = twin.market
    price = market.marks().price
    samples = twin.samples()
    assert samples.keys() == MEASURES.keys()
    healths = {i: market.health(i) for i in twin.live}
    with_equity = [i for i in twin.live if healths[i][0] > 0]
    assert len(samples["leverage"]) == len(with_equity)
    assert len(samples["distance"]) == len(twin.live)
    for leverage, i in zip(samples["leverage"], with_equity, strict=True):
        notional = Fraction(market.position(i).size * price, market.NOTIONAL_SCALE)
        assert leverage == pytest.approx(float(notional / healths[i][0]))
    for distance, i in zip(samples["distance"], twin.live, strict=True):
        assert (distance < 0) == (healths[i][0] < healths[i][1])


def test_line_of_prices_has_a_mark_for_every_liquidation(twin: PerpTwin) -> None:
    (line,) = twin.series()
    assert [step for step, _ in line.points] == sorted(step for step, _ in line.points)
    assert line.points[-1][1] == twin.market.marks().price / WAD
    kinds = Counter(mark.kind for mark in line.marks)
    assert kinds.keys() == {"long liquidated", "short liquidated"}
    assert kinds.total() == twin.statistics()["liquidations"]
    prices = {price for _, price in line.points}
    assert all(mark.y in prices for mark in line.marks)


def test_looking_at_the_twin_changes_nothing_in_it(twin: PerpTwin) -> None:
    before = list(twin.all_words())
    first, lines = twin.samples(), twin.series()
    assert list(twin.all_words()) == before
    assert not list(twin.touched_words())
    assert (twin.samples(), twin.series()) == (first, lines)

"""What the generator solves by itself is what the model would say."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lockstep.engines import open_engine
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs
from perp_fuzz.generator import Generator
from python_model.invariants import nearness
from python_model.modules import fixed_point
from python_model.modules.constants import TIERS, WAD

STEPS = 600


@pytest.fixture(params=[6, 8, 18])
def generators(request: pytest.FixtureRequest) -> Iterator[Iterator[Generator]]:
    return _states(request.param)


def _states(decimals: int) -> Iterator[Generator]:
    """A generator at some moments of a campaign."""
    adapter = PerpAdapter()
    for number, config in enumerate(configs([decimals])):
        twin = adapter.new_twin(open_engine("revm"), config | {"seed": number})
        rng = random.Random(number)
        for count in range(STEPS):
            twin.execute_model(adapter.generate(twin, rng))
            if count % 7 == 0 and len(twin.live) > 3:
                generator = twin.generator
                assert generator is not None
                generator.at = twin.now
                generator._marks = generator._book = None
                yield generator


def test_a_price_makes_liquidatable_or_bankrupt_as_the_model_says(
    generators: Iterator[Generator],
) -> None:
    rng = random.Random(1)
    assert sum(edges_found(generator, rng) for generator in generators) > 20


def edges_found(generator: Generator, rng: random.Random) -> int:
    """The rules at an edge and at any price, for some position; how many edges there were."""
    generator._await_price()
    market, marks = generator.market, generator.marks
    _, position, _ = generator._pick(rng)

    def is_due(price: int) -> bool:
        return market._is_liquidatable(position, replace(marks, price=price))

    def is_bankrupt(price: int) -> bool:
        return market._health(position, replace(marks, price=price))[0] < 0

    edges = 0
    for rule, expected in (
        (generator._is_due_at(position), is_due),
        (generator._is_bankrupt_at(position), is_bankrupt),
    ):
        edge = generator._edge_price(position, rule, generator.last_price // 3)
        for price in (rng.randrange(1, 2 * generator.last_price), *(edge or ())):
            assert rule(price) == expected(price), price
        edges += edge is not None
    return edges


def test_a_profit_is_too_large_from_the_price_on_that_is_solved(
    generators: Iterator[Generator],
) -> None:
    rng = random.Random(1)
    edges = 0
    for generator in generators:
        market, engine = generator.market, generator.engine
        usual = engine._params
        share = WAD // 10**4  # so little that many a price goes beyond it
        engine._params = usual._replace(max_profit_share=share)
        edge = generator._profit_edge(rng)
        engine._params = usual
        if edge is None:
            continue
        is_too_large = []
        for price in edge:
            profit = market._net_trader_profit(replace(generator.marks, price=price))
            units = fixed_point._signed_div_ceil(profit, market.VALUE_SCALE)
            is_too_large.append(engine._is_profit_too_large(units, generator.book.cash, share))
        assert edge[1] == edge[0] + 1
        assert is_too_large == ([False, True] if generator._skew() > 0 else [True, False])
        edges += 1
    assert edges > 5


def test_every_open_position_is_ranked_by_what_it_can_lose(
    generators: Iterator[Generator],
) -> None:
    for generator in generators:
        market, seen = generator.market, generator.twin.seen
        ranked = []
        for list_id, ranks in enumerate(seen.ranked):
            assert ranks == sorted(ranks)
            for figure, position_id in ranks:
                position = market._stored(position_id)
                assert figure == nearness(position, market.VALUE_SCALE)
                assert list_id == position.side * TIERS + position.tier
                ranked.append(position_id)
        assert sorted(ranked) == sorted(seen.live)

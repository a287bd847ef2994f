"""Walking the index from outside: contract, mirror and a plain sorted set stay equal."""

from functools import cache

from harness import DEPLOYER, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import abi
from lockstep.compiler import compile_vyper
from lockstep.engines import Engine, open_engine
from python_model.evm import Chain
from python_model.modules import index_walk
from python_model.modules.trigger_index import TriggerIndex

SOURCE = """\
# pragma version 0.4.3
from contracts.interfaces import IPerpMarket
from contracts.modules import index_walk
from contracts.modules import trigger_index

initializes: trigger_index

@external
def insert_ring(ring: uint256):
    trigger_index._insert_ring(ring)

@external
@view
def index_word(level: uint256, word_id: uint256) -> uint256:
    if level == 0:
        return trigger_index._leaves[word_id]
    if level == 1:
        return trigger_index._middles[word_id]
    return trigger_index._tops[word_id]

@external
@view
def ring_from(ring: uint256) -> uint256:
    return index_walk._ring_from(IPerpMarket(self), ring)
"""
PATH = "tests/differential/index_walk_harness.vy"
LISTS = 8
# The ends of leaves, middles and tops, and what is next to them.
EDGES = [base + step for base in (0, 2**8, 2**16, 2**24) for step in (-2, -1, 0, 1, 2)]
BUCKETS = st.one_of(
    st.sampled_from([edge for edge in EDGES if 0 <= edge < 2**24]),
    st.integers(0, 600),
    st.integers(0, 255).map(lambda i: i << 16 | 0xFFFF),
    st.integers(0, 2**24 - 1),
)
RINGS = st.builds(lambda side, bucket: side << 24 | bucket, st.integers(0, LISTS - 1), BUCKETS)


class Walked(TriggerIndex):
    """An index that shows its words as a market does."""

    def index_word(self, level: int, word_id: int) -> int:
        return (self._leaves, self._middles, self._tops)[level][word_id]


@cache
def deployed() -> tuple[Engine, str]:
    artifact = compile_vyper(PATH, root=ROOT, overrides={PATH: SOURCE})
    engine = open_engine("revm")
    return engine, engine.deploy(artifact.initcode, DEPLOYER)


def lowest(rings: set[int], ring: int) -> int:
    """By sorting: the lowest ring of the list that is not below one, plus one; zero for none."""
    found = [other for other in rings if other >> 24 == ring >> 24 and other >= ring]
    return min(found) + 1 if found else 0


@settings(max_examples=200, deadline=None)
@given(st.sets(RINGS, min_size=1, max_size=30), st.lists(RINGS, max_size=20))
def test_the_next_ring_is_that_of_a_sorted_set(rings: set[int], others: list[int]) -> None:
    engine, address = deployed()
    start = engine.snapshot()
    mirror = Walked(Chain())
    try:
        for ring in rings:
            mirror._insert_ring(ring)
            data = abi.selector("insert_ring(uint256)") + abi.word(ring)
            assert engine.call(DEPLOYER, address, data).ok
        near = [ring + step for ring in rings for step in (-1, 0, 1) if ring + step >= 0]
        for ring in (*near, *others):
            expected = lowest(rings, ring)
            assert index_walk._ring_from(mirror, ring) == expected  # type: ignore[arg-type]
            got = engine.view(address, abi.selector("ring_from(uint256)") + abi.word(ring))
            assert got.ok
            assert got.output == abi.word(expected)
    finally:
        engine.revert(start)

"""The ordered set of rings: contract, mirror and a plain sorted set stay equal."""

from harness import harness
from hypothesis import given, settings
from hypothesis import strategies as st

from python_model.evm import Chain
from python_model.modules.trigger_index import TriggerIndex

LISTS = 8
# Near one another and far apart, so that leaves, middles and tops are shared and not.
BUCKETS = st.one_of(
    st.integers(0, 3),
    st.integers(2**24 - 4, 2**24 - 1),
    st.integers(2**23 - 300, 2**23 + 300),
    st.integers(0, 255).map(lambda i: i << 8),
    st.integers(0, 255).map(lambda i: i << 16),
    st.integers(0, 2**24 - 1),
)
RINGS = st.builds(lambda side, bucket: side << 24 | bucket, st.integers(0, LISTS - 1), BUCKETS)
FUNCTIONS = {"_worst_ring", "_insert_ring", "_remove_ring", "_next_ring", "_set_worst_ring"}


def test_every_function_of_the_module_is_compared() -> None:
    assert set(harness("trigger_index").functions) == FUNCTIONS


def highest(rings: set[int], list_id: int, below: int = 2**24) -> int:
    """By sorting: the highest ring of a list below a bucket, plus one; zero for none."""
    found = [ring for ring in rings if ring >> 24 == list_id and ring & (2**24 - 1) < below]
    return max(found) + 1 if found else 0


@settings(max_examples=200)
@given(st.lists(st.tuples(RINGS, st.integers(0, 5)), min_size=1, max_size=40), st.data())
def test_the_index_is_a_sorted_set(draws: list[tuple[int, int]], data: st.DataObject) -> None:
    deployed = harness("trigger_index")
    start = deployed.engine.snapshot()
    mirror = TriggerIndex(Chain())
    rings: set[int] = set()

    def both(name: str, argument: int) -> int | None:
        expected: int | None = getattr(mirror, name)(argument)
        found = deployed.call(name, argument)
        assert found == expected
        return found

    def change(name: str, ring: int) -> None:
        getattr(mirror, name)(ring)
        assert deployed.call(name, ring, changes=True) is not None

    try:
        for ring, choice in draws:
            if ring in rings or (rings and choice == 0):
                gone = ring if ring in rings else data.draw(st.sampled_from(sorted(rings)))
                change("_remove_ring", gone)
                rings.remove(gone)
            else:
                change("_insert_ring", ring)
                rings.add(ring)
            list_id, bucket = ring >> 24, ring & (2**24 - 1)
            assert both("_worst_ring", list_id) == highest(rings, list_id)
            assert both("_next_ring", ring) == highest(rings, list_id, bucket)
        for list_id in range(LISTS):
            cursor = both("_worst_ring", list_id)
            walked = []
            while cursor:
                walked.append(cursor - 1)
                cursor = both("_next_ring", cursor - 1)
            assert walked == sorted((r for r in rings if r >> 24 == list_id), reverse=True)
        for ring in sorted(rings):
            change("_remove_ring", ring)
        assert [both("_worst_ring", list_id) for list_id in range(LISTS)] == [0] * LISTS
        # Empty again: nothing stays behind in any level.
        assert not any(mirror._tops.values())
        assert not any(mirror._middles.values())
        assert not any(mirror._leaves.values())
    finally:
        deployed.engine.revert(start)

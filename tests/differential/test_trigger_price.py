"""The price of liquidation: the compiled function and its mirror give the same on every input."""

from harness import answer, harness, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from python_model.modules import trigger_price
from python_model.modules.constants import MAX_MARGIN, MAX_PRICE, MAX_SIZE, WAD

SIDE = st.sampled_from((0, 1))
INDEX = whole(-(2**127), 2**127 - 1)
# Of prices that a market sees: an index moves by less than the price in a day.
NEAR = whole(-(2**100), 2**100)
FRACTION = whole(1, WAD - 1)
SCALE = st.integers(0, 18).map(lambda decimals: 10 ** (36 - decimals))
INPUTS = {
    "_meeting_price": st.tuples(SIDE, whole(-(2**127), 2**127), INDEX, FRACTION),
    "_first_price": st.tuples(
        SIDE,
        whole(1, MAX_SIZE),
        whole(1, MAX_MARGIN),
        whole(1, 2 * MAX_PRICE),
        st.one_of(INDEX, NEAR),
        st.one_of(INDEX, NEAR),
        FRACTION,
        SCALE,
    ),
}


def test_every_function_is_compared() -> None:
    assert set(INPUTS) == set(harness("trigger_price").functions)


def test_contract_and_model_meet_at_the_same_price() -> None:
    assert agreements("_meeting_price") >= 50


def test_contract_and_model_find_the_same_first_price() -> None:
    assert agreements("_first_price") >= 50


def agreements(name: str) -> int:
    """Different inputs on which both forms give the same number."""
    deployed, mirror = harness("trigger_price"), getattr(trigger_price, name)
    values = set()

    @settings(max_examples=600, deadline=None)
    @given(INPUTS[name])
    def compare(args: tuple[int, ...]) -> None:
        expected = answer(mirror, *args)
        assert deployed.call(name, *args) == expected
        if expected is not None:
            values.add(args)

    compare()
    return len(values)

"""The pure modules: the compiled function and its mirror give the same on every input.

The ranges are those of docs/spec.md, bounds included: what the packed words and the factory admit.
Where both forms check for themselves the range is that of the type.
"""

import pytest
from harness import answer, harness, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from python_model.modules import (
    dynamic_margin,
    fixed_point,
    funding_index,
    margin_math,
    trigger_key,
)
from python_model.modules.constants import MAX_MARGIN, MAX_PRICE, MAX_SIZE, WAD

MODULES = {
    "dynamic_margin": dynamic_margin,
    "fixed_point": fixed_point,
    "funding_index": funding_index,
    "margin_math": margin_math,
    "trigger_key": trigger_key,
}

UINT = whole(0, 2**256 - 1)
INT = whole(-(2**255) + 1, 2**255 - 1)  # the least integer has no negative
SIDE = st.sampled_from((0, 1))
SIZE = whole(0, MAX_SIZE)
SOME_SIZE = whole(1, MAX_SIZE)
PRICE = whole(0, MAX_PRICE)
ENTRY_PRICE = whole(0, 2 * MAX_PRICE)  # moved by the skew
FUNDING = whole(-(2**127), 2**127 - 1)
FRACTION = whole(0, WAD)
DECIMALS = st.integers(0, 18)
NOTIONAL_SCALE = DECIMALS.map(lambda decimals: 10 ** (36 - decimals))
VALUE_SCALE = DECIMALS.map(lambda decimals: 10 ** (45 - decimals))
SECONDS = whole(60, 7 * 86_400)
SKEW = whole(-2 * MAX_SIZE, 2 * MAX_SIZE)
RATE = whole(-(2**91), 2**91)


def crowding_bounds() -> st.SearchStrategy[tuple[int, int]]:
    """Lower and upper: the bounds on parameters keep them apart."""
    pairs = st.tuples(whole(0, WAD - 1), whole(1, WAD))
    return pairs.map(lambda pair: (min(pair), max(min(pair) + 1, *pair)))


def partial_fractions() -> st.SearchStrategy[tuple[int, int]]:
    """Target and penalty: the factory keeps the penalty below the initial fraction."""
    pairs = st.tuples(FRACTION, FRACTION)
    return pairs.map(lambda pair: (max(pair), min(pair)))


INPUTS: dict[str, dict[str, st.SearchStrategy[tuple[int, ...]]]] = {
    "dynamic_margin": {
        "_change": st.tuples(PRICE, PRICE),
        "_next_variance": st.tuples(
            whole(0, dynamic_margin.MAX_CHANGE**2), UINT, whole(0, 2**48), SECONDS
        ),
        "_volatility": st.tuples(whole(0, dynamic_margin.MAX_CHANGE**2)),
        "_volatility_multiplier": st.tuples(
            whole(0, dynamic_margin.MAX_CHANGE**2), FRACTION, whole(WAD, 100 * WAD)
        ),
        "_utilisation": st.tuples(UINT, UINT),
        "_initial_fraction": st.tuples(
            FRACTION, whole(WAD, 100 * WAD), FRACTION, FRACTION, crowding_bounds()
        ).map(lambda drawn: (*drawn[:4], *drawn[4])),
        "_ramped": st.tuples(FRACTION, FRACTION, whole(0, 2**32 - 1), whole(0, 2**32 - 1)),
    },
    "fixed_point": {
        "_mul_div_down": st.tuples(UINT, UINT, UINT),
        "_mul_div_up": st.tuples(UINT, UINT, UINT),
        "_signed_div_floor": st.tuples(INT, whole(1, 2**255 - 1)),
        "_signed_div_ceil": st.tuples(INT, whole(1, 2**255 - 1)),
        "_to_int": st.tuples(UINT),
        "_to_uint": st.tuples(whole(-(2**255), 2**255 - 1)),
    },
    "funding_index": {
        "_funding_rate": st.tuples(SKEW, SIZE, FRACTION),
        "_utilisation_rate": st.tuples(UINT, UINT, FRACTION),
        "_index_step": st.tuples(SIDE, RATE, whole(0, 2**91), PRICE, whole(0, 2**48 - 1)),
    },
    "margin_math": {
        "_position_value": st.tuples(SIDE, SIZE, ENTRY_PRICE, FUNDING, PRICE, FUNDING, VALUE_SCALE),
        "_marked_value": st.tuples(SIDE, SIZE, ENTRY_PRICE, FUNDING),
        "_fraction_of_notional_up": st.tuples(SIZE, PRICE, FRACTION, NOTIONAL_SCALE),
        "_fill_price": st.tuples(SIDE, PRICE, whole(-(2**107), 2**107), SIZE),
        "_partial_size_down": st.tuples(
            whole(0, 2**200), UINT, PRICE, partial_fractions(), NOTIONAL_SCALE
        ).map(lambda drawn: (*drawn[:3], *drawn[3], drawn[4])),
        "_average_entry_price": st.tuples(SIDE, SIZE, ENTRY_PRICE, SIZE, ENTRY_PRICE),
        "_average_entry_funding": st.tuples(SIZE, FUNDING, SOME_SIZE, FUNDING),
    },
    "trigger_key": {
        "_trigger_key": st.tuples(
            SIDE, SOME_SIZE, whole(0, MAX_MARGIN), ENTRY_PRICE, FUNDING, VALUE_SCALE
        ),
        "_threshold": st.tuples(SIDE, PRICE, FRACTION, FUNDING),
        "_bucket_of": st.tuples(whole(-(2**255), 2**255 - 1)),
        "_highest_key": st.tuples(whole(0, 2**24 - 1)),
        "_compress": st.tuples(UINT),
        "_lowest": st.tuples(whole(0, 2**23 - 1)),
    },
}
ALL = [(module, name) for module, inputs in INPUTS.items() for name in inputs]


@pytest.mark.parametrize("module", MODULES)
def test_every_function_of_the_module_is_compared(module: str) -> None:
    assert set(INPUTS[module]) == set(harness(module).functions)


@pytest.mark.parametrize(("module", "name"), ALL)
def test_contract_and_model_agree(module: str, name: str) -> None:
    deployed, mirror = harness(module), getattr(MODULES[module], name)
    outcomes = {"value": 0, "revert": 0}

    @settings(max_examples=400)
    @given(INPUTS[module][name])
    def compare(args: tuple[int, ...]) -> None:
        expected = answer(mirror, *args)
        assert deployed.call(name, *args) == expected
        outcomes["revert" if expected is None else "value"] += 1

    compare()
    assert outcomes["value"] >= 50, outcomes


def test_a_wrong_direction_is_found() -> None:
    @settings(max_examples=400)
    @given(INPUTS["fixed_point"]["_mul_div_down"])
    def compare(args: tuple[int, ...]) -> None:
        found = harness("fixed_point").call("_mul_div_down", *args)
        assert found == answer(fixed_point._mul_div_up, *args)

    with pytest.raises(AssertionError):
        compare()


# What the liquidation index rests on


@given(whole(-(2**126), 2**126), whole(-(2**126), 2**126))
@settings(max_examples=400)
def test_buckets_order_like_keys(first: int, second: int) -> None:
    bucket = harness("trigger_key")
    buckets = [bucket.call("_bucket_of", key) for key in sorted((first, second))]
    assert None not in buckets
    assert buckets == sorted(buckets)


@given(whole(-(2**126) + 1, 2**126 - 1))
@settings(max_examples=400)
def test_a_bucket_ends_at_its_highest_key(key: int) -> None:
    deployed = harness("trigger_key")
    bucket = deployed.call("_bucket_of", key)
    assert bucket is not None
    highest = deployed.call("_highest_key", bucket)
    assert highest is not None
    assert highest >= key
    assert deployed.call("_bucket_of", highest) == bucket
    assert deployed.call("_bucket_of", highest + 1) == bucket + 1

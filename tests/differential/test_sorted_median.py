"""The median: contract, mirror and the standard library's agree on every input."""

import statistics
from functools import cache

from harness import DEPLOYER, ROOT, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep import abi
from lockstep.compiler import compile_vyper
from lockstep.engines import Engine, open_engine
from python_model.modules import sorted_median
from python_model.modules.sorted_median import MAX_COUNT

SOURCE = """\
# pragma version 0.4.3
from contracts.modules import sorted_median

@external
@pure
def median(numbers: uint256[8], count: uint256) -> uint256:
    return sorted_median._median(numbers, count)

@external
@pure
def median_of_three(x: uint256, y: uint256, z: uint256) -> uint256:
    return sorted_median._median_of_three(x, y, z)
"""
PATH = "tests/differential/sorted_median_harness.vy"
NUMBER = st.one_of(whole(0, 2**256 - 1), st.integers(0, 4))
MEDIAN = abi.selector("median(uint256[8],uint256)")
MEDIAN_OF_THREE = abi.selector("median_of_three(uint256,uint256,uint256)")


@cache
def deployed() -> tuple[Engine, str]:
    artifact = compile_vyper(PATH, root=ROOT, overrides={PATH: SOURCE})
    engine = open_engine("revm")
    return engine, engine.deploy(artifact.initcode, DEPLOYER)


def answer(data: bytes) -> int:
    engine, address = deployed()
    got = engine.view(address, data)
    assert got.ok
    return int.from_bytes(got.output, "big")


@settings(max_examples=600, deadline=None)
@given(st.lists(NUMBER, min_size=MAX_COUNT, max_size=MAX_COUNT), st.integers(1, MAX_COUNT))
def test_the_median_is_that_of_the_first_numbers(numbers: list[int], count: int) -> None:
    low = statistics.median_low(numbers[:count])
    high = statistics.median_high(numbers[:count])
    expected = (low + high) // 2
    assert sorted_median._median(numbers, count) == expected
    assert answer(MEDIAN + abi.words(*numbers, count)) == expected


@settings(max_examples=400, deadline=None)
@given(NUMBER, NUMBER, NUMBER)
def test_the_median_of_three_is_the_middle_one(x: int, y: int, z: int) -> None:
    expected = statistics.median((x, y, z))
    assert sorted_median._median_of_three(x, y, z) == expected
    assert answer(MEDIAN_OF_THREE + abi.words(x, y, z)) == expected

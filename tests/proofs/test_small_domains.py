"""Every input of small domains, and every power of two with its neighbours, on revm and the mirror.

The definitions are written anew here, in fractions and digits, and no solver takes part: what the
proofs of this folder rest on, z3 and the symbolic machine, cannot hide a mistake from these.
"""

import statistics
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import combinations_with_replacement, islice, permutations, product
from math import ceil, floor
from typing import Any

import pytest
from forms import Contract, Deployed, Mirror

MAX_UINT256, MAX_INT256 = 2**256 - 1, 2**255 - 1
POWERS = [2**bits for bits in range(257)]
MAX_COUNT = 8

Case = tuple[Any, ...]


def edges(least: int, most: int, step: int = 1) -> list[int]:
    """Powers of two, every `step`-th, their neighbours and the negatives of all, in a range."""
    near = {power + i for power in POWERS[::step] for i in (-1, 0, 1)}
    near |= {-number for number in near} | {least, least + 1, most - 1, most}
    return sorted(number for number in near if least <= number <= most)


# The definitions


def mul_div_down(x: int, y: int, d: int) -> int | None:
    return floor(Fraction(x * y, d)) if d and x * y <= MAX_UINT256 else None


def mul_div_up(x: int, y: int, d: int) -> int | None:
    return ceil(Fraction(x * y, d)) if d and x * y <= MAX_UINT256 else None


def signed_div_floor(x: int, d: int) -> int:
    return floor(Fraction(x, d))


def signed_div_ceil(x: int, d: int) -> int:
    return ceil(Fraction(x, d))


def compress(magnitude: int) -> int:
    """The leading seventeen binary digits, after how many digits follow."""
    digits = f"{magnitude:b}"
    if len(digits) <= 17:
        return magnitude
    return (len(digits) - 17) * 2**16 + int(digits[:17], 2)


def lowest(compressed: int) -> int:
    """By halving the range: `compress` rises."""
    least, most = 0, 2**255
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if compress(middle) >= compressed else (middle + 1, most)
    return least


def bucket_of(key: int) -> int:
    key = min(max(key, -(2**126)), 2**126)
    return 2**23 + compress(key) if key >= 0 else 2**23 - 1 - compress(-1 - key)


def highest_key(bucket: int) -> int:
    """By halving the range: `bucket_of` rises."""
    least, most = -(2**126), 2**126 - 1
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if bucket_of(middle) <= bucket else (least, middle - 1)
    return least


def median(numbers: list[int], count: int) -> int:
    return floor(statistics.median(map(Fraction, numbers[:count])))


def median_of_three(x: int, y: int, z: int) -> int:
    return statistics.median_low((x, y, z))


# The domains


def quotients() -> Iterator[Case]:
    """All x, y, d up to 11, and of the 14 numbers around 2**0, 2**64, .., 2**256."""
    yield from product(range(12), repeat=3)
    yield from product(edges(0, MAX_UINT256, 64), repeat=3)


def signed_quotients() -> Iterator[Case]:
    """All x from -60 to 60 by all d up to 24; x at every power of two by d at every 32nd."""
    yield from product(range(-60, 61), range(1, 25))
    yield from product(edges(-MAX_INT256, MAX_INT256), edges(1, MAX_INT256, 32))


def keys() -> Iterator[Case]:
    """All keys from -3,000 to 3,000, at every power of two, and at every step of its leading
    seventeen digits that is a power of two, where a bucket ends.
    """
    yield from ((key,) for key in range(-3_000, 3_001))
    yield from ((key,) for key in edges(-MAX_INT256, MAX_INT256))
    for bits, place in product(range(17, 126), range(16)):
        end = 2**bits + 2 ** (bits - 16 + place)
        yield from ((sign * end + i,) for sign in (-1, 1) for i in (-1, 0))


def magnitudes() -> Iterator[Case]:
    yield from ((key,) for (key,) in keys() if key >= 0)


def compressed() -> Iterator[Case]:
    """Every compressed magnitude up to 2**17 in steps of 97, and at each change of exponent."""
    yield from ((number,) for number in range(0, 2**17, 97))
    yield from ((E * 2**16 + i,) for E in range(2, 111) for i in (-2, -1, 0, 1, 2, 2**15))


def buckets() -> Iterator[Case]:
    yield from ((2**23 + number,) for (number,) in compressed())
    yield from ((2**23 - 1 - number,) for (number,) in compressed())


def triples() -> Iterator[Case]:
    """All triples of the numbers up to 4, of 2**255 and its neighbours, and of the two largest."""
    yield from product([*range(5), *edges(2**255 - 1, MAX_UINT256)], repeat=3)


def lists() -> Iterator[Case]:
    """All lists of up to eight of three numbers, and of up to five of five."""
    for values, longest in (((0, 1, MAX_UINT256), MAX_COUNT), ((0, 3, 4, 8, 9), 5)):
        for count in range(1, longest + 1):
            for numbers in product(values, repeat=count):
                yield [*numbers, *[7] * (MAX_COUNT - count)], count


DOMAINS: list[tuple[str, str, Any, Any, int]] = [
    ("fixed_point", "_mul_div_down", mul_div_down, quotients, 4_000),
    ("fixed_point", "_mul_div_up", mul_div_up, quotients, 4_000),
    ("fixed_point", "_signed_div_floor", signed_div_floor, signed_quotients, 30_000),
    ("fixed_point", "_signed_div_ceil", signed_div_ceil, signed_quotients, 30_000),
    ("trigger_key", "_bucket_of", bucket_of, keys, 14_000),
    ("trigger_key", "_compress", compress, magnitudes, 7_000),
    ("trigger_key", "_lowest", lowest, compressed, 2_000),
    ("trigger_key", "_highest_key", highest_key, buckets, 4_000),
    ("sorted_median", "_median_of_three", median_of_three, triples, 1_000),
    ("sorted_median", "_median", median, lists, 12_000),
]


@pytest.mark.parametrize(("module", "name", "definition", "domain", "least"), DOMAINS)
def test_every_input_of_a_small_domain(
    module: str, name: str, definition: Any, domain: Any, least: int
) -> None:
    """Compiled code on revm, mirror and definition give the same, or all refuse."""
    deployed, mirror = Deployed(module), Mirror(module)
    count = 0
    for args in domain():
        expected = definition(*args)
        assert mirror.call(name, *args) == expected, args
        assert deployed.call(name, *args) == expected, args
        count += 1
    assert count >= least


@pytest.mark.parametrize(("module", "name", "definition", "domain", "least"), DOMAINS)
def test_the_symbolic_machine_runs_plain_numbers_as_revm_does(
    module: str, name: str, definition: Any, domain: Any, least: int
) -> None:
    """Opcode by opcode it is an ordinary machine: some 200 inputs of each domain, evenly spread."""
    symbolic, deployed = Contract(module), Deployed(module)
    for args in islice(domain(), 0, None, least // 200 + 1):
        assert symbolic.call(name, *args) == deployed.call(name, *args), args


# What the median promises, of the compiled code


def test_order_and_a_minority_do_not_matter_to_the_compiled_median() -> None:
    """All multisets of up to six numbers from 0 to 3, in all their orders up to four: the same
    median, between the least and the greatest, and between those of any majority of them.
    """
    deployed = Deployed("sorted_median")
    for count in range(1, 7):
        for numbers in combinations_with_replacement(range(4), count):
            found = deployed.call("_median", [*numbers, *[9] * (MAX_COUNT - count)], count)
            for order in set(permutations(numbers)) if count <= 4 else ():
                padded = [*order, *[9] * (MAX_COUNT - count)]
                assert deployed.call("_median", padded, count) == found
            assert found is not None
            # The least majority of all is the worst case: that of the lowest, or of the highest.
            honest = count // 2 + 1
            for majority in majorities(numbers, honest):
                assert min(majority) <= found <= max(majority), numbers


def majorities(numbers: tuple[int, ...], size: int) -> Iterable[tuple[int, ...]]:
    return {tuple(order[:size]) for order in permutations(numbers, size)}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_bucket_of", lambda key: bucket_of(key) + (key == 2**100)),
        ("_highest_key", lambda bucket: highest_key(bucket) - (bucket == 2**23 + 2**18)),
    ],
)
def test_one_different_input_is_found(name: str, wrong: Any) -> None:
    module, name, _, domain, least = next(row for row in DOMAINS if row[1] == name)
    with pytest.raises(AssertionError):
        test_every_input_of_a_small_domain(module, name, wrong, domain, least)

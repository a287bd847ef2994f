"""The median is the middle one, for all numbers of 256 bits, and a minority cannot move it away.

Two ways lead to all counts up to eight. Symbolically, up to five numbers. Beyond, by order: the
mirror runs on numbers that can only be compared, in each of the 8! orders, so that nothing but the
order can matter to it; ties need no orders of their own, since it only ever asks whether an earlier
number is above a later one, which for equal ones has the answer of the order by place.
"""

from collections.abc import Sequence
from itertools import permutations
from math import factorial
from typing import Any

import pytest
import z3
from forms import Deployed
from planting import Claim, Form, Mutant, check, check_refuted, form_of
from symbolic import Number, Refuted, Truth, given, prove, some

from python_model.evm import MAX_UINT256
from python_model.modules.sorted_median import MAX_COUNT

COUNTS = range(1, MAX_COUNT + 1)
SYMBOLIC_COUNTS = range(1, 6)


def term(number: Number) -> z3.ArithRef:
    return z3.IntVal(number) if isinstance(number, int) else number.term


def has_rank(numbers: Sequence[Number], number: Number, rank: int) -> Truth:
    """At most `rank` of the numbers are below it and more than `rank` are not above it: what is at
    place `rank` once they are sorted.
    """
    below = z3.Sum([z3.If(term(other) < term(number), 1, 0) for other in numbers])
    up_to = z3.Sum([z3.If(term(other) <= term(number), 1, 0) for other in numbers])
    return Truth.of(z3.And(below <= rank, up_to > rank))


def numbers_of(count: int) -> list[Number]:
    return [some(f"x{i}", 0, MAX_UINT256) for i in range(count)]


def middle_of_three(form: Form) -> list[Truth | bool]:
    """`_median_of_three` has one number at most below it and two at least not above it. All numbers
    of 256 bits, equal ones too.
    """
    numbers = numbers_of(3)
    median = form("sorted_median").call("_median_of_three", *numbers)
    return [median is not None and has_rank(numbers, median, 1)]


def middle_of(count: int) -> Claim:
    def middle(form: Form) -> list[Truth | bool]:
        """`_median` is the middle number of an odd count, and the mean of the two middle ones of an
        even one, rounded down. All numbers of 256 bits, equal ones too.
        """
        numbers = numbers_of(count)
        padding = [MAX_UINT256] * (MAX_COUNT - count)  # what lies behind must not matter
        median = form("sorted_median").call("_median", [*numbers, *padding], count)
        low, high = some("low", 0, MAX_UINT256), some("high", 0, MAX_UINT256)
        given(has_rank(numbers, low, (count - 1) // 2), has_rank(numbers, high, count // 2))
        return [median is not None and median == (low + high) // 2]

    middle.__name__ = f"middle_of_{count}"
    return middle


CLAIMS = [middle_of_three, *map(middle_of, SYMBOLIC_COUNTS)]
THREE = "min(max(x, y), z)"
MUTANTS = [
    Mutant(claim, form, "sorted_median", old, new)
    for claim, form, old, new in (
        (middle_of_three, "contract", THREE, "max(max(x, y), z)"),
        (middle_of_three, "mirror", THREE, "max(x, z)"),
        (middle_of(2), "contract", "ranked[count >> 1]", "ranked[(count - 1) >> 1]"),
        (middle_of(2), "mirror", "ranked[(count - 1) >> 1]", "ranked[count >> 1]"),
        (middle_of(3), "contract", "in range(1, count", "in range(2, count"),
        (middle_of(3), "mirror", "ranked[(count - 1) >> 1]", "ranked[count >> 2]"),
        (middle_of(4), "contract", "ranked[count >> 1]", "ranked[(count >> 1) - 1]"),
        (middle_of(4), "mirror", "place -= 1", "place -= 2"),
    )
]


@pytest.mark.parametrize("form", ["contract", "mirror"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_proved(claim: Claim, form: str) -> None:
    check(claim, form)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_refuted_for(mutant: Mutant) -> None:
    check_refuted(mutant)


# All orders of up to eight


class Placed:
    """A number of which only its rank among the others is known, and that alone can be asked."""

    def __init__(self, place: int, rank: int) -> None:
        self.place = place
        self.rank = rank

    def __gt__(self, later: "Placed") -> bool:
        assert self.place < later.place
        return self.rank > later.rank

    def __and__(self, other: "Placed") -> "Mean":
        return Mean({self, other}, "&")

    def __xor__(self, other: "Placed") -> "Mean":
        return Mean({self, other}, "^")


class Mean:
    """(a & b) + ((a ^ b) >> 1), as it is put together; any other step has no meaning here."""

    def __init__(self, of: set[Placed], step: str) -> None:
        self.of = of
        self.step = step

    def __rshift__(self, bits: int) -> "Mean":
        assert (self.step, bits) == ("^", 1)
        return Mean(self.of, "^ >> 1")

    def __add__(self, other: "Mean") -> "Mean":
        assert (self.step, other.step, self.of) == ("&", "^ >> 1", other.of)
        return Mean(self.of, "mean")


def middle_ranks(module: Any, ranks: Sequence[int]) -> set[int]:
    """Ranks of the one or two numbers whose mean the median is."""
    count = len(ranks)
    placed: list[Any] = [Placed(place, rank) for place, rank in enumerate(ranks)]
    mean = module.call("_median", placed + [None] * (MAX_COUNT - count), count)
    assert mean.step == "mean"
    return {number.rank for number in mean.of}


@pytest.mark.parametrize("count", COUNTS)
def test_only_the_middle_ones_count_in_every_order(count: int) -> None:
    """The mirror takes the mean of the numbers at places (count - 1) / 2 and count / 2 of the
    sorted ones, and looks at nothing but the order. All 8! orders, hence all numbers.
    """
    module = form_of("mirror")("sorted_median")
    middle = {(count - 1) // 2, count // 2}
    orders = 0
    for ranks in permutations(range(count)):
        assert middle_ranks(module, ranks) == middle
        orders += 1
    assert orders == factorial(count)


def every_order_gives_the_middle(deployed: Deployed, count: int) -> bool:
    """Numbers far apart and all above 2**255, so that a carry or a sign would show."""
    numbers = [2**256 - 1 - (MAX_COUNT - rank) * 3**150 for rank in range(count)]
    middle = (numbers[(count - 1) // 2] + numbers[count // 2]) // 2
    padding = [0] * (MAX_COUNT - count)
    return all(
        deployed.call("_median", [*order, *padding], count) == middle
        for order in permutations(numbers)
    )


@pytest.mark.parametrize("count", COUNTS)
def test_the_contract_finds_the_middle_in_every_order(count: int) -> None:
    """The compiled code gives the mean of the two middle ones for one set of numbers in each of its
    orders, 8! of the longest.
    """
    assert every_order_gives_the_middle(Deployed("sorted_median"), count)


@pytest.mark.parametrize("count", [3, 6])
def test_a_number_left_in_its_place_is_found(count: int) -> None:
    broken = Deployed("sorted_median", ("place == 0 or", "place == 1 or"))
    assert not every_order_gives_the_middle(broken, count)


@pytest.mark.parametrize(
    ("old", "new"),
    [("place > 0 and", "place > 1 and"), ("ranked[count >> 1]", "ranked[(count >> 1) - 1]")],
)
def test_a_wrong_place_is_found_by_order(old: str, new: str) -> None:
    planted = Mutant(middle_of_three, "mirror", "sorted_median", old, new)
    broken = form_of("mirror", planted)("sorted_median")
    assert any(middle_ranks(broken, ranks) != {3, 4} for ranks in permutations(range(8)))


@pytest.mark.parametrize("wrong", [False, True])
def test_the_mean_has_no_carry(wrong: bool) -> None:
    """(a & b) + ((a ^ b) >> 1) is (a + b) / 2 rounded down, and a + b = 2 * (a & b) + (a ^ b),
    which the symbolic numbers take for granted. All a and b of 256 bits, as z3's bits.
    """
    a, b = z3.BitVecs("a b", 256)
    shared, alone = z3.ZeroExt(1, a & b), z3.ZeroExt(1, a ^ b)
    total = z3.ZeroExt(1, a) + z3.ZeroExt(1, b)
    mean = z3.ZeroExt(1, (a & b) + z3.LShR(a ^ b, 1))
    if wrong:
        mean = z3.ZeroExt(1, (a | b) - z3.LShR(a ^ b, 1))  # rounds up
    solver = z3.Solver()
    solver.add(z3.Or(total != 2 * shared + alone, mean != z3.LShR(total, 1)))
    assert solver.check() == (z3.sat if wrong else z3.unsat)


# What the definition promises


def minority_cannot_move_it(count: int, dishonest: int) -> Truth:
    """With `dishonest` of the numbers arbitrary, the mean of the two middle ones lies between the
    least and the greatest of the others. All integers of 256 bits.
    """
    numbers = numbers_of(count)
    low, high = some("low", 0, MAX_UINT256), some("high", 0, MAX_UINT256)
    given(has_rank(numbers, low, (count - 1) // 2), has_rank(numbers, high, count // 2))
    median = term((low + high) // 2)
    honest = [term(number) for number in numbers[dishonest:]]
    return Truth.of(
        z3.And(
            z3.Or([least <= median for least in honest]),
            z3.Or([median <= most for most in honest]),
        )
    )


@pytest.mark.parametrize("count", COUNTS)
def test_a_minority_cannot_move_the_median_out_of_the_honest_range(count: int) -> None:
    """Fewer than half of up to eight numbers, whichever they are (the definition does not know
    them apart), cannot move it beyond the range of the others; none: it is in the range of all.
    """
    for dishonest in range((count + 1) // 2):
        prove(lambda dishonest=dishonest: minority_cannot_move_it(count, dishonest))


@pytest.mark.parametrize("count", COUNTS)
def test_a_half_can_move_the_median(count: int) -> None:
    with pytest.raises(Refuted):
        prove(lambda: minority_cannot_move_it(count, (count + 1) // 2))

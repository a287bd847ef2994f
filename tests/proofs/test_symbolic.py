"""The prover itself: it proves what is true, refutes what is not, and never the other way round."""

import machine
import pytest
import symbolic
from symbolic import Refuted, given, implies, prove, replay, some

SIZES = [(-9, 9), (-3, 2**70), (-(2**70), 5)]


def test_a_false_claim_is_refuted_with_a_counterexample() -> None:
    def square() -> object:
        x = some("x", -(10**9), 10**9)
        return x * x != 123_456_789**2

    with pytest.raises(Refuted) as found:
        prove(square)
    assert abs(found.value.values["x"]) == 123_456_789
    assert not replay(square, found.value.values)


def test_a_claim_must_hold_on_every_path() -> None:
    def steps() -> object:
        x = some("x", 0, 2**256 - 1)
        return x.bit_length() <= 256 if x != 2**200 else False  # type: ignore[union-attr]

    with pytest.raises(Refuted) as found:
        prove(steps)
    assert found.value.values["x"] == 2**200


@pytest.mark.parametrize("power", [1, 2])
def test_what_cannot_be_is_not_counted_as_proved(power: int) -> None:
    def nothing() -> object:
        x = some("x", 0, 9)
        given(x + x != 7 if power == 1 else x * x > 9, x + x == 7 if power == 1 else x * x < 16)
        return False

    with pytest.raises(AssertionError, match="no value takes any path"):
        prove(nothing)


@pytest.mark.parametrize("ends", SIZES)
@pytest.mark.parametrize("divisor", [1, 2, 7, 2**64, -1, -3])
def test_quotients_are_those_of_python(ends: tuple[int, int], divisor: int) -> None:
    """Each path's quotient at each of its inputs near a bound, zero or a multiple is Python's."""
    near = [n for end in (*ends, 0, divisor, -divisor) for n in range(end - 4, end + 5)]
    for number in sorted({n for n in near if ends[0] <= n <= ends[1]}):

        def quotient(number: int = number) -> object:
            x = some("x", *ends)
            given(x == number)
            return [x // divisor == number // divisor, x % divisor == number % divisor]

        prove(quotient)


@pytest.mark.parametrize("number", [0, 1, 2, 255, 256, 2**70 - 1, 2**70])
def test_bits_are_those_of_python(number: int) -> None:
    def bits() -> object:
        x, y = some("x", 0, 2**70), some("y", 0, 2**70)
        given(x == number)
        length = x.bit_length()  # type: ignore[union-attr]
        return [
            length == number.bit_length(),
            x >> 3 == number >> 3,
            x << 3 == number << 3,
            x & 0xFF == number & 0xFF,
            implies(y == 1, (x & y) + (x ^ y) >= number),
        ]

    prove(bits)


def test_words_wrap_as_the_machine_wraps_them() -> None:
    """Every sum, difference and product of two words is congruent and in range, and each path that
    wraps says so.
    """
    limits = (-(2**255), 2**256 - 1)
    for operation in (int.__add__, int.__sub__, int.__mul__):
        for ends in ((0, 2**256 - 1), (-(2**255), 2**255 - 1)):

            def wrapped(name: str = operation.__name__, ends: tuple[int, int] = ends) -> object:
                machine.wraps.clear()
                x, y = some("x", *ends), some("y", *ends)
                plain = getattr(x, name)(y)
                word = machine.reduced(plain)
                low, high = symbolic.bounds(word)
                is_told = bool(machine.wraps) or word == plain
                return [(plain - word) % 2**256 == 0, limits[0] <= low, high <= limits[1], is_told]

            prove(wrapped)

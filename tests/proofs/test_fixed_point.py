"""Quotients round as their names say and no step of them wraps: contract and mirror, all words."""

import machine
import pytest
from planting import Claim, Form, Mutant, check, check_refuted
from symbolic import Truth, both, either, some

from python_model.evm import MAX_UINT256
from python_model.modules.fixed_point import MAX_INT256

MIN_INT256 = -(2**255)


def product_rounds_down(form: Form) -> list[Truth | bool]:
    """`_mul_div_down` is the q with q*d <= x*y < (q + 1)*d, and reverts exactly where d is zero or
    x*y has more than 256 bits. All x, y, d of 256 bits.
    """
    x, y, d = (some(name, 0, MAX_UINT256) for name in "xyd")
    q = form("fixed_point").call("_mul_div_down", x, y, d)
    if q is None:
        return [either(d == 0, x * y > MAX_UINT256)]
    return [d > 0, x * y <= MAX_UINT256, q * d <= x * y, x * y < (q + 1) * d, q >= 0]


def product_rounds_up(form: Form) -> list[Truth | bool]:
    """`_mul_div_up` is the q with (q - 1)*d < x*y <= q*d, fits in 256 bits, and reverts exactly
    where d is zero or x*y has more than 256 bits. All x, y, d of 256 bits.
    """
    x, y, d = (some(name, 0, MAX_UINT256) for name in "xyd")
    q = form("fixed_point").call("_mul_div_up", x, y, d)
    if q is None:
        return [either(d == 0, x * y > MAX_UINT256)]
    held = [d > 0, x * y <= MAX_UINT256, (q - 1) * d < x * y, x * y <= q * d]
    return [*held, q >= 0, q <= MAX_UINT256]


def signed_quotient_rounds_down(form: Form) -> list[Truth | bool]:
    """`_signed_div_floor` is the q with q*d <= x < (q + 1)*d and never reverts. All x of 256 bits,
    negative ones too, and all d from 1 to 2**255 - 1.
    """
    x, d = some("x", MIN_INT256, MAX_INT256), some("d", 1, MAX_INT256)
    q = form("fixed_point").call("_signed_div_floor", x, d)
    return [q is not None and both(q * d <= x, x < (q + 1) * d)]


def signed_quotient_rounds_up(form: Form) -> list[Truth | bool]:
    """`_signed_div_ceil` is the q with (q - 1)*d < x <= q*d and never reverts. All x of 256 bits
    but the least, which has no negative, and all d from 1 to 2**255 - 1.
    """
    x, d = some("x", MIN_INT256 + 1, MAX_INT256), some("d", 1, MAX_INT256)
    q = form("fixed_point").call("_signed_div_ceil", x, d)
    return [q is not None and both((q - 1) * d < x, x <= q * d)]


def conversions_keep_the_number(form: Form) -> list[Truth | bool]:
    """`_to_int` and `_to_uint` give the number they get and revert exactly outside the other type.
    All words.
    """
    x, y = some("x", 0, MAX_UINT256), some("y", MIN_INT256, MAX_INT256)
    as_int = form("fixed_point").call("_to_int", x)
    as_uint = form("fixed_point").call("_to_uint", y)
    return [
        x > MAX_INT256 if as_int is None else both(as_int == x, x <= MAX_INT256),
        y < 0 if as_uint is None else both(as_uint == y, y >= 0),
    ]


CLAIMS: list[Claim] = [
    product_rounds_down,
    product_rounds_up,
    signed_quotient_rounds_down,
    signed_quotient_rounds_up,
    conversions_keep_the_number,
]


def unsafe_steps_do_not_wrap(form: Form) -> list[Truth | bool]:
    """No sum, difference or product of a call that returns leaves the words, those written with
    `unsafe_` included. Compiled code of all four quotients; all words, divisors as above.
    """
    x, y, d = (some(name, 0, MAX_UINT256) for name in "xyd")
    s, t = some("s", MIN_INT256 + 1, MAX_INT256), some("t", 1, MAX_INT256)
    clean: list[Truth | bool] = []
    for name, args in (
        ("_mul_div_down", (x, y, d)),
        ("_mul_div_up", (x, y, d)),
        ("_signed_div_floor", (s, t)),
        ("_signed_div_ceil", (s, t)),
    ):
        found = form("fixed_point").call(name, *args)
        clean.append(found is None or not machine.wraps)
    return clean


LEFT_OVER = "unsafe_mul(quotient, denominator) != product"
MUTANTS = [
    Mutant(claim, form, "fixed_point", old, new)
    for claim, form, old, new in (
        (product_rounds_down, "contract", "return x * y //", "return (x * y + 1) //"),
        (product_rounds_down, "contract", "return x * y //", "return unsafe_mul(x, y) //"),
        (
            product_rounds_down,
            "mirror",
            "return product //",
            "return -(-product // denominator) //",
        ),
        (product_rounds_up, "contract", LEFT_OVER, "product != 0"),
        (
            product_rounds_up,
            "contract",
            "product: uint256 = x * y",
            "product: uint256 = unsafe_mul(x, y)",
        ),
        (product_rounds_up, "contract", "product: uint256 = x * y", "product: uint256 = y"),
        (product_rounds_up, "mirror", "-(-product // denominator)", "product // denominator + 1"),
        (signed_quotient_rounds_down, "contract", "unsafe_mul(quotient, divisor) > x", "x < 0"),
        (signed_quotient_rounds_down, "contract", "unsafe_mul(quotient, divisor) > x", "False"),
        (signed_quotient_rounds_down, "mirror", "return x //", "return -(-x // denominator) //"),
        (signed_quotient_rounds_up, "contract", "_floor(-x, denominator)", "_floor(-x, 1)"),
        (signed_quotient_rounds_up, "mirror", "_floor(-x, ", "_floor(1 - x, "),
        (conversions_keep_the_number, "contract", "convert(x, uint256)", "convert(-x, uint256)"),
        (conversions_keep_the_number, "contract", "convert(x, int256)", "convert(x >> 1, int256)"),
        (conversions_keep_the_number, "mirror", "x > MAX_INT256", "x >= MAX_INT256"),
        (conversions_keep_the_number, "mirror", "x < 0", "x <= 0"),
        (
            unsafe_steps_do_not_wrap,
            "contract",
            LEFT_OVER,
            "unsafe_add(unsafe_mul(quotient, denominator), x) != unsafe_add(product, x)",
        ),
    )
]


@pytest.mark.parametrize("form", ["contract", "mirror"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_proved(claim: Claim, form: str) -> None:
    check(claim, form)


def test_no_step_of_a_quotient_wraps() -> None:
    check(unsafe_steps_do_not_wrap, "contract")


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_refuted_for(mutant: Mutant) -> None:
    check_refuted(mutant)

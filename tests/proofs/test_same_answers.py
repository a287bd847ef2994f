"""The compiled functions give what their mirrors give, on every input of their range.

What is proved of a mirror is then proved of the contract. The ranges are those of the type, or
those that the packed words, the factory and docs/spec.md (sections 16 and 17) allow. Wherever the
contract returns, none of its sums, differences and products wraps; and it returns on all of a range
unless its row says that it may revert, where the mirror then reverts on the same inputs.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import machine
import pytest
from forms import FORMS, functions
from planting import Form, Mutant, form_of
from symbolic import Refuted, Truth, pin, prove, replay, some

from python_model.modules.constants import MAX_MARGIN, MAX_PRICE, MAX_SIZE, WAD

Range = tuple[int, int]

UINT = (0, 2**256 - 1)
INT = (-(2**255), 2**255 - 1)
DIVISOR = (1, 2**255 - 1)
SIDE = (0, 1)
SIZE = (0, MAX_SIZE)
SOME_SIZE = (1, MAX_SIZE)
PRICE = (0, MAX_PRICE)
ENTRY_PRICE = (0, 2 * MAX_PRICE)
FUNDING = (-(2**127), 2**127 - 1)
FRACTION = (0, WAD)
NOTIONAL_SCALE = (10**18, 10**36)
VALUE_SCALE = (10**27, 10**45)


class Row(NamedTuple):
    """A function and its inputs."""

    module: str
    name: str
    inputs: Iterable[Range]
    may_revert: bool = False

    def __str__(self) -> str:
        return self.name


ROWS = [
    Row("fixed_point", "_mul_div_down", (UINT, UINT, UINT), may_revert=True),
    Row("fixed_point", "_mul_div_up", (UINT, UINT, UINT), may_revert=True),
    Row("fixed_point", "_signed_div_floor", (INT, DIVISOR)),
    Row("fixed_point", "_signed_div_ceil", ((INT[0] + 1, INT[1]), DIVISOR)),
    Row("fixed_point", "_to_int", (UINT,), may_revert=True),
    Row("fixed_point", "_to_uint", (INT,), may_revert=True),
    Row("trigger_key", "_bucket_of", (INT,)),
    Row("trigger_key", "_highest_key", ((0, 2**24 - 1),)),
    Row("trigger_key", "_compress", (UINT,)),
    Row("trigger_key", "_lowest", ((0, 2**23 - 1),)),
    Row(
        "trigger_key",
        "_trigger_key",
        (SIDE, SOME_SIZE, (0, MAX_MARGIN), ENTRY_PRICE, FUNDING, VALUE_SCALE),
    ),
    Row("trigger_key", "_threshold", (SIDE, PRICE, FRACTION, FUNDING)),
    Row("margin_math", "_marked_value", (SIDE, SIZE, ENTRY_PRICE, FUNDING)),
    Row(
        "margin_math",
        "_position_value",
        (SIDE, SIZE, ENTRY_PRICE, FUNDING, PRICE, FUNDING, VALUE_SCALE),
    ),
    Row("margin_math", "_fraction_of_notional_up", (SIZE, PRICE, FRACTION, NOTIONAL_SCALE)),
    Row(
        "margin_math",
        "_fill_price",
        (SIDE, PRICE, (-(2**107), 2**107), SOME_SIZE),
        may_revert=True,
    ),
    Row(
        "margin_math",
        "_average_entry_price",
        (SIDE, SIZE, ENTRY_PRICE, SOME_SIZE, ENTRY_PRICE),
    ),
    Row("margin_math", "_average_entry_funding", (SIZE, FUNDING, SOME_SIZE, FUNDING)),
    Row("funding_index", "_funding_rate", ((-MAX_SIZE, MAX_SIZE), SOME_SIZE, FRACTION)),
    Row("funding_index", "_utilisation_rate", (UINT, UINT, (0, 10**12)), may_revert=True),
    Row(
        "funding_index",
        "_index_step",
        (SIDE, (-(2**91), 2**91), (0, 2**91), PRICE, (0, 2**48 - 1)),
    ),
]


def same_answer(row: Row, mirror: Form, contract: Form) -> list[Truth | bool]:
    args: list[Any] = [some(f"input_{i}", *ends) for i, ends in enumerate(row.inputs)]
    if SIDE in row.inputs:
        args[0] = pin(args[0])
    expected = mirror(row.module).call(row.name, *args)
    found = contract(row.module).call(row.name, *args)
    if found is None or expected is None:
        return [row.may_revert and found is expected]
    return [found == expected, not machine.wraps]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_contract_and_mirror_give_the_same(row: Row) -> None:
    mirror, contract = form_of("mirror"), form_of("contract")
    prove(lambda: same_answer(row, mirror, contract))


@pytest.mark.parametrize("module", ["fixed_point", "trigger_key"])
def test_every_function_of_the_module_has_a_row(module: str) -> None:
    assert functions(module) == {row.name for row in ROWS if row.module == module}


MUTANTS = [
    ("_mul_div_down", "contract", "return x * y // denominator", "return x // denominator * y"),
    ("_mul_div_up", "mirror", "-(-product // denominator)", "product // denominator + 1"),
    ("_signed_div_floor", "contract", "unsafe_sub(quotient, 1)", "unsafe_sub(quotient, 2)"),
    ("_signed_div_ceil", "mirror", "_floor(-x, denominator)", "_floor(1 - x, denominator)"),
    ("_to_int", "mirror", "x > MAX_INT256", "x > MAX_INT256 + 1"),
    ("_to_uint", "mirror", "x < 0", "x <= 0"),
    ("_bucket_of", "contract", "MAX_KEY), -MAX_KEY)", "MAX_KEY), -MAX_KEY - 2**109)"),
    ("_highest_key", "contract", "    return -1 - convert(", "    return -2 - convert("),
    ("_compress", "contract", "magnitude >> exponent", "(magnitude + 1) >> exponent"),
    ("_lowest", "contract", "(compressed >> 16) - 1", "(compressed >> 17) + 1"),
    ("_trigger_key", "contract", "        key = -key", "        key = -key - 1"),
    ("_threshold", "contract", "return threshold - funding", "return threshold + funding"),
    ("_marked_value", "contract", "(per_unit - funding)", "(per_unit + funding)"),
    ("_position_value", "mirror", "floor(\n        _marked", "floor(\n        -_marked"),
    ("_fraction_of_notional_up", "mirror", "(size * price, fraction", "(size + price, fraction"),
    ("_fill_price", "contract", "2 * skew_scale", "3 * skew_scale"),
    ("_average_entry_price", "contract", "size * entry_price +", "size * entry_price + 1 +"),
    ("_average_entry_funding", "mirror", "* entry_funding + added", "* entry_funding - added"),
    ("_funding_rate", "contract", "if skew < 0:", "if skew < 2:"),
    ("_utilisation_rate", "mirror", "fixed_point._mul_div_up", "fixed_point._mul_div_down"),
    ("_index_step", "contract", "else -funding_rate", "else funding_rate"),
]


def test_every_row_has_a_mutant() -> None:
    assert [row.name for row in ROWS] == [name for name, *_ in MUTANTS]


@pytest.mark.parametrize(("name", "form", "old", "new"), MUTANTS)
def test_a_different_answer_is_found(name: str, form: str, old: str, new: str) -> None:
    row = next(row for row in ROWS if row.name == name)
    both = {kind: form_of(kind) for kind in FORMS}
    planted = Mutant(same_answer, form, row.module, old, new)
    broken = both | {form: form_of(form, planted)}
    with pytest.raises(Refuted) as found:
        prove(lambda: same_answer(row, broken["mirror"], broken["contract"]))
    values = found.value.values
    assert not replay(lambda: same_answer(row, broken["mirror"], broken["contract"]), values)
    assert replay(lambda: same_answer(row, both["mirror"], both["contract"]), values)

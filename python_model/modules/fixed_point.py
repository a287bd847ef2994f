"""Mirror of contracts/modules/fixed_point.vy.

Products revert past 256 bits, as the contract's checked arithmetic does.
"""

from python_model.evm import MAX_UINT256, Revert

MAX_INT256 = 2**255 - 1


def _mul_div_down(x: int, y: int, denominator: int) -> int:
    product = x * y
    if product > MAX_UINT256 or denominator == 0:
        raise Revert
    return product // denominator


def _mul_div_up(x: int, y: int, denominator: int) -> int:
    product = x * y
    if product > MAX_UINT256 or denominator == 0:
        raise Revert
    return -(-product // denominator)


def _signed_div_floor(x: int, denominator: int) -> int:
    # Python's own integer division already rounds towards minus infinity.
    return x // denominator


def _signed_div_ceil(x: int, denominator: int) -> int:
    return -_signed_div_floor(-x, denominator)


def _to_int(x: int) -> int:
    if x > MAX_INT256:
        raise Revert
    return x


def _to_uint(x: int) -> int:
    if x < 0:
        raise Revert
    return x

# pragma version 0.4.3
"""
@title Integer arithmetic with the rounding direction in the name
@notice The only file in which a quotient is taken. Products are checked: they revert past 256 bits.
"""


@internal
@pure
def _mul_div_down(x: uint256, y: uint256, denominator: uint256) -> uint256:
    """
    @notice x * y / denominator, rounded down.
    """
    return x * y // denominator


@internal
@pure
def _mul_div_up(x: uint256, y: uint256, denominator: uint256) -> uint256:
    """
    @notice x * y / denominator, rounded up.
    """
    product: uint256 = x * y
    quotient: uint256 = product // denominator
    # quotient <= product, and it is the largest number only where nothing is left over.
    return unsafe_add(quotient, convert(unsafe_mul(quotient, denominator) != product, uint256))


@internal
@pure
def _signed_div_floor(x: int256, denominator: uint256) -> int256:
    """
    @notice x / denominator towards minus infinity. Vyper's own signed division truncates.
    """
    divisor: int256 = convert(denominator, int256)
    quotient: int256 = x // divisor
    # A remainder means that the divisor is at least two, so the quotient is far from the bounds.
    if unsafe_mul(quotient, divisor) > x:
        quotient = unsafe_sub(quotient, 1)
    return quotient


@internal
@pure
def _signed_div_ceil(x: int256, denominator: uint256) -> int256:
    """
    @notice x / denominator towards plus infinity.
    """
    return -self._signed_div_floor(-x, denominator)


@internal
@pure
def _to_int(x: uint256) -> int256:
    """
    @notice x as a signed integer; reverts past 2**255 - 1.
    """
    return convert(x, int256)


@internal
@pure
def _to_uint(x: int256) -> uint256:
    """
    @notice x as an unsigned integer; reverts below zero.
    """
    return convert(x, uint256)

# pragma version 0.4.3
"""
@title Median of a few numbers
@notice The middle one; of an even count the mean of the two middle ones, rounded down. A majority
        decides: fewer than half of the numbers cannot move it outside the range of the others.
"""

MAX_COUNT: constant(uint256) = 8


@internal
@pure
def _median_of_three(x: uint256, y: uint256, z: uint256) -> uint256:
    """
    @notice The middle one of three, without sorting.
    """
    return max(min(x, y), min(max(x, y), z))


@internal
@pure
def _median(numbers: uint256[MAX_COUNT], count: uint256) -> uint256:
    """
    @notice Median of the first `count` numbers, of which there is at least one.
    """
    ranked: uint256[MAX_COUNT] = numbers
    for i: uint256 in range(1, count, bound=MAX_COUNT):
        number: uint256 = ranked[i]
        place: uint256 = i
        for _: uint256 in range(MAX_COUNT):
            if place == 0 or ranked[place - 1] <= number:
                break
            ranked[place] = ranked[place - 1]
            place -= 1
        ranked[place] = number
    low: uint256 = ranked[(count - 1) >> 1]
    high: uint256 = ranked[count >> 1]
    # The bits that both have, and half of those that one has: the mean without a carry.
    return (low & high) + ((low ^ high) >> 1)

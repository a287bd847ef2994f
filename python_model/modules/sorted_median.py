"""Mirror of contracts/modules/sorted_median.vy."""

from collections.abc import Sequence

MAX_COUNT = 8


def _median_of_three(x: int, y: int, z: int) -> int:
    return max(min(x, y), min(max(x, y), z))


def _median(numbers: Sequence[int], count: int) -> int:
    ranked = list(numbers)
    for i in range(1, count):
        number = ranked[i]
        place = i
        while place > 0 and ranked[place - 1] > number:
            ranked[place] = ranked[place - 1]
            place -= 1
        ranked[place] = number
    low = ranked[(count - 1) >> 1]
    high = ranked[count >> 1]
    return (low & high) + ((low ^ high) >> 1)

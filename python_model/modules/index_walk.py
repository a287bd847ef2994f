"""Mirror of contracts/modules/index_walk.vy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from python_model.perp_market import PerpMarket


def _ring_from(market: "PerpMarket", ring: int) -> int:
    leaf_id = ring >> 8
    above = market.index_word(0, leaf_id) & -(1 << (ring & 255))
    if above == 0:
        middle_id = ring >> 16
        above = market.index_word(1, middle_id) & _above(leaf_id & 255)
        if above == 0:
            list_id = ring >> 24
            above = market.index_word(2, list_id) & _above(middle_id & 255)
            if above == 0:
                return 0
            middle_id = (list_id << 8) | _lowest_bit(above)
            above = market.index_word(1, middle_id)
        leaf_id = (middle_id << 8) | _lowest_bit(above)
        above = market.index_word(0, leaf_id)
    return ((leaf_id << 8) | _lowest_bit(above)) + 1


def _above(position: int) -> int:
    return -(2 << position)


def _lowest_bit(word: int) -> int:
    return (word & -word).bit_length() - 1

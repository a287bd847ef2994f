# pragma version 0.4.3
"""
@title Walking a market's liquidation index from outside
@notice For the engine, which deleverages from its far end, and the lens. Levels of `index_word`: 0
        leaves, 1 middles, 2 tops, 3 the first position of a ring.
"""

from snekmate.utils import math

from contracts.interfaces import IPerpMarket


@internal
@view
def _ring_from(market: IPerpMarket, ring: uint256) -> uint256:
    """
    @notice Lowest non-empty ring of the list of `ring` that is not below it, plus one; zero when
            there is none.
    """
    leaf_id: uint256 = ring >> 8
    above: uint256 = staticcall market.index_word(0, leaf_id) & ~((1 << (ring & 255)) - 1)
    if above == 0:
        middle_id: uint256 = ring >> 16
        above = staticcall market.index_word(1, middle_id) & self._above(leaf_id & 255)
        if above == 0:
            list_id: uint256 = ring >> 24
            above = staticcall market.index_word(2, list_id) & self._above(middle_id & 255)
            if above == 0:
                return 0
            middle_id = (list_id << 8) | self._lowest_bit(above)
            above = staticcall market.index_word(1, middle_id)
        leaf_id = (middle_id << 8) | self._lowest_bit(above)
        above = staticcall market.index_word(0, leaf_id)
    return ((leaf_id << 8) | self._lowest_bit(above)) + 1


@internal
@pure
def _above(position: uint256) -> uint256:
    """
    @notice The bits above one: none above the last, as two shifted out of the word leaves zero.
    """
    return unsafe_sub(0, convert(2, uint256) << position)


@internal
@pure
def _lowest_bit(word: uint256) -> uint256:
    """
    @notice Position of the lowest bit that is set.
    """
    return math._log2(word & unsafe_add(~word, 1), False)

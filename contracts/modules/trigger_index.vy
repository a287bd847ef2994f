# pragma version 0.4.3
"""
@title The set of non-empty buckets, ordered
@notice One set per list, a list being a (side, tier) pair; `ring` is list << 24 | bucket. A three-
        level 256-ary bitmap finds the next lower bucket in at most five reads. The highest bucket
        of each of the eight lists is cached in one word: all that a price update without
        liquidation reads.
"""

from snekmate.utils import math

# 32 bits per list: highest bucket plus one, zero when the list is empty.
_worst_buckets: uint256
_tops: HashMap[uint256, uint256]
_middles: HashMap[uint256, uint256]
_leaves: HashMap[uint256, uint256]


@internal
@view
def _worst_ring(list_id: uint256) -> uint256:
    """
    @notice Highest ring of the list plus one; zero when the list is empty.
    """
    bucket_plus_one: uint256 = (self._worst_buckets >> (32 * list_id)) & (2**32 - 1)
    if bucket_plus_one == 0:
        return 0
    return (list_id << 24) + bucket_plus_one


@internal
def _insert_ring(ring: uint256):
    """
    @notice Adds a ring that was empty.
    """
    leaf_id: uint256 = ring >> 8
    leaf: uint256 = self._leaves[leaf_id]
    self._leaves[leaf_id] = leaf | (1 << (ring & 255))
    if leaf == 0:
        middle_id: uint256 = ring >> 16
        middle: uint256 = self._middles[middle_id]
        self._middles[middle_id] = middle | (1 << (leaf_id & 255))
        if middle == 0:
            self._tops[ring >> 24] |= 1 << (middle_id & 255)
    if ring + 1 > self._worst_ring(ring >> 24):
        self._set_worst_ring(ring >> 24, ring + 1)


@internal
def _remove_ring(ring: uint256):
    """
    @notice Removes a ring that became empty.
    """
    leaf_id: uint256 = ring >> 8
    leaf: uint256 = self._leaves[leaf_id] ^ (1 << (ring & 255))
    self._leaves[leaf_id] = leaf
    if leaf == 0:
        middle_id: uint256 = ring >> 16
        middle: uint256 = self._middles[middle_id] ^ (1 << (leaf_id & 255))
        self._middles[middle_id] = middle
        if middle == 0:
            self._tops[ring >> 24] ^= 1 << (middle_id & 255)
    if ring + 1 == self._worst_ring(ring >> 24):
        self._set_worst_ring(ring >> 24, self._next_ring(ring))


@internal
@view
def _next_ring(ring: uint256) -> uint256:
    """
    @notice Highest non-empty ring of the same list below `ring`, plus one; zero when there is none.
    """
    leaf_id: uint256 = ring >> 8
    below: uint256 = self._leaves[leaf_id] & ((1 << (ring & 255)) - 1)
    if below == 0:
        middle_id: uint256 = ring >> 16
        below = self._middles[middle_id] & ((1 << (leaf_id & 255)) - 1)
        if below == 0:
            list_id: uint256 = ring >> 24
            below = self._tops[list_id] & ((1 << (middle_id & 255)) - 1)
            if below == 0:
                return 0
            middle_id = (list_id << 8) | math._log2(below, False)
            below = self._middles[middle_id]
        leaf_id = (middle_id << 8) | math._log2(below, False)
        below = self._leaves[leaf_id]
    return ((leaf_id << 8) | math._log2(below, False)) + 1


@internal
def _set_worst_ring(list_id: uint256, ring_plus_one: uint256):
    """
    @notice Caches the highest ring of the list; zero for none.
    """
    offset: uint256 = 32 * list_id
    cleared: uint256 = self._worst_buckets & ~((2**32 - 1) << offset)
    if ring_plus_one > 0:
        cleared |= (ring_plus_one - (list_id << 24)) << offset
    self._worst_buckets = cleared

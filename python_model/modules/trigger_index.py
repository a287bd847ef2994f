"""Mirror of contracts/modules/trigger_index.vy: a mix-in, its storage is the market's."""

from python_model.evm import Chain, Storage


class TriggerIndex:
    """Set of non-empty rings, ordered; `ring` is list << 24 | bucket."""

    def __init__(self, chain: Chain) -> None:
        self._worst_buckets = 0
        self._tops: Storage[int, int] = Storage(chain, 0)
        self._middles: Storage[int, int] = Storage(chain, 0)
        self._leaves: Storage[int, int] = Storage(chain, 0)

    def _worst_ring(self, list_id: int) -> int:
        bucket_plus_one = (self._worst_buckets >> (32 * list_id)) & (2**32 - 1)
        if bucket_plus_one == 0:
            return 0
        return (list_id << 24) + bucket_plus_one

    def _insert_ring(self, ring: int) -> None:
        leaf_id = ring >> 8
        leaf = self._leaves[leaf_id]
        self._leaves[leaf_id] = leaf | (1 << (ring & 255))
        if leaf == 0:
            middle_id = ring >> 16
            middle = self._middles[middle_id]
            self._middles[middle_id] = middle | (1 << (leaf_id & 255))
            if middle == 0:
                self._tops[ring >> 24] |= 1 << (middle_id & 255)
        if ring + 1 > self._worst_ring(ring >> 24):
            self._set_worst_ring(ring >> 24, ring + 1)

    def _remove_ring(self, ring: int) -> None:
        leaf_id = ring >> 8
        leaf = self._leaves[leaf_id] ^ (1 << (ring & 255))
        self._leaves[leaf_id] = leaf
        if leaf == 0:
            middle_id = ring >> 16
            middle = self._middles[middle_id] ^ (1 << (leaf_id & 255))
            self._middles[middle_id] = middle
            if middle == 0:
                self._tops[ring >> 24] ^= 1 << (middle_id & 255)
        if ring + 1 == self._worst_ring(ring >> 24):
            self._set_worst_ring(ring >> 24, self._next_ring(ring))

    def _next_ring(self, ring: int) -> int:
        leaf_id = ring >> 8
        below = self._leaves[leaf_id] & ((1 << (ring & 255)) - 1)
        if below == 0:
            middle_id = ring >> 16
            below = self._middles[middle_id] & ((1 << (leaf_id & 255)) - 1)
            if below == 0:
                list_id = ring >> 24
                below = self._tops[list_id] & ((1 << (middle_id & 255)) - 1)
                if below == 0:
                    return 0
                middle_id = (list_id << 8) | (below.bit_length() - 1)
                below = self._middles[middle_id]
            leaf_id = (middle_id << 8) | (below.bit_length() - 1)
            below = self._leaves[leaf_id]
        return ((leaf_id << 8) | (below.bit_length() - 1)) + 1

    def _set_worst_ring(self, list_id: int, ring_plus_one: int) -> None:
        offset = 32 * list_id
        cleared = self._worst_buckets & ~((2**32 - 1) << offset)
        if ring_plus_one > 0:
            cleared |= (ring_plus_one - (list_id << 24)) << offset
        self._worst_buckets = cleared

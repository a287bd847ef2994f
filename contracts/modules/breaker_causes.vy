# pragma version 0.4.3
"""
@title Causes of a tripped breaker
@notice What BreakerTripped names.
"""

# A price beyond the band, confirmed by a second one.
JUMP: constant(uint256) = 1
# A move within the shorter, the longer window.
MOVE_SHORT: constant(uint256) = 2
MOVE_LONG: constant(uint256) = 3
# Within the longer window: size liquidated, loss of the pool, bad debt.
LIQUIDATED_VOLUME: constant(uint256) = 4
POOL_LOSS: constant(uint256) = 5
BAD_DEBT: constant(uint256) = 6

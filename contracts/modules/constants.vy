# pragma version 0.4.3
"""
@title Units and hard bounds
@notice Bounds are powers of two so that packed words and 256-bit products can be proved safe:
        MAX_SIZE * MAX_PRICE * WAD < 2**252 (requirements), and every trigger key is below 2**127.
"""

WAD: constant(uint256) = 10**18

# Funding indices and trigger keys are prices with nine more decimals than WAD.
FUNDING_PRECISION: constant(uint256) = 10**9

# Fractions that can change are multiples of it, so that one of at most WAD takes 24 bits.
FRACTION_UNIT: constant(uint256) = 10**11

LONG: constant(uint256) = 0
SHORT: constant(uint256) = 1

TIERS: constant(uint256) = 4

# Positions looked at by one call, at most: the bound of promise P4.
MAX_VISITS: constant(uint256) = 32

# Token units. A smaller position's trigger key would be blurred by rounding over many buckets, and
# healthy positions in many due buckets could use up all visits of a call.
MIN_NOTIONAL: constant(uint256) = 2**18

MAX_PRICE: constant(uint256) = 2**88 - 1
MAX_SIZE: constant(uint256) = 2**104 - 1
MAX_MARGIN: constant(uint256) = 2**96 - 1

"""Mirror of contracts/modules/breaker_causes.vy."""

JUMP = 1
MOVE_SHORT = 2
MOVE_LONG = 3
LIQUIDATED_VOLUME = 4
POOL_LOSS = 5
BAD_DEBT = 6

"""Mirror of contracts/modules/constants.vy."""

WAD = 10**18

FUNDING_PRECISION = 10**9

FRACTION_UNIT = 10**11

LONG = 0
SHORT = 1

TIERS = 4

MAX_VISITS = 32

MIN_NOTIONAL = 2**18

MAX_PRICE = 2**88 - 1
MAX_SIZE = 2**104 - 1
MAX_MARGIN = 2**96 - 1

"""Mirror of contracts/modules/errors.vy."""

from python_model.evm import Revert

# Who may call, and when
REENTRANT_CALL = "reentrant call"
NOT_OWNER = "not the position owner"
NOT_PUBLISHER = "not a publisher"
NOT_MARKET = "not the market"
NOT_CONFIGURATOR = "not the configurator"
NOT_GUARDIAN = "neither guardian nor owner"
NOT_FACTORY = "not the factory"
ALREADY_SET = "market already set"
NO_MARKET = "market not set"

# Amounts
ZERO_SIZE = "zero size"
ZERO_AMOUNT = "zero amount"
ZERO_SHARES = "zero shares"
UNKNOWN_SIDE = "unknown side"
SIZE_TOO_LARGE = "size too large"
SIZE_TOO_SMALL = "size below the minimum"
AMOUNT_TOO_LARGE = "amount too large"

# Positions
NO_POSITION = "no such position"
POSITION_CLOSED = "position is closed"
EXCEEDS_POSITION = "size exceeds the position"
LIQUIDATABLE = "position is liquidatable"
HEALTHY = "position is healthy"
INSUFFICIENT_MARGIN = "insufficient margin"

# Limits of the market
PRICE_PASSED = "acceptable price passed"
TIER_EXCEEDED = "size above the last tier"
OPEN_INTEREST_CAP = "open interest cap reached"
SKEW_CAP = "skew cap reached"
RESERVE_EXCEEDED = "pool reserve exceeded"
BACKLOG = "liquidation backlog"
REDUCE_ONLY = "reduce only"
NOTHING_TO_WITHDRAW = "nothing to withdraw"
BOOKS_BROKEN = "books not covered by tokens"

# Prices
STALE_PRICE = "stale price"
HALTED = "price not confirmed yet"
NOT_EXPIRED = "last price not expired"
FUTURE_PRICE = "price from the future"
OLD_PRICE = "price not newer"
ZERO_PRICE = "zero price"
NEGATIVE_PRICE = "negative price"
PRICE_TOO_LARGE = "price too large"
ZERO_CONFIDENCE = "zero confidence"
CONFIDENCE_TOO_LARGE = "confidence above the price"
CONFIDENCE_TOO_WIDE = "confidence too wide"

# Signed reports
WRONG_CHAIN = "report for another chain"
WRONG_FEED = "report for another feed"
WRONG_DECIMALS = "report with other decimals"
TOO_FEW_REPORTS = "too few reports"
TOO_MANY_REPORTS = "too many reports"
UNORDERED_SIGNERS = "signers out of order"
DUPLICATE_SIGNER = "duplicate signer"
BAD_PUBLISHERS = "bad publishers"

# Aggregators
AGGREGATOR_FAILED = "aggregator failed"
BAD_ROUND = "bad round data"
INCOMPLETE_ROUND = "incomplete round"
EARLIER_ROUND = "answer of an earlier round"
DECIMALS_CHANGED = "decimals changed"
SEQUENCER_DOWN = "sequencer down"
SEQUENCER_GRACE = "sequencer grace period"
BAD_FEED = "bad feed settings"

# Pool
DEPOSIT_LIMIT = "deposit exceeds the maximum"
WITHDRAWAL_LIMIT = "withdrawal exceeds the maximum"

# Token
ALLOWANCE_TOO_LOW = "token allowance too low"
BALANCE_TOO_LOW = "token balance too low"
CREDITED_LESS = "token credited less than sent"
TRANSFER_FAILED = "token transfer failed"

# Market parameters
BAD_TOKEN = "token has too many decimals"
BAD_TIERS = "bad tiers"
BAD_RATES = "bad rates or fees"
BAD_LIMITS = "bad size limits"
BAD_SKEW_SCALE = "skew scale too small"
BAD_AGE = "bad price age"
BAD_VOLATILITY = "bad volatility terms"
BAD_CROWDING = "bad bounds of crowding"
BAD_BREAKERS = "bad breakers"
BAD_LOSS_LIMITS = "bad loss limits"
BAD_UNITS = "fraction too fine"

# Changes of parameters
NOTHING_PROPOSED = "nothing proposed"
TOO_EARLY = "timelock not over"
NOT_TIGHTER = "not at least as tight"
BAD_DURATION = "bad duration"
RESTRICTED_RECENTLY = "restricted too recently"


def _require(ok: bool, reason: str) -> None:
    if not ok:
        raise Revert(reason)

# pragma version 0.4.3
"""
@title Revert reasons
@notice Every reason a user, keeper or liquidity provider can meet. Unique, no prefix.
"""

# Who may call, and when
REENTRANT_CALL: constant(String[32]) = "reentrant call"
NOT_OWNER: constant(String[32]) = "not the position owner"
NOT_PUBLISHER: constant(String[32]) = "not a publisher"
NOT_MARKET: constant(String[32]) = "not the market"
NOT_CONFIGURATOR: constant(String[32]) = "not the configurator"
NOT_GUARDIAN: constant(String[32]) = "neither guardian nor owner"
NOT_FACTORY: constant(String[32]) = "not the factory"
ALREADY_SET: constant(String[32]) = "market already set"
NO_MARKET: constant(String[32]) = "market not set"

# Amounts
ZERO_SIZE: constant(String[32]) = "zero size"
ZERO_AMOUNT: constant(String[32]) = "zero amount"
ZERO_SHARES: constant(String[32]) = "zero shares"
UNKNOWN_SIDE: constant(String[32]) = "unknown side"
SIZE_TOO_LARGE: constant(String[32]) = "size too large"
SIZE_TOO_SMALL: constant(String[32]) = "size below the minimum"
AMOUNT_TOO_LARGE: constant(String[32]) = "amount too large"

# Positions
NO_POSITION: constant(String[32]) = "no such position"
POSITION_CLOSED: constant(String[32]) = "position is closed"
EXCEEDS_POSITION: constant(String[32]) = "size exceeds the position"
LIQUIDATABLE: constant(String[32]) = "position is liquidatable"
HEALTHY: constant(String[32]) = "position is healthy"
INSUFFICIENT_MARGIN: constant(String[32]) = "insufficient margin"

# Limits of the market
PRICE_PASSED: constant(String[32]) = "acceptable price passed"
TIER_EXCEEDED: constant(String[32]) = "size above the last tier"
OPEN_INTEREST_CAP: constant(String[32]) = "open interest cap reached"
SKEW_CAP: constant(String[32]) = "skew cap reached"
RESERVE_EXCEEDED: constant(String[32]) = "pool reserve exceeded"
BACKLOG: constant(String[32]) = "liquidation backlog"
REDUCE_ONLY: constant(String[32]) = "reduce only"
NOTHING_TO_WITHDRAW: constant(String[32]) = "nothing to withdraw"
BOOKS_BROKEN: constant(String[32]) = "books not covered by tokens"

# Prices
STALE_PRICE: constant(String[32]) = "stale price"
HALTED: constant(String[32]) = "price not confirmed yet"
NOT_EXPIRED: constant(String[32]) = "last price not expired"
FUTURE_PRICE: constant(String[32]) = "price from the future"
OLD_PRICE: constant(String[32]) = "price not newer"
ZERO_PRICE: constant(String[32]) = "zero price"
NEGATIVE_PRICE: constant(String[32]) = "negative price"
PRICE_TOO_LARGE: constant(String[32]) = "price too large"
ZERO_CONFIDENCE: constant(String[32]) = "zero confidence"
CONFIDENCE_TOO_LARGE: constant(String[32]) = "confidence above the price"
CONFIDENCE_TOO_WIDE: constant(String[32]) = "confidence too wide"

# Signed reports
WRONG_CHAIN: constant(String[32]) = "report for another chain"
WRONG_FEED: constant(String[32]) = "report for another feed"
WRONG_DECIMALS: constant(String[32]) = "report with other decimals"
TOO_FEW_REPORTS: constant(String[32]) = "too few reports"
TOO_MANY_REPORTS: constant(String[32]) = "too many reports"
UNORDERED_SIGNERS: constant(String[32]) = "signers out of order"
DUPLICATE_SIGNER: constant(String[32]) = "duplicate signer"
BAD_PUBLISHERS: constant(String[32]) = "bad publishers"

# Aggregators
AGGREGATOR_FAILED: constant(String[32]) = "aggregator failed"
BAD_ROUND: constant(String[32]) = "bad round data"
INCOMPLETE_ROUND: constant(String[32]) = "incomplete round"
EARLIER_ROUND: constant(String[32]) = "answer of an earlier round"
DECIMALS_CHANGED: constant(String[32]) = "decimals changed"
SEQUENCER_DOWN: constant(String[32]) = "sequencer down"
SEQUENCER_GRACE: constant(String[32]) = "sequencer grace period"
BAD_FEED: constant(String[32]) = "bad feed settings"

# Pool
DEPOSIT_LIMIT: constant(String[32]) = "deposit exceeds the maximum"
WITHDRAWAL_LIMIT: constant(String[32]) = "withdrawal exceeds the maximum"

# Token
ALLOWANCE_TOO_LOW: constant(String[32]) = "token allowance too low"
BALANCE_TOO_LOW: constant(String[32]) = "token balance too low"
CREDITED_LESS: constant(String[32]) = "token credited less than sent"
TRANSFER_FAILED: constant(String[32]) = "token transfer failed"

# Market parameters
BAD_TOKEN: constant(String[32]) = "token has too many decimals"
BAD_TIERS: constant(String[32]) = "bad tiers"
BAD_RATES: constant(String[32]) = "bad rates or fees"
BAD_LIMITS: constant(String[32]) = "bad size limits"
BAD_SKEW_SCALE: constant(String[32]) = "skew scale too small"
BAD_AGE: constant(String[32]) = "bad price age"
BAD_VOLATILITY: constant(String[32]) = "bad volatility terms"
BAD_CROWDING: constant(String[32]) = "bad bounds of crowding"
BAD_BREAKERS: constant(String[32]) = "bad breakers"
BAD_LOSS_LIMITS: constant(String[32]) = "bad loss limits"
BAD_UNITS: constant(String[32]) = "fraction too fine"

# Changes of parameters
NOTHING_PROPOSED: constant(String[32]) = "nothing proposed"
TOO_EARLY: constant(String[32]) = "timelock not over"
NOT_TIGHTER: constant(String[32]) = "not at least as tight"
BAD_DURATION: constant(String[32]) = "bad duration"
RESTRICTED_RECENTLY: constant(String[32]) = "restricted too recently"


@internal
@pure
def _require(ok: bool, reason: String[32]):
    """
    @notice assert with a shared body: half the bytes of one with its reason inline.
    """
    assert ok, reason

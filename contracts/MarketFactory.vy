# pragma version 0.4.3
"""
@title MarketFactory
@license AGPL-3.0-only
@notice Deploys markets, each with a pool and a feed of its own, from blueprints, after checking
        their parameters. It has no power over them afterwards; its owner names the treasury of the
        fees.
@custom:kill Renounce nothing, deploy nothing: existing markets do not need the factory but for
             `treasury`. See docs/shutdown.md.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IMarketFactory
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IPriceFeed
from contracts.modules import constants
from contracts.modules import errors

implements: IMarketFactory
initializes: ownable
initializes: ownable_2step[ownable := ownable]
exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)

version: public(constant(String[8])) = "0.1.0"

MARKET_BLUEPRINT: public(immutable(address))
POOL_BLUEPRINT: public(immutable(address))
FEED_BLUEPRINT: public(immutable(address))

# Of the price per second, WAD: 8.64 % a day.
MAX_RATE: constant(uint256) = 10**12
MAX_FEE: constant(uint256) = 10**16
MAX_AGE: constant(uint256) = 86_400

treasury: public(address)
market_count: public(uint256)
markets: public(HashMap[uint256, address])
is_market: public(HashMap[address, bool])


@deploy
def __init__(
    market_blueprint: address, pool_blueprint: address, feed_blueprint: address, treasury: address
):
    """
    @notice The deployer becomes the owner.
    """
    ownable.__init__()
    ownable_2step.__init__()
    MARKET_BLUEPRINT = market_blueprint
    POOL_BLUEPRINT = pool_blueprint
    FEED_BLUEPRINT = feed_blueprint
    self.treasury = treasury


@external
def create_market(
    token: IERC20,
    publisher: address,
    name: String[25],
    symbol: String[5],
    params: IPerpMarket.MarketParams,
) -> address:
    """
    @notice Deploys feed, pool and market and binds them to one another. Owner only.
    @param token Collateral, at most 18 decimals.
    @param publisher Who may publish prices; the owner of the factory becomes the owner of the feed.
    @param name Name of the pool's share token, `symbol` its symbol.
    @param params The market's parameters: sizes, fractions and rates per second in WAD, age in
           seconds.
    @return Address of the market.
    """
    ownable._check_owner()
    errors._require(
        staticcall IERC20Detailed(token.address).decimals() <= 18, errors.BAD_TOKEN
    )
    self._check_params(params)
    feed: address = create_from_blueprint(FEED_BLUEPRINT, msg.sender, publisher)
    pool: address = create_from_blueprint(POOL_BLUEPRINT, token, name, symbol)
    market: address = create_from_blueprint(MARKET_BLUEPRINT, token, pool, feed, self, params)
    extcall IPriceFeed(feed).set_market(market)
    extcall ILiquidityPool(pool).set_market(market)
    self.markets[self.market_count] = market
    self.market_count += 1
    self.is_market[market] = True
    log IMarketFactory.MarketCreated(market=market, pool=pool, feed=feed, token=token.address)
    return market


@external
def set_treasury(treasury: address):
    """
    @notice Names the receiver of the trading fees of all markets. Owner only.
    """
    ownable._check_owner()
    self.treasury = treasury
    log IMarketFactory.TreasurySet(treasury=treasury)


@internal
@pure
def _check_params(params: IPerpMarket.MarketParams):
    """
    @notice Bounds that the market's arithmetic and promises rest on.
    """
    errors._require(
        params.min_size > 0
        and params.min_size <= params.tiers[0].max_size
        and params.max_open_interest > 0
        and params.max_open_interest <= constants.MAX_SIZE
        and params.skew_scale <= constants.MAX_SIZE
        and params.max_skew <= params.max_open_interest,
        errors.BAD_LIMITS,
    )
    errors._require(
        params.max_funding_rate <= constants.WAD
        and params.max_utilisation_rate <= MAX_RATE
        and params.maker_fee <= params.taker_fee
        and params.taker_fee <= MAX_FEE
        and params.liquidation_penalty > 0
        and params.liquidation_penalty <= constants.WAD
        and params.keeper_share <= constants.WAD
        and params.reserve_fraction > 0
        and params.reserve_fraction <= constants.WAD,
        errors.BAD_RATES,
    )
    errors._require(params.max_price_age > 0 and params.max_price_age <= MAX_AGE, errors.BAD_AGE)
    last_size: uint256 = 0
    last_initial: uint256 = 0
    # Twice the penalty: equity still covers it when the price has moved half the way to ruin.
    last_maintenance: uint256 = 2 * params.liquidation_penalty
    for tier: IPerpMarket.Tier in params.tiers:
        # Unused tiers repeat the last used one.
        errors._require(
            tier.max_size >= last_size
            and tier.max_size <= constants.MAX_SIZE
            and tier.initial_fraction >= last_initial
            and tier.initial_fraction <= constants.WAD
            and tier.maintenance_fraction >= last_maintenance
            and tier.maintenance_fraction < tier.initial_fraction,
            errors.BAD_TIERS,
        )
        last_size = tier.max_size
        last_initial = tier.initial_fraction
        last_maintenance = tier.maintenance_fraction
    # The skew stays within the open interest, so these bound what it can do. A fill is moved by
    # less than a liquidated position loses to the reserve: nobody gains by having himself
    # liquidated to move the skew, and a healthy position can always pay for its own exit. Funding
    # never runs faster than MAX_RATE.
    errors._require(
        params.max_open_interest * constants.WAD * constants.WAD
        <= params.skew_scale * params.liquidation_penalty * (constants.WAD - params.keeper_share)
        and params.max_open_interest * params.max_funding_rate <= params.skew_scale * MAX_RATE,
        errors.BAD_SKEW_SCALE,
    )

# pragma version 0.4.3
"""
@title MarketFactory
@license AGPL-3.0-only
@notice Deploys markets, each with a pool and a risk engine of its own, from blueprints, after
        checking their parameters, and binds a feed to each. It has no power over them afterwards;
        its owner names the treasury of the fees.
@custom:kill Renounce nothing, deploy nothing: existing markets do not need the factory but for
             `treasury`. See docs/shutdown.md.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed
from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from contracts.interfaces import IMarketFactory
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IPriceFeed
from contracts.interfaces import IRiskEngine
from contracts.modules import errors
from contracts.modules import risk_bounds

implements: IMarketFactory
initializes: ownable
initializes: ownable_2step[ownable := ownable]
exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)

# What a market deploys itself.
interface Parts:
    def pool() -> address: view
    def engine() -> address: view

version: public(constant(String[8])) = "0.2.0"

MARKET_BLUEPRINT: public(immutable(address))
POOL_BLUEPRINT: public(immutable(address))
ENGINE_BLUEPRINT: public(immutable(address))
CONFIGURATOR: public(immutable(address))

treasury: public(address)
market_count: public(uint256)
markets: public(HashMap[uint256, address])
is_market: public(HashMap[address, bool])


@deploy
def __init__(
    market_blueprint: address,
    pool_blueprint: address,
    engine_blueprint: address,
    configurator: address,
    treasury: address,
    owner: address,
):
    """
    @notice The owner is named, since whoever deploys may be a contract that deploys for anyone.
    """
    ownable.__init__()
    ownable_2step.__init__()
    ownable_2step._transfer_ownership(owner)
    MARKET_BLUEPRINT = market_blueprint
    POOL_BLUEPRINT = pool_blueprint
    ENGINE_BLUEPRINT = engine_blueprint
    CONFIGURATOR = configurator
    self.treasury = treasury


@external
def create_market(
    token: IERC20,
    feed: IPriceFeed,
    name: String[25],
    symbol: String[5],
    params: IPerpMarket.MarketParams,
    risk: IRiskEngine.RiskParams,
) -> address:
    """
    @notice Deploys a market with its pool and its risk engine and binds the feed to it. Owner only.
    @param token Collateral, at most 18 decimals.
    @param feed Deployed for this factory, bound to no market yet.
    @param name Name of the pool's share token, `symbol` its symbol.
    @param params What never changes: sizes, fractions and rates per second in WAD, age in seconds.
    @param risk What the configurator can change within bounds.
    @return Address of the market.
    """
    ownable._check_owner()
    errors._require(
        staticcall IERC20Detailed(token.address).decimals() <= 18, errors.BAD_TOKEN
    )
    risk_bounds._check_market_params(params)
    risk_bounds._check_risk_params(risk, params)
    market: address = create_from_blueprint(
        MARKET_BLUEPRINT,
        token,
        feed,
        self,
        CONFIGURATOR,
        POOL_BLUEPRINT,
        ENGINE_BLUEPRINT,
        name,
        symbol,
        params,
        risk,
    )
    extcall feed.set_market(market)
    self.markets[self.market_count] = market
    self.market_count += 1
    self.is_market[market] = True
    pool: address = staticcall Parts(market).pool()
    engine: address = staticcall Parts(market).engine()
    log IMarketFactory.MarketCreated(
        market=market, pool=pool, feed=feed.address, engine=engine, token=token.address
    )
    return market


@external
def set_treasury(treasury: address):
    """
    @notice Names the receiver of the trading fees of all markets. Owner only.
    """
    ownable._check_owner()
    self.treasury = treasury
    log IMarketFactory.TreasurySet(treasury=treasury)

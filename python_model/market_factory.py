"""Mirror of contracts/MarketFactory.vy."""

from python_model.evm import Chain, Storage, external
from python_model.liquidity_pool import LiquidityPool
from python_model.modules import constants, errors
from python_model.modules.ownable_2step import Ownable2Step
from python_model.modules.token_transfer import Token
from python_model.perp_market import MarketParams, PerpMarket
from python_model.price_feed import PriceFeed

MAX_RATE = 10**12
MAX_FEE = 10**16
MAX_AGE = 86_400


class MarketFactory(Ownable2Step):
    """Deploys markets, each with a pool and a feed of its own."""

    version = "0.1.0"

    def __init__(self, chain: Chain, address: str, treasury: str, deployer: str) -> None:
        super().__init__(chain, address)
        self._transfer_ownership(deployer)
        self.treasury = treasury
        self.market_count = 0
        self.markets: Storage[int, PerpMarket | None] = Storage(chain, None)
        self.is_market: Storage[str, bool] = Storage(chain, False)

    @external
    def create_market(
        self,
        token: Token,
        publisher: str,
        name: str,
        symbol: str,
        params: MarketParams,
        *,
        sender: str,
    ) -> PerpMarket:
        self._check_owner(sender)
        errors._require(token.decimals <= 18, errors.BAD_TOKEN)
        self._check_params(params)
        chain = self.chain
        # A contract's nonce starts at one, and each market takes three.
        nonce = 3 * self.market_count + 1
        feed = PriceFeed(
            chain, chain.new_address(self.address, nonce), sender, publisher, self.address
        )
        pool = LiquidityPool(
            chain, chain.new_address(self.address, nonce + 1), token, name, symbol, self.address
        )
        market = PerpMarket(
            chain, chain.new_address(self.address, nonce + 2), token, pool, feed, self, params
        )
        feed.set_market(market, sender=self.address)
        pool.set_market(market, sender=self.address)
        self.markets[self.market_count] = market
        self.market_count += 1
        self.is_market[market.address] = True
        self.log("MarketCreated", market.address, pool.address, feed.address, token.address)
        return market

    @external
    def set_treasury(self, treasury: str, *, sender: str) -> None:
        self._check_owner(sender)
        self.treasury = treasury
        self.log("TreasurySet", treasury)

    def _check_params(self, params: MarketParams) -> None:
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
        errors._require(0 < params.max_price_age <= MAX_AGE, errors.BAD_AGE)
        last_size = 0
        last_initial = 0
        # Twice the penalty: equity still covers it when the price has moved half the way to ruin.
        last_maintenance = 2 * params.liquidation_penalty
        for tier in params.tiers:
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
        # liquidated to move the skew, and a healthy position can always pay for its own exit.
        # Funding never runs faster than MAX_RATE.
        errors._require(
            params.max_open_interest * constants.WAD * constants.WAD
            <= params.skew_scale
            * params.liquidation_penalty
            * (constants.WAD - params.keeper_share)
            and params.max_open_interest * params.max_funding_rate <= params.skew_scale * MAX_RATE,
            errors.BAD_SKEW_SCALE,
        )

"""Mirror of contracts/MarketFactory.vy."""

from typing import TYPE_CHECKING, Protocol

from python_model.evm import Chain, Storage, external
from python_model.modules import errors, risk_bounds
from python_model.modules.ownable_2step import Ownable2Step
from python_model.modules.token_transfer import Token
from python_model.perp_market import MarketParams, PerpMarket, PriceFeed
from python_model.risk_engine import RiskParams

if TYPE_CHECKING:
    from python_model.configurator import Configurator


class NewFeed(PriceFeed, Protocol):
    """A feed bound to no market yet."""

    def set_market(self, market: PerpMarket, *, sender: str) -> None: ...


class MarketFactory(Ownable2Step):
    """Deploys markets, each with a pool and a risk engine of its own, and binds a feed to each."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        configurator: "Configurator",
        treasury: str,
        owner: str,
    ) -> None:
        super().__init__(chain, address)
        self._transfer_ownership(owner)
        self.CONFIGURATOR = configurator
        self.treasury = treasury
        self.market_count = 0
        self.markets: Storage[int, PerpMarket | None] = Storage(chain, None)
        self.is_market: Storage[str, bool] = Storage(chain, False)

    @external
    def create_market(
        self,
        token: Token,
        feed: NewFeed,
        name: str,
        symbol: str,
        params: MarketParams,
        risk: RiskParams,
        *,
        sender: str,
    ) -> PerpMarket:
        self._check_owner(sender)
        errors._require(token.decimals <= 18, errors.BAD_TOKEN)
        risk_bounds._check_market_params(params)
        risk_bounds._check_risk_params(risk, params)
        # A contract's nonce starts at one.
        market = PerpMarket(
            self.chain,
            self.chain.new_address(self.address, self.market_count + 1),
            token,
            feed,
            self,
            self.CONFIGURATOR.address,
            name,
            symbol,
            params,
            risk,
        )
        feed.set_market(market, sender=self.address)
        self.markets[self.market_count] = market
        self.market_count += 1
        self.is_market[market.address] = True
        pool = market.pool
        engine = market.engine
        self.log(
            "MarketCreated",
            market.address,
            pool.address,
            feed.address,
            engine.address,
            token.address,
        )
        return market

    @external
    def set_treasury(self, treasury: str, *, sender: str) -> None:
        self._check_owner(sender)
        self.treasury = treasury
        self.log("TreasurySet", treasury)

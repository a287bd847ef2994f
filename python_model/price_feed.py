"""Mirror of contracts/PriceFeed.vy."""

from python_model.evm import Chain, external
from python_model.modules import constants, errors
from python_model.modules.ownable_2step import Ownable2Step
from python_model.perp_market import PerpMarket

MAX_DELAY = 60


class PriceFeed(Ownable2Step):
    """The last price of one trusted publisher."""

    version = "0.1.0"

    market: PerpMarket

    def __init__(
        self, chain: Chain, address: str, owner: str, publisher: str, deployer: str
    ) -> None:
        super().__init__(chain, address)
        self._transfer_ownership(deployer)
        self._transfer_ownership(owner)
        self.DEPLOYER = deployer
        self.publisher = publisher
        self._price = 0
        self._price_time = 0

    @external
    def set_market(self, market: PerpMarket, *, sender: str) -> None:
        errors._require(sender == self.DEPLOYER, errors.NOT_DEPLOYER)
        errors._require(not hasattr(self, "market"), errors.ALREADY_SET)
        self.market = market
        self.log("MarketSet", market.address)

    @external
    def set_publisher(self, publisher: str, *, sender: str) -> None:
        self._check_owner(sender)
        self.publisher = publisher
        self.log("PublisherSet", publisher)

    @external
    def publish(self, price: int, price_time: int, *, sender: str) -> int:
        errors._require(sender == self.publisher, errors.NOT_PUBLISHER)
        errors._require(price > 0, errors.ZERO_PRICE)
        errors._require(price <= constants.MAX_PRICE, errors.PRICE_TOO_LARGE)
        errors._require(price_time <= self.chain.timestamp, errors.FUTURE_PRICE)
        errors._require(price_time > self._price_time, errors.OLD_PRICE)
        errors._require(price_time + MAX_DELAY >= self.chain.timestamp, errors.STALE_PRICE)
        self._price, self._price_time = price, price_time
        self.log("PricePublished", price, price_time)
        return self.market.update_price(sender, sender=self.address)

    def latest_price(self) -> tuple[int, int]:
        return self._price, self._price_time

# pragma version 0.4.3
"""
@title PriceFeed
@license AGPL-3.0-only
@notice The last price of one trusted publisher. Publishing settles the market in the same
        transaction.
@dev    ASSUMPTIONS  The publisher is trusted for the price; its time must increase, may not be
                     ahead and not be more than MAX_DELAY behind.
@custom:kill The owner sets the publisher to the zero address; the price then goes stale and the
             market refuses whatever adds risk. See docs/shutdown.md.
"""

from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from contracts.interfaces import IPerpMarket
from contracts.interfaces import IPriceFeed
from contracts.modules import constants
from contracts.modules import errors

implements: IPriceFeed
initializes: ownable
initializes: ownable_2step[ownable := ownable]
exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)

version: public(constant(String[8])) = "0.1.0"

# Seconds. An older price would liquidate those who had no chance to act on it.
MAX_DELAY: constant(uint256) = 60

DEPLOYER: immutable(address)

market: public(IPerpMarket)
publisher: public(address)

_latest: uint256  # price 88 | price_time 48


@deploy
def __init__(owner: address, publisher: address):
    """
    @notice Called through MarketFactory, which sets the market next.
    """
    ownable.__init__()
    ownable_2step.__init__()
    ownable_2step._transfer_ownership(owner)
    DEPLOYER = msg.sender
    self.publisher = publisher


@external
def set_market(market: address):
    """
    @notice Binds the feed to its market, once, by the deployer.
    """
    errors._require(msg.sender == DEPLOYER, errors.NOT_DEPLOYER)
    errors._require(self.market.address == empty(address), errors.ALREADY_SET)
    self.market = IPerpMarket(market)
    log IPriceFeed.MarketSet(market=market)


@external
def set_publisher(publisher: address):
    """
    @notice Replaces the publisher. Owner only.
    """
    ownable._check_owner()
    self.publisher = publisher
    log IPriceFeed.PublisherSet(publisher=publisher)


@external
def publish(price: uint256, price_time: uint256) -> uint256:
    """
    @notice Brings a price to the market. Publisher only.
    @param price Quote per unit of the underlying, WAD.
    @param price_time Unix time of the price: newer than the last, not in the future, at most
           MAX_DELAY ago.
    @return Number of positions liquidated.
    """
    errors._require(msg.sender == self.publisher, errors.NOT_PUBLISHER)
    errors._require(price > 0, errors.ZERO_PRICE)
    errors._require(price <= constants.MAX_PRICE, errors.PRICE_TOO_LARGE)
    errors._require(price_time <= block.timestamp, errors.FUTURE_PRICE)
    errors._require(price_time > self._latest >> 88, errors.OLD_PRICE)
    errors._require(price_time + MAX_DELAY >= block.timestamp, errors.STALE_PRICE)
    self._latest = price | (price_time << 88)
    log IPriceFeed.PricePublished(price=price, price_time=price_time)
    return extcall self.market.update_price(msg.sender)


@external
@view
def latest_price() -> (uint256, uint256):
    """
    @notice The last price, WAD, and its time; zeros before the first.
    """
    latest: uint256 = self._latest
    return latest & constants.MAX_PRICE, latest >> 88

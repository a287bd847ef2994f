# pragma version 0.4.3
"""
@title PriceRelay
@license AGPL-3.0-only
@notice For tests: gives an aggregator its next answer and has the market take it, in one
        transaction.
@custom:kill For tests only.
"""

from contracts.interfaces import IPerpMarket
from contracts.testing import AggregatorMock

version: public(constant(String[8])) = "0.1.0"

AGGREGATOR: immutable(AggregatorMock.__interface__)


@deploy
def __init__(aggregator: address):
    """
    @notice A relay for one aggregator.
    """
    AGGREGATOR = AggregatorMock.__at__(aggregator)


@external
def bring(
    market: address, output: Bytes[256], decimals: uint256, is_failing: bool, recipient: address
) -> uint256:
    """
    @notice Sets the answer and makes the market look for it.
    @return What the market returned.
    """
    self._answer(output, decimals, is_failing)
    return extcall IPerpMarket(market).update_price(recipient)


@external
def answer(output: Bytes[256], decimals: uint256, is_failing: bool):
    """
    @notice Sets the answer only.
    """
    self._answer(output, decimals, is_failing)


@internal
def _answer(output: Bytes[256], decimals: uint256, is_failing: bool):
    extcall AGGREGATOR.set_round_output(output)
    extcall AGGREGATOR.set_decimals(decimals)
    extcall AGGREGATOR.set_failing(is_failing, False)

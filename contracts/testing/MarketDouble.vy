# pragma version 0.4.3
"""
@title MarketDouble
@license AGPL-3.0-only
@notice For tests: answers for a market as that does, but for its marks and one position, so that a
        lens can be asked about states that the market hardly ever has.
@custom:kill For tests only.
"""

from contracts.interfaces import IPerpMarket

interface IParts:
    def token() -> address: view
    def pool() -> address: view
    def engine() -> address: view
    def feed() -> address: view


version: public(constant(String[8])) = "0.1.0"

MARKET: immutable(address)

marks: public(transient(IPerpMarket.Marks))
_position_id: transient(uint256)
_position: transient(IPerpMarket.Position)


@deploy
def __init__(market: address):
    """
    @notice A double of one market.
    """
    MARKET = market


@external
def ask(
    asked: address,
    marks: IPerpMarket.Marks,
    position_id: uint256,
    position: IPerpMarket.Position,
    data: Bytes[512],
) -> Bytes[4096]:
    """
    @notice What `asked` answers while the market has these marks and this position.
    """
    self.marks = marks
    self._position_id = position_id
    self._position = position
    return raw_call(asked, data, max_outsize=4096)


@external
@view
def position(position_id: uint256) -> IPerpMarket.Position:
    """
    @notice The one position, or the market's.
    """
    if position_id == self._position_id:
        return self._position
    return staticcall IPerpMarket(MARKET).position(position_id)


@external
@view
def totals() -> IPerpMarket.Totals:
    """
    @notice The market's.
    """
    return staticcall IPerpMarket(MARKET).totals()


@external
@view
def index_word(level: uint256, word_id: uint256) -> uint256:
    """
    @notice The market's.
    """
    return staticcall IPerpMarket(MARKET).index_word(level, word_id)


@external
@view
def token() -> address:
    """
    @notice The market's.
    """
    return staticcall IParts(MARKET).token()


@external
@view
def pool() -> address:
    """
    @notice The market's.
    """
    return staticcall IParts(MARKET).pool()


@external
@view
def engine() -> address:
    """
    @notice The market's.
    """
    return staticcall IParts(MARKET).engine()


@external
@view
def feed() -> address:
    """
    @notice The market's.
    """
    return staticcall IParts(MARKET).feed()

# pragma version 0.4.3
"""
@title MarketPuppet
@license AGPL-3.0-only
@notice For tests: a market that does what it is told, with a pool and an engine of its own and the
        positions of a real market, so that both can be told what a market hardly ever tells them.
@custom:kill For tests only.
"""

from contracts.interfaces import IPerpMarket

version: public(constant(String[8])) = "0.1.0"

MARKET: immutable(IPerpMarket)
pool: public(immutable(address))
engine: public(immutable(address))


@deploy
def __init__(
    market: IPerpMarket,
    pool_blueprint: address,
    pool_arguments: Bytes[512],
    engine_blueprint: address,
    engine_arguments: Bytes[4096],
):
    """
    @notice Creates the pool and the engine.
    """
    MARKET = market
    pool = create_from_blueprint(pool_blueprint, pool_arguments, raw_args=True)
    engine = create_from_blueprint(engine_blueprint, engine_arguments, raw_args=True)


@external
def act(target: address, data: Bytes[1024]) -> Bytes[4096]:
    """
    @notice Calls `target` and gives what it gives.
    """
    return raw_call(target, data, max_outsize=4096)


@external
def accrue():
    """
    @notice Nothing.
    """
    pass


@external
@view
def pool_terms() -> IPerpMarket.PoolTerms:
    """
    @notice Priced, and nobody has won or lost.
    """
    terms: IPerpMarket.PoolTerms = empty(IPerpMarket.PoolTerms)
    terms.is_priced = True
    return terms


@external
@view
def position(position_id: uint256) -> IPerpMarket.Position:
    """
    @notice The market's.
    """
    return staticcall MARKET.position(position_id)


@external
@view
def index_word(level: uint256, word_id: uint256) -> uint256:
    """
    @notice The market's.
    """
    return staticcall MARKET.index_word(level, word_id)

"""Whether the models have the functions of their contracts, asked before a campaign."""

from lockstep.mirror.checks import check_functions
from perp_fuzz.deployment import compile_contracts
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.liquidity_pool import LiquidityPool
from python_model.market_factory import MarketFactory
from python_model.perp_market import PerpMarket
from python_model.risk_engine import RiskEngine
from python_model.signed_price_feed import SignedPriceFeed

MODELS = (
    AggregatorPriceFeed,
    Configurator,
    LiquidityPool,
    MarketFactory,
    PerpMarket,
    RiskEngine,
    SignedPriceFeed,
)


def check_models() -> None:
    """InputError if one lacks a function or takes other arguments; tests/parity checks the rest."""
    artifacts = compile_contracts()
    for model in MODELS:
        check_functions(model.__name__, artifacts[model.__name__], model)

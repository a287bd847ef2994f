"""An engine and a configurator of the model, their market a name."""

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import settings
from market_world import address, wad

from python_model.configurator import Configurator
from python_model.evm import Chain, Contract
from python_model.modules.constants import FRACTION_UNIT
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskEngine, RiskParams

START = 1_700_000_000
OWNER, GUARDIAN, ATTACKER = address(0xB1), address(0xB2), address(0xB3)
MARKET = address(0xB4)
THOROUGH = settings(max_examples=150, deadline=None)

PARAMS = MarketParams(
    min_size=wad("0.01"),
    skew_scale=wad(100_000),
    max_funding_rate=wad("0.0002"),
    max_utilisation_rate=wad("0.00000001"),
    liquidation_penalty=wad("0.004"),
    keeper_share=wad("0.1"),
    reserve_fraction=wad("0.3"),
    max_price_age=240,
    tier_sizes=(wad(1), wad(5), wad(20), wad(50)),
)
RISK = RiskParams(
    max_open_interest=wad(200),
    max_skew=wad(60),
    maker_fee=wad("0.0002"),
    taker_fee=wad("0.0006"),
    initial_fractions=(wad("0.02"), wad("0.04"), wad("0.1"), wad("0.2")),
    maintenance_fractions=(wad("0.01"), wad("0.02"), wad("0.05"), wad("0.1")),
    calm_volatility=wad("0.05"),
    max_volatility_multiplier=wad(3),
    volatility_window=3_600,
    crowding_lower=wad("0.5"),
    crowding_upper=wad("0.9"),
    max_confidence=wad("0.02"),
    max_jump=wad("0.1"),
    move_windows=(300, 3_600),
    max_moves=(wad("0.05"), wad("0.12")),
    cool_down=600,
    max_liquidated_size=wad(40),
    max_pool_loss=wad("0.1"),
    max_bad_debt=10**9,
    max_insurance_draw=wad("0.5"),
    max_profit_share=wad("0.6"),
)


class RiskWorld:
    """`observe` keeps the price in effect, as the market does."""

    def __init__(self, **risk: Any) -> None:
        self.chain = Chain(START)
        self.configurator = Configurator(self.chain, address(0xC0), GUARDIAN, OWNER)
        self.market = Contract(self.chain, MARKET)
        self.engine = RiskEngine(
            self.chain,
            address(0xE0),
            self.configurator.address,
            6,
            PARAMS,
            RISK._replace(**risk),
            deployer=cast(Any, self.market),
        )
        self.price = self.price_time = 0

    @property
    def now(self) -> int:
        return self.chain.timestamp

    @property
    def target(self) -> Any:
        """The market as the configurator knows it."""
        return SimpleNamespace(address=MARKET, engine=self.engine)

    def wait(self, seconds: int) -> None:
        self.chain.timestamp += seconds

    def observe(self, price: int, confidence: int = 0) -> bool:
        """A report of this second."""
        accepted = self.engine.observe_price(
            price, confidence, self.now, self.price, self.price_time, sender=MARKET
        )
        if accepted:
            self.price, self.price_time = price, self.now
        return accepted

    def configure(self, **risk: Any) -> None:
        """Parameters with some replaced, as the configurator sets them."""
        params = self.engine.params()._replace(**risk)
        self.engine.set_params(params, sender=self.configurator.address)

    def causes(self) -> list[int]:
        """What tripped in the last transaction."""
        return [event.fields[0] for event in self.chain.events if event.name == "BreakerTripped"]

    def names(self) -> list[str]:
        return [event.name for event in self.chain.events]


def percent(value: int) -> int:
    return value * 10**5 * FRACTION_UNIT

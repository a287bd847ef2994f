"""The worked example of the README, run on the reference model.

`python docs/example.py` prints it; it needs nothing but Python. tests/docs/test_readme.py holds the
README to what this prints.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.configurator import Configurator
from python_model.evm import Chain
from python_model.market_factory import MarketFactory
from python_model.modules import constants, trigger_key
from python_model.perp_market import MarketParams, PerpMarket
from python_model.risk_engine import RiskParams
from python_model.testing.aggregator_mock import AggregatorMock
from python_model.testing.token_mock import TokenMock

WAD = 10**18
USD = 10**6  # the collateral has six decimals
HOUR = 3600
TREASURY, OWNER, GUARDIAN, KEEPER, PROVIDER, TRADER = (f"0x{number:040x}" for number in range(1, 7))
TOKEN, FACTORY, CONFIGURATOR, AGGREGATOR, FEED = (f"0x{number:040x}" for number in range(16, 21))

PARAMS = MarketParams(
    min_size=WAD // 1000,
    skew_scale=400_000 * WAD,
    max_funding_rate=10**14,
    max_utilisation_rate=10**9,
    liquidation_penalty=WAD // 100,
    keeper_share=WAD // 4,
    reserve_fraction=WAD // 5,
    max_price_age=2 * HOUR,
    tier_sizes=(10 * WAD, 50 * WAD, 200 * WAD, 1_000 * WAD),
)
RISK = RiskParams(
    max_open_interest=1_000 * WAD,
    max_skew=500 * WAD,
    maker_fee=WAD // 5000,
    taker_fee=WAD // 2000,
    initial_fractions=(WAD // 20, WAD // 10, WAD // 5, WAD * 2 // 5),
    maintenance_fractions=(WAD // 40, WAD // 20, WAD // 10, WAD // 5),
    calm_volatility=WAD // 20,
    max_volatility_multiplier=3 * WAD,
    volatility_window=HOUR,
    crowding_lower=WAD // 2,
    crowding_upper=WAD,
    max_confidence=WAD // 100,
    max_jump=WAD // 10,
    move_windows=(300, HOUR),
    max_moves=(WAD // 10, WAD // 5),
    cool_down=300,
    max_liquidated_size=500 * WAD,
    max_pool_loss=WAD // 10,
    max_bad_debt=10_000 * USD,
    max_insurance_draw=WAD,
    max_profit_share=WAD // 2,
)


def new_market() -> tuple[TokenMock, PerpMarket, AggregatorMock]:
    """A market at a price of 10,000 with 500,000 in its pool, and a trader with money."""
    chain = Chain(timestamp=1_800_000_000)
    token = TokenMock(chain, TOKEN, 6)
    configurator = Configurator(chain, CONFIGURATOR, GUARDIAN, OWNER)
    factory = MarketFactory(chain, FACTORY, configurator, TREASURY, OWNER)
    aggregator = AggregatorMock(chain, AGGREGATOR, 18)
    feed = AggregatorPriceFeed(chain, FEED, FACTORY, aggregator, HOUR, WAD // 5000, None, 0)
    market = factory.create_market(token, feed, "Pool", "POOL", PARAMS, RISK, sender=OWNER)
    for account, spender, amount in (
        (PROVIDER, market.pool.address, 500_000 * USD),
        (TRADER, market.address, 10_000 * USD),
    ):
        token.mint(account, amount, sender=account)
        token.approve(spender, amount, sender=account)
    bring(market, aggregator, 10_000)
    market.pool.deposit(500_000 * USD, PROVIDER, sender=PROVIDER)
    return token, market, aggregator


def bring(market: PerpMarket, aggregator: AggregatorMock, price: int) -> None:
    """A keeper brings a price an hour after the last thing that happened; settles the market."""
    market.chain.timestamp = now = market.chain.timestamp + HOUR
    aggregator.set_round(now, price * WAD, now, now, now, sender=OWNER)
    market.update_price(KEEPER, sender=KEEPER)


def trigger_price(market: PerpMarket, position_id: int) -> float:
    """Price at which the position's key meets the threshold of a long of its tier."""
    position = market.position(position_id)
    key = trigger_key._trigger_key(
        position.side,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
        market.VALUE_SCALE,
    )
    mu = RISK.maintenance_fractions[position.tier]
    funding = market.marks().funding[position.side]
    return (key + funding) / constants.FUNDING_PRECISION / (WAD - mu)


def usd(amount: int) -> str:
    """Token units as dollars and cents, rounded down."""
    return f"{amount // (USD // 100) / 100:,.2f}"


def row(market: PerpMarket, position_id: int, moment: str) -> str:
    """The position after something happened."""
    position = market.position(position_id)
    equity, maintenance = market.health(position_id)
    return (
        f"{moment:<32}{position.size / WAD:>8.4f}{usd(position.margin):>10}"
        f"{usd(equity):>10}{usd(maintenance):>13}{trigger_price(market, position_id):>12,.2f}"
    )


def liquidation(market: PerpMarket) -> str:
    """What the last price's liquidation did, from its event."""
    event = next(event for event in market.chain.events if event.name == "PositionLiquidated")
    _, _, size, _, value, penalty, reward, returned, insurance_used, bad_debt = event.fields
    return (
        f"    closed {size / WAD:.4f}: value {usd(value)}, penalty {usd(penalty)} (keeper"
        f" {usd(reward)}), returned {usd(returned)},\n"
        f"    insurance used {usd(insurance_used)}, bad debt {usd(bad_debt)}"
    )


def example() -> str:
    """The table of the README."""
    token, market, aggregator = new_market()
    lines = [f"{'':<32}{'size':>8}{'margin':>10}{'equity':>10}{'maintenance':>13}{'trigger':>12}"]
    position_id = market.open(0, 2 * WAD, 1_100 * USD, 10_001 * WAD, sender=TRADER)
    opened = market.chain.events
    fill_price, fee = next(e for e in opened if e.name == "PositionIncreased").fields[-2:]
    lines.append(row(market, position_id, "open long 2 at 10,000"))
    lines.append(f"    filled at {fill_price / WAD:,.3f}, fee {usd(fee)}")
    bring(market, aggregator, 9_800)
    lines.append(row(market, position_id, "price 9,800 an hour later"))
    bring(market, aggregator, 9_690)
    lines.append(row(market, position_id, "price 9,690: liquidated in part"))
    lines.append(liquidation(market))
    bring(market, aggregator, 9_000)
    lines.append("price 9,000 (a gap): liquidated in full")
    lines.append(liquidation(market))

    solvency = market.solvency()
    owned = token.balanceOf[market.address]
    owed = solvency.margin + solvency.insurance + solvency.fees + solvency.credits
    assert owned == owed, "the market holds exactly what it owes"
    assert token.balanceOf[market.pool.address] == solvency.pool_cash
    start = 510_000 * USD
    assert start == owned + solvency.pool_cash + token.balanceOf[TRADER], "nothing is lost"
    lines.append(
        f"the market holds {usd(owned)}: fees {usd(solvency.fees)}, insurance"
        f" {usd(solvency.insurance)}, keeper {usd(solvency.credits)};\n"
        f"the pool {usd(solvency.pool_cash)}; the trader lost the margin,"
        f" {usd(10_000 * USD - token.balanceOf[TRADER])}, and no more"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(example())

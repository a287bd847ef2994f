"""Numbers that exchanges and protocols publish for isolated linear perpetuals.

A published decimal is met within half a unit in its last printed place, nothing else is tolerated.
Where a venue's convention differs from ours (docs/spec.md), the exact formulas are evaluated with
that convention's numbers, and the docstring says which part is shared; the arithmetic is not bent.

Left out of vectors that do not fit a linear perpetual with flat tiers:
- Option margins (CBOE, Deribit, Bybit, OKX, Derive) and option price tables: no options here.
"""

from decimal import Decimal
from fractions import Fraction

import pytest
from market_world import FRICTIONLESS, ROLE, World, tiers, wad

from python_model import exact
from python_model.modules import funding_index, margin_math
from python_model.modules.constants import LONG, SHORT

ZERO = Fraction(0)


def lot(side: int, size: str, margin: str, entry_price: str) -> exact.Lot:
    return exact.Lot(side, Fraction(size), Fraction(margin), Fraction(entry_price), ZERO)


def assert_prints_as(value: Fraction, published: str) -> None:
    """value rounds to the published decimal: within half a unit of its last place."""
    exponent = Decimal(published).as_tuple().exponent
    assert isinstance(exponent, int)
    assert abs(value - Fraction(published)) <= Fraction(10) ** exponent / 2, float(value)


def market(maintenance: str, **changes: object) -> World:
    """A market without fees, funding or skew impact whose only tier has this maintenance fraction.

    The penalty is small so that it is never above the maintenance fraction."""
    only = tiers((1_000_000, "0.5", maintenance))
    return World(
        cash=10**7,
        **FRICTIONLESS
        | {
            **only,
            "max_open_interest": wad(1_000_000),
            "max_skew": wad(1_000_000),
            "liquidation_penalty": wad("0.001"),
        }
        | changes,
    )


# dYdX


def test_dydx_short_is_liquidated_near_3174_60() -> None:
    """dYdX v4 documentation, "Liquidations": 1000 of margin, short 3 at 3000, maintenance 5 %.

    Liquidation near 3,174.60, where the equity is near 476.2. Same convention as ours."""
    short = lot(SHORT, "3", "1000", "3000")
    price = exact.liquidation_price(short, ZERO, Fraction("0.05"))
    assert price == Fraction(10_000) / Fraction("3.15")
    assert_prints_as(price, "3174.60")
    assert_prints_as(exact.equity(short, price, ZERO), "476.2")


def short_of_dydx() -> tuple[World, int]:
    # The initial fraction of this tier lets 1000 open a notional of 9000.
    world = market("0.05", price=3000, **tiers((1_000_000, "0.1", "0.05")))
    return world, world.open_at_mark(SHORT, 3, 1000)


def test_dydx_short_in_a_market_is_healthy_just_below_the_published_price() -> None:
    """dYdX v4 documentation, "Liquidations", through the integer market: half a unit in the last
    printed place below 3,174.60."""
    world, position_id = short_of_dydx()
    assert world.publish("3174.595") == 0
    assert world.is_open(position_id)
    assert not world.is_liquidatable(position_id)


def test_dydx_short_in_a_market_is_liquidated_just_above_the_published_price() -> None:
    """dYdX v4 documentation, "Liquidations", through the integer market: half a unit in the last
    printed place above 3,174.60."""
    world, position_id = short_of_dydx()
    size = world.position(position_id).size
    assert world.publish("3174.605") == 1
    assert not world.is_open(position_id) or world.position(position_id).size < size


def test_dydx_insurance_example() -> None:
    """dYdX documentation, insurance fund: 100 of margin, long 500 at 1, maintenance 3 %.

    At 0.801 the equity is 0.5; closed at 0.77 the loss is 115 and insurance pays 15."""
    long = lot(LONG, "500", "100", "1")
    assert exact.equity(long, Fraction("0.801"), ZERO) == Fraction("0.5")
    assert exact.is_liquidatable(long, Fraction("0.801"), ZERO, Fraction("0.03"))
    assert exact.position_value(long, Fraction("0.77"), ZERO) == -115
    settled = exact.settle_in_full(exact.equity(long, Fraction("0.77"), ZERO), ZERO, Fraction(50))
    assert (settled.insurance_used, settled.bad_debt) == (15, 0)


def test_dydx_insurance_example_in_a_market() -> None:
    """dYdX documentation, insurance fund, through the integer market: to the token unit."""
    world = market("0.03", price=1, **tiers((1_000_000, "0.1", "0.03")))
    world.market.fund_insurance(world.tokens(50), sender=ROLE["lp"])
    cash = world.pool.cash()
    world.open_at_mark(LONG, 500, 100)
    assert world.publish("0.77") == 1
    _, owner, size, price, value, penalty, _, returned, used, bad_debt = world.event(
        "PositionLiquidated"
    )
    assert (owner, size, price) == (ROLE["trader"], wad(500), wad("0.77"))
    assert value == -world.tokens(115)
    assert used == world.tokens(15)
    assert (penalty, returned, bad_debt) == (0, 0, 0)
    assert world.market.solvency().insurance == world.tokens(35)
    assert world.pool.cash() - cash == world.tokens(115)


def test_dydx_loss_mechanism() -> None:
    """dYdX documentation, contract loss mechanism: long 500 at 1 and short 500 at 1, 100 of margin
    each; at 2 the short's equity is -400, its bankruptcy price 1.2."""
    short = lot(SHORT, "500", "100", "1")
    assert exact.equity(short, Fraction(2), ZERO) == -400
    assert exact.bankruptcy_price(short, ZERO) == Fraction("1.2")
    long = lot(LONG, "500", "100", "1")
    assert exact.position_value(long, Fraction(2), ZERO) == 500


def test_dydx_loss_mechanism_in_a_market() -> None:
    """dYdX documentation, contract loss mechanism: the winner can receive 100, not 500.

    Shared part: what the losing margin does not cover is not there. Here the pool stands between;
    with two token units in it the winner gets the loser's 100 and those, the rest is a claim, and
    he is deleveraged, since the pool can carry no profit any more."""
    world = World(
        cash=0,
        price=1,
        **FRICTIONLESS | tiers((1_000, "0.1", "0.03")) | {"reserve_fraction": 1},
    )
    world.pool.deposit(2, ROLE["lp"], sender=ROLE["lp"])
    winner = world.open(LONG, 500, 100, by="trader")
    world.market.open(SHORT, wad(500), world.tokens(100), 0, sender=ROLE["other_trader"])
    assert world.publish(2) == 1
    assert world.market.bad_debt == world.tokens(400)
    assert not world.is_open(winner)
    position_id, owner, _, _, profit, claim, *_ = world.event("PositionSettled")
    assert (position_id, owner) == (winner, ROLE["trader"])
    assert 0 <= world.tokens(500) - profit <= 1
    paid = world.market.withdraw_credit(sender=ROLE["trader"])
    assert paid == world.tokens(100) + world.tokens(100) + 2
    assert world.pool.claim_of[ROLE["trader"]] == claim == profit - world.tokens(100) - 2
    world.assert_books_balance()


# Others with maintenance on the current notional


@pytest.mark.parametrize(
    ("side", "leverage", "published"),
    [
        (SHORT, 5, "11.8741341777162"),  # 11.87413417771621
        (SHORT, 3, "13.1934824196847"),  # 13.193482419684678
        (LONG, 5, "8.08570851020821"),  # 8.085708510208207
        (LONG, 3, "6.73809042517351"),  # 6.738090425173506
    ],
)
def test_freqtrade_liquidation_prices(side: int, leverage: int, published: str) -> None:
    """freqtrade, tests of the liquidation price for Gate and OKX: entry 10, one unit, maintenance
    1 %, isolated.

    Convention not shared: the taker fee (0.06 %) is inside the trigger. It enters the published
    formula (p0 -/+ margin / q) / (1 -/+ (mmr + taker)) like a higher maintenance fraction, and with
    that the formula is ours. What is printed are binary doubles (right column), the digits that a
    double guarantees are compared: 15; the 17th of the second is off by its own rounding."""
    position = exact.Lot(side, Fraction(1), Fraction(10, leverage), Fraction(10), ZERO)
    price = exact.liquidation_price(position, ZERO, Fraction("0.01") + Fraction("0.0006"))
    assert_prints_as(price, published)


def test_bybit_long_with_maintenance_on_the_entry_notional() -> None:
    """Bybit help centre, liquidation price of a USDT contract under isolated margin: long 1 BTC at
    20,000, 50x, maintenance 0.5 %, liquidated at 19,700.

    Convention not shared: maintenance on the entry notional. Shared: at that price the equity is
    what is required. With the current notional it is 19,698.4925 (derived from our formula)."""
    long = lot(LONG, "1", "400", "20000")
    fraction = Fraction("0.005")
    required = exact.requirement(long.size, long.entry_price, fraction)
    assert exact.equity(long, Fraction(19_700), ZERO) == required
    price = exact.liquidation_price(long, ZERO, fraction)
    assert_prints_as(price, "19698.4925")
    assert price < 19_700  # a long falls, so the current notional requires less


def test_toobit_long_is_liquidated_at_1483() -> None:
    """Toobit help centre, margin ratio: long 10 ETH at 1500, 50x, maintenance 1 %, mark 1483:
    margin ratio 115.38 %, liquidated.

    Convention not shared: maintenance on the entry notional. Shared: the ratio of requirement to
    equity with that notional, and that the position is liquidated with either."""
    long = lot(LONG, "10", "300", "1500")
    mark, fraction = Fraction(1483), Fraction("0.01")
    equity = exact.equity(long, mark, ZERO)
    ratio = exact.requirement(long.size, long.entry_price, fraction) / equity
    assert_prints_as(ratio * 100, "115.38")
    assert exact.is_liquidatable(long, mark, ZERO, fraction)


def test_toobit_long_in_a_market_is_liquidated_at_1483() -> None:
    """Toobit help centre, margin ratio, through the integer market."""
    world = market("0.01", price=1500, **tiers((1_000_000, "0.02", "0.01")))
    position_id = world.open_at_mark(LONG, 10, 300)
    assert world.publish(1500) == 0
    assert world.publish(1483) == 1
    assert not world.is_open(position_id) or world.position(position_id).size < wad(10)


@pytest.mark.parametrize("price", ["97", "96.5", "96", "95.999999", "90", "50", "1"])
def test_bitmex_loss_never_exceeds_the_margin(price: str) -> None:
    """BitMEX documentation, isolated margin: a position of 100 at 100 with 4 of margin is
    liquidated at 97, and the loss is exactly 4.

    Shared part, a property: wherever the price lands, the trader loses no more than the margin, and
    from the bankruptcy price of 96 on exactly that."""
    long = lot(LONG, "1", "4", "100")
    assert exact.bankruptcy_price(long, ZERO) == 96
    world = market("0.03", **tiers((1_000_000, "0.035", "0.03")))
    world.market.fund_insurance(world.tokens(1000), sender=ROLE["lp"])
    position_id = world.open_at_mark(LONG, 1, 4)
    world.publish(price)
    if world.is_open(position_id):
        world.close(position_id)
    if world.market.credit_of[ROLE["trader"]]:
        world.market.withdraw_credit(sender=ROLE["trader"])
    assert not world.is_open(position_id)
    lost = world.spent("trader")
    assert lost <= world.tokens(4)
    if Fraction(price) <= 96:
        assert lost == world.tokens(4)


def test_hyperliquid_second_tier_deduction() -> None:
    """Hyperliquid documentation, margin tiers: maintenance 1.25 % up to 150 M, 2.5 % above; the
    deduction of the second tier is 1,875,000.

    Convention not shared: with the deduction the requirement is continuous in the notional; ours
    steps up when a trade takes a position into a higher tier. Shared: the height of that step."""
    at = Fraction(150_000_000)
    lower = exact.requirement(at, Fraction(1), Fraction("0.0125"))
    upper = exact.requirement(at, Fraction(1), Fraction("0.025"))
    assert upper - lower == 1_875_000


# Skew


def test_synthetix_fill_price() -> None:
    """Synthetix v3 perps market, fill price: price 1200, size 100, skew scale 1,000,000: 1200.06,
    the average of the price before and after the trade."""
    filled = exact.fill_price(LONG, Fraction(100), Fraction(1200), ZERO, Fraction(1_000_000))
    assert filled == Fraction("1200.06")
    assert margin_math._fill_price(LONG, wad(1200), wad(100), wad(1_000_000)) == wad("1200.06")


def test_synthetix_fill_price_in_a_market() -> None:
    """Synthetix v3 perps market, fill price, through the integer market."""
    cap = wad(500)
    world = market(
        "0.05", price=1200, skew_scale=wad(1_000_000), max_open_interest=cap, max_skew=cap
    )
    fill_price, _ = world.quote(LONG, 100)
    assert fill_price == wad("1200.06")
    position_id = world.open(LONG, 100, 100_000)
    assert world.position(position_id).entry_price == wad("1200.06")


def test_gmx_funding_rate() -> None:
    """GMX documentation, funding fees: factor 1/50,000, imbalance 100,000 of 200,000 open interest:
    0.00001 per second.

    Convention not shared: the imbalance is divided by the open interest, ours by the skew scale.
    With a scale of 200,000 the formula is the same."""
    scale, factor = Fraction(200_000), Fraction(1, 50_000)
    assert exact.funding_rate(Fraction(100_000), scale, factor) == Fraction("0.00001")
    rate = funding_index._funding_rate(wad(100_000), wad(200_000), wad(factor))
    assert rate == wad("0.00001") * 10**9

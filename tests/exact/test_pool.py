"""Net trader profit from the totals, and shares, against the exact layer."""

from fractions import Fraction
from types import SimpleNamespace

from bounds import (
    DECIMALS,
    FUNDINGS,
    PRICES,
    PROFIT_UNITS,
    PROFIT_UNITS_PER_POSITION,
    SHARE_UNITS,
    SIDES,
    SIZES,
    THOROUGH,
    index,
    magnitudes,
    units,
    v,
    wad,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from python_model import exact
from python_model.liquidity_pool import MAX_SUPPLY, VIRTUAL_ASSETS, VIRTUAL_SHARES, LiquidityPool
from python_model.modules import fixed_point, margin_math
from python_model.modules.constants import LONG, MAX_MARGIN, MAX_SIZE, SHORT

LOTS = st.lists(st.tuples(SIDES, SIZES, PRICES, FUNDINGS), max_size=8)
ASSETS = st.just(0) | magnitudes(2**120)
SUPPLIES = st.just(0) | magnitudes(MAX_SUPPLY)


@THOROUGH
@given(LOTS, PRICES, st.tuples(FUNDINGS, FUNDINGS), DECIMALS)
def test_net_trader_profit_brackets_the_sum_of_values(
    lots: list[tuple[int, int, int, int]], price: int, funding: tuple[int, int], decimals: int
) -> None:
    total = -sum(margin_math._marked_value(*lot) for lot in lots)
    for side in (LONG, SHORT):
        size = sum(lot[1] for lot in lots if lot[0] == side)
        assume(size <= MAX_SIZE)
        marked = margin_math._marked_value(side, size, price, funding[side])
        assert Fraction(marked, 10**45) == exact.marked_value(
            side, wad(size), wad(price), index(funding[side])
        )
        total += marked
    down = fixed_point._signed_div_floor(total, v(decimals))
    up = fixed_point._signed_div_ceil(total, v(decimals))
    wanted = exact.net_trader_profit(
        [exact.Lot(side, wad(s), Fraction(0), wad(p), index(f)) for side, s, p, f in lots],
        wad(price),
        (index(funding[0]), index(funding[1])),
    )
    assert Fraction(total, 10**45) == wanted
    assert down <= units(wanted, decimals) <= up <= down + PROFIT_UNITS
    values = sum(
        margin_math._position_value(side, s, p, f, price, funding[side], v(decimals))
        for side, s, p, f in lots
    )
    assert values <= up < values + PROFIT_UNITS_PER_POSITION * len(lots) + PROFIT_UNITS
    assert values <= down


def pool_of(supply: int) -> LiquidityPool:
    return SimpleNamespace(totalSupply=supply)  # type: ignore[return-value]


@THOROUGH
@given(magnitudes(2**96), ASSETS, SUPPLIES)
def test_shares_are_rounded_against_who_moves(amount: int, total: int, supply: int) -> None:
    virtual = (Fraction(VIRTUAL_ASSETS), Fraction(VIRTUAL_SHARES))
    shares = exact.shares_of(Fraction(amount), Fraction(total), Fraction(supply), *virtual)
    assert 0 <= shares - LiquidityPool._to_shares_down(pool_of(supply), amount, total) < SHARE_UNITS
    assert 0 <= LiquidityPool._to_shares_up(pool_of(supply), amount, total) - shares < SHARE_UNITS
    assets = exact.assets_of(Fraction(amount), Fraction(total), Fraction(supply), *virtual)
    assert 0 <= assets - LiquidityPool._to_assets_down(pool_of(supply), amount, total) < SHARE_UNITS
    assert 0 <= LiquidityPool._to_assets_up(pool_of(supply), amount, total) - assets < SHARE_UNITS


@THOROUGH
@given(magnitudes(2**96), ASSETS, SUPPLIES)
def test_deposit_and_redeem_at_once_never_profits(assets: int, total: int, supply: int) -> None:
    shares = LiquidityPool._to_shares_down(pool_of(supply), assets, total)
    assume(supply + shares <= MAX_SUPPLY)  # or the deposit is refused
    after = pool_of(supply + shares)
    assert LiquidityPool._to_assets_down(after, shares, total + assets) <= assets


@THOROUGH
@given(magnitudes(2**96), ASSETS, SUPPLIES)
def test_mint_and_withdraw_at_once_never_profits(shares: int, total: int, supply: int) -> None:
    assets = LiquidityPool._to_assets_up(pool_of(supply), shares, total)
    assume(assets <= MAX_MARGIN and supply + shares <= MAX_SUPPLY)  # or the deposit is refused
    after = pool_of(supply + shares)
    assert LiquidityPool._to_shares_up(after, assets, total + assets) >= shares


@THOROUGH
@given(magnitudes(2**96), ASSETS, SUPPLIES)
def test_deposit_never_lowers_the_share_price(assets: int, total: int, supply: int) -> None:
    shares = LiquidityPool._to_shares_down(pool_of(supply), assets, total)
    before = Fraction(total + VIRTUAL_ASSETS, supply + VIRTUAL_SHARES)
    after = Fraction(total + assets + VIRTUAL_ASSETS, supply + shares + VIRTUAL_SHARES)
    assert after >= before


@THOROUGH
@given(st.data(), ASSETS, SUPPLIES)
def test_redemption_never_lowers_the_share_price(
    data: st.DataObject, total: int, supply: int
) -> None:
    shares = data.draw(st.integers(0, supply))
    assets = LiquidityPool._to_assets_down(pool_of(supply), shares, total)
    before = Fraction(total + VIRTUAL_ASSETS, supply + VIRTUAL_SHARES)
    after = Fraction(total - assets + VIRTUAL_ASSETS, supply - shares + VIRTUAL_SHARES)
    assert after >= before

"""The market's formulas in fractions: no rounding, no bounds, no state.

Amounts are in whole tokens, sizes in whole units of the underlying, prices in quote per unit,
fractions and rates as plain numbers (0.05 is 5 %), rates per second, indices in quote per unit of
size. `side` is 0 for a long, 1 for a short. The headings name the section of docs/spec.md that each
formula is from; the integer model differs from these by rounding alone (docs/rounding.md), within
the bounds of tests/exact.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from python_model.modules import constants


class Lot(NamedTuple):
    """A position as far as its value goes: units, tokens, quote per unit, quote per unit."""

    side: int
    size: Fraction
    margin: Fraction
    entry_price: Fraction
    entry_funding: Fraction


class Settlement(NamedTuple):
    """Who gets what of a position liquidated in full, tokens."""

    returned: Fraction
    penalty: Fraction
    insurance_used: Fraction
    bad_debt: Fraction


def sign(side: int) -> int:
    """+1 for a long, -1 for a short: how the value moves with the price."""
    return 1 if side == constants.LONG else -1


# Value, requirement, liquidation rule (section 2)


def notional(size: Fraction, price: Fraction) -> Fraction:
    """size * price, tokens."""
    return size * price


def pnl(side: int, size: Fraction, entry_price: Fraction, price: Fraction) -> Fraction:
    """Gain by the price alone, tokens: a long bought and a short sold `size` at the entry price."""
    return sign(side) * size * (price - entry_price)


def funding_paid(size: Fraction, entry_funding: Fraction, funding: Fraction) -> Fraction:
    """What the position owes since its entry, tokens: size times the growth of its side's index."""
    return size * (funding - entry_funding)


def position_value(lot: Lot, price: Fraction, funding: Fraction) -> Fraction:
    """pnl - funding, tokens: what the pool would pay (positive) or receive (negative) now."""
    gained = pnl(lot.side, lot.size, lot.entry_price, price)
    return gained - funding_paid(lot.size, lot.entry_funding, funding)


def equity(lot: Lot, price: Fraction, funding: Fraction) -> Fraction:
    """margin + value, tokens: what would be left after closing at `price`."""
    return lot.margin + position_value(lot, price, funding)


def requirement(size: Fraction, price: Fraction, fraction: Fraction) -> Fraction:
    """The fraction of the current notional that must be there as equity, tokens."""
    return notional(size, price) * fraction


def is_liquidatable(
    lot: Lot, price: Fraction, funding: Fraction, maintenance_fraction: Fraction
) -> bool:
    """equity < maintenance requirement; at equality the position is healthy."""
    return equity(lot, price, funding) < requirement(lot.size, price, maintenance_fraction)


# Trigger: the liquidation rule divided by the size (section 3)


def trigger_key(lot: Lot) -> Fraction:
    """d*p0 - f0 - c/s, quote per unit: the part of the rule that only the holder can change.

    c + s*(d*(P - p0) - (F - f0)) < s*mu*P; divide by s, the position's own terms to the right:
    d*P - mu*P - F < d*p0 - f0 - c/s.
    """
    return sign(lot.side) * lot.entry_price - lot.entry_funding - lot.margin / lot.size


def trigger_threshold(
    side: int, price: Fraction, funding: Fraction, maintenance_fraction: Fraction
) -> Fraction:
    """d*P - mu*P - F, quote per unit: the left-hand side, one number for a whole side and tier.

    A position is liquidatable exactly when its key is greater.
    """
    return sign(side) * price - maintenance_fraction * price - funding


def liquidation_price(lot: Lot, funding: Fraction, maintenance_fraction: Fraction) -> Fraction:
    """The price at which equity equals the requirement: key = threshold solved for the price."""
    return (trigger_key(lot) + funding) / (sign(lot.side) - maintenance_fraction)


def bankruptcy_price(lot: Lot, funding: Fraction) -> Fraction:
    """The price at which equity is zero: the liquidation price without a requirement."""
    return liquidation_price(lot, funding, Fraction(0))


# Fill price and fees (section 10), averaging and initial margin (section 12)


def skew_after(side: int, size: Fraction, skew: Fraction) -> Fraction:
    """Skew (long size less short size, units) after a trade: `side` long buys, short sells."""
    return skew + sign(side) * size


def fill_price(
    side: int, size: Fraction, price: Fraction, skew: Fraction, skew_scale: Fraction
) -> Fraction:
    """P * (1 + mean of the skew before and after / skew_scale), quote per unit.

    The mean makes the cost of a trade that of its parts: it is the integral of the linear price
    P * (1 + k / skew_scale) over the skews k that the trade passes, divided by its size.
    """
    mean_skew = (skew + skew_after(side, size, skew)) / 2
    return price * (1 + mean_skew / skew_scale)


def is_maker(side: int, size: Fraction, skew: Fraction) -> bool:
    """Whether a trade brings the skew nearer to zero."""
    return abs(skew_after(side, size, skew)) < abs(skew)


def trade_fee(size: Fraction, price: Fraction, fee_rate: Fraction) -> Fraction:
    """Fee on the notional at the fill price, tokens."""
    return notional(size, price) * fee_rate


def average(
    size: Fraction, entry: Fraction, added_size: Fraction, added_entry: Fraction
) -> Fraction:
    """Size-weighted mean of two entry prices or two entry indices.

    The value is linear in size * entry, so one position with the mean is worth the two lots.
    """
    return (size * entry + added_size * added_entry) / (size + added_size)


def has_initial_margin(
    lot: Lot, price: Fraction, funding: Fraction, initial_fraction: Fraction
) -> bool:
    """margin + min(value, 0) >= initial requirement: unrealised profit is no margin."""
    value = min(position_value(lot, price, funding), Fraction(0))
    return lot.margin + value >= requirement(lot.size, price, initial_fraction)


# Volatility, crowding and the maintenance ramp (dynamic margin)


def change(price: Fraction, reference: Fraction) -> Fraction:
    """|P - R| / R: how far a price is from a reference, either way."""
    return abs(price - reference) / reference


def next_variance(
    variance: Fraction, return_: Fraction, elapsed: Fraction, window: Fraction
) -> Fraction:
    """Time-weighted mean of the variance per second so far and of r^2 / t, the one just observed.

    Weights window and t: v' = (v * window + (r^2 / t) * t) / (window + t). A constant r^2 / t is a
    fixed point, and a gap of many windows forgets what was before.
    """
    return (variance * window + return_**2) / (window + elapsed)


def daily_variance(variance: Fraction) -> Fraction:
    """Variance of a day's return; its root is the volatility per day."""
    return variance * 86_400


def volatility_multiplier(
    volatility: Fraction, calm_volatility: Fraction, max_multiplier: Fraction
) -> Fraction:
    """clamp(volatility / calm volatility, 1, max)."""
    return min(max(volatility / calm_volatility, Fraction(1)), max_multiplier)


def utilisation(reserved: Fraction, cash: Fraction) -> Fraction:
    """min(reserved / cash, 1); anything reserved of nothing is 1."""
    if reserved >= cash:
        return Fraction(1 if reserved > 0 else 0)
    return reserved / cash


def initial_fraction(
    base_fraction: Fraction,
    multiplier: Fraction,
    confidence: Fraction,
    used: Fraction,
    lower: Fraction,
    upper: Fraction,
) -> Fraction:
    """f + (1 - f) * clamp((u - lower) / (upper - lower), 0, 1), f = min(base * multiplier + c, 1).

    The second step is dYdX's initial margin by open interest, with utilisation in its place.
    """
    fraction = min(base_fraction * multiplier + confidence, Fraction(1))
    crowding = min(max((used - lower) / (upper - lower), Fraction(0)), Fraction(1))
    return fraction + (1 - fraction) * crowding


def ramped(old: Fraction, new: Fraction, elapsed: Fraction, duration: Fraction) -> Fraction:
    """A maintenance fraction on its straight way from old to new."""
    if elapsed >= duration:
        return new
    return old + (new - old) * elapsed / duration


# Funding and utilisation (section 9)


def funding_rate(skew: Fraction, skew_scale: Fraction, max_rate: Fraction) -> Fraction:
    """clamp(skew / skew_scale, -1, 1) * max_rate per second; positive: longs pay."""
    return max(min(skew / skew_scale, Fraction(1)), Fraction(-1)) * max_rate


def utilisation_rate(reserved: Fraction, cash: Fraction, max_rate: Fraction) -> Fraction:
    """min(reserved / cash, 1) * max_rate per second, paid by both sides to the pool."""
    if reserved >= cash:
        return max_rate if reserved > 0 else Fraction(0)
    return reserved / cash * max_rate


def index_step(
    side: int,
    skew_rate: Fraction,
    use_rate: Fraction,
    price: Fraction,
    elapsed: Fraction,
) -> Fraction:
    """(d * funding rate + utilisation rate) * price * seconds, quote per unit of size."""
    return (sign(side) * skew_rate + use_rate) * price * elapsed


def pool_funding(
    long_size: Fraction, short_size: Fraction, long_step: Fraction, short_step: Fraction
) -> Fraction:
    """What the pool gets when both indices step, tokens: what one side pays and the other does not.

    With skew K and rates r, u it is (K*r + (L + S)*u) * P * t, which is never negative: r has the
    sign of K.
    """
    return long_size * long_step + short_size * short_step


# Liquidation (section 7)


def penalty(size: Fraction, price: Fraction, penalty_fraction: Fraction) -> Fraction:
    """Fraction of the notional liquidated, tokens."""
    return notional(size, price) * penalty_fraction


def reward(paid_penalty: Fraction, keeper_share: Fraction) -> Fraction:
    """The keeper's share of a penalty, tokens; the rest goes to the insurance reserve."""
    return paid_penalty * keeper_share


def partial_size(
    equity_before: Fraction,
    size: Fraction,
    price: Fraction,
    target_fraction: Fraction,
    penalty_fraction: Fraction,
) -> Fraction:
    """Units that may stay open so that what stays meets the target after the penalty; zero if none.

    Closing at the mark does not change the equity, the penalty does:
    E - b*(s - s')*P = t*s'*P, hence s' = (E - b*s*P) / ((t - b)*P).
    """
    left = equity_before - penalty(size, price, penalty_fraction)
    return max(left, Fraction(0)) / ((target_fraction - penalty_fraction) * price)


def settle_in_full(
    equity_before: Fraction, full_penalty: Fraction, insurance: Fraction
) -> Settlement:
    """A full liquidation: penalty out of what equity there is, the rest to the owner.

    A shortfall is insurance's as far as it goes, then the pool's bad debt.
    """
    if equity_before >= 0:
        paid = min(full_penalty, equity_before)
        return Settlement(equity_before - paid, paid, Fraction(0), Fraction(0))
    used = min(insurance, -equity_before)
    return Settlement(Fraction(0), Fraction(0), used, -equity_before - used)


# Deficits (section 8)


def drawable(reserve: Fraction, drawn: Fraction, share: Fraction) -> Fraction:
    """What the reserve may still pay in a window: the share of all it had, less what it paid."""
    return max(share * (reserve + drawn) - drawn, Fraction(0))


def split_profit(profit: Fraction, cash: Fraction) -> tuple[Fraction, Fraction]:
    """A profit, tokens: what the pool pays of it and what becomes a claim."""
    paid = min(max(profit, Fraction(0)), cash)
    return paid, max(profit, Fraction(0)) - paid


def equity_per_unit(lot: Lot, price: Fraction, funding: Fraction) -> Fraction:
    """Quote per unit: the marked value of one unit less the key, so the index orders by it."""
    return equity(lot, price, funding) / lot.size


def is_profit_too_large(
    net_profit: Fraction, cash: Fraction, claims: Fraction, share: Fraction
) -> bool:
    """Whether traders' net profit is more than the set share of the cash that is not claimed."""
    return net_profit > share * max(cash - claims, Fraction(0))


# The whole market (section 14)


def net_trader_profit(
    lots: Iterable[Lot], price: Fraction, funding: tuple[Fraction, ...]
) -> Fraction:
    """Sum of the values of all positions, tokens: what the pool owes the traders, unrealised."""
    return sum((position_value(lot, price, funding[lot.side]) for lot in lots), Fraction(0))


def marked_value(side: int, size: Fraction, price: Fraction, funding: Fraction) -> Fraction:
    """d*s*P - s*F, tokens: a position's value is this at the marks less this at its entry.

    Linear in the size, so the values of all positions are worth what the two sides' sizes are
    worth at the marks, less one sum over the entries.
    """
    return sign(side) * notional(size, price) - size * funding


# Pool shares (section 14)


def pool_assets(cash: Fraction, trader_profit: Fraction, claims: Fraction) -> Fraction:
    """cash - net trader profit - claims, tokens; zero when negative."""
    return max(cash - trader_profit - claims, Fraction(0))


def shares_of(
    assets: Fraction,
    total_assets: Fraction,
    supply: Fraction,
    virtual_assets: Fraction,
    virtual_shares: Fraction,
) -> Fraction:
    """Shares worth `assets`; the virtual ones make a donation to an empty pool a loss."""
    return assets * (supply + virtual_shares) / (total_assets + virtual_assets)


def assets_of(
    shares: Fraction,
    total_assets: Fraction,
    supply: Fraction,
    virtual_assets: Fraction,
    virtual_shares: Fraction,
) -> Fraction:
    """Tokens that `shares` are worth: the inverse of `shares_of`."""
    return shares * (total_assets + virtual_assets) / (supply + virtual_shares)

"""The bounds of parameters, one by one, so that an error can name the key and what it may be.

What counts is `risk_bounds`, which configurator and factory run: a test holds the two together.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from python_model.modules import constants
from python_model.modules import risk_bounds as enforced
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

WAD = constants.WAD


class Bound(NamedTuple):
    """A number of the deploy file, and between what it has to be."""

    key: str
    value: int
    low: int
    high: int
    why: str = ""  # what the limits follow from, where they follow from other keys
    unit: int = 1

    def problem(self, places: int) -> str:
        """What is wrong and what would be right, in units of 10**places; nothing if it is right."""
        if self.low <= self.value <= self.high:
            if self.value % self.unit == 0:
                return ""
            step, near = show(self.unit, places), self.value // self.unit * self.unit
            return (
                f"{show(self.value, places)} is no multiple of {step}: write {show(near, places)}"
            )
        why = f" ({self.why})" if self.why else ""
        value, low = show(self.value, places), -(-self.low // self.unit) * self.unit
        high = self.high // self.unit * self.unit
        if low > high:
            return f"{value} cannot be right{why}, nor could any other: change those first"
        return (
            f"{value} is not between {show(low, places)} and {show(high, places)}{why}: "
            "choose a value there"
        )


def show(value: int, places: int) -> str:
    """An integer of 10**-places as the number that the file has."""
    text = f"{Decimal(value).scaleb(-places):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def feed_bounds(confidence_fraction: int) -> Iterator[Bound]:
    """Of an aggregator feed."""
    yield Bound("confidence_fraction", confidence_fraction, 1, WAD)


def market_bounds(params: MarketParams) -> Iterator[Bound]:
    """Of what never changes."""
    last = 0
    for i, size in enumerate(params.tier_sizes):
        why = "not below the tier before" if i else ""
        yield Bound(f"tier_sizes[{i}]", size, last, constants.MAX_SIZE, why)
        last = size
    yield Bound("min_size", params.min_size, 1, params.tier_sizes[0], "up to tier_sizes[0]")
    yield Bound("skew_scale", params.skew_scale, 1, constants.MAX_SIZE)
    yield Bound("max_funding_rate", params.max_funding_rate, 0, WAD)
    yield Bound("max_utilisation_rate", params.max_utilisation_rate, 0, enforced.MAX_RATE)
    yield Bound("liquidation_penalty", params.liquidation_penalty, 1, WAD)
    yield Bound("keeper_share", params.keeper_share, 0, WAD)
    yield Bound("reserve_fraction", params.reserve_fraction, 1, WAD)
    yield Bound("max_price_age", params.max_price_age, 1, enforced.MAX_AGE)


def risk_bounds(risk: RiskParams, params: MarketParams) -> Iterator[Bound]:
    """Of what the configurator can change."""
    yield from _caps(risk, params)
    yield _fraction("taker_fee", risk.taker_fee, 0, enforced.MAX_FEE)
    yield _fraction("maker_fee", risk.maker_fee, 0, risk.taker_fee, "up to taker_fee")
    yield from _tiers(risk, params)
    yield from _dynamics(risk)
    yield from _breakers(risk)
    yield from _loss_limits(risk)


def _fraction(key: str, value: int, low: int, high: int, why: str = "") -> Bound:
    """A number that the engine stores in units of FRACTION_UNIT."""
    return Bound(key, value, low, high, why, constants.FRACTION_UNIT)


def _caps(risk: RiskParams, params: MarketParams) -> Iterator[Bound]:
    most = constants.MAX_SIZE
    kept = params.liquidation_penalty * (WAD - params.keeper_share)
    most = min(most, params.skew_scale * kept // (WAD * WAD))
    if params.max_funding_rate:
        most = min(most, params.skew_scale * enforced.MAX_RATE // params.max_funding_rate)
    why = "by skew_scale, liquidation_penalty, keeper_share, max_funding_rate of [params]"
    yield Bound("max_open_interest", risk.max_open_interest, 0, most, why)
    why = "up to max_open_interest"
    yield Bound("max_skew", risk.max_skew, 0, risk.max_open_interest, why)


def _tiers(risk: RiskParams, params: MarketParams) -> Iterator[Bound]:
    last_initial, last_maintenance = 0, 2 * params.liquidation_penalty
    tiers = zip(risk.initial_fractions, risk.maintenance_fractions, strict=True)
    why = "twice params.liquidation_penalty, and below initial_fractions[0]"
    for i, (initial, maintenance) in enumerate(tiers):
        yield _fraction(
            f"initial_fractions[{i}]", initial, last_initial, WAD, "not below the tier before"
        )
        key = f"maintenance_fractions[{i}]"
        yield _fraction(key, maintenance, last_maintenance, initial - 1, why)
        why = f"not below the tier before, and below initial_fractions[{i + 1}]"
        last_initial, last_maintenance = initial, maintenance


def _dynamics(risk: RiskParams) -> Iterator[Bound]:
    yield _fraction("calm_volatility", risk.calm_volatility, 1, WAD)
    most = enforced.MAX_MULTIPLIER
    yield _fraction("max_volatility_multiplier", risk.max_volatility_multiplier, WAD, most)
    yield _window("volatility_window", risk.volatility_window)
    yield _fraction("crowding_upper", risk.crowding_upper, 1, WAD)
    why = "below crowding_upper"
    yield _fraction("crowding_lower", risk.crowding_lower, 0, risk.crowding_upper - 1, why)


def _window(key: str, value: int, above: int = 0, why: str = "") -> Bound:
    return Bound(key, value, max(enforced.MIN_WINDOW, above), enforced.MAX_WINDOW, why)


def _breakers(risk: RiskParams) -> Iterator[Bound]:
    least, most = enforced.MIN_CONFIDENCE, enforced.MAX_CONFIDENCE
    yield _fraction("max_confidence", risk.max_confidence, least, most)
    yield _fraction("max_jump", risk.max_jump, enforced.MIN_JUMP, WAD)
    short, long = risk.move_windows
    yield _window("move_windows[0]", short)
    yield _window("move_windows[1]", long, short + 1, "above move_windows[0]")
    small, large = risk.max_moves
    yield _fraction("max_moves[0]", small, enforced.MIN_MOVE, WAD)
    yield _fraction("max_moves[1]", large, small, WAD, "not below max_moves[0]")
    least, most = enforced.MIN_COOL_DOWN, enforced.MAX_COOL_DOWN
    yield Bound("cool_down", risk.cool_down, least, most)


def _loss_limits(risk: RiskParams) -> Iterator[Bound]:
    least = enforced.MIN_LOSS_SHARE
    yield Bound("max_liquidated_size", risk.max_liquidated_size, 1, constants.MAX_SIZE)
    yield _fraction("max_pool_loss", risk.max_pool_loss, least, WAD)
    yield Bound("max_bad_debt", risk.max_bad_debt, 0, constants.MAX_MARGIN)
    yield _fraction("max_insurance_draw", risk.max_insurance_draw, least, WAD)
    yield _fraction("max_profit_share", risk.max_profit_share, enforced.MIN_PROFIT_SHARE, WAD)

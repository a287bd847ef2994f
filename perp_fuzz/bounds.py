"""Parameters exactly at the bounds of what is accepted, found by bisection on the model."""

import random
from typing import Any

from lockstep.edges import find_edge
from perp_fuzz.variants import WHOLE
from python_model.evm import Revert
from python_model.modules import risk_bounds
from python_model.modules.constants import FRACTION_UNIT
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

Settings = tuple[MarketParams, RiskParams]
LARGEST = 2**105  # beyond every bound, and products of it still fit


def at_bound(rng: random.Random, params: MarketParams, risk: RiskParams) -> Settings:
    """Settings with one number, of `params` or of `risk`, exactly where the reason of a refusal
    changes, or on the other side."""
    is_fixed = rng.random() < 0.4
    record: Any = params if is_fixed else risk
    name, place = _place(rng, record)
    unit = 1 if is_fixed or name in WHOLE else FRACTION_UNIT
    if unit > 1 and rng.random() < 0.1:
        unit = 1  # so that it is too fine
    start = _read(record, name, place) // unit
    end = rng.choice((0, LARGEST // unit))

    def settings(number: int) -> Settings:
        changed = _replaced(record, name, place, number * unit)
        return (changed, risk) if is_fixed else (params, changed)

    # Seen from either side: a second bound may lie behind the first.
    seen_from = _reason(settings(rng.choice((start, end))))
    edge = find_edge(lambda number: _reason(settings(number)) == seen_from, *sorted((start, end)))
    return settings(rng.choice(edge or (start, end)))


def a_little_off(rng: random.Random, risk: RiskParams) -> RiskParams:
    """One number a unit above or below, or as it is."""
    name, place = _place(rng, risk)
    unit = 1 if name in WHOLE else FRACTION_UNIT
    value = _read(risk, name, place) + rng.choice((-unit, 0, unit))
    changed: RiskParams = _replaced(risk, name, place, max(value, 0))
    return changed


def _reason(settings: Settings) -> str | None:
    """Why these parameters are refused; None if they are not."""
    params, risk = settings
    try:
        risk_bounds._check_market_params(params)
        risk_bounds._check_risk_params(risk, params)
    except Revert as revert:
        return revert.reason
    return None


def _place(rng: random.Random, record: Any) -> tuple[str, int | None]:
    name = rng.choice(record._fields)
    value = getattr(record, name)
    return name, rng.randrange(len(value)) if isinstance(value, tuple) else None


def _read(record: Any, name: str, place: int | None) -> int:
    value = getattr(record, name)
    number: int = value if place is None else value[place]
    return number


def _replaced(record: Any, name: str, place: int | None, number: int) -> Any:
    if place is not None:
        numbers = list(getattr(record, name))
        numbers[place] = number
        return record._replace(**{name: tuple(numbers)})
    return record._replace(**{name: number})

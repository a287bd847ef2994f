"""What roles propose, by number: parameters and sets of publishers. The same number is the same
proposal in every run, whatever has been applied before.
"""

from typing import Any

from perp_fuzz.deployment import ADDRESSES, PUBLISHERS
from perp_fuzz.signing import by_address
from python_model.modules.constants import FRACTION_UNIT, TIERS, WAD
from python_model.modules.risk_bounds import MAX_FEE
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

# Percent of the value at the start of the run.
LOOSE_AND_TIGHT = (50, 80, 95, 105, 125, 200)
# Beyond every bound, each on purpose.
ABSURD = (0, 1, FRACTION_UNIT + 1, WAD + FRACTION_UNIT, 2**104, 2**200)
FIELDS = RiskParams._fields
# Sizes, times and token units are not fractions.
WHOLE = frozenset(
    (
        "max_open_interest",
        "max_skew",
        "volatility_window",
        "move_windows",
        "cool_down",
        "max_liquidated_size",
        "max_bad_debt",
    )
)
VALID = len(FIELDS) * len(LOOSE_AND_TIGHT)
COUNT = VALID + len(FIELDS) * len(ABSURD)
TIGHT = COUNT  # from here on: a number of fields at once a little tighter
# Which way a field is tightened; the rest may not be.
TIGHTER = {
    "max_open_interest": 95,
    "max_skew": 95,
    "initial_fractions": 105,
    "maintenance_fractions": 102,
    "calm_volatility": 95,
    "max_volatility_multiplier": 105,
    "crowding_lower": 95,
    "max_moves": 95,
    "cool_down": 105,
    "max_liquidated_size": 95,
    "max_pool_loss": 95,
    "max_bad_debt": 95,
}

SPECIAL = TIGHT + (1 << len(TIGHTER))
# What beginnings of chains propose: what held at the start; all that a position is worth as margin,
# or only to open one; the highest fees; the crowd felt earlier.
START, ENTIRE, EASED, DEAR, CROWDED = range(SPECIAL, SPECIAL + 5)
_SPECIAL: dict[int, dict[str, Any]] = {
    START: {},
    ENTIRE: {
        "initial_fractions": (WAD,) * TIERS,
        "maintenance_fractions": (WAD - FRACTION_UNIT,) * TIERS,
    },
    EASED: {"initial_fractions": (WAD,) * TIERS},
    DEAR: {"maker_fee": MAX_FEE, "taker_fee": MAX_FEE},
    CROWDED: {"crowding_upper": WAD - WAD // 10},
}


def risk_variant(base: RiskParams, number: int) -> RiskParams:
    """Parameters with one field changed, or with several tighter."""
    if number >= SPECIAL:
        return base._replace(**_SPECIAL[number])
    if number >= TIGHT:
        chosen = number - TIGHT
        changed: dict[str, Any] = {
            name: _scaled(name, getattr(base, name), percent)
            for i, (name, percent) in enumerate(TIGHTER.items())
            if chosen >> i & 1
        }
        return base._replace(**changed)
    name = FIELDS[number % len(FIELDS)]
    place = number // len(FIELDS)
    present = getattr(base, name)
    if place < len(LOOSE_AND_TIGHT):
        return _changed(base, name, _scaled(name, present, LOOSE_AND_TIGHT[place]))
    absurd = ABSURD[(place - len(LOOSE_AND_TIGHT)) % len(ABSURD)]
    if isinstance(present, tuple):
        return _changed(base, name, (absurd, *present[1:]))
    return _changed(base, name, absurd)


def _changed(base: RiskParams, name: str, value: Any) -> RiskParams:
    return base._replace(**{name: value})


def market_variant(base: MarketParams, risk: RiskParams, number: int) -> tuple[bool, Any, Any]:
    """Whether the token has too many decimals, and parameters with one fault; the last has none."""
    faults: tuple[dict[str, Any], ...] = (
        {},
        {"min_size": 0},
        {"max_price_age": 0},
        {"liquidation_penalty": 0},
        {"tier_sizes": base.tier_sizes[::-1]},
        {"skew_scale": base.skew_scale // 10_000},
        {},
    )
    number %= len(faults)
    return number == 0, base._replace(**faults[number]), risk


def publishers_variant(number: int) -> list[object]:
    """Publishers and quorum: a set in the low bits, the quorum above, the order reversed last."""
    count = len(PUBLISHERS)
    chosen = (role for i, role in enumerate(PUBLISHERS) if number >> i & 1)
    addresses = [ADDRESSES[role] for role in by_address(*chosen)]
    quorum = (number >> count) & 7
    if number >> count + 3 & 1:
        addresses.reverse()
    return [tuple(addresses), quorum]


def _scaled(name: str, value: int | tuple[int, ...], percent: int) -> int | tuple[int, ...]:
    if isinstance(value, tuple):
        return tuple(_scaled_number(name, item, percent) for item in value)
    return _scaled_number(name, value, percent)


def _scaled_number(name: str, value: int, percent: int) -> int:
    scaled = value * percent // 100
    return scaled if name in WHOLE else scaled // FRACTION_UNIT * FRACTION_UNIT

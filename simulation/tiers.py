"""Margin tiers as an exchange publishes them: a JSON object of lists of rows by symbol."""

import json
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from lockstep.errors import InputError
from python_model.modules.constants import FRACTION_UNIT, TIERS, WAD

FILE = "binance_leverage_tiers_202410.json"


class Tier(NamedTuple):
    """Positions of up to `max_notional` (whole quote units); fractions in WAD."""

    max_notional: int
    initial_fraction: int
    maintenance_fraction: int


Tiers = tuple[Tier, Tier, Tier, Tier]

# For a market without a file of tiers: round figures of the same order.
BUILT_IN: Tiers = (
    Tier(50_000, WAD // 100, WAD // 200),
    Tier(500_000, WAD // 50, WAD // 100),
    Tier(2_500_000, WAD // 25, WAD // 50),
    Tier(10_000_000, WAD // 10, WAD // 20),
)


def read_tiers(path: Path, symbol: str) -> Tiers:
    """The first four rows of a symbol.

    They are those with the highest leverage, and no position of the crowd is larger than they
    allow: none is held to a row other than the exchange would hold it to. The initial fraction is
    one over the greatest leverage, rounded up.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))[symbol][:TIERS]
        first, second, third, fourth = (_tier(row) for row in rows)
    except OSError as error:
        raise InputError(
            f"{path}: {(error.strerror or str(error)).lower()}; check the path"
        ) from None
    except (KeyError, TypeError, ValueError, ArithmeticError):
        raise InputError(
            f"{path}: no {TIERS} rows of {symbol} with maxNotional, maxLeverage and "
            "maintenanceMarginRate; give a file of leverage tiers"
        ) from None
    return first, second, third, fourth


def _tier(row: dict[str, float]) -> Tier:
    return Tier(
        int(row["maxNotional"]),
        _fraction_up(1 / Fraction(str(row["maxLeverage"]))),
        _fraction_up(Fraction(str(row["maintenanceMarginRate"]))),
    )


def _fraction_up(fraction: Fraction) -> int:
    return -(-fraction * WAD // FRACTION_UNIT) * FRACTION_UNIT

"""The market in words that people use: amounts in units, roles by name, times as ages."""

from datetime import UTC, datetime
from typing import Any

from lockstep import abi
from lockstep.engines.base import Log
from lockstep.step import Step
from perp_fuzz.actions import ACTIONS, HOOKS, NO_HOOK
from perp_fuzz.deployment import ADDRESSES, ROLE_OF, System
from perp_fuzz.feeds import REPORT_FLAWS, ROUND_FLAWS
from python_model.evm import MAX_UINT256, ZERO_ADDRESS

SIDES = ("long", "short")

# What the arguments of an action are, where they are no plain numbers or names.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "open": ("side", "size", "token", "price"),
    "increase": ("", "size", "token", "price"),
    "reduce": ("", "size", "price"),
    "close": ("", "price"),
    "add_margin": ("", "token"),
    "remove_margin": ("", "token"),
    "publish": ("price", "price", "time", "report flaw"),
    "answer": ("price", "price", "time", "round flaw"),
    "fund_insurance": ("token",),
    "deposit": ("token",),
    "mint": ("share",),
    "withdraw": ("token",),
    "redeem": ("share",),
    "transfer_shares": ("", "share"),
    "approve_shares": ("", "share"),
    "approve_token": ("", "token"),
    "donate": ("", "token"),
    "seize": ("", "token"),
    "set_sequencer": ("", "", "time", "time"),
}
# The same for fields of events, by name.
FIELDS = dict.fromkeys(
    (
        "margin",
        "value",
        "fee",
        "fees",
        "penalty",
        "reward",
        "returned",
        "insurance_used",
        "bad_debt",
        "amount",
        "assets",
        "payout",
        "paid",
        "claim",
    ),
    "token",
) | {
    "size": "size",
    "price": "price",
    "fill_price": "price",
    "confidence": "price",
    "side": "side",
    "shares": "share",
    "price_time": "time",
}


class Telling:
    """Tells about one deployment."""

    def __init__(self, system: System) -> None:
        self._system = system
        decimals = system.token.decimals
        self._decimals = {"token": decimals, "share": system.pool.decimals, "size": 18, "price": 18}
        self._names = {ZERO_ADDRESS: "nobody", **ROLE_OF}
        self._names |= {
            contract.address: name
            for name, contract in system._asdict().items()
            if hasattr(contract, "address")
        }

    def describe(self, step: Step) -> str:
        """Who does what."""
        units = ARGUMENTS.get(step.action, ())
        shown = [
            self._shown(units[i] if i < len(units) else "", arg, step.at)
            for i, arg in enumerate(step.args)
        ]
        return f"{step.actor} {ACTIONS[step.action].sentence.format(*shown)}"

    def context(self) -> str:
        """The price and how many positions are open."""
        market = self._system.market
        price = market._marks.price
        said = f"price {plain(price, 18)}" if price else "no price yet"
        count = market._open_positions
        said += f", {count} open position{'' if count == 1 else 's'}" if count else ""
        said += ", backlog" if market._backlog else ""
        return said + (", halted" if market._halted else "")

    def show_log(self, log: Log) -> str:
        """An event with names and units."""
        address, topics, data = log
        event = abi.Event.known.get(topics[0]) if topics else None
        who = self._names.get(address, address)
        if event is None or len(data) % 32:
            return abi.show_log(log)
        indexed, rest = iter(topics[1:]), iter(data[i : i + 32] for i in range(0, len(data), 32))
        shown = []
        for kind, name, is_indexed in event.fields:
            raw = next(indexed if is_indexed else rest, b"")
            if kind in ("string", "bytes"):
                return abi.show_log(log)
            is_share = name == "value" and who == "pool"  # of its own Transfer
            unit = "share" if is_share else FIELDS.get(name, "")
            shown.append(f"{name} {self._field(kind, unit, raw)}")
        return (
            f"{who} logs {event.name}: {', '.join(shown)}" if shown else f"{who} logs {event.name}"
        )

    def _field(self, kind: str, unit: str, raw: bytes) -> str:
        if kind == "address":
            address = abi.show_word(kind, raw)
            return self._names.get(address, address)
        if kind.startswith(("uint", "int")):
            value = int.from_bytes(raw, "big", signed=kind.startswith("int"))
            return self._shown(unit, value, 0)
        return abi.show_word(kind, raw)

    def _shown(self, unit: str, value: Any, at: int) -> str:
        if not isinstance(value, int):
            return str(value)
        if value == MAX_UINT256:
            return "2**256 - 1"
        if unit == "side" and 0 <= value < len(SIDES):
            return SIDES[value]
        if unit in self._decimals:
            return plain(value, self._decimals[unit])
        if unit == "time":
            return moment(value, at)
        flaws = {"report flaw": REPORT_FLAWS, "round flaw": ROUND_FLAWS}.get(unit, ())
        if 0 <= value < len(flaws):
            return flaws[value]
        return f"{value:,}"


def plain(value: int, decimals: int) -> str:
    """An amount in whole units, exactly: 1_500_000 with 6 decimals is 1.5."""
    whole, rest = divmod(abs(value), 10**decimals)
    fraction = f"{rest:0{decimals}d}".rstrip("0") if rest else ""
    return f"{'-' if value < 0 else ''}{whole:,}{'.' if fraction else ''}{fraction}"


def moment(value: int, at: int) -> str:
    """A time as seen from another."""
    if at and abs(value - at) < 10**6:
        age = at - value
        return "now" if age == 0 else f"{age:,} s ago" if age > 0 else f"{-age:,} s ahead"
    try:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{value:,}"


def complaint(step: Step) -> str | None:
    """What is wrong with a step that somebody wrote by hand, in words; None if nothing is."""
    if step.actor not in ADDRESSES:
        return f"nobody is called {step.actor!r}; there are {', '.join(ADDRESSES)}"
    kinds = [kind for kind in ACTIONS[step.action].kinds if kind not in ("market", "feed")]
    if len(step.args) != len(kinds):
        return f"takes {len(kinds)} arguments, not {len(step.args)}; add or remove some"
    for number, (kind, argument) in enumerate(zip(kinds, step.args, strict=True), 1):
        if kind == "address" and argument not in NAMES:
            return f"argument {number}, {argument!r}, is no role or contract; use one's name"
        if kind == "hook" and argument not in (*HOOKS, NO_HOOK):
            return f"argument {number}, {argument!r}, is none of {', '.join((*HOOKS, NO_HOOK))}"
        if kind in ("address", "hook"):
            continue
        if not isinstance(argument, int) or not -(2**255) <= argument <= MAX_UINT256:
            return f"argument {number}, {argument!r}, is no number of at most 256 bits; use one"
        if kind != "int256" and argument < 0:
            return f"argument {number}, {argument!r}, is negative; use a number that is not"
    return None


NAMES = frozenset((*ADDRESSES, *System._fields[1:]))

"""The actions of the system: what they are called on, and how both sides take their arguments.

An argument is an integer, or a role or contract by name; `hook` names the call that a misbehaving
token makes in a transfer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from lockstep import abi
from perp_fuzz.deployment import ADDRESSES, System
from python_model.evm import ZERO_ADDRESS


class Action(NamedTuple):
    """A function of one contract; `kinds` are its argument types, `returns` what it gives back."""

    contract: str
    function: str
    kinds: tuple[str, ...]
    returns: str = ""
    sentence: str = ""  # of the arguments, for a story


ACTIONS: dict[str, Action] = {
    "open": Action(
        "market",
        "open",
        ("uint256",) * 4,
        "uint256",
        "opens side {0}, size {1}, margin {2}, no worse than {3}",
    ),
    "increase": Action(
        "market",
        "increase",
        ("uint256",) * 4,
        "",
        "adds size {1} and margin {2} to position {0}, no worse than {3}",
    ),
    "reduce": Action(
        "market", "reduce", ("uint256",) * 3, "", "reduces position {0} by {1}, no worse than {2}"
    ),
    "close": Action(
        "market", "close", ("uint256",) * 2, "uint256", "closes position {0}, no worse than {1}"
    ),
    "add_margin": Action(
        "market", "add_margin", ("uint256",) * 2, "", "adds margin {1} to position {0}"
    ),
    "remove_margin": Action(
        "market", "remove_margin", ("uint256",) * 2, "", "takes margin {1} out of position {0}"
    ),
    "publish": Action(
        "feed", "publish", ("uint256",) * 2, "uint256", "publishes price {0} of time {1}"
    ),
    "update_price": Action(
        "market", "update_price", ("address",), "uint256", "makes the market look for a price"
    ),
    "liquidate": Action("market", "liquidate", ("uint256",), "", "liquidates position {0}"),
    "continue_backlog": Action(
        "market", "continue_backlog", ("uint256",), "uint256", "works off {0} of the backlog"
    ),
    "accrue": Action("market", "accrue", (), "", "accrues funding"),
    "withdraw_credit": Action(
        "market", "withdraw_credit", (), "uint256", "withdraws credit and claim"
    ),
    "collect_fees": Action("market", "collect_fees", (), "uint256", "collects the fees"),
    "fund_insurance": Action(
        "market", "fund_insurance", ("uint256",), "", "gives {0} to the insurance reserve"
    ),
    "deposit": Action("pool", "deposit", ("uint256", "address"), "uint256", "deposits {0} for {1}"),
    "mint": Action("pool", "mint", ("uint256", "address"), "uint256", "mints {0} shares for {1}"),
    "withdraw": Action(
        "pool",
        "withdraw",
        ("uint256", "address", "address"),
        "uint256",
        "withdraws {0} to {1} from the shares of {2}",
    ),
    "redeem": Action(
        "pool",
        "redeem",
        ("uint256", "address", "address"),
        "uint256",
        "redeems {0} shares of {2} to {1}",
    ),
    "transfer_shares": Action(
        "pool", "transfer", ("address", "uint256"), "bool", "sends {1} shares to {0}"
    ),
    "approve_shares": Action(
        "pool", "approve", ("address", "uint256"), "bool", "lets {0} spend {1} shares"
    ),
    "approve_token": Action(
        "token", "approve", ("address", "uint256"), "token bool", "lets {0} spend {1} tokens"
    ),
    "donate": Action(
        "token", "transfer", ("address", "uint256"), "token bool", "sends {1} tokens to {0}"
    ),
    "set_fee": Action(
        "token", "set_fee", ("uint256",), "", "makes the token keep {0} basis points"
    ),
    "set_hook": Action(
        "token", "set_hook", ("hook",), "", "makes the token call back in transfers: {0}"
    ),
    "set_publisher": Action("feed", "set_publisher", ("address",), "", "makes {0} the publisher"),
    "transfer_ownership": Action(
        "feed", "transfer_ownership", ("address",), "", "offers the feed to {0}"
    ),
    "accept_ownership": Action("feed", "accept_ownership", (), "", "accepts the feed"),
    "intrude": Action(
        "pool", "pay_profit", ("uint256",), "uint256", "asks the pool for a profit of {0}"
    ),
}

# What a token may call back: name -> (contract, function, arguments).
HOOKS: dict[str, tuple[str, str, tuple[int | str, ...]]] = {
    "market.accrue": ("market", "accrue", ()),
    "market.open": ("market", "open", (0, 10**18, 10**12, 2**255)),
    "market.close": ("market", "close", (1, 0)),
    "market.withdraw_credit": ("market", "withdraw_credit", ()),
    "market.update_price": ("market", "update_price", ("attacker",)),
    "pool.deposit": ("pool", "deposit", (10**6, "attacker")),
    "pool.redeem": ("pool", "redeem", (1, "attacker", "attacker")),
    "feed.publish": ("feed", "publish", (1, 1)),
}
NO_HOOK = "none"

_BY_FUNCTION = {(item.contract, item.function): item for item in ACTIONS.values()}


def resolve(system: System, value: int | str) -> Any:
    """A role's or contract's address; integers as they are."""
    if isinstance(value, int):
        return value
    return ADDRESSES.get(value) or getattr(system, value).address


class Codec:
    """Encodes the actions of one deployment."""

    def __init__(self, system: System, token_returns: bool) -> None:
        self.system = system
        self._token_returns = token_returns
        self._targets = {name: getattr(system, name) for name in system._fields[1:]}
        self._encoders = {
            name: abi.encoder(f"{item.function}({','.join(item.kinds)})")
            for name, item in ACTIONS.items()
            if "hook" not in item.kinds
        }
        self._set_hook = abi.selector("set_hook(address,bytes)")

    def calldata(self, action: str, args: tuple[int | str, ...]) -> tuple[str, bytes]:
        """Target and calldata."""
        item = ACTIONS[action]
        target = self._targets[item.contract].address
        if action == "set_hook":
            return target, self._set_hook + self._hook_arguments(str(args[0]))
        values = [resolve(self.system, value) for value in args]
        return target, self._encoders[action](*values)

    def call_model(self, action: str, actor: str, args: tuple[int | str, ...]) -> Any:
        """The same call on the model."""
        item = ACTIONS[action]
        target = self._targets[item.contract]
        sender = ADDRESSES[actor]
        if action == "set_hook":
            return target.set_hook(self._hook(str(args[0])), sender=sender)
        values = [resolve(self.system, value) for value in args]
        return getattr(target, item.function)(*values, sender=sender)

    def output(self, action: str, value: Any) -> bytes:
        """ABI encoding of what the model returned."""
        returns = ACTIONS[action].returns
        if not returns or (returns == "token bool" and not self._token_returns):
            return b""
        encoded: bytes = int(value).to_bytes(32, "big")
        return encoded

    def _hook(self, name: str) -> Callable[[], object] | None:
        if name == NO_HOOK:
            return None
        contract, function, args = HOOKS[name]
        target = self._targets[contract]
        values = [resolve(self.system, value) for value in args]
        sender = self.system.token.address
        return lambda: getattr(target, function)(*values, sender=sender)

    def _hook_arguments(self, name: str) -> bytes:
        if name == NO_HOOK:
            return abi.arguments(["address", "bytes"], [ZERO_ADDRESS, b""])
        contract, function, args = HOOKS[name]
        item = _BY_FUNCTION[contract, function]
        encode = abi.encoder(f"{function}({','.join(item.kinds)})")
        data = encode(*[resolve(self.system, value) for value in args])
        return abi.arguments(["address", "bytes"], [self._targets[contract].address, data])

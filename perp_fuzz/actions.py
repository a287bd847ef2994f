"""The actions of the system: what they are called on, and how both sides take their arguments.

An argument is an integer, or a role or contract by name. `hook` names the call that a misbehaving
token makes in a transfer; `risk` and `publishers` are numbered variants; reports and rounds are
made of numbers by `feeds`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from lockstep import abi
from perp_fuzz.deployment import (
    ADDRESSES,
    DEFAULT_RISK,
    POOL_NAME,
    POOL_SYMBOL,
    RISK_TYPE,
    System,
    create_market_calldata,
)
from perp_fuzz.feeds import Reports, Rounds
from perp_fuzz.variants import market_variant, publishers_variant, risk_variant
from python_model.evm import ZERO_ADDRESS, Revert
from python_model.liquidity_pool import Account
from python_model.signed_price_feed import SignedPriceFeed


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
        "feed",
        "publish",
        ("report",) * 4,
        "uint256",
        "brings price {0} with confidence {1} of time {2}, flaw {3}",
    ),
    "answer": Action(
        "relay",
        "answer",
        ("round",) * 4,
        "",
        "makes the aggregator answer {0} of time {2}, flaw {3}",
    ),
    "update_price": Action(
        "market", "update_price", ("address",), "uint256", "makes the market look for a price"
    ),
    "liquidate": Action("market", "liquidate", ("uint256",), "", "liquidates position {0}"),
    "continue_backlog": Action(
        "market", "continue_backlog", ("uint256",), "uint256", "works off {0} of the backlog"
    ),
    "accrue": Action("market", "accrue", (), "", "accrues funding"),
    "settle": Action("market", "settle", ("uint256",), "", "settles position {0}"),
    "withdraw_credit": Action("market", "withdraw_credit", (), "uint256", "withdraws a credit"),
    "withdraw_claim": Action("pool", "withdraw_claim", (), "uint256", "withdraws a claim"),
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
    "seize": Action(
        "token", "seize", ("address", "uint256"), "", "makes the token take {1} from {0}"
    ),
    "propose_params": Action(
        "configurator",
        "propose_params",
        ("market", "risk"),
        "uint256",
        "proposes parameters {0}",
    ),
    "cancel_params": Action(
        "configurator", "cancel_params", ("market",), "", "cancels the proposed parameters"
    ),
    "apply_params": Action(
        "configurator", "apply_params", ("market",), "", "applies the proposed parameters"
    ),
    "tighten": Action("configurator", "tighten", ("market", "risk"), "", "tightens to {0}"),
    "guardian_restrict": Action(
        "configurator",
        "guardian_restrict",
        ("market", "uint256"),
        "uint256",
        "restricts the market for {0} seconds",
    ),
    "set_guardian": Action("configurator", "set_guardian", ("address",), "", "makes {0} guardian"),
    "propose_publishers": Action(
        "configurator",
        "propose_publishers",
        ("feed", "publishers"),
        "uint256",
        "proposes publishers {0}",
    ),
    "apply_publishers": Action(
        "configurator", "apply_publishers", ("feed",), "", "applies the proposed publishers"
    ),
    "cancel_publishers": Action(
        "configurator", "cancel_publishers", ("feed",), "", "cancels the proposed publishers"
    ),
    "remove_publisher": Action(
        "configurator", "remove_publisher", ("feed", "address"), "", "removes publisher {0}"
    ),
    "transfer_ownership": Action(
        "configurator", "transfer_ownership", ("address",), "", "offers the configurator to {0}"
    ),
    "accept_ownership": Action(
        "configurator", "accept_ownership", (), "", "accepts the configurator"
    ),
    "set_sequencer": Action(
        "sequencer",
        "set_round",
        ("uint256", "int256", "uint256", "uint256", "uint256"),
        "",
        "makes the sequencer answer {1}, since {2}",
    ),
    "set_treasury": Action("factory", "set_treasury", ("address",), "", "makes {0} treasury"),
    "create_market": Action("factory", "create_market", ("new market",), "", "creates market {0}"),
    "intrude": Action("market", "", ("intrusion",) * 2, "", "intrudes by way {0} with {1}"),
}

# Functions that are for a contract alone: (contract, function, types, arguments after a number).
BOOK = "(uint256,uint256,int256)"
INTRUSIONS: tuple[tuple[str, str, tuple[str, ...], Callable[[int], tuple[Any, ...]]], ...] = (
    ("pool", "pay_profit", ("address", "uint256"), lambda n: (ADDRESSES["attacker"], n)),
    ("pool", "collect_loss", ("uint256",), lambda n: (n,)),
    ("engine", "observe_price", ("uint256",) * 5, lambda n: (n, n, n, 0, 0)),
    (
        "engine",
        "record_update",
        ("uint256", "int256", BOOK),
        lambda n: (n, n, Account(n, n, n)),
    ),
    (
        "engine",
        "choose_deleveraged",
        ("uint256", "int256[2]", "uint256", "int256", "uint256", "uint256"),
        lambda n: (n, [n, n], n, n, n, 1),
    ),
    ("engine", "cover_shortfall", ("uint256",) * 2, lambda n: (n, n)),
    ("engine", "set_params", (RISK_TYPE,), lambda n: (DEFAULT_RISK,)),
    ("engine", "restrict", ("uint256",), lambda n: (n,)),
    ("feed", "set_market", ("address",), lambda n: (ADDRESSES["attacker"],)),
    ("feed", "set_publishers", ("address[]", "uint256"), lambda n: ((), n)),
    ("feed", "remove_publisher", ("address",), lambda n: (ADDRESSES["attacker"],)),
)

MINTING = "token.mint"
# What a token may call back: name -> (contract, function, arguments).
HOOKS: dict[str, tuple[str, str, tuple[int | str, ...]]] = {
    "market.accrue": ("market", "accrue", ()),
    "market.open": ("market", "open", (0, 10**18, 10**12, 2**255)),
    "market.close": ("market", "close", (1, 0)),
    "market.withdraw_credit": ("market", "withdraw_credit", ()),
    "market.update_price": ("market", "update_price", ("attacker",)),
    "pool.deposit": ("pool", "deposit", (10**6, "attacker")),
    "pool.redeem": ("pool", "redeem", (1, "attacker", "attacker")),
    "pool.withdraw_claim": ("pool", "withdraw_claim", ()),
    # It credits more than was sent.
    MINTING: ("token", "mint", ("market", 7)),
}
NO_HOOK = "none"

_SPECIAL = frozenset(
    ("market", "feed", "risk", "publishers", "hook", "report", "round", "intrusion", "new market")
)
UNSIGNED = ("set_publishers", "remove_publisher")
_TYPES = {
    "market": "address",
    "feed": "address",
    "risk": RISK_TYPE,
    "publishers": "address[],uint256",
}
_SET_HOOK = abi.selector("set_hook(address,bytes)")
_KINDS = {(item.contract, item.function): item.kinds for item in ACTIONS.values()}
_KINDS["token", "mint"] = ("address", "uint256")


@lru_cache
def _selector(item: Action) -> bytes:
    types = [_TYPES.get(kind, kind) for kind in item.kinds]
    return abi.selector(f"{item.function}({','.join(types)})")


def _arguments(values: Sequence[Any]) -> bytes:
    """ABI encoding of static values, records of such, contracts by address, and lists of addresses
    (the only plain tuples)."""
    heads = [None if type(value) is tuple else _static(value) for value in values]
    place = sum(32 if head is None else len(head) for head in heads)
    data, tail = b"", b""
    for head, value in zip(heads, values, strict=True):
        if head is None:
            head = abi.word(place + len(tail))
            tail += abi.words(len(value), *value)
        data += head
    return data + tail


def _static(value: Any) -> bytes:
    if isinstance(value, tuple | list):
        return b"".join([_static(part) for part in value])
    return abi.word(getattr(value, "address", value))


class Unlisted:
    """A feed without publishers, as the configurator meets it: no such function."""

    def __init__(self, address: str) -> None:
        self.address = address

    def set_publishers(self, *_: Any, sender: str) -> None:
        raise Revert

    remove_publisher = set_publishers


class Codec:
    """Encodes the actions of one deployment."""

    def __init__(self, system: System, token_returns: bool) -> None:
        self.system = system
        self._token_returns = token_returns
        self._targets = {name: getattr(system, name) for name in system._fields[1:]}
        self._addresses: dict[int | str, str] = {}
        self._addresses.update((name, target.address) for name, target in self._targets.items())
        self._addresses.update(ADDRESSES)
        self._words = {name: abi.word(address) for name, address in self._addresses.items()}
        self.risk = system.engine._params
        # Target, function and selector of the actions whose arguments are what they look like.
        self._plain = {
            name: (self._targets[item.contract], item.function, _selector(item))
            for name, item in ACTIONS.items()
            if not _SPECIAL.intersection(item.kinds)
        }
        feed = system.feed
        self._listed: SignedPriceFeed | Unlisted
        self._feed_codec: Reports | Rounds
        if isinstance(feed, SignedPriceFeed):
            self._listed, self._feed_codec = feed, Reports(system)
        else:
            self._listed, self._feed_codec = Unlisted(feed.address), Rounds(system, True)
        self._rounds = Rounds(system)

    def calldata(self, action: str, args: tuple[int | str, ...]) -> tuple[str, bytes]:
        """Target and calldata."""
        if action in self._plain:
            target, _, selector = self._plain[action]
            words = self._words
            encoded = [
                value.to_bytes(32, "big")
                if type(value) is int and value >= 0
                else words.get(value) or abi.word(value)
                for value in args
            ]
            return target.address, selector + b"".join(encoded)
        if action == "publish":
            return self._feed_codec.calldata(*self._numbers(args))
        if action == "answer":
            return self._rounds.calldata(*self._numbers(args))
        if action == "intrude":
            contract, function, types, given = self._intrusion(args)
            selector = abi.selector(f"{function}({','.join(types)})")
            return self._targets[contract].address, selector + _arguments(given)
        if action == "create_market":
            return self.system.factory.address, create_market_calldata(self._new_market(args))
        item = ACTIONS[action]
        target = self._targets[item.contract]
        if action == "set_hook":
            return target.address, _SET_HOOK + self._hook_arguments(str(args[0]))
        return target.address, _selector(item) + _arguments(self._model_values(item, args))

    def call_model(self, action: str, actor: str, args: tuple[int | str, ...]) -> Any:
        """The same call on the model."""
        sender = ADDRESSES.get(actor, actor)
        if action in self._plain:
            target, function, _ = self._plain[action]
            addresses = self._addresses
            values = [value if type(value) is int else addresses[value] for value in args]
            return getattr(target, function)(*values, sender=sender)
        if action == "publish":
            return self._feed_codec.call_model(sender, *self._numbers(args))
        if action == "answer":
            return self._rounds.call_model(sender, *self._numbers(args))
        if action == "intrude":
            contract, function, _, given = self._intrusion(args)
            target = self._listed if function in UNSIGNED else self._targets[contract]
            return getattr(target, function)(*given, sender=sender)
        if action == "create_market":
            return self.system.factory.create_market(*self._new_market(args), sender=sender)
        item = ACTIONS[action]
        target = self._targets[item.contract]
        if action == "set_hook":
            return target.set_hook(self._hook(str(args[0])), sender=sender)
        return getattr(target, item.function)(*self._model_values(item, args), sender=sender)

    def _intrusion(
        self, args: tuple[int | str, ...]
    ) -> tuple[str, str, tuple[str, ...], tuple[Any, ...]]:
        way, number = self._numbers(args)
        contract, function, types, values = INTRUSIONS[way % len(INTRUSIONS)]
        return contract, function, types, values(number % 2**96)

    def _new_market(self, args: tuple[int | str, ...]) -> list[Any]:
        """Another market; its feed is another's already, so it is refused in any case."""
        system = self.system
        is_coarse, params, risk = market_variant(
            system.engine.PARAMS, self.risk, self._number(args[0])
        )
        token = system.coarse_token if is_coarse else system.token
        return [token, system.feed, POOL_NAME, POOL_SYMBOL, params, risk]

    def _model_values(self, item: Action, args: tuple[int | str, ...]) -> list[Any]:
        """Contracts are passed as models, numbered variants as what they stand for."""
        values: list[Any] = []
        given = iter(args)
        for kind in item.kinds:
            if kind == "market":
                values.append(self.system.market)
            elif kind == "feed":
                values.append(self._listed)
            elif kind == "risk":
                values.append(risk_variant(self.risk, self._number(next(given))))
            elif kind == "publishers":
                values += publishers_variant(self._number(next(given)))
            else:
                value = next(given)
                values.append(value if type(value) is int else self._addresses[value])
        return values

    @staticmethod
    def _number(value: int | str) -> int:
        if not isinstance(value, int):
            raise TypeError(f"a number is wanted, not {value!r}")
        return value

    def _numbers(self, args: tuple[int | str, ...]) -> list[int]:
        return [self._number(value) for value in args]

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
        values = [self._addresses.get(value, value) for value in args]
        sender = self.system.token.address
        return lambda: getattr(target, function)(*values, sender=sender)

    def _hook_arguments(self, name: str) -> bytes:
        if name == NO_HOOK:
            return abi.arguments(["address", "bytes"], [ZERO_ADDRESS, b""])
        contract, function, args = HOOKS[name]
        encode = abi.encoder(f"{function}({','.join(_KINDS[contract, function])})")
        data = encode(*[self._addresses.get(value, value) for value in args])
        return abi.arguments(["address", "bytes"], [self._targets[contract].address, data])

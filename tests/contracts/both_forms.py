"""Contract and model, called together: every call is compared, and everything at the end."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.adapter import Config
from lockstep.checker import Checker
from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.step import Step
from perp_fuzz.actions import ACTIONS
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.deployment import ADDRESSES, ROLES, TOKENS, WAD, Overrides, compile_contracts
from perp_fuzz.feeds import SOUND
from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Contract, Revert
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, MAX_SIZE
from python_model.perp_market import MarketParams
from python_model.risk_engine import Fill, RiskParams
from python_model.signed_price_feed import SignedPriceFeed

PRICE = 10_000 * WAD
ANY = MAX_UINT256
CONTRACTS = {
    "market": "PerpMarket",
    "pool": "LiquidityPool",
    "engine": "RiskEngine",
    "factory": "MarketFactory",
    "configurator": "Configurator",
    "aggregator": "testing/AggregatorMock",
    "relay": "testing/PriceRelay",
}
FEEDS = {"signed": "SignedPriceFeed", "aggregator": "AggregatorPriceFeed"}
# The parameters of these tests, whatever the fuzzer's own are.
PARAMS = MarketParams(
    min_size=WAD // 100,
    skew_scale=50_000 * WAD,
    max_funding_rate=200 * 10**12,
    max_utilisation_rate=10**10,
    liquidation_penalty=5 * 10**15,
    keeper_share=10**17,
    reserve_fraction=3 * 10**17,
    max_price_age=240,
    tier_sizes=(WAD, 5 * WAD, 20 * WAD, 50 * WAD),
)
# As little of the engine's care as the factory admits: breakers that do not trip, margins that only
# the confidence of the price, 0.1 % of it, moves, and the whole pool for the traders' profit.
CALM: dict[str, Any] = {
    "calm_volatility": WAD,
    "max_volatility_multiplier": WAD,
    "volatility_window": 60,
    "crowding_lower": WAD - FRACTION_UNIT,
    "crowding_upper": WAD,
    "max_confidence": 10**17,
    "max_jump": WAD,
    "move_windows": (60, 61),
    "max_moves": (WAD, WAD),
    "cool_down": 60,
    "max_liquidated_size": MAX_SIZE,
    "max_pool_loss": WAD,
    "max_bad_debt": MAX_MARGIN,
    "max_insurance_draw": WAD,
    "max_profit_share": WAD,
}
RISK = RiskParams(
    max_open_interest=200 * WAD,
    max_skew=60 * WAD,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    initial_fractions=(20 * 10**15, 40 * 10**15, 100 * 10**15, 200 * 10**15),
    maintenance_fractions=(10 * 10**15, 20 * 10**15, 50 * 10**15, 100 * 10**15),
    **CALM,
)
_ACTION_OF = {(item.contract, item.function): name for name, item in ACTIONS.items()}


class BothForms:
    """One deployment. `does` expects success, `refuses` a revert with this very reason.

    Parameters are changed by name, those of the market and those of its engine alike.
    """

    def __init__(
        self,
        decimals: int = 6,
        *,
        token: str = "standard",
        feed: str = "aggregator",
        overrides: Overrides | None = None,
        **params: Any,
    ) -> None:
        config: Config = {
            "decimals": decimals,
            "token": token,
            "feed": feed,
            "params": {**PARAMS._asdict(), **RISK._asdict(), **params},
        }
        self.engine = open_engine("revm")
        self.checker = Checker(PerpAdapter(overrides=overrides), self.engine, config, 0)
        self.twin = self.checker.twin
        # The end of a test asks what is; what a transaction would do is tried in campaigns.
        self.twin.views = self.twin.looks
        self.system = self.twin.system
        self.unit = 10**decimals
        self.now = GENESIS_TIME + 100
        artifacts = compile_contracts(overrides)
        files = {**CONTRACTS, "feed": FEEDS[feed], "token": TOKENS[token]}
        self.abis = {name: _functions(artifacts[file].abi) for name, file in files.items()}
        self._names = {*ADDRESSES, *self.system._fields}
        self._others: dict[str, Contract] = {}

    def __enter__(self) -> "BothForms":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.checker.finish()
        finally:
            self.engine.close()

    def start(self, liquidity: int = 1_000_000, price: int = PRICE) -> None:
        """A first price and liquidity."""
        self.publish(price)
        self.does("lp_0", "pool.deposit", liquidity * self.unit, "lp_0")

    def add(self, name: str, model: Contract, kind: str) -> None:
        """Another pool or feed, callable as "name.function"."""
        self._others[name] = model
        self.abis[name] = self.abis[kind]

    def publish(self, price: int, role: str = "keeper_0") -> int:
        """A price of a second later, brought to the market by the role."""
        self.now += 1
        confidence = price // 1_000
        if isinstance(self.system.feed, SignedPriceFeed):
            liquidated: int = self.does(role, "feed.publish", price, confidence, self.now, SOUND)
            return liquidated
        self.does(role, "relay.answer", price, confidence, self.now, SOUND)
        liquidated = self.does(role, "market.update_price", role)
        return liquidated

    def increase_terms(self, side: int, size: int, position_size: int = 0) -> Fill:
        """What the engine says to adding size now."""
        return self._terms("increase_terms", side, position_size, size)

    def exit_terms(self, side: int, size: int, position_size: int) -> Fill:
        """What the engine says to closing size of a position now."""
        return self._terms("exit_terms", side, position_size, size)

    def _terms(self, name: str, *args: int) -> Fill:
        self._set_time()
        market = self.system.market
        fill: Fill = getattr(self.system.engine, name)(*args, market._book_state(market.marks()))
        return fill

    def open(
        self,
        role: str = "trader_0",
        side: int = 0,
        size: int = WAD,
        margin: int = 1_000,
        acceptable: int | None = None,
    ) -> int:
        """A position; margin in whole tokens."""
        limit = acceptable if acceptable is not None else (0 if side else ANY)
        position_id: int = self.does(role, "market.open", side, size, margin * self.unit, limit)
        return position_id

    def does(self, role: str, function: str, *args: Any) -> Any:
        """The call succeeds in both forms; its return value."""
        ok, value = self.call(role, function, *args)
        assert ok, f"{function}{args} by {role} reverts: {value!r}"
        return value

    def refuses(self, reason: str, role: str, function: str, *args: Any) -> None:
        """Both forms revert for this reason and nothing has changed."""
        assert reason, "a promised reason is not empty"
        before = self._words()
        ok, value = self.call(role, function, *args)
        assert not ok, f"{function}{args} by {role} succeeds"
        assert value == reason
        assert self._words() == before
        storage = self.engine.storage
        for address, slot, expected in self.twin.all_words():
            assert storage(address, slot) == expected, self.twin.word_name(address, slot)

    def call(self, role: str, function: str, *args: Any) -> tuple[bool, Any]:
        """Whether it succeeds, and the value or the reason. Any difference is an error."""
        target, name = function.split(".")
        action = _ACTION_OF.get((target, name))
        if action and all(type(arg) is int or arg in self._names for arg in args):
            step = Step(action, role, args, self.now, "valid")
            result = self.checker.step(step)
            return result.ok, result.value if result.ok else result.reason
        return self._call_directly(role, target, name, args)

    def reenter(self, function: str, *args: Any) -> None:
        """From now on the token calls this in every transfer; without a name it stops."""
        if not function:
            self._set_hook(None, ZERO_ADDRESS, b"")
            return
        target, name = function.split(".")
        model = self._target(target)
        data = self.calldata(target, name, args)
        sender = self.system.token.address
        resolved = [self._resolve(arg) for arg in args]
        self._set_hook(lambda: getattr(model, name)(*resolved, sender=sender), model.address, data)

    def view(self, function: str, *args: Any) -> int:
        """A view of one number, equal in both forms."""
        target, name = function.split(".")
        model = self._target(target)
        self._set_time()
        resolved = [self._resolve(arg) for arg in args]
        found = getattr(model, name)
        value: int = (
            found(*resolved) if callable(found) else found[resolved[0]] if resolved else found
        )
        got = self.engine.view(model.address, self.calldata(target, name, args))
        assert got.ok, f"{function}{args} reverts: {abi.revert_reason(got.output)}"
        assert got.output == abi.word(value), f"{function}{args}"
        return value

    def view_refuses(self, reason: str, function: str, *args: Any) -> None:
        """A view reverts for this reason in both forms."""
        target, name = function.split(".")
        model = self._target(target)
        self._set_time()
        with pytest.raises(Revert) as caught:
            getattr(model, name)(*[self._resolve(arg) for arg in args])
        assert caught.value.reason == reason
        got = self.engine.view(model.address, self.calldata(target, name, args))
        assert not got.ok
        assert got.output == abi.error_string(reason), abi.revert_reason(got.output)

    def same_view(self, function: str, *args: Any) -> bool:
        """Whether a view of numbers gives the same numbers, or the same refusal, in both forms."""
        target, name = function.split(".")
        model = self._target(target)
        self._set_time()
        got = self.engine.view(model.address, self.calldata(target, name, args))
        assert not got.halted, got.halted
        try:
            value = getattr(model, name)(*args)
        except Revert as revert:
            expected = abi.error_string(revert.reason) if revert.reason else b""
            return not got.ok and got.output == expected
        return got.ok and got.output == abi.words(*_flat(value))

    def balance(self, role: str) -> int:
        """Tokens of a role or contract."""
        return self.view("token.balanceOf", role)

    def calldata(self, target: str, name: str, args: Sequence[Any]) -> bytes:
        """ABI encoding; a contract of the model stands for its address."""
        types = self.abis[target][name]
        values = [self._resolve(arg) for arg in args]
        encoded = [value.address if isinstance(value, Contract) else value for value in values]
        return abi.selector(f"{name}({','.join(types)})") + abi_encode(types, encoded)

    def _call_directly(
        self, role: str, target: str, name: str, args: Sequence[Any]
    ) -> tuple[bool, Any]:
        """A call that is no action of the fuzzer."""
        model = self._target(target)
        sender = ADDRESSES[role]
        self._set_time()
        values = [self._resolve(arg) for arg in args]
        got = self.engine.call(sender, model.address, self.calldata(target, name, args))
        assert not got.halted, got.halted
        refused: Revert | None = None
        self.twin.seen.begin(_ACTION_OF.get((target, name), name))
        try:
            value = getattr(model, name)(*values, sender=sender)
        except Revert as revert:
            refused = revert
        self.twin.seen.end(refused is None)
        if refused is not None:
            reason = refused.reason
            assert not got.ok, f"{target}.{name} succeeds, the model says {reason!r}"
            expected = abi.error_string(reason) if reason else b""
            assert got.output == expected, abi.revert_reason(got.output)
            return False, reason
        assert got.ok, f"{target}.{name} reverts, the model does not: {got.output!r}"
        known = {address for address, _ in self.twin._encoders}
        events = [event for event in self.system.chain.events if event.address in known]
        expected_logs = self.twin.logs_of(events)
        assert [log for log in got.logs if log[0] in known] == expected_logs
        if value is not None:
            plain = value.address if isinstance(value, Contract) else value
            assert got.output == abi.word(plain)
        return True, value

    def _words(self) -> set[tuple[str, int, int]]:
        return {word for word in self.twin.all_words() if word[2]}

    def _target(self, name: str) -> Any:
        return self._others.get(name) or getattr(self.system, name)

    def _set_hook(self, call: Any, target: str, data: bytes) -> None:
        owner = ADDRESSES["owner_0"]
        self._set_time()
        token = self.system.token
        encoded = abi.selector("set_hook(address,bytes)") + abi.arguments(
            ["address", "bytes"], [target, data]
        )
        assert self.engine.call(owner, token.address, encoded).ok
        token.set_hook(call, sender=owner)
        self.twin.hook = "set by hand" if call else "none"
        self.twin.seen.token_is_sound = call is None

    def _set_time(self) -> None:
        if self.checker._at != self.now:
            self.engine.set_time(self.now)
            self.checker._at = self.now
        self.system.chain.timestamp = self.twin.now = self.now

    def _resolve(self, value: Any) -> Any:
        if not isinstance(value, str) or value.startswith("0x"):
            return value
        if value in ADDRESSES:
            return ADDRESSES[value]
        found = getattr(self.system, value, None)
        return value if found is None else found.address


def _functions(contract_abi: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Argument types by function."""
    return {
        item["name"]: [_type(entry) for entry in item["inputs"]]
        for item in contract_abi
        if item["type"] == "function"
    }


def _type(entry: dict[str, Any]) -> str:
    kind: str = entry["type"]
    if kind.startswith("tuple"):
        inside = ",".join(_type(part) for part in entry["components"])
        return f"({inside}){kind[5:]}"
    return kind


def _flat(value: Any) -> Iterator[Any]:
    """Fields of a record of the model, one after the other, as the ABI encodes static ones."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from _flat(item)
    elif hasattr(value, "__slots__") and not isinstance(value, int | str):
        for name in value.__slots__:
            yield from _flat(getattr(value, name))
    else:
        yield value


__all__ = ["ANY", "CALM", "PARAMS", "PRICE", "RISK", "ROLES", "BothForms"]

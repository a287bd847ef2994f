"""A feed in both forms with a market that only takes notes: every call is compared."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode as abi_encode

from lockstep import abi
from lockstep.compiler import Artifact, compile_vyper
from lockstep.engines import GENESIS_TIME, Engine, open_engine
from python_model.evm import ZERO_ADDRESS, Chain, Contract, Revert, external

ROOT = Path(__file__).resolve().parents[2]
WAD = 10**18

ROLES = ("factory", "configurator", "keeper", "attacker")
ADDRESSES = {role: f"0x{0xFEED << 144 | i + 1:040x}" for i, role in enumerate(ROLES)}

# Views that the model has no words for, and what the mock answers as raw bytes.
NOT_STATE = ("version", "eip712Domain", "latestRoundData", "decimals")

STUB_PATH = "tests/contracts/stub_market.vy"
STUB_SOURCE = """\
# pragma version 0.4.3
interface Feed:
    def latest_price() -> (uint256, uint256, uint256): view

event Settled:
    recipient: indexed(address)
    price: uint256
    confidence: uint256
    price_time: uint256

settled: public(uint256)
is_refusing: public(bool)

@external
def set_refusing(is_refusing: bool):
    self.is_refusing = is_refusing

@external
def settle(feed: Feed):
    self._settle(feed, msg.sender)

@external
def update_price(recipient: address) -> uint256:
    self._settle(Feed(msg.sender), recipient)
    return self.settled

@external
def forward(target: address, data: Bytes[2_048]):
    raw_call(target, data)

@internal
def _settle(feed: Feed, recipient: address):
    price: uint256 = 0
    confidence: uint256 = 0
    price_time: uint256 = 0
    price, confidence, price_time = staticcall feed.latest_price()
    self.settled += 1
    assert not self.is_refusing, "the market refuses"
    log Settled(
        recipient=recipient, price=price, confidence=confidence, price_time=price_time
    )
"""


class StubMarket(Contract):
    """Mirror of the source above."""

    def __init__(self, chain: Chain, address: str) -> None:
        super().__init__(chain, address)
        self.settled = 0
        self.is_refusing = False

    @external
    def set_refusing(self, is_refusing: bool, *, sender: str) -> None:
        self.is_refusing = is_refusing

    @external
    def settle(self, feed: Any, *, sender: str) -> None:
        self._settle(feed, sender)

    @external
    def update_price(self, recipient: str, *, sender: str) -> int:
        feed = next(item for item in self.chain.contracts if item.address == sender)
        self._settle(feed, recipient)
        return self.settled

    def _settle(self, feed: Any, recipient: str) -> None:
        price, confidence, price_time = feed.latest_price()
        self.settled += 1
        if self.is_refusing:
            raise Revert("the market refuses")
        self.log("Settled", recipient, price, confidence, price_time)


@cache
def artifact(name: str) -> Artifact:
    """A compiled contract, or the stub."""
    if name == "StubMarket":
        return compile_vyper(STUB_PATH, root=ROOT, overrides={STUB_PATH: STUB_SOURCE})
    return compile_vyper(f"contracts/{name}.vy", root=ROOT)


class FeedForms:
    """An engine, a chain of the model, and the contracts that are on both."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or open_engine("revm")
        self.chain = Chain()
        self.now = 0
        self.set_time(GENESIS_TIME + 1_000)
        self._kinds: dict[str, str] = {}

    def set_time(self, timestamp: int) -> None:
        """Time of the calls that follow."""
        self.engine.set_time(timestamp)
        self.now = self.chain.timestamp = timestamp

    def deploy(self, kind: str, model: type[Contract], *args: Any) -> Any:
        """A contract in both forms; its model, which stands for both."""
        compiled = artifact(kind)
        inputs = next(
            (item["inputs"] for item in compiled.abi if item["type"] == "constructor"), []
        )
        types = [_type(item) for item in inputs]
        encoded = abi_encode(types, [_plain(arg) for arg in args])
        address = self.engine.deploy(compiled.initcode + encoded, ADDRESSES["factory"])
        self._kinds[address] = kind
        return model(self.chain, address, *args)

    def does(self, role: str, contract: Any, function: str, *args: Any) -> Any:
        """The call succeeds in both forms; its value in the model."""
        reason, value = self.call(role, contract, function, *args)
        assert reason is None, f"{function} by {role} reverts: {reason}"
        return value

    def refuses(self, reason: str, role: str, contract: Any, function: str, *args: Any) -> None:
        """Both forms revert for this reason; nothing has changed in either."""
        assert reason, "a promised reason is not empty"
        before = self.state(contract)
        found, _ = self.call(role, contract, function, *args)
        assert found == reason
        assert self.state(contract) == before

    def call(self, role: str, contract: Any, function: str, *args: Any) -> tuple[str | None, Any]:
        """Reason and value, after comparing outcome, return value, events and state."""
        sender = ADDRESSES[role]
        data = self.calldata(contract, function, *args)
        got = self.engine.call(sender, contract.address, data)
        assert not got.halted, got.halted
        reason, value = _attempt(lambda: getattr(contract, function)(*args, sender=sender))
        if reason is not None:
            assert not got.ok, f"{function} succeeds, the model says {reason!r}"
            expected = abi.error_string(reason) if reason else b""
            assert got.output == expected, abi.revert_reason(got.output)
            self.state(contract)
            return reason, None
        assert got.ok, f"{function} reverts: {abi.revert_reason(got.output)}"
        assert got.output == (b"" if value is None else abi.word(value))
        assert got.logs == [self.log_of(event) for event in self.chain.events]
        self.state(contract)
        return None, value

    def view(self, contract: Any, function: str, *args: Any) -> Any:
        """What a view gives, equal in both forms; a reason in place of a value if it reverts."""
        got = self.engine.view(contract.address, self.calldata(contract, function, *args))
        assert not got.halted, got.halted
        found = getattr(contract, function)
        reason, value = _attempt(lambda: found(*args) if callable(found) else found)
        if reason is not None:
            assert not got.ok, f"{function} answers, the model says {reason!r}"
            assert got.output == abi.error_string(reason), abi.revert_reason(got.output)
            return reason
        assert got.ok, f"{function} reverts: {abi.revert_reason(got.output)}"
        outputs = self._entry(contract, function)["outputs"]
        plain = [_plain(value)] if len(outputs) == 1 else [_plain(item) for item in value]
        assert got.output == abi_encode([_type(item) for item in outputs], plain), function
        return value

    def state(self, contract: Any) -> dict[str, Any]:
        """Every view without arguments, equal in both forms."""
        return {
            item["name"]: self.view(contract, item["name"])
            for item in artifact(self._kinds[contract.address]).abi
            if item["type"] == "function"
            and item["stateMutability"] in ("view", "pure")
            and not item["inputs"]
            and item["name"] not in NOT_STATE
        }

    def calldata(self, contract: Any, function: str, *args: Any) -> bytes:
        """ABI encoding; a contract of the model stands for its address."""
        types = [_type(item) for item in self._entry(contract, function)["inputs"]]
        encoded = abi_encode(types, [_plain(arg) for arg in args])
        return abi.selector(f"{function}({','.join(types)})") + encoded

    def log_of(self, event: Any) -> Any:
        """An event of the model as the contract logs it."""
        for item in artifact(self._kinds[event.address]).abi:
            if item["type"] == "event" and item["name"] == event.name:
                fields = ", ".join(
                    f"{field['type']} {'indexed ' if field['indexed'] else ''}{field['name']}"
                    for field in item["inputs"]
                )
                return abi.Event(f"{event.name}({fields})")(event.address, *event.fields)
        raise AssertionError(f"the contract has no event {event.name}")

    def _entry(self, contract: Any, name: str) -> dict[str, Any]:
        compiled = artifact(self._kinds[contract.address])
        return next(item for item in compiled.abi if item.get("name") == name)


def _attempt(call: Callable[[], Any]) -> tuple[str | None, Any]:
    """Reason and value of a call of the model."""
    try:
        return None, call()
    except Revert as revert:
        return revert.reason, None


def _type(entry: dict[str, Any]) -> str:
    kind: str = entry["type"]
    if kind.startswith("tuple"):
        inside = ",".join(_type(part) for part in entry["components"])
        return f"({inside}){kind[5:]}"
    return kind


def _plain(value: Any) -> Any:
    """Addresses for contracts of the model; None is the zero address."""
    if value is None:
        return ZERO_ADDRESS
    if isinstance(value, Contract):
        return value.address
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value

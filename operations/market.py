"""One market of a deployment, as its publisher and its keeper see it: addresses, questions, calls.

Only the functions that they use, written as signatures, so that neither needs a compiler;
tests/live holds them to the contracts' ABI.
"""

from typing import Any, NamedTuple

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import ContractLogicError

from lockstep.abi import revert_reason, selector
from lockstep.errors import InputError
from operations.manifest import Manifest

WAD = 10**18
TEST_AGGREGATOR = "testing/AggregatorMock"  # whose rounds anybody may set
Tag = int | str  # a block: its number or a name


class Reverted(Exception):
    """A contract says no; the text is its reason."""


class Function:
    """A function of a contract: Function("open(uint256,bool)", "uint256")."""

    def __init__(self, signature: str, *outputs: str) -> None:
        self.signature = signature
        self.outputs = outputs
        self.inputs = _types(signature[signature.index("(") + 1 : -1])
        self.selector = selector(signature)

    def __call__(self, *values: Any) -> bytes:
        """Calldata."""
        return self.selector + encode(self.inputs, values)

    def decode(self, output: bytes) -> Any:
        """The value that it returned, or a tuple of several. Reverted if it is none of these."""
        try:
            values = decode(self.outputs, output)
        except DecodingError:
            raise Reverted(f"no answer to {self.signature}") from None
        return values[0] if len(values) == 1 else values


def _types(text: str) -> list[str]:
    """Types separated by commas outside brackets."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append(text[start:place])
            start = place + 1
    return [*found, text[start:]] if text else []


# Of the market
UPDATE_PRICE = Function("update_price(address)", "uint256")
CONTINUE_BACKLOG = Function("continue_backlog(uint256)", "uint256")
LIQUIDATE = Function("liquidate(uint256)")
SETTLE = Function("settle(uint256)")
WITHDRAW_CREDIT = Function("withdraw_credit()", "uint256")
CREDIT_OF = Function("credit_of(address)", "uint256")
MARKS = Function(
    "marks()",
    "(uint256,uint256,uint256,uint256,int256[2],"
    "(uint256[4],int256[2],uint256,uint256,uint256,uint256))",
)
TOTALS = Function("totals()", f"(uint256,uint256,bool,bool,int256,{','.join(['uint256'] * 7)})")
FEED, POOL, ENGINE, TOKEN = (
    Function(f"{name}()", "address") for name in ("feed", "pool", "engine", "token")
)
DECIMALS = Function("decimals()", "uint8")  # of the token
# Of the engine
PARAMS = Function(
    "params()",
    f"({','.join(['uint256'] * 4)},uint256[4],uint256[4],{','.join(['uint256'] * 7)},"
    f"uint256[2],uint256[2],{','.join(['uint256'] * 6)})",
)
MAX_CONFIDENCE = 11  # its place among the parameters
# Of the lens
STATUS = Function(
    "status(address)",
    "(uint256,uint256,bool,bool,bool,bool,bool,"
    "(uint256,uint256,uint256,uint256,uint256,uint256),bool,uint256,uint256,uint256,bool)",
)
NEXT_TO_LIQUIDATE = Function("next_to_liquidate(address,uint256)", "uint256[]")
NEAREST_TO_LIQUIDATION = Function("nearest_to_liquidation(address,uint256)", "uint256[]")
# Of a feed of signed reports
PUBLISH = Function(
    "publish((uint256,bytes32,uint256,uint256),(int256,uint256,uint256,uint256)[])", "uint256"
)
LATEST_PRICE = Function("latest_price()", "uint256", "uint256", "uint256")
PUBLISHERS = Function("publishers()", "address[]")
QUORUM = Function("quorum()", "uint256")
FEED_ID = Function("FEED_ID()", "bytes32")
FEED_DECIMALS = Function("DECIMALS()", "uint256")
# Of a feed that reads an aggregator, and of that
AGGREGATOR = Function("AGGREGATOR()", "address")
HEARTBEAT = Function("HEARTBEAT()", "uint256")
LATEST_ROUND = Function("latestRoundData()", "uint80", "int256", "uint256", "uint256", "uint80")
SET_ROUND = Function("set_round(uint256,int256,uint256,uint256,uint256)")
AGGREGATOR_DECIMALS = Function("decimals()", "uint256")


class Status(NamedTuple):
    """Of the lens; without the breakers. Prices WAD, times in seconds of the chain."""

    price: int
    price_time: int
    is_priced: bool
    is_halted: bool
    is_restricted: bool
    is_expired: bool
    has_backlog: bool
    breaker: tuple[int, ...]
    is_feed_answering: bool
    feed_price: int
    feed_confidence: int
    feed_time: int
    has_newer_price: bool


class Target(NamedTuple):
    """Addresses of one market and what belongs to it, and the decimals of its token."""

    market: str
    lens: str
    feed: str
    engine: str
    token: str
    decimals: int
    test_aggregator: str | None = None  # one whose rounds anybody may set


def ask(web3: Web3, to: str, function: Function, *values: Any, block: Tag = "latest") -> Any:
    """What a view answers. Reverted if the contract refuses."""
    return function.decode(raw_ask(web3, to, function(*values), block=block))


def raw_ask(
    web3: Web3, to: str | None, data: bytes, *, sender: str | None = None, block: Tag = "latest"
) -> bytes:
    """What a call, or with no `to` the running of initcode, returns without being sent."""
    fields: dict[str, Any] = {"data": "0x" + data.hex()}
    for name, address in (("to", to), ("from", sender)):
        if address is not None:
            fields[name] = web3.to_checksum_address(address)
    try:
        return bytes(web3.eth.call(fields, block))  # type: ignore[arg-type]  # a plain dict
    except ContractLogicError as error:
        raise Reverted(reason_of(error)) from None


def estimate_gas(web3: Web3, sender: str, to: str, data: bytes, block: Tag = "latest") -> int:
    """Gas that a call needs. Reverted if it would fail."""
    fields: dict[str, Any] = {
        "from": web3.to_checksum_address(sender),
        "to": web3.to_checksum_address(to),
        "data": "0x" + data.hex(),
    }
    try:
        return int(web3.eth.estimate_gas(fields, block))  # type: ignore[arg-type]  # a plain dict
    except ContractLogicError as error:
        raise Reverted(reason_of(error)) from None


def reason_of(error: ContractLogicError) -> str:
    """The contract's own word, without what the node adds."""
    data = error.data
    if isinstance(data, str) and data.startswith("0x") and len(data) > 2:
        return revert_reason(bytes(HexBytes(data))).strip("'")
    return str(error.message or error).removeprefix("execution reverted: ")


def status_of(web3: Web3, target: Target, block: Tag = "latest") -> Status:
    """The lens' answer: what is possible now and why."""
    return Status(*ask(web3, target.lens, STATUS, target.market, block=block))


def target_of(web3: Web3, manifest: Manifest, market: str | None = None) -> Target:
    """The market that is meant. InputError when the chain is another than the manifest's."""
    chain_id = int(web3.eth.chain_id)
    if chain_id != manifest.chain_id:
        raise InputError(
            f"chain_id: the manifest is of chain {manifest.chain_id}, the node of {chain_id}; "
            "choose the other one with --network or --manifest"
        )
    name = manifest.market_name(market)
    address, lens = manifest.at(f"market:{name}").address, manifest.at("lens").address
    for key, place in ((f"market:{name}", address), ("lens", lens)):
        if not web3.eth.get_code(web3.to_checksum_address(place)):
            raise InputError(
                f"contracts.{key}: no code at {place}; is the manifest of this chain? "
                "`ape run deploy verify` tells"
            )
    found = target_at(web3, address, lens)
    return found._replace(test_aggregator=_test_aggregator(web3, manifest, found.feed))


def target_at(web3: Web3, market: str, lens: str) -> Target:
    """The rest of a market's addresses, as it tells them. InputError where it is no market."""
    try:
        feed, engine, token = (ask(web3, market, part) for part in (FEED, ENGINE, TOKEN))
        decimals = int(ask(web3, token, DECIMALS))
        ask(web3, lens, STATUS, market)
    except Reverted as error:
        raise InputError(
            f"market {market} with lens {lens}: no answer as a market's ({error}); "
            "check the manifest with `ape run deploy verify`"
        ) from None
    return Target(market, lens, feed, engine, token, decimals)


def _test_aggregator(web3: Web3, manifest: Manifest, feed: str) -> str | None:
    """The aggregator that a feed reads, if the deployment made it for tests."""
    try:
        address = str(ask(web3, feed, AGGREGATOR)).lower()
    except Reverted:
        return None
    for contract in manifest.contracts.values():
        if contract.address == address and contract.contract == TEST_AGGREGATOR:
            return address
    return None

"""Patience with a node: it fails, answers late or with garbage, sets limits, goes away, comes back.

A question is asked again until it is answered or patience ends. What may have happened although no
answer came is asked again only where a second time does no harm: a signed transaction has one
nonce.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from hexbytes import HexBytes
from urllib3.exceptions import NewConnectionError
from web3 import Web3
from web3.exceptions import TransactionIndexingInProgress, TransactionNotFound
from web3.middleware import Web3Middleware
from web3.types import RPCEndpoint, RPCResponse

from lockstep.abi import keccak

LAYER = "patience"
FIRST_DELAY, LONGEST_DELAY = 0.05, 5.0
# What changes something and is not made harmless by a nonce: never asked twice unless it is
# certain that the first was not heard.
ONCE = ("eth_sendTransaction", "eth_sendTransactionSync", "evm_", "anvil_", "hardhat_", "miner_")
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
NOT_HEARD_STATUS = frozenset({429, 503})
# Codes of limits and of a node that is starting or overrun; texts of those that have no code.
BUSY_CODES = frozenset({-32005, -32016, 429})
BUSY_TEXTS = (
    "rate limit",
    "too many requests",
    "limit exceeded",
    "capacity",
    "timeout",
    "timed out",
    "temporarily",
    "try again",
    "header not found",
    "unavailable",
)
KNOWN_TEXTS = ("already known", "already imported", "known transaction", "alreadyknown")


class NodeError(ConnectionError):
    """The node has not answered within all patience: one line with what failed and what to do."""


class Stopped(Exception):
    """Whoever waited was asked to stop."""


class Block(NamedTuple):
    """What is asked of a block. Fees in wei of the native coin; none before EIP-1559."""

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    gas_limit: int
    base_fee: int | None


@dataclass
class Policy:
    """How long to be patient, and what went wrong so far.

    `seconds` is for one question, `timeout` for one attempt. Setting `stop` ends all waiting.
    """

    seconds: float = 120.0
    timeout: float = 10.0
    stop: threading.Event = field(default_factory=threading.Event)
    failures: Counter[str] = field(default_factory=Counter)
    on_failure: Callable[[str], None] = lambda kind: None

    def pause(self, seconds: float) -> None:
        """Wait; Stopped as soon as that is asked for."""
        if self.stop.wait(seconds):
            raise Stopped

    def note(self, kind: str) -> None:
        """Count a failure."""
        self.failures[kind] += 1
        self.on_failure(kind)


class _Failure(NamedTuple):
    kind: str
    text: str
    was_heard: bool  # it may have been
    wait: float = 0.0  # seconds the node has asked for


class Patience(Web3Middleware):
    """The innermost layer of a web3."""

    def __init__(self, w3: Any, policy: Policy) -> None:
        super().__init__(w3)
        self._policy = policy

    def wrap_make_request(
        self, make_request: Callable[[RPCEndpoint, Any], RPCResponse]
    ) -> Callable[[RPCEndpoint, Any], RPCResponse]:
        def ask(method: RPCEndpoint, params: Any) -> RPCResponse:
            answer: RPCResponse = self._ask(method, params, lambda: make_request(method, params))
            return answer

        return ask

    def wrap_make_batch_request(self, make_batch_request: Any) -> Any:
        def ask(questions: list[tuple[RPCEndpoint, Any]]) -> Any:
            methods = {method for method, _ in questions}
            name = RPCEndpoint("+".join(sorted(methods)))
            return self._ask(name, None, lambda: make_batch_request(questions))

        return ask

    def _ask(self, method: RPCEndpoint, params: Any, ask: Callable[[], Any]) -> Any:
        policy = self._policy
        is_once = any(name.startswith(ONCE) for name in method.split("+"))
        began, delay = time.monotonic(), FIRST_DELAY
        while True:
            answer, failure = _attempt(ask)
            if failure is None:
                return _as_sent(method, params, answer)
            policy.note(failure.kind)
            left = policy.seconds - (time.monotonic() - began)
            wait = max(delay * random.uniform(0.5, 1.5), failure.wait)
            if is_once and failure.was_heard:
                raise NodeError(
                    f"{self._name()}: {method}: {failure.text}; whether it was done is not known: "
                    "look before trying again"
                )
            if wait > left:
                raise NodeError(
                    f"{self._name()}: {method}: {failure.text}, for {policy.seconds:g} s; "
                    "check the node, or choose another with --network"
                )
            policy.pause(wait)
            delay = min(2 * delay, LONGEST_DELAY)

    def _name(self) -> str:
        return endpoint_name(self._w3)


def endpoint_name(web3: Any) -> str:
    """Host and port of the node: the rest of its address may be somebody's key."""
    uri = getattr(web3.provider, "endpoint_uri", None)
    parts = urlsplit(str(uri)) if uri else None
    return parts.netloc.rpartition("@")[2] if parts and parts.netloc else "the node"


def _attempt(ask: Callable[[], Any]) -> tuple[Any, _Failure | None]:
    """One attempt: its answer, or what went wrong."""
    try:
        answer = ask()
    except requests.HTTPError as error:
        status = error.response.status_code
        if status not in RETRIED_STATUS:
            raise NodeError(
                f"the node answers with HTTP status {status}; check the address of the network"
            ) from None
        kind = "rate limit" if status == 429 else "status"
        wait = _retry_after(error.response.headers)
        is_heard = status not in NOT_HEARD_STATUS
        return None, _Failure(kind, f"HTTP status {status}", is_heard, wait)
    except requests.Timeout as error:
        was_heard = not isinstance(error, requests.ConnectTimeout)
        return None, _Failure("timeout", "no answer in time", was_heard)
    except requests.RequestException as error:
        return None, _Failure("connection", "no connection", not _was_refused(error))
    except (ValueError, TypeError):  # no JSON, or nothing at all
        return None, _Failure("garbage", "an answer that is no JSON", True)
    if isinstance(answer, dict) and not {"result", "error"} & answer.keys():
        return None, _Failure("garbage", "an answer without a result", True)
    told = answer.get("error") if isinstance(answer, dict) else None
    if told and is_busy(told):
        return None, _Failure("rate limit", f"{_text(told)!r}", False)
    return answer, None


def is_busy(error: Any) -> bool:
    """Whether an error of JSON-RPC says to come back later."""
    text = _text(error).lower()
    if "revert" in text:  # a contract's own words
        return False
    code = error.get("code") if isinstance(error, Mapping) else None
    return code in BUSY_CODES or any(part in text for part in BUSY_TEXTS)


def _text(error: Any) -> str:
    return str(error.get("message", error)) if isinstance(error, Mapping) else str(error)


def _was_refused(error: requests.RequestException) -> bool:
    """Whether nobody listened, so that nothing can have been heard."""
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, NewConnectionError)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _as_sent(method: str, params: Any, answer: Any) -> Any:
    """A transaction that the node knows already has been sent."""
    if method != "eth_sendRawTransaction" or "error" not in answer:
        return answer
    if not is_known(_text(answer["error"])):
        return answer
    sent = "0x" + keccak(bytes(HexBytes(params[0]))).hex()
    return {"jsonrpc": "2.0", "id": answer.get("id"), "result": sent}


def is_known(text: str) -> bool:
    """Whether a node says that it has this very transaction."""
    lower = text.lower()
    return any(part in lower for part in KNOWN_TEXTS)


def patient(web3: Web3, policy: Policy | None = None) -> Web3:
    """The same web3; its questions are now asked until they are answered (NodeError if never)."""
    policy = policy or Policy()
    onion = web3.middleware_onion
    if LAYER in onion:
        onion.remove(LAYER)
    layer: Any = partial(Patience, policy=policy)  # web3 only calls it
    onion.inject(layer, LAYER, layer=0)
    if isinstance(web3.provider, Web3.HTTPProvider):
        provider: Any = web3.provider
        provider.exception_retry_configuration = None  # one of us waits, and it can be stopped
        provider._request_kwargs = {**(provider._request_kwargs or {}), "timeout": policy.timeout}
    return web3


def connect(address: str, policy: Policy | None = None) -> Web3:
    """A patient web3 for a node that speaks HTTP."""
    return patient(Web3(Web3.HTTPProvider(address)), policy)


def block_of(web3: Web3, block: int | str = "latest") -> Block:
    """A block by number or name, without its transactions."""
    found: Any = web3.eth.get_block(block)  # type: ignore[arg-type]  # web3 takes names
    return Block(
        int(found["number"]),
        bytes(found.get("hash") or b""),  # the pending block has none
        bytes(found["parentHash"]),
        int(found["timestamp"]),
        int(found["gasLimit"]),
        found.get("baseFeePerGas"),
    )


def receipt_of(web3: Web3, transaction: bytes) -> Any:
    """The receipt of a transaction; None while it is in no block that the node knows."""
    try:
        return web3.eth.get_transaction_receipt(HexBytes(transaction))
    except (TransactionNotFound, TransactionIndexingInProgress):
        return None


def is_in_pool(web3: Web3, transaction: bytes) -> bool:
    """Whether the node knows the transaction, mined or waiting."""
    try:
        web3.eth.get_transaction(HexBytes(transaction))
    except (TransactionNotFound, TransactionIndexingInProgress):
        return False
    return True

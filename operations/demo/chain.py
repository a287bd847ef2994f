"""A chain of one's own: anvil, which makes a block when it is told to, and a clock that tells it.

The chain's time is the tape's: a block every `step` seconds of it, `interval` of ours apart.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3

from lockstep.engines.anvil import AnvilNode
from lockstep.engines.base import EngineError
from operations.rpc import NodeError, Policy, patient

GAS_LIMIT = 100_000_000  # a price that liquidates as much as one call may takes a few millions
CALL_GAS = 2_000_000  # for anything a trader does
TOGETHER = 16  # transactions of a block: what tracing one costs grows with their square


class LocalChain:
    """anvil on a free port, with unlocked accounts that have native coins."""

    def __init__(
        self, timestamp: int, chain_id: int, accounts: int, log: Path, policy: Policy
    ) -> None:
        flags = f"--chain-id {chain_id} --accounts {accounts}"
        flags += f" --hardfork cancun --gas-limit {GAS_LIMIT} --timestamp {timestamp}"
        # A day of demonstration at two blocks a second; the states of a few minutes.
        flags += " --transaction-block-keeper 200000 --prune-history 2000"
        with log.open("wb") as output:
            self._node = AnvilNode(flags, output)
        self.url = self._node.url
        self.web3 = patient(Web3(HTTPProvider(self.url)), policy)
        probe = HTTPProvider(self.url, exception_retry_configuration=None)
        self._node.wait(lambda: probe.make_request("eth_chainId", []), RequestException)
        self.accounts = [address.lower() for address in self.ask("eth_accounts")]

    def ask(self, method: str, *params: Any) -> Any:
        """The answer of the node, as it is."""
        try:
            answer = self.web3.provider.make_request(method, params)  # type: ignore[arg-type]
        except RequestException as error:
            raise NodeError(f"anvil at {self.url} does not answer: {error}") from None
        if "error" in answer:
            raise EngineError(f"anvil: {method}: {answer['error']['message']}")
        return answer["result"]

    def send(self, sender: str, to: str, data: bytes) -> str:
        """Hash of a transaction of an unlocked account, on its way."""
        return str(self.ask("eth_sendTransaction", _fields(sender, to, data)))

    def transact(self, calls: Sequence[tuple[str, str, bytes]]) -> None:
        """Senders, targets and calldata, all mined. From then on the chain mines only when it is
        told to."""
        self.ask("evm_setAutomine", False)
        for first in range(0, len(calls), TOGETHER):
            sent = [self.send(*call) for call in calls[first : first + TOGETHER]]
            self.ask("evm_mine")
            receipts = [self.ask("eth_getTransactionReceipt", one) for one in sent]
            if any(receipt is None or receipt["status"] != "0x1" for receipt in receipts):
                raise EngineError("anvil: a transaction that sets up the market has failed")

    def mine(self, timestamp: int) -> None:
        """A block of this time, with what has arrived."""
        self.ask("evm_setNextBlockTimestamp", timestamp)
        self.ask("evm_mine")

    def close(self) -> None:
        self._node.close()


def _fields(sender: str, to: str, data: bytes) -> dict[str, str]:
    return {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": hex(CALL_GAS)}


class Clock:
    """Makes blocks at a steady pace. `now` is the time of the last one."""

    def __init__(self, chain: LocalChain, start: int, step: int, interval: float) -> None:
        self._chain = chain
        self._step = step
        self._interval = interval
        self.now = start

    def run(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set."""
        due = time.monotonic()
        while not stop.is_set():
            self._chain.mine(self.now + self._step)
            self.now += self._step
            due = max(due + self._interval, time.monotonic())
            stop.wait(due - time.monotonic())

"""Transactions that outlive the process: noted down, signed, before they are sent.

What is noted has one nonce. Whoever finds the note sends the very same transaction again, so
however often it is interrupted, it happens once. One transaction is under way at a time.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import TxParams

from lockstep.abi import keccak
from lockstep.errors import InputError
from operations.accounts import NONCE_USED, UNDERPRICED, Fee, Sender, Signer
from operations.manifest import Attempt, Pending
from operations.rpc import block_of, is_in_pool, receipt_of

POLL = 0.05  # seconds between two looks at first; four times as long with every ten looks
LONGEST_POLL = 3.0
ESTIMATES = 5  # a second apart
MISSED = 20  # looks at a nonce that is used, by a transaction that the node does not show


class DeployError(RuntimeError):
    """The chain did not do what was rehearsed."""


class Outbox:
    """`keep` writes the note down, `passed` is told each boundary: "factory noted", "factory
    sent", "factory mined"."""

    def __init__(
        self,
        web3: Web3,
        signer: Signer,
        keep: Callable[[Pending | None], None],
        passed: Callable[[str], None],
        say: Callable[[str], None],
        patience: float = 90.0,
    ) -> None:
        self._web3 = web3
        self._signer = signer
        self._keep = keep
        self._passed = passed
        self._say = say
        self._patience = patience
        self._fees = Sender(web3, signer)

    def nonce(self) -> int:
        """Of the next transaction: after those that are mined or wait to be."""
        return self._count("pending")

    def fee(self) -> Fee:
        """What is enough now."""
        return self._fees.fee()

    def send(self, key: str, to: str | None, data: bytes) -> Any:
        """The receipt of a new transaction; None if another one took its nonce."""
        asked: TxParams = {"from": self._checksum(self._signer.address), "data": HexBytes(data)}
        if to is not None:
            asked["to"] = self._checksum(to)
        gas = self._gas(key, asked)
        pending = Pending(key, self.nonce(), to, "0x" + data.hex(), gas, [])
        return self._see_through(self._attempt(pending, self.fee()))

    def _gas(self, key: str, asked: TxParams) -> int:
        """A limit. Asked more than once: behind one address may be nodes of which one is late."""
        for left in range(ESTIMATES, 0, -1):
            try:
                gas = int(self._web3.eth.estimate_gas(asked))
            except (ValueError, Web3RPCError) as error:
                if left == 1:
                    raise DeployError(f"{key}: the node expects it to fail: {error}") from None
                time.sleep(1)
            else:
                break
        # An eighth more: what a call hands on is a share of what is left.
        return min(gas + gas // 8, block_of(self._web3).gas_limit)

    def resume(self, pending: Pending) -> Any:
        """The receipt of what an earlier process has noted; None if its nonce went elsewhere."""
        for attempt in pending.attempts:
            self._bring(pending, attempt)
        self._passed(f"{pending.key} sent")
        return self._see_through(pending)

    def _count(self, block: str) -> int:
        address = self._checksum(self._signer.address)
        return int(self._web3.eth.get_transaction_count(address, block))  # type: ignore[arg-type]

    def _attempt(self, pending: Pending, fee: Fee) -> Pending:
        """Signs, notes, sends."""
        raw = self._signer.sign_transaction(self._fields(pending, fee))
        attempt = Attempt("0x" + keccak(raw).hex(), "0x" + raw.hex(), fee.most, fee.tip)
        pending = replace(pending, attempts=[*pending.attempts, attempt])
        self._keep(pending)
        self._passed(f"{pending.key} noted")
        self._bring(pending, attempt)
        self._passed(f"{pending.key} sent")
        return pending

    def _fields(self, pending: Pending, fee: Fee) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "chainId": int(self._web3.eth.chain_id),
            "nonce": pending.nonce,
            "gas": pending.gas,
            "data": pending.data,
            "value": 0,
        }
        if pending.to is not None:
            fields["to"] = self._checksum(pending.to)
        if fee.is_legacy:
            return fields | {"gasPrice": fee.most}
        return fields | {"type": 2, "maxFeePerGas": fee.most, "maxPriorityFeePerGas": fee.tip}

    def _checksum(self, address: str) -> ChecksumAddress:
        return self._web3.to_checksum_address(address)

    def _bring(self, pending: Pending, attempt: Attempt) -> None:
        try:
            self._web3.eth.send_raw_transaction(HexBytes(attempt.raw))
        except Web3RPCError as error:
            text = str(error.message).lower()
            if "insufficient funds" in text:
                raise InputError(
                    f"--account {self._signer.address}: cannot pay for {pending.key}: fund it"
                ) from None
            if not any(part in text for part in (*NONCE_USED, *UNDERPRICED)):
                raise DeployError(f"{pending.key}: the node refuses it: {error.message}") from None

    def _see_through(self, pending: Pending) -> Any:
        """Waits for one of the attempts, bringing them again when they are lost, and another one
        at a higher fee when it takes too long."""
        began, looks, missed = time.monotonic(), 0, 0
        while missed < MISSED:
            is_used = self._count("latest") > pending.nonce
            for attempt in pending.attempts:
                receipt = receipt_of(self._web3, HexBytes(attempt.transaction))
                if receipt is not None:
                    self._passed(f"{pending.key} mined")
                    return receipt
            missed += is_used
            looks += 1
            time.sleep(min(POLL * 4 ** (looks // 10), LONGEST_POLL))
            if not is_used and looks % 10 == 0:
                self._bring_lost(pending)
            if not is_used and time.monotonic() - began > self._patience:
                self._say(f"{pending.key}: not mined yet; sent again at a higher fee")
                pending = self._attempt(pending, self._higher_fee(pending))
                began = time.monotonic()
        return None

    def _bring_lost(self, pending: Pending) -> None:
        known = (is_in_pool(self._web3, HexBytes(a.transaction)) for a in pending.attempts)
        if not any(known):
            for attempt in pending.attempts:
                self._bring(pending, attempt)

    def _higher_fee(self, pending: Pending) -> Fee:
        last, now = pending.attempts[-1], self.fee()
        bumped = Fee(last.most, last.tip, now.is_legacy).bumped()
        return Fee(max(now.most, bumped.most), max(now.tip, bumped.tip), now.is_legacy)

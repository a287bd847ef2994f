"""Transactions of one account: signed here, numbered without gaps, sent until one of them is mined.

A transaction is in flight from the moment it is signed until a receipt is seen, whatever the node
answers meanwhile: it is brought again when the node has dropped it or a reorganisation has thrown
it out, and brought at a higher fee under the same number when it takes too long. So nothing happens
twice, and no gap is left behind which later ones would wait for ever.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from eth_account.messages import SignableMessage
from eth_account.signers.base import BaseAccount
from web3 import Web3
from web3.exceptions import Web3RPCError
from web3.types import RPCEndpoint

from lockstep.abi import keccak
from lockstep.errors import InputError
from operations.rpc import Block, Policy, block_of, is_in_pool, receipt_of

GWEI = 10**9
# What a node asks for before it puts one transaction in the place of another: 10 %, rarely 12.5 %.
BUMP_MILLI = 1_130
MOST_TIMES = 10  # what the node suggests: who outbids that is waited for
REMEMBERED = 64  # transactions mined that a reorganisation may bring back
MISSED = 3  # looks at a number that is used, by a transaction that the node does not show
UNDERPRICED = ("underpriced", "less than block base fee", "fee too low", "gas price too low")
NONCE_USED = ("nonce too low", "nonce is too low", "old nonce", "invalid nonce")


class SendError(InputError):
    """A transaction that the node refuses, and would refuse again."""


class Signer(Protocol):
    """Whoever holds a key."""

    @property
    def address(self) -> str:
        """With checksum."""

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """The transaction as it is sent. InputError if its holder says no."""

    def sign_message(self, message: SignableMessage) -> tuple[int, int, int]:
        """v (27 or 28), r and s. InputError if its holder says no."""


class LocalSigner:
    """An account of eth_account: for tests and demonstrations."""

    def __init__(self, account: BaseAccount) -> None:
        self._account = account
        self.address = str(account.address)

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        return bytes(self._account.sign_transaction(fields).raw_transaction)

    def sign_message(self, message: SignableMessage) -> tuple[int, int, int]:
        signed = self._account.sign_message(message)
        return signed.v, signed.r, signed.s


class ApeSigner:
    """An account of ape. A key file has to be unlocked before (`set_autosign`)."""

    def __init__(self, account: Any) -> None:
        self._account = account
        self.address = str(account.address)

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        ecosystem = self._account.network_manager.ethereum
        # No confirmations: whoever sends it looks for its receipt.
        transaction = ecosystem.create_transaction(
            **fields, sender=self.address, required_confirmations=0
        )
        signed = self._account.sign_transaction(transaction)
        if signed is None:
            raise InputError(f"account {self._account.alias} did not sign; unlock it and confirm")
        return bytes(signed.serialize_transaction())

    def sign_message(self, message: SignableMessage) -> tuple[int, int, int]:
        signed = self._account.sign_message(message)
        if signed is None:
            raise InputError(f"account {self._account.alias} did not sign; unlock it and confirm")
        return signed.v, int.from_bytes(signed.r, "big"), int.from_bytes(signed.s, "big")


def signer_of(account: Any) -> Signer:
    """The same interface for accounts of ape and of eth_account."""
    if isinstance(account, BaseAccount):
        return LocalSigner(account)
    return ApeSigner(account)


class Call(NamedTuple):
    """What a transaction does. `refresh`, if there is one, is asked for what to send in its place
    whenever it is sent again: a price that has grown old is not worth sending."""

    label: str
    to: str
    data: bytes
    gas: int
    refresh: Callable[[], "Call"] | None = None


class Fee(NamedTuple):
    """Wei for a unit of gas: at most, and of it to whoever makes the block. Equal before
    EIP-1559."""

    most: int
    tip: int
    is_legacy: bool = False

    def bumped(self) -> "Fee":
        """Enough to take the place of one with this fee."""
        most, tip = (value * BUMP_MILLI // 1000 + 1 for value in self[:2])
        return Fee(most, tip, self.is_legacy)


@dataclass
class InFlight:
    """A transaction on its way: all its forms, by hash, under one number."""

    call: Call
    nonce: int
    fee: Fee
    forms: dict[bytes, bytes] = field(default_factory=dict)
    sent_at: float = 0.0
    looked_at: int = -1  # block
    missed: int = 0


class Result(NamedTuple):
    """What became of a transaction: "done", "reverted", or "replaced" by one that is not ours."""

    call: Call
    nonce: int
    status: str
    receipt: Any

    @property
    def gas_used(self) -> int:
        return int(self.receipt["gasUsed"]) if self.receipt else 0

    @property
    def block(self) -> int:
        return int(self.receipt["blockNumber"]) if self.receipt else 0

    @property
    def cost(self) -> int:
        """Wei."""
        if not self.receipt:
            return 0
        return self.gas_used * int(self.receipt.get("effectiveGasPrice", 0))


class Sender:
    """Sends the transactions of one account. `wait`: seconds until one is sent at a higher fee."""

    def __init__(
        self,
        web3: Web3,
        signer: Signer,
        policy: Policy | None = None,
        *,
        wait: float = 30.0,
        most_fee: int | None = None,
        on_event: Callable[[str], None] = lambda event: None,
    ) -> None:
        self._web3 = web3
        self.policy = policy or Policy()
        self._signer = signer
        self._wait = wait
        self._most_fee = most_fee
        self.on_event = on_event
        self._chain_id = int(web3.eth.chain_id)
        self._floor = 0  # the number after the last that was seen mined
        self._head: Block | None = None
        self._mined: deque[tuple[InFlight, int]] = deque(maxlen=REMEMBERED)
        self._is_fresh = True
        self._results: list[Result] = []  # not told yet: the node failed while looking at others
        self.in_flight: list[InFlight] = []

    @property
    def address(self) -> str:
        return self._signer.address

    def fee(self) -> Fee:
        """What is enough now: twice the base fee, and what the node suggests as tip."""
        base_fee = block_of(self._web3).base_fee
        if base_fee is None:
            price = int(self._web3.eth.gas_price)
            return Fee(price, price, True)
        tip = self._usual_tip()
        return Fee(2 * base_fee + tip, tip)

    def _usual_tip(self) -> int:
        """As the node suggests; what wallets begin with where it suggests none."""
        # Not by web3's own property, which warns when it works something out by itself.
        ask = self._web3.manager.request_blocking
        try:
            return int(ask(RPCEndpoint("eth_maxPriorityFeePerGas"), []), 16)
        except Web3RPCError:
            return GWEI

    def balance(self) -> int:
        """Wei of the native coin."""
        return int(self._web3.eth.get_balance(self._web3.to_checksum_address(self.address)))

    def check(self) -> None:
        """InputError when the account could send nothing."""
        if self.balance() == 0 and self.fee().most > 0:
            raise InputError(f"account {self.address} has no native coin to pay gas with; fund it")

    def send(self, call: Call) -> InFlight:
        """Signs and sends; it is in flight even if the node fails (NodeError). SendError if it
        will never be taken."""
        if self._is_fresh:
            self._await_strangers()
        usual = self.fee()
        fee = self._capped(usual, usual)
        flight = InFlight(call, self._next_nonce(), fee)
        self.in_flight.append(flight)
        self._bring(flight, call, fee)
        return flight

    def poll(self) -> list[Result]:
        """What has been decided since; what has been lost or takes too long is sent again."""
        if not self.in_flight and self._floor == 0:
            return []  # nothing sent yet
        head = block_of(self._web3)
        self._notice_reorganisation(head)
        count = self._count("latest") if self.in_flight else 0
        for flight in list(self.in_flight):
            result = self._decided(flight, count)
            if result is not None:
                self.in_flight.remove(flight)
                self._results.append(result)
                self.on_event(result.status)
            elif flight.missed == 0:
                self._push(flight, head)
        results, self._results = self._results, []
        return results

    def drain(self, seconds: float) -> list[Result]:
        """Polls until nothing is in flight, or time is over."""
        deadline = time.monotonic() + seconds
        results = self.poll()
        while self.in_flight and time.monotonic() < deadline:
            time.sleep(0.05)
            results += self.poll()
        return results

    def _count(self, block: str) -> int:
        address = self._web3.to_checksum_address(self.address)
        return int(self._web3.eth.get_transaction_count(address, block))  # type: ignore[arg-type]

    def _next_nonce(self) -> int:
        last = self.in_flight[-1].nonce + 1 if self.in_flight else 0
        return max(self._count("latest"), self._floor, last)

    def _await_strangers(self) -> None:
        """Lets what an earlier run has sent be mined; what is stuck is then replaced."""
        deadline = time.monotonic() + self._wait
        while self._count("pending") > self._count("latest") and time.monotonic() < deadline:
            self.policy.pause(0.2)
        self._is_fresh = False

    def _capped(self, fee: Fee, usual: Fee) -> Fee:
        """Not more than was allowed, and not more than a multiple of what is usual now."""
        most = max(usual.most, 1) * MOST_TIMES
        if self._most_fee is not None:
            most = min(most, self._most_fee)
        most_tip = min(most, max(usual.tip, 1) * MOST_TIMES)
        return Fee(min(fee.most, most), min(fee.tip, most_tip), fee.is_legacy)

    def _sign(self, flight: InFlight, call: Call, fee: Fee) -> bytes:
        """Another form of it, which it has from now on."""
        fields: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": flight.nonce,
            "to": self._web3.to_checksum_address(call.to),
            "value": 0,
            "data": "0x" + call.data.hex(),
            "gas": call.gas,
        }
        if fee.is_legacy:
            fields["gasPrice"] = fee.most
        else:
            fields |= {"type": 2, "maxFeePerGas": fee.most, "maxPriorityFeePerGas": fee.tip}
        raw = self._signer.sign_transaction(fields)
        flight.forms[keccak(raw)] = raw
        flight.call, flight.fee, flight.sent_at = call, fee, time.monotonic()
        return raw

    def _bring(self, flight: InFlight, call: Call, fee: Fee) -> None:
        """Signs and sends, at a higher fee as long as the node asks for one."""
        while True:
            known = len(flight.forms)
            if self._is_taken(flight, self._sign(flight, call, fee)):
                self.on_event("sent")
                return
            if len(flight.forms) > known:
                flight.forms.popitem()
            higher = self._capped(fee.bumped(), self.fee())
            if higher == fee:
                self.on_event("outbid")
                return
            fee = higher

    def _is_taken(self, flight: InFlight, raw: bytes) -> bool:
        """Whether the node has it, or will show why not; False if it asks for a higher fee."""
        try:
            self._web3.eth.send_raw_transaction(raw)
        except Web3RPCError as error:
            text = str(error.message).lower()
            if any(part in text for part in UNDERPRICED):
                return False
            if any(part in text for part in NONCE_USED):
                return True  # by one of its forms, or by a stranger's: poll tells
            if "insufficient funds" in text:
                self._forget(flight, f"account {self.address} cannot pay for gas; fund it")
            self._forget(flight, f"the node refuses it: {error.message}")
        return True

    def _forget(self, flight: InFlight, reason: str) -> None:
        if len(flight.forms) <= 1 and flight is self.in_flight[-1]:
            self.in_flight.remove(flight)
        raise SendError(f"{flight.call.label}, transaction {flight.nonce}: {reason}")

    def _decided(self, flight: InFlight, count: int) -> Result | None:
        """What became of it, if that is known. `count` was asked for before."""
        if count <= flight.nonce:
            flight.missed = 0
            return None
        for form in reversed(flight.forms):
            receipt = receipt_of(self._web3, form)
            if receipt is not None:
                self._floor = max(self._floor, flight.nonce + 1)
                self._mined.append((flight, int(receipt["blockNumber"])))
                status = "done" if receipt["status"] else "reverted"
                return Result(flight.call, flight.nonce, status, receipt)
        # Its number is used. One node of several may not show the receipt yet.
        flight.missed += 1
        if flight.missed < MISSED:
            return None
        self._floor = max(self._floor, flight.nonce + 1)
        return Result(flight.call, flight.nonce, "replaced", None)

    def _push(self, flight: InFlight, head: Block) -> None:
        """Sends it again if it was lost, at a higher fee if it is late."""
        is_first = flight is self.in_flight[0]
        if is_first and time.monotonic() - flight.sent_at >= self._wait:
            self.on_event("bumped")
            self._replace(flight)
        elif head.number != flight.looked_at:
            flight.looked_at = head.number
            if not any(is_in_pool(self._web3, form) for form in flight.forms):
                self.on_event("dropped")
                self._again(flight)

    def _again(self, flight: InFlight) -> None:
        """As it was, or what it has become."""
        if flight.call.refresh is not None or not flight.forms:
            self._replace(flight)
            return
        raw = next(reversed(flight.forms.values()))
        flight.sent_at = time.monotonic()
        if not self._is_taken(flight, raw):
            self._replace(flight)

    def _replace(self, flight: InFlight) -> None:
        call = flight.call.refresh() if flight.call.refresh is not None else flight.call
        now, higher = self.fee(), flight.fee.bumped()
        fee = Fee(max(now.most, higher.most), max(now.tip, higher.tip), now.is_legacy)
        self._bring(flight, call, self._capped(fee, now))

    def _notice_reorganisation(self, head: Block) -> None:
        """Takes back into flight what was mined in blocks that are no more."""
        last, self._head = self._head, head
        if last is None or head.hash == last.hash or head.parent == last.hash:
            return
        if head.number > last.number and block_of(self._web3, last.number).hash == last.hash:
            return
        vanished = [
            flight
            for flight, _ in self._mined
            if not any(receipt_of(self._web3, form) is not None for form in flight.forms)
        ]
        self.on_event("reorganisation")
        if not vanished:
            self._floor = 0
            return
        self._mined = deque(
            (entry for entry in self._mined if entry[0] not in vanished), maxlen=REMEMBERED
        )
        for flight in vanished:
            flight.missed, flight.looked_at = 0, -1
        self._floor = min(flight.nonce for flight in vanished)
        self.in_flight = sorted([*vanished, *self.in_flight], key=lambda flight: flight.nonce)

"""py-evm: slow, and exact about gas. Every call is a transaction of its own with cold storage."""

from typing import cast

from eth.abc import ComputationAPI, SignedTransactionAPI
from eth.constants import BLANK_ROOT_HASH
from eth.db.atomic import AtomicDB
from eth.exceptions import Revert
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun import CancunVM
from eth.vm.forks.cancun.state import CancunState
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32

from lockstep.engines.base import (
    CHAIN_ID,
    GAS_LIMIT,
    GENESIS_TIME,
    VIEWER,
    EngineError,
    Outcome,
    PlainMatches,
)

ZERO = Address(bytes(20))


class _Transaction(SpoofTransaction):
    """An unsigned transaction from any sender: a signature would change nothing but the time."""

    def validate(self) -> None:
        pass


class PyEvmEngine(PlainMatches):
    name = "pyevm"
    gas_is_real = True

    def __init__(self, gas_limit: int = GAS_LIMIT) -> None:
        self._gas = gas_limit
        self._time = GENESIS_TIME
        self._number = 0
        self._db = AtomicDB()
        self._roots: list[tuple[Hash32, int]] = []
        self._state = self._open(BLANK_ROOT_HASH)

    def _open(self, root: Hash32) -> CancunState:
        return CancunState(self._db, self._context(), root)

    def _context(self) -> ExecutionContext:
        return ExecutionContext(
            coinbase=ZERO,
            timestamp=self._time,
            block_number=BlockNumber(self._number),
            difficulty=0,
            mix_hash=Hash32(bytes(32)),
            gas_limit=GAS_LIMIT,
            prev_hashes=(),
            chain_id=CHAIN_ID,
            base_fee_per_gas=0,
            excess_blob_gas=0,
        )

    def _run(self, sender: str, to: bytes, data: bytes) -> tuple[ComputationAPI, int]:
        state = self._state
        state.execution_context = self._context()
        origin = bytes.fromhex(sender[2:])
        unsigned = CancunVM.get_transaction_builder().create_unsigned_transaction(
            nonce=state.get_nonce(Address(origin)),
            gas_price=0,
            gas=self._gas,
            to=Address(to),
            value=0,
            data=data,
        )
        transaction = cast(SignedTransactionAPI, _Transaction(unsigned, from_=origin))
        computation = state.apply_transaction(transaction)
        return computation, CancunVM.finalize_gas_used(transaction, computation)

    def _begin(self) -> None:
        self._number += 1
        self._state.lock_changes()  # a new transaction: all storage and all addresses are cold

    def deploy(self, initcode: bytes, sender: str) -> str:
        self._begin()
        computation, _ = self._run(sender, b"", initcode)
        if computation.is_error:
            raise EngineError(f"pyevm: deployment failed: {computation.error!r}")
        return "0x" + computation.msg.storage_address.hex()

    def call(self, sender: str, to: str, data: bytes) -> Outcome:
        self._begin()
        computation, gas = self._run(sender, bytes.fromhex(to[2:]), data)
        return self._outcome(computation, gas)

    def _outcome(self, computation: ComputationAPI, gas: int) -> Outcome:
        if computation.is_error:
            error = computation.error
            if isinstance(error, Revert):
                return Outcome(False, computation.output, [], "", gas)
            return Outcome(False, b"", [], f"{type(error).__name__}: {error}", gas)
        logs = [
            ("0x" + address.hex(), tuple(topic.to_bytes(32, "big") for topic in topics), data)
            for address, topics, data in computation.get_log_entries()
        ]
        return Outcome(True, computation.output, logs, "", gas)

    def view(self, to: str, data: bytes, sender: str = VIEWER) -> Outcome:
        state = self._state
        state.lock_changes()
        before = state.snapshot()
        computation, _ = self._run(sender, bytes.fromhex(to[2:]), data)
        state.revert(before)
        return self._outcome(computation, 0)._replace(logs=[])

    def storage(self, address: str, slot: int) -> int:
        return self._state.get_storage(Address(bytes.fromhex(address[2:])), slot)

    def set_time(self, timestamp: int) -> None:
        if timestamp < self._time:
            raise EngineError(f"pyevm: time may not go back from {self._time} to {timestamp}")
        self._time = timestamp

    def snapshot(self) -> int:
        self._state.lock_changes()
        self._state.persist()
        self._roots.append((self._state.state_root, self._time))
        return len(self._roots) - 1

    def revert(self, snapshot: int) -> None:
        if not 0 <= snapshot < len(self._roots):
            raise EngineError(f"pyevm: snapshot {snapshot} was used up or never taken")
        root, self._time = self._roots[snapshot]
        del self._roots[snapshot:]
        self._state = self._open(root)

    def code(self, address: str) -> bytes:
        return self._state.get_code(Address(bytes.fromhex(address[2:])))

    def close(self) -> None:
        self._roots.clear()

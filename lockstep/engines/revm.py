"""revm in this process, through pyrevm 0.3.7: the fast engine.

pyrevm keeps one endless transaction open. Hence slots stay warm (its gas is not that of separate
transactions and is not reported), transient storage must be cleared by hand after every call, and
the undo journal grows by about 650 bytes a call. commit() is never called: without a matching
snapshot it breaks every later call. Instead the state is moved into a fresh EVM now and then,
which drops the journal and keeps memory flat (see _compact).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env, JournalCheckpoint

from lockstep.engines.base import (
    CHAIN_ID,
    GAS_LIMIT,
    GENESIS_TIME,
    PROBES,
    VIEWER,
    EngineError,
    Log,
    Outcome,
)

COMPACT_EVERY = 100_000  # calls; about 65 MB of journal for a small contract
PADDING = 33  # zero bytes that revm's code analysis appends
_SMALL = "0x" + "0" * 30  # how the addresses of probes begin
_ACCOUNT = re.compile(
    r"(0x[0-9a-f]{40}): Account \{ info: AccountInfo \{ balance: (\d+), nonce: (\d+)"
)
_SLOT = re.compile(
    r"(\d+): StorageSlot \{ previous_or_original_value: \d+, present_value: (\d+) \}"
)
_make = tuple.__new__  # of a NamedTuple: a third of the time its constructor takes


@lru_cache(maxsize=1 << 10)
def _ends_with(output: bytes) -> str:
    return f" output: 0x{output.hex()} }}"


class _LowerCase(dict[str, str]):
    """Checksummed address -> lower case, worked out once."""

    def __missing__(self, address: str) -> str:
        self[address] = lower = address.lower()
        return lower


class RevmEngine:
    name = "revm"
    gas_is_real = False

    def __init__(self, gas_limit: int = GAS_LIMIT, compact_every: int = COMPACT_EVERY) -> None:
        self._gas = gas_limit
        self._compact_every = compact_every
        self._calls = 0
        self._time = 0
        self._number = 0
        self._checkpoints: list[tuple[JournalCheckpoint, int]] = []
        self._accounts: dict[str, tuple[int, int, bytes, dict[int, int]]] = {}
        self._lower = _LowerCase()
        self._code_limit: int | None = None  # that of EIP-170
        self._probed: set[int] = set()
        self._open()
        self.set_time(GENESIS_TIME)

    def _open(self) -> None:
        # The name is case-sensitive and unknown names silently mean the latest fork.
        config = CfgEnv(chain_id=CHAIN_ID, limit_contract_code_size=self._code_limit)
        env = Env(cfg=config)
        self._evm = EVM(env=env, gas_limit=2**63, spec_id="Cancun")
        self._message_call = self._evm.message_call
        self.storage: Callable[[str, int], int] = self._evm.storage  # no wrapper: it is hot

    def take_probes(self) -> None:
        self._code_limit = 0xFFFF  # what a jump of Vyper's reaches
        self._open()
        self.set_time(self._time)

    def probed(self) -> set[int]:
        # The database keeps every account that was ever looked up.
        for address in self._evm.db_accounts:
            if address.startswith(_SMALL) and (number := int(address, 16)) in PROBES:
                self._probed.add(number)
        return self._probed

    def deploy(self, initcode: bytes, sender: str) -> str:
        try:
            address = self._evm.deploy(sender, initcode)
        except RuntimeError as error:
            raise EngineError(f"revm: deployment failed: {error}") from None
        self._evm.reset_transient_storage()
        return address.lower()

    def call(self, sender: str, to: str, data: bytes) -> Outcome:
        self._calls += 1
        if self._calls >= self._compact_every and not self._checkpoints:
            self._compact()
        evm = self._evm
        try:
            output = self._message_call(sender, to, data, None, self._gas)
        except RuntimeError as error:
            return self._failure(str(error))
        evm.reset_transient_storage()
        result = evm.result
        assert result is not None
        lower = self._lower
        logs: list[Log] = []
        for log in result.logs:
            topics, body = log.data
            logs.append((lower[log.address], tuple(topics), body))
        return _make(Outcome, (True, output, logs, "", 0))

    def matches(
        self, sender: str, to: str, data: bytes, ok: bool, output: bytes, logs: list[Log], /
    ) -> bool:
        self._calls += 1
        if self._calls >= self._compact_every and not self._checkpoints:
            self._compact()
        try:
            got = self._message_call(sender, to, data, None, self._gas)
        except RuntimeError as error:
            if ok:
                return False
            # The text ends with the data: nothing needs to be decoded to compare it.
            text = str(error)
            return text.startswith("Revert {") and text.endswith(_ends_with(output))
        evm = self._evm
        evm.reset_transient_storage()
        if not ok or got != output:
            return False
        result = evm.result
        assert result is not None
        found = result.logs
        if len(found) != len(logs):
            return False
        for log, (address, topics, body) in zip(found, logs):  # noqa: B905 - strict takes time
            got_topics, got_body = log.data
            if (
                got_body != body
                or tuple(got_topics) != topics
                or self._lower[log.address] != address
            ):
                return False
        return True

    def _failure(self, text: str) -> Outcome:
        # "Revert { gas_used: 1, output: 0x.. }" or "Halt { reason: OutOfGas(Basic), gas_used: 1 }";
        # pyrevm raises the same exception for both, and for errors of its own.
        if text.startswith("Revert {"):
            start = text.index("output: 0x") + 10
            return Outcome(False, bytes.fromhex(text[start : text.index(" ", start)]), [], "", 0)
        if text.startswith("Halt {"):
            start = text.index("reason: ") + 8
            return Outcome(False, b"", [], text[start : text.index(", gas_used", start)], 0)
        raise EngineError(f"revm: {text}")

    def view(self, to: str, data: bytes, sender: str = VIEWER) -> Outcome:
        checkpoint = self._evm.snapshot()
        try:
            return Outcome(True, self._message_call(sender, to, data, None, self._gas), [], "", 0)
        except RuntimeError as error:
            return self._failure(str(error))
        finally:
            self._evm.revert(checkpoint)
            self._evm.reset_transient_storage()

    def set_time(self, timestamp: int) -> None:
        if timestamp < self._time:
            raise EngineError(f"revm: time may not go back from {self._time} to {timestamp}")
        self._time = timestamp
        self._number = number = self._number + 1
        self._evm.set_block_env(BlockEnv(number=number, timestamp=timestamp, gas_limit=GAS_LIMIT))

    def snapshot(self) -> int:
        self._checkpoints.append((self._evm.snapshot(), self._time))
        if len(self._checkpoints) > 1_000:  # revm's call depth limit is 1,024
            raise EngineError("revm: more than 1,000 nested snapshots; revert some first")
        return len(self._checkpoints) - 1

    def revert(self, snapshot: int) -> None:
        if not 0 <= snapshot < len(self._checkpoints):
            raise EngineError(f"revm: snapshot {snapshot} was used up or never taken")
        while len(self._checkpoints) > snapshot:
            checkpoint, self._time = self._checkpoints.pop()
            self._evm.revert(checkpoint)
        self._evm.reset_transient_storage()
        self.set_time(self._time)

    def code(self, address: str) -> bytes:
        known = self._accounts.get(address)
        if known is not None and known[2]:
            return known[2]  # moved code carries no padding until it has run
        return bytes(self._evm.get_code(address) or b"")[:-PADDING]

    def close(self) -> None:
        self._checkpoints.clear()

    def _compact(self) -> None:
        """Move the state into a fresh EVM.

        pyrevm has no export; the only way to learn every touched slot is the debug text of the
        journal, whose form is fixed by the pinned version. It is checked as it is read.
        """
        self.probed()
        text = self._evm.journal_str
        end = text.index("}, transient_storage: {}, logs: [")
        heads = list(_ACCOUNT.finditer(text, 0, end))
        if len(heads) != text.count(": Account { info:", 0, end):
            raise EngineError("revm: the journal has a form this version of pyrevm should not have")
        bounds = pairwise([*(head.start() for head in heads), end])
        for head, (_, stop) in zip(heads, bounds, strict=True):
            address, balance, nonce = head[1], int(head[2]), int(head[3])
            if address.startswith(_SMALL) and int(address, 16) in PROBES:
                continue
            slots = self._accounts[address][3] if address in self._accounts else {}
            found = _SLOT.findall(text, head.end(), stop)
            if len(found) != text.count("StorageSlot {", head.end(), stop):
                raise EngineError("revm: a storage slot of the journal could not be read")
            for slot, value in found:
                if value == "0":
                    slots.pop(int(slot), None)
                else:
                    slots[int(slot)] = int(value)
            self._accounts[address] = (balance, nonce, self.code(address), slots)
        del text
        self._open()
        for address, (balance, nonce, code, slots) in self._accounts.items():
            self._evm.insert_account_info(address, AccountInfo(nonce=nonce, code=code or None))
            if balance:
                self._evm.set_balance(address, balance)
            for slot, value in slots.items():
                self._evm.insert_account_storage(address, slot, value)
        self._calls = 0
        self.set_time(self._time)

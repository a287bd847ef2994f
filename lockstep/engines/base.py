"""What every engine offers, and how one is opened by name."""

from typing import NamedTuple, Protocol, runtime_checkable

ENGINES = ("revm", "pyevm", "anvil")

# Equal on all engines, so that EIP-712 domains, deadlines and out-of-gas limits agree.
CHAIN_ID = 31_337
GENESIS_TIME = 1_577_836_800  # 2020-01-01T00:00:00Z
GAS_LIMIT = 30_000_000  # of one transaction

VIEWER = "0x" + "00" * 19 + "01"  # who asks for views, if nobody is named

# Addresses that only probes ask for; which of them were asked for is what a contract ran.
PROBES = range(0xC0 << 32, 0xC1 << 32)

Log = tuple[str, tuple[bytes, ...], bytes]  # address in lower case, topics, data


class EngineError(RuntimeError):
    """The engine itself failed. Never used for something the contract did."""


class Outcome(NamedTuple):
    ok: bool
    output: bytes  # return data, or revert data
    logs: list[Log]
    halted: str  # "" or the reason of an exceptional halt; a halt is never equal to a revert
    gas: int  # 0 when the engine does not report the gas of a separate transaction


class Engine(Protocol):
    name: str
    gas_is_real: bool

    def deploy(self, initcode: bytes, sender: str) -> str:
        """Address (lower case) of the new contract; EngineError if it reverts or halts."""

    def call(self, sender: str, to: str, data: bytes) -> Outcome:
        """One transaction."""

    def matches(
        self, sender: str, to: str, data: bytes, ok: bool, output: bytes, logs: list[Log], /
    ) -> bool:
        """One transaction, and whether it ends like this: cheaper than `call` where it can be."""

    def view(self, to: str, data: bytes, sender: str = VIEWER) -> Outcome:
        """The same without leaving anything behind (like eth_call). gas is always 0."""

    def storage(self, address: str, slot: int, /) -> int: ...

    def set_time(self, timestamp: int) -> None:
        """Block timestamp of the next call. It may not go back, except by revert()."""

    def snapshot(self) -> int: ...

    def revert(self, snapshot: int) -> None:
        """Back to the snapshot, time included. It is used up, with all taken after it."""

    def code(self, address: str) -> bytes: ...

    def close(self) -> None: ...


@runtime_checkable
class ProbedEngine(Engine, Protocol):
    """One on which contracts with probes (lockstep.coverage) say what they ran."""

    def take_probes(self) -> None:
        """Accept code with probes, which make it larger than a chain would take. Before any use."""

    def probed(self) -> set[int]:
        """The addresses of probes that any call so far asked for, reverted or not."""


class PlainMatches:
    """`matches` for an engine that has no cheaper way than `call`."""

    def matches(
        self: "Engine", sender: str, to: str, data: bytes, ok: bool, output: bytes, logs: list[Log]
    ) -> bool:
        got = self.call(sender, to, data)
        return got.ok is ok and not got.halted and got.output == output and got.logs == logs


def open_engine(name: str, gas_limit: int = GAS_LIMIT) -> Engine:
    """A fresh engine with an empty state."""
    if name == "revm":
        from lockstep.engines.revm import RevmEngine

        return RevmEngine(gas_limit)
    if name == "pyevm":
        from lockstep.engines.pyevm import PyEvmEngine

        return PyEvmEngine(gas_limit)
    if name == "anvil":
        from lockstep.engines.anvil import AnvilEngine

        return AnvilEngine(gas_limit)
    raise ValueError(f"no engine {name!r}: choose one of {', '.join(ENGINES)}")

"""A contract that passes calls on: a role whose msg.sender is not the tx.origin."""

from functools import lru_cache
from pathlib import Path

from lockstep import abi
from lockstep.compiler import compile_vyper

LARGEST = 4_096  # bytes of a call, or of what comes back
SOURCE = f"""\
# pragma version 0.4.3

@external
@raw_return
def forward(target: address, data: Bytes[{LARGEST}]) -> Bytes[{LARGEST}]:
    return raw_call(target, data, max_outsize={LARGEST})
"""
_FORWARD = abi.selector("forward(address,bytes)")
_OFFSET = abi.word(64)


@lru_cache(maxsize=4)
def relay_code(root: str | Path) -> bytes:
    """Initcode, compiled with the cache below root. A revert passes through as it is."""
    return compile_vyper("Relay.vy", root=root, overrides={"Relay.vy": SOURCE}).initcode


def forwarded(target: str, data: bytes) -> bytes:
    """Calldata for the relay to call the target with `data`."""
    padding = bytes(-len(data) % 32)
    return b"".join([_FORWARD, abi.word(target), _OFFSET, abi.word(len(data)), data, padding])

"""A deployment carried out in an EVM of this process, before or after it is done on the chain.

The same code runs in the same order at the same addresses under the same chain id, so it ends as
the chain must: the code that every constructor leaves, immutables included, and what getters say.
Contracts that are there already are stood in for by code that answers `decimals`, all that a
constructor asks of them.
"""

import time
from typing import NamedTuple

from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env

from lockstep import abi
from lockstep.engines.base import GAS_LIMIT, VIEWER
from lockstep.engines.revm import PADDING
from operations.codec import artifact_of, constructor_inputs, encoded

# The deterministic deployment proxy that most networks have: salt and initcode in, address out.
CREATE2_DEPLOYER = "0x4e59b44847b379578588920ca78fbf26c0b4956c"
CREATE2_DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0360160008160208237803582823"
    "4f58015156039578182fd5b8082525050506014600cf3"
)


class RehearsalError(RuntimeError):
    """What was rehearsed would fail on the chain."""


class Ran(NamedTuple):
    """What came of a transaction."""

    output: bytes  # of a creation, the address
    gas: int


class Rehearsal:
    """The chain as far as the deployer sees it. `nonce` is that of the deployer's first
    transaction."""

    def __init__(self, chain_id: int, deployer: str, nonce: int) -> None:
        env = Env(cfg=CfgEnv(chain_id=chain_id))
        self._evm = EVM(env=env, gas_limit=2**63, spec_id="Cancun")
        block = BlockEnv(number=1, timestamp=int(time.time()), gas_limit=GAS_LIMIT)
        self._evm.set_block_env(block)
        self._deployer = deployer
        self._placed: dict[str, bytes] = {}
        self._evm.insert_account_info(deployer, AccountInfo(nonce=nonce))
        self.place(CREATE2_DEPLOYER, CREATE2_DEPLOYER_CODE)

    def place(self, address: str, code: bytes) -> None:
        """Puts code where the chain has some already."""
        self._placed[address] = code
        self._evm.insert_account_info(address, AccountInfo(nonce=1, code=code))

    def create2(self, salt: bytes, initcode: bytes) -> Ran:
        """Through the deterministic deployer."""
        return self.call(CREATE2_DEPLOYER, salt + initcode)

    def create(self, initcode: bytes, nonce: int) -> Ran:
        """From the deployer's account, with this nonce, which is higher than those before."""
        while self._evm.basic(self._deployer).nonce < nonce:
            self._evm.deploy(self._deployer, b"")  # a transaction that was something else
        try:
            address = self._evm.deploy(self._deployer, initcode, gas=GAS_LIMIT)
        except RuntimeError as error:
            raise RehearsalError(_reason(str(error))) from None
        return Ran(bytes.fromhex(address[2:]), self._gas())

    def call(self, to: str, data: bytes) -> Ran:
        """A transaction of the deployer."""
        try:
            output = self._evm.message_call(self._deployer, to, data, None, GAS_LIMIT)
        except RuntimeError as error:
            raise RehearsalError(_reason(str(error))) from None
        return Ran(bytes(output), self._gas())

    def _gas(self) -> int:
        self._evm.reset_transient_storage()
        result = self._evm.result
        assert result is not None
        return int(result.gas_used)

    def view(self, to: str, data: bytes) -> bytes:
        """What a view answers."""
        return bytes(self._evm.message_call(VIEWER, to, data, None, GAS_LIMIT))

    def code(self, address: str) -> bytes:
        """Runtime code."""
        if address in self._placed:
            return self._placed[address]
        return bytes(self._evm.get_code(address) or b"")[:-PADDING]


def stand_in(decimals: int) -> bytes:
    """Code that answers `decimals`."""
    artifact = artifact_of("testing/TokenMock")
    rehearsal = Rehearsal(1, VIEWER, 0)
    initcode = artifact.initcode + encoded(constructor_inputs(artifact), [decimals])
    return rehearsal.code("0x" + rehearsal.create(initcode, 0).output.hex())


def _reason(text: str) -> str:
    """The reason of a failure, from the text of the engine's error."""
    if "output: 0x" not in text:
        return text
    start = text.index("output: 0x") + 10
    return abi.revert_reason(bytes.fromhex(text[start : text.index(" ", start)]))

"""Mirror of contracts/modules/token_transfer.vy. `this` is the calling contract's address."""

from typing import Protocol

from python_model.evm import Storage
from python_model.modules import errors


class Token(Protocol):
    """What the contracts ask of their collateral."""

    address: str
    decimals: int
    balanceOf: Storage[str, int]
    allowance: Storage[tuple[str, str], int]

    def transfer(self, receiver: str, amount: int, *, sender: str) -> bool: ...

    def transferFrom(self, sender_: str, receiver: str, amount: int, *, sender: str) -> bool: ...


def _pull(token: Token, sender: str, amount: int, this: str) -> None:
    errors._require(token.allowance[sender, this] >= amount, errors.ALLOWANCE_TOO_LOW)
    errors._require(token.balanceOf[sender] >= amount, errors.BALANCE_TOO_LOW)
    before = token.balanceOf[this]
    errors._require(
        token.transferFrom(sender, this, amount, sender=this),
        errors.TRANSFER_FAILED,
    )
    errors._require(token.balanceOf[this] >= before + amount, errors.CREDITED_LESS)


def _push(token: Token, receiver: str, amount: int, this: str) -> None:
    if amount > 0:
        errors._require(
            token.transfer(receiver, amount, sender=this),
            errors.TRANSFER_FAILED,
        )

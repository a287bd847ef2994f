# pragma version 0.4.3
"""
@title TokenMock
@license AGPL-3.0-only
@notice ERC-20 for tests; it can be made to misbehave.
@custom:kill For tests only.
"""

from contracts.testing import token_ledger

initializes: token_ledger
exports: token_ledger.__interface__

version: public(constant(String[8])) = "0.1.0"

decimals: public(immutable(uint8))


@deploy
def __init__(decimals_: uint8):
    """
    @notice A token with any decimals.
    """
    decimals = decimals_


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Sets an allowance.
    """
    token_ledger._approve(msg.sender, spender, amount)
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    """
    @notice Moves tokens; with a fee above the whole it says no instead.
    """
    if token_ledger.fee_bps > 10_000:
        return False
    token_ledger._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    """
    @notice Moves tokens of another within the allowance; says no like `transfer`.
    """
    if token_ledger.fee_bps > 10_000:
        return False
    token_ledger._spend(sender, msg.sender, amount)
    token_ledger._move(sender, receiver, amount)
    return True

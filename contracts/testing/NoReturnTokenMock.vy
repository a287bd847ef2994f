# pragma version 0.4.3
"""
@title NoReturnTokenMock
@license AGPL-3.0-only
@notice Token for tests whose transfers return nothing, as USDT's.
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
def approve(spender: address, amount: uint256):
    """
    @notice Sets an allowance.
    """
    token_ledger._approve(msg.sender, spender, amount)


@external
def transfer(receiver: address, amount: uint256):
    """
    @notice Moves tokens.
    """
    token_ledger._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256):
    """
    @notice Moves tokens of another within the allowance.
    """
    token_ledger._spend(sender, msg.sender, amount)
    token_ledger._move(sender, receiver, amount)

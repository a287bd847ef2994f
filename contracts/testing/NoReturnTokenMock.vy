# pragma version 0.4.3
"""
@title NoReturnTokenMock
@license AGPL-3.0-only
@notice Token for tests whose transfers return nothing, as USDT's.
@custom:kill For tests only.
"""

from ethereum.ercs import IERC20

version: public(constant(String[8])) = "0.1.0"

decimals: public(immutable(uint8))
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(decimals_: uint8):
    """
    @notice A token with any decimals.
    """
    decimals = decimals_


@external
def mint(receiver: address, amount: uint256):
    """
    @notice Creates tokens.
    """
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log IERC20.Transfer(sender=empty(address), receiver=receiver, value=amount)


@external
def approve(spender: address, amount: uint256):
    """
    @notice Sets an allowance.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)


@external
def transfer(receiver: address, amount: uint256):
    """
    @notice Moves tokens.
    """
    self._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256):
    """
    @notice Moves tokens of another within the allowance; the largest allowance never shrinks.
    """
    allowed: uint256 = self.allowance[sender][msg.sender]
    if allowed != max_value(uint256):
        self.allowance[sender][msg.sender] = allowed - amount
    self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256):
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log IERC20.Transfer(sender=sender, receiver=receiver, value=amount)

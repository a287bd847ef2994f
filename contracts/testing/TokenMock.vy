# pragma version 0.4.3
"""
@title TokenMock
@license AGPL-3.0-only
@notice ERC-20 for tests: anyone mints; may keep a fee on transfers and call back before one.
@custom:kill For tests only.
"""

from ethereum.ercs import IERC20

implements: IERC20

version: public(constant(String[8])) = "0.1.0"

decimals: public(immutable(uint8))
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])

# Taken from what the receiver is credited, basis points.
fee_bps: public(uint256)
hook_target: public(address)
hook_calldata: public(Bytes[260])


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
def set_fee(fee_bps: uint256):
    """
    @notice Keeps a fee on every transfer from now on.
    """
    self.fee_bps = fee_bps


@external
def set_hook(target: address, calldata_: Bytes[260]):
    """
    @notice Calls `target` in every transfer from now on; the zero address stops it.
    """
    self.hook_target = target
    self.hook_calldata = calldata_


@external
def approve(spender: address, amount: uint256) -> bool:
    """
    @notice Sets an allowance.
    """
    self.allowance[msg.sender][spender] = amount
    log IERC20.Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    """
    @notice Moves tokens.
    """
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    """
    @notice Moves tokens of another within the allowance; the largest allowance never shrinks.
    """
    allowed: uint256 = self.allowance[sender][msg.sender]
    if allowed != max_value(uint256):
        self.allowance[sender][msg.sender] = allowed - amount
    self._move(sender, receiver, amount)
    return True


@internal
def _move(sender: address, receiver: address, amount: uint256):
    if self.hook_target != empty(address):
        raw_call(self.hook_target, self.hook_calldata)
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount - amount * self.fee_bps // 10_000
    log IERC20.Transfer(sender=sender, receiver=receiver, value=amount)

# pragma version 0.4.3
"""
@title Ledger of the test tokens
@notice Anyone mints; may keep a fee on transfers and call back before one.
"""

from ethereum.ercs import IERC20

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])

# Taken from what the receiver is credited, basis points.
fee_bps: public(uint256)
hook_target: public(address)
hook_calldata: public(Bytes[260])


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
def seize(owner: address, amount: uint256):
    """
    @notice Takes tokens away from anyone, as no sound token does.
    """
    self.balanceOf[owner] -= amount
    self.balanceOf[msg.sender] += amount
    log IERC20.Transfer(sender=owner, receiver=msg.sender, value=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    self.allowance[owner][spender] = amount
    log IERC20.Approval(owner=owner, spender=spender, value=amount)


@internal
def _spend(owner: address, spender: address, amount: uint256):
    """
    @notice The largest allowance never shrinks.
    """
    allowed: uint256 = self.allowance[owner][spender]
    if allowed != max_value(uint256):
        self.allowance[owner][spender] = allowed - amount


@internal
def _move(sender: address, receiver: address, amount: uint256):
    if self.hook_target != empty(address):
        raw_call(self.hook_target, self.hook_calldata)
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount - amount * self.fee_bps // 10_000
    log IERC20.Transfer(sender=sender, receiver=receiver, value=amount)

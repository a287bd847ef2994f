# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title A plain ERC-20 whose owner mints up to a limit: what the vault of this example holds.
@license AGPL-3.0-only
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

MAX_SUPPLY: public(constant(uint256)) = 10**14

owner: public(address)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__():
    self.owner = msg.sender


@external
def mint(receiver: address, amount: uint256):
    assert msg.sender == self.owner, "not owner"
    assert self.totalSupply + amount <= MAX_SUPPLY, "over the limit"
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._move(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[owner][msg.sender]
    assert amount <= allowed, "allowance"
    self.allowance[owner][msg.sender] = allowed - amount
    self._move(owner, to, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
    return True


def _move(owner: address, to: address, amount: uint256):
    assert to != empty(address), "to nobody"
    assert amount <= self.balanceOf[owner], "balance"
    self.balanceOf[owner] -= amount
    self.balanceOf[to] += amount
    log Transfer(sender=owner, receiver=to, value=amount)

"""Model of Coin.vy."""

from typing import NamedTuple

from lockstep.mirror import ZERO_ADDRESS, Contract, HashMap, require, uint256


class Transfer(NamedTuple):
    sender: str
    receiver: str
    value: int


class Approval(NamedTuple):
    owner: str
    spender: str
    value: int


class Coin(Contract):
    EVENTS = (Transfer, Approval)
    MAX_SUPPLY = 10**14

    def __init__(self, *, sender: str) -> None:
        self.owner = sender
        self.totalSupply = 0
        self.balanceOf: HashMap[str, int] = HashMap(0)
        self.allowance: HashMap[tuple[str, str], int] = HashMap(0)

    def mint(self, receiver: str, amount: int, *, sender: str) -> None:
        require(sender == self.owner, "not owner")
        require(uint256(self.totalSupply + amount) <= self.MAX_SUPPLY, "over the limit")
        self.totalSupply += amount
        self.balanceOf[receiver] += amount
        self.log(Transfer(sender=ZERO_ADDRESS, receiver=receiver, value=amount))

    def transfer(self, to: str, amount: int, *, sender: str) -> bool:
        self._move(sender, to, amount)
        return True

    def transferFrom(self, owner: str, to: str, amount: int, *, sender: str) -> bool:
        allowed = self.allowance[owner, sender]
        require(amount <= allowed, "allowance")
        self.allowance[owner, sender] = allowed - amount
        self._move(owner, to, amount)
        return True

    def approve(self, spender: str, amount: int, *, sender: str) -> bool:
        self.allowance[sender, spender] = amount
        self.log(Approval(owner=sender, spender=spender, value=amount))
        return True

    def _move(self, owner: str, to: str, amount: int) -> None:
        require(to != ZERO_ADDRESS, "to nobody")
        require(amount <= self.balanceOf[owner], "balance")
        self.balanceOf[owner] -= amount
        self.balanceOf[to] += amount
        self.log(Transfer(sender=owner, receiver=to, value=amount))

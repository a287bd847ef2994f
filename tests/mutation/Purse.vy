# pragma version 0.4.3
"""
@title A purse for the tests of mutation: one of everything that a mutant can be made of.
@license AGPL-3.0-only
@notice Nothing in here changes: 1 + 1 < 3, assert True.
"""

event Saved:
    who: indexed(address)
    amount: uint256
    fee: uint256

struct Saving:
    amount: uint256
    since: uint256
    is_open: bool

interface Clock:
    def offset() -> uint256: view

FEE: constant(uint256) = 30
UNIT: constant(uint256) = 10_000
LARGEST: immutable(uint256)

total: public(uint256)
fees: public(uint256)
saving_of: public(HashMap[address, Saving])
spent_of: HashMap[address, uint256]
given_of: HashMap[address, uint256]
_locked: transient(bool)


@deploy
def __init__(largest: uint256):
    LARGEST = largest


@external
def save(amount: uint256) -> uint256:
    self._enter()
    # Not mutated: amount <= LARGEST + 1
    assert amount <= LARGEST, "too much"
    self._require(amount > 0, "nothing")
    fee: uint256 = self._div_up(amount * FEE, UNIT)
    saving: Saving = self.saving_of[msg.sender]
    saving.amount += amount - fee
    saving.since = block.timestamp
    saving.is_open = True
    self.saving_of[msg.sender] = saving
    self.fees += fee
    self.total += amount - fee
    log Saved(who=msg.sender, amount=amount, fee=fee)
    self._exit()
    return fee


@external
def take(amount: uint256):
    saving: Saving = self.saving_of[msg.sender]
    assert saving.is_open and saving.amount >= amount, "too little"
    if block.timestamp < saving.since + 60:
        raise "too early"
    saving.amount -= amount
    if saving.amount == 0:
        saving.is_open = False
    self.saving_of[msg.sender] = saving
    self.total -= amount
    self.spent_of[msg.sender] += amount
    for i: uint256 in range(2):
        if i == 1:
            break
        self.given_of[msg.sender] = max(self.given_of[msg.sender], amount)


@external
@view
def later(clock: Clock, before: uint256) -> bool:
    return staticcall clock.offset() >= before + self.total


@internal
@pure
def _div_up(x: uint256, y: uint256) -> uint256:
    return (x + y - 1) // y


@internal
@pure
def _div_down(x: uint256, y: uint256) -> uint256:
    return x // y


@internal
@pure
def _require(ok: bool, reason: String[32]):
    assert ok, reason


@internal
def _enter():
    assert not self._locked, "locked"
    self._locked = True


@internal
def _exit():
    self._locked = False

# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title A toy vault for the tests of lockstep: deposits by id, a fee on the way out.
@license AGPL-3.0-only
"""

event Opened:
    id: indexed(uint256)
    owner: indexed(address)
    amount: uint256

event FeeTaken:
    fee: uint256

event Closed:
    id: indexed(uint256)
    payout: uint256

struct Deposit:
    owner: address
    amount: uint256
    opened_at: uint256

CAP: constant(uint256) = 10**12
MINIMUM: constant(uint256) = 10
FEE_BPS: constant(uint256) = 30
EARLY: constant(uint256) = 3600

deposits: public(HashMap[uint256, Deposit])
next_id: public(uint256)
total: public(uint256)
fees: public(uint256)
balance_change: public(HashMap[address, int256])


@deploy
def __init__(first_id: uint256):
    self.next_id = first_id


@external
def open(amount: uint256) -> uint256:
    assert amount >= MINIMUM, "too small"
    assert self.total + amount <= CAP, "over cap"
    id: uint256 = self.next_id
    self.next_id = id + 1
    self.deposits[id] = Deposit(owner=msg.sender, amount=amount, opened_at=block.timestamp)
    self.total += amount
    self.balance_change[msg.sender] -= convert(amount, int256)
    log Opened(id=id, owner=msg.sender, amount=amount)
    return id


@external
def close(id: uint256) -> uint256:
    found: Deposit = self.deposits[id]
    assert found.amount > 0, "no deposit"
    assert found.owner == msg.sender, "not owner"
    rate: uint256 = FEE_BPS
    if block.timestamp < found.opened_at + EARLY:
        rate = 2 * FEE_BPS
    fee: uint256 = (found.amount * rate + 9_999) // 10_000
    payout: uint256 = found.amount - fee
    self.deposits[id] = empty(Deposit)
    self.total -= found.amount
    self.fees += fee
    self.balance_change[msg.sender] += convert(payout, int256)
    log FeeTaken(fee=fee)
    log Closed(id=id, payout=payout)
    return payout


@external
@view
def worth(id: uint256) -> uint256:
    return self.deposits[id].amount


@external
def burn_gas():
    for i: uint256 in range(10**9):
        self.fees += 0

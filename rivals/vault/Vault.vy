# pragma version 0.4.3
"""
@title  Isolated-margin vault with an internal price: what all fuzzers are compared on
@license AGPL-3.0-only
@notice Users hold balances, pledge part of one as the margin of a position, and win from or lose
        to a pool. Amounts are units of one token that stays outside.
"""

event Deposited:
    user: indexed(address)
    amount: uint256

event Withdrawn:
    user: indexed(address)
    amount: uint256

event Funded:
    user: indexed(address)
    amount: uint256

event PriceSet:
    price: uint256

event Opened:
    id: indexed(uint256)
    owner: indexed(address)
    margin: uint256
    size: uint256
    is_long: bool

event Closed:
    id: indexed(uint256)
    payout: uint256

event Liquidated:
    id: indexed(uint256)
    keeper: indexed(address)
    reward: uint256

struct Position:
    owner: address
    margin: uint256
    size: uint256
    entry: uint256
    opened_at: uint256
    is_long: bool

BALANCE_LIMIT: constant(uint256) = 10**12
MIN_MARGIN: constant(uint256) = 10**6
MAX_LEVERAGE: constant(uint256) = 20
CAP: constant(uint256) = 4 * 10**12
MAX_AGE: constant(uint256) = 3_600
MAX_JUMP_BPS: constant(uint256) = 1_000
FEE_BPS: constant(uint256) = 10
MAINTENANCE_BPS: constant(uint256) = 100
REWARD_BPS: constant(uint256) = 50
HOLDING_RATE: constant(uint256) = 10**9  # of the size, per second, in 1e-18
WAD: constant(uint256) = 10**18

ORACLE: immutable(address)

price: uint256
priced_at: uint256
pool: uint256
fees: uint256
open_interest: uint256
held: uint256
next_id: uint256
balances: HashMap[address, uint256]
positions: HashMap[uint256, Position]


@deploy
def __init__(oracle: address, price: uint256):
    ORACLE = oracle
    self.price = price
    self.priced_at = block.timestamp
    self.next_id = 1


@external
def deposit(amount: uint256) -> uint256:
    assert amount > 0, "zero amount"
    balance: uint256 = self.balances[msg.sender] + amount
    assert balance <= BALANCE_LIMIT, "over limit"
    self.balances[msg.sender] = balance
    self.held += amount
    log Deposited(user=msg.sender, amount=amount)
    return balance


@external
def withdraw(amount: uint256) -> uint256:
    assert amount > 0, "zero amount"
    balance: uint256 = self.balances[msg.sender]
    assert amount <= balance, "balance too low"
    self.balances[msg.sender] = balance - amount
    self.held -= amount
    log Withdrawn(user=msg.sender, amount=amount)
    return balance - amount


@external
def fund(amount: uint256) -> uint256:
    balance: uint256 = self.balances[msg.sender]
    assert amount <= balance, "balance too low"
    self.balances[msg.sender] = balance - amount
    self.pool += amount
    log Funded(user=msg.sender, amount=amount)
    return self.pool


@external
def set_price(price: uint256):
    assert msg.sender == ORACLE, "not oracle"
    old: uint256 = self.price
    jump: uint256 = max(price, old) - min(price, old)
    assert jump * 10_000 <= old * MAX_JUMP_BPS, "price jump"
    self.price = price
    self.priced_at = block.timestamp
    log PriceSet(price=price)


@external
def open(margin: uint256, size: uint256, is_long: bool) -> uint256:
    self._check_price()
    assert margin >= MIN_MARGIN, "margin too small"
    assert size <= margin * MAX_LEVERAGE, "leverage too high"
    assert self.open_interest + size <= CAP, "over cap"
    fee: uint256 = self._part_up(size, FEE_BPS)
    balance: uint256 = self.balances[msg.sender]
    assert margin + fee <= balance, "balance too low"
    self.balances[msg.sender] = balance - margin - fee
    self.fees += fee
    self.open_interest += size
    id: uint256 = self.next_id
    self.next_id = id + 1
    self.positions[id] = Position(
        owner=msg.sender,
        margin=margin,
        size=size,
        entry=self.price,
        opened_at=block.timestamp,
        is_long=is_long,
    )
    log Opened(id=id, owner=msg.sender, margin=margin, size=size, is_long=is_long)
    return id


@external
def close(id: uint256) -> uint256:
    position: Position = self.positions[id]
    assert position.owner != empty(address), "no position"
    assert position.owner == msg.sender, "not owner"
    self._check_price()
    payout: uint256 = self._settle(id, position)
    self.balances[msg.sender] += payout
    log Closed(id=id, payout=payout)
    return payout


@external
def liquidate(id: uint256) -> uint256:
    position: Position = self.positions[id]
    assert position.owner != empty(address), "no position"
    assert position.owner != msg.sender, "own position"
    self._check_price()
    profit: uint256 = 0
    loss: uint256 = 0
    profit, loss = self._profit_and_loss(position)
    owed: uint256 = loss + self._holding_fee(position)
    maintenance: uint256 = self._part_up(position.size, MAINTENANCE_BPS)
    assert position.margin + profit < owed + maintenance, "healthy"
    left: uint256 = self._settle(id, position)
    reward: uint256 = min(left, position.size * REWARD_BPS // 10_000)
    self.balances[position.owner] += left - reward
    self.balances[msg.sender] += reward
    log Liquidated(id=id, keeper=msg.sender, reward=reward)
    return reward


@internal
def _settle(id: uint256, position: Position) -> uint256:
    """What is left of the margin. Profit is paid from the pool as far as it goes."""
    profit: uint256 = 0
    loss: uint256 = 0
    profit, loss = self._profit_and_loss(position)
    profit = min(profit, self.pool)
    collateral: uint256 = position.margin + profit
    paid: uint256 = min(loss + self._holding_fee(position), collateral)
    self.pool = self.pool - profit + paid
    self.open_interest -= position.size
    self.positions[id] = empty(Position)
    return collateral - paid


@internal
@view
def _profit_and_loss(position: Position) -> (uint256, uint256):
    """One of them is zero. A profit is rounded down, a loss up."""
    difference: uint256 = max(self.price, position.entry) - min(self.price, position.entry)
    change: uint256 = position.size * difference
    if (self.price > position.entry) == position.is_long:
        return change // position.entry, 0
    return 0, (change + position.entry - 1) // position.entry


@internal
@view
def _holding_fee(position: Position) -> uint256:
    elapsed: uint256 = block.timestamp - position.opened_at
    return (position.size * elapsed * HOLDING_RATE + WAD - 1) // WAD


@internal
@pure
def _part_up(amount: uint256, bps: uint256) -> uint256:
    return (amount * bps + 9_999) // 10_000


@internal
@view
def _check_price():
    assert block.timestamp <= self.priced_at + MAX_AGE, "price is stale"


@external
@view
def state(user: address, id: uint256) -> uint256[14]:
    """
    @notice All that a step of a user on a position can touch, in one call
    """
    position: Position = self.positions[id]
    return [
        self.price, self.priced_at, self.pool, self.fees, self.open_interest, self.held,
        self.next_id, self.balances[user], convert(position.owner, uint256), position.margin,
        position.size, position.entry, position.opened_at, convert(position.is_long, uint256),
    ]

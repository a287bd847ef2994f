"""The vault in integers: the same guards in the same order. A revert leaves no trace.

Nothing but the standard library, so that every rival runs it in its own environment.
"""

BALANCE_LIMIT = 10**12
MIN_MARGIN = 10**6
MAX_LEVERAGE = 20
CAP = 4 * 10**12
MAX_AGE = 3_600
MAX_JUMP_BPS = 1_000
FEE_BPS = 10
MAINTENANCE_BPS = 100
REWARD_BPS = 50
HOLDING_RATE = 10**9
WAD = 10**18

START = 1_577_836_800  # time of the deployment
START_PRICE = 1_000 * WAD
ADDRESSES = {f"user_{i}": f"0x{0x1000 + i:040x}" for i in range(8)}
ADDRESSES["oracle"] = ORACLE = f"0x{0x2000:040x}"
DEPLOYER = f"0x{0x3000:040x}"

# owner, margin, size, entry, opened_at, is_long
Position = tuple[str, int, int, int, int, bool]
NO_POSITION: Position = ("0x" + "00" * 20, 0, 0, 0, 0, False)


class Revert(Exception):
    """`args[0]` is the reason."""


class Model:
    """Set `now` (unix time, seconds) before each call."""

    def __init__(self) -> None:
        self.now = START
        self.price = START_PRICE
        self.priced_at = START
        self.pool = 0
        self.fees = 0
        self.open_interest = 0
        self.held = 0
        self.next_id = 1
        self.balances = dict.fromkeys(ADDRESSES.values(), 0)
        self.positions: dict[int, Position] = {}

    def deposit(self, sender: str, amount: int) -> int:
        if amount <= 0:
            raise Revert("zero amount")
        balance = self.balances[sender] + amount
        if balance > BALANCE_LIMIT:
            raise Revert("over limit")
        self.balances[sender] = balance
        self.held += amount
        return balance

    def withdraw(self, sender: str, amount: int) -> int:
        if amount <= 0:
            raise Revert("zero amount")
        balance = self.balances[sender]
        if amount > balance:
            raise Revert("balance too low")
        self.balances[sender] = balance = balance - amount
        self.held -= amount
        return balance

    def fund(self, sender: str, amount: int) -> int:
        balance = self.balances[sender]
        if amount > balance:
            raise Revert("balance too low")
        self.balances[sender] = balance - amount
        self.pool += amount
        return self.pool

    def set_price(self, sender: str, price: int) -> None:
        if sender != ORACLE:
            raise Revert("not oracle")
        if abs(price - self.price) * 10_000 > self.price * MAX_JUMP_BPS:
            raise Revert("price jump")
        self.price = price
        self.priced_at = self.now

    def open(self, sender: str, margin: int, size: int, is_long: bool) -> int:
        self._check_price()
        if margin < MIN_MARGIN:
            raise Revert("margin too small")
        if size > margin * MAX_LEVERAGE:
            raise Revert("leverage too high")
        if self.open_interest + size > CAP:
            raise Revert("over cap")
        fee = -(-size * FEE_BPS // 10_000)
        balance = self.balances[sender]
        if margin + fee > balance:
            raise Revert("balance too low")
        self.balances[sender] = balance - margin - fee
        self.fees += fee
        self.open_interest += size
        identifier = self.next_id
        self.next_id = identifier + 1
        self.positions[identifier] = (sender, margin, size, self.price, self.now, is_long)
        return identifier

    def close(self, sender: str, identifier: int) -> int:
        position = self.positions.get(identifier)
        if position is None:
            raise Revert("no position")
        if position[0] != sender:
            raise Revert("not owner")
        self._check_price()
        payout = self._settle(identifier, position)
        self.balances[sender] += payout
        return payout

    def liquidate(self, sender: str, identifier: int) -> int:
        position = self.positions.get(identifier)
        if position is None:
            raise Revert("no position")
        owner, margin, size = position[:3]
        if owner == sender:
            raise Revert("own position")
        self._check_price()
        profit, owed = self.profit_and_owed(position, self.price, self.now)
        if margin + profit >= owed + -(-size * MAINTENANCE_BPS // 10_000):
            raise Revert("healthy")
        left = self._settle(identifier, position)
        reward = min(left, size * REWARD_BPS // 10_000)
        self.balances[owner] += left - reward
        self.balances[sender] += reward
        return reward

    def state(self, user: str, identifier: int) -> tuple[int, ...]:
        """The words of the contract's `state`."""
        owner, *words = self.positions.get(identifier, NO_POSITION)
        return (
            self.price,
            self.priced_at,
            self.pool,
            self.fees,
            self.open_interest,
            self.held,
            self.next_id,
            self.balances[user],
            int(owner, 16),
            *words,
        )

    def broken_sums(self) -> str:
        """What does not add up, in words; "" if all does."""
        margins = sum(position[1] for position in self.positions.values())
        parts = sum(self.balances.values()) + self.pool + self.fees + margins
        if parts != self.held:
            return f"held {self.held}, but balances, margins, pool and fees are {parts}"
        sizes = sum(position[2] for position in self.positions.values())
        if sizes != self.open_interest:
            return f"open interest {self.open_interest}, but the sizes are {sizes}"
        return ""

    @staticmethod
    def profit_and_owed(position: Position, price: int, now: int) -> tuple[int, int]:
        """Profit, and what is owed: the loss and the holding fee."""
        _, _, size, entry, opened_at, is_long = position
        fee = -(-size * (now - opened_at) * HOLDING_RATE // WAD)
        if (price > entry) == is_long:
            return size * abs(price - entry) // entry, fee
        return 0, fee - (-size * abs(price - entry) // entry)

    def _settle(self, identifier: int, position: Position) -> int:
        profit, owed = self.profit_and_owed(position, self.price, self.now)
        profit = min(profit, self.pool)
        collateral = position[1] + profit
        paid = min(owed, collateral)
        self.pool += paid - profit
        self.open_interest -= position[2]
        del self.positions[identifier]
        return collateral - paid

    def _check_price(self) -> None:
        if self.now > self.priced_at + MAX_AGE:
            raise Revert("price is stale")

"""What is tried on the vault. Ringfence, Wake, Hypothesis and titanoboa all draw from it.

Nothing but the standard library. The handler of the Foundry campaign (rivals/foundry) is the same
in Solidity: one function for each unit of WEIGHTS, the same ranges, the same aims.
"""

from collections.abc import Callable
from random import Random

from rivals.vault.model import (
    ADDRESSES,
    BALANCE_LIMIT,
    CAP,
    FEE_BPS,
    HOLDING_RATE,
    MAINTENANCE_BPS,
    MAX_AGE,
    MAX_JUMP_BPS,
    MAX_LEVERAGE,
    MIN_MARGIN,
    START_PRICE,
    WAD,
    Model,
)

Draw = tuple[str, str, tuple[int, ...], int, str]  # action, actor, arguments, time, intention

# How often each is drawn; "aim" is a step at an exact guard, or one unit beside it.
WEIGHTS = {
    "deposit": 3,
    "withdraw": 2,
    "fund": 1,
    "set_price": 4,
    "open": 5,
    "close": 4,
    "liquidate": 3,
    "aim": 2,
}
BLOCK = 16  # steps of one block, about
WAITS = (1, 12, 12, 12, 60, 600, 600, 1_800)  # seconds between two blocks
WILD = 16  # one in so many steps takes an argument from anywhere
USERS = [name for name in ADDRESSES if name != "oracle"]
NAMES = {address: name for name, address in ADDRESSES.items()}


class Generator:
    """Looks at the model to draw what is likely to succeed, and now and then what is not."""

    def __init__(self, model: Model, aimed: bool = True) -> None:
        self.model = model
        self._alive: list[int] = []  # ids; the closed ones are dropped when they are met
        self._seen = 1
        self._then: list[Draw] = []  # second halves of aims
        self._draws: dict[str, Callable[[Random, int], Draw]] = {
            name: getattr(self, f"_{name}") for name in WEIGHTS if aimed or name != "aim"
        }
        self._choices = [draw for name, draw in self._draws.items() for _ in range(WEIGHTS[name])]
        self._aims = (
            self._aim_liquidation,
            self._aim_leverage,
            self._aim_cap,
            self._aim_age,
            self._aim_withdrawal,
            self._aim_jump,
            self._aim_margin,
            self._aim_limit,
        )

    def draw(self, rng: Random, name: str = "") -> Draw:
        """The next step; of the kind that the caller drew, if he draws by WEIGHTS himself."""
        if self._then:
            return self._then.pop()
        r = rng.random
        at, choices = self.model.now, self._choices
        if r() * BLOCK < 1:
            at += WAITS[int(r() * 8)]
        if name:
            return self._draws.get(name, self._open)(rng, at)
        return choices[int(r() * len(choices))](rng, at)

    # -- plain ones --------------------------------------------------------------------------------

    def _deposit(self, rng: Random, at: int) -> Draw:
        return "deposit", _user(rng), (_amount(rng),), at, "valid"

    def _withdraw(self, rng: Random, at: int) -> Draw:
        user = _user(rng)
        balance = self.model.balances[ADDRESSES[user]]
        return "withdraw", user, (_share(rng, balance),), at, "valid"

    def _fund(self, rng: Random, at: int) -> Draw:
        user = _user(rng)
        balance = self.model.balances[ADDRESSES[user]]
        return "fund", user, (_share(rng, balance) // 4,), at, "valid"

    def _set_price(self, rng: Random, at: int) -> Draw:
        r = rng.random
        old = self.model.price
        # Ten percent is the most that is allowed; back towards the start when far from it.
        change = int(r() * 1_001) if r() * 8 < 1 else int(r() * 301)
        up = r() < 0.5 if START_PRICE < 8 * old < 64 * START_PRICE else old < START_PRICE
        price = old + old * change // 10_000 if up else old - old * change // 10_000
        actor = _user(rng) if r() * WILD < 1 else "oracle"
        return "set_price", actor, (price,), at, "valid"

    def _open(self, rng: Random, at: int) -> Draw:
        r = rng.random
        user = _user(rng)
        balance = self.model.balances[ADDRESSES[user]]
        margin = _share(rng, balance) // 4
        size = int(margin * MAX_LEVERAGE * r() * (1.05 if r() * 4 < 1 else 1))
        return "open", user, (margin, size, int(r() * 2)), at, "valid"

    def _close(self, rng: Random, at: int) -> Draw:
        identifier, owner = self._position(rng)
        actor = _user(rng) if rng.random() * WILD < 1 else owner
        return "close", actor, (identifier,), at, "valid"

    def _liquidate(self, rng: Random, at: int) -> Draw:
        identifier, owner = self._position(rng)
        model = self.model
        for _ in range(3):  # prefer one that is due
            position = model.positions.get(identifier)
            if position is not None:
                profit, owed = model.profit_and_owed(position, model.price, at)
                if position[1] + profit < owed + position[2] // 80:
                    break
            identifier, owner = self._position(rng)
        keeper = owner if rng.random() * WILD < 1 else _other(rng, owner)
        return "liquidate", keeper, (identifier,), at, "valid"

    def _position(self, rng: Random) -> tuple[int, str]:
        """An open position and its owner; now and then, or without one, any number."""
        model, alive, r = self.model, self._alive, rng.random
        if self._seen != model.next_id:
            alive.extend(range(self._seen, model.next_id))
            self._seen = model.next_id
        while alive and r() * WILD >= 1:
            index = int(r() * len(alive))
            identifier = alive[index]
            position = model.positions.get(identifier)
            if position is not None:
                return identifier, NAMES[position[0]]
            alive[index] = alive[-1]
            alive.pop()
        return int(r() * (model.next_id + 2)), _user(rng)

    # -- at an exact guard, or one unit beside it --------------------------------------------------

    def _aim(self, rng: Random, at: int) -> Draw:
        aims = self._aims
        return aims[int(rng.random() * len(aims))](rng, at)

    def _aim_liquidation(self, rng: Random, at: int) -> Draw:
        """The price at which what is owed is just what the margin can bear; then a keeper comes."""
        model = self.model
        identifier, owner = self._position(rng)
        position = model.positions.get(identifier)
        if position is None:
            return self._set_price(rng, at)
        _, margin, size, entry, opened_at, is_long = position
        fee = -(-size * (at - opened_at) * HOLDING_RATE // WAD)
        loss = margin - fee + (-size * MAINTENANCE_BPS // 10_000) + int(rng.random() * 2)
        # A loss is rounded up: this is the widest move with exactly that loss, where there is one.
        move = loss * entry // size if size else 0
        price = max(0, entry - move if is_long else entry + move)
        if loss < 0 or abs(price - model.price) * 10_000 > model.price * MAX_JUMP_BPS:
            return self._set_price(rng, at)
        self._then.append(("liquidate", _other(rng, owner), (identifier,), at, "edge"))
        return "set_price", "oracle", (price,), at, "edge"

    def _aim_leverage(self, rng: Random, at: int) -> Draw:
        user = _user(rng)
        margin = _share(rng, self.model.balances[ADDRESSES[user]]) // 2
        size = margin * MAX_LEVERAGE + int(rng.random() * 2)
        return "open", user, (margin, size, int(rng.random() * 2)), at, "edge"

    def _aim_cap(self, rng: Random, at: int) -> Draw:
        """The last that fits, by a user who can afford it; closed at once, as it fills the cap."""
        model = self.model
        size = CAP - model.open_interest + int(rng.random() * 2)
        margin = max(MIN_MARGIN, -(-size // MAX_LEVERAGE))
        user = _user(rng)
        missing = margin - (-size * FEE_BPS // 10_000) - model.balances[ADDRESSES[user]]
        opening: Draw = ("open", user, (margin, size, int(rng.random() * 2)), at, "edge")
        self._then.append(("close", user, (model.next_id,), at, "edge"))
        if missing <= 0:
            return opening
        self._then.append(opening)
        return "deposit", user, (missing + int(rng.random() * 2),), at, "edge"

    def _aim_age(self, rng: Random, at: int) -> Draw:
        identifier, owner = self._position(rng)
        oldest = max(at, self.model.priced_at + MAX_AGE) + int(rng.random() * 2)
        self._then.append(("set_price", "oracle", (self.model.price,), oldest, "valid"))
        return "close", owner, (identifier,), oldest, "edge"

    def _aim_withdrawal(self, rng: Random, at: int) -> Draw:
        user = _user(rng)
        balance = self.model.balances[ADDRESSES[user]]
        return "withdraw", user, (balance + int(rng.random() * 2),), at, "edge"

    def _aim_jump(self, rng: Random, at: int) -> Draw:
        old = self.model.price
        change = old * MAX_JUMP_BPS // 10_000 + int(rng.random() * 2)
        price = old + change if rng.random() < 0.5 else old - change
        return "set_price", "oracle", (price,), at, "edge"

    def _aim_margin(self, rng: Random, at: int) -> Draw:
        margin = MIN_MARGIN - int(rng.random() * 2)
        return "open", _user(rng), (margin, margin, int(rng.random() * 2)), at, "edge"

    def _aim_limit(self, rng: Random, at: int) -> Draw:
        user = _user(rng)
        missing = max(0, BALANCE_LIMIT - self.model.balances[ADDRESSES[user]])
        return "deposit", user, (missing + int(rng.random() * 2),), at, "edge"


def _user(rng: Random) -> str:
    return USERS[int(rng.random() * 8)]


def _other(rng: Random, user: str) -> str:
    return USERS[(USERS.index(user) + 1 + int(rng.random() * 7)) % 8]


def _amount(rng: Random) -> int:
    """From nothing to ten thousand million, each order of magnitude alike."""
    return int(10 ** (10 * rng.random()))


def _share(rng: Random, balance: int) -> int:
    """A part of a balance; now and then an amount that has nothing to do with it."""
    r = rng.random
    return _amount(rng) if r() * WILD < 1 else int(balance * r())

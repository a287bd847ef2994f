"""Model of Purse.vy."""

FEE = 30
UNIT = 10_000


class Refused(Exception):
    """A revert."""


def _div_up(x: int, y: int) -> int:
    return (x + y - 1) // y


def _div_down(x: int, y: int) -> int:
    return x // y


def _require(ok: bool, reason: str) -> None:
    if not ok:
        raise Refused(reason)


class Purse:
    """Amount, since when and whether open, by owner."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.total = 0
        self.fees = 0
        self.savings: dict[str, tuple[int, int, bool]] = {}
        self.spent: dict[str, int] = {}
        self.given: dict[str, int] = {}

    @property
    def sum(self) -> int:
        return self.total + self.fees

    def save(self, sender: str, now: int, amount: int) -> int:
        """Puts something in; gives the fee."""
        _require(amount <= self.largest, "too much")
        _require(amount > 0, "nothing")
        fee = _div_up(amount * FEE, UNIT)
        before = self.savings.get(sender, (0, 0, False))[0]
        self.savings[sender] = (before + amount - fee, now, True)
        self.fees += fee
        self.total += amount - fee
        return fee

    def take(self, sender: str, now: int, amount: int) -> None:
        """Takes something out."""
        saved, since, is_open = self.savings.get(sender, (0, 0, False))
        _require(is_open and saved >= amount, "too little")
        if now < since + 60:
            raise Refused("too early")
        self.savings[sender] = (saved - amount, since, saved != amount)
        self.total -= amount
        self.spent[sender] = self.spent.get(sender, 0) + amount
        self.given[sender] = max(self.given.get(sender, 0), amount)

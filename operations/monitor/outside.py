"""Contracts outside of the system, as the model meets them: the token, an aggregator.

While a call of the chain is executed again they answer what they answered then, whatever they are.
Whoever tries something on the model at another time (invariants do) meets a token that is sound, of
which market and pool hold what they hold, and everybody else has plenty.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from lockstep import abi
from operations.monitor.records import Ask, Item
from python_model.evm import Chain, Contract, Revert, Storage, external

PLENTY = 2**128
Run = Callable[[tuple[Item, ...]], None]

SIGNATURES = (
    "balanceOf(address)",
    "allowance(address,address)",
    "transfer(address,uint256)",
    "transferFrom(address,address,uint256)",
    "latestRoundData()",
    "decimals()",
)
BALANCE_OF = abi.encoder("balanceOf(address)")
ALLOWANCE = abi.encoder("allowance(address,address)")
TRANSFER = abi.encoder("transfer(address,uint256)")
TRANSFER_FROM = abi.encoder("transferFrom(address,address,uint256)")
ROUND = abi.selector("latestRoundData()")
DECIMALS = abi.selector("decimals()")


NAMES = {abi.selector(name): name for name in SIGNATURES}


def shown(target: str, data: bytes) -> str:
    """A call in words."""
    name = NAMES.get(data[:4])
    if name is None:
        return f"{target} with 0x{data.hex()}"
    words = [data[i : i + 32] for i in range(4, len(data), 32)]
    kinds = name[name.index("(") + 1 : -1].split(",")
    values = [abi.show_word(kind, word) for kind, word in zip(kinds, words, strict=False) if kind]
    return f"{name.split('(')[0]}({', '.join(values)}) of {target}"


class Unasked(Exception):
    """The model asked for what the contract did not ask for, or in another order."""


class Refused(Revert):
    """A contract outside reverts, and so does who called it, with the same data."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data


class Outside:
    """Answers in the calls that are executed now, the innermost last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: list[_Answers | None] = []

    @property
    def is_replaying(self) -> bool:
        """Whether a call of the chain is being executed, whose answers are known."""
        return bool(self._open) and self._open[-1] is not None

    def begin(self, asks: Iterable[Ask] | None) -> None:
        """From here on the answers of one call; None if they are not known."""
        self._open.append(None if asks is None else _Answers(asks))

    def end(self) -> Ask | None:
        """The call is over; a call to the outside that the model has left out, if there is one."""
        answers = self._open.pop()
        return answers.left() if answers is not None else None

    def ask(self, target: str, data: bytes, is_static: bool) -> bytes:
        """What was answered. Revert if that was a revert, Unasked if nobody asked."""
        answers = self._open[-1] if self._open else None
        found = answers.take(target, data, is_static) if answers is not None else None
        if found is None:
            raise Unasked(
                f"the model calls {shown(target, data)}, the contract does not, or not then"
            )
        if found.items:
            self._run(found.items)
        if not found.is_ok:
            raise Refused(found.output)
        return found.output


class _Answers:
    """Of one call. What changes something is asked for in order, the rest in any."""

    def __init__(self, asks: Iterable[Ask]) -> None:
        self._views: dict[tuple[str, bytes], deque[Ask]] = defaultdict(deque)
        self._calls: deque[Ask] = deque()
        for ask in asks:
            if ask.is_static:
                self._views[ask.target, ask.data].append(ask)
            else:
                self._calls.append(ask)

    def take(self, target: str, data: bytes, is_static: bool) -> Ask | None:
        queue = self._views[target, data] if is_static else self._calls
        if not queue or (queue[0].target, queue[0].data) != (target, data):
            return None
        return queue.popleft()

    def left(self) -> Ask | None:
        return self._calls[0] if self._calls else None


class Balances(Storage[str, int]):
    """Who holds how much."""

    def __init__(self, chain: Chain, outside: Outside, token: str) -> None:
        super().__init__(chain, PLENTY)
        self._outside = outside
        self._token = token

    def __getitem__(self, owner: str) -> int:
        if self._outside.is_replaying:
            return _number(self._outside.ask(self._token, BALANCE_OF(owner), True))
        return self.held(owner)

    def held(self, owner: str) -> int:
        """Without asking anybody."""
        return dict.get(self, owner, PLENTY)

    def move(self, owner: str, amount: int) -> None:
        """Adds to what is followed: the holdings of market and pool."""
        held = dict.get(self, owner)
        if held is not None:
            self.chain.writes.append((self, owner, held))
            dict.__setitem__(self, owner, held + amount)


class Allowances(Storage[tuple[str, str], int]):
    """Who lets whom spend how much."""

    def __init__(self, chain: Chain, outside: Outside, token: str) -> None:
        super().__init__(chain, PLENTY)
        self._outside = outside
        self._token = token

    def __getitem__(self, key: tuple[str, str]) -> int:
        if self._outside.is_replaying:
            return _number(self._outside.ask(self._token, ALLOWANCE(*key), True))
        return PLENTY


class Token(Contract):
    """The collateral, whatever contract it is."""

    def __init__(self, chain: Chain, address: str, decimals: int, outside: Outside) -> None:
        super().__init__(chain, address)
        self.decimals = decimals
        self._outside = outside
        self.balanceOf = Balances(chain, outside, address)
        self.allowance = Allowances(chain, outside, address)

    def follow(self, *holders: str) -> None:
        """From here on their holdings are counted; they have none yet."""
        for holder in holders:
            dict.__setitem__(self.balanceOf, holder, 0)

    @external
    def transfer(self, receiver: str, amount: int, *, sender: str) -> bool:
        return self._move(TRANSFER(receiver, amount), sender, receiver, amount)

    @external
    def transferFrom(self, sender_: str, receiver: str, amount: int, *, sender: str) -> bool:
        return self._move(TRANSFER_FROM(sender_, receiver, amount), sender_, receiver, amount)

    def _move(self, data: bytes, giver: str, receiver: str, amount: int) -> bool:
        if self._outside.is_replaying:
            output = self._outside.ask(self.address, data, False)
            if output and not _number(output):
                return False
        elif self.balanceOf.held(giver) < amount:
            raise Revert
        self.balanceOf.move(giver, -amount)
        self.balanceOf.move(receiver, amount)
        return True


class Aggregator:
    """What a feed reads. Its decimals are asked for once outside of any call: when it is named."""

    def __init__(self, address: str, decimals: int, outside: Outside) -> None:
        self.address = address
        self._decimals = decimals
        self._outside = outside

    def latestRoundData(self) -> bytes:
        return self._outside.ask(self.address, ROUND, True)

    def decimals(self) -> bytes:
        if not self._outside.is_replaying:
            return self._decimals.to_bytes(32, "big")
        return self._outside.ask(self.address, DECIMALS, True)


def _number(output: bytes) -> int:
    """The word that a contract answered; what is no word makes the caller revert."""
    if len(output) < 32:
        raise Revert
    return int.from_bytes(output[:32], "big")

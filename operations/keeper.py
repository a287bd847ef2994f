"""The keeper: does what is due on one market, as long as it pays, or as far as it was told to.

It remembers nothing: every round asks the lens what is due at the latest block and what each call
would earn there. So it can be killed at any moment, and another may do the same work beside it: the
market gives each reward once, and whoever comes late finds nothing to do.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from web3 import Web3

from lockstep.abi import keccak
from lockstep.errors import InputError
from operations.accounts import Call, Result, Sender
from operations.market import (
    CONTINUE_BACKLOG,
    CREDIT_OF,
    LIQUIDATE,
    MARKS,
    NEAREST_TO_LIQUIDATION,
    NEXT_TO_LIQUIDATE,
    SETTLE,
    TOTALS,
    UPDATE_PRICE,
    WITHDRAW_CREDIT,
    Function,
    Reverted,
    Status,
    Tag,
    Target,
    ask,
    estimate_gas,
    raw_ask,
    status_of,
)
from operations.metrics import Metrics
from operations.rounds import Rounds
from operations.rpc import Block, block_of

LOG = logging.getLogger("ringfence.keeper")
MAX_VISITS = 32  # positions that one call looks at
MAX_LISTED = 64
LIQUIDATED = keccak(
    b"PositionLiquidated(uint256,address,uint256,uint256,int256,"
    b"uint256,uint256,uint256,uint256,uint256)"
)
REWARD = slice(4 * 32, 5 * 32)  # its place in the data of that event
PENDING_TIME = 3  # its place among the breakers
BACKLOG, LIQUIDATION, POKE, SETTLEMENT, WITHDRAWAL = (
    "backlog",
    "liquidate",
    "poke",
    "settle",
    "withdraw",
)
KINDS = (BACKLOG, LIQUIDATION, POKE, SETTLEMENT)
# From so many on, one call for all costs less than one for each.
MANY = 4
MOST_AT_ONCE = 8  # liquidations by id, or settlements, in one round
# More may be due in the block that takes it than in the one it was estimated in.
GAS_SPARE_PERCENT, GAS_SPARE = 50, 300_000


@dataclass(frozen=True)
class Settings:
    """When work is worth its gas. Without a rate nothing is, and only what is in `at_a_loss`
    (kinds of work) is done."""

    rate_wad: int | None = None  # collateral tokens that a native coin is worth, WAD
    least_profit: int = 0  # token units, after gas
    at_a_loss: frozenset[str] = frozenset()
    poke_after: int | None = None  # seconds in which nobody has touched the market
    withdraw_above: int | None = None  # token units of credit

    def check(self) -> None:
        """InputError when the keeper would never do anything, or the settings make no sense."""
        unknown = self.at_a_loss - set(KINDS)
        if unknown:
            raise InputError(
                f"--at-a-loss {', '.join(sorted(unknown))}: choose from all, {', '.join(KINDS)}"
            )
        if self.rate_wad is None and not self.at_a_loss:
            raise InputError(
                "--rate: without the worth of a native coin in collateral tokens no profit can be "
                "told; give it, or say with --at-a-loss what to do whatever it costs"
            )


class Work(NamedTuple):
    """One call that is due, and what it would earn now."""

    kind: str
    data: bytes
    reward: int  # token units
    gas: int
    about: str


@dataclass
class Tally:
    """What one keeper has done. Token units, gas, wei."""

    done: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    gas: int = 0
    fees: int = 0
    reward: int = 0

    def text(self) -> str:
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))
        return f"{done or 'nothing'} done, {self.failed} in vain; gas {self.gas:,}"


class KeeperMetrics(Metrics):
    """What can be asked of a keeper while it runs."""

    def __init__(self) -> None:
        super().__init__("keeper")
        self.due = self.gauge("due_positions", "Positions that the index lists for liquidation")
        self.backlog = self.gauge("has_backlog", "1 while liquidations are left over")
        self.price_age = self.gauge("price_age_seconds", "Age of the price in effect")
        self.credit = self.gauge("credit", "Rewards not withdrawn yet, token units")
        self.reward = self.counter("reward", "Rewards credited, token units")
        self.unprofitable = self.counter("unprofitable", "Work left alone as it would lose", "work")
        self.rounds = self.counter("rounds", "Looks at the chain")


class Keeper(Rounds):
    """Keeps one market. One round of calls is in flight at a time."""

    metrics: KeeperMetrics

    def __init__(
        self,
        web3: Web3,
        target: Target,
        sender: Sender,
        settings: Settings,
        metrics: KeeperMetrics | None = None,
    ) -> None:
        settings.check()
        super().__init__(LOG, sender, metrics or KeeperMetrics())
        self._web3 = web3
        self._target = target
        self._settings = settings
        self._epoch = (-1, 0)  # of the market's marks, and since when it is the same
        self.tally = Tally()

    def summary(self) -> str:
        return self.tally.text()

    def step(self) -> int:
        self.metrics.rounds.inc()
        self.account(self._sender.poll())
        if self._sender.in_flight:
            return 0
        head = block_of(self._web3)
        # Of one block, whatever comes meanwhile.
        status = status_of(self._web3, self._target, head.number)
        ids = self._listed(NEXT_TO_LIQUIDATE, head)
        self._show(head, status, ids)
        calls = list(self._calls(head, status, ids))
        for call in calls:
            self._sender.send(call)
        return len(calls)

    # What is due

    def _calls(self, head: Block, status: Status, ids: Sequence[int]) -> Iterator[Call]:
        """What is to be sent now: of several ways to the same end the first that is worth it."""
        for way in self._ways(head, status, ids):
            works = [work for work in way if self._is_worth_it(work, head)]
            if works:
                for work in works:
                    LOG.info("%s", work.about)
                    yield from self._repeated(work, ids, head)
                return
        yield from self._withdrawal(head)

    def _ways(self, head: Block, status: Status, ids: Sequence[int]) -> Iterator[Iterator[Work]]:
        # A price that is held is newer, but only one after it makes a difference.
        held_at = status.breaker[PENDING_TIME] if status.is_halted else 0
        if status.has_newer_price and status.feed_time > held_at:
            yield self._pokes(f"bring the feed's price of {status.feed_time}")
        if status.is_halted:
            return  # until a second price confirms the one that is held
        if status.is_expired:
            yield self._settlements(head)
        is_many = status.has_backlog or len(ids) >= MANY or not status.is_priced
        if is_many and (status.has_backlog or ids):
            yield self._backlog(status, len(ids))
        if ids and status.is_priced:
            yield self._liquidations(ids)
        if self._is_to_be_poked(head):
            yield self._pokes("poke a market that nobody touches")

    def _backlog(self, status: Status, count: int) -> Iterator[Work]:
        what = f"{count}{'+' if count == MAX_LISTED else ''} due"
        if status.has_backlog:
            what = f"backlog, {what}" if count else "backlog of deleveraging"
        yield from self._work(BACKLOG, CONTINUE_BACKLOG(MAX_VISITS), f"continue: {what}")

    def _liquidations(self, ids: Sequence[int]) -> Iterator[Work]:
        for position_id in ids[:MOST_AT_ONCE]:
            about = f"liquidate position {position_id}"
            yield from self._work(LIQUIDATION, LIQUIDATE(position_id), about)

    def _settlements(self, head: Block) -> Iterator[Work]:
        for position_id in self._listed(NEAREST_TO_LIQUIDATION, head)[:MOST_AT_ONCE]:
            yield from self._work(SETTLEMENT, SETTLE(position_id), f"settle position {position_id}")

    def _pokes(self, about: str) -> Iterator[Work]:
        yield from self._work(POKE, UPDATE_PRICE(self._sender.address), about)

    def _is_to_be_poked(self, head: Block) -> bool:
        """Whether nobody has touched the market for long: its epoch changes whenever anyone does.

        What the market tells of its marks is brought to the block it is asked in, so how old the
        stored ones are shows only in that.
        """
        after = self._settings.poke_after
        if after is None:
            return False
        epoch = ask(self._web3, self._target.market, MARKS)[3]
        if epoch != self._epoch[0]:
            self._epoch = (epoch, head.timestamp)
        open_positions = ask(self._web3, self._target.market, TOTALS)[6]
        return bool(open_positions) and head.timestamp - self._epoch[1] >= after

    def _withdrawal(self, head: Block) -> Iterator[Call]:
        credit = self._credit()
        above = self._settings.withdraw_above
        if above is None or credit == 0 or credit < above:
            return
        for work in self._work(WITHDRAWAL, WITHDRAW_CREDIT(), f"withdraw a credit of {credit}"):
            LOG.info("%s", work.about)
            yield self._call(work, head)

    def _listed(self, function: Function, head: Block) -> list[int]:
        given = (self._target.market, MAX_LISTED)
        return list(ask(self._web3, self._target.lens, function, *given, block=head.number))

    # What it is worth

    def _work(self, kind: str, data: bytes, about: str) -> Iterator[Work]:
        """A call with what it earns and costs at the latest block; nothing if it would fail."""
        market, sender = self._target.market, self._sender.address
        try:
            reward = 0
            if kind != WITHDRAWAL:
                reward = reward_of(self._web3, market, data, sender)
            gas = estimate_gas(self._web3, sender, market, data)
        except Reverted as reason:
            self.tell(f"{about}: the market says {reason}", logging.WARNING)
            return
        yield Work(kind, data, reward, gas, about)

    def _is_worth_it(self, work: Work, head: Block) -> bool:
        if work.kind in self._settings.at_a_loss:
            return True
        cost = self.cost(work.gas, head)
        if cost is not None and work.reward - cost >= max(self._settings.least_profit, 1):
            return True
        self.metrics.unprofitable.labels(work.kind).inc()
        costs = "an unknown amount" if cost is None else cost
        text = f"{work.about}: left alone, it earns {work.reward} and costs {costs} (token units)"
        self.tell(text, logging.INFO, f"at a loss: {work.about}")
        return False

    def cost(self, gas: int, head: Block) -> int | None:
        """Token units that gas costs in the next block, rounded up; None without a rate."""
        rate = self._settings.rate_wad
        if rate is None:
            return None
        fee = self._sender.fee()
        price = fee.most if head.base_fee is None else head.base_fee + fee.tip
        divisor: int = 10 ** (36 - self._target.decimals)
        return -(-gas * price * rate // divisor)

    def _repeated(self, work: Work, ids: Sequence[int], head: Block) -> Iterator[Call]:
        """A second call in the same block goes on where the first stops."""
        yield self._call(work, head)
        if work.kind == BACKLOG and len(ids) > MAX_VISITS + MANY:
            yield self._call(work._replace(reward=0), head)

    def _call(self, work: Work, head: Block) -> Call:
        gas = work.gas + work.gas * GAS_SPARE_PERCENT // 100 + GAS_SPARE
        return Call(work.kind, self._target.market, work.data, min(gas, head.gas_limit))

    # What was done

    def on_result(self, result: Result) -> None:
        kind, tally = result.call.label, self.tally
        tally.gas += result.gas_used
        tally.fees += result.cost
        if result.status == "done":
            reward = self._earned(result)
            tally.done[kind] = tally.done.get(kind, 0) + 1
            tally.reward += reward
            self.metrics.reward.inc(reward)
            if kind == POKE:
                self._epoch = (-1, 0)
        else:
            tally.failed += 1

    def _earned(self, result: Result) -> int:
        """Token units that the call was credited with, as the market has logged it."""
        market = self._target.market.lower()
        return sum(
            int.from_bytes(log["data"][REWARD], "big")
            for log in result.receipt["logs"]
            if log["address"].lower() == market and bytes(log["topics"][0]) == LIQUIDATED
        )

    def _credit(self) -> int:
        credit = int(ask(self._web3, self._target.market, CREDIT_OF, self._sender.address))
        self.metrics.credit.set(credit)
        return credit

    def _show(self, head: Block, status: Status, ids: Sequence[int]) -> None:
        metrics = self.metrics
        metrics.block.set(head.number)
        metrics.block_time.set(head.timestamp)
        metrics.due.set(len(ids))
        metrics.backlog.set(status.has_backlog)
        metrics.price_age.set(head.timestamp - status.price_time)


def reward_of(web3: Web3, market: str, data: bytes, sender: str, block: Tag = "latest") -> int:
    """Token units that whoever makes this call is credited with now. Reverted if it fails.

    Asked by running, without a transaction, code that makes the call and reads its own credit
    after it: exact for whatever the market does, on any node.
    """
    credited = raw_ask(web3, None, _probe(market, data), sender=sender, block=block)
    return int.from_bytes(credited, "big")


def _probe(market: str, data: bytes) -> bytes:
    """Initcode: call the market with `data`, then return credit_of(this contract)."""
    target = b"\x73" + bytes.fromhex(market[2:])  # PUSH20
    size = b"\x61" + len(data).to_bytes(2, "big")  # PUSH2
    address_at_4 = bytes.fromhex("30600452")  # MSTORE(4, ADDRESS): the first argument
    # Whoever brings a price names who is rewarded.
    named = address_at_4 if data[:4] == UPDATE_PRICE.selector else b""
    call = named + bytes.fromhex("5f5f") + size + bytes.fromhex("5f5f") + target + b"\x5a\xf1"
    ask_credit = (
        b"\x63" + CREDIT_OF.selector + bytes.fromhex("60e01b5f52") + address_at_4
    )  # PUSH4, shifted to the front of word 0
    answer = bytes.fromhex("60205f60245f") + target + bytes.fromhex("5afa50") + b"\x60\x20\x5f\xf3"
    give_up = bytes.fromhex("3d5f5f3e3d5ffd")  # revert as the market did
    copied = len(size) + 3 + 2  # PUSH2 size, PUSH2 place, PUSH0, CODECOPY
    passed = copied + len(call) + 3 + len(give_up)  # where the call did not fail
    code = call + b"\x60" + passed.to_bytes(1, "big") + b"\x57" + give_up + b"\x5b"
    code += ask_credit + answer
    place = copied + len(code)
    return size + b"\x61" + place.to_bytes(2, "big") + b"\x5f\x39" + code + data

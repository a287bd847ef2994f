"""Draws the next action: valid by construction, deliberately invalid, or aimed at an exact edge.

The shares are stated here and counted in the report. Valid actions are computed from the model, so
most succeed; invalid ones break one thing; aimed ones sit on a guard or one unit to either side.
"""

import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from lockstep.edges import find_edge
from lockstep.guidance import Weights
from lockstep.prices import PricePoint
from lockstep.step import Step
from perp_fuzz.actions import ACTIONS, HOOKS, INTRUSIONS, NO_HOOK
from perp_fuzz.aims import Aims
from perp_fuzz.beginnings import Beginnings
from perp_fuzz.deployment import (
    ADDRESSES,
    ATTACKER,
    GUARDIANS,
    KEEPERS,
    LPS,
    OWNERS,
    PUBLISHERS,
    ROLE_OF,
    TRADERS,
    TREASURIES,
)
from perp_fuzz.feeds import LARGER_BATCHES, REPORT_FLAWS, ROUND_FLAWS, SOUND
from perp_fuzz.variants import COUNT, TIGHT, TIGHTER, VALID
from python_model.evm import MAX_UINT256
from python_model.modules import margin_math, trigger_key
from python_model.modules.constants import (
    FUNDING_PRECISION,
    LONG,
    MAX_MARGIN,
    MAX_PRICE,
    MAX_SIZE,
    SHORT,
    WAD,
)
from python_model.perp_market import SETTLEMENT_DELAY, Marks, Position
from python_model.risk_engine import Book
from python_model.signed_price_feed import MAX_DELAY, SignedPriceFeed

if TYPE_CHECKING:
    from perp_fuzz.adapter import PerpTwin

T = TypeVar("T")
Drawn = tuple[str, str, tuple[int | str, ...]]  # action, actor, arguments

INVALID_SHARE = 0.10
EDGE_SHARE = 0.12
CROWD = 160  # open positions above which closing is preferred
HERD_SHARE = 0.0004  # of steps that begin a herd
DROUGHT_SHARE = 0.0015  # of steps that begin a drought
AIM_SHARE = 0.04  # of steps that look for a side of a boundary that was rare so far
IN_FRONT_SHARE = 0.001  # of steps that look whether deleveraging can be crowded
ABANDONED_SHARE = 0.0003  # of steps that begin a week without prices
AT_RESERVE = 5  # the kind of an aimed open that uses up the pool's free cash
HERD = 40  # positions that one price makes due at once: more than a call may visit
ANY = MAX_UINT256
OVERFLOWS = (MAX_UINT256, 2**255, 2**128, MAX_MARGIN + 1, MAX_SIZE + 1)

# Every action that can succeed keeps half a hundredth of the steps; the rest goes to the heart of
# the protocol. A token that misbehaves is made to stop soon, which is a second step of the same
# action. Without an open position the actions on one become opens.
OF_POSITION = ("increase", "reduce", "close", "add_margin", "remove_margin", "liquidate")
HEART = (*OF_POSITION, "continue_backlog", "deposit", "mint", "withdraw", "redeem", "update_price")
WEIGHTS = (
    dict.fromkeys(ACTIONS, 1.1)
    | dict.fromkeys(HEART, 3.6)
    | {
        "open": 6.5,
        "publish": 9.0,
        "close": 6.0,
        "set_fee": 0.9,
        "set_hook": 1.0,
        "seize": 0.5,
        "donate": 1.0,
        "propose_params": 0.8,
        "create_market": 0.4,
        "set_treasury": 0.2,
        "cancel_publishers": 0.4,
        "set_sequencer": 0.4,
    }
)
_EPISODES = list(accumulate((HERD_SHARE, DROUGHT_SHARE, ABANDONED_SHARE, IN_FRONT_SHARE)))


def below(rng: random.Random, count: int) -> int:
    """One of 0 to count - 1, for counts far below 2**53: a third of the time of `randrange`."""
    return int(rng.random() * count)


def one_of(rng: random.Random, options: Sequence[T]) -> T:
    """One of them, as `choice` does it in three times the time."""
    return options[int(rng.random() * len(options))]


class Generator:
    """Actions for one twin."""

    def __init__(self, twin: "PerpTwin", path: Iterator[PricePoint]) -> None:
        self.twin = twin
        self.path = path
        self.market = twin.market
        self.system = twin.system
        self.engine = twin.system.engine
        self.params = self.engine.PARAMS
        self.is_signed = isinstance(twin.system.feed, SignedPriceFeed)
        # A token that returns nothing cannot say no.
        self.refusal = (10_001,) if twin.config.get("token", "standard") == "standard" else ()
        self.is_down = False  # the sequencer
        self.clock = 0  # what waiting has added to the times of the path
        self.unit = 10**twin.system.token.decimals
        self.deposits: int = twin.config.get("deposit", 400_000)
        self.on_edge = 0  # a position that the last price left one unit from its liquidation
        self.at = twin.now
        # As of `at`, worked out when first asked for.
        self._marks: Marks | None = None
        self._book: Book | None = None
        self.weights = Weights(WEIGHTS)
        self.aims = Aims(self)
        self.episode: Iterator[tuple[Drawn, str]] = Beginnings(self).draw()
        twin.credit_to(self.aims.credit)
        self.setup = iter((("publish", None), *(("deposit", lp) for lp in LPS)))

    def step(self, rng: random.Random) -> Step:
        """The next step."""
        self.weights.note(self.twin.seen.action, self.twin.reason)
        self.at = self.twin.now + (below(rng, 3) if rng.random() < 0.7 else 0)
        first = next(self.setup, None)
        if first is not None:
            action, lp = first
            if lp is None:
                return self._step(self.publish(rng), "valid")
            amount = rng.randrange(self.deposits // 2, 2 * self.deposits) * self.unit
            return self._step((action, lp, (amount, lp)), "valid")
        self.system.chain.timestamp = self.at
        self._marks = self._book = None
        scripted = next(self.episode, None)
        if scripted is None and (begins := rng.random()) < _EPISODES[-1]:
            begin = (self._herd, self._drought, self._abandoned, self._in_front)
            self.episode = begin[bisect(_EPISODES, begins)](rng)
            scripted = next(self.episode, None)
        if scripted is not None:
            return self._step(*scripted)
        if rng.random() < AIM_SHARE and (aimed := self.aims.draw(rng)) is not None:
            return self._step(aimed, "edge")
        name = self._choose(rng)
        chance = rng.random()
        if self.on_edge and not self._keeps_fee() and rng.random() < 0.5:
            name, chance = "liquidate", 0.0
        drawn: Drawn | None = None
        aim = "valid"
        if chance < EDGE_SHARE:
            drawn, aim = self.edge(name, rng), "edge"
        elif chance < EDGE_SHARE + INVALID_SHARE:
            drawn, aim = self.invalid(name, rng), "invalid"
        if drawn is None:
            drawn, aim = getattr(self, name)(rng), "valid"
        return self._step(drawn, aim)

    @property
    def marks(self) -> Marks:
        """Price and funding as they will be at the step."""
        if self._marks is None:
            self._marks = self.market._accrued()
        return self._marks

    @property
    def book(self) -> Book:
        """What the engine's terms depend on, as it will be at the step."""
        if self._book is None:
            self._book = self.market._book_state(self.marks)
        return self._book

    def _step(self, drawn: Drawn, aim: str) -> Step:
        return Step(drawn[0], drawn[1], drawn[2], self.at, aim)

    def _choose(self, rng: random.Random) -> str:
        market, token = self.market, self.system.token
        if not self.twin.seen.token_is_sound:
            if token.fee_bps and rng.random() < 0.75:
                return "set_fee"
            if rng.random() < 0.4 and self._is_short():
                return "donate"
            if self.twin.hook != NO_HOOK and rng.random() < 0.6:
                return "set_hook"
        if self.is_down and rng.random() < 0.3:
            return "set_sequencer"
        oldest = market._marks.price_time + self.params.max_price_age
        is_priceless = market._halted or oldest < self.at
        if is_priceless and not token.fee_bps and rng.random() < 0.3:
            return "publish"
        if market._backlog and not token.fee_bps and rng.random() < 0.5:
            return one_of(rng, ("continue_backlog", "liquidate", "liquidate"))
        name = self.weights.draw(rng)
        live = len(self.twin.live)
        if name in ADDS_RISK and self.at < self.engine._reduce_only_until and rng.random() < 0.75:
            name = one_of(rng, ("publish", "close", "add_margin", "reduce", "publish"))
        if token.fee_bps and name not in PULLING:
            # A token that keeps a fee may not enter; one that starts to later is not covered.
            return "add_margin" if live else "deposit"
        if name == "open" and live > CROWD:
            return "close"
        if name == "close" and live < CROWD * 3 // 4 and rng.random() < 0.4:
            return "open"
        if not live and name in NEED_POSITION and rng.random() < 0.8:
            return "open"
        return name

    # Valid actions

    def open(self, rng: random.Random) -> Drawn:
        """A position of random size and leverage; sometimes one filed beside another."""
        side = self._side_with_room(rng)
        size = self._size(rng)
        return "open", one_of(rng, TRADERS), self._opening(rng, side, size)

    def _opening(self, rng: random.Random, side: int, size: int) -> tuple[int, ...]:
        fill, fee = self._quote(side, size)
        needed = self._initial(size, self.tier(size)) + self._entry_loss(side, size, fill)
        factor = one_of(rng, (1_000_001, 1_020_000, 1_100_000, 1_500_000, 3_000_000, 8_000_000))
        margin = needed * factor // 1_000_000 + 2
        if rng.random() < 0.3:
            others = (self._pick(rng)[0] for _ in range(4))
            tried = (self._margin_beside(rng, side, size, fill, other) for other in others)
            margin = next((beside for beside in tried if needed < beside < 20 * needed), margin)
        return side, size, fee + margin, self._acceptable(side, fill, rng)

    def _margin_beside(
        self, rng: random.Random, side: int, size: int, fill: int, other_id: int
    ) -> int:
        """Margin that gives about the trigger key of an open position: one ring for both."""
        other = self.market._positions[other_id]
        if other is None or other.side != side or other.tier != self.tier(size):
            return 0
        scale = self.market.VALUE_SCALE
        key = trigger_key._trigger_key(
            side, other.size, other.margin, other.entry_price, other.entry_funding, scale
        )
        entry = fill * FUNDING_PRECISION
        distance = (entry if side == LONG else -entry) - self.marks.funding[side] - key
        return distance * size // scale + rng.randrange(-2, 4)

    def _herd(self, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """Positions of one ring, nearer to liquidation than others, then the price they share."""
        live = self.twin.live
        count = len(live)
        side = below(rng, 2)
        size = self.params.min_size * rng.randrange(1, 5)
        worst = ANY if side == LONG else 0
        leader = 0
        for _ in range(HERD):
            fill, fee = self._quote(side, size)
            margin = self._initial(size, self.tier(size)) + self._entry_loss(side, size, fill) + 4
            if leader:
                beside = self._margin_beside(rng, side, size, fill, leader)
                margin = max(beside, margin)
            yield ("open", one_of(rng, TRADERS), (side, size, fee + margin, worst)), "valid"
            if not leader:
                if len(live) == count:
                    return  # refused: no room, no backlog wanted, or a token that misbehaves
                leader = live[-1]
            elif self.market._positions[leader] is None:
                return
        position = self.market._stored(leader)
        self._await_price()
        edge = self._edge_price(position, self._is_due_at(position), self.last_price >> 5)
        if edge is not None:
            further = one_of(rng, (0, edge[0] >> 13))
            price = edge[0] - further if side == LONG else edge[1] + further
            yield self._report(price, self.at, rng), "edge"

    def _drought(self, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """Providers take what they can, then the smaller side wins more than the pool has left.

        The larger side owes the pool more than that, so it recovers; else it would stay bankrupt.
        """
        market, pool, live = self.market, self.system.pool, self.twin.live
        if len(live) < 30 or self._keeps_fee():
            return
        before = pool.cash()
        for lp in (*LPS, ATTACKER):  # the attacker was sent shares
            shares = pool.maxRedeem(ADDRESSES[lp])
            if shares:
                yield ("redeem", lp, (shares - shares // 1000, lp, lp)), "edge"
        taken = before - pool.cash()
        if (drawn := self.edge_open(rng, below(rng, 2), AT_RESERVE)) is not None:
            yield drawn, "edge"
        side = LONG if self._skew() < 0 else SHORT
        price = self.last_price
        move = price * rng.randrange(30, 120) // 1000
        price += move if side == LONG else -move
        self.at = max(self.at, self.last_time + 1)
        if not 0 < price <= MAX_PRICE:
            return
        yield self._report(price, self.at, rng), "edge"
        for position_id in self._by_value(side)[:12]:
            owner = market._stored(position_id).owner
            yield self._exit_of(position_id), "valid"
            if self.system.pool.claim_of[owner] > 0:
                # Paid in part, if at all; in full once losers or providers have paid in.
                yield ("withdraw_credit", ROLE_OF[owner], ()), "valid"
                break
        for position_id in self._by_value(SHORT - side)[:-9:-1]:
            if pool.cash() > 2 * pool.claims:
                break
            yield self._exit_of(position_id), "valid"
        if pool.claims:
            # What claims leave free, or a unit more.
            for lp in LPS:
                amount = pool.maxWithdraw(ADDRESSES[lp]) + 1
                yield ("withdraw", lp, (amount, lp, lp)), "edge"
        for off in range(2):
            drawn = self.edge_open(rng, off, AT_RESERVE)
            yield drawn or self.open(rng), "edge"
        amount = min(taken, pool.maxDeposit(ADDRESSES[LPS[0]]))
        if amount:
            yield ("deposit", LPS[0], (amount, LPS[0])), "valid"

    def _in_front(self, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """Small positions with much margin and no profit stand before the winners when the pool has
        to be rid of these: more of them than a call may look at."""
        if self._keeps_fee() or self.at < self.engine._reduce_only_until:
            return
        rises = self._skew() > 0
        side = SHORT if rises else LONG
        size = self.params.min_size
        for _ in range(HERD):
            fill, fee = self._quote(side, size)
            margin = 30 * size * fill // self.market.NOTIONAL_SCALE
            worst = ANY if side == LONG else 0
            yield ("open", one_of(rng, TRADERS), (side, size, fee + margin, worst)), "valid"
        for _ in range(4):
            if self._keeps_fee():
                return
            edge = self._profit_edge(rng)
            if edge is None:
                reach = self.last_price * self.engine._params.max_jump // WAD * 9 // 10
                price = self.last_price + (reach if rises else -reach)
            else:
                # Just too much for the pool, or just not.
                price = edge[rises == (rng.random() < 0.6)]
            yield self._report(price, self.at, rng), "edge"
            for _ in range(2):
                self.at = self.twin.now
                yield ("continue_backlog", KEEPERS[0], (one_of(rng, (5, 32)),)), "valid"
            if edge is not None:
                return

    def _keeps_fee(self) -> bool:
        return self.system.token.fee_bps > 0

    def _by_value(self, side: int) -> list[int]:
        """The positions of a side, the greatest profit first."""
        positions = [(i, self.market._stored(i)) for i in self.twin.live]
        values = [(self._value(position), i) for i, position in positions if position.side == side]
        return [position_id for _, position_id in sorted(values, reverse=True)]

    def _exit_of(self, position_id: int) -> Drawn:
        """Closing at any price, or liquidating what its owner may no longer close."""
        position = self.market._stored(position_id)
        if self.market._is_liquidatable(position, self.marks):
            return "liquidate", KEEPERS[0], (position_id,)
        return "close", ROLE_OF[position.owner], (position_id, 0 if position.side == LONG else ANY)

    def increase(self, rng: random.Random) -> Drawn:
        position_id, position, owner = self._pick(rng)
        size = self._size(rng) // 4 + 1
        fill, fee = self._quote(position.side, size)
        whole = position.size + size
        value = min(self._value(position), 0)
        short = (
            self._initial(whole, self.tier(whole), size)
            + self._entry_loss(position.side, size, fill)
            - value
            + fee
            - position.margin
        )
        margin = max(short + short // 20 + 3, 0)
        acceptable = self._acceptable(position.side, fill, rng)
        return "increase", owner, (position_id, size, margin, acceptable)

    def reduce(self, rng: random.Random) -> Drawn:
        position_id, position, owner = self._pick(rng)
        most = position.size - self.params.min_size
        size = rng.randrange(1, most) if most > 1 else 1
        if rng.random() < 0.3 and most > 8:
            size = rng.randrange(most * 3 // 4, most + 1)
        fill, _ = self._quote(SHORT - position.side, size)
        acceptable = self._acceptable(SHORT - position.side, fill, rng)
        return "reduce", owner, (position_id, size, acceptable)

    def close(self, rng: random.Random) -> Drawn:
        position_id, position, owner = self._pick(rng)
        fill, _ = self._quote(SHORT - position.side, position.size)
        acceptable = self._acceptable(SHORT - position.side, fill, rng)
        return "close", owner, (position_id, acceptable)

    def add_margin(self, rng: random.Random) -> Drawn:
        position_id, position, owner = self._pick(rng)
        amount = 1 + position.margin * rng.randrange(1, 300_000) // 1_000_000
        return "add_margin", owner, (position_id, amount)

    def remove_margin(self, rng: random.Random) -> Drawn:
        position_id, position, owner = self._pick(rng)
        free = self._removable(position)
        amount = free * one_of(rng, (1, 30, 90, 99, 100)) // 100 if free > 0 else 1
        return "remove_margin", owner, (position_id, max(amount, 1))

    def publish(self, rng: random.Random) -> Drawn:
        """The next price of the path; now and then hours of it are skipped: a gap."""
        point = next(self.path)
        if rng.random() < 0.008:
            for _ in range(rng.randrange(60, 300)):
                point = next(self.path)
        self.at = max(self.at, point.at + self.clock, self.last_time + 1)
        price_time = max(self.at - below(rng, 3), self.last_time + 1)
        flaw = one_of(rng, LARGER_BATCHES) if rng.random() < 0.1 and self.is_signed else SOUND
        return self._report(min(point.price, MAX_PRICE), price_time, rng, flaw)

    def _report(self, price: int, price_time: int, rng: random.Random, flaw: int = SOUND) -> Drawn:
        """A price brought by anyone, its confidence mostly narrow."""
        confidence = price // one_of(rng, (10_000, 5_000, 1_000, 200, 70)) + 4
        if self.is_signed and rng.random() < 0.03:
            # Exactly the widest, or a unit more.
            widest = price * self.engine._params.max_confidence // WAD
            confidence = max(widest + one_of(rng, (0, 0, 1, widest)), 2)
        return "publish", self._publisher(), (price, confidence, price_time, flaw)

    def answer(self, rng: random.Random) -> Drawn:
        """A round that nobody brings to the market yet."""
        self.at = max(self.at, self.last_time + 1)
        flaw = one_of(rng, (SOUND, SOUND, below(rng, len(ROUND_FLAWS))))
        return "answer", one_of(rng, KEEPERS), (self.last_price, 0, self.at, flaw)

    def update_price(self, rng: random.Random) -> Drawn:
        return "update_price", one_of(rng, KEEPERS), (one_of(rng, KEEPERS),)

    def liquidate(self, rng: random.Random) -> Drawn:
        """A liquidatable position if the nearest one of a list is."""
        position_id, _, _ = self._pick(rng)
        ranked = self.twin.seen.ranked
        first = below(rng, len(ranked))
        for ranks in (*ranked[first:], *ranked[:first]):
            if ranks and self.market._is_liquidatable(self.market._stored(ranks[0][1]), self.marks):
                position_id = ranks[0][1]
                break
        return "liquidate", one_of(rng, (*KEEPERS, ATTACKER)), (position_id,)

    def continue_backlog(self, rng: random.Random) -> Drawn:
        return "continue_backlog", one_of(rng, KEEPERS), (one_of(rng, (1, 5, 20, 32, 100)),)

    def accrue(self, rng: random.Random) -> Drawn:
        if rng.random() < 0.05:
            self.at += rng.randrange(1, 2 * self.params.max_price_age)
        return "accrue", one_of(rng, KEEPERS), ()

    def withdraw_credit(self, rng: random.Random) -> Drawn:
        market = self.market
        owners = [
            role
            for role in (*TRADERS, *KEEPERS, *PUBLISHERS, ATTACKER)
            if market.credit_of[ADDRESSES[role]] or self.system.pool.claim_of[ADDRESSES[role]]
        ]
        return "withdraw_credit", one_of(rng, owners or TRADERS), ()

    def collect_fees(self, rng: random.Random) -> Drawn:
        return "collect_fees", one_of(rng, KEEPERS), ()

    def fund_insurance(self, rng: random.Random) -> Drawn:
        return "fund_insurance", one_of(rng, TRADERS), (rng.randrange(1, 50 * self.unit),)

    def deposit(self, rng: random.Random) -> Drawn:
        """More when the pool is thin, so that draining it stays possible and passing."""
        is_thin = self.system.pool.cash() < 2 * self.deposits * self.unit
        most = self.deposits if is_thin else self.deposits // 20
        amount = rng.randrange(1, most * self.unit)
        return "deposit", one_of(rng, LPS), (amount, one_of(rng, LPS))

    def mint(self, rng: random.Random) -> Drawn:
        pool = self.system.pool
        shares = (pool.totalSupply or 1000 * self.unit) * rng.randrange(1, 20_000) // 1_000_000
        return "mint", one_of(rng, LPS), (max(shares, 1), one_of(rng, LPS))

    def withdraw(self, rng: random.Random) -> Drawn:
        lp = one_of(rng, LPS)
        most = self.system.pool.maxWithdraw(ADDRESSES[lp])
        amount = most * one_of(rng, (1, 10, 30, 30, 100)) // 100
        return "withdraw", lp, (max(amount, 1), one_of(rng, (*LPS, ATTACKER)), lp)

    def redeem(self, rng: random.Random) -> Drawn:
        lp = one_of(rng, LPS)
        most = self.system.pool.maxRedeem(ADDRESSES[lp])
        shares = most * one_of(rng, (1, 10, 30, 30, 100)) // 100
        actor = one_of(rng, LPS)
        if self.system.pool.allowance[ADDRESSES[lp], ADDRESSES[actor]] < shares:
            actor = lp
        return "redeem", actor, (max(shares, 1), one_of(rng, (*LPS, ATTACKER)), lp)

    def transfer_shares(self, rng: random.Random) -> Drawn:
        sender, receiver = one_of(rng, LPS), one_of(rng, (*LPS, ATTACKER))
        amount = self.system.pool.balanceOf[ADDRESSES[sender]] * below(rng, 20) // 100
        return "transfer_shares", sender, (receiver, amount)

    def approve_shares(self, rng: random.Random) -> Drawn:
        amount = one_of(rng, (0, 1, self.system.pool.totalSupply, MAX_UINT256))
        return "approve_shares", one_of(rng, LPS), (one_of(rng, LPS), amount)

    def approve_token(self, rng: random.Random) -> Drawn:
        amount = MAX_UINT256 if rng.random() < 0.85 else rng.randrange(1000 * self.unit)
        role = one_of(rng, (*TRADERS, *LPS))
        allowance = self.system.token.allowance
        for poor in (*TRADERS, *LPS):
            for spender in ("market", "pool"):
                address = getattr(self.system, spender).address
                if amount == MAX_UINT256 and allowance[ADDRESSES[poor], address] != MAX_UINT256:
                    return "approve_token", poor, (spender, amount)
        return "approve_token", role, (one_of(rng, ("market", "pool")), amount)

    def donate(self, rng: random.Random) -> Drawn:
        for name in ("market", "pool"):
            if short := self._missing(name):
                return "donate", ATTACKER, (name, short)
        receiver = one_of(rng, ("market", "pool", "attacker", "trader_0", "lp_0"))
        return "donate", ATTACKER, (receiver, rng.randrange(5 * self.unit))

    def set_fee(self, rng: random.Random) -> Drawn:
        bps = 0 if self.system.token.fee_bps else one_of(rng, (1, 30, 10_000, *self.refusal))
        return "set_fee", "owner_0", (bps,)

    def set_hook(self, rng: random.Random) -> Drawn:
        hook = one_of(rng, list(HOOKS)) if self.twin.hook == NO_HOOK else NO_HOOK
        return "set_hook", "owner_0", (hook,)

    def settle(self, rng: random.Random) -> Drawn:
        """Almost always too early; an episode waits long enough."""
        return "settle", one_of(rng, KEEPERS), (self._pick(rng)[0],)

    def _abandoned(self, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """No price for a week: whatever is open may be settled by anyone; then prices again."""
        expiry = self.market._marks.price_time + SETTLEMENT_DELAY
        # A token that starts to keep a fee is not covered: nothing may leave meanwhile.
        if not self.twin.live or expiry <= self.at or self._keeps_fee():
            return
        self.at = max(self.at, expiry + below(rng, 3))
        for _ in range(rng.randrange(1, 6)):
            yield self.settle(rng), "edge"
        yield self._price_after_waiting(rng), "valid"

    def _price_after_waiting(self, rng: random.Random) -> Drawn:
        """The next price of the path, whose times go on from here."""
        point = next(self.path)
        self.at = max(self.at, point.at + self.clock, self.last_time + 1)
        self.clock = self.at - point.at
        return self._report(min(point.price, MAX_PRICE), self.at, rng)

    def withdraw_claim(self, rng: random.Random) -> Drawn:
        pool = self.system.pool
        owners = [role for role in TRADERS if pool.claim_of[ADDRESSES[role]]]
        return "withdraw_claim", one_of(rng, owners or TRADERS), ()

    def seize(self, rng: random.Random) -> Drawn:
        """Tokens are taken from market or pool, by more than was ever given, and given back."""
        name = one_of(rng, ("market", "market", "pool"))
        address = getattr(self.system, name).address
        held = self.system.token.balanceOf[address]
        spare = max(held - self._booked(name), 0)
        amount = min(spare + rng.randrange(1, 1000 * self.unit), held)
        position_id, position, owner = self._pick(rng)
        tried = [(self.open(rng), "valid"), (self.deposit(rng), "valid")]
        if self.twin.live:
            tried.append((self.add_margin(rng), "valid"))
            worst = 0 if position.side == LONG else ANY
            tried.append((("close", owner, (position_id, worst)), "valid"))
        rng.shuffle(tried)
        restore = ("donate", ATTACKER, (name, amount))
        self.episode = iter((*tried[: rng.randrange(1, 4)], (restore, "valid")))
        return "seize", ATTACKER, (name, amount)

    def _is_short(self) -> bool:
        return self._missing("market") + self._missing("pool") > 0

    def _missing(self, name: str) -> int:
        """What was seized and not given back."""
        address = getattr(self.system, name).address
        return max(self._booked(name) - self.system.token.balanceOf[address], 0)

    def _booked(self, name: str) -> int:
        if name == "pool":
            return self.system.pool.cash()
        market = self.market
        return market._total_margin + market._insurance + market._fees + market._credits

    def propose_params(self, rng: random.Random) -> Drawn:
        number = one_of(rng, (below(rng, VALID), self._tight(rng)))
        if rng.random() < 0.25:
            self.episode = self._applied("apply_params", rng)
        return "propose_params", self._owner(), (number,)

    def cancel_params(self, rng: random.Random) -> Drawn:
        return "cancel_params", self._owner(), ()

    def apply_params(self, rng: random.Random) -> Drawn:
        return "apply_params", self._owner(), ()

    def _applied(self, action: str, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """The delay passes, to the second or not quite; prices arrive again afterwards."""
        configurator, system = self.system.configurator, self.system
        if action == "apply_params":
            eta = configurator._params_proposals[system.market.address].eta
        else:
            eta = configurator._publishers_proposals[system.feed.address].eta
        if eta < self.at or self._keeps_fee():
            return
        if rng.random() < 0.5:
            self.at = eta - 1
            yield (action, self._owner(), ()), "edge"
        self.at = max(self.at, eta)
        yield (action, self._owner(), ()), "edge"
        yield self._price_after_waiting(rng), "valid"

    def tighten(self, rng: random.Random) -> Drawn:
        return "tighten", self._owner(), (self._tight(rng),)

    def guardian_restrict(self, rng: random.Random) -> Drawn:
        role = ROLE_OF.get(self.system.configurator.guardian, GUARDIANS[0])
        duration = one_of(rng, (1, 60, 300, 86_400, 86_401, rng.randrange(1, 600)))
        return "guardian_restrict", role, (duration,)

    def set_guardian(self, rng: random.Random) -> Drawn:
        return "set_guardian", self._owner(), (one_of(rng, GUARDIANS),)

    def propose_publishers(self, rng: random.Random) -> Drawn:
        everyone = (1 << len(PUBLISHERS)) - 1
        chosen = everyone if rng.random() < 0.5 else rng.randrange(everyone + 1)
        quorum = one_of(rng, (1, 2, 3, 3, 3, 4))
        number = chosen | quorum << len(PUBLISHERS)
        if rng.random() < 0.1:
            number |= 1 << len(PUBLISHERS) + 3
        if self.is_signed and rng.random() < 0.5:
            self.episode = self._applied("apply_publishers", rng)
        return "propose_publishers", self._owner(), (number,)

    def apply_publishers(self, rng: random.Random) -> Drawn:
        return "apply_publishers", self._owner(), ()

    def cancel_publishers(self, rng: random.Random) -> Drawn:
        return "cancel_publishers", self._owner(), ()

    def remove_publisher(self, rng: random.Random) -> Drawn:
        """Rarely one that is needed."""
        return "remove_publisher", self._owner(), (one_of(rng, PUBLISHERS),)

    def transfer_ownership(self, rng: random.Random) -> Drawn:
        return "transfer_ownership", self._owner(), (one_of(rng, OWNERS),)

    def accept_ownership(self, rng: random.Random) -> Drawn:
        pending = ROLE_OF.get(self.system.configurator.pending_owner)
        return "accept_ownership", pending or one_of(rng, OWNERS), ()

    def _tight(self, rng: random.Random) -> int:
        """A few fields tighter."""
        chosen = 0
        for _ in range(rng.randrange(1, 4)):
            chosen |= 1 << below(rng, len(TIGHTER))
        return TIGHT + chosen

    def _owner(self) -> str:
        return ROLE_OF[self.system.configurator.owner]

    def intrude(self, rng: random.Random) -> Drawn:
        way = below(rng, len(INTRUSIONS))
        return "intrude", one_of(rng, (ATTACKER, *OWNERS)), (way, rng.randrange(1000 * self.unit))

    def set_treasury(self, rng: random.Random) -> Drawn:
        return "set_treasury", ROLE_OF[self.system.factory.owner], (rng.choice(TREASURIES),)

    def create_market(self, rng: random.Random) -> Drawn:
        return "create_market", ROLE_OF[self.system.factory.owner], (below(rng, 7),)

    def set_sequencer(self, rng: random.Random) -> Drawn:
        """It stops, or comes back; or nobody knows when it did, or it is to be."""
        self.is_down = not self.is_down
        since = self.at if rng.random() < 0.8 else one_of(rng, (0, self.at + 60))
        rounds = (1, int(self.is_down), since, self.at, 1)
        return "set_sequencer", KEEPERS[0], rounds

    # Invalid actions: a valid one with one thing broken

    def invalid(self, name: str, rng: random.Random) -> Drawn | None:
        """The action, by another caller or with an argument that must be refused."""
        _, actor, args = getattr(self, name)(rng)
        changed = list(args)
        numbers = [i for i, value in enumerate(args) if isinstance(value, int)]
        if name in ("set_fee", "seize", "answer", "intrude", "set_sequencer"):
            return None
        kind = below(rng, 4)
        if name == "publish":
            flaws = REPORT_FLAWS if self.is_signed else ROUND_FLAWS
            changed[-1] = rng.randrange(1, len(flaws))
            return name, actor, tuple(changed)
        if name in ("propose_params", "tighten") and kind > 0:
            return name, actor, (rng.randrange(VALID, COUNT),)
        if kind == 0:
            actor = one_of(rng, (ATTACKER, *TRADERS))
        elif name in OF_POSITION and kind == 1:
            count = self.market._position_count
            changed[0] = one_of(
                rng, (0, rng.randrange(1, count + 1) if count else 1, count, count + 1, ANY)
            )
        elif name in ("open", "increase", "reduce", "close") and kind == 2:
            side = args[0] if name == "open" else self._side_of(args[0])
            is_buying = (side == LONG) == (name in ("open", "increase"))
            changed[-1] = 0 if is_buying else ANY
        elif numbers:
            spot = one_of(rng, numbers)
            changed[spot] = one_of(rng, (0, 0, *OVERFLOWS))
            if name == "open" and spot == 0:
                changed[spot] = one_of(rng, (SHORT + 1, *OVERFLOWS))
        else:
            return None
        return name, actor, tuple(changed)

    # Edges: exactly on a guard, or one unit to either side

    def edge(self, name: str, rng: random.Random) -> Drawn | None:
        """An action aimed at an exact edge, if this one has any here and now."""
        aim = getattr(self, f"edge_{name}", None)
        if aim is None:
            return None
        drawn: Drawn | None = aim(rng, one_of(rng, (-1, 0, 1)))
        return drawn

    def edge_open(self, rng: random.Random, off: int, kind: int | None = None) -> Drawn | None:
        """Least margin, last unit of a tier, cap, skew or reserve, exact price, age, balance."""
        kind = below(rng, 8) if kind is None else kind
        side = below(rng, 2)
        if kind >= AT_RESERVE:
            side = SHORT if self._skew() > 0 else LONG
        size = self._size(rng)
        params, limits = self.params, self.engine._params
        own, other = self.market._side_size(side), self.market._side_size(SHORT - side)
        if kind == 1:
            size = one_of(rng, params.tier_sizes) + off
        elif kind == 2:
            size = params.min_size + off
        elif kind == 3:
            size = limits.max_open_interest - own + off
        elif kind == 4:
            size = other + limits.max_skew - own + off
        elif kind == AT_RESERVE:
            size = self._backed_size() - own - other + off
        elif kind == 7:
            # As far past balance as it was before: the average skew is zero.
            size = 2 * abs(self._skew()) + off
        if not 0 < size <= MAX_SIZE:
            return None
        if size > params.tier_sizes[-1] + 1:
            # Too large for one position; come nearer with the largest.
            size = params.tier_sizes[-1]
        if kind == 6:
            self._age(off)
        fill, fee = self._quote(side, size)
        needed = self._initial(size, self.tier(size)) + self._entry_loss(side, size, fill)
        margin = fee + needed + (off if kind == 0 else 1)
        acceptable = fill + (one_of(rng, (-1, 0, 1)) if rng.random() < 0.3 else 0)
        return "open", one_of(rng, TRADERS), (side, size, max(margin, 1), max(acceptable, 0))

    def edge_increase(self, rng: random.Random, off: int) -> Drawn | None:
        """Size up to the end of a tier or the cap, least margin."""
        position_id, position, owner = self._pick(rng)
        own = self.market._side_size(position.side)
        other = self.market._side_size(SHORT - position.side)
        size = one_of(
            rng,
            (
                self.params.tier_sizes[position.tier] - position.size + off,
                self.engine._params.max_open_interest - own + off,
                other + self.engine._params.max_skew - own + off,
                self._size(rng),
            ),
        )
        if not 0 < size <= self.params.tier_sizes[-1]:
            return None
        fill, fee = self._quote(position.side, size)
        grown = position.copy()
        grown.entry_price = margin_math._average_entry_price(
            position.side, position.size, position.entry_price, size, fill
        )
        grown.entry_funding = margin_math._average_entry_funding(
            position.size, position.entry_funding, size, self.marks.funding[position.side]
        )
        grown.size += size
        needed = self._initial(grown.size, self.tier(grown.size), size) - min(self._value(grown), 0)
        margin = max(needed + fee - position.margin + off, 0)
        return "increase", owner, (position_id, size, margin, fill)

    def edge_reduce(self, rng: random.Random, off: int) -> Drawn | None:
        """A rest of exactly the minimum size, the end of a lower tier, or nothing."""
        position_id, position, owner = self._pick(rng)
        rest = one_of(rng, (self.params.min_size, self.params.tier_sizes[0], 0)) + off
        size = position.size - rest
        if size <= 0:
            return None
        fill, _ = self._quote(SHORT - position.side, size)
        return "reduce", owner, (position_id, size, fill)

    def edge_close(self, rng: random.Random, off: int) -> Drawn | None:
        """Exactly the fill price, or exactly the oldest fresh price."""
        position_id, position, owner = self._pick(rng)
        if rng.random() < 0.15:
            self._age(off)
            off = 0
        fill, _ = self._quote(SHORT - position.side, position.size)
        return "close", owner, (position_id, max(fill + off, 0))

    def edge_add_margin(self, rng: random.Random, off: int) -> Drawn | None:
        """All of the allowance, or the largest margin there can be."""
        position_id, position, owner = self._pick(rng)
        allowed = self.system.token.allowance[ADDRESSES[owner], self.market.address]
        amount = allowed + off if allowed < MAX_MARGIN else MAX_MARGIN - position.margin + off
        return "add_margin", owner, (position_id, max(amount, 1))

    def edge_remove_margin(self, rng: random.Random, off: int) -> Drawn | None:
        """Exactly what the initial requirement leaves free, or the whole margin."""
        position_id, position, owner = self._pick(rng)
        free = (position.margin if rng.random() < 0.2 else self._removable(position)) + off
        return ("remove_margin", owner, (position_id, free)) if free > 0 else None

    def edge_publish(self, rng: random.Random, off: int) -> Drawn | None:
        """A price at which some position becomes liquidatable, bankrupt, or no longer in part."""
        kind = below(rng, 8)
        if kind == 0:
            price = self.last_price
            if rng.random() < 0.1:
                price = one_of(rng, (1, MAX_PRICE, MAX_PRICE + 1))
                self.episode = self._return_to(self.last_price, rng)
            price_time = one_of(
                rng,
                (self.last_time + max(off, 0), self.at + max(off, 0), self.at - MAX_DELAY + off),
            )
            return self._report(max(price, 1), price_time, rng)
        if kind == 1:
            # As old as a report may be when it arrives, or a second to either side.
            self.at = max(self.at, self.last_time + MAX_DELAY + 2)
            return self._report(self.last_price, self.at - MAX_DELAY + off, rng)
        if not self.twin.live:
            return None
        last = self.last_price
        if rng.random() < 0.25:
            return self._breaker_edge(rng)
        if rng.random() < 0.3 and (edge := self._profit_edge(rng)) is not None:
            return self._report(edge[below(rng, 2)], self.at, rng)
        self._await_price()
        rules = (self._is_due_at, self._is_due_at, self._is_whole_at, self._is_bankrupt_at)
        rule = one_of(rng, rules)
        for _ in range(8):
            position_id, position = self._pick_with_neighbour(rng)
            reach = last * one_of(rng, (3, 10, 10, 30, 30, 200)) // 1000
            is_over = rule(position)
            edge = self._edge_price(position, is_over, reach)
            if edge is not None:
                price = edge[below(rng, 2)] + (off if rng.random() < 0.3 else 0)
                self.on_edge = 0 if is_over(price) else position_id
                return self._report(price, self.at, rng)
        return None

    def _await_price(self) -> None:
        """The step will be at a time at which a new price may arrive."""
        self.at = max(self.at, self.last_time + 1)
        self.system.chain.timestamp = self.at
        self._marks = None

    def _edge_price(
        self, position: Position, is_over: Callable[[int], bool], reach: int
    ) -> tuple[int, int] | None:
        """Neighbouring prices, no further than `reach` from the last, that the rule tells apart."""
        away = self.last_price - reach if position.side == LONG else self.last_price + reach
        return find_edge(is_over, *sorted((self.last_price, away)))

    def _is_due_at(self, position: Position) -> Callable[[int], bool]:
        """Whether a position is liquidatable at a price."""
        return self._is_below(position, self.marks.terms.maintenance_fractions[position.tier])

    def _is_bankrupt_at(self, position: Position) -> Callable[[int], bool]:
        """Whether a position has less than nothing at a price."""
        return self._is_below(position, 0)

    def _is_below(self, position: Position, fraction: int) -> Callable[[int], bool]:
        """Whether equity is below this fraction of the notional; the model's rule, with what no
        price changes worked out once: a search asks for many."""
        marks, scale = self.marks, self.market.VALUE_SCALE
        funding = position.size * (marks.funding[position.side] - position.entry_funding)
        exposed = position.size if position.side == LONG else -position.size
        exposed *= FUNDING_PRECISION
        owned = position.margin * scale - exposed * position.entry_price - funding
        share, unit = position.size * fraction, self.market.NOTIONAL_SCALE * WAD
        return lambda price: (owned + exposed * price) // scale < -(-share * price // unit)

    def _is_whole_at(self, position: Position) -> Callable[[int], bool]:
        """Whether a liquidation at a price would close all of it."""
        market, marks = self.market, self.marks.copy()

        def is_whole(price: int) -> bool:
            marks.price = price
            penalty = market._penalty(position.size, marks)
            gain = market._value(position, position.size, price, marks)
            return market._partial_rest(position, gain, penalty, marks).size == 0

        return is_whole

    def _breaker_edge(self, rng: random.Random) -> Drawn:
        """Exactly as far as a jump or a move may go, or a unit further; or a jump that a second
        report of the same block would confirm."""
        engine, last = self.engine, self.last_price
        kind = below(rng, 4)
        reference, bound = last, engine._params.max_jump
        if kind < 2 and engine._price_windows[kind].previous_price:
            reference = engine._price_windows[kind].previous_price
            bound = engine._params.max_moves[kind]
        move = reference * bound // WAD + below(rng, 2)
        price = reference + one_of(rng, (move, -move))
        self.at = max(self.at, self.last_time + 2)
        if kind == 3:
            price += (price - last) // 8
            self.episode = self._at_once(price, rng)
            return self._report(min(max(price, 1), MAX_PRICE), self.at - 1, rng)
        return self._report(min(max(price, 1), MAX_PRICE), self.at, rng)

    def _at_once(self, price: int, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        self.at = self.twin.now
        yield self._report(min(max(price, 1), MAX_PRICE), self.at, rng), "edge"

    def _profit_edge(self, rng: random.Random) -> tuple[int, int] | None:
        """Neighbouring prices between which the traders' profit becomes too large for the pool."""
        self._await_price()
        marks = self.marks
        skew, last = self._skew(), self.last_price
        if skew == 0:
            return None
        most = self.book.cash * self.engine._params.max_profit_share // WAD
        # More than `most` units once the price has moved so that this is used up.
        missing = most * self.market.VALUE_SCALE - self.market._net_trader_profit(marks)
        move, rest = divmod(missing, skew * FUNDING_PRECISION)
        if abs(move) > last * self.engine._params.max_jump // WAD or (move < 0) == (skew > 0):
            return None
        price = last + move
        return (price, price + 1) if skew > 0 else (price - (rest == 0), price + (rest != 0))

    def _return_to(self, price: int, rng: random.Random) -> Iterator[tuple[Drawn, str]]:
        """A sane price at once: whoever traded at the end of the range would empty the pool."""
        self.at = max(self.at, self.last_time + 1)
        yield self._report(price, self.at, rng), "valid"

    def edge_liquidate(self, rng: random.Random, off: int) -> Drawn | None:
        """At the very second at which funding makes a position liquidatable."""
        if not self.twin.live:
            return None
        now = self.at
        latest = self.market._marks.price_time + self.params.max_price_age
        candidates = [self._pick(rng)[0], self._pick(rng)[0]]
        if self.on_edge:
            candidates.insert(0, self.on_edge)
            self.on_edge = 0
        for position_id in candidates:
            position = self.market._positions[position_id]
            if position is None:
                continue

            def due(at: int, p: Position = position) -> bool:
                self.system.chain.timestamp = at
                return self.market._is_liquidatable(p, self.market._accrued())

            edge = find_edge(due, now, latest) if latest > now else None
            if edge is not None:
                self.at = max(edge[1] + off, now)
                if rng.random() < 0.6:
                    owner = ROLE_OF[position.owner]
                    worst = 0 if position.side == LONG else ANY
                    return "close", owner, (position_id, worst)
                return "liquidate", one_of(rng, KEEPERS), (position_id,)
        return None

    def edge_approve_token(self, rng: random.Random, off: int) -> Drawn | None:
        """An allowance that is then used up exactly, but for a unit."""
        position_id, position, owner = self._pick(rng)
        amount = rng.randrange(1, position.margin + 2)
        add: Drawn = ("add_margin", owner, (position_id, max(amount + off, 1)))
        restore: Drawn = ("approve_token", owner, ("market", MAX_UINT256))
        self.episode = iter(((add, "edge"), (restore, "valid")))
        return "approve_token", owner, ("market", amount)

    def edge_fund_insurance(self, rng: random.Random, off: int) -> Drawn | None:
        """All a trader has, or the largest amount."""
        trader = one_of(rng, TRADERS)
        whole = self.system.token.balanceOf[ADDRESSES[trader]]
        amount = one_of(rng, (whole + max(off, 1), MAX_MARGIN + off, 1 + off))
        return "fund_insurance", trader, (amount,)

    def edge_deposit(self, rng: random.Random, off: int) -> Drawn | None:
        lp = one_of(rng, LPS)
        limit = self.system.pool.maxDeposit(ADDRESSES[lp])
        whole = self.system.token.balanceOf[ADDRESSES[lp]]
        return "deposit", lp, (max(one_of(rng, (limit + off, whole + 1, 1)), 0), lp)

    def edge_mint(self, rng: random.Random, off: int) -> Drawn | None:
        lp = one_of(rng, LPS)
        return "mint", lp, (max(self.system.pool.maxMint(ADDRESSES[lp]) + off, 0), lp)

    def edge_withdraw(self, rng: random.Random, off: int) -> Drawn | None:
        """Exactly the limit. Rarely, or the pool would always be empty."""
        lp = one_of(rng, LPS)
        limit = self.system.pool.maxWithdraw(ADDRESSES[lp])
        if off <= 0 and rng.random() < 0.7:
            return None
        return "withdraw", lp, (max(limit + off, 0), lp, lp)

    def edge_redeem(self, rng: random.Random, off: int) -> Drawn | None:
        lp = one_of(rng, LPS)
        limit = self.system.pool.maxRedeem(ADDRESSES[lp])
        if off <= 0 and rng.random() < 0.7:
            return None
        return "redeem", lp, (max(limit + off, 0), lp, lp)

    # What the model says

    def tier(self, size: int) -> int:
        """Tier of a size; the last for sizes above all."""
        for tier, most in enumerate(self.params.tier_sizes):
            if size <= most:
                return tier
        return len(self.params.tier_sizes) - 1

    def _initial(self, size: int, tier: int, added: int | None = None) -> int:
        """Initial requirement of a position of `size` once `added` (the whole) is on the books."""
        price, long_size, short_size, cash = self.book
        after = Book(price, long_size + (size if added is None else added), short_size, cash)
        fraction = self.engine._initial_fraction(tier, self.engine._reserved(after), cash)
        return self.market._fraction_of_notional_up(size, self.marks.price, fraction)

    def _quote(self, side: int, size: int) -> tuple[int, int]:
        """Fill price and fee of a trade, LONG buying."""
        fill = self.engine._fill(side, size, self.book)
        return fill.price, fill.fee

    def _skew(self) -> int:
        return self.market._side_size(LONG) - self.market._side_size(SHORT)

    @property
    def last_price(self) -> int:
        """The price in effect."""
        return self.market._marks.price

    @property
    def last_time(self) -> int:
        """Time of the last report, held or not."""
        feed = self.system.feed
        signed = feed._price_time if isinstance(feed, SignedPriceFeed) else 0
        return max(self.market._marks.price_time, self.engine._pending_time, signed)

    def _entry_loss(self, side: int, size: int, fill: int) -> int:
        """What filling past the oracle price costs at once."""
        loss = size * (fill - self.marks.price) * (1 if side == LONG else -1)
        return max(-(-loss // self.market.NOTIONAL_SCALE), 0)

    def _value(self, position: Position) -> int:
        return self.market._value(position, position.size, self.marks.price, self.marks)

    def _removable(self, position: Position) -> int:
        needed = self._initial(position.size, position.tier, 0)
        return position.margin + min(self._value(position), 0) - needed

    def _backed_size(self) -> int:
        """Open interest at which the reserve equals the pool's free cash."""
        cash = self.book.cash
        scale = self.market.NOTIONAL_SCALE * WAD
        return cash * scale // (self.marks.price * self.params.reserve_fraction or 1)

    # Choices

    def _pick(self, rng: random.Random) -> tuple[int, Position, str]:
        """An open position and its owner; one that does not exist when none is open."""
        live = self.twin.live
        if not live:
            return 1, NOBODYS, TRADERS[0]
        position_id = live[below(rng, len(live))]
        position = self.market._stored(position_id)
        return position_id, position, ROLE_OF[position.owner]

    def _pick_with_neighbour(self, rng: random.Random) -> tuple[int, Position]:
        """An open position, if a few looks find one that is not alone in its ring."""
        for _ in range(6):
            position_id, position, _ = self._pick(rng)
            if position.next_id != position_id:
                break
        return position_id, position

    def _side_of(self, position_id: int | str) -> int:
        stored = self.market._positions.get(int(position_id))
        return stored.side if stored is not None else LONG

    def _side_with_room(self, rng: random.Random) -> int:
        """The smaller side, mostly."""
        skew = self._skew()
        if rng.random() < 0.35 or skew == 0:
            return below(rng, 2)
        return SHORT if skew > 0 else LONG

    def _size(self, rng: random.Random) -> int:
        """Log-uniform from the minimum to the end of a tier drawn at random."""
        params = self.params
        if rng.random() < 0.3:
            return params.min_size * 20
        most = params.tier_sizes[one_of(rng, (0, 0, 0, 0, 1, 1, 2, 3))]
        ratio = most // params.min_size
        size = params.min_size << below(rng, ratio.bit_length())
        return min(size + rng.randrange(params.min_size), most)

    def _acceptable(self, side: int, fill: int, rng: random.Random) -> int:
        """Past which the caller would not trade: just the fill, a little further, or anything."""
        kind = below(rng, 3)
        if kind == 0:
            return fill
        if side == LONG:
            return ANY if kind == 1 else fill + fill // 1000
        return 0 if kind == 1 else fill - fill // 1000

    def _age(self, off: int) -> None:
        """Lets the price become exactly as old as it may be, more or less a second."""
        edge = self.market._marks.price_time + self.params.max_price_age + off
        self.at = max(self.at, edge)
        self.system.chain.timestamp = self.at
        self._marks = None

    def _publisher(self) -> str:
        """Whoever brings a report; anyone may."""
        return PUBLISHERS[self.at % len(PUBLISHERS)]


NOBODYS = Position(ADDRESSES[TRADERS[0]], LONG, 0, WAD, 1, WAD, 0, 0, 0, 0)
NEED_POSITION = frozenset(OF_POSITION)
ADDS_RISK = frozenset(("open", "increase", "remove_margin"))
# Actions that pull tokens from their caller: a token that keeps a fee makes them revert.
PULLING = frozenset(("set_fee", "open", "add_margin", "fund_insurance", "deposit", "mint"))

"""A seeded crowd: who opens what with how much leverage, and what each does about it later.

Traders are unlocked accounts of the local chain. They look at the latest block, ask the lens what
the market would say to a trade, and send it; what comes of it they see a block later.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from lockstep.abi import keccak
from operations.demo.chain import LocalChain
from operations.market import Function, Reverted, Status, Target, ask, raw_ask, status_of
from python_model.evm import MAX_UINT256
from python_model.modules.constants import LONG, SHORT, WAD
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

LOG = logging.getLogger("ringfence.traders")

MINT = Function("mint(address,uint256)")
APPROVE = Function("approve(address,uint256)", "bool")
DEPOSIT = Function("deposit(uint256,address)", "uint256")
FUND_INSURANCE = Function("fund_insurance(uint256)")
OPEN = Function("open(uint256,uint256,uint256,uint256)", "uint256")
CLOSE = Function("close(uint256,uint256)", "uint256")
ADD_MARGIN = Function("add_margin(uint256,uint256)")
HEALTH = Function("health(uint256)", "int256", "uint256")
PREVIEW_OPEN = Function("preview_open(address,uint256,uint256,uint256,uint256)")
OPENED = "0x" + keccak(b"PositionOpened(uint256,address,uint256)").hex()

ANY_PRICE = {LONG: MAX_UINT256, SHORT: 0}
WORST_EXIT = {LONG: 0, SHORT: MAX_UINT256}
LONG_SHARE = 0.6
# Margin as a multiple of what is asked for: (of traders, from, to)
APPETITES = ((0.4, 1.05, 1.5), (0.35, 1.5, 4.0), (0.25, 4.0, 20.0))
SPREAD = 0.9  # of the logarithm of a position's size
BUSY = 0.6  # of the open interest cap, that the crowd would hold if all had positions
MORE_MARGIN = (1.0, 1.5, 2.25, 3.5)  # tried one after the other when it is not enough
LOOK_SHARE = 8  # of so many traders one looks at each block
AWAY_SECONDS = 2_400  # at most, after a position has ended
LOST_BLOCKS = 20  # without a receipt


@dataclass
class Trader:
    """One trader with at most one position."""

    address: str
    rng: Random
    appetite: float
    side: int = LONG
    margin: int = 0
    position_id: int = 0
    returns_at: int = 0
    sent: str | None = None  # hash of a transaction on its way
    waited: int = 0  # blocks


class Traders:
    """All of them, on one market."""

    def __init__(
        self,
        chain: LocalChain,
        target: Target,
        params: MarketParams,
        risk: RiskParams,
        addresses: Sequence[str],
        seed: int,
    ) -> None:
        self._chain = chain
        self._target = target
        self._params = params
        self._risk = risk
        self._rng = Random(f"{seed} looks")
        self.all = [self._new(Random(f"{seed} {i}"), one) for i, one in enumerate(addresses)]
        self.refused: Counter[str] = Counter()  # reasons of the lens

    def _new(self, rng: Random, address: str) -> Trader:
        shares, ranges = [share for share, *_ in APPETITES], [edges for _, *edges in APPETITES]
        return Trader(address, rng, rng.uniform(*rng.choices(ranges, shares)[0]))

    def endow(self, pool: str, provider: str, price: int) -> tuple[int, int]:
        """Gives everyone tokens, and the market a pool and a reserve that carry its caps. What
        the two got, token units."""
        params, market = self._params, self._target.market
        most = self._notional(2 * self._risk.max_open_interest, price)
        cash = most * params.reserve_fraction // WAD * 3 // 2
        reserve = most // 500
        calls = [
            *self._funding(provider, cash + reserve, market, pool),
            (provider, pool, DEPOSIT(cash, provider)),
            (provider, market, FUND_INSURANCE(reserve)),
        ]
        for trader in self.all:
            calls += self._funding(trader.address, most, market)
        self._chain.transact(calls)
        return cash, reserve

    def _funding(self, holder: str, amount: int, *spenders: str) -> list[tuple[str, str, bytes]]:
        token = self._target.token
        approvals = [(holder, token, APPROVE(spender, MAX_UINT256)) for spender in spenders]
        return [(holder, token, MINT(holder, amount)), *approvals]

    def act(self, now: int) -> None:
        """What some of them do after a block of this time."""
        for trader in self.all:
            if trader.sent is not None:
                self._look_at_receipt(trader)
        try:
            status = status_of(self._chain.web3, self._target)
        except Reverted:  # a block came in between: anvil mixed its time with the state before
            return
        if not status.is_priced:
            return
        for trader in self._rng.sample(self.all, -(-len(self.all) // LOOK_SHARE)):
            if trader.sent is None:
                self._look(trader, status, now)

    def _look_at_receipt(self, trader: Trader) -> None:
        receipt = self._chain.ask("eth_getTransactionReceipt", trader.sent)
        if receipt is None:
            trader.waited += 1
            if trader.waited > LOST_BLOCKS:
                trader.sent = None
            return
        trader.sent = None
        for log in receipt["logs"]:
            if log["topics"][0] == OPENED:
                trader.position_id = int(log["topics"][1], 16)

    def _look(self, trader: Trader, status: Status, now: int) -> None:
        if trader.position_id == 0:
            if now >= trader.returns_at and not status.is_restricted and not status.has_backlog:
                self._open(trader, status.price)
            return
        try:
            equity, required = ask(
                self._chain.web3, self._target.market, HEALTH, trader.position_id
            )
        except Reverted:  # it has been closed: by its owner, or by the market
            trader.position_id = 0
            trader.returns_at = now + int(trader.rng.random() * AWAY_SECONDS)
            return
        self._consider(trader, equity, required)

    def _consider(self, trader: Trader, equity: int, required: int) -> None:
        """Adds margin in need, takes a profit, or changes their mind."""
        draw = trader.rng.random()
        if required < equity < 2 * required and draw < 0.15:
            self._send(trader, ADD_MARGIN(trader.position_id, trader.margin // 4 + 1))
        elif equity > required and (draw < 0.01 or (equity > 2 * trader.margin and draw < 0.3)):
            self._send(trader, CLOSE(trader.position_id, WORST_EXIT[trader.side]))

    def _open(self, trader: Trader, price: int) -> None:
        rng, risk, params = trader.rng, self._risk, self._params
        side = LONG if rng.random() < LONG_SHARE else SHORT
        usual = risk.max_open_interest * 2 * BUSY / len(self.all)
        size = int(usual * math.exp(rng.gauss(0, SPREAD) - SPREAD**2 / 2))
        size = min(max(size, 2 * params.min_size), params.tier_sizes[1])
        size -= size % 10**14  # nobody trades attounits
        tier = 0 if size <= params.tier_sizes[0] else 1
        notional = self._notional(size, price)
        asked = notional * risk.initial_fractions[tier] // WAD
        fee = notional * risk.taker_fee // WAD
        for more in MORE_MARGIN:
            margin = min(int(asked * trader.appetite * more), notional) + 2 * fee + 1
            if self._would_open(trader, side, size, margin):
                trader.side, trader.margin = side, margin
                self._send(trader, OPEN(side, size, margin, ANY_PRICE[side]))
                return

    def _would_open(self, trader: Trader, side: int, size: int, margin: int) -> bool:
        question = PREVIEW_OPEN(self._target.market, side, size, margin, ANY_PRICE[side])
        try:
            raw_ask(self._chain.web3, self._target.lens, question, sender=trader.address)
        except Reverted as refused:
            self.refused[str(refused)] += 1
            return False
        return True

    def _send(self, trader: Trader, data: bytes) -> None:
        trader.sent = self._chain.send(trader.address, self._target.market, data)
        trader.waited = 0

    def _notional(self, size: int, price: int) -> int:
        """Token units, rounded down."""
        scale: int = 10 ** (36 - self._target.decimals)
        return size * price // scale

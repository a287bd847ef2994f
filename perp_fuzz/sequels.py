"""What both forms would say to a wallet that does several things at once, to the zero address, and
of a market that was created just before. All of it is undone.

What is tried follows from the state alone, so that a replay tries the same.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from lockstep import abi
from lockstep.adapter import Refusal, View
from lockstep.engines.base import VIEWER
from perp_fuzz.bounds import a_little_off
from perp_fuzz.deployment import (
    ADDRESSES,
    LPS,
    POOL_NAME,
    POOL_SYMBOL,
    ROLE_OF,
    SIGNERS,
    TRADERS,
    System,
    call_of,
    calls_of,
    create_market_calldata,
)
from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Revert
from python_model.modules.constants import LONG
from python_model.signed_price_feed import SignedPriceFeed

Encode = Callable[[str, str, Sequence[Any]], bytes]  # contract, function, arguments
Decode = Callable[[str, str, Any], bytes]  # contract, function, what the model gave


class Call(NamedTuple):
    """A function of a contract, and who calls it."""

    contract: Any
    name: str
    values: tuple[Any, ...] = ()
    sender: str = VIEWER

    def run(self) -> Any:
        return getattr(self.contract, self.name)(*self.values, sender=self.sender)


class Sequels:
    """Tries them on one deployment, both forms."""

    def __init__(
        self, system: System, feed: SignedPriceFeed, encode: Encode, decode: Decode
    ) -> None:
        """`feed` has no market yet."""
        self._system = system
        self._feed = feed
        self._encode, self._decode = encode, decode

    @property
    def parts(self) -> Sequence[Callable[[random.Random], Iterator[View]]]:
        return self._of_params, self._of_nobody, self._of_trader, self._of_provider

    # How they are told

    def _data(self, call: Call) -> bytes:
        return self._encode(type(call.contract).__name__, call.name, call.values)

    def _output(self, call: Call, value: Any) -> bytes:
        return self._decode(type(call.contract).__name__, call.name, value)

    def _ask(self, call: Call) -> View:
        expected = partial(self._probed, lambda: self._output(call, call.run()))
        label = f"{call.name}{call.values} by {call.sender}"
        return call.contract.address, self._data(call), expected, label, call.sender

    def _at_once(self, wallet: str, calls: Sequence[Call]) -> View:
        """All of it in one transaction of a wallet, up to the first that is refused."""
        done: list[Call] = []

        def run() -> bytes:
            output = b""
            for call in calls:
                done.append(call)
                output = self._output(call, call.run())
            return output

        expected = self._probed(run)
        label = ", ".join(f"{call.name}{call.values}" for call in done)
        sender, to, data = calls_of(
            wallet, [(call.contract.address, self._data(call)) for call in done]
        )
        return to, data, expected, f"at once: {label}", sender

    def _probed(self, run: Callable[[], bytes]) -> bytes:
        try:
            return self._system.chain.probe(run)
        except Revert as revert:
            return Refusal(abi.error_string(revert.reason) if revert.reason else b"")

    # What is tried

    def _of_params(self, rng: random.Random) -> Iterator[View]:
        """What the engine of a new market says of parameters that are a little off."""
        system = self._system
        factory, risk = system.factory, system.engine.params()
        for _ in range(3):
            risk = a_little_off(rng, risk)
        windows = rng.choice(risk.move_windows) | 1, max(risk.move_windows) + rng.randrange(2)
        risk = risk._replace(volatility_window=risk.volatility_window | 1, move_windows=windows)
        plain: list[Any] = [system.token, self._feed, POOL_NAME, POOL_SYMBOL]
        plain += [system.engine.PARAMS, risk]
        data = create_market_calldata(plain)
        created: list[Any] = []

        def run() -> bytes:
            made = factory.create_market(*plain, sender=factory.owner).engine
            created.append(made)
            return self._output(Call(made, "params"), made.params())

        expected = self._probed(run)
        if not created:
            return  # it is refused, which others look at
        asked = Call(created[0], "params")
        before = [call_of(ROLE_OF[factory.owner], factory.address, data)]
        label = f"params() of a new market with {risk}"
        yield asked.contract.address, self._data(asked), expected, label, VIEWER, before

    def _of_nobody(self, rng: random.Random) -> Iterator[View]:
        """Shares of the address that nobody has, and shares to it."""
        pool = self._system.pool
        somebody = ADDRESSES[rng.choice(LPS[:-1])]
        amount = rng.choice((0, 1))
        for name, to, sender in (
            ("approve", somebody, ZERO_ADDRESS),
            ("approve", ZERO_ADDRESS, somebody),
            ("transfer", somebody, ZERO_ADDRESS),
            ("transfer", ZERO_ADDRESS, somebody),
        ):
            yield self._ask(Call(pool, name, (to, amount), sender))

    def _of_trader(self, rng: random.Random) -> Iterator[View]:
        """A position from its beginning to its end, in one transaction."""
        market, engine = self._system.market, self._system.engine
        wallet = TRADERS[-1]
        assert wallet in SIGNERS
        me = ADDRESSES[wallet]
        side = rng.randrange(2)
        size = 4 * engine.PARAMS.min_size
        notional = size * market._marks.price // market.NOTIONAL_SCALE
        high, low = (MAX_UINT256, 0) if side == LONG else (0, MAX_UINT256)
        number = market._position_count + 1
        later = [
            Call(market, "increase", (number, size, notional, high), me),
            Call(market, "add_margin", (number, notional), me),
            Call(market, "remove_margin", (number, notional // 2), me),
            Call(market, "reduce", (number, size // 2, low), me),
            Call(market, "close", (number, low), me),
        ]
        opening = Call(market, "open", (side, size, notional + 1, high), me)
        chosen = [call for call in later if rng.random() < 0.7]
        yield self._at_once(wallet, [opening, *chosen, Call(market, "accrue", (), me)])
        nothing = [
            Call(market, "increase", (number, 0, 0, high), me),
            Call(market, "add_margin", (number, 0), me),
            Call(market, "remove_margin", (number, 0), me),
            Call(market, "reduce", (number, 0, low), me),
        ]
        for call in nothing:
            yield self._at_once(wallet, [opening, call])
        first = Call(market, "accrue", (), me)
        for name, values in (("continue_backlog", (1,)), ("withdraw_credit", ())):
            yield self._at_once(wallet, [first, Call(market, name, values, me), first])

    def _of_provider(self, rng: random.Random) -> Iterator[View]:
        """Shares are made and given back in one transaction."""
        pool = self._system.pool
        wallet = LPS[-1]
        assert wallet in SIGNERS
        me = ADDRESSES[wallet]
        amount = rng.randrange(1, 10**10)
        calls = [
            Call(pool, "deposit", (amount, me), me),
            Call(pool, "mint", (10 ** rng.randrange(6, 12), me), me),
            Call(pool, "withdraw", (rng.randrange(1, amount + 1), me, me), me),
            Call(pool, "redeem", (10**6, me, me), me),
            Call(pool, "transfer", (ADDRESSES[LPS[0]], 1), me),
        ]
        rng.shuffle(calls)
        yield self._at_once(wallet, calls)
        yield self._at_once(wallet, [*calls[:1], Call(pool, "withdraw_claim", (), me)])
        for name, values in (
            ("deposit", (0, me)),
            ("mint", (0, me)),
            ("withdraw", (0, me, me)),
            ("redeem", (0, me, me)),
        ):
            yield self._at_once(wallet, [Call(pool, name, values, me)])

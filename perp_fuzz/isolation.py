"""Isolation, shown by pairs of runs: the ruin of one trader is nothing to every other.

A pair is one random sequence of actions run twice on fresh deployments. In one run a trader is
ruined by a gap: liquidated with bad debt that drains the insurance reserve. In the other he never
comes, or saves himself in time. Every other position must then be equal to the last word (owner,
side, tier, size, margin, entry price and entry funding; not its neighbours in the index), and so
must each owner's tokens, credit and claim and the result of each of their calls.

What links traders by design is neutralised: funding and utilisation rates are zero, the pool can
pay everybody. The skew scale cannot be infinite. At its maximum, with sizes this small, the skew
moves a fill by less than one unit of the price; and a large long keeps the skew positive, so that
every buyer pays exactly one unit of 1e-18 more than the price and every seller gets the price.
"""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from lockstep import abi
from lockstep.engines.base import Engine, open_engine
from perp_fuzz.actions import Codec
from perp_fuzz.deployment import (
    ADDRESSES,
    FOUNDER,
    TOKENS,
    WAD,
    Addresses,
    Overrides,
    System,
    compile_contracts,
    created_address,
    deploy,
    deploy_model,
)
from perp_fuzz.words import position_words
from python_model.evm import MAX_UINT256, Revert
from python_model.modules.constants import FRACTION_UNIT, LONG, MAX_MARGIN, MAX_SIZE, SHORT

RUINED = "trader_5"
WHALE = "trader_0"
OTHERS = ("trader_1", "trader_2", "trader_3", "trader_4")
OWNERS = (WHALE, *OTHERS)
# Collateral units of very different worth: rounding matters in the first, hardly in the last.
DECIMALS = (14, 16, 18)
MOST_OPENS = 12  # with the whale and the ruined one far from the 32 that one call looks at
SIZE = 10**10

PARAMS: dict[str, Any] = {
    "min_size": SIZE // 2,
    "max_open_interest": 10**13,
    "max_skew": 10**13,
    "skew_scale": MAX_SIZE,
    "max_funding_rate": 0,
    "max_utilisation_rate": 0,
    "max_price_age": 86_400,
    "tier_sizes": [2 * SIZE, 5 * SIZE, 10 * SIZE, 200 * SIZE],
    # Nor do volatility, a crowded pool and breakers, which speak of the market as a whole.
    "max_volatility_multiplier": WAD,
    "crowding_lower": WAD - FRACTION_UNIT,
    "crowding_upper": WAD,
    "max_jump": WAD,
    "max_moves": [WAD, WAD],
    "max_liquidated_size": MAX_SIZE,
    "max_pool_loss": WAD,
    "max_bad_debt": MAX_MARGIN,
    "max_insurance_draw": WAD,
    "max_profit_share": WAD,
}

# Bits of a position's words that say where it is filed: its neighbours and the epoch it was seen.
KEPT = (2**176 - 1, 2**200 - 1, MAX_UINT256)


class Leak(AssertionError):
    """Something of another trader depended on the ruin."""


class Move(NamedTuple):
    """A call after `wait` seconds. A position is named by its owner and number among his own."""

    action: str
    actor: str
    args: tuple[int | str | tuple[str, int], ...]
    wait: int = 0


class Story(NamedTuple):
    """What happens in both runs, and the moves that only one of them has."""

    decimals: int
    before: list[Move]
    entry: list[Move]  # the ruined trader comes
    between: list[Move]
    rescue: list[Move]  # he saves himself
    gap: Move
    after: list[Move]
    is_absent: bool  # in the run without ruin: he never comes, or he saves himself


class Figures(NamedTuple):
    """What a number of pairs exercised."""

    pairs: int = 0
    moves: int = 0
    succeeded: int = 0
    absent: int = 0
    bad_debts: int = 0  # booked only once the insurance reserve is empty
    insurance_drained: int = 0  # by the ruined trader himself, not by one liquidated before him
    others_opened: int = 0
    others_liquidated: int = 0
    others_credited: int = 0  # liquidated with something left for them
    words_compared: int = 0

    def plus(self, other: "Figures") -> "Figures":
        """Sums."""
        return Figures(*map(sum, zip(self, other, strict=True)))


class Loss(NamedTuple):
    """One liquidation."""

    owner: str
    returned: int
    insurance_used: int
    bad_debt: int


class Subject:
    """One deployment on which a story is run."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.codec = Codec(system, True)
        self.now = system.chain.timestamp
        self.ids: dict[tuple[str, int], int] = {}
        self.opens: dict[str, int] = {}
        self.losses: list[Loss] = []

    def run(self, move: Move) -> tuple[bool, str, int]:
        """Success, reason, and the value returned where it is the trader's own."""
        self.now += move.wait
        args = tuple(
            self.ids.get(arg, MAX_UINT256) if isinstance(arg, tuple) else arg for arg in move.args
        )
        if move.action == "publish":
            args = (args[0], 1, self.now, 0)
        is_done, reason, value = self.call(move.action, move.actor, args)
        if move.action == "open":
            number = self.opens.get(move.actor, 0)
            self.opens[move.actor] = number + 1
            if is_done:
                self.ids[move.actor, number] = value
        # Ids and numbers of liquidations count the ruined trader too.
        return is_done, reason, value if move.action in ("close", "withdraw_credit") else 0

    def state(self) -> dict[tuple[str, int | str], tuple[int, ...]]:
        """What the other traders have, by position and by owner."""
        found: dict[tuple[str, int | str], tuple[int, ...]] = {
            (owner, number): tuple(
                word & kept for word, kept in zip(self.words(position_id), KEPT, strict=True)
            )
            for (owner, number), position_id in self.ids.items()
            if owner != RUINED
        }
        for owner in OWNERS:
            found[owner, "holdings"] = self.holdings(ADDRESSES[owner])
        return found

    def call(self, action: str, actor: str, args: tuple[Any, ...]) -> tuple[bool, str, int]:
        raise NotImplementedError

    def words(self, position_id: int) -> tuple[int, int, int]:
        raise NotImplementedError

    def holdings(self, owner: str) -> tuple[int, int, int]:
        """Tokens, credit and claim."""
        raise NotImplementedError

    def close(self) -> None:
        """Releases what it holds."""


class ModelSubject(Subject):
    """The Python model."""

    def __init__(self, decimals: int) -> None:
        owner = ADDRESSES["owner_0"]
        places = range(len(Addresses._fields))
        system = deploy_model(
            {"decimals": decimals, "params": PARAMS},
            Addresses(*(created_address(FOUNDER, nonce) for nonce in places)),
        )
        for role in (*OWNERS, RUINED, "lp_0"):
            system.token.mint(ADDRESSES[role], 10 ** (decimals + 12), sender=owner)
            for spender in (system.market, system.pool):
                system.token.approve(spender.address, MAX_UINT256, sender=ADDRESSES[role])
        super().__init__(system)

    def call(self, action: str, actor: str, args: tuple[Any, ...]) -> tuple[bool, str, int]:
        chain = self.system.chain
        chain.timestamp = self.now
        try:
            value = self.codec.call_model(action, actor, args)
        except Revert as revert:
            return False, revert.reason, 0
        for event in chain.events:
            if event.name == "PositionLiquidated":
                fields = event.fields
                self.losses.append(Loss(fields[1], fields[7], fields[8], fields[9]))
        return True, "", value or 0

    def words(self, position_id: int) -> tuple[int, int, int]:
        return position_words(self.system.market._positions[position_id])

    def holdings(self, owner: str) -> tuple[int, int, int]:
        market = self.system.market
        return (
            self.system.token.balanceOf[owner],
            market.credit_of[owner],
            self.system.pool.claim_of[owner],
        )


class ContractSubject(Subject):
    """The contracts on an engine."""

    def __init__(self, decimals: int, engine: Engine, overrides: Overrides | None) -> None:
        config = {"decimals": decimals, "params": PARAMS}
        artifacts = compile_contracts(overrides)
        super().__init__(deploy(engine, config, artifacts))
        self.engine = engine
        market = artifacts["PerpMarket"]
        self._slots = {name: market.slot(name) for name in ("_positions", "credit_of")}
        self._claims = artifacts["LiquidityPool"].slot("claim_of")
        self._balances = artifacts[TOKENS["standard"]].slot("token_ledger.balanceOf")

    def call(self, action: str, actor: str, args: tuple[Any, ...]) -> tuple[bool, str, int]:
        self.engine.set_time(self.now)
        target, data = self.codec.calldata(action, args)
        outcome = self.engine.call(ADDRESSES[actor], target, data)
        if not outcome.ok:
            return False, outcome.halted or abi.revert_reason(outcome.output), 0
        for _, topics, body in outcome.logs:
            if topics[0] == LIQUIDATED:
                last = [int.from_bytes(body[i : i + 32], "big") for i in range(160, 256, 32)]
                self.losses.append(Loss("0x" + topics[2][-20:].hex(), *last))
        return True, "", int.from_bytes(outcome.output[:32], "big")

    def words(self, position_id: int) -> tuple[int, int, int]:
        address = self.system.market.address
        slot = abi.mapping_slot(self._slots["_positions"], position_id)
        first, second, third = (self.engine.storage(address, slot + i) for i in range(3))
        return first, second, third

    def holdings(self, owner: str) -> tuple[int, int, int]:
        market, token = self.system.market.address, self.system.token.address
        storage, slots = self.engine.storage, self._slots
        return (
            storage(token, abi.mapping_slot(self._balances, owner)),
            storage(market, abi.mapping_slot(slots["credit_of"], owner)),
            storage(self.system.pool.address, abi.mapping_slot(self._claims, owner)),
        )

    def close(self) -> None:
        self.engine.close()


LIQUIDATED = abi.keccak(
    b"PositionLiquidated(uint256,address,uint256,uint256,int256,uint256,uint256,uint256,uint256,"
    b"uint256)"
)


def run_pairs(
    pairs: int,
    seed: int,
    engine: str | None = None,
    *,
    overrides: Overrides | None = None,
    tick: Callable[[int], None] = lambda pairs: None,
) -> Figures:
    """Runs pairs on the model, or on the contracts when an engine is named. Raises Leak."""

    def subject(decimals: int) -> Subject:
        if engine is None:
            return ModelSubject(decimals)
        return ContractSubject(decimals, open_engine(engine), overrides)

    figures = Figures()
    for number in range(pairs):
        story = draw_story(random.Random(f"{seed}/{number}"))
        try:
            figures = figures.plus(run_pair(story, subject))
        except Leak as leak:
            raise Leak(f"pair {number} of seed {seed}: {leak}") from None
        tick(1)
    return figures


def run_pair(story: Story, subject: Callable[[int], Subject]) -> Figures:
    """One story with and without the ruin, compared after the gap and at the end."""
    with_ruin, without = subject(story.decimals), subject(story.decimals)
    try:
        return _compare(story, with_ruin, without)
    finally:
        with_ruin.close()
        without.close()


def _compare(story: Story, with_ruin: Subject, without: Subject) -> Figures:
    moves = succeeded = words = 0

    def play(shared: list[Move]) -> None:
        nonlocal moves, succeeded
        for move in shared:
            ruined, spared = with_ruin.run(move), without.run(move)
            if ruined != spared:
                raise Leak(f"{move} gives {ruined} with the ruin, {spared} without")
            moves += 1
            succeeded += ruined[0]

    def compare(when: str) -> None:
        nonlocal words
        ruined, spared = with_ruin.state(), without.state()
        if ruined != spared:
            names = [name for name in ruined if ruined[name] != spared.get(name)]
            shown = "; ".join(
                f"{owner}'s {what}: {ruined[owner, what]} with the ruin, "
                f"{spared.get((owner, what))} without"
                for owner, what in names
            )
            raise Leak(f"{when}: {shown}")
        words += sum(map(len, ruined.values()))

    def only(subject: Subject, own: list[Move]) -> None:
        for move in own:
            outcome = subject.run(move)
            if not outcome[0]:
                raise RuntimeError(f"the story does not hold: {move} reverts: {outcome[1]}")

    play(story.before)
    only(with_ruin, story.entry)
    if story.is_absent:
        without.now = with_ruin.now
    else:
        only(without, story.entry)
    play(story.between)
    if not story.is_absent:
        only(without, story.rescue)
        with_ruin.now = without.now
    play([story.gap])
    compare("after the gap")
    own = [loss for loss in with_ruin.losses if loss.owner == ADDRESSES[RUINED]]
    if not own or not own[-1].bad_debt:
        raise RuntimeError("the story does not hold: nobody was ruined")
    play(story.after)
    compare("at the end")
    others = [loss for loss in without.losses if loss.owner != ADDRESSES[RUINED]]
    return Figures(
        pairs=1,
        moves=moves,
        succeeded=succeeded,
        absent=int(story.is_absent),
        bad_debts=1,
        insurance_drained=int(own[-1].insurance_used > 0),
        others_opened=sum(owner != RUINED for owner, _ in without.ids),
        others_liquidated=len(others),
        others_credited=sum(loss.returned > 0 for loss in others),
        words_compared=words,
    )


# Drawing stories


def draw_story(rng: random.Random) -> Story:
    """A random story: an even chance for most things, small prices moves, then a gap."""
    return _Teller(rng).story()


class _Teller:
    """Draws moves that mostly succeed, from what is known without running them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.decimals = rng.choice(DECIMALS)
        self.price = WAD
        self.drift = 25  # of one price, per mille
        self.opens = 0
        self.own = dict.fromkeys(OTHERS, 0)
        self.sizes: dict[tuple[str, int], tuple[int, int]] = {}

    def story(self) -> Story:
        rng = self.rng
        cash = 10 ** (self.decimals + 10)
        whale = 100 * SIZE
        before = [
            Move("publish", "publisher_0", (self.price, 0), 60),
            Move("deposit", "lp_0", (cash, "lp_0")),
            Move("fund_insurance", "lp_0", (rng.randrange(1, self.notional(SIZE) // 2),)),
            Move("open", WHALE, (LONG, whale, 3 * self.notional(whale), MAX_UINT256)),
            *self.moves(rng.randrange(4, 20)),
        ]
        side = rng.randrange(2)
        size = rng.randrange(8 * SIZE, 10 * SIZE)
        margin = self.notional(size) * 13 // 100
        entry = [Move("open", RUINED, (side, size, margin, 0 if side else MAX_UINT256), 1)]
        self.drift = 5  # he must live to see the gap
        between = self.moves(rng.randrange(6))
        self.drift = 25
        rescue = [Move("add_margin", RUINED, ((RUINED, 0), 20 * margin), 1)]
        gap = rng.randrange(300_000, 600_000)
        self.price = self.price * (1_000_000 + (gap if side == SHORT else -gap)) // 1_000_000
        fall = Move("publish", "publisher_0", (self.price, 0), 1)
        after = self.moves(rng.randrange(4, 20))
        absent = rng.random() < 0.5
        return Story(self.decimals, before, entry, between, rescue, fall, after, absent)

    def moves(self, count: int) -> list[Move]:
        return [self.move() for _ in range(count)]

    def move(self) -> Move:
        rng = self.rng
        wait = rng.randrange(3)
        if not self.sizes or (self.opens < MOST_OPENS and rng.random() < 0.35):
            return self.open(rng.choice(OTHERS), wait)
        if rng.random() < 0.3:
            self.price = self.price * (1_000 + rng.randint(-self.drift, self.drift)) // 1_000
            return Move("publish", "publisher_0", (self.price, 0), wait + 1)
        name = rng.choice(list(self.sizes))
        return self.of_position(name, wait)

    def of_position(self, name: tuple[str, int], wait: int) -> Move:
        rng = self.rng
        owner = name[0]
        side, size = self.sizes[name]
        entering, leaving = (0, MAX_UINT256) if side else (MAX_UINT256, 0)
        some = 1 + self.notional(size) * rng.randrange(30) // 1_000
        kind = rng.randrange(9)
        if kind == 0:
            return Move("close", owner, (name, rng.choice((self.price, leaving))), wait)
        if kind in (1, 2):
            return Move("reduce", owner, (name, rng.randrange(1, size), leaving), wait)
        if kind == 3:
            more = rng.randrange(1, SIZE)
            margin = self.notional(more) * rng.randrange(100) // 1_000
            return Move("increase", owner, (name, more, margin, entering), wait)
        if kind == 4:
            return Move("add_margin", owner, (name, some), wait)
        if kind == 5:
            return Move("remove_margin", owner, (name, some), wait)
        if kind == 6:
            return Move("withdraw_credit", owner, (), wait)
        if kind == 7:
            return Move("liquidate", "keeper_0", (name,), wait)
        if rng.random() < 0.5:
            return Move("update_price", "keeper_0", ("keeper_0",), wait)
        return Move("accrue", "keeper_0", (), wait)

    def open(self, owner: str, wait: int) -> Move:
        rng = self.rng
        side = rng.randrange(2)
        size = rng.randrange(SIZE // 2, 3 * SIZE)
        initial = 20 if size <= 2 * SIZE else 40  # per mille
        margin = self.notional(size) * (initial + rng.choice((1, 2, 5, 10, 80))) // 1_000
        self.opens += 1
        number = self.own[owner]
        self.own[owner] += 1
        self.sizes[owner, number] = side, size
        return Move("open", owner, (side, size, margin, 0 if side else MAX_UINT256), wait)

    def notional(self, size: int) -> int:
        scale: int = 10 ** (36 - self.decimals)
        return size * self.price // scale

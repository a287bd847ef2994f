"""Long random stories in which everything happens, every promise checked after every transaction.

The lockstep fuzzer does the same against the contracts, with far more steps; here the parameters
are drawn anew for each story, so that breakers, deleveraging, claims and ramps are common.
"""

import random
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from market_world import ANY_PRICE, PEOPLE, RISK, ROLE, World, tiers, wad

from python_model.configurator import DELAY
from python_model.evm import Revert
from python_model.modules.constants import FRACTION_UNIT, WAD

TRADERS = ("trader", "other_trader", "third_trader", "attacker")
STORIES, STEPS = 16, 600


class Story:
    """One market and its people, moved by a seeded die."""

    def __init__(self, seed: int) -> None:
        self.die = die = random.Random(seed)
        cash = die.choice((2_000, 50_000))
        self.world = World(die.choice((6, 8, 18)), cash=cash, **drawn(die))
        self.price = wad(100)
        self.refused: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.world.market.fund_insurance(self.world.tokens(die.choice((5, 300))), sender=ROLE["lp"])

    def step(self) -> None:
        world, die = self.world, self.die
        name = die.choice(MOVES)
        if die.random() < 0.1:
            world.wait(die.choice((1, 30, 400)))
        elif die.random() < 0.005:
            world.wait(die.choice((4_000, DELAY, 8 * 86_400)))
        try:
            getattr(self, name)()
        except Revert as revert:
            self.refused[revert.reason] += 1
            return
        for event in world.chain.events:
            self.happened[event.name] += 1
            if event.name == "PositionSettled":
                self.happened["deleveraged" if event.fields[-1] else "expired"] += 1
            elif event.name == "BreakerTripped":
                self.happened[f"cause {event.fields[0]}"] += 1

    def someones(self) -> tuple[int, Any]:
        ids = self.world.open_ids()
        if not ids:
            raise Revert
        position_id = self.die.choice(ids)
        return position_id, self.world.position(position_id)

    def size(self) -> int:
        return self.die.choice(
            (wad("0.1"), wad(1), wad(5), wad(30), wad(150))
        ) + self.die.randrange(9)

    def margin(self, size: int) -> int:
        share = Fraction(self.die.choice((3, 6, 11, 22, 33, 45, 120)), 100)
        return int(size * self.price * share / WAD / WAD * self.world.unit) + 1

    def open(self) -> None:
        side, size = self.die.randrange(2), self.size()
        sender = ROLE[self.die.choice(TRADERS)]
        margin = self.margin(size)
        self.world.market.open(side, size, margin, ANY_PRICE[side], sender=sender)

    def increase(self) -> None:
        position_id, position = self.someones()
        size = self.size()
        margin = self.die.choice((0, self.margin(size)))
        self.world.market.increase(
            position_id, size, margin, ANY_PRICE[position.side], sender=position.owner
        )

    def reduce(self) -> None:
        position_id, position = self.someones()
        size = position.size * self.die.randrange(1, 10) // 10
        worst = ANY_PRICE[1 - position.side]
        self.world.market.reduce(position_id, size, worst, sender=position.owner)

    def close(self) -> None:
        position_id, position = self.someones()
        self.world.market.close(position_id, ANY_PRICE[1 - position.side], sender=position.owner)

    def add_margin(self) -> None:
        position_id, position = self.someones()
        amount = self.margin(position.size) // 5 + 1
        self.world.market.add_margin(position_id, amount, sender=position.owner)

    def remove_margin(self) -> None:
        position_id, position = self.someones()
        amount = position.margin * self.die.randrange(1, 12) // 10
        self.world.market.remove_margin(position_id, amount, sender=position.owner)

    def publish(self) -> None:
        die = self.die
        move = Fraction(die.choice((-1, 1)) * die.choice((1, 5, 20, 40, 60, 90, 250)), 1000)
        price = int(self.price * (1 + move * die.random()))
        if die.random() < 0.1:
            price = wad(100)
        confidence = die.choice((0, price // 1000, price // 1000, price // 50))
        self.world.wait(die.choice((0, 1, 61, 61)))
        self.world.publish_wad(price, confidence)
        self.price = price

    def update_price(self) -> None:
        self.world.update_price()

    def continue_backlog(self) -> None:
        self.world.market.continue_backlog(self.die.choice((1, 3, 32)), sender=ROLE["keeper"])

    def liquidate(self) -> None:
        self.world.market.liquidate(self.someones()[0], sender=ROLE["keeper"])

    def settle(self) -> None:
        self.world.settle(self.someones()[0])

    def withdraw_credit(self) -> None:
        self.world.market.withdraw_credit(sender=ROLE[self.die.choice(PEOPLE)])

    def withdraw_claim(self) -> None:
        self.world.pool.withdraw_claim(sender=ROLE[self.die.choice(TRADERS)])

    def collect_fees(self) -> None:
        self.world.market.collect_fees(sender=ROLE["keeper"])

    def fund_insurance(self) -> None:
        self.world.market.fund_insurance(self.world.tokens(3), sender=ROLE["other_lp"])

    def deposit(self) -> None:
        name = self.die.choice(("lp", "other_lp"))
        self.world.deposit(self.die.choice((10, 300, 3_000)), by=name)

    def redeem(self) -> None:
        lp = ROLE[self.die.choice(("lp", "other_lp"))]
        most = self.world.pool.maxRedeem(lp)
        share = self.die.choice((1, 1, 3))
        self.world.pool.redeem(most // share + self.die.randrange(2), lp, lp, sender=lp)

    def restrict(self) -> None:
        duration = self.die.choice((0, 60, 3_600, 86_400, 86_401))
        role = self.die.choice(("guardian", "owner", "attacker"))
        self.world.configurator.guardian_restrict(self.world.market, duration, sender=ROLE[role])

    def propose(self) -> None:
        risk = self.world.engine.params()
        changes = {name: value for name, value in drawn(self.die).items() if name in risk._fields}
        propose = self.world.configurator.propose_params
        propose(self.world.market, risk._replace(**changes), sender=ROLE["owner"])

    def apply(self) -> None:
        self.world.configurator.apply_params(self.world.market, sender=ROLE["owner"])

    def tighten(self) -> None:
        risk = self.world.engine.params()
        raised = tuple(min(f + 10**16, WAD) for f in risk.initial_fractions)
        steps = tuple(f + 10**16 for f in risk.maintenance_fractions)
        changes: dict[str, Any] = self.die.choice(
            (
                {"initial_fractions": raised, "maintenance_fractions": steps},
                {"max_open_interest": risk.max_open_interest * 9 // 10, "max_skew": wad(100)},
                {"max_bad_debt": 10**7},
            )
        )
        tighten = self.world.configurator.tighten
        tighten(self.world.market, risk._replace(**changes), sender=ROLE["owner"])


MOVES = (
    *("open",) * 24,
    *("publish",) * 16,
    *("increase", "reduce", "close", "remove_margin", "add_margin") * 3,
    *("update_price", "continue_backlog", "liquidate", "settle", "withdraw_credit"),
    *("withdraw_claim",) * 3,
    *("collect_fees", "fund_insurance", "deposit", "redeem", "redeem"),
    *("restrict", "propose", "apply", "tighten"),
)


def drawn(die: random.Random) -> dict[str, Any]:
    """Parameters with which things happen."""
    initial = die.choice(("0.02", "0.05", "0.2"))
    half = str(Fraction(initial) / 2)
    return {
        "skew_scale": wad(1_000_000),
        "max_funding_rate": wad("0.0001"),
        "max_utilisation_rate": wad("0.0000001"),
        "liquidation_penalty": wad("0.005"),
        "reserve_fraction": wad(die.choice(("0.005", "0.1"))),
        "max_open_interest": wad(2_000),
        "max_skew": wad(die.choice((300, 2_000))),
        "calm_volatility": wad(die.choice(("0.05", "1"))),
        "max_volatility_multiplier": wad(die.choice((1, 4))),
        "volatility_window": die.choice((60, 3_600)),
        "crowding_lower": wad("0.5"),
        "max_confidence": wad(die.choice(("0.01", "0.1"))),
        "max_jump": wad(die.choice(("0.08", "0.3"))),
        "max_moves": (wad("0.2"), wad(die.choice(("0.3", "0.9")))),
        "max_liquidated_size": wad(die.choice((10, 1_000))),
        "max_pool_loss": wad(die.choice(("0.1", "1"))),
        "max_bad_debt": die.choice((0, 10**8, RISK.max_bad_debt)),
        "max_insurance_draw": wad(die.choice(("0.1", "0.5", "1"))),
        "max_profit_share": wad(die.choice(("0.2", "1"))) // FRACTION_UNIT * FRACTION_UNIT,
        **tiers((10, initial, half), (100, "0.3", "0.1"), (1_000, "0.4", "0.2")),
    }


KINDS = (
    *("PositionOpened", "PositionReduced", "PositionClosed", "MarginRemoved", "deleveraged"),
    *("PositionLiquidated", "CreditWithdrawn", "ClaimPaid", "PriceHeld", "PriceConfirmed"),
    *("MarketRestricted", "ParamsTightened", "ParamsApplied", "Withdraw"),
    *(f"cause {number}" for number in range(1, 7)),
)


@pytest.mark.slow
def test_no_promise_is_broken_whatever_happens() -> None:
    happened: Counter[str] = Counter()
    for seed in range(STORIES):
        story = Story(seed)
        for _ in range(STEPS):
            story.step()
        happened += story.happened
    assert [kind for kind in KINDS if not happened[kind]] == []

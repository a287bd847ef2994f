"""Each promise is broken on purpose, and the check of that name says so."""

from collections.abc import Callable
from typing import Any

import pytest
from market_world import FRICTIONLESS, ROLE, World, tiers, wad

from python_model import configurator, risk_engine
from python_model.configurator import Configurator
from python_model.evm import Revert
from python_model.liquidity_pool import LiquidityPool
from python_model.modules import dynamic_margin, trigger_key
from python_model.modules.constants import LONG, SHORT
from python_model.perp_market import CloseOut, PerpMarket, Position, Solvency, Sweep
from python_model.risk_engine import RiskEngine

Patch = pytest.MonkeyPatch
Bug = Callable[[Patch], None]

# What happens: enough for every bug below to show.


def trades() -> None:
    world = World()
    position_id = world.open(LONG, 10, 200)
    world.increase(position_id, 5, 200)
    world.publish(102)
    world.reduce(position_id, 4)
    world.remove_margin(position_id, 50)
    other = world.open(SHORT, 10, 400, by="other_trader")
    world.wait(600)
    world.close(position_id)
    world.close(other, by="other_trader")


def claims() -> None:
    world = World(cash=100, **FRICTIONLESS | {"reserve_fraction": 10**15})
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 100, 20_000, by="other_trader")
    world.publish(110)
    world.close(winner)
    world.reduce(loser, 50, by="other_trader")
    lp = ROLE["lp"]
    most = world.pool.maxRedeem(lp)
    if most:
        world.pool.redeem(most, lp, lp, sender=lp)
    world.pool.withdraw_claim(sender=ROLE["trader"])


def ruin() -> None:
    world = World(**FRICTIONLESS | {"max_insurance_draw": wad("0.5")})
    world.market.fund_insurance(world.tokens(50), sender=ROLE["lp"])
    world.open(LONG, 10, 60)
    world.open(LONG, 10, 500, by="other_trader")
    world.publish(90)


def profits() -> None:
    world = World(
        cash=2_000,
        **FRICTIONLESS
        | tiers((100_000, "0.1", "0.05"))
        | {"reserve_fraction": 1, "max_profit_share": wad("0.5")},
    )
    for number in range(4):
        world.open(LONG, 100, 2_000 + 100 * number)
    world.publish(104)


def jumps() -> None:
    world = World(max_jump=wad("0.1"))
    position_id = world.open(LONG, 10, 400)
    world.wait(10)
    now = world.chain.timestamp
    world.feed.publish(wad(120), now - 1, sender=ROLE["publisher"])
    attempt(world.close, position_id)
    world.feed.publish(wad(121), now, sender=ROLE["publisher"])
    world.publish(122)
    attempt(world.open, LONG, 1, 50)


def restrictions() -> None:
    world = World(max_jump=wad("0.1"))
    position_id = world.open(LONG, 10, 400)
    world.configurator.guardian_restrict(world.market, 600, sender=ROLE["guardian"])
    attempt(world.increase, position_id, 1, 50)
    world.publish(120)
    world.publish(121)


def roles() -> None:
    world = World(**FRICTIONLESS | {"max_price_age": 86_400})
    world.open(LONG, 10, 400)
    owner, params = ROLE["owner"], world.engine.params()
    fractions = tuple(fraction + 10**16 for fraction in params.maintenance_fractions)
    tighter = params._replace(maintenance_fractions=fractions)
    world.configurator.tighten(world.market, tighter, sender=owner)
    world.wait(600)
    world.update_price()
    world.configurator.propose_params(world.market, params, sender=owner)
    attempt(world.configurator.apply_params, world.market, sender=owner)
    world.configurator.set_guardian(ROLE["keeper"], sender=owner)


def crowd() -> None:
    world = World(**FRICTIONLESS)
    for number in range(6):
        world.open(LONG, 1, 6 + number)
    world.publish(90)
    world.market.continue_backlog(32, sender=ROLE["keeper"])


def attempt(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """What the model as it is refuses."""
    with pytest.raises(Revert):
        call(*arguments, **options)


def refused_or_not(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    try:
        call(*arguments, **options)
    except Revert:
        return


# Bugs


def wrap(owner: Any, name: str, after: Callable[..., Any]) -> Bug:
    """A function whose result `after(result, self, *arguments)` replaces."""

    def plant(patch: Patch) -> None:
        original = getattr(owner, name)

        def changed(*arguments: Any, **options: Any) -> Any:
            return after(original(*arguments, **options), *arguments)

        patch.setattr(owner, name, changed)

    return plant


def swap(owner: Any, name: str, other: Any) -> Bug:
    return lambda patch: patch.setattr(owner, name, other)


def neighbour_pays(sweep: Sweep, market: PerpMarket, position_id: int, *_: Any) -> Sweep:
    other = position_id + 1
    if market._positions[other] is not None:
        position = market._load_position(other)
        market._detach(other, position)
        position.margin -= 1
        market._attach(other, position)
        market._insurance += 1
    return sweep


def one_more(close_out: CloseOut, market: PerpMarket, _: int, position: Position, *__: Any) -> Any:
    close_out.returned += 1
    return close_out


def drifting(_: None, market: PerpMarket, *__: Any) -> None:
    market._entry_value += 1


def result_forgotten(_: None, pool: LiquidityPool, amount: int) -> None:
    pool._store_account(pool._cash(), pool._result() - amount)


def claim_twice(paid: int, pool: LiquidityPool, *_: Any) -> int:
    pool.claims += 1
    return paid


def overstated(stated: Solvency, *_: Any) -> Solvency:
    return stated._replace(net_trader_profit=stated.net_trader_profit - 2)


def silent_trip(engine: RiskEngine, cause: int, reduce_only_until: int) -> int:
    return engine.chain.timestamp + 10**6


def all_of_it(engine: RiskEngine, shortfall: int, reserve: int, *, sender: str) -> int:
    used = min(shortfall, reserve)
    engine._drawn += used
    return used


def nearest(engine: RiskEngine, rings: list[int], marked: list[int]) -> tuple[int, int]:
    """Goes through each list from the wrong end."""
    list_id = next((i for i, ring in enumerate(rings) if ring), 0)
    if rings[list_id]:
        rings[list_id] = engine.source._worst_ring(list_id)
    return list_id, 0


def with_a_gift(_: None, self: Configurator, sender: str) -> None:
    pool = next(item for item in self.chain.contracts if isinstance(item, LiquidityPool))
    pool.asset.transfer(sender, 1, sender=pool.address)
    pool._store_account(pool._cash() - 1, pool._result())


def forgotten_lock(_: None, market: PerpMarket) -> None:
    market._locked = True


BUGS: dict[str, tuple[str, Callable[[], None], Bug]] = {
    "a neighbour pays": ("P1", ruin, wrap(PerpMarket, "_liquidate", neighbour_pays)),
    "a unit from nowhere": ("I-6", crowd, wrap(PerpMarket, "_close_out", one_more)),
    "a liquidation missed": (
        "P3",
        crowd,
        swap(trigger_key, "_highest_key", lambda bucket: -(2**200)),
    ),
    "entries that drift": ("I-1", trades, wrap(PerpMarket, "_attach", drifting)),
    "a claim too many": ("P2-owed", claims, wrap(LiquidityPool, "pay_profit", claim_twice)),
    "a result forgotten": ("I-17", claims, wrap(LiquidityPool, "collect_loss", result_forgotten)),
    "solvency that flatters": ("P6", trades, wrap(PerpMarket, "solvency", overstated)),
    "providers before claims": (
        "I-9-claims",
        claims,
        swap(LiquidityPool, "_free_cash", lambda pool, terms: pool._cash()),
    ),
    "the whole reserve": ("I-11", ruin, swap(RiskEngine, "cover_shortfall", all_of_it)),
    "everybody deleveraged": (
        "I-13",
        profits,
        swap(RiskEngine, "_is_profit_too_large", lambda self, profit, cash, share: profit > 0),
    ),
    "the least profitable first": ("I-13", profits, swap(RiskEngine, "_farthest_list", nearest)),
    "nobody deleveraged": (
        "I-13",
        profits,
        swap(RiskEngine, "_is_profit_too_large", lambda self, profit, cash, share: False),
    ),
    "a jump at once": ("I-7", jumps, swap(dynamic_margin, "_change", lambda price, last: 0)),
    "a jump that confirms itself": (
        "I-7",
        jumps,
        swap(RiskEngine, "_is_confirmed", lambda *arguments: True),
    ),
    "trades at a held price": (
        "I-7-held",
        jumps,
        swap(PerpMarket, "_settle_fresh_marks", PerpMarket._settle_marks),
    ),
    "risk while restricted": (
        "I-7-risk",
        restrictions,
        swap(RiskEngine, "_require_unrestricted", lambda self: None),
    ),
    "a silent breaker": ("I-7-cause", restrictions, swap(RiskEngine, "_tripped", silent_trip)),
    "a ramp too steep": ("I-3", roles, swap(risk_engine, "RAMP_PER_HOUR", 10**17)),
    "less margin than its base": (
        "I-3-initial",
        trades,
        swap(RiskEngine, "_initial_fraction", lambda self, tier, *_: tier),
    ),
    "no delay": ("I-15", roles, swap(configurator, "DELAY", 0)),
    "an owner's gift": ("I-15", roles, wrap(Configurator, "_check_owner", with_a_gift)),
    "a lock left": ("I-12", trades, wrap(PerpMarket, "_exit", forgotten_lock)),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_broken_promise_is_named(name: str, monkeypatch: Patch) -> None:
    invariant_id, story, plant = BUGS[name]
    plant(monkeypatch)
    monkeypatch.setitem(globals(), "attempt", refused_or_not)
    with pytest.raises(AssertionError, match=rf"^{invariant_id}: "):
        story()


@pytest.mark.parametrize(
    "story", [trades, claims, ruin, profits, jumps, restrictions, roles, crowd]
)
def test_nothing_is_broken_without_a_bug(story: Callable[[], None]) -> None:
    story()

"""How a market ends without keeping anyone in it: docs/shutdown.md, played to its end."""

from market_world import ROLE, World, reason_of, wad

from python_model.modules import errors
from python_model.modules.constants import LONG, SHORT
from python_model.perp_market import SETTLEMENT_DELAY


def busy_market() -> World:
    """Three traders, one deep in the red, and two providers."""
    world = World(price=100, cash=50_000)
    world.deposit(20_000, by="other_lp")
    world.open(LONG, 100, 2_000, by="trader")
    world.open(SHORT, 60, 1_000, by="other_trader")
    world.open(LONG, 20, 110, by="third_trader")
    world.publish(99)
    return world


def redeem_everything(world: World, name: str) -> int:
    shares = world.pool.maxRedeem(ROLE[name])
    assert shares == world.pool.balanceOf[ROLE[name]], "something is still reserved"
    return world.pool.redeem(shares, ROLE[name], ROLE[name], sender=ROLE[name])


def nothing_is_left_but_dust(world: World) -> None:
    market = world.market
    assert market._open_positions == 0
    assert market._total_margin == market._credits == world.pool.claims == 0
    assert world.pool.totalSupply == 0
    assert world.pool.cash() <= 2, "two redemptions are rounded down"
    world.assert_books_balance()


def test_market_with_prices_is_wound_down_without_trapping_anyone() -> None:
    world = busy_market()
    closed = world.engine.params()._replace(max_open_interest=0, max_skew=0)
    world.configurator.tighten(world.market, closed, sender=ROLE["owner"])

    assert reason_of(world.open, LONG, 1, 50) == errors.OPEN_INTEREST_CAP
    world.add_margin(1, 10)
    world.close(1, by="trader")
    world.close(2, by="other_trader")
    world.publish(95)  # who did not close in time is liquidated
    assert not world.is_open(3)
    for name in ("third_trader", "publisher"):
        if world.market.credit_of[ROLE[name]]:
            world.market.withdraw_credit(sender=ROLE[name])

    world.wait(10**6)  # no price is needed any more
    redeem_everything(world, "lp")
    redeem_everything(world, "other_lp")
    nothing_is_left_but_dust(world)


def test_market_without_prices_is_settled_by_anyone() -> None:
    world = busy_market()
    last_time = world.market._marks.price_time
    world.wait(last_time + SETTLEMENT_DELAY - world.chain.timestamp)
    assert reason_of(world.close, 1) == errors.STALE_PRICE
    assert reason_of(world.settle, 1) == errors.NOT_EXPIRED
    world.wait(1)

    for position_id in (1, 2, 3):
        world.settle(position_id, by="keeper")
    for name in ("trader", "other_trader", "third_trader"):
        if world.market.credit_of[ROLE[name]]:
            world.market.withdraw_credit(sender=ROLE[name])
    redeem_everything(world, "lp")
    redeem_everything(world, "other_lp")
    nothing_is_left_but_dust(world)


def test_guardian_restricts_for_a_day_and_not_for_a_second_one() -> None:
    world = busy_market()
    world.configurator.guardian_restrict(world.market, 86_400, sender=ROLE["guardian"])
    assert reason_of(world.open, LONG, 1, 50) == errors.REDUCE_ONLY
    world.close(1, by="trader")
    world.wait(86_400)
    world.publish(99)
    world.open(LONG, 1, 50)
    assert (
        reason_of(world.configurator.guardian_restrict, world.market, 1, sender=ROLE["guardian"])
        == errors.RESTRICTED_RECENTLY
    )


def test_held_price_does_not_settle_a_market() -> None:
    world = World(price=100, cash=50_000, max_jump=wad("0.05"))
    position_id = world.open(LONG, 10, 500)
    world.publish(90)  # beyond the band, never confirmed
    world.wait(SETTLEMENT_DELAY + 1)
    before = world.market.credit_of[ROLE["trader"]]
    world.settle(position_id)
    assert world.event("PositionSettled")[3] == wad(100)
    assert world.market.credit_of[ROLE["trader"]] > before

"""P1: a position owns its margin alone."""

from fractions import Fraction

import pytest
from market_world import FRICTIONLESS, PARAMS, RISK, ROLE, Feed, World, address

from python_model.modules.constants import LONG, SHORT
from python_model.perp_market import Position

NEIGHBOURS = ("other_trader", "third_trader", "attacker")


def content(position: Position) -> tuple[object, ...]:
    """A position but for its place in the ring and when it was last seen."""
    return (
        position.owner,
        position.side,
        position.tier,
        position.size,
        position.margin,
        position.entry_price,
        position.entry_funding,
    )


def neighbours(world: World) -> list[int]:
    """Positions of others, on both sides, with margin to last."""
    return [world.open(side, 10, 900, by=name) for name in NEIGHBOURS for side in (LONG, SHORT)]


@pytest.mark.parametrize("side", [LONG, SHORT])
@pytest.mark.parametrize(
    ("move", "kind"), [("4.5", "partial"), ("5.5", "full"), ("30", "bad debt"), ("60", "bad debt")]
)
def test_ruin_of_one_leaves_every_other_position_as_it_was(side: int, move: str, kind: str) -> None:
    """Partial, full and with bad debt: whatever happens to one, the others keep every field."""
    world = World()
    others = neighbours(world)
    position_id = world.open(side, 100, 600)
    before = [content(world.position(number)) for number in others]
    world.publish(100 - Fraction(move) if side == LONG else 100 + Fraction(move))
    happened = "bad debt" if world.market.bad_debt else "full"
    assert ("partial" if world.is_open(position_id) else happened) == kind
    assert world.event("PositionLiquidated")[0] == position_id
    assert [content(world.position(number)) for number in others] == before
    world.assert_books_balance()


@pytest.mark.parametrize("side", [LONG, SHORT])
def test_neighbours_end_the_same_with_and_without_the_ruin(side: int) -> None:
    """Twin markets without funding and skew: the others are paid the same in both."""
    payouts = []
    for with_ruin in (True, False):
        world = World(**FRICTIONLESS)
        others = neighbours(world)
        position_id = world.open(side, 100, 600)
        if not with_ruin:
            world.close(position_id)
        world.publish(60 if side == LONG else 140)
        assert (world.market.bad_debt > 0) == with_ruin
        world.publish(100)
        payouts.append(
            [world.close(number, by=NEIGHBOURS[order // 2]) for order, number in enumerate(others)]
        )
    assert payouts[0] == payouts[1]


def test_loss_of_a_trader_is_the_margin_of_that_position() -> None:
    """Two positions of one trader: the ruin of the first does not touch the second."""
    world = World()
    ruined = world.open(LONG, 100, 600)
    kept = world.open(LONG, 10, 900)
    before = content(world.position(kept))
    world.publish(50)
    assert not world.is_open(ruined)
    assert world.market.bad_debt > 0
    assert content(world.position(kept)) == before
    assert world.close(kept) > 0
    assert world.spent("trader") < world.tokens(600 + 900)


def test_bad_debt_is_the_loss_of_the_pool_alone() -> None:
    world = World()
    others = neighbours(world)
    margin = sum(world.position(number).margin for number in others)
    world.open(LONG, 100, 600)
    world.publish(60)
    assert world.market.bad_debt > 0
    assert world.market.solvency().margin == margin
    assert world.market.solvency().insurance == 0


def test_claim_of_one_is_not_paid_from_the_margin_of_another() -> None:
    world = World(cash=100, reserve_fraction=10**15, **FRICTIONLESS)
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 100, 9_000, by="other_trader")
    before = content(world.position(loser))
    world.publish(150)
    world.close(winner)
    assert world.pool.claim_of[ROLE["trader"]] > 0
    assert content(world.position(loser)) == before
    world.assert_books_balance()


def test_markets_of_one_factory_share_nothing() -> None:
    """Ruin and bad debt in one market: the other's contracts are as they were."""
    world = World()
    feed = Feed(world.chain, address(0xFEED))
    other = world.factory.create_market(
        world.token, feed, "other", "OTHER", PARAMS, RISK, sender=ROLE["owner"]
    )
    parts = (other.address, other.pool.address, other.engine.address, feed.address)
    world.open(LONG, 100, 600)
    before = {part: world.state()[part] for part in parts}
    world.publish(60)
    assert world.market.bad_debt > 0
    assert {part: world.state()[part] for part in parts} == before

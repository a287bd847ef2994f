"""Who may deploy and publish, and the bounds of the parameters at their edges."""

from typing import Any

import pytest
from market_world import PARAMS, ROLE, World, reason_of, tiers, wad

from python_model.modules import errors, ownable_2step
from python_model.modules.constants import LONG, MAX_PRICE, MAX_SIZE, WAD
from python_model.testing.token_mock import TokenMock

OWNER, ATTACKER, KEEPER = ROLE["owner"], ROLE["attacker"], ROLE["keeper"]


def create(world: World, sender: str = OWNER, decimals: int = 6, **changes: Any) -> Any:
    token = TokenMock(world.chain, "0x" + "77" * 20, decimals)
    params = PARAMS._replace(**changes)
    return world.factory.create_market(
        token, ROLE["publisher"], "pool", "LP", params, sender=sender
    )


def test_factory_binds_market_pool_and_feed() -> None:
    world = World()
    market = create(world)
    assert market.pool.market is market.feed.market is market
    assert market.factory is world.factory
    assert world.factory.market_count == 2
    assert world.factory.markets[1] is market
    assert world.factory.is_market[market.address]
    assert not world.factory.is_market[ATTACKER]
    created = (market.address, market.pool.address, market.feed.address, market.token.address)
    assert world.event("MarketCreated") == created
    assert market.feed.owner == OWNER


def test_only_the_owner_creates_and_names_the_treasury() -> None:
    world = World()
    assert reason_of(create, world, ATTACKER) == ownable_2step.NOT_THE_OWNER
    set_treasury = world.factory.set_treasury
    assert reason_of(set_treasury, ATTACKER, sender=ATTACKER) == ownable_2step.NOT_THE_OWNER
    set_treasury(KEEPER, sender=OWNER)
    assert world.factory.treasury == KEEPER


def test_ownership_is_handed_over_in_two_steps() -> None:
    world = World()
    for contract in (world.factory, world.feed):
        contract.transfer_ownership(KEEPER, sender=OWNER)
        assert contract.owner == OWNER
        accept = contract.accept_ownership
        assert reason_of(accept, sender=ATTACKER) == ownable_2step.NOT_THE_NEW_OWNER
        accept(sender=KEEPER)
        assert contract.owner == KEEPER


ACCEPTED: list[dict[str, Any]] = [
    {"min_size": PARAMS.tiers[0].max_size},
    {"max_open_interest": MAX_SIZE // 4, "skew_scale": MAX_SIZE, "max_funding_rate": 0}
    | {"liquidation_penalty": WAD // 4, "keeper_share": 0, "tiers": tiers((1, 1, "0.5"))},
    {"max_open_interest": 1, "max_skew": 0},
    {"maker_fee": 10**16, "taker_fee": 10**16},
    {"max_utilisation_rate": 10**12},
    {"keeper_share": 0},
    {"reserve_fraction": 1},
    {"reserve_fraction": WAD},
    {"max_price_age": 1},
    {"max_price_age": 86_400},
    {"tiers": tiers((MAX_SIZE // WAD, 1, "0.02"))},
    {"tiers": tiers((10, "0.05", "0.02"))},  # maintenance as low as twice the penalty
]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    (errors.BAD_LIMITS, {"min_size": 0}),
    (errors.BAD_LIMITS, {"min_size": PARAMS.tiers[0].max_size + 1}),
    (errors.BAD_LIMITS, {"max_open_interest": 0, "max_skew": 0}),
    (errors.BAD_LIMITS, {"max_open_interest": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"skew_scale": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"max_skew": PARAMS.max_open_interest + 1}),
    (errors.BAD_RATES, {"max_utilisation_rate": 10**12 + 1}),
    (errors.BAD_RATES, {"max_funding_rate": WAD + 1}),
    (errors.BAD_RATES, {"maker_fee": PARAMS.taker_fee + 1}),
    (errors.BAD_RATES, {"taker_fee": 10**16 + 1}),
    (errors.BAD_RATES, {"liquidation_penalty": 0}),
    (errors.BAD_RATES, {"liquidation_penalty": WAD + 1}),
    (errors.BAD_RATES, {"keeper_share": WAD + 1}),
    (errors.BAD_RATES, {"reserve_fraction": 0}),
    (errors.BAD_RATES, {"reserve_fraction": WAD + 1}),
    (errors.BAD_AGE, {"max_price_age": 0}),
    (errors.BAD_AGE, {"max_price_age": 86_401}),
    (errors.BAD_TIERS, {"tiers": tiers((10, "0.05", "0.02"), (9, "0.05", "0.02"))}),
    (errors.BAD_TIERS, {"tiers": tiers((10, "0.05", "0.02"), (11, "0.04", "0.02"))}),
    (errors.BAD_TIERS, {"tiers": tiers((10, "0.05", "0.02"), (11, "0.05", "0.015"))}),
    (errors.BAD_TIERS, {"tiers": tiers((10, "0.05", "0.019"))}),  # below twice the penalty
    (errors.BAD_TIERS, {"tiers": tiers((10, "0.05", "0.05"))}),
    (errors.BAD_TIERS, {"tiers": tiers((10, "1.01", "0.05"))}),
    (errors.BAD_SKEW_SCALE, {"keeper_share": WAD}),
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_parameters_at_their_bounds_are_accepted(changes: dict[str, Any]) -> None:
    assert create(World(), **changes).params() == PARAMS._replace(**changes)


@pytest.mark.parametrize(("reason", "changes"), REFUSED, ids=str)
def test_parameters_beyond_their_bounds_are_refused(reason: str, changes: dict[str, Any]) -> None:
    assert reason_of(create, World(), **changes) == reason


def test_skew_scale_is_bounded_by_penalty_and_keeper_share_exactly() -> None:
    """A fill is moved by no more than what a liquidation costs: 1 % * 90 % of the price."""
    least = PARAMS.max_open_interest * 10**36 // (wad("0.01") * wad("0.9"))
    least += least * wad("0.01") * wad("0.9") < PARAMS.max_open_interest * 10**36
    world = World()
    create(world, skew_scale=least, max_funding_rate=0)
    assert (
        reason_of(create, world, skew_scale=least - 1, max_funding_rate=0) == errors.BAD_SKEW_SCALE
    )


def test_skew_scale_is_bounded_by_the_funding_rate_exactly() -> None:
    world = World()
    most = PARAMS.skew_scale * 10**12 // PARAMS.max_open_interest
    create(world, max_funding_rate=most)
    assert reason_of(create, world, max_funding_rate=most + 1) == errors.BAD_SKEW_SCALE


def test_token_of_eighteen_decimals_is_accepted_nineteen_is_not() -> None:
    world = World()
    create(world, decimals=18)
    assert reason_of(create, world, decimals=19) == errors.BAD_TOKEN


def test_publish_settles_the_market_and_credits_the_publisher() -> None:
    world = World()
    world.open(LONG, 10, 55)
    assert world.publish(96) == 1
    assert world.market.credit_of[ROLE["publisher"]] > 0
    assert world.feed.latest_price() == (wad(96), world.chain.timestamp)
    assert world.event("PricePublished") == (wad(96), world.chain.timestamp)


def test_price_bounds() -> None:
    world = World()
    world.wait(10)
    publish, now = world.feed.publish, world.chain.timestamp
    publish(1, now - 1, sender=ROLE["publisher"])
    publish(MAX_PRICE, now, sender=ROLE["publisher"])
    reason = reason_of(publish, MAX_PRICE, now, sender=ROLE["publisher"])
    assert reason == errors.OLD_PRICE


def test_price_may_be_a_minute_late() -> None:
    world = World()
    world.wait(100)
    publish, now = world.feed.publish, world.chain.timestamp
    late = reason_of(publish, WAD, now - 61, sender=ROLE["publisher"])
    assert late == errors.STALE_PRICE
    publish(WAD, now - 60, sender=ROLE["publisher"])


def test_new_publisher_replaces_the_old_one() -> None:
    world = World()
    set_publisher = world.feed.set_publisher
    assert reason_of(set_publisher, ATTACKER, sender=ATTACKER) == ownable_2step.NOT_THE_OWNER
    set_publisher(KEEPER, sender=OWNER)
    world.wait(1)
    publish, now = world.feed.publish, world.chain.timestamp
    assert reason_of(publish, WAD, now, sender=ROLE["publisher"]) == errors.NOT_PUBLISHER
    publish(WAD, now, sender=KEEPER)

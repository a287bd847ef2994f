"""Who may deploy, and the bounds of the parameters at their edges."""

from fractions import Fraction
from typing import Any

import pytest
from market_world import (
    PARAMS,
    RISK,
    ROLE,
    Feed,
    World,
    address,
    params_of,
    reason_of,
    tiers,
    wad,
)

from python_model.modules import errors, ownable_2step
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, MAX_SIZE, WAD
from python_model.testing.token_mock import TokenMock

OWNER, ATTACKER, KEEPER = ROLE["owner"], ROLE["attacker"], ROLE["keeper"]


def create(world: World, sender: str = OWNER, decimals: int = 6, **changes: Any) -> Any:
    """A second market on a token and a feed of its own."""
    world.chain.seen = None
    token = TokenMock(world.chain, "0x" + "77" * 20, decimals)
    feed = Feed(world.chain, address(0xFEED))
    return world.factory.create_market(
        token, feed, "pool", "LP", *params_of(changes), sender=sender
    )


def test_factory_binds_market_pool_engine_and_feed() -> None:
    world = World()
    market = create(world)
    assert market.pool.market is market.feed.market is market
    assert market.engine.market == market.address
    assert market.engine.configurator == world.configurator.address
    assert (market.factory, market.feed.address) == (world.factory, address(0xFEED))
    assert world.factory.market_count == 2
    assert world.factory.markets[1] is market
    assert world.factory.is_market[market.address]
    assert not world.factory.is_market[ATTACKER]
    made = (market.pool, market.feed, market.engine, market.token)
    assert world.event("MarketCreated") == (market.address, *[part.address for part in made])
    assert (market.engine.market_params(), market.engine.params()) == (PARAMS, RISK)


def test_only_the_owner_creates_and_names_the_treasury() -> None:
    world = World()
    assert reason_of(create, world, ATTACKER) == ownable_2step.NOT_THE_OWNER
    set_treasury = world.factory.set_treasury
    assert reason_of(set_treasury, ATTACKER, sender=ATTACKER) == ownable_2step.NOT_THE_OWNER
    set_treasury(KEEPER, sender=OWNER)
    assert world.factory.treasury == KEEPER


def test_ownership_is_handed_over_in_two_steps() -> None:
    world = World()
    for contract in (world.factory, world.configurator):
        contract.transfer_ownership(KEEPER, sender=OWNER)
        assert contract.owner == OWNER
        accept = contract.accept_ownership
        assert reason_of(accept, sender=ATTACKER) == ownable_2step.NOT_THE_NEW_OWNER
        accept(sender=KEEPER)
        assert contract.owner == KEEPER


ACCEPTED: list[dict[str, Any]] = [
    {"min_size": PARAMS.tier_sizes[0]},
    {"max_open_interest": MAX_SIZE // 4, "skew_scale": MAX_SIZE, "max_funding_rate": 0}
    | {"liquidation_penalty": WAD // 4, "keeper_share": 0, **tiers((1, 1, "0.5"))},
    {"max_open_interest": 0, "max_skew": 0},  # a market that only closes
    {"maker_fee": 10**16, "taker_fee": 10**16},
    {"max_utilisation_rate": 10**12},
    {"keeper_share": 0},
    {"reserve_fraction": 1},
    {"reserve_fraction": WAD},
    {"max_price_age": 1},
    {"max_price_age": 86_400},
    tiers((MAX_SIZE // WAD, 1, "0.02")),
    {"max_volatility_multiplier": 100 * WAD, "calm_volatility": FRACTION_UNIT},
    {"volatility_window": 60},
    {"volatility_window": 7 * 86_400},
    {"crowding_lower": 0, "crowding_upper": FRACTION_UNIT},
    {"max_confidence": 10**15},
    {"max_jump": wad("0.05")},
    {"move_windows": (60, 61), "max_moves": (wad("0.01"), wad("0.01"))},
    {"move_windows": (7 * 86_400 - 1, 7 * 86_400)},
    {"cool_down": 86_400},
    {"max_liquidated_size": 1, "max_pool_loss": wad("0.01"), "max_bad_debt": 0},
    {"max_insurance_draw": wad("0.01"), "max_profit_share": wad("0.2")},
    tiers((10, "0.05", "0.02")),  # maintenance as low as twice the penalty
]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    (errors.BAD_LIMITS, {"min_size": 0}),
    (errors.BAD_LIMITS, {"min_size": PARAMS.tier_sizes[0] + 1}),
    (errors.BAD_LIMITS, {"max_open_interest": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"skew_scale": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"max_skew": RISK.max_open_interest + 1}),
    (errors.BAD_RATES, {"max_utilisation_rate": 10**12 + 1}),
    (errors.BAD_RATES, {"max_funding_rate": WAD + 1}),
    (errors.BAD_RATES, {"maker_fee": RISK.taker_fee + 1}),
    (errors.BAD_RATES, {"taker_fee": 10**16 + 1}),
    (errors.BAD_RATES, {"liquidation_penalty": 0}),
    (errors.BAD_RATES, {"liquidation_penalty": WAD + 1}),
    (errors.BAD_RATES, {"keeper_share": WAD + 1}),
    (errors.BAD_RATES, {"reserve_fraction": 0}),
    (errors.BAD_RATES, {"reserve_fraction": WAD + 1}),
    (errors.BAD_AGE, {"max_price_age": 0}),
    (errors.BAD_AGE, {"max_price_age": 86_401}),
    (errors.BAD_TIERS, tiers((10, "0.05", "0.02"), (9, "0.05", "0.02"))),
    (errors.BAD_TIERS, tiers((10, "0.05", "0.02"), (11, "0.04", "0.02"))),
    (errors.BAD_TIERS, tiers((10, "0.05", "0.02"), (11, "0.05", "0.015"))),
    (errors.BAD_TIERS, tiers((10, "0.05", "0.019"))),  # below twice the penalty
    (errors.BAD_TIERS, tiers((10, "0.05", "0.05"))),
    (errors.BAD_TIERS, tiers((10, "1.01", "0.05"))),
    (errors.BAD_SKEW_SCALE, {"keeper_share": WAD}),
    (errors.BAD_VOLATILITY, {"calm_volatility": 0}),
    (errors.BAD_VOLATILITY, {"calm_volatility": WAD + FRACTION_UNIT}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": WAD - FRACTION_UNIT}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": 100 * WAD + FRACTION_UNIT}),
    (errors.BAD_VOLATILITY, {"volatility_window": 59}),
    (errors.BAD_VOLATILITY, {"volatility_window": 7 * 86_400 + 1}),
    (errors.BAD_CROWDING, {"crowding_lower": WAD}),
    (errors.BAD_CROWDING, {"crowding_upper": WAD + FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": 10**15 - FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": 10**17 + FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": wad("0.05") - FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": WAD + FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"move_windows": (59, 3600)}),
    (errors.BAD_BREAKERS, {"move_windows": (3600, 3600)}),
    (errors.BAD_BREAKERS, {"move_windows": (60, 7 * 86_400 + 1)}),
    (errors.BAD_BREAKERS, {"max_moves": (wad("0.01") - FRACTION_UNIT, WAD)}),
    (errors.BAD_BREAKERS, {"max_moves": (WAD, WAD - FRACTION_UNIT)}),
    (errors.BAD_BREAKERS, {"max_moves": (WAD, WAD + FRACTION_UNIT)}),
    (errors.BAD_BREAKERS, {"cool_down": 59}),
    (errors.BAD_BREAKERS, {"cool_down": 86_401}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": 0}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": MAX_SIZE + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": wad("0.01") - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": WAD + FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_bad_debt": MAX_MARGIN + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": wad("0.01") - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": WAD + FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": wad("0.2") - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": WAD + FRACTION_UNIT}),
    (errors.BAD_UNITS, tiers((10, Fraction(5 * 10**16 + 1, WAD), "0.02"))),
    (errors.BAD_UNITS, tiers((10, "0.05", Fraction(2 * 10**16 + 1, WAD)))),
    (errors.BAD_UNITS, {"taker_fee": RISK.taker_fee + 1}),
    (errors.BAD_UNITS, {"max_jump": WAD - 1}),
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_parameters_at_their_bounds_are_accepted(changes: dict[str, Any]) -> None:
    engine = create(World(), **changes).engine
    assert (engine.market_params(), engine.params()) == params_of(changes)


@pytest.mark.parametrize(("reason", "changes"), REFUSED, ids=str)
def test_parameters_beyond_their_bounds_are_refused(reason: str, changes: dict[str, Any]) -> None:
    assert reason_of(create, World(), **changes) == reason


def test_skew_scale_is_bounded_by_penalty_and_keeper_share_exactly() -> None:
    """A fill is moved by no more than what a liquidation costs: 1 % * 90 % of the price."""
    least = RISK.max_open_interest * 10**36 // (wad("0.01") * wad("0.9"))
    least += least * wad("0.01") * wad("0.9") < RISK.max_open_interest * 10**36
    world = World()
    create(world, skew_scale=least, max_funding_rate=0)
    assert (
        reason_of(create, world, skew_scale=least - 1, max_funding_rate=0) == errors.BAD_SKEW_SCALE
    )


def test_skew_scale_is_bounded_by_the_funding_rate_exactly() -> None:
    world = World()
    most = PARAMS.skew_scale * 10**12 // RISK.max_open_interest
    create(world, max_funding_rate=most)
    assert reason_of(create, world, max_funding_rate=most + 1) == errors.BAD_SKEW_SCALE


def test_token_of_eighteen_decimals_is_accepted_nineteen_is_not() -> None:
    world = World()
    create(world, decimals=18)
    assert reason_of(create, world, decimals=19) == errors.BAD_TOKEN

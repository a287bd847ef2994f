"""MarketFactory: who deploys, and each bound on the parameters of a market."""

from typing import Any

import pytest
from both_forms import PARAMS, RISK, BothForms

from lockstep import abi
from perp_fuzz.deployment import (
    ADDRESSES,
    CONFIDENCE_FRACTION,
    HEARTBEAT,
    TOKENS,
    WAD,
    compile_contracts,
)
from python_model.aggregator_price_feed import AggregatorPriceFeed
from python_model.evm import ZERO_ADDRESS
from python_model.modules import errors, ownable_2step
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, MAX_SIZE
from python_model.modules.risk_bounds import (
    MAX_AGE,
    MAX_CONFIDENCE,
    MAX_COOL_DOWN,
    MAX_FEE,
    MAX_MULTIPLIER,
    MAX_RATE,
    MAX_WINDOW,
    MIN_CONFIDENCE,
    MIN_COOL_DOWN,
    MIN_JUMP,
    MIN_LOSS_SHARE,
    MIN_MOVE,
    MIN_PROFIT_SHARE,
    MIN_WINDOW,
)
from python_model.perp_market import MarketParams, PerpMarket
from python_model.testing.token_mock import TokenMock

NAMES = ("Another Pool", "AP")
HUGE = 2**256 - 1
UNIT = FRACTION_UNIT


def new_feed(forms: BothForms, factory: str) -> AggregatorPriceFeed:
    """A feed that waits for this factory to bind it."""
    system = forms.system
    settings = (HEARTBEAT, CONFIDENCE_FRACTION)
    arguments = abi.words(factory, system.aggregator.address, *settings, ZERO_ADDRESS, 0)
    initcode = compile_contracts()["AggregatorPriceFeed"].initcode + arguments
    address = forms.engine.deploy(initcode, ADDRESSES["owner_0"])
    return AggregatorPriceFeed(
        system.chain, address, factory, system.aggregator, *settings, None, 0
    )


def create(forms: BothForms, **changed: Any) -> tuple[Any, ...]:
    """Arguments of create_market with a new feed and some parameters replaced."""
    fixed = {name: changed.pop(name) for name in MarketParams._fields if name in changed}
    feed = new_feed(forms, forms.system.factory.address)
    params, risk = PARAMS._replace(**fixed), RISK._replace(**changed)
    return (forms.system.token, feed, *NAMES, params, risk)


def put(numbers: tuple[int, ...], i: int, number: int) -> tuple[int, ...]:
    """The numbers with one of them replaced."""
    return (*numbers[:i], number, *numbers[i + 1 :])


SIZES = PARAMS.tier_sizes
INITIAL, MAINTENANCE = RISK.initial_fractions, RISK.maintenance_fractions


def test_a_second_market_stands_on_its_own(bare: BothForms) -> None:
    bare.now += 1
    args = create(bare)
    market = bare.does("owner_0", "factory.create_market", *args)
    assert isinstance(market, PerpMarket)
    assert market is not bare.system.market
    assert bare.view("factory.market_count") == 2
    system = bare.system
    for contract, name, expected in (
        (market, "pool", market.pool.address),
        (market, "engine", market.engine.address),
        (market, "feed", args[1].address),
        (market, "token", system.token.address),
        (market, "factory", system.factory.address),
        (market.pool, "market", market.address),
        (market.pool, "asset", system.token.address),
        (market.engine, "market", market.address),
        (market.engine, "configurator", system.configurator.address),
        (args[1], "market", market.address),
    ):
        got = bare.engine.view(contract.address, abi.selector(f"{name}()"))
        assert got.output == abi.word(expected), name
    for number, expected in enumerate((system.market, market)):
        data = abi.selector("markets(uint256)") + abi.word(number)
        assert bare.engine.view(system.factory.address, data).output == abi.word(expected.address)
    assert bare.view("factory.is_market", market.address) == 1
    assert bare.view("factory.is_market", system.pool.address) == 0


def test_the_parameters_can_be_read_back(bare: BothForms) -> None:
    engine = bare.system.engine.address
    got = bare.engine.view(engine, abi.selector("market_params()"))
    assert got.output == abi.words(*PARAMS[:-1], *PARAMS.tier_sizes)
    got = bare.engine.view(engine, abi.selector("params()"))
    flat = [part for item in RISK for part in (item if isinstance(item, tuple) else (item,))]
    assert got.output == abi.words(*flat)


def test_a_feed_serves_one_market(bare: BothForms) -> None:
    args = (bare.system.token, bare.system.feed, *NAMES, PARAMS, RISK)
    bare.refuses(errors.ALREADY_SET, "owner_0", "factory.create_market", *args)


def test_a_feed_of_another_factory_is_refused(bare: BothForms) -> None:
    feed = new_feed(bare, ADDRESSES["owner_0"])
    args = (bare.system.token, feed, *NAMES, PARAMS, RISK)
    bare.refuses(errors.NOT_FACTORY, "owner_0", "factory.create_market", *args)


@pytest.mark.parametrize("role", ["attacker", "guardian_0", "treasury_0"])
def test_only_the_owner_governs(bare: BothForms, role: str) -> None:
    reason = ownable_2step.NOT_THE_OWNER
    bare.refuses(reason, role, "factory.create_market", *create(bare))
    bare.refuses(reason, role, "factory.set_treasury", "attacker")
    bare.refuses(reason, role, "factory.transfer_ownership", "attacker")
    bare.refuses(ownable_2step.NOT_THE_NEW_OWNER, role, "factory.accept_ownership")


def test_ownership_moves_in_two_steps(bare: BothForms) -> None:
    bare.does("owner_0", "factory.transfer_ownership", "owner_1")
    bare.does("owner_1", "factory.accept_ownership")
    bare.refuses(ownable_2step.NOT_THE_OWNER, "owner_0", "factory.set_treasury", "owner_0")
    bare.does("owner_1", "factory.set_treasury", "treasury_1")
    assert bare.system.factory.treasury == ADDRESSES["treasury_1"]


def test_a_token_of_more_than_18_decimals_is_refused(bare: BothForms) -> None:
    artifact = compile_contracts()[TOKENS["standard"]]
    owner = ADDRESSES["owner_0"]
    address = bare.engine.deploy(artifact.initcode + abi.word(19), owner)
    token = TokenMock(bare.system.chain, address, 19)
    args = (token, *create(bare)[1:])
    bare.refuses(errors.BAD_TOKEN, "owner_0", "factory.create_market", *args)


BAD: list[tuple[str, dict[str, Any]]] = [
    (errors.BAD_LIMITS, {"min_size": 0}),
    (errors.BAD_LIMITS, {"min_size": SIZES[0] + 1}),
    (errors.BAD_LIMITS, {"min_size": HUGE}),
    (errors.BAD_LIMITS, {"max_open_interest": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"max_open_interest": HUGE}),
    (errors.BAD_LIMITS, {"skew_scale": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"skew_scale": HUGE}),
    (errors.BAD_LIMITS, {"max_skew": RISK.max_open_interest + 1}),
    (errors.BAD_LIMITS, {"max_skew": HUGE}),
    (errors.BAD_RATES, {"max_funding_rate": WAD + 1}),
    (errors.BAD_RATES, {"max_funding_rate": HUGE}),
    (errors.BAD_RATES, {"max_utilisation_rate": MAX_RATE + 1}),
    (errors.BAD_RATES, {"max_utilisation_rate": HUGE}),
    (errors.BAD_RATES, {"maker_fee": RISK.taker_fee + UNIT}),
    (errors.BAD_RATES, {"maker_fee": HUGE}),
    (errors.BAD_RATES, {"taker_fee": MAX_FEE + UNIT}),
    (errors.BAD_RATES, {"taker_fee": HUGE}),
    (errors.BAD_RATES, {"liquidation_penalty": 0}),
    (errors.BAD_RATES, {"liquidation_penalty": HUGE}),
    (errors.BAD_RATES, {"keeper_share": WAD + 1}),
    (errors.BAD_RATES, {"keeper_share": HUGE}),
    (errors.BAD_RATES, {"reserve_fraction": 0}),
    (errors.BAD_RATES, {"reserve_fraction": WAD + 1}),
    (errors.BAD_RATES, {"reserve_fraction": HUGE}),
    (errors.BAD_AGE, {"max_price_age": 0}),
    (errors.BAD_AGE, {"max_price_age": MAX_AGE + 1}),
    (errors.BAD_AGE, {"max_price_age": HUGE}),
    (errors.BAD_TIERS, {"tier_sizes": put(SIZES, 1, SIZES[0] - 1)}),
    (errors.BAD_TIERS, {"tier_sizes": put(SIZES, 3, MAX_SIZE + 1)}),
    (errors.BAD_TIERS, {"tier_sizes": put(SIZES, 3, HUGE)}),
    (errors.BAD_TIERS, {"liquidation_penalty": MAINTENANCE[0] // 2 + 1}),
    (errors.BAD_TIERS, {"initial_fractions": put(INITIAL, 2, INITIAL[1] - UNIT)}),
    (errors.BAD_TIERS, {"initial_fractions": put(INITIAL, 3, WAD + UNIT)}),
    (errors.BAD_TIERS, {"initial_fractions": put(INITIAL, 3, HUGE)}),
    (errors.BAD_TIERS, {"maintenance_fractions": put(MAINTENANCE, 2, MAINTENANCE[1] - UNIT)}),
    (errors.BAD_TIERS, {"maintenance_fractions": put(MAINTENANCE, 3, INITIAL[3])}),
    (errors.BAD_TIERS, {"maintenance_fractions": put(MAINTENANCE, 0, HUGE)}),
    (errors.BAD_LIMITS, {"skew_scale": 0}),
    (errors.BAD_VOLATILITY, {"calm_volatility": 0}),
    (errors.BAD_VOLATILITY, {"calm_volatility": WAD + UNIT}),
    (errors.BAD_VOLATILITY, {"calm_volatility": HUGE}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": WAD - UNIT}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": MAX_MULTIPLIER + UNIT}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": HUGE}),
    (errors.BAD_VOLATILITY, {"volatility_window": MIN_WINDOW - 1}),
    (errors.BAD_VOLATILITY, {"volatility_window": MAX_WINDOW + 1}),
    (errors.BAD_VOLATILITY, {"volatility_window": HUGE}),
    (errors.BAD_CROWDING, {"crowding_lower": RISK.crowding_upper}),
    (errors.BAD_CROWDING, {"crowding_lower": HUGE}),
    (errors.BAD_CROWDING, {"crowding_upper": WAD + UNIT}),
    (errors.BAD_CROWDING, {"crowding_upper": HUGE}),
    (errors.BAD_BREAKERS, {"max_confidence": MIN_CONFIDENCE - UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": MAX_CONFIDENCE + UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": HUGE}),
    (errors.BAD_BREAKERS, {"max_jump": MIN_JUMP - UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": WAD + UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": HUGE}),
    (errors.BAD_BREAKERS, {"move_windows": (MIN_WINDOW - 1, 600)}),
    (errors.BAD_BREAKERS, {"move_windows": (600, 600)}),
    (errors.BAD_BREAKERS, {"move_windows": (60, MAX_WINDOW + 1)}),
    (errors.BAD_BREAKERS, {"move_windows": (60, HUGE)}),
    (errors.BAD_BREAKERS, {"max_moves": (MIN_MOVE - UNIT, WAD)}),
    (errors.BAD_BREAKERS, {"max_moves": (WAD, WAD - UNIT)}),
    (errors.BAD_BREAKERS, {"max_moves": (WAD, WAD + UNIT)}),
    (errors.BAD_BREAKERS, {"max_moves": (HUGE, HUGE)}),
    (errors.BAD_BREAKERS, {"cool_down": MIN_COOL_DOWN - 1}),
    (errors.BAD_BREAKERS, {"cool_down": MAX_COOL_DOWN + 1}),
    (errors.BAD_BREAKERS, {"cool_down": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": 0}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": MAX_SIZE + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": MIN_LOSS_SHARE - UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": WAD + UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_bad_debt": MAX_MARGIN + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_bad_debt": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": MIN_LOSS_SHARE - UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": WAD + UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": MIN_PROFIT_SHARE - UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": WAD + UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": HUGE}),
    # Every fraction that is packed is a whole number of units.
    *(
        (errors.BAD_UNITS, {name: getattr(RISK, name) - 1})
        for name in (
            "maker_fee",
            "taker_fee",
            "calm_volatility",
            "crowding_lower",
            "crowding_upper",
            "max_confidence",
            "max_jump",
            "max_pool_loss",
            "max_insurance_draw",
            "max_profit_share",
        )
    ),
    (errors.BAD_UNITS, {"max_volatility_multiplier": WAD + 1}),
    (errors.BAD_UNITS, {"max_moves": (WAD - 1, WAD)}),
    (errors.BAD_UNITS, {"max_moves": (10**17, WAD - 1)}),
    *((errors.BAD_UNITS, {"initial_fractions": put(INITIAL, i, INITIAL[i] + 1)}) for i in range(4)),
    *(
        (errors.BAD_UNITS, {"maintenance_fractions": put(MAINTENANCE, i, MAINTENANCE[i] + 1)})
        for i in range(4)
    ),
]


@pytest.mark.parametrize(("reason", "changed"), BAD)
def test_a_parameter_out_of_bounds_is_refused(
    bare: BothForms, reason: str, changed: dict[str, Any]
) -> None:
    args = create(bare, **changed)
    bare.refuses(reason, "owner_0", "factory.create_market", *args)


def test_every_parameter_is_pushed_beyond_its_bound() -> None:
    pushed = {name for _, changed in BAD for name in changed}
    assert pushed == {*PARAMS._fields, *RISK._fields}


GOOD: list[dict[str, Any]] = [
    {"min_size": 1},
    {"min_size": SIZES[0]},
    {"max_open_interest": 0, "max_skew": 0},
    {"max_skew": RISK.max_open_interest},
    {"max_skew": 0},
    {"skew_scale": MAX_SIZE},
    {"max_funding_rate": 0},
    {"max_funding_rate": PARAMS.skew_scale * MAX_RATE // RISK.max_open_interest},
    {"max_utilisation_rate": MAX_RATE},
    {"maker_fee": RISK.taker_fee},
    {"maker_fee": 0, "taker_fee": 0},
    {"taker_fee": MAX_FEE},
    {"keeper_share": 0},
    {"liquidation_penalty": MAINTENANCE[0] // 2},
    {"reserve_fraction": 1},
    {"reserve_fraction": WAD},
    {"max_price_age": 1},
    {"max_price_age": MAX_AGE},
    {"tier_sizes": (SIZES[0],) * 4},
    {"initial_fractions": (INITIAL[0],) * 4, "maintenance_fractions": (MAINTENANCE[0],) * 4},
    {"tier_sizes": put(SIZES, 3, MAX_SIZE), "initial_fractions": put(INITIAL, 3, WAD)},
    {"maintenance_fractions": put(MAINTENANCE, 3, INITIAL[3] - UNIT)},
    {"calm_volatility": UNIT},
    {"max_volatility_multiplier": MAX_MULTIPLIER},
    {"volatility_window": MAX_WINDOW},
    {"crowding_lower": 0, "crowding_upper": UNIT},
    {"max_confidence": MIN_CONFIDENCE},
    {"max_jump": MIN_JUMP},
    {"move_windows": (MIN_WINDOW, MAX_WINDOW)},
    {"move_windows": (MAX_WINDOW - 1, MAX_WINDOW)},
    {"max_moves": (MIN_MOVE, MIN_MOVE)},
    {"cool_down": MAX_COOL_DOWN},
    {"max_liquidated_size": 1},
    {"max_pool_loss": MIN_LOSS_SHARE},
    {"max_bad_debt": 0},
    {"max_insurance_draw": MIN_LOSS_SHARE},
    {"max_profit_share": MIN_PROFIT_SHARE},
]


@pytest.mark.parametrize("changed", GOOD)
def test_a_parameter_on_its_bound_is_accepted_and_read_back(
    bare: BothForms, changed: dict[str, Any]
) -> None:
    bare.now += 1
    args = create(bare, **changed)
    market = bare.does("owner_0", "factory.create_market", *args)
    got = bare.engine.view(market.engine.address, abi.selector("params()"))
    flat = [part for item in args[5] for part in (item if isinstance(item, tuple) else (item,))]
    assert got.output == abi.words(*flat)


def test_the_skew_scale_bounds_what_a_liquidation_can_gain(bare: BothForms) -> None:
    least = -(
        -RISK.max_open_interest
        * WAD
        * WAD
        // (PARAMS.liquidation_penalty * (WAD - PARAMS.keeper_share))
    )
    args = create(bare, skew_scale=least - 1, max_funding_rate=0)
    bare.refuses(errors.BAD_SKEW_SCALE, "owner_0", "factory.create_market", *args)
    bare.now += 1
    args = create(bare, skew_scale=least, max_funding_rate=0)
    bare.does("owner_0", "factory.create_market", *args)


def test_the_skew_scale_bounds_how_fast_funding_runs(bare: BothForms) -> None:
    most = PARAMS.skew_scale * MAX_RATE // RISK.max_open_interest
    args = create(bare, max_funding_rate=most + 1)
    bare.refuses(errors.BAD_SKEW_SCALE, "owner_0", "factory.create_market", *args)

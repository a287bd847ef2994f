"""MarketFactory: who deploys, and each bound on the parameters of a market."""

from typing import Any

import pytest
from both_forms import PARAMS, BothForms

from lockstep import abi
from perp_fuzz.deployment import ADDRESSES, TOKENS, WAD, compile_contracts
from python_model.market_factory import MAX_AGE, MAX_FEE, MAX_RATE
from python_model.modules import errors, ownable_2step
from python_model.modules.constants import MAX_SIZE
from python_model.perp_market import MarketParams, PerpMarket, Tier
from python_model.testing.token_mock import TokenMock

NAMES = ("Another Pool", "AP")
HUGE = 2**256 - 1


def create(forms: BothForms, params: MarketParams = PARAMS, **changed: Any) -> tuple[Any, ...]:
    """Arguments of create_market with some parameters replaced."""
    return (forms.system.token, "publisher_1", *NAMES, params._replace(**changed))


def tiers(**changed: int) -> tuple[Tier, ...]:
    """The tiers with fields of one of them replaced: `initial_fraction_2=...`."""
    rows = list(PARAMS.tiers)
    for name, value in changed.items():
        field, _, number = name.rpartition("_")
        rows[int(number)] = rows[int(number)]._replace(**{field: value})
    return tuple(rows)


def test_a_second_market_stands_on_its_own(bare: BothForms) -> None:
    bare.now += 1
    market = bare.does("owner_0", "factory.create_market", *create(bare))
    assert isinstance(market, PerpMarket)
    assert market is not bare.system.market
    assert bare.view("factory.market_count") == 2
    assert market.feed.publisher == ADDRESSES["publisher_1"]
    assert market.feed.owner == ADDRESSES["owner_0"]
    for contract, name, expected in (
        (market, "pool", market.pool.address),
        (market, "feed", market.feed.address),
        (market, "token", bare.system.token.address),
        (market, "factory", bare.system.factory.address),
        (market.pool, "market", market.address),
        (market.feed, "market", market.address),
        (market.pool, "asset", bare.system.token.address),
    ):
        got = bare.engine.view(contract.address, abi.selector(f"{name}()"))
        assert got.output == abi.word(expected), name


def test_the_parameters_can_be_read_back(bare: BothForms) -> None:
    got = bare.engine.view(bare.system.market.address, abi.selector("params()"))
    flat = [*PARAMS[:-1], *(value for tier in PARAMS.tiers for value in tier)]
    assert got.output == abi.words(*flat)


@pytest.mark.parametrize("role", ["attacker", "publisher_0", "treasury_0"])
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
    (errors.BAD_LIMITS, {"min_size": PARAMS.tiers[0].max_size + 1}),
    (errors.BAD_LIMITS, {"min_size": HUGE}),
    (errors.BAD_LIMITS, {"max_open_interest": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"max_open_interest": HUGE}),
    (errors.BAD_LIMITS, {"skew_scale": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"skew_scale": HUGE}),
    (errors.BAD_LIMITS, {"max_skew": PARAMS.max_open_interest + 1}),
    (errors.BAD_LIMITS, {"max_skew": HUGE}),
    (errors.BAD_RATES, {"max_funding_rate": WAD + 1}),
    (errors.BAD_RATES, {"max_funding_rate": HUGE}),
    (errors.BAD_RATES, {"max_utilisation_rate": MAX_RATE + 1}),
    (errors.BAD_RATES, {"max_utilisation_rate": HUGE}),
    (errors.BAD_RATES, {"maker_fee": PARAMS.taker_fee + 1}),
    (errors.BAD_RATES, {"maker_fee": HUGE}),
    (errors.BAD_RATES, {"taker_fee": MAX_FEE + 1}),
    (errors.BAD_RATES, {"taker_fee": HUGE}),
    (errors.BAD_RATES, {"liquidation_penalty": 0}),
    (errors.BAD_RATES, {"keeper_share": WAD + 1}),
    (errors.BAD_RATES, {"keeper_share": HUGE}),
    (errors.BAD_RATES, {"reserve_fraction": 0}),
    (errors.BAD_RATES, {"reserve_fraction": WAD + 1}),
    (errors.BAD_RATES, {"reserve_fraction": HUGE}),
    (errors.BAD_AGE, {"max_price_age": 0}),
    (errors.BAD_AGE, {"max_price_age": MAX_AGE + 1}),
    (errors.BAD_AGE, {"max_price_age": HUGE}),
    (errors.BAD_TIERS, {"liquidation_penalty": PARAMS.tiers[0].maintenance_fraction // 2 + 1}),
    (errors.BAD_RATES, {"liquidation_penalty": HUGE}),
    (errors.BAD_LIMITS, {"max_open_interest": 0, "max_skew": 0}),
    (errors.BAD_TIERS, {"tiers": tiers(max_size_1=PARAMS.tiers[0].max_size - 1)}),
    (errors.BAD_TIERS, {"tiers": tiers(max_size_3=MAX_SIZE + 1)}),
    (errors.BAD_TIERS, {"tiers": tiers(max_size_3=HUGE)}),
    (errors.BAD_TIERS, {"tiers": tiers(initial_fraction_2=PARAMS.tiers[1].initial_fraction - 1)}),
    (errors.BAD_TIERS, {"tiers": tiers(initial_fraction_3=WAD + 1)}),
    (errors.BAD_TIERS, {"tiers": tiers(initial_fraction_3=HUGE)}),
    (
        errors.BAD_TIERS,
        {"tiers": tiers(maintenance_fraction_2=PARAMS.tiers[1].maintenance_fraction - 1)},
    ),
    (
        errors.BAD_TIERS,
        {"tiers": tiers(maintenance_fraction_3=PARAMS.tiers[3].initial_fraction)},
    ),
    (errors.BAD_TIERS, {"tiers": tiers(maintenance_fraction_0=HUGE)}),
    (errors.BAD_SKEW_SCALE, {"skew_scale": 0}),
]


@pytest.mark.parametrize(("reason", "changed"), BAD)
def test_a_parameter_out_of_bounds_is_refused(
    bare: BothForms, reason: str, changed: dict[str, Any]
) -> None:
    args = create(bare, **changed)
    bare.refuses(reason, "owner_0", "factory.create_market", *args)


GOOD: list[dict[str, Any]] = [
    {"min_size": 1},
    {"min_size": PARAMS.tiers[0].max_size},
    {"max_skew": PARAMS.max_open_interest},
    {"max_skew": 0},
    {"skew_scale": MAX_SIZE},
    {"max_funding_rate": 0},
    {"max_funding_rate": PARAMS.skew_scale * MAX_RATE // PARAMS.max_open_interest},
    {"max_utilisation_rate": MAX_RATE},
    {"maker_fee": PARAMS.taker_fee},
    {"maker_fee": 0, "taker_fee": 0},
    {"taker_fee": MAX_FEE},
    {"keeper_share": 0},
    {"liquidation_penalty": PARAMS.tiers[0].maintenance_fraction // 2},
    {"reserve_fraction": 1},
    {"reserve_fraction": WAD},
    {"max_price_age": 1},
    {"max_price_age": MAX_AGE},
    {"tiers": (PARAMS.tiers[0],) * 4},
    {"tiers": tiers(max_size_3=MAX_SIZE, initial_fraction_3=WAD)},
]


@pytest.mark.parametrize("changed", GOOD)
def test_a_parameter_on_its_bound_is_accepted(bare: BothForms, changed: dict[str, Any]) -> None:
    bare.now += 1
    bare.does("owner_0", "factory.create_market", *create(bare, **changed))


def test_the_skew_scale_bounds_what_a_liquidation_can_gain(bare: BothForms) -> None:
    least = -(
        -PARAMS.max_open_interest
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
    most = PARAMS.skew_scale * MAX_RATE // PARAMS.max_open_interest
    args = create(bare, max_funding_rate=most + 1)
    bare.refuses(errors.BAD_SKEW_SCALE, "owner_0", "factory.create_market", *args)

"""Configurator in both forms: timelock, tightening parameter by parameter, guardian, publishers."""

from collections.abc import Iterator
from typing import Any

import pytest
from configurator_forms import PUBLISHERS, QUORUM, ConfiguratorForms
from engine_forms import PARAMS, PERCENT, RISK
from feed_forms import ADDRESSES

from python_model.configurator import DELAY, MAX_RESTRICTION, NO_PARAMS
from python_model.evm import ZERO_ADDRESS
from python_model.modules import errors, ownable_2step, risk_bounds
from python_model.modules.constants import FRACTION_UNIT, MAX_MARGIN, MAX_SIZE, WAD

HUGE = 2**256 - 1
LOOSER = RISK._replace(max_open_interest=RISK.max_open_interest + WAD)


@pytest.fixture
def forms() -> Iterator[ConfiguratorForms]:
    made = ConfiguratorForms()
    yield made
    made.engine.close()


def wait(forms: ConfiguratorForms, seconds: int) -> None:
    forms.set_time(forms.now + seconds)


# Roles


@pytest.mark.parametrize("role", ["attacker", "guardian", "new_owner"])
def test_only_the_owner_governs(forms: ConfiguratorForms, role: str) -> None:
    forms.governs("propose_params", forms.market, LOOSER)
    forms.governs("propose_publishers", forms.feed, PUBLISHERS[:3], QUORUM)
    wait(forms, DELAY)
    for function, args in (
        ("set_guardian", (ADDRESSES["attacker"],)),
        ("propose_params", (forms.market, RISK)),
        ("cancel_params", (forms.market,)),
        ("apply_params", (forms.market,)),
        ("tighten", (forms.market, RISK)),
        ("propose_publishers", (forms.feed, PUBLISHERS, QUORUM)),
        ("cancel_publishers", (forms.feed,)),
        ("apply_publishers", (forms.feed,)),
        ("remove_publisher", (forms.feed, PUBLISHERS[0])),
        ("transfer_ownership", (ADDRESSES["attacker"],)),
    ):
        forms.denies(ownable_2step.NOT_THE_OWNER, function, *args, role=role)


def test_ownership_moves_in_two_steps(forms: ConfiguratorForms) -> None:
    forms.governs("transfer_ownership", ADDRESSES["new_owner"])
    forms.governs("tighten", forms.market, RISK)
    forms.denies(ownable_2step.NOT_THE_NEW_OWNER, "accept_ownership", role="attacker")
    forms.does("new_owner", forms.configurator, "accept_ownership")
    forms.denies(ownable_2step.NOT_THE_OWNER, "tighten", forms.market, RISK)
    forms.does("new_owner", forms.configurator, "tighten", forms.market, RISK)


def test_the_owner_names_the_guardian(forms: ConfiguratorForms) -> None:
    forms.governs("set_guardian", ADDRESSES["new_guardian"])
    assert forms.events() == [("GuardianSet", (ADDRESSES["new_guardian"],))]
    args = ("guardian_restrict", forms.market, 60)
    forms.denies(errors.NOT_GUARDIAN, *args, role="guardian")
    forms.does("new_guardian", forms.configurator, *args)


# The timelock of parameters


def test_parameters_wait_before_they_apply(forms: ConfiguratorForms) -> None:
    eta = forms.governs("propose_params", forms.market, LOOSER)
    assert eta == forms.now + DELAY
    assert forms.events() == [("ParamsProposed", (forms.market.address, eta))]
    assert forms.view(forms.configurator, "proposed_params", forms.market) == (eta, LOOSER)
    forms.denies(errors.TOO_EARLY, "apply_params", forms.market)
    forms.set_time(eta - 1)
    forms.denies(errors.TOO_EARLY, "apply_params", forms.market)
    assert forms.params() == RISK
    forms.set_time(eta)
    forms.governs("apply_params", forms.market)
    assert forms.events() == [
        ("ParamsSet", (forms.now,)),
        ("ParamsApplied", (forms.market.address,)),
    ]
    assert forms.params() == LOOSER
    assert forms.view(forms.configurator, "proposed_params", forms.market) == (0, NO_PARAMS)
    forms.denies(errors.NOTHING_PROPOSED, "apply_params", forms.market)


def test_nothing_announced_nothing_applied(forms: ConfiguratorForms) -> None:
    for function, target in (
        ("apply_params", forms.market),
        ("cancel_params", forms.market),
        ("apply_publishers", forms.feed),
        ("cancel_publishers", forms.feed),
    ):
        forms.denies(errors.NOTHING_PROPOSED, function, target)


def test_an_announcement_can_be_withdrawn(forms: ConfiguratorForms) -> None:
    forms.governs("propose_params", forms.market, LOOSER)
    wait(forms, DELAY)
    forms.governs("cancel_params", forms.market)
    assert forms.events() == [("ParamsCancelled", (forms.market.address,))]
    forms.denies(errors.NOTHING_PROPOSED, "apply_params", forms.market)
    forms.denies(errors.NOTHING_PROPOSED, "cancel_params", forms.market)


def test_a_new_announcement_starts_the_wait_again(forms: ConfiguratorForms) -> None:
    forms.governs("propose_params", forms.market, LOOSER)
    wait(forms, DELAY - 1)
    other = LOOSER._replace(max_bad_debt=0)
    forms.governs("propose_params", forms.market, other)
    wait(forms, 1)
    forms.denies(errors.TOO_EARLY, "apply_params", forms.market)
    wait(forms, DELAY - 1)
    forms.governs("apply_params", forms.market)
    assert forms.params() == other


def test_what_a_ramp_overtook_is_not_applied(forms: ConfiguratorForms) -> None:
    """The initial fraction announced is meanwhile below the maintenance fraction in effect."""
    lower = RISK._replace(initial_fractions=(PERCENT * 3 // 2, *RISK.initial_fractions[1:]))
    forms.governs("propose_params", forms.market, lower)
    raised = RISK._replace(
        maintenance_fractions=(PERCENT * 19 // 10, *RISK.maintenance_fractions[1:])
    )
    forms.governs("tighten", forms.market, raised)
    wait(forms, DELAY)
    forms.denies(errors.BAD_TIERS, "apply_params", forms.market)
    forms.governs("cancel_params", forms.market)


def test_applied_parameters_leave_the_breakers_as_they_are(forms: ConfiguratorForms) -> None:
    forms.governs("guardian_restrict", forms.market, MAX_RESTRICTION)
    before = forms.view(forms.engine_model, "breaker")
    forms.governs("tighten", forms.market, RISK._replace(cool_down=RISK.cool_down + 1))
    assert forms.view(forms.engine_model, "breaker") == before


# Tightening


def first(values: tuple[int, ...], change: int) -> tuple[int, ...]:
    return (values[0] + change, *values[1:])


def last(values: tuple[int, ...], change: int) -> tuple[int, ...]:
    return (*values[:-1], values[-1] + change)


# A step up and a step down, and which of them is tighter: +1 up, -1 down, 0 neither.
DIRECTIONS: list[tuple[str, int, Any, Any]] = [
    ("max_open_interest", -1, RISK.max_open_interest + 1, RISK.max_open_interest - 1),
    ("max_skew", -1, RISK.max_skew + 1, RISK.max_skew - 1),
    ("maker_fee", 0, RISK.maker_fee + FRACTION_UNIT, RISK.maker_fee - FRACTION_UNIT),
    ("taker_fee", 0, RISK.taker_fee + FRACTION_UNIT, RISK.taker_fee - FRACTION_UNIT),
    *(
        (
            name,
            1,
            change(getattr(RISK, name), FRACTION_UNIT),
            change(getattr(RISK, name), -FRACTION_UNIT),
        )
        for name in ("initial_fractions", "maintenance_fractions")
        for change in (first, last)
    ),
    *(
        (
            name,
            tighter,
            getattr(RISK, name) + FRACTION_UNIT,
            getattr(RISK, name) - FRACTION_UNIT,
        )
        for name, tighter in (
            ("calm_volatility", -1),
            ("max_volatility_multiplier", 1),
            ("crowding_lower", -1),
            ("crowding_upper", -1),
            ("max_confidence", 0),
            ("max_jump", 0),
            ("max_pool_loss", -1),
            ("max_insurance_draw", 0),
            ("max_profit_share", 0),
        )
    ),
    ("volatility_window", 0, RISK.volatility_window + 1, RISK.volatility_window - 1),
    ("move_windows", 0, first(RISK.move_windows, 1), first(RISK.move_windows, -1)),
    ("move_windows", 0, last(RISK.move_windows, 1), last(RISK.move_windows, -1)),
    (
        "max_moves",
        -1,
        first(RISK.max_moves, FRACTION_UNIT),
        first(RISK.max_moves, -FRACTION_UNIT),
    ),
    (
        "max_moves",
        -1,
        last(RISK.max_moves, FRACTION_UNIT),
        last(RISK.max_moves, -FRACTION_UNIT),
    ),
    ("cool_down", 1, RISK.cool_down + 1, RISK.cool_down - 1),
    ("max_liquidated_size", -1, RISK.max_liquidated_size + 1, RISK.max_liquidated_size - 1),
    ("max_bad_debt", -1, RISK.max_bad_debt + 1, RISK.max_bad_debt - 1),
]


def test_every_parameter_has_a_direction() -> None:
    assert {name for name, *_ in DIRECTIONS} == set(RISK._fields)


@pytest.mark.parametrize(("name", "tighter", "up", "down"), DIRECTIONS)
def test_only_the_tighter_direction_needs_no_wait(
    forms: ConfiguratorForms, name: str, tighter: int, up: Any, down: Any
) -> None:
    for sign, changed in ((1, up), (-1, down)):
        params = RISK._replace(**{name: changed})
        if sign != tighter:
            forms.denies(errors.NOT_TIGHTER, "tighten", forms.market, params)
    if tighter:
        params = RISK._replace(**{name: up if tighter > 0 else down})
        forms.governs("tighten", forms.market, params)
        assert forms.events()[-1] == ("ParamsTightened", (forms.market.address,))
        assert forms.params() == params
        forms.denies(errors.NOT_TIGHTER, "tighten", forms.market, RISK)


def test_one_looser_parameter_among_tighter_ones_is_refused(forms: ConfiguratorForms) -> None:
    params = RISK._replace(max_skew=0, max_bad_debt=0, cool_down=RISK.cool_down - 1)
    forms.denies(errors.NOT_TIGHTER, "tighten", forms.market, params)


def test_the_open_interest_can_be_closed_at_once(forms: ConfiguratorForms) -> None:
    forms.governs("tighten", forms.market, RISK._replace(max_open_interest=0, max_skew=0))
    assert forms.params().max_open_interest == 0


# Bounds

BAD: list[tuple[str, dict[str, Any]]] = [
    (errors.BAD_LIMITS, {"max_open_interest": MAX_SIZE + 1}),
    (errors.BAD_LIMITS, {"max_open_interest": HUGE}),
    (errors.BAD_LIMITS, {"max_skew": RISK.max_open_interest + 1}),
    (errors.BAD_LIMITS, {"max_skew": HUGE}),
    (errors.BAD_RATES, {"maker_fee": RISK.taker_fee + FRACTION_UNIT}),
    (errors.BAD_RATES, {"maker_fee": HUGE}),
    (errors.BAD_RATES, {"taker_fee": risk_bounds.MAX_FEE + FRACTION_UNIT}),
    (errors.BAD_RATES, {"taker_fee": HUGE}),
    (
        errors.BAD_TIERS,
        {"initial_fractions": (4 * PERCENT, 3 * PERCENT, 10 * PERCENT, 20 * PERCENT)},
    ),
    (errors.BAD_TIERS, {"initial_fractions": (*RISK.initial_fractions[:3], WAD + FRACTION_UNIT)}),
    (errors.BAD_TIERS, {"initial_fractions": (*RISK.initial_fractions[:3], HUGE)}),
    (
        errors.BAD_TIERS,
        {"maintenance_fractions": (PERCENT, PERCENT - FRACTION_UNIT, 5 * PERCENT, 10 * PERCENT)},
    ),
    (
        errors.BAD_TIERS,
        {
            "maintenance_fractions": (
                2 * PARAMS.liquidation_penalty - FRACTION_UNIT,
                *RISK.maintenance_fractions[1:],
            )
        },
    ),
    (
        errors.BAD_TIERS,
        {"maintenance_fractions": (*RISK.maintenance_fractions[:3], 20 * PERCENT)},
    ),
    (errors.BAD_TIERS, {"maintenance_fractions": (HUGE, *RISK.maintenance_fractions[1:])}),
    (errors.BAD_VOLATILITY, {"calm_volatility": 0}),
    (errors.BAD_VOLATILITY, {"calm_volatility": WAD + FRACTION_UNIT}),
    (errors.BAD_VOLATILITY, {"calm_volatility": HUGE}),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": WAD - FRACTION_UNIT}),
    (
        errors.BAD_VOLATILITY,
        {"max_volatility_multiplier": risk_bounds.MAX_MULTIPLIER + FRACTION_UNIT},
    ),
    (errors.BAD_VOLATILITY, {"max_volatility_multiplier": HUGE}),
    (errors.BAD_VOLATILITY, {"volatility_window": risk_bounds.MIN_WINDOW - 1}),
    (errors.BAD_VOLATILITY, {"volatility_window": risk_bounds.MAX_WINDOW + 1}),
    (errors.BAD_VOLATILITY, {"volatility_window": HUGE}),
    (errors.BAD_CROWDING, {"crowding_lower": RISK.crowding_upper}),
    (errors.BAD_CROWDING, {"crowding_lower": HUGE}),
    (errors.BAD_CROWDING, {"crowding_upper": WAD + FRACTION_UNIT}),
    (errors.BAD_CROWDING, {"crowding_upper": HUGE}),
    (errors.BAD_BREAKERS, {"max_confidence": risk_bounds.MIN_CONFIDENCE - FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": risk_bounds.MAX_CONFIDENCE + FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_confidence": HUGE}),
    (errors.BAD_BREAKERS, {"max_jump": risk_bounds.MIN_JUMP - FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": WAD + FRACTION_UNIT}),
    (errors.BAD_BREAKERS, {"max_jump": HUGE}),
    (errors.BAD_BREAKERS, {"move_windows": (risk_bounds.MIN_WINDOW - 1, 3_600)}),
    (errors.BAD_BREAKERS, {"move_windows": (300, 300)}),
    (errors.BAD_BREAKERS, {"move_windows": (300, risk_bounds.MAX_WINDOW + 1)}),
    (errors.BAD_BREAKERS, {"move_windows": (300, HUGE)}),
    (errors.BAD_BREAKERS, {"move_windows": (HUGE, 300)}),
    (errors.BAD_BREAKERS, {"max_moves": (risk_bounds.MIN_MOVE - FRACTION_UNIT, PERCENT)}),
    (errors.BAD_BREAKERS, {"max_moves": (6 * PERCENT, 5 * PERCENT)}),
    (errors.BAD_BREAKERS, {"max_moves": (6 * PERCENT, WAD + FRACTION_UNIT)}),
    (errors.BAD_BREAKERS, {"max_moves": (6 * PERCENT, HUGE)}),
    (errors.BAD_BREAKERS, {"cool_down": risk_bounds.MIN_COOL_DOWN - 1}),
    (errors.BAD_BREAKERS, {"cool_down": risk_bounds.MAX_COOL_DOWN + 1}),
    (errors.BAD_BREAKERS, {"cool_down": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": 0}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": MAX_SIZE + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_liquidated_size": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": risk_bounds.MIN_LOSS_SHARE - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": WAD + FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_pool_loss": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_bad_debt": MAX_MARGIN + 1}),
    (errors.BAD_LOSS_LIMITS, {"max_bad_debt": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": risk_bounds.MIN_LOSS_SHARE - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": WAD + FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": HUGE}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": risk_bounds.MIN_PROFIT_SHARE - FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": WAD + FRACTION_UNIT}),
    (errors.BAD_LOSS_LIMITS, {"max_profit_share": HUGE}),
    *(
        (errors.BAD_UNITS, {name: getattr(RISK, name) + 1})
        for name in (
            "maker_fee",
            "taker_fee",
            "calm_volatility",
            "max_volatility_multiplier",
            "crowding_lower",
            "crowding_upper",
            "max_confidence",
            "max_jump",
            "max_pool_loss",
            "max_insurance_draw",
            "max_profit_share",
        )
    ),
    *(
        (errors.BAD_UNITS, {name: change(getattr(RISK, name), 1)})
        for name in ("initial_fractions", "maintenance_fractions", "max_moves")
        for change in (first, last)
    ),
]


@pytest.mark.parametrize(("reason", "changed"), BAD)
def test_a_parameter_out_of_bounds_is_refused(
    forms: ConfiguratorForms, reason: str, changed: dict[str, Any]
) -> None:
    params = RISK._replace(**changed)
    forms.denies(reason, "propose_params", forms.market, params)
    forms.denies(reason, "tighten", forms.market, params)


GOOD: list[dict[str, Any]] = [
    {"max_open_interest": 0, "max_skew": 0},
    {"max_skew": RISK.max_open_interest},
    {"maker_fee": 0, "taker_fee": 0},
    {"maker_fee": risk_bounds.MAX_FEE, "taker_fee": risk_bounds.MAX_FEE},
    {"initial_fractions": (WAD,) * 4, "maintenance_fractions": (WAD - FRACTION_UNIT,) * 4},
    {"maintenance_fractions": (2 * PARAMS.liquidation_penalty,) * 4},
    {"calm_volatility": FRACTION_UNIT},
    {"calm_volatility": WAD},
    {"max_volatility_multiplier": WAD},
    {"max_volatility_multiplier": risk_bounds.MAX_MULTIPLIER},
    {"volatility_window": risk_bounds.MIN_WINDOW},
    {"volatility_window": risk_bounds.MAX_WINDOW},
    {"crowding_lower": 0, "crowding_upper": FRACTION_UNIT},
    {"crowding_lower": WAD - FRACTION_UNIT, "crowding_upper": WAD},
    {"max_confidence": risk_bounds.MIN_CONFIDENCE},
    {"max_confidence": risk_bounds.MAX_CONFIDENCE},
    {"max_jump": risk_bounds.MIN_JUMP},
    {"max_jump": WAD},
    {"move_windows": (risk_bounds.MIN_WINDOW, risk_bounds.MIN_WINDOW + 1)},
    {"move_windows": (risk_bounds.MAX_WINDOW - 1, risk_bounds.MAX_WINDOW)},
    {"max_moves": (risk_bounds.MIN_MOVE, risk_bounds.MIN_MOVE)},
    {"max_moves": (WAD, WAD)},
    {"cool_down": risk_bounds.MIN_COOL_DOWN},
    {"cool_down": risk_bounds.MAX_COOL_DOWN},
    {"max_liquidated_size": 1},
    {"max_liquidated_size": MAX_SIZE},
    {"max_pool_loss": risk_bounds.MIN_LOSS_SHARE},
    {"max_pool_loss": WAD},
    {"max_bad_debt": 0},
    {"max_bad_debt": MAX_MARGIN},
    {"max_insurance_draw": risk_bounds.MIN_LOSS_SHARE},
    {"max_insurance_draw": WAD},
    {"max_profit_share": risk_bounds.MIN_PROFIT_SHARE},
    {"max_profit_share": WAD},
]


@pytest.mark.parametrize("changed", GOOD)
def test_a_parameter_on_its_bound_is_applied_and_read_back(
    forms: ConfiguratorForms, changed: dict[str, Any]
) -> None:
    params = RISK._replace(**changed)
    forms.governs("propose_params", forms.market, params)
    wait(forms, DELAY)
    forms.governs("apply_params", forms.market)
    assert forms.view(forms.engine_model, "params") == params


def test_the_skew_scale_bounds_the_open_interest(forms: ConfiguratorForms) -> None:
    """What a liquidation can gain, and how fast funding runs: see risk_bounds."""
    gain = PARAMS.skew_scale * PARAMS.liquidation_penalty * (WAD - PARAMS.keeper_share)
    most = min(
        gain // WAD // WAD, PARAMS.skew_scale * risk_bounds.MAX_RATE // PARAMS.max_funding_rate
    )
    params = RISK._replace(max_open_interest=most)
    forms.governs("propose_params", forms.market, params)
    params = RISK._replace(max_open_interest=most + 1)
    forms.denies(errors.BAD_SKEW_SCALE, "propose_params", forms.market, params)


# The guardian


@pytest.mark.parametrize("role", ["guardian", "owner"])
def test_a_restriction_lasts_a_day_at_most(forms: ConfiguratorForms, role: str) -> None:
    for duration in (0, MAX_RESTRICTION + 1, HUGE):
        args = ("guardian_restrict", forms.market, duration)
        forms.denies(errors.BAD_DURATION, *args, role=role)
    until = forms.does(role, forms.configurator, "guardian_restrict", forms.market, MAX_RESTRICTION)
    assert until == forms.now + MAX_RESTRICTION
    assert forms.events() == [
        ("Restricted", (until,)),
        ("MarketRestricted", (forms.market.address, until)),
    ]
    assert forms.view(forms.engine_model, "breaker").reduce_only_until == until


@pytest.mark.parametrize("role", ["attacker", "new_guardian", "factory"])
def test_nobody_else_restricts(forms: ConfiguratorForms, role: str) -> None:
    forms.denies(errors.NOT_GUARDIAN, "guardian_restrict", forms.market, 1, role=role)


@pytest.mark.parametrize("duration", [1, 600, MAX_RESTRICTION])
def test_a_restriction_is_followed_by_a_pause(forms: ConfiguratorForms, duration: int) -> None:
    args = ("guardian_restrict", forms.market, duration)
    until = forms.does("guardian", forms.configurator, *args)
    for moment in (forms.now, until, until + MAX_RESTRICTION - 1):
        forms.set_time(moment)
        for role in ("guardian", "owner"):
            forms.denies(errors.RESTRICTED_RECENTLY, *args, role=role)
    forms.set_time(until + MAX_RESTRICTION)
    forms.does("guardian", forms.configurator, *args)


def test_a_guardian_can_be_dismissed_for_good(forms: ConfiguratorForms) -> None:
    forms.governs("set_guardian", ZERO_ADDRESS)
    forms.denies(errors.NOT_GUARDIAN, "guardian_restrict", forms.market, 1, role="guardian")


# Markets that are none


def test_a_false_market_gets_no_engine_that_is_anothers(forms: ConfiguratorForms) -> None:
    false = forms.false_market(PARAMS)
    forms.renames(false, forms.engine_model)
    forms.denies(errors.NOT_MARKET, "guardian_restrict", false, 1, role="guardian")
    forms.denies(errors.NOT_MARKET, "propose_params", false, RISK)
    forms.denies(errors.NOT_MARKET, "tighten", false, RISK)


def test_a_false_market_lends_no_bounds_to_anothers_engine(forms: ConfiguratorForms) -> None:
    false = forms.false_market(PARAMS._replace(skew_scale=100 * PARAMS.skew_scale))
    params = RISK._replace(max_open_interest=50 * RISK.max_open_interest)
    forms.denies(errors.BAD_SKEW_SCALE, "propose_params", forms.market, params)
    eta = forms.governs("propose_params", false, params)
    forms.renames(false, forms.engine_model)
    forms.set_time(eta)
    forms.denies(errors.NOT_MARKET, "apply_params", false)
    assert forms.params() == RISK


# Publishers


def test_publishers_wait_before_they_apply(forms: ConfiguratorForms) -> None:
    eta = forms.governs("propose_publishers", forms.feed, PUBLISHERS, 4)
    assert eta == forms.now + DELAY
    assert forms.events() == [("PublishersProposed", (forms.feed.address, eta))]
    forms.set_time(eta - 1)
    forms.denies(errors.TOO_EARLY, "apply_publishers", forms.feed)
    forms.set_time(eta)
    forms.governs("apply_publishers", forms.feed)
    assert forms.events()[-1] == ("PublishersApplied", (forms.feed.address,))
    assert forms.view(forms.feed, "publishers") == PUBLISHERS
    assert forms.view(forms.feed, "quorum") == 4
    forms.denies(errors.NOTHING_PROPOSED, "apply_publishers", forms.feed)


def test_announced_publishers_can_be_withdrawn(forms: ConfiguratorForms) -> None:
    forms.governs("propose_publishers", forms.feed, PUBLISHERS, 4)
    forms.governs("cancel_publishers", forms.feed)
    assert forms.events() == [("PublishersCancelled", (forms.feed.address,))]
    wait(forms, DELAY)
    forms.denies(errors.NOTHING_PROPOSED, "apply_publishers", forms.feed)


def test_the_feed_refuses_bad_publishers(forms: ConfiguratorForms) -> None:
    forms.governs("propose_publishers", forms.feed, (PUBLISHERS[1], PUBLISHERS[0]), 1)
    wait(forms, DELAY)
    forms.denies(errors.BAD_PUBLISHERS, "apply_publishers", forms.feed)


def test_a_publisher_is_removed_at_once(forms: ConfiguratorForms) -> None:
    forms.governs("remove_publisher", forms.feed, PUBLISHERS[1])
    assert PUBLISHERS[1] not in forms.view(forms.feed, "publishers")
    forms.denies(errors.NOT_PUBLISHER, "remove_publisher", forms.feed, PUBLISHERS[1])
    forms.governs("remove_publisher", forms.feed, PUBLISHERS[0])
    forms.denies(errors.BAD_PUBLISHERS, "remove_publisher", forms.feed, PUBLISHERS[2])

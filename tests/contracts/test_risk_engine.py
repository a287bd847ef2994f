"""RiskEngine in both forms: refusals, breakers, windows, margins and the maintenance ramp.

Bounds are tested on themselves and one step beyond: a move, a loss or a size of exactly the bound
trips nothing.
"""

import random
from collections.abc import Iterator

import pytest
from engine_forms import PARAMS, PERCENT, PRICE, RISK, UNIT, EngineForms, book

from python_model.liquidity_pool import Account
from python_model.modules import breaker_causes, errors
from python_model.modules.constants import FRACTION_UNIT, LONG, MAX_MARGIN, MAX_SIZE, SHORT, WAD
from python_model.risk_engine import MAX_HALT, RAMP_PER_HOUR, Book

CASH = 10**6 * UNIT
HOUR = 3_600
SIZES = (1, WAD, 5 * WAD, 20 * WAD)  # of the four tiers


@pytest.fixture
def bare() -> Iterator[EngineForms]:
    """Before the first price."""
    forms = EngineForms()
    yield forms
    forms.engine.close()


@pytest.fixture
def priced(bare: EngineForms) -> EngineForms:
    """At a price of 10,000."""
    assert bare.observe(PRICE)
    return bare


def moved(price: int, fraction: int) -> int:
    return price + price * fraction // WAD


# Who may call


@pytest.mark.parametrize("role", ["attacker", "configurator", "factory"])
def test_only_the_market_reports(priced: EngineForms, role: str) -> None:
    for function, args in (
        ("observe_price", (PRICE, 0, priced.now, PRICE, priced.now - 1)),
        ("record_update", (WAD, 0, Account(CASH, 0, 0))),
        ("choose_deleveraged", (PRICE, (0, 0), 1, 0, CASH, 1)),
        ("cover_shortfall", (UNIT, UNIT)),
    ):
        priced.refuses(errors.NOT_MARKET, role, priced.model, function, *args)


@pytest.mark.parametrize("role", ["attacker", "market", "factory"])
def test_only_the_configurator_changes_anything(priced: EngineForms, role: str) -> None:
    reason = errors.NOT_CONFIGURATOR
    priced.refuses(reason, role, priced.model, "set_params", RISK)
    priced.refuses(reason, role, priced.model, "restrict", priced.now + 60)


def test_it_starts_with_its_parameters_and_nothing_else(bare: EngineForms) -> None:
    assert bare.look("params") == RISK
    assert bare.look("market_params") == PARAMS
    assert bare.look("breaker") == (0, 0, 0, 0, 0, 0)
    assert bare.look("terms", 0, book()).maintenance_fractions == RISK.maintenance_fractions


# Prices


def test_the_first_price_takes_effect_whatever_it_is(bare: EngineForms) -> None:
    assert bare.observe(1)
    assert bare.events() == []
    assert bare.look("breaker").volatility == 0


def test_a_band_as_wide_as_allowed_is_accepted(priced: EngineForms) -> None:
    widest = PRICE * RISK.max_confidence // WAD
    assert priced.observe(PRICE, widest)
    assert priced.look("breaker").confidence == RISK.max_confidence
    args = (PRICE, widest + 1, priced.now, PRICE, priced.now - 1)
    priced.refuses(errors.CONFIDENCE_TOO_WIDE, "market", priced.model, "observe_price", *args)


def test_a_band_is_compared_without_rounding(bare: EngineForms) -> None:
    assert bare.observe(10**18 + 1, 2 * 10**16)
    assert bare.look("breaker").confidence == 2 * 10**16
    args = (10**18 + 1, 2 * 10**16 + 1, bare.now, bare.price, bare.now - 1)
    bare.refuses(errors.CONFIDENCE_TOO_WIDE, "market", bare.model, "observe_price", *args)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_move_of_the_whole_band_is_no_jump(priced: EngineForms, direction: int) -> None:
    price = moved(PRICE, direction * RISK.max_jump)
    assert priced.observe(price)
    assert "PriceHeld" not in priced.events()


@pytest.mark.parametrize("direction", [1, -1])
def test_a_jump_is_held_and_changes_nothing_else(priced: EngineForms, direction: int) -> None:
    before = priced.look("breaker")
    price = moved(PRICE, direction * RISK.max_jump) + direction
    assert not priced.observe(price)
    assert priced.events() == ["PriceHeld"]
    assert priced.look("breaker") == before._replace(
        halted_since=priced.now, pending_price=price, pending_time=priced.now
    )


def jumped(forms: EngineForms, fraction: int = 30 * PERCENT) -> int:
    price = moved(PRICE, fraction)
    assert not forms.observe(price)
    return price


def test_the_report_held_does_not_confirm_itself(priced: EngineForms) -> None:
    price = jumped(priced)
    seen = priced.look("breaker")
    for price_time in (seen.pending_time, seen.pending_time - 1):
        assert not priced.observe(price, price_time=price_time, wait=10)
        assert priced.events() == []
        assert priced.look("breaker") == seen


def test_an_old_report_is_not_even_judged_in_a_halt(priced: EngineForms) -> None:
    price = jumped(priced)
    assert not priced.observe(price, confidence=price, price_time=priced.now, wait=1)


def test_a_wide_report_is_refused_in_a_halt_too(priced: EngineForms) -> None:
    price = jumped(priced)
    priced.wait(1)
    args = (price, price, priced.now, PRICE, priced.price_time)
    priced.refuses(errors.CONFIDENCE_TOO_WIDE, "market", priced.model, "observe_price", *args)


def test_a_second_report_in_the_same_block_confirms_nothing(priced: EngineForms) -> None:
    price = jumped(priced)
    since = priced.now
    assert not priced.observe(price + 1, price_time=priced.now + 1, wait=0)
    assert priced.events() == ["PriceHeld"]
    held = priced.look("breaker")
    assert (held.pending_price, held.halted_since) == (price + 1, since)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_second_report_near_the_first_confirms_it(priced: EngineForms, direction: int) -> None:
    price = moved(jumped(priced), direction * RISK.max_jump)
    assert priced.observe(price)
    assert priced.events()[0] == "PriceConfirmed"
    assert priced.trips()[0] == (breaker_causes.JUMP, priced.now + RISK.cool_down)
    after = priced.look("breaker")
    assert (after.halted_since, after.pending_price, after.pending_time) == (0, 0, 0)
    assert after.reduce_only_until == priced.now + RISK.cool_down


@pytest.mark.parametrize("direction", [1, -1])
def test_a_second_report_far_from_the_first_replaces_it(
    priced: EngineForms, direction: int
) -> None:
    first = jumped(priced, 50 * PERCENT)
    since = priced.now
    price = moved(first, direction * RISK.max_jump) + direction
    assert not priced.observe(price, wait=5)
    assert priced.events() == ["PriceHeld"]
    held = priced.look("breaker")
    assert (held.pending_price, held.pending_time, held.halted_since) == (price, priced.now, since)


def test_a_report_near_the_price_in_effect_ends_a_halt(priced: EngineForms) -> None:
    jumped(priced, 50 * PERCENT)
    assert priced.observe(moved(PRICE, RISK.max_jump))
    assert priced.trips()[0][0] == breaker_causes.JUMP


def test_any_report_is_accepted_when_the_halt_has_lasted(priced: EngineForms) -> None:
    jumped(priced, 50 * PERCENT)
    since = priced.now
    assert not priced.observe(4 * PRICE, wait=MAX_HALT - 1)
    assert priced.look("breaker").halted_since == since
    assert priced.observe(9 * PRICE, wait=1)
    assert priced.now == since + MAX_HALT


def test_a_halt_that_has_lasted_still_waits_for_a_newer_report(priced: EngineForms) -> None:
    price = jumped(priced)
    seen = priced.now
    assert not priced.observe(price, price_time=seen, wait=2 * MAX_HALT)
    assert priced.observe(price, wait=1)


def test_each_jump_is_held_anew(priced: EngineForms) -> None:
    price = jumped(priced)
    assert priced.observe(price)
    assert not priced.observe(PRICE)
    assert priced.look("breaker").halted_since == priced.now


def test_a_price_older_than_the_one_in_effect_is_an_error(priced: EngineForms) -> None:
    reason, _ = priced.call(
        "market", priced.model, "observe_price", PRICE, 0, priced.now - 1, PRICE, priced.now
    )
    assert reason == ""


def test_a_zero_price_is_an_error(priced: EngineForms) -> None:
    reason, _ = priced.call(
        "market", priced.model, "observe_price", 0, 0, priced.now + 1, PRICE, priced.now
    )
    assert reason == ""


# Volatility


def test_volatility_follows_the_moves(priced: EngineForms) -> None:
    """Moves of 1 % every minute make a variance per second of 1e-4 / 60, 37.9 % a day."""
    for number in range(600):
        price = PRICE if number % 2 else moved(PRICE, PERCENT)
        assert priced.observe(price, wait=60)
    volatility = priced.look("breaker").volatility
    assert 37 * PERCENT < volatility < 39 * PERCENT


def test_volatility_fades_when_prices_stand(priced: EngineForms) -> None:
    priced.observe(moved(PRICE, 5 * PERCENT))
    first = priced.look("breaker").volatility
    assert first > 0
    for _ in range(5):
        priced.observe(priced.price, wait=HOUR)
    assert 0 < priced.look("breaker").volatility < first // 4


def test_a_held_price_does_not_move_volatility(priced: EngineForms) -> None:
    priced.observe(moved(PRICE, PERCENT))
    before = priced.look("breaker").volatility
    jumped(priced)
    assert priced.look("breaker").volatility == before


# Moves within windows


def climb(forms: EngineForms, fraction: int, wait: int) -> list[tuple[int, int]]:
    assert forms.observe(moved(forms.price, fraction), wait=wait)
    return forms.trips()


@pytest.mark.parametrize("direction", [1, -1])
def test_a_move_of_exactly_the_bound_trips_nothing(priced: EngineForms, direction: int) -> None:
    bound = RISK.max_moves[0]
    assert priced.observe(moved(PRICE, direction * bound))
    assert priced.trips() == []
    assert priced.observe(moved(PRICE, direction * bound) + direction)
    until = priced.now + RISK.cool_down
    assert priced.trips() == [(breaker_causes.MOVE_SHORT, until)]
    assert priced.look("breaker").reduce_only_until == until


def test_a_slow_move_trips_the_longer_window_alone(priced: EngineForms) -> None:
    while priced.price <= moved(PRICE, 9 * PERCENT):
        assert climb(priced, PERCENT, 200) == []
    while priced.price <= moved(PRICE, 11 * PERCENT):
        assert climb(priced, PERCENT // 2, 200) == []
    price = moved(PRICE, RISK.max_moves[1])
    assert priced.observe(price, wait=200)
    assert priced.trips() == []
    assert priced.observe(price + 1, wait=200)
    assert priced.trips() == [(breaker_causes.MOVE_LONG, priced.now + RISK.cool_down)]


def test_both_windows_may_trip_at_once() -> None:
    forms = EngineForms(max_jump=50 * PERCENT)
    forms.observe(PRICE)
    assert climb(forms, 13 * PERCENT, 1) == [
        (breaker_causes.MOVE_SHORT, forms.now + RISK.cool_down),
        (breaker_causes.MOVE_LONG, forms.now + RISK.cool_down),
    ]


def test_the_reference_is_a_price_one_to_two_windows_old() -> None:
    """Prices rise by 2 % whenever a window has passed: each is compared with the one before the
    last. Within a window the reference stays: 3 % more are 5.1 % above it, until the window has
    passed and the reference is a price one window younger."""
    forms = EngineForms(max_moves=(5 * PERCENT, 100 * PERCENT))
    forms.observe(PRICE)
    window = RISK.move_windows[0]
    for _ in range(6):
        assert climb(forms, 2 * PERCENT, window) == []
    assert climb(forms, 2 * PERCENT, 1) == []
    short = breaker_causes.MOVE_SHORT
    assert [cause for cause, _ in climb(forms, PERCENT, window - 2)] == [short]
    assert [cause for cause, _ in climb(forms, 0, 1)] == [short]
    assert climb(forms, 0, 1) == []


def test_a_window_turns_exactly_when_it_has_passed(priced: EngineForms) -> None:
    window = RISK.move_windows[0]
    start = priced.now
    priced.observe(PRICE + 1, wait=window - 1)
    assert priced.model._price_windows[0] == (PRICE, PRICE, start)
    priced.observe(PRICE + 2, wait=1)
    assert priced.model._price_windows[0] == (PRICE, PRICE + 2, start + window)
    assert priced.model._price_windows[1] == (PRICE, PRICE, start)


# Liquidated volume, loss, bad debt


def test_the_liquidated_volume_trips_beyond_its_bound(priced: EngineForms) -> None:
    half = RISK.max_liquidated_size // 2
    for _ in range(2):
        priced.record(half)
        assert priced.trips() == []
    priced.record(1)
    assert priced.trips() == [(breaker_causes.LIQUIDATED_VOLUME, priced.now + RISK.cool_down)]
    priced.wait(1)
    priced.record(0)
    assert priced.trips() == []


def test_the_liquidated_volume_starts_anew_with_a_window(priced: EngineForms) -> None:
    priced.record(RISK.max_liquidated_size)
    priced.wait(RISK.move_windows[1] - 1)
    priced.record(1)
    assert len(priced.trips()) == 1
    priced.wait(1)
    priced.record(RISK.max_liquidated_size)
    assert priced.trips() == []


def test_a_volume_beyond_its_word_stays_the_largest(priced: EngineForms) -> None:
    priced.record(MAX_SIZE)
    priced.record(MAX_SIZE)
    assert priced.model._liquidated_size == MAX_SIZE


@pytest.mark.parametrize("realised", [True, False])
def test_a_loss_of_the_pool_trips_beyond_its_share(priced: EngineForms, realised: bool) -> None:
    bound = CASH * RISK.max_pool_loss // WAD

    def lose(loss: int) -> None:
        priced.record(profit=0 if realised else loss, cash=CASH, result=-loss if realised else 0)

    lose(bound)
    assert priced.trips() == []
    lose(bound + 1)
    assert priced.trips() == [(breaker_causes.POOL_LOSS, priced.now + RISK.cool_down)]
    lose(bound)
    assert priced.trips() == []


def test_a_loss_is_measured_against_one_to_two_windows_ago(priced: EngineForms) -> None:
    bound = CASH * RISK.max_pool_loss // WAD
    window = RISK.move_windows[1]
    priced.wait(window)
    priced.record(cash=CASH, result=-bound)
    assert priced.trips() == []
    priced.wait(window)
    priced.record(cash=CASH, result=-bound)  # still against zero
    assert priced.trips() == []
    priced.record(cash=CASH, result=-2 * bound)  # against what was a window ago
    assert priced.trips() == []
    priced.record(cash=CASH, result=-2 * bound - 1)
    assert len(priced.trips()) == 1


def test_any_loss_is_too_large_for_a_pool_without_cash(priced: EngineForms) -> None:
    priced.record(cash=0, result=0)
    assert priced.trips() == []
    priced.record(cash=0, result=-1)
    assert [cause for cause, _ in priced.trips()] == [breaker_causes.POOL_LOSS]


def test_a_gain_of_the_pool_trips_nothing(priced: EngineForms) -> None:
    priced.record(cash=0, result=10**30)
    assert priced.trips() == []


@pytest.mark.parametrize("result", [2**103, -(2**103), 2**120, -(2**120)])
def test_results_beyond_their_word_stay_at_its_end(priced: EngineForms, result: int) -> None:
    for _ in range(2):
        priced.wait(RISK.move_windows[1])
        priced.record(cash=2**127, result=result)
    limit = 2**103 - 1 if result > 0 else 1 - 2**103
    assert (priced.model._previous_result, priced.model._current_result) == (limit, limit)


def test_the_profit_share_is_not_exceeded_by_itself(priced: EngineForms) -> None:
    claims = CASH // 4
    most = (CASH - claims) * RISK.max_profit_share // WAD
    for profit, too_large in ((most, False), (most + 1, True), (-most, False)):
        got = priced.market("record_update", 0, profit, Account(CASH, claims, 0))
        assert got == too_large
    assert priced.market("record_update", 0, 1, Account(CASH, CASH + 1, 0))
    assert not priced.market("record_update", 0, 0, Account(CASH, CASH + 1, 0))


def test_the_reserve_covers_a_share_in_a_window(priced: EngineForms) -> None:
    reserve = 1_001 * UNIT
    share = reserve * RISK.max_insurance_draw // WAD
    assert priced.market("cover_shortfall", UNIT, reserve) == UNIT
    assert priced.market("cover_shortfall", reserve, reserve - UNIT) == share - UNIT
    assert priced.market("cover_shortfall", UNIT, reserve - share) == 0
    assert priced.trips() == []
    priced.wait(RISK.move_windows[1])
    assert priced.market("cover_shortfall", UNIT, reserve - share) == UNIT


def test_the_reserve_covers_no_more_than_it_holds() -> None:
    forms = EngineForms(max_insurance_draw=WAD)
    assert forms.market("cover_shortfall", 7, 5) == 5
    assert forms.market("cover_shortfall", 7, 0) == 0


def test_a_share_that_has_fallen_allows_no_more(priced: EngineForms) -> None:
    reserve = 1_000 * UNIT
    assert priced.market("cover_shortfall", reserve // 2, reserve) == reserve // 2
    priced.configure(max_insurance_draw=10 * PERCENT)
    assert priced.market("cover_shortfall", 1, reserve // 2) == 0


def test_bad_debt_trips_beyond_its_bound(priced: EngineForms) -> None:
    assert priced.market("cover_shortfall", RISK.max_bad_debt, 0) == 0
    assert priced.trips() == []
    priced.wait(RISK.move_windows[1] - 1)
    priced.market("cover_shortfall", 1, 0)
    assert priced.trips() == [(breaker_causes.BAD_DEBT, priced.now + RISK.cool_down)]
    priced.wait(1)
    priced.market("cover_shortfall", RISK.max_bad_debt, 0)
    assert priced.trips() == []


def test_sums_beyond_their_word_stay_the_largest() -> None:
    forms = EngineForms(max_insurance_draw=WAD)
    assert forms.market("cover_shortfall", 2**100, 2**100) == MAX_MARGIN
    assert forms.market("cover_shortfall", 2**100, 2**100) == 0
    assert (forms.model._drawn, forms.model._bad_debt) == (MAX_MARGIN, MAX_MARGIN)


# What a restriction stops


def test_no_breaker_shortens_what_holds_already(priced: EngineForms) -> None:
    until = priced.now + 86_400
    priced.does("configurator", priced.model, "restrict", until)
    assert priced.events() == ["Restricted"]
    priced.record(RISK.max_liquidated_size + 1)
    assert priced.trips() == [(breaker_causes.LIQUIDATED_VOLUME, until)]
    priced.does("configurator", priced.model, "restrict", priced.now + 1)
    assert priced.look("breaker").reduce_only_until == until


def test_a_restriction_keeps_the_other_state(priced: EngineForms) -> None:
    priced.observe(moved(PRICE, PERCENT), confidence=PERCENT)
    jumped(priced)
    before = priced.look("breaker")
    priced.does("configurator", priced.model, "restrict", priced.now + 60)
    priced.record(RISK.max_liquidated_size + 1)
    after = priced.look("breaker")
    assert after == before._replace(reduce_only_until=priced.now + RISK.cool_down)


def test_reduce_only_stops_adding_risk_and_ends_by_itself(priced: EngineForms) -> None:
    priced.does("configurator", priced.model, "restrict", priced.now + 60)
    priced.wait(59)
    assert priced.look("increase_terms", LONG, 0, WAD, book()) == errors.REDUCE_ONLY
    assert priced.look("removal_terms", 0, book()) == errors.REDUCE_ONLY
    assert priced.look("exit_terms", LONG, WAD, WAD, book()).price > 0
    assert priced.look("partial_terms", 0, 100 * UNIT, 50 * UNIT, PRICE)[0] > 0
    priced.wait(1)
    assert priced.look("increase_terms", LONG, 0, WAD, book()).price > 0
    assert priced.look("removal_terms", 0, book()) == RISK.initial_fractions[0]


@pytest.mark.parametrize(
    ("side", "position_size", "size", "changed", "reason"),
    [
        (LONG, 0, 0, {}, errors.ZERO_SIZE),
        (LONG, 0, MAX_SIZE + 1, {}, errors.SIZE_TOO_LARGE),
        (LONG, 0, PARAMS.min_size - 1, {}, errors.SIZE_TOO_SMALL),
        (LONG, 0, PARAMS.min_size, {"price": 1}, errors.SIZE_TOO_SMALL),
        (LONG, 0, PARAMS.min_size, {}, ""),
        (SHORT, 1, PARAMS.min_size - 1, {}, ""),
        (LONG, 49 * WAD, WAD + 1, {}, errors.TIER_EXCEEDED),
        (LONG, 49 * WAD, WAD, {}, ""),
        (LONG, 0, WAD, {"long_size": 199 * WAD, "short_size": 199 * WAD}, ""),
        (LONG, 0, WAD + 1, {"long_size": 199 * WAD}, errors.OPEN_INTEREST_CAP),
        (SHORT, 0, WAD + 1, {"short_size": 199 * WAD}, errors.OPEN_INTEREST_CAP),
        (LONG, 0, WAD, {"long_size": 60 * WAD, "short_size": WAD}, ""),
        (LONG, 0, WAD + 1, {"long_size": 60 * WAD, "short_size": WAD}, errors.SKEW_CAP),
        (SHORT, 0, WAD, {"short_size": 60 * WAD, "long_size": WAD}, ""),
        (SHORT, 0, WAD + 1, {"short_size": 60 * WAD, "long_size": WAD}, errors.SKEW_CAP),
        (LONG, 0, WAD, {"cash": 3_000 * UNIT}, ""),
        (LONG, 0, WAD, {"cash": 3_000 * UNIT - 1}, errors.RESERVE_EXCEEDED),
    ],
)
def test_an_increase_meets_every_limit(
    side: int, position_size: int, size: int, changed: dict[str, int], reason: str
) -> None:
    forms = EngineForms()
    default = {"long_size": 0, "short_size": 0, "cash": 10**9 * UNIT}
    found = forms.look("increase_terms", side, position_size, size, book(**default | changed))
    assert (found if isinstance(found, str) else "") == reason


def test_a_rest_too_small_stops_an_exit_and_nothing_else_does(priced: EngineForms) -> None:
    size = WAD
    left = PARAMS.min_size
    assert priced.look("exit_terms", LONG, size, size - left, book(cash=0)).tier == 0
    reason = errors.SIZE_TOO_SMALL
    assert priced.look("exit_terms", LONG, size, size - left + 1, book()) == reason
    assert priced.look("exit_terms", LONG, size, size, book(cash=0)).tier == 0


# The initial fraction


def initial_fraction(forms: EngineForms, tier: int, market: Book) -> int:
    fraction: int = forms.look("removal_terms", tier, market)
    return fraction


@pytest.mark.parametrize("tier", range(4))
def test_a_calm_market_asks_for_the_fraction_of_the_tier(priced: EngineForms, tier: int) -> None:
    assert initial_fraction(priced, tier, book()) == RISK.initial_fractions[tier]
    market = book(cash=10**9 * UNIT)
    fill = priced.look("increase_terms", LONG, SIZES[tier] - 1, WAD // 10, market)
    assert (fill.tier, fill.initial_fraction) == (tier, RISK.initial_fractions[tier])


def test_volatility_raises_the_initial_fraction_up_to_its_cap(priced: EngineForms) -> None:
    base = RISK.initial_fractions[0]
    assert priced.observe(moved(PRICE, 3 * PERCENT // 2), wait=60)
    volatility = priced.look("breaker").volatility
    assert RISK.calm_volatility < volatility < 3 * RISK.calm_volatility
    wanted = -(-base * volatility // RISK.calm_volatility)
    assert initial_fraction(priced, 0, book()) in (wanted, wanted + 1)
    assert priced.observe(moved(priced.price, 5 * PERCENT), wait=60)
    assert priced.look("breaker").volatility > 3 * RISK.calm_volatility
    priced.wait(RISK.cool_down)
    assert initial_fraction(priced, 0, book()) == 3 * base


def test_the_confidence_is_added_to_the_initial_fraction(priced: EngineForms) -> None:
    priced.observe(PRICE, confidence=100 * WAD)
    assert initial_fraction(priced, 1, book()) == RISK.initial_fractions[1] + PERCENT


def test_the_crowd_raises_the_initial_fraction_to_everything() -> None:
    forms = EngineForms()
    base = RISK.initial_fractions[3]
    for used, wanted in (
        (0, base),
        (50, base),
        (70, base + (WAD - base) // 2),
        (90, WAD),
        (100, WAD),
        (400, WAD),
    ):
        cash = 30_000 * UNIT
        size = 100 * WAD * used // 1_000 // 2
        market = Book(price=PRICE, long_size=size, short_size=size, cash=cash)
        assert initial_fraction(forms, 3, market) == wanted, used
    assert initial_fraction(forms, 3, Book(PRICE, WAD, 0, 0)) == WAD
    assert initial_fraction(forms, 3, Book(PRICE, 0, 0, 0)) == base


def test_maintenance_fractions_do_not_follow_volatility_or_the_crowd(
    priced: EngineForms,
) -> None:
    priced.observe(moved(PRICE, 5 * PERCENT), confidence=PERCENT)
    terms = priced.look("terms", 10, book(cash=1))
    assert terms.maintenance_fractions == RISK.maintenance_fractions


# The maintenance ramp

RAISED = (2 * PERCENT, 3 * PERCENT, 7 * PERCENT, 15 * PERCENT)
HIGHER = (4 * PERCENT, 6 * PERCENT, 14 * PERCENT, 30 * PERCENT)


def maintenance(forms: EngineForms) -> tuple[int, ...]:
    found: tuple[int, ...] = forms.look("terms", 0, book()).maintenance_fractions
    return found


def test_a_raise_takes_an_hour_for_each_tenth_of_a_percent(priced: EngineForms) -> None:
    priced.configure(maintenance_fractions=RAISED, initial_fractions=HIGHER)
    assert priced.events() == ["ParamsSet"]
    end = priced.now + 5 * PERCENT // RAMP_PER_HOUR * HOUR
    assert priced.chain.events[0].fields == (end,)
    assert priced.look("params").maintenance_fractions == RAISED
    assert maintenance(priced) == RISK.maintenance_fractions
    last = maintenance(priced)
    while priced.now < end:
        step = min(1_111, end - priced.now)
        priced.wait(step)
        present = maintenance(priced)
        for before, after in zip(last, present, strict=True):
            # Both ends rounded down to a unit.
            assert 0 <= after - before <= RAMP_PER_HOUR * step // HOUR + FRACTION_UNIT
        last = present
    assert maintenance(priced) == RAISED
    priced.wait(10**6)
    assert maintenance(priced) == RAISED


def test_the_last_second_of_a_ramp_is_still_on_the_way(priced: EngineForms) -> None:
    priced.configure(maintenance_fractions=RAISED, initial_fractions=HIGHER)
    (end,) = priced.chain.events[0].fields
    priced.set_time(end - 1)
    present = maintenance(priced)
    assert all(
        new - HOUR * FRACTION_UNIT < now < new for now, new in zip(present, RAISED, strict=True)
    )
    priced.set_time(end)
    assert maintenance(priced) == RAISED


def test_halfway_is_half_the_way(priced: EngineForms) -> None:
    priced.configure(maintenance_fractions=RAISED, initial_fractions=HIGHER)
    (end,) = priced.chain.events[0].fields
    priced.wait((end - priced.now) // 2)
    assert maintenance(priced) == tuple(
        (old + new) // 2 for old, new in zip(RISK.maintenance_fractions, RAISED, strict=True)
    )


def test_lowering_takes_its_time_too(priced: EngineForms) -> None:
    lowered = (PERCENT, PERCENT, PERCENT, PERCENT)
    priced.configure(maintenance_fractions=lowered)
    (end,) = priced.chain.events[0].fields
    assert end == priced.now + 9 * PERCENT // RAMP_PER_HOUR * HOUR
    last = maintenance(priced)
    assert last == RISK.maintenance_fractions
    for _ in range(10):
        priced.wait(10 * HOUR)
        present = maintenance(priced)
        assert all(after <= before for before, after in zip(last, present, strict=True))
        last = present
    assert last == lowered


@pytest.mark.parametrize("target", [RISK.maintenance_fractions, (3 * PERCENT,) * 4])
def test_a_new_ramp_starts_where_the_last_one_is(
    priced: EngineForms, target: tuple[int, ...]
) -> None:
    priced.configure(maintenance_fractions=RAISED, initial_fractions=HIGHER)
    priced.wait(12_345)
    present = maintenance(priced)
    initial = tuple(max(fraction, 16 * PERCENT) for fraction in HIGHER)
    priced.configure(maintenance_fractions=target, initial_fractions=initial)
    assert maintenance(priced) == present
    assert present not in (RISK.maintenance_fractions, RAISED)
    (end,) = priced.chain.events[0].fields
    most = max(abs(new - old) for old, new in zip(present, target, strict=True))
    assert end == priced.now + -(-most * HOUR // RAMP_PER_HOUR)
    priced.set_time(end)
    assert maintenance(priced) == target


def test_the_other_parameters_hold_at_once(priced: EngineForms) -> None:
    priced.configure(max_open_interest=WAD, max_skew=WAD, initial_fractions=HIGHER)
    assert initial_fraction(priced, 0, book()) == HIGHER[0]
    market = book(long_size=WAD, short_size=WAD)
    assert priced.look("increase_terms", LONG, 0, WAD, market) == errors.OPEN_INTEREST_CAP


def test_parameters_set_again_start_no_ramp(priced: EngineForms) -> None:
    priced.configure(cool_down=601)
    assert priced.chain.events[0].fields == (priced.now,)
    assert maintenance(priced) == RISK.maintenance_fractions


@pytest.mark.parametrize("tier", range(4))
def test_no_initial_fraction_falls_to_a_maintenance_fraction_on_its_way(
    priced: EngineForms, tier: int
) -> None:
    """Lowering both: the maintenance fraction is still above what the initial one would be."""
    lowered = tuple(fraction // 2 for fraction in RISK.maintenance_fractions)
    initial = list(RISK.initial_fractions)
    initial[tier] = RISK.maintenance_fractions[tier]
    params = RISK._replace(maintenance_fractions=lowered, initial_fractions=tuple(initial))
    priced.refuses(errors.BAD_TIERS, "configurator", priced.model, "set_params", params)
    initial[tier] += FRACTION_UNIT
    params = params._replace(initial_fractions=tuple(initial))
    priced.does("configurator", priced.model, "set_params", params)


# All of it at once


@pytest.mark.parametrize("seed", range(4))
def test_both_forms_stay_equal_on_a_random_walk(seed: int) -> None:
    """Prices, halts, losses, windows and parameters in any order: every word after every call."""
    draw = random.Random(seed)
    forms = EngineForms(max_moves=(3 * PERCENT, 6 * PERCENT))
    forms.observe(PRICE)
    seen = set()
    for _ in range(250):
        kind = draw.randrange(12)
        if kind < 6:
            scale = draw.choice([0, 1, 1, 3, 20])
            price = max(1, moved(forms.price, draw.randint(-scale, scale) * PERCENT))
            confidence = price * draw.randint(0, 20) // 1_000
            forms.observe(price, confidence, wait=draw.choice([1, 12, 60, 299, 300, 3_600]))
        elif kind < 8:
            forms.wait(draw.choice([0, 1, 600, 3_600]))
            size = draw.choice([0, 0, 1, 10 * WAD, 30 * WAD])
            result = draw.randint(-CASH // 5, CASH // 5)
            forms.record(size, draw.randint(-CASH, CASH) // 20, CASH, result)
        elif kind < 10:
            reserve = draw.randint(0, 2_000) * UNIT
            forms.market("cover_shortfall", draw.randint(1, 2_000) * UNIT, reserve)
        elif kind == 10:
            factor = draw.choice([2, 3, 4])
            forms.configure(
                maintenance_fractions=tuple(
                    fraction * factor // 2 for fraction in RISK.maintenance_fractions
                ),
                initial_fractions=(50 * PERCENT,) * 4,
            )
            forms.wait(draw.randint(0, 40) * HOUR)
        else:
            forms.does("configurator", forms.model, "restrict", forms.now + draw.randint(1, 900))
        seen.update(event.name for event in forms.chain.events)
        seen.update(cause for cause, _ in forms.trips())
        forms.look("terms", draw.randint(0, 10**4), book(draw.randint(0, WAD)))
        forms.look("increase_terms", draw.randint(0, 1), 0, WAD, book(draw.randint(0, WAD)))
    assert seen >= {"PriceHeld", "PriceConfirmed", "ParamsSet", "Restricted", *range(1, 7)}

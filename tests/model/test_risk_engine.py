"""What holds for any sequence of prices, losses and parameters; single cases are in
tests/contracts/test_risk_engine.py."""

from hypothesis import given
from hypothesis import strategies as st
from market_world import wad
from risk_world import MARKET, RISK, THOROUGH, RiskWorld, percent

from python_model.liquidity_pool import Account
from python_model.modules import breaker_causes
from python_model.modules.constants import FRACTION_UNIT, WAD
from python_model.modules.dynamic_margin import MAX_CHANGE
from python_model.risk_engine import MAX_HALT, RAMP_PER_HOUR, Book

PRICE = wad(10_000)
HOUR = 3_600
CASH = 10**12

# Seconds since the last report, and where the price goes in percent.
REPORTS = st.lists(
    st.tuples(
        st.sampled_from([1, 5, 60, 299, 300, 301, 1_200, 3_600, 10_000]),
        st.sampled_from([0, 1, -1, 3, -3, 9, -9, 11, -11, 40, -40]),
    ),
    min_size=1,
    max_size=30,
)


def start(**risk: object) -> RiskWorld:
    world = RiskWorld(**risk)
    assert world.observe(PRICE)
    return world


def far(price: int, reference: int, fraction: int) -> bool:
    return abs(price - reference) * WAD > fraction * reference


@THOROUGH
@given(REPORTS)
def test_no_jump_takes_effect_alone_and_no_halt_lasts(reports: list[tuple[int, int]]) -> None:
    """I-8, bounded steps: a report beyond the band of the price in effect is accepted after another
    report only, and any report once MAX_HALT has passed."""
    world = start()
    seen = PRICE  # the last report, in effect or held
    for seconds, step in reports:
        world.wait(seconds)
        before, last = world.engine.breaker(), world.price
        variance = world.engine._variance
        price = seen * (100 + step) // 100
        was_halted = before.halted_since > 0
        accepted = world.observe(price)
        after = world.engine.breaker()
        if accepted:
            assert was_halted or not far(price, last, RISK.max_jump)
            assert was_halted == ("PriceConfirmed" in world.names())
            assert was_halted == (breaker_causes.JUMP in world.causes())
            assert (after.halted_since, after.pending_price, after.pending_time) == (0, 0, 0)
        else:
            assert far(price, last, RISK.max_jump)
            assert after.halted_since == (before.halted_since or world.now)
            assert world.now < after.halted_since + MAX_HALT
            assert (after.pending_price, after.pending_time) == (price, world.now)
            assert world.names() == ["PriceHeld"]
            assert world.engine._variance == variance
        if was_halted and not far(price, before.pending_price, RISK.max_jump):
            assert accepted
        seen = price


@THOROUGH
@given(REPORTS)
def test_breakers_trip_exactly_when_the_price_left_the_band_of_its_window(
    reports: list[tuple[int, int]],
) -> None:
    """The references from the history of accepted prices alone: each window starts with the first
    price that is a window later, and the reference is the price that started the one before."""
    world = start()
    starts = [[(world.now, PRICE), (world.now, PRICE)] for _ in RISK.move_windows]
    for seconds, step in reports:
        world.wait(seconds)
        until = world.engine.breaker().reduce_only_until
        price = world.price * (100 + step) // 100
        accepted = world.observe(price)
        expected = []
        for number, window in enumerate(RISK.move_windows):
            reference = starts[number][-2][1]
            if accepted and far(price, reference, RISK.max_moves[number]):
                expected.append(breaker_causes.MOVE_SHORT + number)
            if accepted and world.now >= starts[number][-1][0] + window:
                starts[number].append((world.now, price))
        found = [cause for cause in world.causes() if cause != breaker_causes.JUMP]
        assert found == expected
        tripped = max(until, world.now + RISK.cool_down) if world.causes() else until
        assert world.engine.breaker().reduce_only_until == tripped


@THOROUGH
@given(st.lists(st.tuples(st.integers(1, 10**5), st.integers(1, 2**88 - 1)), max_size=20))
def test_no_price_breaks_the_variance(reports: list[tuple[int, int]]) -> None:
    world = start(max_jump=WAD)
    for seconds, price in reports:
        world.wait(seconds + MAX_HALT)
        world.observe(price)
        assert 0 <= world.engine._variance <= MAX_CHANGE**2


@THOROUGH
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 90), min_size=4, max_size=4).map(sorted),
            st.lists(st.integers(0, 100 * HOUR), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_maintenance_never_jumps(changes: list[tuple[list[int], list[int]]]) -> None:
    """I-15: whatever is set and whenever, a maintenance fraction moves by at most RAMP_PER_HOUR and
    what is rounded away, and stays between those of its neighbours."""
    world = RiskWorld(initial_fractions=(WAD,) * 4)
    last, then = world.engine._present_maintenance(), world.now
    for target, waits in changes:
        world.configure(maintenance_fractions=tuple(percent(number) for number in target))
        assert world.engine._present_maintenance() == last
        for seconds in waits:
            world.wait(seconds)
            present = world.engine._present_maintenance()
            allowed = RAMP_PER_HOUR * (world.now - then) // HOUR + FRACTION_UNIT
            pairs = zip(last, present, strict=True)
            assert all(abs(after - before) <= allowed for before, after in pairs)
            assert list(present) == sorted(present)
            assert all(fraction % FRACTION_UNIT == 0 for fraction in present)
            last, then = present, world.now
    world.wait(1_000 * HOUR)
    assert world.engine._present_maintenance() == world.engine.params().maintenance_fractions


@THOROUGH
@given(
    st.integers(0, 10**12),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 10**12)), max_size=30),
)
def test_no_window_draws_more_than_its_share_of_the_reserve(
    reserve: int, losses: list[tuple[int, int]]
) -> None:
    """I-11. The share is of what the reserve was when the window started: nothing comes in here."""
    world = RiskWorld()
    began, at_start, drawn = world.now, reserve, 0
    for seconds, shortfall in losses:
        world.wait(seconds)
        if world.now >= began + RISK.move_windows[1] or drawn == 0:
            began, at_start, drawn = world.now, reserve, 0
        used = world.engine.cover_shortfall(shortfall, reserve, sender=MARKET)
        assert 0 <= used <= min(shortfall, reserve)
        reserve -= used
        drawn += used
        assert drawn <= at_start * RISK.max_insurance_draw // WAD
        assert used == shortfall or reserve == 0 or drawn == at_start // 2


@THOROUGH
@given(st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, wad(30))), max_size=30))
def test_the_volume_of_a_window_trips_beyond_its_cap(sizes: list[tuple[int, int]]) -> None:
    world = RiskWorld()
    began, total = 0, 0
    for seconds, size in sizes:
        world.wait(seconds)
        if size > 0 and world.now >= began + RISK.move_windows[1]:
            began, total = world.now, 0
        total += size
        world.engine.record_update(size, 0, Account(CASH, 0, 0), sender=MARKET)
        assert bool(world.causes()) == (size > 0 and total > RISK.max_liquidated_size)


@THOROUGH
@given(
    st.integers(0, 3),
    st.integers(0, wad(1_000)),
    st.integers(0, 10**15),
    st.integers(1, 10),
    st.integers(0, 2 * 10**16),
)
def test_more_open_interest_never_asks_for_less(
    tier: int, size: int, cash: int, factor: int, confidence: int
) -> None:
    """I-3 through the engine: in open interest, and against a pool that shrinks."""
    world = RiskWorld()
    world.observe(PRICE, PRICE * confidence // WAD)
    fraction = world.engine.removal_terms(tier, Book(PRICE, size, size, cash))
    assert RISK.initial_fractions[tier] <= fraction <= WAD
    assert fraction <= world.engine.removal_terms(tier, Book(PRICE, size * factor, size, cash))
    assert fraction <= world.engine.removal_terms(tier, Book(PRICE, size, size, cash // factor))


def test_maintenance_asks_the_same_of_everybody() -> None:
    """Neither volatility nor confidence nor the crowd moves it; only time along the ramp."""
    world = start()
    calm = world.engine.terms(0, Book(PRICE, 0, 0, CASH)).maintenance_fractions
    world.wait(1)
    world.observe(PRICE * 109 // 100, PRICE // 50)
    crowded = Book(PRICE, wad(10**6), 0, 1)
    assert world.engine.terms(10, crowded).maintenance_fractions == calm
    world.wait(RISK.cool_down)
    assert world.engine.removal_terms(0, crowded) == WAD

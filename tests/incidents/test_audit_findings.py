"""Audit findings on like systems, played against this market.

The rows are those of docs/incidents.md; a test's name begins with the system and the finding.
"""

from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import pytest
from stage import ANY_PRICE, FRICTIONLESS, PARAMS, RISK, STILL, Stage, wad, wads

from python_model.modules import errors
from python_model.modules.constants import FUNDING_PRECISION, LONG, MAX_VISITS, SHORT, WAD
from python_model.signed_price_feed import MAX_DELAY

SIDES = pytest.mark.parametrize("side", [LONG, SHORT])
PENALTY = Fraction(PARAMS.liquidation_penalty, WAD)
KEEPER_SHARE = Fraction(PARAMS.keeper_share, WAD)
TAKER_FEE = Fraction(RISK.taker_fee, WAD)
MAKER_FEE = Fraction(RISK.maker_fee, WAD)
MAINTENANCE = Fraction(RISK.maintenance_fractions[0], WAD)
FRICTIONLESS_RISK = {name: value for name, value in FRICTIONLESS.items() if name in RISK._fields}
INITIAL = Fraction(RISK.initial_fractions[0] + 1, WAD)
ROOT = Path(__file__).resolve().parents[2]


# GMX v2 (Sherlock 2023-02)


def test_gmx_m4_a_change_of_parameters_liquidates_nobody_at_once() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 100, 700, by="trader")
    stage.publish("94.9")
    equity, requirement = stage.health(position_id)
    slack = Fraction(equity - requirement, 100) / stage.unit / Fraction("94.9")
    assert 0 < slack < Fraction("0.002")
    tighter = RISK._replace(
        **FRICTIONLESS_RISK, maintenance_fractions=wads("0.045", "0.065", "0.105", "0.185")
    )
    stage.does("owner", "configurator.tighten", stage.system.market, tighter)
    start = stage.now
    assert stage.health(position_id) == (equity, requirement)
    # The slack over a tenth of a percentage point an hour is the time there is to answer.
    seconds = floor(slack * 1_000 * 3_600)
    stage.now = start + seconds - 5
    stage.publish("94.9", after=0)
    assert not stage.is_liquidatable(position_id)
    assert stage.position(position_id).size == wad(100)
    stage.now = start + seconds + 5
    assert stage.publish("94.9", after=0) == 1


@SIDES
def test_gmx_m22_a_profit_is_no_collateral(side: int) -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(side, 100, 600, by="attacker")
    moved = 109 if side == LONG else 91
    stage.publish(moved)
    free = stage.tokens(600) - stage.part(100, moved, INITIAL)
    assert stage.value(position_id, moved) > stage.tokens(899)
    call = ("market.remove_margin", position_id)
    stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *call, free + 1)
    stage.does("attacker", *call, free)


def test_gmx_m23_whoever_is_no_candidate_any_more_is_not_deleveraged() -> None:
    stage = Stage(liquidity=100_000, **FRICTIONLESS)
    first = stage.open(LONG, 2_500, 300_000, by="trader")
    second = stage.open(LONG, 2_500, 200_000, by="other_trader")
    stage.publish("109.9")
    # The first in the order closes by himself before the price that deleverages.
    stage.close(first, by="trader")
    share, cash = Fraction(RISK.max_profit_share, WAD), stage.books.pool_cash
    value = stage.value(second, 112)
    assert value <= share * cash
    assert 2 * value > share * stage.tokens(100_000)
    stage.publish(112)
    assert stage.events("PositionSettled") == []
    # Nobody can name whom to deleverage: there is no such call, and `settle` waits for seven days.
    stage.refuses(errors.NOT_EXPIRED, "attacker", "market.settle", second)
    stage.wait(7 * 86_400)
    stage.refuses(errors.NOT_EXPIRED, "attacker", "market.settle", second)
    stage.wait(1)
    stage.does("keeper", "market.settle", second)
    assert stage.gained("other_trader") == value
    stage.assert_books_balance()


def test_gmx_m20_a_price_next_to_zero_still_liquidates_and_pays() -> None:
    stage = Stage(**FRICTIONLESS)
    long = stage.open(LONG, 100, 1_000, by="trader")
    short = stage.open(SHORT, 100, 1_000, by="other_trader")
    stage.wait(1)
    header = stage.signer.header(stage.now)
    zero = [stage.signer.report(name, header, 0, 1) for name in stage.publishers()]
    stage.refuses(errors.ZERO_PRICE, "keeper", "feed.publish", header, zero)
    # The least price whose confidence, a wei at least, is not too wide.
    least = Fraction(1, RISK.max_confidence)
    assert least == Fraction(20, WAD)
    stage.publish(least)
    assert stage.mark() == 100
    assert stage.publish(least) == 1
    assert not stage.is_open(long)
    assert stage.mark() == least
    value = stage.value(short, stage.exit_price(short))
    assert stage.tokens(9_999) < value <= stage.tokens(10_000)
    assert stage.close(short, by="other_trader") == stage.tokens(1_000) + value
    stage.assert_books_balance()


def test_gmx_m18_fees_count_before_liquidation_is_decided() -> None:
    stage = Stage(max_utilisation_rate=0, maker_fee=0, taker_fee=0)
    position_id = stage.open(LONG, 1_000, 5_100, by="trader")
    skew_rate = Fraction(1_000, 12_000_000) * Fraction(PARAMS.max_funding_rate, WAD)
    entry = Fraction(stage.position(position_id).entry_price, WAD)
    equity = 5_100 - 1_000 * (entry - 97)
    spare = equity - 1_000 * 97 * MAINTENANCE
    # Seconds at 100 for one, at 97 for the rest, until what is spare is used up.
    seconds = ceil((spare - 1_000 * 100 * skew_rate) / (1_000 * 97 * skew_rate))
    stage.publish(97)
    start = stage.now
    for offset, is_due in ((seconds - 1, False), (seconds + 1, True)):
        stage.now = start + offset
        assert stage.is_liquidatable(position_id) is is_due
    # The same call that accrues decides.
    stage.now = start + seconds + 1
    stage.publish(97, after=0)
    assert stage.events("PositionLiquidated")[0][0] == position_id


def test_gmx_h5_deleveraging_is_at_the_price_itself_whatever_the_skew() -> None:
    stage = Stage(liquidity=100_000, **STILL)
    position_id = stage.open(LONG, 5_000, 160_000, by="trader")
    fee = stage.books.fees
    value = stage.value(position_id, 112)
    stage.publish(112)
    (settled,) = stage.events("PositionSettled")
    assert settled[3:6] == (wad(112), value, 0)
    assert stage.view("market.credit_of", "trader") == stage.tokens(160_000) - fee + value
    assert stage.books.fees == fee
    stage.assert_books_balance()


@SIDES
@pytest.mark.parametrize("parts", [2, 7, 100])
def test_gmx_m27_a_trade_in_parts_pays_the_impact_of_the_whole(side: int, parts: int) -> None:
    costs = []
    for count in (1, parts):
        stage = Stage(**STILL | {"maker_fee": 0, "taker_fee": 0})
        position_id = stage.open(side, Fraction(700, count), 40_000, by="attacker")
        for _ in range(count - 1):
            order = (position_id, wad(Fraction(700, count)), 0, ANY_PRICE[side])
            stage.does("attacker", "market.increase", *order)
        sign = 1 if side == LONG else -1
        position = stage.position(position_id)
        assert position.size == wad(700)
        costs.append(sign * position.size * (position.entry_price - wad(100)))
    # Never less; more by two roundings of a price per part.
    assert costs[0] <= costs[1] <= costs[0] + 2 * parts * wad(700)


def test_gmx_m25_a_stopped_sequencer_liquidates_nobody_and_leaves_time_to_answer() -> None:
    grace = 3_600
    stage = Stage(price=0, liquidity=0, feed="aggregator", sequencer_grace=grace, **FRICTIONLESS)
    stage.set_sequencer(is_down=False)
    stage.wait(grace + 1)
    stage.publish(100)
    stage.deposit(1_000_000)
    position_id = stage.open(LONG, 100, 520, by="trader")
    stage.set_sequencer(is_down=True)
    stage.wait(1_800)
    stage.set_round(90)
    update = ("market.update_price", "keeper")
    stage.refuses(errors.SEQUENCER_DOWN, "keeper", *update)
    stage.set_sequencer(is_down=False)
    back = stage.now
    stage.refuses(errors.SEQUENCER_GRACE, "keeper", *update)
    stage.wait(grace)
    stage.set_round(90)
    stage.refuses(errors.SEQUENCER_GRACE, "keeper", *update)
    # Within the grace period margin is added, the position outlives the price that waited.
    stage.add_margin(position_id, 800, by="trader")
    stage.now = back + grace + 1
    stage.set_round(90)
    assert stage.does("keeper", *update) == 0
    assert stage.position(position_id).size == wad(100)


def test_gmx_m10_velar_m7_funding_received_is_never_more_than_funding_paid() -> None:
    stage = Stage(max_utilisation_rate=0, maker_fee=0, taker_fee=0)
    longs = [stage.open(LONG, size, 20_000, by="trader") for size in (7, "1234.567", 311)]
    shorts = [stage.open(SHORT, size, 20_000, by="other_trader") for size in ("0.77", 501)]
    ids = longs + shorts
    start = {i: stage.health(i)[0] for i in ids}
    rate, skew, at, paid = Fraction(PARAMS.max_funding_rate, WAD), Fraction(0), stage.now, 0
    accruals = 0
    for seconds in (1, 2, 997, 13, 1_800):
        totals = stage.view("market.totals")
        skew = Fraction(totals.long_size - totals.short_size, PARAMS.skew_scale)
        stage.wait(seconds)
        stage.does("keeper", "market.accrue")
        accruals += 1
    elapsed = stage.now - at
    exact = {
        i: -(1 if i in longs else -1)
        * Fraction(stage.position(i).size, WAD)
        * rate
        * skew
        * 100
        * elapsed
        * stage.unit
        for i in ids
    }
    change = {i: stage.health(i)[0] - start[i] for i in ids}
    for i in ids:
        # Down to the unit: against the trader, by less than two units and the steps of the index.
        assert exact[i] - 2 - accruals * Fraction(stage.position(i).size, 10**21) < change[i]
        assert change[i] <= exact[i] + 1
    paid = -sum(change[i] for i in longs)
    received = sum(change[i] for i in shorts)
    assert paid > 0 < received
    # What one side pays and the other does not receive is the pool's, and not negative.
    net = -sum(exact.values())
    assert net - len(ids) < paid - received < net + 3 * len(ids)
    assert received < paid


@SIDES
def test_gmx_m32_a_requirement_is_one_quotient_of_the_whole_product(side: int) -> None:
    stage = Stage(price="97.531864209753186421", **STILL)
    size = Fraction("13.579246801357924681")
    fill = stage.fill(side, size)
    position_id = stage.open(side, size, 90, by="trader")
    fee = stage.part(size, fill, TAKER_FEE)
    assert stage.position(position_id).margin == stage.tokens(90) - fee
    assert stage.books.fees == fee
    equity, requirement = stage.health(position_id)
    assert requirement == stage.part(size, stage.mark(), MAINTENANCE)
    assert equity == stage.tokens(90) - fee + stage.value(position_id, stage.mark())
    reserve = Fraction(PARAMS.reserve_fraction, WAD)
    assert stage.view("market.pool_terms").reserved == stage.part(size, stage.mark(), reserve)
    moved = stage.mark() * (Fraction("0.94") if side == LONG else Fraction("1.06"))
    moved = Fraction(floor(moved * WAD), WAD)
    left = stage.position(position_id).margin + stage.value(position_id, moved)
    stage.publish(moved)
    (event,) = stage.events("PositionLiquidated")
    assert event[5] == min(stage.part(size, moved, PENALTY), left)


# Perennial v2 (Sherlock 2023-07 and 2023-10)


def test_perennial_026h_nobody_is_liquidated_twice_for_one_price() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 100, 520, by="trader")
    assert stage.publish("96.4", by="attacker") == 1
    (first,) = stage.events("PositionLiquidated")
    closed, penalty = Fraction(first[2], WAD), first[5]
    assert 0 < closed < 100
    # Once only, on what was closed only; the rest meets the requirement.
    assert penalty == stage.part(closed, "96.4", PENALTY)
    stage.refuses(errors.HEALTHY, "attacker", "market.liquidate", position_id)
    assert stage.does("attacker", "market.update_price", "attacker") == 0
    assert stage.does("attacker", "market.continue_backlog", MAX_VISITS) == 0
    assert stage.publish("96.4", by="attacker") == 0
    assert stage.view("market.credit_of", "attacker") == floor(penalty * KEEPER_SHARE)
    stage.publish(50)
    stage.publish(50)
    assert not stage.is_open(position_id)
    stage.refuses(errors.POSITION_CLOSED, "attacker", "market.liquidate", position_id)


def test_perennial_051h_liquidating_oneself_in_parts_takes_only_own_margin() -> None:
    stage = Stage(insurance=1_000, **FRICTIONLESS)
    reserve, cash = stage.books.insurance, stage.books.pool_cash
    position_id = stage.open(LONG, 1_000, 5_200, by="attacker")
    price, losses, penalties = Fraction(100), 0, 0
    while stage.is_open(position_id):
        price -= Fraction("0.5")
        stage.publish(price, after=300, by="attacker")
        for event in stage.events("PositionLiquidated"):
            losses -= event[4]
            penalties += event[5]
    rewards = stage.view("market.credit_of", "attacker")
    returned = stage.tokens(5_200) - losses - penalties
    assert returned >= 0
    books = stage.books
    # Everything he has lost is in the pool, the reserve, or his reward out of his own penalty.
    assert (books.pool_cash, books.bad_debt) == (cash + losses, 0)
    assert books.insurance == reserve + penalties - (rewards - returned)
    assert rewards - returned <= penalties * KEEPER_SHARE
    assert stage.gained("attacker") == -losses - penalties + (rewards - returned) < 0
    stage.assert_books_balance()


def test_perennial_049m_a_price_that_is_not_taken_leaves_the_books_as_they_are() -> None:
    stage = Stage(**STILL)
    stage.open(LONG, 100, 1_000, by="trader")
    stage.open(SHORT, 70, 1_000, by="other_trader")
    stage.wait(10)
    seen = (stage.books, stage.open_ids(), stage.mark(), stage.view("pool.account"))
    wide = stage.reports(100, confidence=wad("5.0000001"))
    stage.refuses(errors.CONFIDENCE_TOO_WIDE, "keeper", "feed.publish", *wide)
    assert (stage.books, stage.open_ids(), stage.mark(), stage.view("pool.account")) == seen
    # Held: nothing moves but the state of the breaker; the next one settles as if it had not been.
    stage.publish(150)
    assert (stage.books, stage.open_ids(), stage.mark(), stage.view("pool.account")) == seen
    stage.publish(101)
    assert stage.mark() == 101
    stage.assert_books_balance()


def test_perennial_043h_044m_reports_old_out_of_order_or_from_the_future_are_refused() -> None:
    stage = Stage()
    stage.wait(10)
    early = stage.reports(90, price_time=stage.now - 5)
    last = stage.now
    stage.does("keeper", "feed.publish", *stage.reports(100))
    stage.refuses(errors.OLD_PRICE, "attacker", "feed.publish", *early)
    stage.refuses(errors.OLD_PRICE, "attacker", "feed.publish", *stage.reports(90))
    future = stage.reports(90, price_time=last + 1)
    stage.refuses(errors.FUTURE_PRICE, "attacker", "feed.publish", *future)
    stage.now = last + 1 + MAX_DELAY
    stage.does("keeper", "feed.publish", *stage.reports(100, price_time=last + 1))
    stage.wait(2)
    stale = stage.reports(90, price_time=last + 2)
    stage.refuses(errors.STALE_PRICE, "attacker", "feed.publish", *stale)
    assert stage.mark() == 100
    # While a price is held, an older one does not confirm it.
    stage.wait(10)
    old = stage.reports(150, price_time=stage.now - 1)
    stage.publish(150, after=0)
    stage.wait(1)
    stage.refuses(errors.OLD_PRICE, "attacker", "feed.publish", *old)
    assert stage.mark() == 100


def test_perennial_060m_a_penalty_is_no_larger_than_what_is_left() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 100, 520, by="trader")
    left = stage.tokens(520) + stage.value(position_id, "95")
    assert 0 < left < stage.part(100, 95, PENALTY)
    stage.publish(95, by="keeper")
    (event,) = stage.events("PositionLiquidated")
    _, _, size, _, value, penalty, reward, returned, drawn, debt = event
    assert (size, penalty, returned, drawn, debt) == (wad(100), left, 0, 0, 0)
    assert reward == floor(left * KEEPER_SHARE)
    assert value == left - stage.tokens(520)
    stage.assert_books_balance()


def test_perennial_064m_a_halt_leaves_a_block_to_add_margin_before_anyone_is_liquidated() -> None:
    stage = Stage(**FRICTIONLESS)
    rescued = stage.open(LONG, 100, 1_000, by="trader")
    idle = stage.open(LONG, 100, 1_000, by="other_trader")
    stage.publish(75, by="attacker")
    # No confirmation in the block of the jump, however often it is repeated.
    stage.does("attacker", "market.update_price", "attacker")
    stage.refuses(errors.HALTED, "attacker", "market.liquidate", rescued)
    stage.refuses(errors.HALTED, "attacker", "market.continue_backlog", MAX_VISITS)
    assert stage.view("engine.breaker").halted_since == stage.now
    stage.add_margin(rescued, 2_000, by="trader")
    assert stage.publish(75, by="attacker") == 1
    assert stage.position(rescued).size == wad(100)
    assert not stage.is_open(idle)
    # After the halt nothing adds risk, and those who can leave, leave.
    assert stage.is_reduce_only
    stage.close(rescued, by="trader")
    stage.assert_books_balance()


def test_perennial_064m_a_halt_ends_within_an_hour_whatever_is_reported() -> None:
    stage = Stage(**FRICTIONLESS)
    price = Fraction(100)
    start = stage.now + 1
    while stage.mark() == 100:
        price *= Fraction("1.3")
        stage.publish(price, after=1 if price == 130 else 600)
    assert stage.now == start + 3_600
    assert stage.mark() == price


def test_perennial_072m_a_run_on_the_pool_does_not_outrun_the_claims() -> None:
    stage = Stage(liquidity=100_000, **FRICTIONLESS)
    stage.deposit(100_000, by="other_lp")
    stage.open(LONG, 5_000, 400_000, by="other_trader")
    winner = stage.open(SHORT, 5_000, 100_000, by="trader")
    for price in (81, 66, 54, 44):
        stage.publish(price)
    profit = stage.value(winner, stage.exit_price(winner))
    stage.close(winner, by="trader")
    books = stage.books
    assert (books.pool_cash, books.claims) == (0, profit - stage.tokens(200_000))
    # Losses arrive in part: the claim comes first, and nobody withdraws what it needs.
    stage.reduce(1, 1_000, by="other_trader")
    cash = stage.books.pool_cash
    assert 0 < cash < books.claims + stage.tokens(44_000)
    for provider in ("lp", "other_lp"):
        free = stage.view("pool.maxWithdraw", provider)
        held = stage.books.claims + stage.view("market.pool_terms").reserved
        assert free <= max(0, cash - held)
        stage.refuses(
            errors.WITHDRAWAL_LIMIT, provider, "pool.withdraw", free + 1, provider, provider
        )
    paid = stage.does("trader", "pool.withdraw_claim")
    assert paid == min(cash, books.claims)
    stage.close(1, by="other_trader")
    while stage.view("pool.claim_of", "trader"):
        stage.does("trader", "pool.withdraw_claim")
    # What is left is shared by shares, not by who comes first.
    shares = [stage.view("pool.balanceOf", role) for role in ("lp", "other_lp")]
    first = stage.does("lp", "pool.redeem", shares[0], "lp", "lp")
    second = stage.does("other_lp", "pool.redeem", shares[1], "other_lp", "other_lp")
    assert shares[0] == shares[1]
    assert abs(first - second) <= 1
    stage.assert_books_balance()


def test_perennial_072m_providers_who_run_leave_the_profit_of_the_traders_behind() -> None:
    stage = Stage(**FRICTIONLESS)
    winner = stage.open(LONG, 20_000, 500_000, by="trader")
    stage.publish(112)
    profit, reserved = stage.books.net_trader_profit, stage.view("market.pool_terms").reserved
    assert profit > reserved == stage.tokens(224_000)
    shares = stage.view("pool.maxRedeem", "lp")
    assert shares == stage.view("pool.balanceOf", "lp")
    stage.does("lp", "pool.redeem", shares, "lp", "lp")
    # The last one out takes cash less profit: what is left pays the traders to the unit.
    left = stage.books.pool_cash
    assert profit <= left <= profit + 1
    value = stage.value(winner, 112)
    # More than the allowed share of that is owed now: the next price deleverages, and pays in full.
    stage.publish(112)
    (settled,) = stage.events("PositionSettled")
    assert settled[4:7] == (value, 0, stage.tokens(500_000) + value)
    assert stage.books.pool_cash == left - value
    stage.assert_books_balance()


def test_perennial_59_a_call_repeated_or_refused_charges_nothing_more() -> None:
    stage = Stage()
    position_id = stage.open(LONG, 1_000, 6_000, by="trader")
    stage.wait(500)
    stage.does("keeper", "market.accrue")
    charged = stage.health(position_id)
    for _ in range(3):
        stage.does("attacker", "market.accrue")
        stage.does("attacker", "market.update_price", "attacker")
        stage.refuses(errors.OLD_PRICE, "attacker", "feed.publish", *stage.old_reports())
        order = ("market.open", LONG, wad(10_000), stage.tokens(1), ANY_PRICE[LONG])
        stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *order)
    assert stage.health(position_id) == charged
    assert stage.gained("attacker") == 0


# Flatcoin (Sherlock 2023-12): book-keeping that stops liquidations or eats others' margin


@SIDES
def test_flatcoin_the_last_position_far_under_water_is_liquidated(side: int) -> None:
    stage = Stage(**STILL)
    position_id = stage.open(side, 1_000, 5_100, by="trader")
    margin = stage.position(position_id).margin
    moved = 10 if side == LONG else 500
    cash = stage.books.pool_cash
    owed = -stage.value(position_id, moved)
    stage.publish(moved)
    assert stage.publish(moved) == 1
    books = stage.books
    assert books.bad_debt == owed - margin
    assert (books.pool_cash, books.margin, books.open_positions) == (cash + margin, 0, 0)
    assert books.net_trader_profit == 0
    stage.assert_books_balance()


def test_flatcoin_the_losses_of_some_leave_the_margins_of_others() -> None:
    stage = Stage(insurance=100, **STILL)
    others = [stage.open(LONG, 10, 950, by="trader"), stage.open(SHORT, 10, 950, by="lp")]
    margins = [stage.position(i).margin for i in others]
    for _ in range(5):
        stage.open(LONG, 1_000, 5_200, by="attacker")
    stage.publish(60)
    assert stage.publish(60) == 5
    books = stage.books
    assert books.bad_debt > sum(margins) * 50
    assert [stage.position(i).margin for i in others] == margins
    assert books.margin == sum(margins)
    for i, owner in zip(others, ("trader", "lp"), strict=True):
        value = stage.value(i, stage.exit_price(i))
        before = stage.balance(owner)
        payout = stage.close(i, by=owner)
        assert stage.balance(owner) - before == payout
        assert margins[others.index(i)] + value - payout <= stage.part(10, 61, TAKER_FEE)
    stage.assert_books_balance()


def test_flatcoin_funding_beyond_all_margins_locks_nothing() -> None:
    stage = Stage(max_funding_rate=wad("0.0001"))
    position_id = stage.open(LONG, 20_000, 500_000, by="trader")
    short = stage.open(SHORT, 100, 600, by="other_trader")
    # No price for more than a month: the long owes more than everybody's margin together.
    stage.wait(40 * 86_400)
    equity, _ = stage.health(position_id)
    assert -equity > stage.books.margin
    assert stage.publish(100) == 1
    assert stage.is_open(short)
    value = stage.health(short)[0] - stage.position(short).margin
    assert value > 0
    payout = stage.close(short, by="other_trader")
    assert payout + stage.part(100, 101, TAKER_FEE) >= stage.tokens(599) + value
    shares = stage.view("pool.balanceOf", "lp")
    stage.does("lp", "pool.redeem", shares, "lp", "lp")
    stage.assert_books_balance()


def test_flatcoin_winners_beyond_the_pool_leave_and_so_do_the_others() -> None:
    stage = Stage(liquidity=100_000, **FRICTIONLESS)
    loser = stage.open(LONG, 2_500, 200_000, by="trader")
    winner = stage.open(SHORT, 2_500, 30_000, by="attacker")
    for price in (81, 66, 55, 50):
        stage.publish(price)
    assert stage.value(winner, 50) > stage.books.pool_cash
    stage.close(winner, by="attacker")
    stage.close(loser, by="trader")
    stage.does("attacker", "pool.withdraw_claim")
    shares = stage.view("pool.balanceOf", "lp")
    assert stage.does("lp", "pool.redeem", shares, "lp", "lp") >= stage.tokens(99_999)
    stage.assert_books_balance()


# Velar Artha (Sherlock 2024-08)


@pytest.mark.parametrize("size", ["0.01", "0.010000000000000001", "77.7777777"])
def test_velar_h1_fees_and_rates_keep_their_fractions(size: str) -> None:
    stage = Stage(max_funding_rate=0)
    fill = stage.fill(LONG, size)
    position_id = stage.open(LONG, size, 600, by="trader")
    # Utilisation far below a percent is charged, not truncated to none.
    assert stage.books.fees == stage.part(size, fill, TAKER_FEE)
    reserved = stage.view("market.pool_terms").reserved
    share = Fraction(reserved, stage.books.pool_cash)
    assert share < Fraction(1, 100)
    before = stage.health(position_id)[0]
    stage.wait(3_600)
    exact = stage.notional(size, 100) * share * Fraction(PARAMS.max_utilisation_rate, WAD) * 3_600
    charged = before - stage.health(position_id)[0]
    assert exact - 1 < charged <= exact + 2


@SIDES
def test_velar_h2_moving_the_skew_around_ones_own_close_does_not_pay(side: int) -> None:
    gains = []
    for is_sandwiched in (False, True):
        stage = Stage(**STILL | {"maker_fee": 0, "taker_fee": 0})
        position_id = stage.open(side, 1_000, 10_000, by="attacker")
        if is_sandwiched:
            # Push the fill one way, close into it, take the push back.
            push = stage.open(side, 15_000, 400_000, by="attacker")
            stage.close(position_id, by="attacker")
            stage.close(push, by="attacker")
        else:
            stage.close(position_id, by="attacker")
        gains.append(stage.gained("attacker"))
        assert stage.books.pool_cash >= stage.tokens(1_000_000)
    assert gains[1] <= gains[0] <= 0


def test_velar_m2_funding_of_the_least_skew_and_a_second_is_not_rounded_away() -> None:
    stage = Stage(max_utilisation_rate=0, maker_fee=0, taker_fee=0)
    position_id = stage.open(LONG, "0.01", 1, by="trader")
    stage.open(SHORT, "0.01", 1, by="other_trader")
    stage.open(LONG, "0.01", 1, by="trader")
    funding = stage.funding()
    stage.wait(1)
    stage.does("keeper", "market.accrue")
    step = stage.funding()[LONG] - funding[LONG]
    skew_rate = Fraction(wad("0.01"), PARAMS.skew_scale) * PARAMS.max_funding_rate
    assert step == ceil(floor(skew_rate * FUNDING_PRECISION) * 100)
    assert step > 0
    assert stage.is_open(position_id)


def test_velar_m4_m5_nobody_keeps_others_from_bringing_a_price() -> None:
    stage = Stage()
    stage.wait(10)
    earlier, later = stage.reports(101, price_time=stage.now - 1), stage.reports("101.5")
    header, signed = later
    broken = [report._replace(vs=report.vs ^ 1) for report in signed]
    stage.refuses(errors.NOT_PUBLISHER, "attacker", "feed.publish", header, broken)
    # Whoever comes first with a later report has brought a newer price; that is all he can do.
    stage.does("attacker", "feed.publish", *later)
    stage.refuses(errors.OLD_PRICE, "keeper", "feed.publish", *earlier)
    assert stage.mark() == Fraction("101.5")
    # No time can be used up in advance: a report is never from the future.
    stage.wait(1)
    stage.publish(102, after=0)
    assert stage.mark() == 102


def test_velar_m6_nothing_asks_who_signed_the_transaction() -> None:
    sources = sorted((ROOT / "contracts").rglob("*.vy*"))
    assert len(sources) > 20
    assert [path.name for path in sources if "tx.origin" in path.read_text(encoding="utf-8")] == []


def test_velar_m8_dust_left_by_the_first_depositor_stops_nobody() -> None:
    stage = Stage(liquidity=0)
    stage.does("attacker", "pool.deposit", 10, "attacker")
    stage.does("attacker", "pool.redeem", 9_000, "attacker", "attacker")
    stage.refuses(errors.ZERO_AMOUNT, "attacker", "pool.deposit", 0, "attacker")
    shares = stage.deposit(1_000)
    assert shares == stage.tokens(1_000) * 1_000
    assert stage.does("lp", "pool.redeem", shares, "lp", "lp") == stage.tokens(1_000)


def test_velar_m9_filling_both_sides_costs_margin_and_rent_and_keeps_nobody_in() -> None:
    stage = Stage(max_funding_rate=0, liquidity=200_000)
    own = stage.open(LONG, 1_000, 20_000, by="trader")
    # The whole reserve: both sides, margin in full, since the crowd takes the leverage.
    for side in (LONG, SHORT):
        stage.open(side, 9_400 + 100 * side, 1_200_000, by="attacker")
    order = ("market.open", LONG, wad(1_000), stage.tokens(200_000), ANY_PRICE[LONG])
    stage.refuses(errors.RESERVE_EXCEEDED, "trader", *order)
    reserved, cash = stage.view("market.pool_terms").reserved, stage.books.pool_cash
    share = Fraction(reserved, cash)
    assert share > Fraction(99, 100)
    before = [stage.health(i)[0] for i in (2, 3)]
    stage.wait(3_600)
    rent = sum(before) - sum(stage.health(i)[0] for i in (2, 3))
    rate = Fraction(PARAMS.max_utilisation_rate, WAD) * 3_600
    exact = stage.notional(18_900, 100) * share * rate
    assert exact - 2 < rent <= exact + 4
    # The griefed leave as they like; the rent is the providers'.
    stage.close(own, by="trader")
    assert stage.view("pool.totalAssets") > stage.tokens(200_000) + rent * Fraction(9, 10)


def test_velar_m10_a_fee_beyond_what_is_left_does_not_stop_a_close() -> None:
    stage = Stage(
        **STILL,
        maker_fee=wad("0.01"),
        taker_fee=wad("0.01"),
        liquidation_penalty=wad("0.004"),
        maintenance_fractions=wads("0.008", "0.04", "0.08", "0.16"),
        skew_scale=wad(30_000_000),
    )
    position_id = stage.open(LONG, 100, 620, by="trader")
    stage.publish("95.7")
    equity, requirement = stage.health(position_id)
    fee = stage.part(100, stage.exit_price(position_id), Fraction(1, 100))
    assert requirement <= equity < fee
    left = stage.position(position_id).margin + stage.value(
        position_id, stage.exit_price(position_id)
    )
    fees = stage.books.fees
    assert stage.close(position_id, by="trader") == 0
    assert stage.books.fees == fees + left
    stage.assert_books_balance()


def test_velar_90_a_winner_whose_funding_has_outgrown_the_margin_can_close() -> None:
    stage = Stage(max_funding_rate=wad("0.00012"), max_utilisation_rate=0)
    position_id = stage.open(LONG, 10_000, 130_000, by="trader")
    stage.walk(125, after=3_600)
    stage.wait(1_100_000)
    stage.publish(125)
    # Funding has taken the whole margin and more; the profit carries the position.
    equity, requirement = stage.health(position_id)
    margin = stage.position(position_id).margin
    price_profit = stage.value(position_id, 125)
    owed = margin + price_profit - equity
    assert owed > margin
    assert equity >= requirement
    fill = stage.exit_price(position_id)
    payout = stage.close(position_id, by="trader")
    gain = stage.value_of(10_000, 125, fill)
    fee = stage.part(10_000, fill, MAKER_FEE)
    assert equity + gain - fee - 1 <= payout <= equity + gain - fee + 1


# JOJO and others; USDN; Unstoppable


def test_jojo_margin_taken_out_on_a_passing_profit_is_ones_own() -> None:
    stage = Stage(insurance=1_000, **FRICTIONLESS)
    cash, reserve = stage.books.pool_cash, stage.books.insurance
    position_id = stage.open(LONG, 1_000, 10_000, by="attacker")
    stage.walk(109)
    free = stage.tokens(10_000) - stage.part(1_000, 109, INITIAL)
    stage.does("attacker", "market.remove_margin", position_id, free)
    price = Fraction(109)
    while stage.is_open(position_id):
        price -= 1
        stage.publish(price, after=300, by="keeper")
    books = stage.books
    # He is liquidated before his equity is gone, and what he has taken was his.
    assert books.bad_debt == 0
    assert books.pool_cash > cash
    assert books.insurance > reserve
    assert stage.gained("attacker") < 0
    assert stage.gained("attacker") == cash + reserve - books.pool_cash - books.insurance - (
        stage.gained("keeper")
    )
    stage.assert_books_balance()


def test_usdn_718_no_share_is_bought_or_sold_around_a_late_liquidation() -> None:
    stage = Stage(**FRICTIONLESS)
    margin = stage.part(100, 100, INITIAL) + 1_000
    for i in range(MAX_VISITS + 8):
        order = (LONG, wad(100), margin, ANY_PRICE[LONG])
        stage.does(f"trader_{i % 8}", "market.open", *order)
    stage.publish(81)
    # Eight are left under water: nobody deposits or withdraws until they are gone.
    assert len(stage.open_ids()) == 8
    for call in (
        ("pool.deposit", stage.tokens(1_000), "attacker"),
        ("pool.mint", 10**12, "attacker"),
    ):
        stage.refuses(errors.BACKLOG, "attacker", *call)
    stage.refuses(errors.BACKLOG, "lp", "pool.withdraw", 1, "lp", "lp")
    stage.refuses(errors.BACKLOG, "lp", "pool.redeem", 1_000, "lp", "lp")
    stage.does("attacker", "market.continue_backlog", MAX_VISITS)
    assert stage.open_ids() == []
    # From then on a share bought is worth what was paid for it.
    shares = stage.deposit(1_000, by="attacker")
    returned = stage.does("attacker", "pool.redeem", shares, "attacker", "attacker")
    assert stage.tokens(1_000) - 1 <= returned <= stage.tokens(1_000)


def test_usdn_718_liquidity_lent_for_one_price_earns_its_share_of_one_move() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 20_000, 600_000, by="trader")
    stage.wait(30)
    known = stage.reports(98)
    gain = stage.value(position_id, 100) - stage.value(position_id, 98)
    cash = stage.books.pool_cash
    shares = stage.deposit(9_000_000, by="attacker")
    stage.does("attacker", "feed.publish", *known)
    stage.does("attacker", "pool.redeem", shares, "attacker", "attacker")
    # The bound: nine tenths of the shares, of what the skew cap loses in the move; the providers
    # get the rest, and nothing of what was theirs.
    assert stage.tokens("35_999.99") < stage.gained("attacker") <= gain * Fraction(9, 10)
    assert stage.tokens(40_000) <= gain <= stage.tokens(40_000) + 2
    assert stage.view("pool.totalAssets") >= cash + floor(gain / 10) - 2
    # Once the price is older than `max_price_age` no share is sold at it.
    stage.wait(PARAMS.max_price_age + 1)
    deposit = ("pool.deposit", stage.tokens(1), "attacker")
    stage.refuses(errors.STALE_PRICE, "attacker", *deposit)


@SIDES
def test_unstoppable_leverage_is_not_truncated(side: int) -> None:
    stage = Stage(**STILL | {"max_volatility_multiplier": WAD})
    fill = stage.fill(side, 100)
    fee = stage.part(100, fill, TAKER_FEE)
    at_once = floor(-abs(fill - 100) * 100 * stage.unit)
    needed = stage.part(100, 100, INITIAL) - at_once + fee
    # 19.9... times and not a unit more: neither 19 nor 20.
    order = ("market.open", side, wad(100))
    limit = ANY_PRICE[side]
    stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *order, needed - 1, limit)
    position_id = stage.does("attacker", *order, needed, limit)
    leverage = stage.notional(100, 100) / stage.health(position_id)[0]
    assert Fraction(1999, 100) < leverage <= 20

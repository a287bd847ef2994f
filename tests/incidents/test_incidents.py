"""The losses of the field, played against this market: what each costs here, in figures.

The rows are those of docs/incidents.md; a test's name begins with the month of its row.
"""

from fractions import Fraction
from math import ceil, floor

import pytest
from stage import ANY_PRICE, FRICTIONLESS, PARAMS, RISK, STILL, Number, Stage, wad, wads

from perp_fuzz.deployment import PUBLISHERS
from python_model.modules import breaker_causes, errors
from python_model.modules.constants import LONG, MAX_VISITS, SHORT, WAD

SIDES = pytest.mark.parametrize("side", [LONG, SHORT])
PENALTY = Fraction(PARAMS.liquidation_penalty, WAD)
KEEPER_SHARE = Fraction(PARAMS.keeper_share, WAD)
TAKER_FEE = Fraction(RISK.taker_fee, WAD)
MAKER_FEE = Fraction(RISK.maker_fee, WAD)
JUMP = Fraction(RISK.max_jump, WAD)
NOT_OWNER = "ownable: caller is not the owner"


def initial(tier: int) -> Fraction:
    """Initial fraction in calm and without a crowd: the tier's, and the least confidence, which is
    a wei of the ratio at these prices."""
    return Fraction(RISK.initial_fractions[tier] + 1, WAD)


def maintenance(tier: int) -> Fraction:
    return Fraction(RISK.maintenance_fractions[tier], WAD)


def causes(stage: Stage) -> set[int]:
    """What the last transaction has tripped."""
    return {fields[0] for fields in stage.events("BreakerTripped")}


# May 2022, Perpetual v1 and Drift v1 (LUNA): profits paid before the losses behind them


def test_2022_05_luna_an_early_winner_takes_the_pools_cash_and_nobody_elses() -> None:
    stage = Stage(liquidity=100_000, insurance=5_000, **FRICTIONLESS)
    loser = stage.open(LONG, 2_500, 200_000, by="trader")
    winner = stage.open(SHORT, 2_500, 30_000, by="attacker")
    for price in (81, 66, 55, 50):
        stage.publish(price)
    profit = stage.value(winner, stage.exit_price(winner))
    cash = stage.books.pool_cash
    assert profit > cash == stage.tokens(100_000)
    # The bound: own margin and what the pool has. The rest waits for the losses to be realised.
    assert stage.close(winner, by="attacker") == stage.tokens(30_000) + cash
    books = stage.books
    assert (books.pool_cash, books.claims) == (0, profit - cash)
    assert books.insurance == stage.tokens(5_000)
    assert stage.position(loser).margin == books.margin == stage.tokens(200_000)
    stage.refuses(errors.NOTHING_TO_WITHDRAW, "attacker", "pool.withdraw_claim")
    stage.refuses(errors.WITHDRAWAL_LIMIT, "lp", "pool.withdraw", 1, "lp", "lp")
    loss = -stage.value(loser, stage.exit_price(loser))
    stage.close(loser, by="trader")
    assert stage.does("attacker", "pool.withdraw_claim") == profit - cash
    assert stage.books.pool_cash == cash + loss - profit
    stage.assert_books_balance()


# September 2022, GMX v1 (AVAX): no price impact, open interest beyond the depth outside


@SIDES
def test_2022_09_avax_a_price_moved_outside_earns_no_more_than_the_skew_cap(side: int) -> None:
    stage = Stage(**STILL)
    cap, scale = Fraction(RISK.max_skew, WAD), Fraction(PARAMS.skew_scale, WAD)
    too_large = (side, RISK.max_skew + 1, stage.tokens(600_000), ANY_PRICE[side])
    stage.refuses(errors.SKEW_CAP, "attacker", "market.open", *too_large)
    paid = stage.fill(side, cap)
    position_id = stage.open(side, cap, 600_000, by="attacker")
    moved = 112 if side == LONG else 88
    stage.publish(moved, by="attacker")
    received = stage.exit_price(position_id)
    gain = stage.value(position_id, received)
    fees = stage.part(cap, paid, TAKER_FEE) + stage.part(cap, received, MAKER_FEE)
    stage.close(position_id, by="attacker")
    assert stage.gained("attacker") == gain - fees
    # The bound: the cap times the move, and the impact on both.
    bound = cap * abs(moved - 100) * (1 + cap / (2 * scale)) * stage.unit
    assert gain <= bound <= stage.tokens(240_200)
    # The move, and the loss it was to the pool, end what adds risk: one round per pause.
    assert stage.is_reduce_only
    stage.publish(moved)
    assert breaker_causes.POOL_LOSS in causes(stage)
    order = (side, wad(1), stage.tokens(100), ANY_PRICE[side])
    stage.refuses(errors.REDUCE_ONLY, "attacker", "market.open", *order)
    stage.assert_books_balance()


@SIDES
def test_2022_09_avax_a_round_trip_without_a_move_costs_both_fees(side: int) -> None:
    stage = Stage(**STILL)
    fill = stage.fill(side, 20_000)
    position_id = stage.open(side, 20_000, 600_000, by="attacker")
    out = stage.exit_price(position_id)
    assert out <= fill if side == LONG else out >= fill
    stage.close(position_id, by="attacker")
    fees = stage.part(20_000, fill, TAKER_FEE) + stage.part(20_000, out, MAKER_FEE)
    assert -fees - 1 <= stage.gained("attacker") <= -fees
    # A move outside of less than both fees, 0.07 % here, earns nothing.
    assert fees > stage.tokens(2_000_000) * (TAKER_FEE + MAKER_FEE) * Fraction(999, 1_000)


@SIDES
def test_2022_09_avax_a_price_known_before_it_is_brought_is_worth_one_move(side: int) -> None:
    stage = Stage(**STILL)
    stage.wait(PARAMS.max_price_age)
    moved = 101 if side == LONG else 99
    known = stage.reports(moved)
    paid = stage.fill(side, 20_000)
    position_id = stage.open(side, 20_000, 450_000, by="attacker")
    stage.does("attacker", "feed.publish", *known)
    received = stage.exit_price(position_id)
    gain = stage.value(position_id, received)
    stage.close(position_id, by="attacker")
    fees = stage.part(20_000, paid, TAKER_FEE) + stage.part(20_000, received, MAKER_FEE)
    # The bound: the skew cap times the move since the last price, less 0.07 % of the notional.
    assert stage.gained("attacker") == gain - fees
    assert 20_000 * stage.unit * Fraction("0.999") < gain < 20_000 * stage.unit * Fraction("1.001")
    # The last price opens nothing once it is older than `max_price_age`.
    stage.wait(PARAMS.max_price_age + 1)
    order = (side, wad(1), stage.tokens(100), ANY_PRICE[side])
    stage.refuses(errors.STALE_PRICE, "attacker", "market.open", *order)


def test_2022_09_avax_rounds_of_known_prices_end_with_a_sixth_of_the_pool() -> None:
    stage = Stage(**STILL)
    cash, rounds = stage.books.pool_cash, 0
    while not stage.is_reduce_only:
        stage.wait(10)
        side, moved = (LONG, 101) if rounds % 2 == 0 else (SHORT, 100)
        known = stage.reports(moved)
        position_id = stage.open(side, 20_000, 900_000, by="attacker")
        stage.does("attacker", "feed.publish", *known)
        stage.close(position_id, by="attacker")
        rounds += 1
    lost = cash - stage.books.pool_cash
    # Tripped by a loss above a fifth of what is left, hence of a sixth of what there was, and seen
    # one round later at the latest.
    share = Fraction(RISK.max_pool_loss, WAD)
    one_round = 20_000 * Fraction("1.001") * stage.unit
    assert cash * share / (1 + share) < lost <= cash * share / (1 + share) + one_round
    assert rounds == 9
    # It trips again with every price while the loss is in the window.
    stage.wait(RISK.cool_down)
    stage.publish(101)
    assert breaker_causes.POOL_LOSS in causes(stage)


# October 2022, Mango: credit on the profit of a price pumped by the borrower himself


def test_2022_10_mango_a_pumped_price_gives_no_credit() -> None:
    stage = Stage(**FRICTIONLESS)
    pumped = stage.open(LONG, 10_000, 150_000, by="attacker")
    other = stage.open(SHORT, 10_000, 350_000, by="accomplice")
    stage.walk(125)
    assert not stage.is_reduce_only
    assert stage.value(pumped, 125) > stage.tokens(249_990)
    # What can be taken out without closing: own margin less the requirement at the pumped price.
    free = stage.tokens(150_000) - stage.part(10_000, 125, initial(1))
    assert free == stage.tokens(25_000) - 1
    attacker = stage.address("attacker")
    most = stage.largest(
        lambda amount: stage.market.remove_margin(pumped, amount, sender=attacker), 1, 2**60
    )
    assert most == free
    stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", "market.remove_margin", pumped, free + 1)
    stage.does("attacker", "market.remove_margin", pumped, free)
    # Closing both legs at the pumped price is worth nothing together.
    stage.close(pumped, by="attacker")
    stage.close(other, by="accomplice")
    assert stage.gained("attacker", "accomplice") <= 0
    assert stage.books.pool_cash >= stage.tokens(1_000_000)
    stage.assert_books_balance()


def test_2022_10_mango_a_fast_pump_stops_what_adds_risk() -> None:
    stage = Stage(**FRICTIONLESS)
    pumped = stage.open(LONG, 10_000, 150_000, by="attacker")
    limit = 100 * (1 + Fraction(RISK.max_moves[0], WAD))
    stage.publish(limit)
    assert not stage.is_reduce_only
    stage.publish(limit + Fraction(1, WAD))
    assert causes(stage) == {breaker_causes.MOVE_SHORT}
    worst = ANY_PRICE[LONG]
    for call in (
        ("market.open", LONG, wad(1), stage.tokens(100), worst),
        ("market.increase", pumped, wad(1), 0, worst),
        ("market.remove_margin", pumped, 1),
    ):
        stage.refuses(errors.REDUCE_ONLY, "attacker", *call)


# March 2023, Euler v1: a donation without a health check, self-liquidation at a discount


def test_2023_03_euler_a_donation_is_not_taken_from_a_position() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 1_000, 6_000, by="attacker")
    before, health = stage.position(position_id), stage.health(position_id)
    wallet = stage.balance("attacker")
    stage.does("attacker", "market.fund_insurance", stage.tokens(5_000))
    assert stage.balance("attacker") == wallet - stage.tokens(5_000)
    assert (stage.position(position_id), stage.health(position_id)) == (before, health)


@SIDES
def test_2023_03_euler_self_liquidation_costs_the_net_penalty(side: int) -> None:
    stage = Stage(**STILL | {"maker_fee": 0, "taker_fee": 0})
    cash = stage.books.pool_cash
    thin = stage.open(side, 1_000, 5_100, by="attacker")
    thick = stage.open(1 - side, 1_000, 50_000, by="attacker")
    moved = Fraction("95.8" if side == LONG else "104.1")
    paid, loss = stage.tokens(5_100), -stage.value(thin, moved)
    stage.publish(moved, by="attacker")
    assert not stage.is_open(thin)
    penalty = min(stage.part(1_000, moved, PENALTY), paid - loss)
    reward = floor(penalty * KEEPER_SHARE)
    gain = stage.value(thick, stage.exit_price(thick))
    stage.close(thick, by="attacker")
    assert stage.gained("attacker") == gain - loss - penalty + reward
    # The other leg closes into the skew that the liquidation made; the impact that this pays is
    # below a hundredth of what the liquidation cost.
    impact = 1_000 * moved * Fraction(1_000, 2 * 12_000_000) * stage.unit
    assert gain - loss <= impact
    assert impact * 100 < penalty - reward
    assert stage.books.pool_cash >= cash - impact
    stage.assert_books_balance()


# November 2023, dYdX v3 (YFI): profit levered again into a larger position


def test_2023_11_yfi_profit_does_not_carry_more_size() -> None:
    stage = Stage(**FRICTIONLESS)
    position_id = stage.open(LONG, 1_000, 20_000, by="attacker")
    stage.walk(125)
    assert stage.value(position_id, 125) > stage.tokens(24_999)
    # Size carried by the margin alone: margin/(price*fraction), and not a wei more.
    carried = floor(Fraction(20_000) / (125 * initial(1)) * WAD)
    attacker, worst = stage.address("attacker"), ANY_PRICE[LONG]
    added = stage.largest(
        lambda size: stage.market.increase(position_id, size, 0, worst, sender=attacker),
        wad(1),
        wad(5_000),
    )
    assert wad(1_000) + added == carried < wad(1_600)
    call = ("market.increase", position_id, added + 1, 0, worst)
    stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *call)
    stage.does("attacker", "market.increase", position_id, added, 0, worst)
    call = ("market.increase", position_id, wad("0.01"), 0, worst)
    stage.refuses(errors.INSUFFICIENT_MARGIN, "attacker", *call)
    stage.assert_books_balance()


def test_2023_11_yfi_a_window_takes_half_of_the_reserve_and_no_more() -> None:
    stage = Stage(insurance=1_000, **FRICTIONLESS)
    kept = stage.books.insurance
    for half in (500, 250, 125):
        # References of prices and of the deficit are those of another day.
        for _ in range(3):
            stage.publish(100, after=RISK.move_windows[1])
        for margin, fallen, drawn in ((5_100, 92, stage.tokens(half)), (4_700, 85, 0)):
            stage.open(LONG, 1_000, margin, by="attacker")
            stage.publish(fallen)
            (event,) = stage.events("PositionLiquidated")
            used, bad_debt = event[8], event[9]
            # Far more is missing each time than the window's share of the reserve.
            assert used == drawn == min(drawn, floor(kept * RISK.max_insurance_draw / WAD))
            assert bad_debt >= stage.tokens(2_290) - drawn
        kept -= stage.tokens(half)
        assert stage.books.insurance == kept
    assert kept == stage.tokens(125)
    stage.assert_books_balance()


# June 2024, the CRV founder: a position larger than the liquidity behind it


def test_2024_06_crv_the_largest_position_and_its_bad_debt_are_bounded() -> None:
    stage = Stage(liquidity=20_000_000, insurance=100_000, **FRICTIONLESS)
    largest = Fraction(PARAMS.tier_sizes[3], WAD)
    # The skew cap alone admits 20,000; another side of 40,000 makes room for the rest.
    stage.open(SHORT, 20_000, 3_000_000, by="other_trader")
    passing = stage.open(LONG, 20_000, 3_000_000, by="trader")
    stage.open(SHORT, 20_000, 3_000_000, by="other_trader")
    stage.close(passing, by="trader")
    order = (LONG, PARAMS.tier_sizes[3] + 1, stage.tokens(4_000_000), ANY_PRICE[LONG])
    stage.refuses(errors.TIER_EXCEEDED, "attacker", "market.open", *order)
    needed = stage.part(largest, 100, initial(3)) + 2_000
    position_id = stage.does("attacker", "market.open", LONG, wad(largest), needed, ANY_PRICE[LONG])
    for price in (85, 72):
        stage.publish(price)
    assert not stage.is_liquidatable(position_id)
    # The worst that a single accepted price can do: a jump to the edge of the band.
    shortfall = -(needed + stage.value(position_id, 72 * (1 - JUMP)))
    stage.publish(72 * (1 - JUMP))
    assert not stage.is_open(position_id)
    bound = largest * 72 * (JUMP - maintenance(3)) * stage.unit
    assert 0 < shortfall <= bound == stage.tokens(144_000)
    drawn = stage.tokens(50_000)
    books = stage.books
    assert (books.bad_debt, books.insurance) == (shortfall - drawn, stage.tokens(100_000) - drawn)
    assert breaker_causes.BAD_DEBT in causes(stage)
    # A position just opened has more margin than the largest jump costs.
    assert initial(3) > JUMP
    stage.assert_books_balance()


# March 2025, Hyperliquid's whale: margin withdrawn so that the liquidation falls on the vault


def test_2025_03_whale_margin_withdrawn_from_a_winner_leaves_the_vault_whole() -> None:
    stage = Stage(**FRICTIONLESS)
    cash = stage.books.pool_cash
    position_id = stage.open(LONG, 10_000, 200_000, by="attacker")
    stage.walk(125)
    # What must stay is the initial requirement at the present price, without the profit.
    kept = stage.part(10_000, 125, initial(1))
    free = stage.tokens(200_000) - kept
    stage.refuses(
        errors.INSUFFICIENT_MARGIN, "attacker", "market.remove_margin", position_id, free + 1
    )
    stage.does("attacker", "market.remove_margin", position_id, free)
    equity, _ = stage.health(position_id)
    assert equity - max(stage.value(position_id, 125), 0) == kept
    stage.walk(91)
    (liquidated,) = stage.events("PositionLiquidated")
    value, penalty, reward = liquidated[4], liquidated[5], liquidated[6]
    books = stage.books
    # The vault gains the loss realised; it takes over no position and no bad debt.
    assert value < 0
    assert (books.pool_cash, books.bad_debt) == (cash - value, 0)
    assert books.insurance == penalty - reward > 0
    stage.assert_books_balance()


# March 2025, Hyperliquid JELLY: a short left to the vault and the price quadrupled


def test_2025_03_jelly_costs_at_most_the_markets_own_pool_and_half_of_its_reserve() -> None:
    stage = Stage(insurance=100_000, **FRICTIONLESS)
    short = stage.open(SHORT, 20_000, 500_000, by="attacker")
    long = stage.open(LONG, 20_000, 500_000, by="accomplice")
    other = stage.open(LONG, 10, 1_000, by="trader")
    cash = stage.books.pool_cash
    # One report of four times the price moves nothing.
    stage.publish(400, by="attacker")
    assert stage.is_open(short)
    worst = stage.worst_exit(long)
    stage.refuses(errors.HALTED, "accomplice", "market.close", long, worst)
    bystander = stage.tokens(1_000) + stage.value(other, 400)
    # A second one, in a later block, confirms it: deleveraging follows in the same transaction.
    stage.publish(400, by="attacker")
    assert stage.open_ids() == []
    assert causes(stage) >= {breaker_causes.JUMP, breaker_causes.BAD_DEBT}
    draw = stage.tokens(100_000) * RISK.max_insurance_draw // WAD
    books = stage.books
    assert books.insurance == stage.tokens(100_000) - draw
    # A claim is not cash: the pair takes what pool and reserve had, less what others earned.
    stage.does("accomplice", "market.withdraw_credit")
    taken = sum(stage.balance(role) - stage.funds for role in ("attacker", "accomplice"))
    reward = stage.view("market.credit_of", "attacker")
    assert taken + reward == cash + draw - (bystander - stage.tokens(1_000))
    assert taken + reward <= stage.tokens(1_050_000)
    # The trader who had nothing to do with it has margin and profit, in full.
    assert stage.view("market.credit_of", "trader") == bystander
    # Nobody's deposit falls into the hole.
    assert stage.view("pool.maxDeposit", "other_lp") == 0
    stage.assert_books_balance()


# April 2025, KiloEx: a forwarder that let anybody set the price


def test_2025_04_kiloex_nobody_else_sets_a_price() -> None:
    stage = Stage()
    stage.wait(1)
    few = PUBLISHERS[:2]
    cases = [
        (errors.NOT_PUBLISHER, (*few, "attacker")),
        (errors.NOT_PUBLISHER, ("attacker", "accomplice", "keeper")),
        (errors.TOO_FEW_REPORTS, few),
        (errors.TOO_FEW_REPORTS, ("attacker",)),
    ]
    for reason, publishers in cases:
        stage.refuses(reason, "attacker", "feed.publish", *stage.reports(50, publishers=publishers))
    header, signed = stage.reports(100)
    forged = [report._replace(price=wad(50)) for report in signed]
    stage.refuses(errors.NOT_PUBLISHER, "attacker", "feed.publish", header, forged)
    observed = (wad(50), 1, stage.now, wad(100), stage.now - 1)
    stage.refuses(errors.NOT_MARKET, "attacker", "engine.observe_price", *observed)
    mine = [stage.address("attacker")]
    stage.refuses(errors.NOT_CONFIGURATOR, "attacker", "feed.set_publishers", mine, 1)
    feed = stage.system.feed
    stage.refuses(NOT_OWNER, "attacker", "configurator.propose_publishers", feed, mine, 1)
    # What anybody may call reads the feed again and finds nothing new.
    stage.does("attacker", "market.update_price", "attacker")
    assert stage.mark() == 100


@pytest.mark.parametrize("liar", [0, 1, 2])
@pytest.mark.parametrize("lie", ["0.01", 95, 105, 10_000_000])
def test_2025_04_kiloex_one_bought_publisher_of_three_stays_between_two_honest_ones(
    liar: int, lie: Number
) -> None:
    stage = Stage()
    stage.wait(1)
    header = stage.signer.header(stage.now)
    honest = iter((wad("99.9"), wad("100.1")))
    signed = [
        stage.signer.report(name, header, wad(lie) if i == liar else next(honest), 1)
        for i, name in enumerate(stage.publishers())
    ]
    stage.does("attacker", "feed.publish", header, signed)
    assert Fraction("99.9") <= stage.mark() <= Fraction("100.1")


def test_2025_04_kiloex_a_bought_quorum_moves_the_price_by_one_jump_per_report() -> None:
    stage = Stage(**FRICTIONLESS)
    # Margin that outlasts the largest jump: the loss, and the requirement after it.
    safe = stage.part(100, 100, JUMP + (1 - JUMP) * maintenance(0))
    assert safe == stage.tokens(2_160)
    cautious = stage.open(LONG, 100, Fraction(safe + 1, stage.unit), by="trader")
    thin = stage.open(LONG, 100, Fraction(safe - 2, stage.unit), by="other_trader")
    # Beyond the band a price waits for a block to come, and an honest one takes its place.
    stage.publish(100 * (1 - JUMP) - Fraction(1, WAD), by="attacker")
    assert stage.mark() == 100
    stage.refuses(errors.HALTED, "attacker", "market.liquidate", thin)
    stage.publish(100)
    assert stage.mark() == 100
    # Within the band it takes effect at once.
    assert stage.publish(100 * (1 - JUMP), by="attacker") == 1
    assert stage.mark() == 80
    (liquidated,) = stage.events("PositionLiquidated")
    assert liquidated[0] == thin
    assert stage.position(cautious).margin == safe + 1
    stage.assert_books_balance()


# July 2025, GMX v1: re-entry between a position and the sums that price the vault

REENTERED = {
    "market.open": (LONG, WAD, 10**9, 2**256 - 1),
    "market.increase": (1, WAD, 0, 2**256 - 1),
    "market.reduce": (1, WAD, 0),
    "market.close": (1, 0),
    "market.add_margin": (1, 1),
    "market.remove_margin": (1, 1),
    "market.update_price": ("attacker",),
    "market.continue_backlog": (1,),
    "market.liquidate": (1,),
    "market.settle": (1,),
    "market.accrue": (),
    "market.withdraw_credit": (),
    "market.collect_fees": (),
    "market.fund_insurance": (1,),
    "pool.deposit": (10**6, "attacker"),
    "pool.mint": (10**9, "attacker"),
    "pool.withdraw": (1, "attacker", "attacker"),
    "pool.redeem": (1_000, "attacker", "attacker"),
    "pool.withdraw_claim": (),
}


def reentrancy_stage() -> Stage:
    """The attacker has two positions, one of them with a profit, shares, and fees are due."""
    stage = Stage()
    stage.open(LONG, 100, 2_000, by="attacker")
    stage.open(SHORT, 100, 2_000, by="attacker")
    stage.deposit(1_000, by="attacker")
    stage.publish(101)
    return stage


@pytest.mark.parametrize(
    ("outer", "args"),
    [
        ("market.open", (LONG, WAD, 10**9, 2**256 - 1)),
        ("market.increase", (1, WAD, 10**9, 2**256 - 1)),
        ("market.reduce", (1, WAD, 0)),
        ("market.reduce", (2, WAD, 2**256 - 1)),
        ("market.close", (1, 0)),
        ("market.close", (2, 2**256 - 1)),
        ("market.add_margin", (1, 10**9)),
        ("market.remove_margin", (1, 10**6)),
        ("market.fund_insurance", (1,)),
        ("market.collect_fees", ()),
    ],
)
def test_2025_07_gmx_no_call_enters_a_market_that_moves_tokens(
    outer: str, args: tuple[object, ...]
) -> None:
    stage = reentrancy_stage()
    before = stage.figures()
    for inner, inner_args in REENTERED.items():
        stage.in_every_transfer(inner, *inner_args)
        stage.refuses(errors.REENTRANT_CALL, "attacker", outer, *args)
    stage.in_every_transfer()
    assert stage.figures() == before
    stage.does("attacker", outer, *args)
    stage.assert_books_balance()


@pytest.mark.parametrize(
    ("outer", "args"),
    [
        ("pool.deposit", (10**6, "attacker")),
        ("pool.mint", (10**9, "attacker")),
        ("pool.withdraw", (10**6, "attacker", "attacker")),
        ("pool.redeem", (10**9, "attacker", "attacker")),
    ],
)
def test_2025_07_gmx_a_pool_that_moves_tokens_pays_and_collects_nothing_else(
    outer: str, args: tuple[object, ...]
) -> None:
    stage = Stage(feed="aggregator")
    stage.open(LONG, 100, 1_000, by="attacker")
    stage.open(SHORT, 100, 2_000, by="trader")
    stage.deposit(1_000, by="attacker")
    for inner, inner_args in REENTERED.items():
        if inner.startswith("pool."):
            stage.in_every_transfer(inner, *inner_args)
            stage.refuses(errors.REENTRANT_CALL, "attacker", outer, *args)
    # A price that liquidates has to reach the pool, and cannot while that moves tokens.
    stage.wait(1)
    stage.set_round(90)
    stage.in_every_transfer("market.update_price", "attacker")
    stage.refuses(errors.REENTRANT_CALL, "attacker", outer, *args)
    stage.in_every_transfer()
    stage.does("attacker", outer, *args)
    stage.assert_books_balance()


def test_2025_07_gmx_a_price_brought_within_a_deposit_is_worth_one_brought_after_it() -> None:
    ends = []
    for is_nested in (True, False):
        stage = Stage(feed="aggregator")
        stage.open(LONG, 100, 2_000, by="trader")
        stage.wait(1)
        stage.set_round(101)
        if is_nested:
            stage.in_every_transfer("market.update_price", "keeper")
        stage.deposit(1_000, by="attacker")
        stage.in_every_transfer()
        if not is_nested:
            stage.does("keeper", "market.update_price", "keeper")
        assert stage.mark() == 101
        ends.append(stage.figures())
    assert ends[0] == ends[1]


def watched(stage: Stage, role: str, function: str, *args: object) -> list[Fraction]:
    """Worth of a share, in token units, before a call, at every transfer within it, and after."""
    pool, seen = stage.system.pool, []

    def look() -> None:
        seen.append(Fraction(pool.totalAssets() + 1, pool.totalSupply + 1_000))

    look()
    stage.system.token.set_hook(look, sender=stage.address("owner"))
    stage.does(role, function, *args)
    stage.system.token.set_hook(None, sender=stage.address("owner"))
    look()
    return seen


WATCHED = [
    ("market.close", (1, 0), 0),
    ("market.close", (2, 2**256 - 1), 0),
    ("market.reduce", (2, WAD, 2**256 - 1), 0),
    ("market.add_margin", (1, 10**9), 0),
    ("market.remove_margin", (1, 10**6), 0),
    ("pool.withdraw", (10**8, "attacker", "attacker"), 0),
    ("pool.redeem", (10**11, "attacker", "attacker"), 0),
    # In flight: what has been booked and not received, and the profit of what is not closed.
    ("pool.deposit", (10**9, "attacker"), 10**9),
    ("pool.mint", (10**12, "attacker"), 10**9 + 1),
    ("market.reduce", (1, WAD, 0), 99 * 10**6),
]


@pytest.mark.parametrize(("function", "args", "in_flight"), WATCHED)
def test_2025_07_gmx_a_share_seen_from_within_a_transfer_is_dear_by_what_is_in_flight(
    function: str, args: tuple[object, ...], in_flight: int
) -> None:
    stage = reentrancy_stage()
    supply = stage.view("pool.totalSupply") + 1_000
    before, *within, after = watched(stage, "attacker", function, *args)
    assert within
    assert max(within) <= max(before, after) + Fraction(in_flight, supply)


# 10 October 2025, Hyperliquid: queued deleveraging of far more than the deficit


def test_2025_10_cascade_deleveraging_overshoots_by_less_than_one_position() -> None:
    stage = Stage(liquidity=100_000, **FRICTIONLESS)
    size = Fraction(125, 2)
    winners = [stage.open(LONG, size, 400 + 5 * i, by="trader") for i in range(80)]
    loser = stage.open(SHORT, 10, 500, by="other_trader")
    share = Fraction(RISK.max_profit_share, WAD)
    rings = {i: stage.market._ring_of(stage.position(i)) for i in winners}
    gains = {i: stage.value(i, 115) for i in winners}
    profit = stage.value(loser, 115) + sum(gains.values())
    cash = stage.books.pool_cash
    assert profit > share * cash
    calls, settled = 1, []
    stage.publish(115, by="keeper")
    settled += stage.events("PositionSettled")
    while stage.view("market.totals").has_backlog:
        # Nothing adds risk, nothing leaves the pool until it is done.
        order = (LONG, wad(1), stage.tokens(100), ANY_PRICE[LONG])
        stage.refuses(errors.BACKLOG, "attacker", "market.open", *order)
        stage.refuses(errors.BACKLOG, "lp", "pool.withdraw", 1, "lp", "lp")
        stage.does("keeper", "market.continue_backlog", MAX_VISITS)
        settled += stage.events("PositionSettled")
        calls += 1
    closed = [fields[0] for fields in settled]
    # Bounded work: 32 positions a call.
    assert calls == -(-len(closed) // MAX_VISITS) == 2
    # The least number of positions that will do, and not one more.
    left, cash_left = profit, cash
    for number, position_id in enumerate(closed):
        assert left > share * cash_left, f"{len(closed) - number} too many"
        left -= gains[position_id]
        cash_left -= gains[position_id]
    assert left <= share * cash_left
    excess = profit - share * cash
    assert sum(gains[i] for i in closed) * (1 - share) < excess + gains[closed[-1]]
    # From the far end of the index, winners only, at the price itself, without fee or penalty.
    assert max(rings[i] for i in closed) <= min(rings[i] for i in winners if i not in closed)
    for position_id, *_, price, value, claim, returned, drawn, debt, is_deleveraged in settled:
        margin = stage.tokens(400 + 5 * winners.index(position_id))
        assert (price, value, is_deleveraged) == (wad(115), gains[position_id], True)
        assert (returned, claim, drawn, debt) == (margin + value, 0, 0, 0)
    assert stage.is_open(loser)
    stage.assert_books_balance()


def test_2025_10_cascade_positions_put_in_front_cost_visits_and_spare_nobody() -> None:
    stage = Stage(liquidity=100_000, **FRICTIONLESS)
    winners = [stage.open(LONG, 2_500, 60_000, by="trader") for _ in range(2)]
    # Margin of ten times the notional, no profit: the far end of the index is theirs.
    in_front = 3 * MAX_VISITS
    for _ in range(in_front):
        stage.open(SHORT, "0.01", 10, by="attacker")
    stage.publish(115, by="keeper")
    calls, settled = 1, stage.events("PositionSettled")
    while stage.view("market.totals").has_backlog:
        assert settled == []
        stage.does("keeper", "market.continue_backlog", MAX_VISITS)
        settled += stage.events("PositionSettled")
        calls += 1
    # Calls of one block go on where the last one stopped: one for 32 visits.
    assert [fields[0] for fields in settled] == winners[::-1]
    assert calls == in_front // MAX_VISITS + 1
    stage.assert_books_balance()


# November 2025, Hyperliquid POPCAT: one attacker behind many accounts, each under its limit


@SIDES
def test_2025_11_popcat_many_accounts_share_one_cap(side: int) -> None:
    stage = Stage(insurance=100_000, **FRICTIONLESS)
    traders = [f"trader_{i}" for i in range(8)]
    # The smallest tier has the least margin: twenty times its size is the market's cap.
    margin = stage.part(1_000, 100, initial(0)) + 1_000
    for i in range(20):
        order = (side, wad(1_000), margin, ANY_PRICE[side])
        stage.does(traders[i % 8], "market.open", *order)
    for trader in traders:
        order = (side, wad("0.01"), stage.tokens(1), ANY_PRICE[side])
        stage.refuses(errors.SKEW_CAP, trader, "market.open", *order)
    cash = stage.books.pool_cash
    moved = 100 * (1 - JUMP) if side == LONG else 100 * (1 + JUMP)
    owed = -sum(stage.value(i, moved) for i in stage.open_ids())
    assert stage.publish(moved) == 20
    # The bound: cap, times price, times the jump less the margin. It is profit the pool does not
    # get: nothing has left it, for there is no position it would have to take over.
    bound = 20_000 * 100 * (JUMP - initial(0)) * stage.unit
    books = stage.books
    draw = stage.tokens(50_000)
    assert books.bad_debt + draw == owed - 20 * margin
    assert books.bad_debt + draw <= bound <= stage.tokens(300_000)
    assert books.pool_cash == cash + 20 * margin + draw
    assert breaker_causes.BAD_DEBT in causes(stage)
    stage.assert_books_balance()


# March 2026, LlamaLend sDOLA: a donation moved the oracle within a block


@pytest.mark.parametrize("moved", ["113.79", "86.21"])
def test_2026_03_sdola_a_step_beyond_the_band_liquidates_nobody_before_another_block(
    moved: str,
) -> None:
    stage = Stage(max_jump=wad("0.1"), max_moves=(wad("0.1"), wad("0.3")))
    side = SHORT if Fraction(moved) > 100 else LONG
    positions = [stage.open(side, 100, 1_000, by=f"trader_{i}") for i in range(8)]
    before = [stage.position(position_id) for position_id in positions]
    assert stage.publish(moved, by="attacker") == 0
    # The same again within the block is not a confirmation.
    assert stage.does("attacker", "market.update_price", "attacker") == 0
    stage.refuses(errors.HALTED, "attacker", "market.liquidate", positions[0])
    # Whoever is in danger can add margin meanwhile.
    stage.add_margin(positions[0], 1_000, by="trader_0")
    assert stage.publish(100) == 0
    assert [stage.position(i).size for i in positions] == [p.size for p in before]
    assert [stage.position(i).margin for i in positions[1:]] == [p.margin for p in before[1:]]
    assert stage.is_reduce_only


def test_2026_03_sdola_a_donation_moves_neither_price_nor_share() -> None:
    stage = Stage()
    position_id = stage.open(LONG, 100, 1_000, by="trader")
    seen = (stage.books, stage.view("pool.totalAssets"), stage.health(position_id))
    for name in ("market", "pool"):
        stage.does("attacker", "token.transfer", name, stage.tokens(1_000_000))
        stage.donated[name] += stage.tokens(1_000_000)
    stage.does("attacker", "market.update_price", "attacker")
    assert (stage.books, stage.view("pool.totalAssets"), stage.health(position_id)) == seen
    stage.assert_books_balance()


def test_2026_03_sdola_reports_of_one_block_move_the_price_one_jump_each() -> None:
    stage = Stage(**FRICTIONLESS)
    stage.wait(3)
    price = Fraction(100)
    for age in (2, 1, 0):
        price *= 1 - JUMP
        reports = stage.reports(price, price_time=stage.now - age)
        stage.does("attacker", "feed.publish", *reports)
        assert stage.mark() == price
    # A quorum has to sign each, for another second of the last minute; from the first move beyond
    # the window's on nothing adds risk.
    assert stage.mark() == 100 * (1 - JUMP) ** 3
    assert stage.is_reduce_only
    stage.refuses(
        errors.OLD_PRICE, "attacker", "feed.publish", *stage.reports(price, price_time=stage.now)
    )


# April 2026, Drift v2: the owner's key stolen, guards removed, false collateral listed

# The worst for those who are in the market that the bounds admit.
HARSHEST = RISK._replace(
    max_open_interest=0,
    max_skew=0,
    maker_fee=wad("0.01"),
    taker_fee=wad("0.01"),
    initial_fractions=wads(1, 1, 1, 1),
    maintenance_fractions=wads(*["0.9999999"] * 4),
    max_volatility_multiplier=wad(100),
    crowding_lower=0,
    max_jump=wad("0.05"),
    max_moves=(wad("0.01"), wad("0.01")),
    cool_down=86_400,
    max_profit_share=wad("0.2"),
)


def test_2026_04_drift_a_stolen_owner_waits_two_days_and_stays_within_bounds() -> None:
    stage = Stage(feed="signed")
    market = stage.system.market
    position_id = stage.open(LONG, 100, 1_000, by="trader")
    eta = stage.does("owner", "configurator.propose_params", market, HARSHEST)
    assert eta == stage.now + 2 * 86_400
    absurd = [
        (errors.BAD_RATES, {"taker_fee": wad("0.0100001")}),
        (errors.BAD_TIERS, {"maintenance_fractions": wads(1, 1, 1, 1)}),
        (errors.BAD_LIMITS, {"max_skew": wad(100_001)}),
        (errors.BAD_SKEW_SCALE, {"max_open_interest": 2**104 - 1}),
        (errors.BAD_BREAKERS, {"max_jump": wad("1.0000001")}),
        (errors.BAD_BREAKERS, {"cool_down": 86_401}),
        (errors.BAD_LOSS_LIMITS, {"max_insurance_draw": wad("1.0000001")}),
        (errors.BAD_LOSS_LIMITS, {"max_profit_share": wad("0.1999999")}),
    ]
    for reason, changes in absurd:
        params = RISK._replace(**changes)
        stage.refuses(reason, "owner", "configurator.propose_params", market, params)
    # Looser caps cannot be had at once; nor can anybody but the owner ask for any.
    looser = RISK._replace(max_skew=RISK.max_skew + 1)
    stage.refuses(errors.NOT_TIGHTER, "owner", "configurator.tighten", market, looser)
    stage.refuses(NOT_OWNER, "attacker", "configurator.tighten", market, RISK)
    stage.refuses(errors.NOT_CONFIGURATOR, "owner", "engine.set_params", HARSHEST)
    stage.now = eta - 1
    stage.publish(100, after=0)
    stage.refuses(errors.TOO_EARLY, "owner", "configurator.apply_params", market)
    # The delay is enough to leave.
    stage.close(position_id, by="trader")
    free = stage.view("pool.maxRedeem", "lp")
    assert free == stage.view("pool.balanceOf", "lp")
    stage.does("lp", "pool.redeem", free, "lp", "lp")
    stage.wait(1)
    stage.does("owner", "configurator.apply_params", market)
    stage.assert_books_balance()


def test_2026_04_drift_the_harshest_parameters_close_nobody_and_hold_nobody() -> None:
    stage = Stage(**FRICTIONLESS)
    market = stage.system.market
    position_id = stage.open(LONG, 100, 1_000, by="trader")
    stage.does("owner", "configurator.propose_params", market, HARSHEST._replace(max_jump=WAD))
    stage.wait(2 * 86_400)
    stage.publish(100)
    health = stage.health(position_id)
    stage.does("owner", "configurator.apply_params", market)
    applied = stage.now
    assert stage.health(position_id) == health
    steps = (maintenance(0), Fraction(HARSHEST.maintenance_fractions[0], WAD))
    duration = ceil((steps[1] - steps[0]) * 1_000 * 3_600)
    for hours in (1, 24, 79):
        stage.now = applied + 3_600 * hours
        stage.publish(100, after=0)
        # A tenth of a percentage point an hour, from 2 %; 10 % of margin lasts for 80 hours.
        rising = steps[0] + (steps[1] - steps[0]) * 3_600 * hours / duration
        assert rising <= steps[0] + Fraction(hours, 1_000)
        equity, requirement = stage.health(position_id)
        assert requirement == stage.part(100, 100, Fraction(floor(rising * 10**7), 10**7)) < equity
    # Leaving costs the largest fee there can be, 1 %, and no more.
    fee = stage.part(100, stage.exit_price(position_id), Fraction(1, 100))
    value = stage.value(position_id, stage.exit_price(position_id))
    assert stage.close(position_id, by="trader") == stage.tokens(1_000) + value - fee
    stage.does("lp", "pool.redeem", stage.view("pool.balanceOf", "lp"), "lp", "lp")
    assert stage.balance("lp") >= stage.funds
    stage.assert_books_balance()


def test_2026_04_drift_no_call_of_the_owner_moves_anybodys_tokens() -> None:
    stage = Stage(insurance=1_000)
    stage.open(LONG, 100, 1_000, by="trader")
    market, feed = stage.system.market, stage.system.feed
    owned = stage.figures()
    rest = {
        "pool.pay_profit": ("owner", 1),
        "pool.collect_loss": (1,),
        "pool.transferFrom": ("lp", "owner", 1),
        "engine.observe_price": (WAD, 1, stage.now, WAD, stage.now - 1),
        "engine.record_update": (1, 0, (1, 0, 0)),
        "engine.choose_deleveraged": (WAD, [0, 0], 1, 1, 1, 1),
        "engine.cover_shortfall": (1, 1),
        "engine.set_params": (HARSHEST,),
        "engine.restrict": (stage.now + 1,),
        "feed.set_market": (market,),
        "feed.set_publishers": ([stage.address("owner")], 1),
        "feed.remove_publisher": (stage.address(PUBLISHERS[0]),),
    }
    harmless = {"market.accrue", "market.update_price", "market.continue_backlog"}
    called = set(rest) | set(REENTERED)
    for function, args in (rest | REENTERED).items():
        if function in ("market.open", "market.fund_insurance", "pool.deposit", "pool.mint"):
            continue  # these take from the caller
        if function == "market.collect_fees":
            continue  # see below
        ok, _ = stage.call("owner", function, *args)
        assert ok is (function in harmless), function
    assert stage.figures() == owned
    # All there is, but for what is signed by users: nothing has been forgotten.
    shares = {"pool.approve", "pool.transfer"}
    mutable = {
        f"{name}.{item['name']}"
        for name in ("market", "pool", "engine", "feed")
        for item in stage.abi_of(name)
        if item["type"] == "function" and item["stateMutability"] == "nonpayable"
    }
    assert mutable - called - shares == {"feed.publish"}
    # What is the owner's to name is who receives the fees, and these are nobody else's.
    fees = stage.books.fees
    stage.does("owner", "factory.set_treasury", "owner")
    assert stage.does("owner", "market.collect_fees") == fees
    assert stage.balance("owner") - stage.funds == fees
    # Publishers: removing stops at the quorum, adding waits.
    for publisher in PUBLISHERS[: len(PUBLISHERS) - stage.view("feed.quorum")]:
        removed = stage.address(publisher)
        stage.does("owner", "configurator.remove_publisher", feed, removed)
    last = stage.view("feed.publishers")[0]
    stage.refuses(errors.BAD_PUBLISHERS, "owner", "configurator.remove_publisher", feed, last)
    mine = [stage.address("attacker")]
    eta = stage.does("owner", "configurator.propose_publishers", feed, mine, 1)
    stage.now = eta - 1
    stage.refuses(errors.TOO_EARLY, "owner", "configurator.apply_publishers", feed)
    stage.assert_books_balance()


# Resupply and others: the first deposit into an empty vault, and a rate that a donation sets


def test_first_deposit_a_donation_to_an_empty_pool_takes_nothing_from_the_next() -> None:
    stage = Stage(liquidity=0)
    assert stage.does("attacker", "pool.deposit", 1, "attacker") == 1_000
    stage.does("attacker", "token.transfer", "pool", stage.tokens(1_000_000))
    stage.donated["pool"] = stage.tokens(1_000_000)
    assets = stage.tokens(100)
    assert stage.does("lp", "pool.deposit", assets, "lp") == assets * 1_000
    assert stage.does("lp", "pool.redeem", assets * 1_000, "lp", "lp") == assets
    assert stage.does("attacker", "pool.redeem", 1_000, "attacker", "attacker") == 1
    assert stage.gained("attacker") == -stage.tokens(1_000_000)
    stage.assert_books_balance()


def test_first_deposit_a_loss_given_to_an_empty_pool_takes_one_share_from_the_next() -> None:
    stage = Stage(liquidity=0, **FRICTIONLESS)
    stage.deposit(100, by="attacker")
    position_id = stage.open(LONG, 10, 2_000, by="attacker")
    for price in (81, 66, 54, 44, 36, 30, 25, 21):
        stage.publish(price)
    stage.close(position_id, by="attacker")
    worth = Fraction(stage.view("pool.totalAssets") + 1, stage.view("pool.totalSupply") + 1_000)
    assert worth > Fraction(8, 1_000)
    assets = stage.tokens(1_000) + 1
    shares = stage.does("lp", "pool.deposit", assets, "lp")
    returned = stage.does("lp", "pool.redeem", shares, "lp", "lp")
    # The bound: a share, and the two roundings to whole units.
    assert assets - worth - 2 < returned <= assets
    assert worth < 1
    stage.assert_books_balance()

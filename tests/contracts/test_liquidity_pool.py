"""LiquidityPool: ERC-4626 in both forms, its limits, and who may move its cash."""

from collections.abc import Iterator

import pytest
from both_forms import PRICE, BothForms

from perp_fuzz.deployment import ADDRESSES, WAD
from python_model.modules import erc20, errors
from python_model.modules.constants import MAX_MARGIN, SHORT

LIMITS = ("maxDeposit", "maxMint", "maxWithdraw", "maxRedeem")
CONVERSIONS = (
    "convertToShares",
    "convertToAssets",
    "previewDeposit",
    "previewMint",
    "previewWithdraw",
    "previewRedeem",
)
MAX_AGE = 240


@pytest.fixture
def uneven(market: BothForms) -> BothForms:
    """Shares worth an odd number of units: a gain, an open profit and a moved price."""
    loser = market.open()
    market.open("trader_1", side=SHORT, size=WAD // 3, margin=1_007)
    market.publish(PRICE - 77 * 10**18 - 1)
    market.does("trader_0", "market.close", loser, 0)
    market.publish(PRICE - 99 * 10**18 - 7)
    return market


# What previews and limits promise


@pytest.mark.parametrize("assets", [1, 3, 999_999, 123_456_789_123])
def test_deposit_mints_what_its_preview_says(uneven: BothForms, assets: int) -> None:
    promised = uneven.view("pool.previewDeposit", assets)
    before = uneven.view("pool.balanceOf", "lp_1")
    paid = uneven.balance("lp_1")
    assert uneven.does("lp_1", "pool.deposit", assets, "lp_1") == promised
    assert uneven.view("pool.balanceOf", "lp_1") == before + promised
    assert uneven.balance("lp_1") == paid - assets


@pytest.mark.parametrize("shares", [1, 1_001, 999_999_999, 123_456_789_123_456])
def test_mint_pulls_what_its_preview_says(uneven: BothForms, shares: int) -> None:
    promised = uneven.view("pool.previewMint", shares)
    paid = uneven.balance("lp_1")
    assert uneven.does("lp_1", "pool.mint", shares, "lp_2") == promised
    assert uneven.balance("lp_1") == paid - promised
    assert uneven.view("pool.balanceOf", "lp_2") == shares


@pytest.mark.parametrize("assets", [1, 3, 999_999, 123_456_789_123])
def test_withdraw_burns_what_its_preview_says(uneven: BothForms, assets: int) -> None:
    promised = uneven.view("pool.previewWithdraw", assets)
    before = uneven.view("pool.balanceOf", "lp_0")
    received = uneven.balance("lp_2")
    assert uneven.does("lp_0", "pool.withdraw", assets, "lp_2", "lp_0") == promised
    assert uneven.view("pool.balanceOf", "lp_0") == before - promised
    assert uneven.balance("lp_2") == received + assets


@pytest.mark.parametrize("shares", [1_001, 999_999_999, 123_456_789_123_456])
def test_redeem_pays_what_its_preview_says(uneven: BothForms, shares: int) -> None:
    promised = uneven.view("pool.previewRedeem", shares)
    received = uneven.balance("lp_2")
    assert uneven.does("lp_0", "pool.redeem", shares, "lp_2", "lp_0") == promised
    assert uneven.balance("lp_2") == received + promised


@pytest.mark.parametrize("amount", [1, 7, 1_000, 10**9 + 7, 10**15 + 1])
def test_conversions_round_against_whoever_moves(uneven: BothForms, amount: int) -> None:
    assert uneven.view("pool.previewDeposit", amount) <= uneven.view("pool.convertToShares", amount)
    assert uneven.view("pool.previewWithdraw", amount) >= uneven.view(
        "pool.convertToShares", amount
    )
    assert uneven.view("pool.previewMint", amount) >= uneven.view("pool.convertToAssets", amount)
    assert uneven.view("pool.previewRedeem", amount) <= uneven.view("pool.convertToAssets", amount)
    there = uneven.view("pool.previewDeposit", amount)
    assert uneven.view("pool.previewRedeem", there) <= amount


def test_a_round_trip_never_gains(uneven: BothForms) -> None:
    before = uneven.balance("lp_1")
    for assets in (1, 2, 1_000_003, 98_765_432_109):
        shares = uneven.does("lp_1", "pool.deposit", assets, "lp_1")
        paid_back = uneven.view("pool.previewRedeem", shares)
        assert paid_back <= assets
        if paid_back:
            uneven.does("lp_1", "pool.redeem", shares, "lp_1", "lp_1")
    assert uneven.balance("lp_1") <= before


def test_the_whole_of_each_limit_can_be_used(uneven: BothForms) -> None:
    # The deposit limit is beyond any balance: tokens are minted for it.
    limit = uneven.view("pool.maxDeposit", "lp_1")
    assert limit == MAX_MARGIN - uneven.view("pool.cash")
    uneven.does("lp_1", "token.mint", "lp_1", limit)
    uneven.does("lp_1", "pool.deposit", limit, "lp_1")
    assert uneven.view("pool.maxDeposit", "lp_1") == 0
    assert uneven.view("pool.maxMint", "lp_1") == 0
    uneven.does("lp_1", "pool.withdraw", uneven.view("pool.maxWithdraw", "lp_1"), "lp_1", "lp_1")
    uneven.does("lp_0", "pool.redeem", uneven.view("pool.maxRedeem", "lp_0"), "lp_0", "lp_0")
    uneven.does("lp_2", "token.mint", "lp_2", 2**96)
    uneven.does("lp_2", "pool.mint", uneven.view("pool.maxMint", "lp_2"), "lp_2")


def test_one_more_than_each_limit_is_refused(uneven: BothForms) -> None:
    most = {name: uneven.view(f"pool.{name}", "lp_0") for name in LIMITS}
    more = {name: value + 1 for name, value in most.items()}
    uneven.refuses(errors.DEPOSIT_LIMIT, "lp_0", "pool.deposit", more["maxDeposit"], "lp_0")
    uneven.refuses(errors.DEPOSIT_LIMIT, "lp_0", "pool.mint", more["maxMint"], "lp_0")
    withdrawing = (more["maxWithdraw"], "lp_0", "lp_0")
    uneven.refuses(errors.WITHDRAWAL_LIMIT, "lp_0", "pool.withdraw", *withdrawing)
    redeeming = (more["maxRedeem"], "lp_0", "lp_0")
    uneven.refuses(errors.WITHDRAWAL_LIMIT, "lp_0", "pool.redeem", *redeeming)


@pytest.mark.parametrize("state", ["undeposited", "unpriced", "stale", "backlog", "drained"])
def test_limits_and_conversions_never_revert(state: str) -> None:
    with BothForms() as market:
        if state == "undeposited":
            market.publish(PRICE)
        elif state != "unpriced":
            market.start(liquidity=30_000 if state == "backlog" else 3_000)
        if state == "stale":
            market.open(size=WAD // 2)
            market.now += MAX_AGE + 1
        elif state == "backlog":
            for _ in range(33):
                market.open(size=WAD // 10, margin=30)
            assert market.publish(PRICE - 300 * WAD) == 32
        elif state == "drained":
            market.open(margin=11_000)
            # All of the profit is the pool's cash and more: the market closes the position.
            market.publish(PRICE + 9_000 * WAD)
            assert market.view("pool.claims") > 0
            assert market.view("pool.cash") == 0
        limits = {name: market.view(f"pool.{name}", "lp_0") for name in LIMITS}
        if state in ("undeposited", "unpriced"):
            # With nothing open no price is needed.
            assert limits["maxDeposit"] == MAX_MARGIN
            assert limits["maxMint"] > 0
            assert limits["maxWithdraw"] == limits["maxRedeem"] == 0
        else:
            assert limits == dict.fromkeys(LIMITS, 0)
        for name in CONVERSIONS:
            for amount in (0, 1, 10**12, 2**120):
                market.view(f"pool.{name}", amount)
        market.view("pool.totalAssets")


def test_what_is_reserved_for_open_interest_stays(market: BothForms) -> None:
    market.open(size=50 * WAD, margin=200_000)
    reserved = 150_000 * market.unit  # 30 % of 50 at 10,000
    # The mover's rounding and the open loss of the fill are in the value of the shares.
    assert market.view("pool.maxWithdraw", "lp_0") == 850_000 * market.unit
    market.does("lp_0", "pool.withdraw", 850_000 * market.unit, "lp_0", "lp_0")
    assert market.view("pool.cash") == reserved
    market.refuses(errors.WITHDRAWAL_LIMIT, "lp_0", "pool.withdraw", 1, "lp_0", "lp_0")
    market.refuses(errors.RESERVE_EXCEEDED, "trader_1", "market.open", 1, WAD, 10**9, 0)


# Claims


@pytest.fixture
def indebted() -> Iterator[BothForms]:
    """A pool of 6,000 that owes trader_0 nearly 7,000; trader_1 has yet to lose as much to it."""
    with BothForms() as market:
        market.start(liquidity=6_000)
        winner = market.open()
        market.open("trader_1", side=SHORT, margin=12_000)
        market.publish(PRICE + 7_000 * WAD)
        market.does("trader_0", "market.close", winner, 0)
        yield market


def test_a_claim_waits_for_cash_and_not_for_tokens(indebted: BothForms) -> None:
    claim = indebted.view("pool.claim_of", "trader_0")
    assert claim > 990 * indebted.unit
    indebted.refuses(errors.NOTHING_TO_WITHDRAW, "trader_0", "pool.withdraw_claim")
    indebted.does("attacker", "token.transfer", "pool", 5 * indebted.unit)
    indebted.refuses(errors.NOTHING_TO_WITHDRAW, "trader_0", "pool.withdraw_claim")
    assert indebted.view("pool.claim_of", "trader_0") == claim


def test_a_claim_is_paid_in_part_by_the_losses_of_others(indebted: BothForms) -> None:
    claim = indebted.view("pool.claim_of", "trader_0")
    indebted.does("trader_1", "market.reduce", 2, WAD // 10, 2**255)
    cash = indebted.view("pool.cash")
    before = indebted.balance("trader_0")
    assert 0 < cash < claim
    assert indebted.does("trader_0", "pool.withdraw_claim") == cash
    assert indebted.balance("trader_0") == before + cash
    assert indebted.view("pool.claim_of", "trader_0") == indebted.view("pool.claims")
    assert indebted.view("pool.claims") == claim - cash
    assert indebted.view("pool.cash") == 0
    indebted.refuses(errors.NOTHING_TO_WITHDRAW, "trader_0", "pool.withdraw_claim")


def test_a_claim_is_paid_in_full_and_once_even_without_a_price(indebted: BothForms) -> None:
    claim = indebted.view("pool.claim_of", "trader_0")
    indebted.does("trader_1", "market.close", 2, 2**255)
    indebted.now += 30 * 86_400
    assert indebted.does("trader_0", "pool.withdraw_claim") == claim
    assert indebted.view("pool.claims") == 0
    indebted.refuses(errors.NOTHING_TO_WITHDRAW, "trader_0", "pool.withdraw_claim")


def test_claims_come_before_the_providers(indebted: BothForms) -> None:
    claim = indebted.view("pool.claims")
    indebted.does("trader_1", "market.close", 2, 2**255)
    # Nothing is open, so nothing is reserved: all that is not claimed may leave.
    free = indebted.view("pool.cash") - claim
    assert indebted.view("pool.totalAssets") == free
    assert indebted.view("pool.maxWithdraw", "lp_0") in (free, free - 1)
    most = indebted.view("pool.maxRedeem", "lp_0")
    indebted.does("lp_0", "pool.redeem", most, "lp_0", "lp_0")
    assert claim <= indebted.view("pool.cash") <= claim + 1
    assert indebted.does("trader_0", "pool.withdraw_claim") == claim


@pytest.mark.parametrize("role", ["attacker", "trader_1", "lp_0"])
def test_who_has_no_claim_withdraws_none(indebted: BothForms, role: str) -> None:
    indebted.does("trader_1", "market.close", 2, 2**255)
    indebted.refuses(errors.NOTHING_TO_WITHDRAW, role, "pool.withdraw_claim")


# Broken books


def test_a_pool_short_of_tokens_takes_no_deposit(market: BothForms) -> None:
    market.does("owner_0", "token.seize", "pool", 1)
    market.refuses(errors.BOOKS_BROKEN, "lp_1", "pool.deposit", 1_000, "lp_1")
    market.refuses(errors.BOOKS_BROKEN, "lp_1", "pool.mint", 10**6, "lp_1")
    market.does("lp_0", "pool.withdraw", 1_000, "lp_0", "lp_0")
    market.does("attacker", "token.transfer", "pool", 1)
    market.does("lp_1", "pool.deposit", 1_000, "lp_1")


# Inflation


def test_a_donation_is_nobodys(market: BothForms) -> None:
    value = market.view("pool.totalAssets")
    market.does("attacker", "token.transfer", "pool", 10**6 * market.unit)
    assert market.view("pool.totalAssets") == value


def make_shares_dear(market: BothForms, first: int = 1) -> None:
    """The attacker is first and alone in the pool, then loses a trade to it: 700 tokens."""
    market.publish(PRICE)
    market.does("attacker", "pool.deposit", first, "attacker")
    # The first unit of the pool is reserved in full, so the position is paid for in full.
    position_id = market.open("attacker", margin=11_000)
    market.publish(PRICE - 700 * WAD)
    market.does("attacker", "market.close", position_id, 0)


@pytest.mark.parametrize("first", [1, 10, 1_000_003])
@pytest.mark.parametrize("victim", [10**6, 10**9 - 1, 10**9, 12_345_678_901])
def test_inflating_the_first_share_costs_a_thousand_times_what_it_takes(
    first: int, victim: int
) -> None:
    with BothForms(reserve_fraction=1, maker_fee=0, taker_fee=0) as market:
        before = market.balance("attacker")
        make_shares_dear(market, first)
        shares = market.does("lp_0", "pool.deposit", victim, "lp_0")
        market.does("attacker", "pool.redeem", first * 1_000, "attacker", "attacker")
        left = market.view("pool.previewRedeem", shares)
        cost, damage = before - market.balance("attacker"), max(victim - left, 0)
        assert cost > 0
        assert damage <= cost // 1_000 + 1


# Refusals


def test_zero_amounts_are_refused(market: BothForms) -> None:
    market.refuses(errors.ZERO_AMOUNT, "lp_0", "pool.deposit", 0, "lp_0")
    market.refuses(errors.ZERO_SHARES, "lp_0", "pool.mint", 0, "lp_0")
    market.refuses(errors.ZERO_AMOUNT, "lp_0", "pool.withdraw", 0, "lp_0", "lp_0")
    market.refuses(errors.ZERO_AMOUNT, "lp_0", "pool.redeem", 0, "lp_0", "lp_0")


def test_shares_worth_less_than_a_unit_cannot_be_redeemed(uneven: BothForms) -> None:
    uneven.refuses(errors.ZERO_AMOUNT, "lp_0", "pool.redeem", 1, "lp_0", "lp_0")


def test_a_deposit_too_small_for_a_share_is_refused() -> None:
    with BothForms(reserve_fraction=1) as market:
        make_shares_dear(market)
        market.refuses(errors.ZERO_SHARES, "lp_2", "pool.deposit", 1, "lp_2")


@pytest.mark.parametrize("name", ["deposit", "mint", "withdraw", "redeem"])
def test_a_stale_price_stops_the_pool(market: BothForms, name: str) -> None:
    args = (1_000, "lp_0") if name in ("deposit", "mint") else (1_000, "lp_0", "lp_0")
    position_id = market.open()
    market.now += MAX_AGE
    market.does("lp_0", f"pool.{name}", *args)
    market.now += 1
    market.refuses(errors.STALE_PRICE, "lp_0", f"pool.{name}", *args)
    # With nothing open no price is needed.
    market.publish(PRICE)
    market.does("trader_0", "market.close", position_id, 0)
    market.now += MAX_AGE + 1
    market.does("lp_0", f"pool.{name}", *args)


@pytest.mark.parametrize("name", ["deposit", "mint"])
def test_tokens_that_are_not_there_are_refused(market: BothForms, name: str) -> None:
    amount = 1_000 if name == "deposit" else 10**6
    market.does("lp_1", "token.approve", "pool", 9)
    market.refuses(errors.ALLOWANCE_TOO_LOW, "lp_1", f"pool.{name}", amount, "lp_1")
    market.does("lp_2", "token.transfer", "attacker", market.balance("lp_2"))
    market.refuses(errors.BALANCE_TOO_LOW, "lp_2", f"pool.{name}", amount, "lp_2")


def test_nobody_gets_in_while_the_shares_are_worth_nothing() -> None:
    with BothForms() as market:
        market.start(liquidity=3_000)
        market.open(margin=11_000)
        market.publish(PRICE + 9_000 * WAD)
        assert market.view("pool.totalAssets") == 0
        market.refuses(errors.DEPOSIT_LIMIT, "lp_1", "pool.deposit", 1, "lp_1")
        market.refuses(errors.DEPOSIT_LIMIT, "lp_1", "pool.mint", 1, "lp_1")


def test_shares_of_another_need_an_allowance(market: BothForms) -> None:
    reason = erc20.INSUFFICIENT_ALLOWANCE
    market.refuses(reason, "attacker", "pool.withdraw", 1_000, "attacker", "lp_0")
    market.refuses(reason, "attacker", "pool.redeem", 10**6, "attacker", "lp_0")
    market.refuses(reason, "attacker", "pool.transferFrom", "lp_0", "attacker", 1)
    market.does("lp_0", "pool.approve", "lp_1", 10**6)
    assert market.does("lp_1", "pool.redeem", 10**6, "lp_2", "lp_0") > 0
    assert market.view("pool.allowance", "lp_0", "lp_1") == 0


def test_shares_move_like_any_token(market: BothForms) -> None:
    market.does("lp_0", "pool.transfer", "lp_1", 5)
    market.does("lp_1", "pool.approve", "lp_2", 5)
    market.does("lp_2", "pool.transferFrom", "lp_1", "lp_0", 5)
    assert market.view("pool.balanceOf", "lp_1") == 0
    market.refuses(erc20.EXCEEDS_BALANCE, "lp_1", "pool.transfer", "lp_2", 1)
    nobody = "0x" + "00" * 20
    market.refuses(erc20.TRANSFER_TO_ZERO, "lp_0", "pool.transfer", nobody, 1)
    market.refuses(erc20.APPROVE_TO_ZERO, "lp_0", "pool.approve", nobody, 1)
    market.refuses(erc20.MINT_TO_ZERO, "lp_0", "pool.deposit", 1_000, nobody)


# Authority


@pytest.mark.parametrize("name", ["pay_profit", "collect_loss"])
@pytest.mark.parametrize("role", ["attacker", "owner_0", "lp_0", "guardian_0"])
def test_only_the_market_moves_cash(market: BothForms, name: str, role: str) -> None:
    args = ("attacker", 1) if name == "pay_profit" else (1,)
    market.refuses(errors.NOT_MARKET, role, f"pool.{name}", *args)


def test_names_and_decimals_are_those_given_to_the_factory(market: BothForms) -> None:
    assert market.view("pool.decimals") == 9
    assert market.system.pool.name == "Ringfence Pool"
    assert market.view("pool.balanceOf", "lp_0") == market.view("pool.totalSupply")
    assert market.system.pool.balanceOf[ADDRESSES["lp_0"]] == 10**15

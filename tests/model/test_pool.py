"""The pool: shares, limits, and what may leave it."""

import pytest
from market_world import MAX_TOKENS, PARAMS, ROLE, World, reason_of, wad
from refusals import with_backlog, with_precious_shares

from python_model.evm import ZERO_ADDRESS
from python_model.modules import erc20, errors
from python_model.modules.constants import LONG, MAX_MARGIN, SHORT

LP, OTHER = ROLE["lp"], ROLE["other_lp"]


@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_first_deposit_mints_a_thousand_shares_per_unit(decimals: int) -> None:
    world = World(decimals, cash=0)
    assert world.deposit(5) == 5 * world.unit * 1_000
    assert world.pool.decimals == decimals + 3
    assert world.pool.totalAssets() == world.pool.cash() == world.tokens(5)
    assert "Deposit" in world.event_names()
    world.assert_books_balance()


def test_mint_and_deposit_agree() -> None:
    world = World()
    assets = world.pool.mint(10**12, OTHER, sender=OTHER)
    assert assets == world.pool.previewMint(10**12) == 10**9
    assert world.pool.deposit(assets, OTHER, sender=OTHER) == 10**12


def test_withdraw_and_redeem_pay_whom_they_name() -> None:
    world = World()
    before = world.balance("other_lp")
    shares = world.pool.withdraw(1_000_000, OTHER, LP, sender=LP)
    assert shares == 1_000_000_000
    assert world.pool.redeem(shares, OTHER, LP, sender=LP) == 1_000_000
    assert world.balance("other_lp") == before + 2_000_000
    world.assert_books_balance()


def test_shares_of_another_need_an_allowance() -> None:
    world = World()
    redeem = world.pool.redeem
    reason = reason_of(redeem, 1_000, OTHER, LP, sender=OTHER)
    assert reason == erc20.INSUFFICIENT_ALLOWANCE
    world.pool.approve(OTHER, 1_000, sender=LP)
    redeem(1_000, OTHER, LP, sender=OTHER)
    assert reason_of(redeem, 1_000, OTHER, LP, sender=OTHER) == erc20.INSUFFICIENT_ALLOWANCE


def test_shares_move_like_a_token() -> None:
    world = World()
    world.pool.transfer(OTHER, 500, sender=LP)
    world.pool.approve(OTHER, 300, sender=LP)
    world.pool.transferFrom(LP, OTHER, 200, sender=OTHER)
    assert world.pool.balanceOf[OTHER] == 700
    assert world.pool.allowance[LP, OTHER] == 100
    transfer = world.pool.transfer
    assert reason_of(transfer, LP, 701, sender=OTHER) == erc20.EXCEEDS_BALANCE
    assert reason_of(transfer, ZERO_ADDRESS, 1, sender=OTHER) == erc20.TRANSFER_TO_ZERO


def test_previews_are_what_the_calls_do() -> None:
    world = World()
    world.open(LONG, 1_000, 60_000)
    world.publish(105)
    pool = world.pool
    shares = pool.previewDeposit(12_345_678)
    assert pool.deposit(12_345_678, OTHER, sender=OTHER) == shares
    assets = pool.previewMint(987_654_321)
    assert pool.mint(987_654_321, OTHER, sender=OTHER) == assets
    shares = pool.previewWithdraw(5_555_555)
    assert pool.withdraw(5_555_555, OTHER, OTHER, sender=OTHER) == shares
    assets = pool.previewRedeem(444_444_444)
    assert pool.redeem(444_444_444, OTHER, OTHER, sender=OTHER) == assets


def test_unrealised_profit_of_traders_lowers_the_assets_and_losses_raise_them() -> None:
    world = World()
    world.open_at_mark(LONG, 1_000, 60_000)
    cash = world.pool.cash()
    at_entry = world.pool.totalAssets()
    world.publish(110)
    assert world.pool.totalAssets() < at_entry
    world.publish(90)
    assert world.pool.totalAssets() > at_entry
    assert world.pool.cash() == cash


def test_assets_are_rounded_against_who_moves() -> None:
    """Depositors pay for assets rounded up, those who leave get them rounded down."""
    world = World()
    world.open(LONG, "333.333", 60_000)
    world.publish("101.0000001")
    terms = world.market.pool_terms()
    assert terms.profit_up == terms.profit_down + 1
    assert world.pool._assets_up(terms) == world.pool._assets_down(terms) + 1


def test_reserved_cash_does_not_leave() -> None:
    world = World(cash=20_000)
    world.open_at_mark(LONG, 1_000, 60_000)
    terms = world.market.pool_terms()
    assert terms.reserved == world.tokens(15_000)  # a tenth of 150,000
    limit = world.pool.maxWithdraw(LP)
    assert limit == world.pool.cash() - terms.reserved
    withdraw = world.pool.withdraw
    assert reason_of(withdraw, limit + 1, LP, LP, sender=LP) == errors.WITHDRAWAL_LIMIT
    withdraw(limit, LP, LP, sender=LP)
    assert world.pool.maxWithdraw(LP) == world.pool.maxRedeem(LP) == 0


def test_maxima_are_accepted() -> None:
    world = World()
    world.open(SHORT, 1_000, 60_000)
    world.publish(97)
    pool = world.pool
    assert pool.redeem(pool.maxRedeem(LP), LP, LP, sender=LP) > 0
    assert pool.deposit(pool.maxDeposit(OTHER), OTHER, sender=OTHER) > 0
    assert pool.cash() == MAX_MARGIN
    assert pool.maxDeposit(OTHER) == pool.maxMint(OTHER) == 0
    assert pool.withdraw(pool.maxWithdraw(OTHER), OTHER, OTHER, sender=OTHER) > 0
    assert pool.mint(pool.maxMint(OTHER), OTHER, sender=OTHER) > 0


def maxima(world: World) -> list[int]:
    pool = world.pool
    return [pool.maxDeposit(LP), pool.maxMint(LP), pool.maxWithdraw(LP), pool.maxRedeem(LP)]


def test_maxima_are_zero_with_a_stale_price_and_never_revert() -> None:
    world = World()
    world.open(LONG, 10, 200)
    assert min(maxima(world)) > 0
    world.wait(PARAMS.max_price_age + 1)
    assert maxima(world) == [0, 0, 0, 0]


def test_pool_without_positions_needs_no_price() -> None:
    """Before the first price, with a stale one and while one is held: nothing depends on it."""
    world = World(price=None)
    shares = world.deposit(100)
    world.publish(100)
    position_id = world.open(LONG, 1, 20)
    world.wait(PARAMS.max_price_age + 1)
    assert maxima(world) == [0, 0, 0, 0]
    redeem = world.pool.redeem
    assert reason_of(redeem, shares // 2, LP, LP, sender=LP) == errors.STALE_PRICE
    world.publish(100)
    world.close(position_id)
    world.publish(300)
    assert world.market.totals().is_halted
    world.deposit(50, by="other_lp")
    world.wait(PARAMS.max_price_age + 1)
    assert min(maxima(world)) > 0
    assert redeem(shares, LP, LP, sender=LP) >= world.tokens(100)
    assert redeem(world.pool.balanceOf[OTHER], OTHER, OTHER, sender=OTHER) > 0
    world.assert_books_balance()


def test_maxima_are_zero_during_a_halt() -> None:
    world = World()
    world.open(LONG, 10, 200)
    world.publish(300)
    assert maxima(world) == [0, 0, 0, 0]
    assert reason_of(world.deposit, 1) == errors.STALE_PRICE


def test_deposit_into_a_pool_short_of_its_cash_is_refused_and_leaving_is_not() -> None:
    """Tokens that went away in no transaction of the pool's freeze what comes in, not what goes."""
    world = World(is_watched=False)
    world.token.transfer(ROLE["keeper"], 1, sender=world.pool.address)
    assert reason_of(world.deposit, 1) == errors.BOOKS_BROKEN
    assert world.pool.withdraw(world.tokens(5), LP, LP, sender=LP) > 0
    world.token.transfer(world.pool.address, 1, sender=ROLE["keeper"])
    world.deposit(1)


def test_maxima_are_zero_during_a_backlog() -> None:
    world, _ = with_backlog()
    assert maxima(world) == [0, 0, 0, 0]


def test_shares_worth_less_than_a_unit_cannot_be_redeemed() -> None:
    world = World()
    world.pool.transfer(OTHER, 999, sender=LP)
    assert world.pool.maxRedeem(OTHER) == 0
    world.pool.transfer(OTHER, 1, sender=LP)
    assert world.pool.maxRedeem(OTHER) == 1_000


def test_donation_is_nobodys() -> None:
    """Tokens sent without a deposit change neither cash nor the price of shares."""
    world = World()
    before = world.pool.convertToAssets(10**9)
    world.token.transfer(world.pool.address, world.tokens(777), sender=ROLE["attacker"])
    assert world.pool.convertToAssets(10**9) == before
    assert world.pool.cash() == world.tokens(1_000_000)


def test_deposit_too_small_for_a_share_is_refused_rather_than_taken() -> None:
    world = with_precious_shares()
    balance = world.balance("lp")
    assert reason_of(world.pool.deposit, 1, LP, sender=LP) == errors.ZERO_SHARES
    assert world.balance("lp") == balance


def test_pool_without_assets_takes_no_deposit() -> None:
    """Shares would be worth everything or nothing: the last provider's loss is not passed on."""
    world = World(cash=1_000, reserve_fraction=wad("0.001"))
    world.open(LONG, 100, 2_000)
    world.publish(150)
    assert world.pool.totalAssets() == 0
    assert world.pool.maxDeposit(OTHER) == 0
    assert reason_of(world.deposit, 1, by="other_lp") == errors.DEPOSIT_LIMIT


def test_deposit_accrues_funding_before_cash_changes_the_rate() -> None:
    world = World()
    world.open(LONG, 1_000, 60_000)
    expected = None
    world.wait(1_000)
    expected = world.market.marks().funding
    world.deposit(1_000_000, by="other_lp")
    assert world.market._load_marks().funding == expected
    assert world.market._load_marks().accrued_at == world.chain.timestamp


def test_largest_numbers_fit() -> None:
    world = World(18, cash=0)
    assert world.pool.deposit(MAX_TOKENS, LP, sender=LP) == MAX_TOKENS * 1_000
    assert world.pool.maxWithdraw(LP) == MAX_TOKENS

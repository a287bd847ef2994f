# pragma version 0.4.3
"""
@title LiquidityPool
@license AGPL-3.0-only
@notice ERC-4626 vault that is the counterparty of one market: it pays the traders' profits and
        takes their losses. Share tokens, transfers and events are snekmate's; what is our own is
        the value of the assets and the limits.
@dev    ASSUMPTIONS  The market, which deploys the pool, is trusted.
        ASSETS       cash - net trader profit - claims, rounded against whoever moves: up for
                     deposits, down for withdrawals. Tokens sent here without a deposit are
                     nobody's.
        ROUNDING     Shares minted and assets redeemed round down, shares burned and assets charged
                     round up.
        LIVENESS     Deposits and withdrawals need a valid price and no backlog. With no position
                     open no price is needed.
@custom:kill Nothing to disable: with the market at rest (no position open) all cash is
             withdrawable. See docs/shutdown.md.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC4626
from snekmate.extensions import erc4626

from contracts.interfaces import ILiquidityPool
from contracts.interfaces import IPerpMarket
from contracts.modules import constants
from contracts.modules import errors
from contracts.modules import fixed_point
from contracts.modules import token_transfer

implements: IERC20
implements: IERC4626
implements: ILiquidityPool
initializes: erc4626
exports: (
    erc4626.asset,
    erc4626.erc20.totalSupply,
    erc4626.erc20.balanceOf,
    erc4626.erc20.transfer,
    erc4626.erc20.transferFrom,
    erc4626.erc20.approve,
    erc4626.erc20.allowance,
    erc4626.erc20.name,
    erc4626.erc20.symbol,
    erc4626.erc20.decimals,
)

version: public(constant(String[8])) = "0.2.0"

# A first depositor who donates loses 1,000 times what others can lose by it.
DECIMALS_OFFSET: constant(uint8) = 3
VIRTUAL_SHARES: constant(uint256) = 10**3
VIRTUAL_ASSETS: constant(uint256) = 1

# Shares times assets stay below 2**248.
MAX_SUPPLY: constant(uint256) = 2**128 - 1
MAX_ASSETS: constant(int256) = 2**120

MASK_128: constant(uint256) = 2**128 - 1
RESULT_OFFSET: constant(int256) = 2**127

market: public(immutable(IPerpMarket))

# cash 128 | result 128, offset by 2**127: what trading has brought since the start, without deposits
# and withdrawals. Readable while locked: the market reads it when a deposit makes it accrue.
_account: uint256
claims: public(uint256)  # sum of claim_of
claim_of: public(HashMap[address, uint256])

_locked: transient(bool)


@deploy
def __init__(token: IERC20, name: String[25], symbol: String[5]):
    """
    @notice Deployed by its market.
    """
    erc4626.__init__(name, symbol, token, DECIMALS_OFFSET, name, "1")
    market = IPerpMarket(msg.sender)
    self._store_account(0, 0)


# The market's side


@external
def pay_profit(owner: address, amount: uint256) -> uint256:
    """
    @notice Pays the market up to `amount` token units of the owner's profit; what is missing
            becomes the owner's claim. Market only.
    @return Token units paid: all of it, or what cash there is.
    """
    self._enter()
    errors._require(msg.sender == market.address, errors.NOT_MARKET)
    paid: uint256 = min(amount, self._cash())
    claim: uint256 = amount - paid
    self._store_account(self._cash() - paid, self._result() - convert(amount, int256))
    if claim > 0:
        self.claim_of[owner] += claim
        self.claims += claim
    log ILiquidityPool.ProfitPaid(owner=owner, amount=paid, claim=claim)
    token_transfer._push(IERC20(erc4626.asset), msg.sender, paid)
    self._exit()
    return paid


@external
def collect_loss(amount: uint256):
    """
    @notice Books token units the market has just sent. Market only.
    """
    self._enter()
    errors._require(msg.sender == market.address, errors.NOT_MARKET)
    self._store_account(self._cash() + amount, self._result() + convert(amount, int256))
    log ILiquidityPool.LossCollected(amount=amount)
    self._exit()


@external
@view
def cash() -> uint256:
    """
    @notice Token units on the books: deposits less withdrawals plus what trading has brought.
    """
    return self._cash()


@external
@view
def account() -> ILiquidityPool.Account:
    """
    @notice Cash, claims on it, and what trading has brought since the start: losses collected less
            profits, paid or not.
    """
    return ILiquidityPool.Account(
        cash=self._cash(), claims=self.claims, result=self._result()
    )


# Claims


@external
def withdraw_claim() -> uint256:
    """
    @notice Pays the caller what the pool can of the caller's claim. Claims come before everything
            that liquidity providers may withdraw, and need no price.
    @return Token units paid.
    """
    self._enter()
    extcall market.accrue()
    claim: uint256 = self.claim_of[msg.sender]
    paid: uint256 = min(claim, self._cash())
    errors._require(paid > 0, errors.NOTHING_TO_WITHDRAW)
    self.claim_of[msg.sender] = claim - paid
    self.claims -= paid
    self._store_account(self._cash() - paid, self._result())
    log ILiquidityPool.ClaimPaid(owner=msg.sender, amount=paid)
    token_transfer._push(IERC20(erc4626.asset), msg.sender, paid)
    self._exit()
    return paid


# The liquidity provider's side: ERC-4626


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    """
    @notice Pulls `assets` token units from the caller and mints shares, rounded down.
    @return Shares minted.
    """
    self._enter()
    terms: IPerpMarket.PoolTerms = self._settle_terms()
    errors._require(assets > 0, errors.ZERO_AMOUNT)
    errors._require(assets <= self._deposit_limit(terms), errors.DEPOSIT_LIMIT)
    shares: uint256 = self._to_shares_down(assets, self._assets_up(terms))
    self._take_deposit(receiver, assets, shares)
    self._exit()
    return shares


@external
def mint(shares: uint256, receiver: address) -> uint256:
    """
    @notice Mints `shares` and pulls their price from the caller, rounded up.
    @return Token units pulled.
    """
    self._enter()
    terms: IPerpMarket.PoolTerms = self._settle_terms()
    errors._require(
        shares <= self._to_shares_down(self._deposit_limit(terms), self._assets_up(terms)),
        errors.DEPOSIT_LIMIT,
    )
    assets: uint256 = self._to_assets_up(shares, self._assets_up(terms))
    self._take_deposit(receiver, assets, shares)
    self._exit()
    return assets


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice Pays `assets` token units to `receiver` and burns the owner's shares, rounded up.
    @return Shares burned.
    """
    self._enter()
    terms: IPerpMarket.PoolTerms = self._settle_terms()
    errors._require(assets > 0, errors.ZERO_AMOUNT)
    errors._require(assets <= self._withdrawal_limit(owner, terms), errors.WITHDRAWAL_LIMIT)
    shares: uint256 = self._to_shares_up(assets, self._assets_down(terms))
    self._pay_withdrawal(receiver, owner, assets, shares)
    self._exit()
    return shares


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    """
    @notice Burns `shares` of the owner and pays their value to `receiver`, rounded down.
    @return Token units paid.
    """
    self._enter()
    terms: IPerpMarket.PoolTerms = self._settle_terms()
    errors._require(shares <= self._redemption_limit(owner, terms), errors.WITHDRAWAL_LIMIT)
    assets: uint256 = self._to_assets_down(shares, self._assets_down(terms))
    self._pay_withdrawal(receiver, owner, assets, shares)
    self._exit()
    return assets


@external
@view
def totalAssets() -> uint256:
    """
    @notice cash - net trader profit - claims, rounded down, token units; zero when negative.
    """
    return self._assets_down(staticcall market.pool_terms())


@external
@view
def convertToShares(assets: uint256) -> uint256:
    """
    @notice Shares that `assets` are worth, rounded down.
    """
    return self._to_shares_down(assets, self._assets_down(staticcall market.pool_terms()))


@external
@view
def convertToAssets(shares: uint256) -> uint256:
    """
    @notice Token units that `shares` are worth, rounded down.
    """
    return self._to_assets_down(shares, self._assets_down(staticcall market.pool_terms()))


@external
@view
def maxDeposit(receiver: address) -> uint256:
    """
    @notice Most token units that can be deposited now: none without a fresh price, during a
            backlog, or while the assets of existing shares are zero.
    """
    return self._deposit_limit(staticcall market.pool_terms())


@external
@view
def maxMint(receiver: address) -> uint256:
    """
    @notice Most shares that can be minted now.
    """
    terms: IPerpMarket.PoolTerms = staticcall market.pool_terms()
    return self._to_shares_down(self._deposit_limit(terms), self._assets_up(terms))


@external
@view
def maxWithdraw(owner: address) -> uint256:
    """
    @notice Most token units the owner can withdraw now: the value of the shares, and no more than
            the cash that is neither reserved nor claimed.
    """
    return self._withdrawal_limit(owner, staticcall market.pool_terms())


@external
@view
def maxRedeem(owner: address) -> uint256:
    """
    @notice Most shares the owner can redeem now.
    """
    return self._redemption_limit(owner, staticcall market.pool_terms())


@external
@view
def previewDeposit(assets: uint256) -> uint256:
    """
    @notice Shares that depositing `assets` would mint.
    """
    return self._to_shares_down(assets, self._assets_up(staticcall market.pool_terms()))


@external
@view
def previewMint(shares: uint256) -> uint256:
    """
    @notice Token units that minting `shares` would pull.
    """
    return self._to_assets_up(shares, self._assets_up(staticcall market.pool_terms()))


@external
@view
def previewWithdraw(assets: uint256) -> uint256:
    """
    @notice Shares that withdrawing `assets` would burn.
    """
    return self._to_shares_up(assets, self._assets_down(staticcall market.pool_terms()))


@external
@view
def previewRedeem(shares: uint256) -> uint256:
    """
    @notice Token units that redeeming `shares` would pay.
    """
    return self._to_assets_down(shares, self._assets_down(staticcall market.pool_terms()))


# Lock: built-in locks revert without a reason


@internal
def _enter():
    errors._require(not self._locked, errors.REENTRANT_CALL)
    self._locked = True


@internal
def _exit():
    self._locked = False


# Movements of cash


@internal
def _settle_terms() -> IPerpMarket.PoolTerms:
    """
    @notice Accrues the market, whose rates depend on the cash, and reads its terms.
    """
    extcall market.accrue()
    terms: IPerpMarket.PoolTerms = staticcall market.pool_terms()
    errors._require(terms.is_priced, errors.STALE_PRICE)
    errors._require(not terms.has_backlog, errors.BACKLOG)
    return terms


@internal
def _take_deposit(receiver: address, assets: uint256, shares: uint256):
    errors._require(shares > 0, errors.ZERO_SHARES)
    errors._require(
        staticcall IERC20(erc4626.asset).balanceOf(self) >= self._cash(), errors.BOOKS_BROKEN
    )
    self._store_account(self._cash() + assets, self._result())
    token_transfer._pull(IERC20(erc4626.asset), msg.sender, assets)
    erc4626.erc20._mint(receiver, shares)
    log IERC4626.Deposit(sender=msg.sender, owner=receiver, assets=assets, shares=shares)


@internal
def _pay_withdrawal(receiver: address, owner: address, assets: uint256, shares: uint256):
    errors._require(assets > 0, errors.ZERO_AMOUNT)
    self._store_account(self._cash() - assets, self._result())
    erc4626._withdraw(msg.sender, receiver, owner, assets, shares)


# Limits


@internal
@view
def _deposit_limit(terms: IPerpMarket.PoolTerms) -> uint256:
    if not terms.is_priced or terms.has_backlog or self._cash() >= constants.MAX_MARGIN:
        return 0
    total: uint256 = self._assets_up(terms)
    supply: uint256 = erc4626.erc20.totalSupply
    if supply >= MAX_SUPPLY or (total == 0 and supply > 0):
        return 0
    return min(
        constants.MAX_MARGIN - self._cash(), self._to_assets_down(MAX_SUPPLY - supply, total)
    )


@internal
@view
def _withdrawal_limit(owner: address, terms: IPerpMarket.PoolTerms) -> uint256:
    owned: uint256 = self._to_assets_down(
        erc4626.erc20.balanceOf[owner], self._assets_down(terms)
    )
    return min(owned, self._free_cash(terms))


@internal
@view
def _redemption_limit(owner: address, terms: IPerpMarket.PoolTerms) -> uint256:
    total: uint256 = self._assets_down(terms)
    free: uint256 = self._to_shares_down(self._free_cash(terms), total)
    shares: uint256 = min(erc4626.erc20.balanceOf[owner], free)
    # Shares worth less than one unit cannot be redeemed.
    return shares if self._to_assets_down(shares, total) > 0 else 0


@internal
@view
def _free_cash(terms: IPerpMarket.PoolTerms) -> uint256:
    """
    @notice Cash that may leave: what is neither reserved for open interest nor claimed.
    """
    held: uint256 = terms.reserved + self.claims
    if not terms.is_priced or terms.has_backlog or held >= self._cash():
        return 0
    return self._cash() - held


# Value of the shares


@internal
@view
def _assets_up(terms: IPerpMarket.PoolTerms) -> uint256:
    return self._assets(terms.profit_down)


@internal
@view
def _assets_down(terms: IPerpMarket.PoolTerms) -> uint256:
    return self._assets(terms.profit_up)


@internal
@view
def _assets(profit: int256) -> uint256:
    assets: int256 = convert(self._cash(), int256) - profit - convert(self.claims, int256)
    return convert(max(min(assets, MAX_ASSETS), 0), uint256)


@internal
@view
def _to_shares_down(assets: uint256, total: uint256) -> uint256:
    return fixed_point._mul_div_down(
        assets, erc4626.erc20.totalSupply + VIRTUAL_SHARES, total + VIRTUAL_ASSETS
    )


@internal
@view
def _to_shares_up(assets: uint256, total: uint256) -> uint256:
    return fixed_point._mul_div_up(
        assets, erc4626.erc20.totalSupply + VIRTUAL_SHARES, total + VIRTUAL_ASSETS
    )


@internal
@view
def _to_assets_down(shares: uint256, total: uint256) -> uint256:
    return fixed_point._mul_div_down(
        shares, total + VIRTUAL_ASSETS, erc4626.erc20.totalSupply + VIRTUAL_SHARES
    )


@internal
@view
def _to_assets_up(shares: uint256, total: uint256) -> uint256:
    return fixed_point._mul_div_up(
        shares, total + VIRTUAL_ASSETS, erc4626.erc20.totalSupply + VIRTUAL_SHARES
    )


# The packed word


@internal
@view
def _cash() -> uint256:
    return self._account & MASK_128


@internal
@view
def _result() -> int256:
    return convert(self._account >> 128, int256) - RESULT_OFFSET


@internal
def _store_account(cash: uint256, result: int256):
    self._account = cash | (convert(result + RESULT_OFFSET, uint256) << 128)

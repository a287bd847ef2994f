"""Mirror of contracts/LiquidityPool.vy."""

from typing import TYPE_CHECKING, NamedTuple

from python_model.evm import Chain, Storage, external
from python_model.modules import constants, errors, fixed_point, token_transfer
from python_model.modules.erc20 import ERC20

if TYPE_CHECKING:
    from python_model.perp_market import PerpMarket, PoolTerms

DECIMALS_OFFSET = 3
VIRTUAL_SHARES = 10**3
VIRTUAL_ASSETS = 1

MAX_SUPPLY = 2**128 - 1
MAX_ASSETS = 2**120

TRANSFER_DID_NOT_SUCCEED = "erc4626: transfer operation did not succeed"


class Account(NamedTuple):
    """Cash, claims on it, and what trading has brought since the start: token units."""

    cash: int
    claims: int
    result: int


class LiquidityPool(ERC20):
    """ERC-4626 vault that is the counterparty of one market."""

    version = "0.2.0"

    def __init__(
        self,
        chain: Chain,
        address: str,
        token: token_transfer.Token,
        name: str,
        symbol: str,
        deployer: "PerpMarket",
    ) -> None:
        super().__init__(chain, address, name, symbol, token.decimals + DECIMALS_OFFSET)
        self.asset = token
        self.market = deployer
        self.claims = 0
        self.claim_of: Storage[str, int] = Storage(chain, 0)
        self._store_account(0, 0)
        self._locked = False

    # The market's side

    @external
    def pay_profit(self, owner: str, amount: int, *, sender: str) -> int:
        self._enter()
        errors._require(sender == self.market.address, errors.NOT_MARKET)
        paid = min(amount, self._cash())
        claim = amount - paid
        self._store_account(self._cash() - paid, self._result() - amount)
        if claim > 0:
            self.claim_of[owner] += claim
            self.claims += claim
        self.log("ProfitPaid", owner, paid, claim)
        token_transfer._push(self.asset, sender, paid, self.address)
        self._exit()
        return paid

    @external
    def collect_loss(self, amount: int, *, sender: str) -> None:
        self._enter()
        errors._require(sender == self.market.address, errors.NOT_MARKET)
        self._store_account(self._cash() + amount, self._result() + amount)
        self.log("LossCollected", amount)
        self._exit()

    def cash(self) -> int:
        return self._cash()

    def account(self) -> Account:
        return Account(self._cash(), self.claims, self._result())

    # Claims

    @external
    def withdraw_claim(self, *, sender: str) -> int:
        self._enter()
        self.market.accrue(sender=self.address)
        claim = self.claim_of[sender]
        paid = min(claim, self._cash())
        errors._require(paid > 0, errors.NOTHING_TO_WITHDRAW)
        self.claim_of[sender] = claim - paid
        self.claims -= paid
        self._store_account(self._cash() - paid, self._result())
        self.log("ClaimPaid", sender, paid)
        token_transfer._push(self.asset, sender, paid, self.address)
        self._exit()
        return paid

    # The liquidity provider's side: ERC-4626

    @external
    def deposit(self, assets: int, receiver: str, *, sender: str) -> int:
        self._enter()
        terms = self._settle_terms()
        errors._require(assets > 0, errors.ZERO_AMOUNT)
        errors._require(assets <= self._deposit_limit(terms), errors.DEPOSIT_LIMIT)
        shares = self._to_shares_down(assets, self._assets_up(terms))
        self._take_deposit(receiver, assets, shares, sender)
        self._exit()
        return shares

    @external
    def mint(self, shares: int, receiver: str, *, sender: str) -> int:
        self._enter()
        terms = self._settle_terms()
        errors._require(
            shares <= self._to_shares_down(self._deposit_limit(terms), self._assets_up(terms)),
            errors.DEPOSIT_LIMIT,
        )
        assets = self._to_assets_up(shares, self._assets_up(terms))
        self._take_deposit(receiver, assets, shares, sender)
        self._exit()
        return assets

    @external
    def withdraw(self, assets: int, receiver: str, owner: str, *, sender: str) -> int:
        self._enter()
        terms = self._settle_terms()
        errors._require(assets > 0, errors.ZERO_AMOUNT)
        errors._require(assets <= self._withdrawal_limit(owner, terms), errors.WITHDRAWAL_LIMIT)
        shares = self._to_shares_up(assets, self._assets_down(terms))
        self._pay_withdrawal(receiver, owner, assets, shares, sender)
        self._exit()
        return shares

    @external
    def redeem(self, shares: int, receiver: str, owner: str, *, sender: str) -> int:
        self._enter()
        terms = self._settle_terms()
        errors._require(shares <= self._redemption_limit(owner, terms), errors.WITHDRAWAL_LIMIT)
        assets = self._to_assets_down(shares, self._assets_down(terms))
        self._pay_withdrawal(receiver, owner, assets, shares, sender)
        self._exit()
        return assets

    def totalAssets(self) -> int:
        return self._assets_down(self.market.pool_terms())

    def convertToShares(self, assets: int) -> int:
        return self._to_shares_down(assets, self._assets_down(self.market.pool_terms()))

    def convertToAssets(self, shares: int) -> int:
        return self._to_assets_down(shares, self._assets_down(self.market.pool_terms()))

    def maxDeposit(self, receiver: str) -> int:
        return self._deposit_limit(self.market.pool_terms())

    def maxMint(self, receiver: str) -> int:
        terms = self.market.pool_terms()
        return self._to_shares_down(self._deposit_limit(terms), self._assets_up(terms))

    def maxWithdraw(self, owner: str) -> int:
        return self._withdrawal_limit(owner, self.market.pool_terms())

    def maxRedeem(self, owner: str) -> int:
        return self._redemption_limit(owner, self.market.pool_terms())

    def previewDeposit(self, assets: int) -> int:
        return self._to_shares_down(assets, self._assets_up(self.market.pool_terms()))

    def previewMint(self, shares: int) -> int:
        return self._to_assets_up(shares, self._assets_up(self.market.pool_terms()))

    def previewWithdraw(self, assets: int) -> int:
        return self._to_shares_up(assets, self._assets_down(self.market.pool_terms()))

    def previewRedeem(self, shares: int) -> int:
        return self._to_assets_down(shares, self._assets_down(self.market.pool_terms()))

    # Lock

    def _enter(self) -> None:
        errors._require(not self._locked, errors.REENTRANT_CALL)
        self._locked = True

    def _exit(self) -> None:
        self._locked = False

    # Movements of cash

    def _settle_terms(self) -> "PoolTerms":
        self.market.accrue(sender=self.address)
        terms = self.market.pool_terms()
        errors._require(terms.is_priced, errors.STALE_PRICE)
        errors._require(not terms.has_backlog, errors.BACKLOG)
        return terms

    def _take_deposit(self, receiver: str, assets: int, shares: int, sender: str) -> None:
        errors._require(shares > 0, errors.ZERO_SHARES)
        errors._require(self.asset.balanceOf[self.address] >= self._cash(), errors.BOOKS_BROKEN)
        self._store_account(self._cash() + assets, self._result())
        token_transfer._pull(self.asset, sender, assets, self.address)
        self._mint(receiver, shares)
        self.log("Deposit", sender, receiver, assets, shares)

    def _pay_withdrawal(
        self, receiver: str, owner: str, assets: int, shares: int, sender: str
    ) -> None:
        errors._require(assets > 0, errors.ZERO_AMOUNT)
        self._store_account(self._cash() - assets, self._result())
        self._withdraw(sender, receiver, owner, assets, shares)

    def _withdraw(self, sender: str, receiver: str, owner: str, assets: int, shares: int) -> None:
        # snekmate's erc4626
        if sender != owner:
            self._spend_allowance(owner, sender, shares)
        self._burn(owner, shares)
        errors._require(
            self.asset.transfer(receiver, assets, sender=self.address), TRANSFER_DID_NOT_SUCCEED
        )
        self.log("Withdraw", sender, receiver, owner, assets, shares)

    # Limits

    def _deposit_limit(self, terms: "PoolTerms") -> int:
        if not terms.is_priced or terms.has_backlog or self._cash() >= constants.MAX_MARGIN:
            return 0
        total = self._assets_up(terms)
        supply = self.totalSupply
        if supply >= MAX_SUPPLY or (total == 0 and supply > 0):
            return 0
        return min(
            constants.MAX_MARGIN - self._cash(), self._to_assets_down(MAX_SUPPLY - supply, total)
        )

    def _withdrawal_limit(self, owner: str, terms: "PoolTerms") -> int:
        owned = self._to_assets_down(self.balanceOf[owner], self._assets_down(terms))
        return min(owned, self._free_cash(terms))

    def _redemption_limit(self, owner: str, terms: "PoolTerms") -> int:
        total = self._assets_down(terms)
        free = self._to_shares_down(self._free_cash(terms), total)
        shares = min(self.balanceOf[owner], free)
        # Shares worth less than one unit cannot be redeemed.
        return shares if self._to_assets_down(shares, total) > 0 else 0

    def _free_cash(self, terms: "PoolTerms") -> int:
        held = terms.reserved + self.claims
        if not terms.is_priced or terms.has_backlog or held >= self._cash():
            return 0
        return self._cash() - held

    # Value of the shares

    def _assets_up(self, terms: "PoolTerms") -> int:
        return self._assets(terms.profit_down)

    def _assets_down(self, terms: "PoolTerms") -> int:
        return self._assets(terms.profit_up)

    def _assets(self, profit: int) -> int:
        assets = self._cash() - profit - self.claims
        return max(min(assets, MAX_ASSETS), 0)

    def _to_shares_down(self, assets: int, total: int) -> int:
        return fixed_point._mul_div_down(
            assets, self.totalSupply + VIRTUAL_SHARES, total + VIRTUAL_ASSETS
        )

    def _to_shares_up(self, assets: int, total: int) -> int:
        return fixed_point._mul_div_up(
            assets, self.totalSupply + VIRTUAL_SHARES, total + VIRTUAL_ASSETS
        )

    def _to_assets_down(self, shares: int, total: int) -> int:
        return fixed_point._mul_div_down(
            shares, total + VIRTUAL_ASSETS, self.totalSupply + VIRTUAL_SHARES
        )

    def _to_assets_up(self, shares: int, total: int) -> int:
        return fixed_point._mul_div_up(
            shares, total + VIRTUAL_ASSETS, self.totalSupply + VIRTUAL_SHARES
        )

    # The packed word

    def _cash(self) -> int:
        return self._account[0]

    def _result(self) -> int:
        return self._account[1]

    def _store_account(self, cash: int, result: int) -> None:
        self._account = (cash, result)

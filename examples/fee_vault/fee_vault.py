"""Model of FeeVault.vy: the same names, order and reasons."""

from typing import NamedTuple

from examples.fee_vault.coin import Approval, Coin, Transfer
from lockstep.mirror import ZERO_ADDRESS, Contract, HashMap, require, uint256


class Deposit(NamedTuple):
    sender: str
    owner: str
    assets: int
    shares: int


class Withdraw(NamedTuple):
    sender: str
    receiver: str
    owner: str
    assets: int
    shares: int


class TermsSet(NamedTuple):
    fee_bps: int
    cap: int


class FeesCollected(NamedTuple):
    receiver: str
    amount: int


class FeeVault(Contract):
    EVENTS = (Deposit, Withdraw, Transfer, Approval, TermsSet, FeesCollected)
    VIRTUAL_SHARES = 1_000
    LOCK_TIME = 86_400
    MAX_FEE_BPS = 500
    BPS = 10_000

    def __init__(self, coin: Coin, fee_bps: int, cap: int, *, sender: str) -> None:
        require(fee_bps <= self.MAX_FEE_BPS, "fee too high")
        self.asset = coin
        self.owner = sender
        self.fee_bps = fee_bps
        self.cap = cap
        self.fees = 0
        self.totalSupply = 0
        self.balanceOf: HashMap[str, int] = HashMap(0)
        self.allowance: HashMap[tuple[str, str], int] = HashMap(0)
        self.unlocked_at: HashMap[str, int] = HashMap(0)

    # -- in ----------------------------------------------------------------------------------------

    def deposit(self, assets: int, receiver: str, *, sender: str) -> int:
        shares = self._shares_down(assets)
        self._enter(assets, shares, receiver, sender)
        return shares

    def mint(self, shares: int, receiver: str, *, sender: str) -> int:
        assets = self._assets_up(shares)
        self._enter(assets, shares, receiver, sender)
        return assets

    def _enter(self, assets: int, shares: int, receiver: str, sender: str) -> None:
        require(receiver != ZERO_ADDRESS, "to nobody")
        require(shares > 0, "no shares")
        require(uint256(self._assets() + assets) <= self.cap, "over the cap")
        now = self.chain.timestamp
        held = self.balanceOf[receiver]
        start = max(self.unlocked_at[receiver], now)
        end = now + self.LOCK_TIME
        total = uint256(held + shares)
        weighted = uint256(uint256(held * start) + uint256(shares * end))
        self.unlocked_at[receiver] = (uint256(weighted + total) - 1) // total
        self.totalSupply = uint256(self.totalSupply + shares)
        self.balanceOf[receiver] = total
        self.asset.transferFrom(sender, self.address, assets, sender=self.address)
        self.log(Transfer(sender=ZERO_ADDRESS, receiver=receiver, value=shares))
        self.log(Deposit(sender=sender, owner=receiver, assets=assets, shares=shares))

    # -- out ---------------------------------------------------------------------------------------

    def withdraw(self, assets: int, receiver: str, owner: str, *, sender: str) -> int:
        fee = self._fee_on_net(assets)
        shares = self._shares_up(uint256(assets + fee))
        self._leave(assets, fee, shares, receiver, owner, sender)
        return shares

    def redeem(self, shares: int, receiver: str, owner: str, *, sender: str) -> int:
        gross = self._assets_down(shares)
        fee = self._fee_on_gross(gross)
        self._leave(gross - fee, fee, shares, receiver, owner, sender)
        return gross - fee

    def _leave(
        self, assets: int, fee: int, shares: int, receiver: str, owner: str, sender: str
    ) -> None:
        require(shares > 0, "no shares")
        require(self.chain.timestamp >= self.unlocked_at[owner], "locked")
        if sender != owner:
            allowed = self.allowance[owner, sender]
            require(shares <= allowed, "allowance")
            self.allowance[owner, sender] = allowed - shares
        require(shares <= self.balanceOf[owner], "balance")
        self.balanceOf[owner] -= shares
        self.totalSupply -= shares
        self.fees = uint256(self.fees + fee)
        self.asset.transfer(receiver, assets, sender=self.address)
        self.log(Transfer(sender=owner, receiver=ZERO_ADDRESS, value=shares))
        self.log(
            Withdraw(sender=sender, receiver=receiver, owner=owner, assets=assets, shares=shares)
        )

    # -- shares ------------------------------------------------------------------------------------

    def transfer(self, to: str, shares: int, *, sender: str) -> bool:
        require(to != ZERO_ADDRESS, "to nobody")
        require(self.chain.timestamp >= self.unlocked_at[sender], "locked")
        require(shares <= self.balanceOf[sender], "balance")
        self.balanceOf[sender] -= shares
        self.balanceOf[to] += shares
        self.log(Transfer(sender=sender, receiver=to, value=shares))
        return True

    def approve(self, spender: str, shares: int, *, sender: str) -> bool:
        self.allowance[sender, spender] = shares
        self.log(Approval(owner=sender, spender=spender, value=shares))
        return True

    # -- owner -------------------------------------------------------------------------------------

    def set_terms(self, fee_bps: int, cap: int, *, sender: str) -> None:
        require(sender == self.owner, "not owner")
        require(fee_bps <= self.MAX_FEE_BPS, "fee too high")
        self.fee_bps = fee_bps
        self.cap = cap
        self.log(TermsSet(fee_bps=fee_bps, cap=cap))

    def collect_fees(self, receiver: str, *, sender: str) -> int:
        require(sender == self.owner, "not owner")
        amount = self.fees
        self.fees = 0
        self.asset.transfer(receiver, amount, sender=self.address)
        self.log(FeesCollected(receiver=receiver, amount=amount))
        return amount

    # -- views -------------------------------------------------------------------------------------

    def totalAssets(self) -> int:
        return self._assets()

    def previewDeposit(self, assets: int) -> int:
        return self._shares_down(assets)

    def previewMint(self, shares: int) -> int:
        return self._assets_up(shares)

    def previewWithdraw(self, assets: int) -> int:
        return self._shares_up(uint256(assets + self._fee_on_net(assets)))

    def previewRedeem(self, shares: int) -> int:
        gross = self._assets_down(shares)
        return gross - self._fee_on_gross(gross)

    def maxDeposit(self, receiver: str) -> int:
        return max(self.cap - self._assets(), 0)

    def maxRedeem(self, owner: str) -> int:
        return self.balanceOf[owner] if self.chain.timestamp >= self.unlocked_at[owner] else 0

    # -- arithmetic --------------------------------------------------------------------------------

    def _assets(self) -> int:
        return self.asset.balanceOf[self.address] - self.fees

    def _shares_down(self, assets: int) -> int:
        return uint256(assets * (self.totalSupply + self.VIRTUAL_SHARES)) // (self._assets() + 1)

    def _shares_up(self, assets: int) -> int:
        whole = self._assets() + 1
        product = uint256(assets * (self.totalSupply + self.VIRTUAL_SHARES))
        return (uint256(product + whole) - 1) // whole

    def _assets_down(self, shares: int) -> int:
        return uint256(shares * (self._assets() + 1)) // (self.totalSupply + self.VIRTUAL_SHARES)

    def _assets_up(self, shares: int) -> int:
        whole = self.totalSupply + self.VIRTUAL_SHARES
        return (uint256(uint256(shares * (self._assets() + 1)) + whole) - 1) // whole

    def _fee_on_gross(self, gross: int) -> int:
        return (uint256(uint256(gross * self.fee_bps) + self.BPS) - 1) // self.BPS

    def _fee_on_net(self, net: int) -> int:
        rest = self.BPS - self.fee_bps
        return (uint256(uint256(net * self.fee_bps) + rest) - 1) // rest

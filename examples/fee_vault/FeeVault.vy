# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title A vault in the manner of ERC-4626, with a fee, a cap and a lock.
@license AGPL-3.0-only
@notice Shares of a pool of coins. Leaving costs a fee, which belongs to the owner and is kept apart
        from the assets; what rounding leaves stays with those who remain. Deposits are capped.
        A deposit locks its shares for a day: the receiver's lock moves to the average of old and
        new, weighted by shares and rounded up, so that a crumb from a stranger hardly moves it.
        Virtual shares and one virtual coin make inflating the price of a first share worthless.
"""

interface ICoin:
    def balanceOf(holder: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event Deposit:
    sender: indexed(address)
    owner: indexed(address)
    assets: uint256
    shares: uint256

event Withdraw:
    sender: indexed(address)
    receiver: indexed(address)
    owner: indexed(address)
    assets: uint256
    shares: uint256

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

event TermsSet:
    fee_bps: uint256
    cap: uint256

event FeesCollected:
    receiver: indexed(address)
    amount: uint256

VIRTUAL_SHARES: public(constant(uint256)) = 1_000
LOCK_TIME: public(constant(uint256)) = 86_400
MAX_FEE_BPS: public(constant(uint256)) = 500
BPS: constant(uint256) = 10_000

asset: public(immutable(address))
owner: public(address)
fee_bps: public(uint256)
cap: public(uint256)
fees: public(uint256)
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
unlocked_at: public(HashMap[address, uint256])


@deploy
def __init__(coin: address, fee_bps: uint256, cap: uint256):
    assert fee_bps <= MAX_FEE_BPS, "fee too high"
    asset = coin
    self.owner = msg.sender
    self.fee_bps = fee_bps
    self.cap = cap


# -- in ----------------------------------------------------------------------------------------------


@external
def deposit(assets: uint256, receiver: address) -> uint256:
    shares: uint256 = self._shares_down(assets)
    self._enter(assets, shares, receiver)
    return shares


@external
def mint(shares: uint256, receiver: address) -> uint256:
    assets: uint256 = self._assets_up(shares)
    self._enter(assets, shares, receiver)
    return assets


def _enter(assets: uint256, shares: uint256, receiver: address):
    assert receiver != empty(address), "to nobody"
    assert shares > 0, "no shares"
    assert self._assets() + assets <= self.cap, "over the cap"
    held: uint256 = self.balanceOf[receiver]
    start: uint256 = max(self.unlocked_at[receiver], block.timestamp)
    end: uint256 = block.timestamp + LOCK_TIME
    total: uint256 = held + shares
    self.unlocked_at[receiver] = (held * start + shares * end + total - 1) // total
    self.totalSupply += shares
    self.balanceOf[receiver] = total
    extcall ICoin(asset).transferFrom(msg.sender, self, assets)
    log Transfer(sender=empty(address), receiver=receiver, value=shares)
    log Deposit(sender=msg.sender, owner=receiver, assets=assets, shares=shares)


# -- out ---------------------------------------------------------------------------------------------


@external
def withdraw(assets: uint256, receiver: address, owner: address) -> uint256:
    fee: uint256 = self._fee_on_net(assets)
    shares: uint256 = self._shares_up(assets + fee)
    self._leave(assets, fee, shares, receiver, owner)
    return shares


@external
def redeem(shares: uint256, receiver: address, owner: address) -> uint256:
    gross: uint256 = self._assets_down(shares)
    fee: uint256 = self._fee_on_gross(gross)
    self._leave(gross - fee, fee, shares, receiver, owner)
    return gross - fee


def _leave(assets: uint256, fee: uint256, shares: uint256, receiver: address, owner: address):
    assert shares > 0, "no shares"
    assert block.timestamp >= self.unlocked_at[owner], "locked"
    if msg.sender != owner:
        allowed: uint256 = self.allowance[owner][msg.sender]
        assert shares <= allowed, "allowance"
        self.allowance[owner][msg.sender] = allowed - shares
    assert shares <= self.balanceOf[owner], "balance"
    self.balanceOf[owner] -= shares
    self.totalSupply -= shares
    self.fees += fee
    extcall ICoin(asset).transfer(receiver, assets)
    log Transfer(sender=owner, receiver=empty(address), value=shares)
    log Withdraw(sender=msg.sender, receiver=receiver, owner=owner, assets=assets, shares=shares)


# -- shares ------------------------------------------------------------------------------------------


@external
def transfer(to: address, shares: uint256) -> bool:
    assert to != empty(address), "to nobody"
    assert block.timestamp >= self.unlocked_at[msg.sender], "locked"
    assert shares <= self.balanceOf[msg.sender], "balance"
    self.balanceOf[msg.sender] -= shares
    self.balanceOf[to] += shares
    log Transfer(sender=msg.sender, receiver=to, value=shares)
    return True


@external
def approve(spender: address, shares: uint256) -> bool:
    self.allowance[msg.sender][spender] = shares
    log Approval(owner=msg.sender, spender=spender, value=shares)
    return True


# -- owner -------------------------------------------------------------------------------------------


@external
def set_terms(fee_bps: uint256, cap: uint256):
    assert msg.sender == self.owner, "not owner"
    assert fee_bps <= MAX_FEE_BPS, "fee too high"
    self.fee_bps = fee_bps
    self.cap = cap
    log TermsSet(fee_bps=fee_bps, cap=cap)


@external
def collect_fees(receiver: address) -> uint256:
    assert msg.sender == self.owner, "not owner"
    amount: uint256 = self.fees
    self.fees = 0
    extcall ICoin(asset).transfer(receiver, amount)
    log FeesCollected(receiver=receiver, amount=amount)
    return amount


# -- views -------------------------------------------------------------------------------------------


@external
@view
def totalAssets() -> uint256:
    return self._assets()


@external
@view
def previewDeposit(assets: uint256) -> uint256:
    return self._shares_down(assets)


@external
@view
def previewMint(shares: uint256) -> uint256:
    return self._assets_up(shares)


@external
@view
def previewWithdraw(assets: uint256) -> uint256:
    return self._shares_up(assets + self._fee_on_net(assets))


@external
@view
def previewRedeem(shares: uint256) -> uint256:
    gross: uint256 = self._assets_down(shares)
    return gross - self._fee_on_gross(gross)


@external
@view
def maxDeposit(receiver: address) -> uint256:
    assets: uint256 = self._assets()
    return self.cap - assets if assets < self.cap else 0


@external
@view
def maxRedeem(owner: address) -> uint256:
    return self.balanceOf[owner] if block.timestamp >= self.unlocked_at[owner] else 0


# -- arithmetic --------------------------------------------------------------------------------------


@view
def _assets() -> uint256:
    return staticcall ICoin(asset).balanceOf(self) - self.fees


@view
def _shares_down(assets: uint256) -> uint256:
    return assets * (self.totalSupply + VIRTUAL_SHARES) // (self._assets() + 1)


@view
def _shares_up(assets: uint256) -> uint256:
    whole: uint256 = self._assets() + 1
    return (assets * (self.totalSupply + VIRTUAL_SHARES) + whole - 1) // whole


@view
def _assets_down(shares: uint256) -> uint256:
    return shares * (self._assets() + 1) // (self.totalSupply + VIRTUAL_SHARES)


@view
def _assets_up(shares: uint256) -> uint256:
    whole: uint256 = self.totalSupply + VIRTUAL_SHARES
    return (shares * (self._assets() + 1) + whole - 1) // whole


@view
def _fee_on_gross(gross: uint256) -> uint256:
    return (gross * self.fee_bps + BPS - 1) // BPS


@view
def _fee_on_net(net: uint256) -> uint256:
    rest: uint256 = BPS - self.fee_bps
    return (net * self.fee_bps + rest - 1) // rest

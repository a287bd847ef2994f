"""Mirror of what the pool uses of snekmate's erc20."""

from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Chain, Contract, Storage, external
from python_model.modules import errors

TRANSFER_FROM_ZERO = "erc20: transfer from the zero address"
TRANSFER_TO_ZERO = "erc20: transfer to the zero address"
EXCEEDS_BALANCE = "erc20: transfer amount exceeds balance"
MINT_TO_ZERO = "erc20: mint to the zero address"
BURN_FROM_ZERO = "erc20: burn from the zero address"
BURN_EXCEEDS_BALANCE = "erc20: burn amount exceeds balance"
APPROVE_FROM_ZERO = "erc20: approve from the zero address"
APPROVE_TO_ZERO = "erc20: approve to the zero address"
INSUFFICIENT_ALLOWANCE = "erc20: insufficient allowance"


class ERC20(Contract):
    """A share token."""

    def __init__(self, chain: Chain, address: str, name: str, symbol: str, decimals: int) -> None:
        super().__init__(chain, address)
        self.name = name
        self.symbol = symbol
        self.decimals = decimals
        self.totalSupply = 0
        self.balanceOf: Storage[str, int] = Storage(chain, 0)
        self.allowance: Storage[tuple[str, str], int] = Storage(chain, 0)

    @external
    def transfer(self, to: str, amount: int, *, sender: str) -> bool:
        self._transfer(sender, to, amount)
        return True

    @external
    def transferFrom(self, owner: str, to: str, amount: int, *, sender: str) -> bool:
        self._spend_allowance(owner, sender, amount)
        self._transfer(owner, to, amount)
        return True

    @external
    def approve(self, spender: str, amount: int, *, sender: str) -> bool:
        self._approve(sender, spender, amount)
        return True

    def _transfer(self, owner: str, to: str, amount: int) -> None:
        errors._require(owner != ZERO_ADDRESS, TRANSFER_FROM_ZERO)
        errors._require(to != ZERO_ADDRESS, TRANSFER_TO_ZERO)
        balance = self.balanceOf[owner]
        errors._require(balance >= amount, EXCEEDS_BALANCE)
        self.balanceOf[owner] = balance - amount
        self.balanceOf[to] += amount
        self.log("Transfer", owner, to, amount)

    def _mint(self, owner: str, amount: int) -> None:
        errors._require(owner != ZERO_ADDRESS, MINT_TO_ZERO)
        self.totalSupply += amount
        self.balanceOf[owner] += amount
        self.log("Transfer", ZERO_ADDRESS, owner, amount)

    def _burn(self, owner: str, amount: int) -> None:
        errors._require(owner != ZERO_ADDRESS, BURN_FROM_ZERO)
        balance = self.balanceOf[owner]
        errors._require(balance >= amount, BURN_EXCEEDS_BALANCE)
        self.balanceOf[owner] = balance - amount
        self.totalSupply -= amount
        self.log("Transfer", owner, ZERO_ADDRESS, amount)

    def _approve(self, owner: str, spender: str, amount: int) -> None:
        errors._require(owner != ZERO_ADDRESS, APPROVE_FROM_ZERO)
        errors._require(spender != ZERO_ADDRESS, APPROVE_TO_ZERO)
        self.allowance[owner, spender] = amount
        self.log("Approval", owner, spender, amount)

    def _spend_allowance(self, owner: str, spender: str, amount: int) -> None:
        allowed = self.allowance[owner, spender]
        if allowed < MAX_UINT256:
            errors._require(allowed >= amount, INSUFFICIENT_ALLOWANCE)
            self._approve(owner, spender, allowed - amount)

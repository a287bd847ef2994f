"""Mirror of contracts/testing/TokenMock.vy and NoReturnTokenMock.vy."""

from collections.abc import Callable

from python_model.evm import MAX_UINT256, ZERO_ADDRESS, Chain, Contract, Revert, Storage, external


class TokenMock(Contract):
    """ERC-20 for tests: anyone mints; may keep a fee on transfers and call back before one."""

    def __init__(self, chain: Chain, address: str, decimals: int) -> None:
        super().__init__(chain, address)
        self.decimals = decimals
        self.totalSupply = 0
        self.balanceOf: Storage[str, int] = Storage(chain, 0)
        self.allowance: Storage[tuple[str, str], int] = Storage(chain, 0)
        self.fee_bps = 0
        self.hook: Callable[[], object] | None = None

    @external
    def mint(self, receiver: str, amount: int, *, sender: str) -> None:
        if self.totalSupply + amount > MAX_UINT256:
            raise Revert
        self.totalSupply += amount
        self.balanceOf[receiver] += amount
        self.log("Transfer", ZERO_ADDRESS, receiver, amount)

    @external
    def set_fee(self, fee_bps: int, *, sender: str) -> None:
        self.fee_bps = fee_bps

    @external
    def set_hook(self, hook: Callable[[], object] | None, *, sender: str) -> None:
        """The contract is given a target and calldata, the model the call itself."""
        self.hook = hook

    @external
    def seize(self, owner: str, amount: int, *, sender: str) -> None:
        if self.balanceOf[owner] < amount:
            raise Revert
        self.balanceOf[owner] -= amount
        self.balanceOf[sender] += amount
        self.log("Transfer", owner, sender, amount)

    @external
    def approve(self, spender: str, amount: int, *, sender: str) -> bool:
        self.allowance[sender, spender] = amount
        self.log("Approval", sender, spender, amount)
        return True

    @external
    def transfer(self, receiver: str, amount: int, *, sender: str) -> bool:
        if self.fee_bps > 10_000:
            return False
        self._move(sender, receiver, amount)
        return True

    @external
    def transferFrom(self, sender_: str, receiver: str, amount: int, *, sender: str) -> bool:
        if self.fee_bps > 10_000:
            return False
        allowed = self.allowance[sender_, sender]
        if allowed != MAX_UINT256:
            if allowed < amount:
                raise Revert
            self.allowance[sender_, sender] = allowed - amount
        self._move(sender_, receiver, amount)
        return True

    def _move(self, sender: str, receiver: str, amount: int) -> None:
        if self.hook is not None:
            self.hook()
        if self.balanceOf[sender] < amount or amount * self.fee_bps > MAX_UINT256:
            raise Revert
        fee = amount * self.fee_bps // 10_000
        if fee > amount:
            raise Revert
        self.balanceOf[sender] -= amount
        self.balanceOf[receiver] += amount - fee
        self.log("Transfer", sender, receiver, amount)

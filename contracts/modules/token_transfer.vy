# pragma version 0.4.3
"""
@title Token transfers that are exact or revert
@notice Works with tokens that return nothing. A token that credits less than was sent is refused.
"""

from ethereum.ercs import IERC20

from contracts.modules import errors


@internal
def _pull(token: IERC20, sender: address, amount: uint256):
    """
    @notice Moves `amount` token units from `sender` to this contract, exactly.
    """
    errors._require(
        staticcall token.allowance(sender, self) >= amount, errors.ALLOWANCE_TOO_LOW
    )
    errors._require(staticcall token.balanceOf(sender) >= amount, errors.BALANCE_TOO_LOW)
    before: uint256 = staticcall token.balanceOf(self)
    errors._require(
        extcall token.transferFrom(sender, self, amount, default_return_value=True),
        errors.TRANSFER_FAILED,
    )
    errors._require(staticcall token.balanceOf(self) >= before + amount, errors.CREDITED_LESS)


@internal
def _push(token: IERC20, receiver: address, amount: uint256):
    """
    @notice Moves `amount` token units from this contract to `receiver`; nothing when zero.
    """
    if amount > 0:
        errors._require(
            extcall token.transfer(receiver, amount, default_return_value=True),
            errors.TRANSFER_FAILED,
        )

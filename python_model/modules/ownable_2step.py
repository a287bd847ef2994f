"""Mirror of what the contracts use of snekmate's ownable and ownable_2step."""

from python_model.evm import ZERO_ADDRESS, Contract, external
from python_model.modules import errors

NOT_THE_OWNER = "ownable: caller is not the owner"
NOT_THE_NEW_OWNER = "ownable_2step: caller is not the new owner"


class Ownable2Step(Contract):
    """An owner that is replaced in two steps."""

    owner: str = ZERO_ADDRESS
    pending_owner: str = ZERO_ADDRESS

    def _check_owner(self, sender: str) -> None:
        errors._require(sender == self.owner, NOT_THE_OWNER)

    def _transfer_ownership(self, new_owner: str) -> None:
        self.pending_owner = ZERO_ADDRESS
        old_owner = self.owner
        self.owner = new_owner
        self.log("OwnershipTransferred", old_owner, new_owner)

    @external
    def transfer_ownership(self, new_owner: str, *, sender: str) -> None:
        self._check_owner(sender)
        self.pending_owner = new_owner
        self.log("OwnershipTransferStarted", self.owner, new_owner)

    @external
    def accept_ownership(self, *, sender: str) -> None:
        errors._require(self.pending_owner == sender, NOT_THE_NEW_OWNER)
        self._transfer_ownership(sender)

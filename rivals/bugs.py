"""Ten bugs, each planted into a copy of the vault: four move a guard by one, four miscount, two
leave something out."""

from typing import NamedTuple

from rivals.vault.adapter import ROOT, SOURCE


class Bug(NamedTuple):
    id: str
    sentence: str
    old: str
    new: str
    edge: bool = False  # only one exact value shows it


BUGS = (
    Bug(
        "edge-liquidation",
        "a position that just meets its requirement is liquidated",
        "position.margin + profit < owed + maintenance",
        "position.margin + profit <= owed + maintenance",
        True,
    ),
    Bug(
        "edge-leverage",
        "the largest leverage is refused",
        "assert size <= margin * MAX_LEVERAGE",
        "assert size < margin * MAX_LEVERAGE",
        True,
    ),
    Bug(
        "edge-cap",
        "the last unit under the cap is refused",
        "assert self.open_interest + size <= CAP",
        "assert self.open_interest + size < CAP",
        True,
    ),
    Bug(
        "edge-age",
        "a price is stale one second early",
        "assert block.timestamp <= self.priced_at + MAX_AGE",
        "assert block.timestamp < self.priced_at + MAX_AGE",
        True,
    ),
    Bug(
        "fee-down",
        "the fee of opening is rounded down",
        "fee: uint256 = self._part_up(size, FEE_BPS)",
        "fee: uint256 = size * FEE_BPS // 10_000",
    ),
    Bug(
        "loss-down",
        "a loss is rounded down",
        "(change + position.entry - 1) // position.entry",
        "change // position.entry",
    ),
    Bug(
        "pool-short",
        "a pool that cannot pay a profit in full makes the close revert",
        "    profit = min(profit, self.pool)\n",
        "",
    ),
    Bug(
        "reward-unbacked",
        "the keeper of a position with nothing left is promised the full reward",
        "min(left, position.size * REWARD_BPS // 10_000)",
        "position.size * REWARD_BPS // 10_000",
    ),
    Bug(
        "self-liquidation",
        "an owner may liquidate his own position",
        '    assert position.owner != msg.sender, "own position"\n',
        "",
    ),
    Bug(
        "interest-at-price",
        "closing takes the value at the present price from open interest",
        "self.open_interest -= position.size",
        "self.open_interest -= min(\n"
        "        self.open_interest, position.size * self.price // position.entry\n"
        "    )",
    ),
)


def overrides(bug: Bug | None) -> dict[str, str]:
    """The vault's source with the bug, for the compiler."""
    if bug is None:
        return {}
    text = (ROOT / SOURCE).read_text()
    assert text.count(bug.old) == 1, f"{bug.id}: {bug.old!r} is not once in {SOURCE}"
    return {SOURCE: text.replace(bug.old, bug.new)}

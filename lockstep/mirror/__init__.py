"""An adapter from compiled contracts and Python models, with as little to write as possible.

docs/first_campaign.md walks through it; examples/ has a whole one.
"""

from lockstep.mirror.adapter import MirrorAdapter, mirror_command
from lockstep.mirror.model import (
    MAX_UINT256,
    ZERO_ADDRESS,
    Chain,
    Contract,
    HashMap,
    Revert,
    int256,
    require,
    uint256,
)
from lockstep.mirror.twin import Mirror, invariant, step

__all__ = [
    "MAX_UINT256",
    "ZERO_ADDRESS",
    "Chain",
    "Contract",
    "HashMap",
    "Mirror",
    "MirrorAdapter",
    "Revert",
    "int256",
    "invariant",
    "mirror_command",
    "require",
    "step",
    "uint256",
]

"""One step of a campaign, and what the model says it does."""

from typing import Any, NamedTuple

from lockstep.engines.base import Log


class Step(NamedTuple):
    action: str  # name in the adapter's action table, e.g. "open"
    actor: str  # role name, e.g. "trader_3"
    args: tuple[int | str, ...]  # what the action's encoder understands; JSON-serialisable
    at: int  # absolute block timestamp
    aim: str = "valid"  # "valid" | "invalid" | "edge": the generator's intention, for the report


class ModelResult(NamedTuple):
    ok: bool
    output: bytes  # ABI-encoded return value, or revert data (b"" for a bare revert)
    logs: list[Log]
    reason: str = ""  # "" or the revert reason
    value: int | None = None  # the return value if it is one integer (resolves references)
    changed: bool = True  # whether the step changed state; False for a revert


def to_json(step: Step) -> list[Any]:
    return [step.action, step.actor, list(step.args), step.at, step.aim]


def from_json(item: list[Any]) -> Step:
    action, actor, args, at, aim = item
    return Step(action, actor, tuple(args), at, aim)

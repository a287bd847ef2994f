"""What a mirror knows of a compiled contract and its model class, and of their functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lockstep.compiler import Artifact
from lockstep.engines.base import Log
from lockstep.mirror.codec import FunctionCodec, Item, event_encoders, functions_of, value_maker
from lockstep.mirror.model import Contract, Revert, caller_argument
from lockstep.mirror.storage import Variable, split_mapping, variables


class Interface(NamedTuple):
    """What a mirror knows of one compiled contract, worked out once for all its twins."""

    artifact: Artifact
    model: type[Contract]
    functions: dict[str, FunctionCodec]
    variables: tuple[Variable, ...]
    keys: dict[str, int]  # of the mappings
    constructor: FunctionCodec
    events: dict[type[Any], Callable[..., Log]]
    callers: dict[str, str]  # function of the model -> its keyword-only argument, or ""

    @classmethod
    def of(cls, artifact: Artifact, model: type[Contract]) -> "Interface":
        functions = functions_of(artifact.abi)
        found = tuple(variables(artifact.layout))
        encoders = event_encoders(artifact.abi)
        constructors = [entry for entry in artifact.abi if entry["type"] == "constructor"]
        constructor: Item = [*constructors, {"inputs": [], "stateMutability": ""}][0]
        return cls(
            artifact,
            model,
            functions,
            found,
            {item.attribute: len(split_mapping(item.kind)[0]) for item in found if item.is_mapping},
            FunctionCodec([{**constructor, "name": "__init__", "outputs": []}]),
            {event: encoders[event.__name__] for event in model.EVENTS},
            {
                name: caller_argument(getattr(model, name))
                for name in functions
                if callable(getattr(model, name, None))
            },
        )

    def compiled(self, artifact: Artifact) -> "Interface":
        """The same with another compilation, be it of another text."""
        if artifact.abi == self.artifact.abi and artifact.layout == self.artifact.layout:
            return self._replace(artifact=artifact)
        return Interface.of(artifact, self.model)


class Bound:
    """A function of one twin: calldata on one side, a method of the model on the other."""

    __slots__ = ("address", "call", "caller", "codec", "is_getter", "makers")

    def __init__(
        self,
        codec: FunctionCodec,
        address: str,
        call: Callable[..., Any],
        caller: str | None,
        addresses: dict[str, str],
    ) -> None:
        self.codec = codec
        self.address = address
        self.call = call
        self.caller = caller
        self.is_getter = caller is None
        makers = [value_maker(item, addresses) for item in codec.inputs]
        self.makers = makers if any(makers) else []

    def values(self, args: Sequence[Any]) -> Sequence[Any]:
        """What the model gets for the arguments of a step."""
        if not self.makers:
            return args
        return [maker(arg) if maker else arg for maker, arg in zip(self.makers, args, strict=False)]


def getter(model: Contract, name: str, keys: int) -> Callable[..., Any]:
    """What Vyper makes of a public variable or constant: keys of its mapping, then indices."""

    def get(*given: Any) -> Any:
        value = getattr(model, name)
        if keys:
            value = value[given[0] if keys == 1 else given[:keys]]
        for index in given[keys:]:
            if index >= len(value):
                raise Revert
            value = value[index]
        return value

    return get

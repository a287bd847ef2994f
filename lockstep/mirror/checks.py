"""Whether a model has what its contract has. Asked before the first step, answered in one line."""

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from lockstep.compiler import Artifact
from lockstep.errors import InputError
from lockstep.mirror.codec import FunctionCodec, Item, canonical, functions_of
from lockstep.mirror.model import Contract, HashMap
from lockstep.mirror.storage import Variable, variables

SHOWN = 5  # findings told at once


def check_model(
    name: str, artifact: Artifact, model: type[Contract], unmirrored: Mapping[str, str]
) -> None:
    """InputError if the class lacks a function or event of the contract, or has it otherwise."""
    findings = [
        *_constructor(name, artifact, model),
        *_functions(name, artifact, model, unmirrored),
        *_events(name, artifact, model, unmirrored),
    ]
    _tell(f"model {model.__qualname__} of {artifact.path}", findings)


def check_functions(
    name: str, artifact: Artifact, model: type[Any], unmirrored: Mapping[str, str] | None = None
) -> None:
    """The same for the functions alone: for a model of any make, whatever its constructor takes."""
    findings = list(_functions(name, artifact, model, unmirrored or {}))
    _tell(f"model {model.__qualname__} of {artifact.path}", findings)


def check_state(
    name: str,
    functions: Mapping[str, FunctionCodec],
    found: Sequence[Variable],
    model: Contract,
    unmirrored: Mapping[str, str],
) -> None:
    """InputError if a freshly constructed model lacks a variable or constant of the contract."""
    findings: list[str] = []
    for variable in found:
        label = f"{name}.{variable.name}"
        if label not in unmirrored:
            findings += _state(label, variable, model)
    stored = {variable.attribute for variable in found}
    for function in functions.values():
        missing = function.name not in stored and not hasattr(model, function.name)
        if missing and f"{name}.{function.name}" not in unmirrored:
            findings.append(_lacks(name, function, type(model)))
    _tell(f"model {type(model).__qualname__}", findings)


def check_unmirrored(unmirrored: Mapping[str, str], artifacts: Mapping[str, Artifact]) -> None:
    """InputError if what is left out has no reason, or is nothing the contracts have."""
    known = {
        f"{name}.{entry['name']}"
        for name, artifact in artifacts.items()
        for entry in artifact.abi
        if "name" in entry
    }
    for name, artifact in artifacts.items():
        known |= {f"{name}.{variable.name}" for variable in variables(artifact.layout)}
    for label, reason in unmirrored.items():
        if label not in known:
            raise InputError(f"unmirrored {label!r}: no contract has it{_hint(label, known)}")
        if not reason.strip():
            raise InputError(f"unmirrored {label!r}: say why it is left out")


def _tell(subject: str, findings: Sequence[str]) -> None:
    if findings:
        more = f"; and {len(findings) - SHOWN} more" if len(findings) > SHOWN else ""
        raise InputError(f"{subject}: {'; '.join(findings[:SHOWN])}{more}")


def _hint(wanted: str, known: Any) -> str:
    close = get_close_matches(wanted, sorted(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


# -- functions -------------------------------------------------------------------------------------


def _constructor(name: str, artifact: Artifact, model: type[Contract]) -> Iterator[str]:
    constructor = [entry for entry in artifact.abi if entry["type"] == "constructor"]
    inputs = constructor[0]["inputs"] if constructor else []
    # object's own would take anything.
    own = model.__init__ if model.__init__ is not object.__init__ else _no_arguments
    yield from _arguments(f"{name}.__init__", inputs, len(inputs), own)


def _functions(
    name: str, artifact: Artifact, model: type[Any], unmirrored: Mapping[str, str]
) -> Iterator[str]:
    stored = {variable.attribute for variable in variables(artifact.layout)}
    for function in functions_of(artifact.abi).values():
        label = f"{name}.{function.name}"
        found = getattr(model, function.name, None)
        if label in unmirrored or function.name in stored:
            continue
        if found is None and function.is_view and not function.inputs:
            continue  # the getter of an immutable: the constructor sets it
        if found is None:
            yield _lacks(name, function, model)
        elif callable(found):
            yield from _arguments(label, function.inputs, function.least, found)
            yield from _returns(label, function, found)


def _lacks(name: str, function: FunctionCodec, model: type[Any]) -> str:
    wanted = f"{function.name}({', '.join(item['name'] for item in function.inputs)})"
    hint = _hint(function.name, [one for one in dir(model) if not one.startswith("_")])
    return (
        f"{name}.{wanted} is missing: write it, or name {name}.{function.name} in `unmirrored` "
        f"with the reason{hint}"
    )


def _no_arguments(self: Any) -> None:
    """Constructor of a model that has none."""


def _arguments(
    label: str, inputs: Sequence[Item], least: int, function: Callable[..., Any]
) -> Iterator[str]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    positional = [item for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    callers = [item for item in parameters if item.kind is item.KEYWORD_ONLY]
    wanted = [item["name"] for item in inputs]
    got = [item.name for item in positional]
    if got != wanted or len(positional) + len(callers) < len(parameters):
        taken = [item for item in parameters if item not in callers]
        shown = ", ".join(str(item).partition(":")[0] for item in taken)
        yield (
            f"{label} takes ({', '.join(wanted)}) in the contract and ({shown}) in the model: "
            "make names, number and order equal"
        )
    elif len(callers) > 1:
        names = ", ".join(item.name for item in callers)
        yield f"{label} has the keyword-only arguments {names}: keep one, which gets msg.sender"
    else:
        for item in positional[least:]:
            if item.default is item.empty:
                yield f"{label}: give {item.name} a default, as the contract does"


def _returns(label: str, function: FunctionCodec, found: Callable[..., Any]) -> Iterator[str]:
    returns = _returns_value(found)
    kinds = ", ".join(map(canonical, function.outputs))
    if kinds and returns is False:
        yield f"{label} returns {kinds} in the contract and nothing in the model: return it"
    elif not kinds and returns:
        yield f"{label} returns nothing in the contract and a value in the model: drop it"


def _returns_value(function: Callable[..., Any]) -> bool | None:
    """Whether any `return` has a value other than None; None for a function that never returns."""
    returns: bool | None = None
    previous = None
    for instruction in dis.get_instructions(inspect.unwrap(function)):
        if instruction.opname == "RETURN_CONST":  # of Python 3.12
            returns = bool(returns) or instruction.argval is not None
        elif instruction.opname == "RETURN_VALUE":
            is_none = (
                previous is not None and previous.opname == "LOAD_CONST" and previous.argval is None
            )
            returns = bool(returns) or not is_none
        previous = instruction
    return returns


# -- events and state ------------------------------------------------------------------------------


def _events(
    name: str, artifact: Artifact, model: type[Contract], unmirrored: Mapping[str, str]
) -> Iterator[str]:
    entries = {entry["name"]: entry for entry in artifact.abi if entry["type"] == "event"}
    declared = {event.__name__: event for event in model.EVENTS}
    for event, entry in entries.items():
        wanted = [item["name"] for item in entry["inputs"]]
        if event not in declared:
            if f"{name}.{event}" not in unmirrored:
                yield (
                    f"event {name}.{event} is missing: add NamedTuple {event}({', '.join(wanted)}) "
                    f"to EVENTS{_hint(event, set(declared) - set(entries))}"
                )
            continue
        got = list(getattr(declared[event], "_fields", ()))
        if got != wanted:
            yield (
                f"event {name}.{event} has the fields ({', '.join(wanted)}) in the contract and "
                f"({', '.join(got)}) in the model: make names and order equal"
            )
    for event in declared.keys() - entries.keys():
        yield f"event {name}.{event} is in EVENTS and not in the contract{_hint(event, entries)}"


def _state(label: str, variable: Variable, model: Contract) -> Iterator[str]:
    attribute = variable.attribute
    if attribute not in vars(model):
        hint = _hint(attribute, vars(model))
        yield (
            f"storage variable {label} ({variable.kind}) is missing: set self.{attribute} in the "
            f"constructor, or name {label} in `unmirrored` with the reason{hint}"
        )
        return
    value = vars(model)[attribute]
    if variable.is_mapping != isinstance(value, HashMap):
        wanted = "a HashMap" if variable.is_mapping else f"a value of {variable.kind}"
        yield f"self.{attribute} is {type(value).__name__}: {label} wants {wanted}"

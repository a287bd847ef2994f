"""Compares a contract with its model by reading both texts: nothing is executed or compiled.

`read_contract` and `read_model` reduce a file to what the two have in common; `differences` says in
words where they disagree. What the two forms do differently on purpose is said in `Allowed`, by
name, and `unused_allowances` finds what is allowed without need.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from vyper import ast as vy_ast

Event = tuple[str, tuple[str, ...]]  # name, what each field is filled with


@dataclass
class Function:
    """A signature, and in source order the reasons, events and internal calls of the body."""

    name: str
    arguments: list[str]
    is_transaction: bool  # external and not a view
    is_view: bool
    returned: int  # how many values
    reasons: list[str]
    events: list[Event]
    calls: list[str]
    reads_sender: bool = False
    calls_out: bool = False


@dataclass
class Unit:
    """What one file declares, in order of declaration."""

    functions: list[Function] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    structs: dict[str, list[str]] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)  # declared; contracts only
    attributes: set[str] = field(default_factory=set)  # state, and what is public


@dataclass(frozen=True)
class Allowed:
    """Names that one of the two forms has alone, and why; `f/g` is a call of g in f alone."""

    in_contract: dict[str, str] = field(default_factory=dict)
    in_model: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: "Allowed") -> "Allowed":
        return Allowed(self.in_contract | other.in_contract, self.in_model | other.in_model)


# The contract


def read_contract(
    source: str,
    *interfaces: str,
    getters: Iterable[str] = (),
    known: dict[str, Any] | None = None,
) -> Unit:
    """Reads a contract or module; structs and events come from its interfaces too.

    `getters` names functions of other people's modules that it exports, `known` are the values of
    module `constants`.
    """
    unit = Unit(attributes=set(getters))
    imported = {"constants": SimpleNamespace(**known or {})}
    for interface in interfaces:
        _read_declarations(vy_ast.parse_to_ast(interface, is_interface=True), unit)
    module = vy_ast.parse_to_ast(source)
    _read_declarations(module, unit)
    for variable in module.get_children(vy_ast.VariableDecl):
        if variable.is_constant:
            value = _evaluate(variable.value.node_source_code, imported | unit.constants)
            unit.constants[variable.target.id] = value
        elif variable.is_public or variable.is_immutable:
            unit.attributes.add(variable.target.id)
    functions = module.get_children(vy_ast.FunctionDef)
    unit.functions = [_read_vyper(node) for node in functions if node.name != "__init__"]
    _spread_sender(unit.functions)
    return unit


def exported_names(source: str) -> set[str]:
    """The functions that a contract exports from modules, without the modules' names."""
    names = set()
    for node in vy_ast.parse_to_ast(source).get_children(vy_ast.ExportsDecl):
        for item in node.get_descendants(vy_ast.Attribute):
            if not isinstance(item.get_ancestor(), vy_ast.Attribute):
                names.add(item.attr)
    return names


def _read_declarations(module: vy_ast.Module, unit: Unit) -> None:
    for kind, found in ((vy_ast.StructDef, unit.structs), (vy_ast.EventDef, unit.events)):
        for node in module.get_children(kind):
            found[node.name] = [item.target.id for item in node.body if hasattr(item, "target")]


def _read_vyper(node: vy_ast.FunctionDef) -> Function:
    decorators = {item.id for item in node.decorator_list if isinstance(item, vy_ast.Name)}
    attributes = _in_order(node.get_descendants(vy_ast.Attribute))
    sent = {call.value.func.attr for call in node.get_descendants(vy_ast.ExtCall)}
    is_external = "external" in decorators
    is_view = bool(decorators & {"view", "pure"})
    return Function(
        name=node.name,
        arguments=[argument.arg for argument in node.args.args],
        is_transaction=is_external and not is_view,
        is_view=is_external and is_view,
        returned=_count_vyper(node.returns),
        reasons=[item.attr for item in attributes if _is_reason(item.value, item.attr)],
        events=[_read_log(log) for log in _in_order(node.get_descendants(vy_ast.Log))],
        calls=[
            call.func.attr
            for call in _in_order(node.get_descendants(vy_ast.Call))
            if isinstance(call.func, vy_ast.Attribute)
            and (_is_internal(call.func.attr) or call.func.attr in sent)
        ],
        reads_sender=any(
            getattr(item.value, "id", "") == "msg" and item.attr == "sender" for item in attributes
        ),
        calls_out=bool(sent),
    )


def _read_log(node: vy_ast.Log) -> Event:
    event = node.value.func
    name = event.attr if isinstance(event, vy_ast.Attribute) else event.id
    fields = (f"{item.arg}={_tidy(item.value.node_source_code)}" for item in node.value.keywords)
    return name, tuple(fields)


def _count_vyper(returns: vy_ast.VyperNode | None) -> int:
    if returns is None:
        return 0
    return len(returns.elements) if isinstance(returns, vy_ast.Tuple) else 1


def _spread_sender(functions: list[Function]) -> None:
    """A function that calls one which needs the sender has to be given it as well."""
    by_name = {function.name: function for function in functions}
    changed = True
    while changed:
        changed = False
        for function in functions:
            called = (by_name[name] for name in function.calls if name in by_name)
            if not function.reads_sender and any(item.reads_sender for item in called):
                function.reads_sender = changed = True


# The model

TUPLE_COPY = "_replace"  # of a NamedTuple: no function of ours


def read_model(
    source: str, class_name: str = "", *bases: str, known: dict[str, Any] | None = None
) -> Unit:
    """Reads a model file: its functions, or the methods of `class_name` if given.

    `bases` are the texts of the classes it inherits from: they count as its attributes. `known` are
    the values of module `constants`.
    """
    unit = Unit()
    imported = {"constants": SimpleNamespace(**known or {})}
    for base in bases:
        unit.attributes |= _names_in_classes(ast.parse(base))
    module = ast.parse(source)
    body = list(module.body)
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            if node.name == class_name:
                body += node.body
            else:
                unit.structs[node.name] = [
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                ]
    for item in body:
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            value = _evaluate(ast.unparse(item.value), imported | unit.constants)
            unit.constants[item.targets[0].id] = value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            unit.attributes.add(item.target.id)
        elif isinstance(item, ast.FunctionDef) and item.name == "__init__":
            unit.attributes |= set(_assigned_to_self(item))
        elif isinstance(item, ast.FunctionDef):
            unit.functions.append(_read_python(item))
    return unit


def _names_in_classes(module: ast.Module) -> set[str]:
    names = set()
    for item in ast.walk(module):
        if isinstance(item, ast.FunctionDef):
            names |= {item.name} | set(_assigned_to_self(item))
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
    return names


def _read_python(node: ast.FunctionDef) -> Function:
    decorators = {item.id for item in node.decorator_list if isinstance(item, ast.Name)}
    calls = _in_order(item for item in ast.walk(node) if isinstance(item, ast.Call))
    arguments = [argument.arg for argument in node.args.args if argument.arg != "self"]
    is_transaction = "external" in decorators
    if is_transaction:
        arguments += [f"*, {argument.arg}" for argument in node.args.kwonlyargs]
    attributes = _in_order(item for item in ast.walk(node) if isinstance(item, ast.Attribute))
    return Function(
        name=node.name,
        arguments=arguments,
        is_transaction=is_transaction,
        is_view=not is_transaction and not _is_internal(node.name),
        returned=_count_python(node.returns),
        reasons=[item.attr for item in attributes if _is_reason(item.value, item.attr)],
        events=[
            (call.args[0].value, tuple(_tidy(ast.unparse(item)) for item in call.args[1:]))
            for call in calls
            if ast.unparse(call.func) == "self.log" and isinstance(call.args[0], ast.Constant)
        ],
        calls=[
            name
            for name in (ast.unparse(call.func).split(".")[-1] for call in calls)
            if name != TUPLE_COPY
        ],
    )


def _count_python(returns: ast.expr | None) -> int:
    if returns is None or ast.unparse(returns) == "None":
        return 0
    if isinstance(returns, ast.Subscript) and ast.unparse(returns.value) == "tuple":
        items = returns.slice.elts if isinstance(returns.slice, ast.Tuple) else []
        is_list = not items or ast.unparse(items[-1]) == "..."
        return 1 if is_list else len(items)
    return 1


def _assigned_to_self(node: ast.FunctionDef) -> Iterator[str]:
    for item in ast.walk(node):
        targets: list[ast.expr] = []
        if isinstance(item, ast.Assign):
            targets = item.targets
        elif isinstance(item, ast.AnnAssign):
            targets = [item.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                yield target.attr


# Both


def _in_order(nodes: Iterable[Any]) -> list[Any]:
    """Nodes in the order in which they end in the text: arguments before the call around them."""
    return sorted(nodes, key=lambda node: (node.end_lineno, node.end_col_offset))


def _is_internal(name: str) -> bool:
    return name.startswith("_")


def _is_reason(owner: Any, name: str) -> bool:
    return getattr(owner, "id", "") == "errors" and name.isupper()


def _tidy(expression: str) -> str:
    """One spelling for both languages: contracts pass addresses where the model passes objects."""
    expression = re.sub(r"\bmsg\.sender\b", "sender", expression)
    expression = re.sub(r"\bblock\.timestamp\b", "self.chain.timestamp", expression)
    return re.sub(r"\.address$", "", ast.unparse(ast.parse(expression.strip(), mode="eval")))


def _evaluate(expression: str, known: dict[str, Any]) -> Any:
    """Value of a constant: literals, arithmetic and the constants before it; None for others."""
    try:
        return eval(expression, {"__builtins__": {}}, dict(known))
    except (AttributeError, NameError, TypeError):
        return None


NOTHING = Allowed()


def differences(contract: Unit, model: Unit, allowed: Allowed = NOTHING) -> list[str]:
    """Everything in which the two disagree, one sentence each."""
    return [
        *_function_differences(contract, model, allowed),
        *_constant_differences(contract, model, allowed),
        *_struct_differences(contract, model),
        *_event_differences(contract),
        *(
            f"public `{name}` of the contract is no attribute of the model"
            for name in sorted(contract.attributes - _members(model) - set(allowed.in_contract))
        ),
    ]


def _members(model: Unit) -> set[str]:
    functions = {function.name for function in model.functions}
    return model.attributes | set(model.constants) | functions


def _function_differences(contract: Unit, model: Unit, allowed: Allowed) -> Iterator[str]:
    left = [item for item in contract.functions if item.name not in allowed.in_contract]
    right = [item for item in model.functions if item.name not in allowed.in_model]
    names, other_names = [item.name for item in left], [item.name for item in right]
    yield from _lists_differ("functions", names, other_names)
    by_name = {item.name: item for item in right}
    for function in left:
        if function.name in by_name:
            is_module = not contract.attributes
            yield from _body_differences(function, by_name[function.name], allowed, is_module)


def _body_differences(
    left: Function, right: Function, allowed: Allowed, is_module: bool
) -> Iterator[str]:
    name = left.name
    expected = list(left.arguments)
    if left.is_transaction:
        expected.append("*, sender")
    elif left.reads_sender:
        expected.append("sender")
    elif left.calls_out and is_module:
        expected.append("this")
    if right.arguments != expected:
        yield (
            f"`{name}` takes ({', '.join(right.arguments)}) in the model,"
            f" ({', '.join(expected)}) is what the contract's arguments ask for"
        )
    kinds = (left.is_transaction, left.is_view)
    if kinds != (right.is_transaction, right.is_view):
        yield f"`{name}` is a transaction, a view or internal in one form and not in the other"
    if left.returned != right.returned:
        yield f"`{name}` returns {left.returned} values, {right.returned} in the model"
    yield from _lists_differ(f"reasons of `{name}`", left.reasons, right.reasons)
    events = [
        (event, tuple(item.split("=", 1)[1] for item in fields)) for event, fields in left.events
    ]
    yield from _lists_differ(
        f"events of `{name}`",
        [f"{event}({', '.join(fields)})" for event, fields in events],
        [f"{event}({', '.join(fields)})" for event, fields in right.events],
    )
    named = {**allowed.in_contract, **allowed.in_model}
    skipped = {call for call in left.calls + right.calls if named.keys() & {call, f"{name}/{call}"}}
    known = {call for call in left.calls if not _is_internal(call)}
    others = [call for call in right.calls if _is_internal(call) or call in known]
    yield from _lists_differ(
        f"calls in `{name}`",
        [call for call in left.calls if call not in skipped],
        [call for call in others if call not in skipped],
    )


def _constant_differences(contract: Unit, model: Unit, allowed: Allowed) -> Iterator[str]:
    left = {
        name: item for name, item in contract.constants.items() if name not in allowed.in_contract
    }
    right = {name: item for name, item in model.constants.items() if name not in allowed.in_model}
    yield from _lists_differ("constants", list(left), list(right), ordered=False)
    for name in left.keys() & right.keys():
        if left[name] != right[name] or left[name] is None:
            yield f"constant `{name}` is {left[name]} in the contract, {right[name]} in the model"


def _struct_differences(contract: Unit, model: Unit) -> Iterator[str]:
    for name, fields in contract.structs.items():
        if name not in model.structs:
            yield f"struct `{name}` is missing from the model"
        else:
            yield from _lists_differ(f"fields of `{name}`", fields, model.structs[name])


def _event_differences(contract: Unit) -> Iterator[str]:
    """Each event of the interfaces is logged, with its fields in the declared order."""
    logged = [event for function in contract.functions for event in function.events]
    for name, filled in logged:
        if name in contract.events:
            fields = [item.split("=", 1)[0] for item in filled]
            yield from _lists_differ(f"fields of event `{name}`", contract.events[name], fields)
    for name in contract.events:
        if name not in dict(logged):
            yield f"event `{name}` is never logged"


def _lists_differ(
    what: str, left: list[str], right: list[str], ordered: bool = True
) -> Iterator[str]:
    missing = [name for name in left if name not in right]
    added = [name for name in right if name not in left]
    if missing:
        yield f"{what}: the model lacks {', '.join(missing)}"
    if added:
        yield f"{what}: only the model has {', '.join(added)}"
    if ordered and not missing and not added and left != right:
        yield f"{what}: the order or number differs: {', '.join(left)} / {', '.join(right)}"


def unused_allowances(contract: Unit, model: Unit, allowed: Allowed) -> list[str]:
    """Names that are allowed to one form alone although they need no allowance."""
    found = []
    for names, side in ((allowed.in_contract, "in_contract"), (allowed.in_model, "in_model")):
        for name in names:
            kept = {other: why for other, why in names.items() if other != name}
            without = replace(allowed, **{side: kept})
            if differences(contract, model, without) == differences(contract, model, allowed):
                found.append(f"`{name}` is allowed {side} without need")
    return found

"""Mutants of a Vyper source file, by its annotated syntax: types say what may stand for what.

The compiler has the last word on each; what it is known to refuse is not written. Comments,
documentation, pragmas, declarations of types and signatures stay as they are.
"""

import io
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import tokenize
from typing import Any

import vyper.ast.parse as vyper_parser
from vyper import ast as vy_ast
from vyper.ast.pre_parser import PreParser
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.phases import CompilerData
from vyper.compiler.settings import Settings
from vyper.semantics.data_locations import DataLocation
from vyper.semantics.types.function import ContractFunctionT

from lockstep.mutation.mutants import (
    ARITHMETIC,
    ASSIGNED,
    NEIGHBOURS,
    Mutant,
    Source,
    enclosed,
    relations_of,
    rounded_otherwise,
)

SYMBOLS = {
    vy_ast.Lt: "<",
    vy_ast.LtE: "<=",
    vy_ast.Gt: ">",
    vy_ast.GtE: ">=",
    vy_ast.Eq: "==",
    vy_ast.NotEq: "!=",
    vy_ast.In: "in",
    vy_ast.NotIn: "not in",
    vy_ast.Add: "+",
    vy_ast.Sub: "-",
    vy_ast.Mult: "*",
    vy_ast.FloorDiv: "//",
    vy_ast.Mod: "%",
    vy_ast.LShift: "<<",
    vy_ast.RShift: ">>",
    vy_ast.BitAnd: "&",
    vy_ast.BitOr: "|",
    vy_ast.BitXor: "^",
    vy_ast.Pow: "**",
    vy_ast.And: "and",
    vy_ast.Or: "or",
}
OPPOSITE = {"in": "not in", "not in": "in", "and": "or", "or": "and", "==": "!=", "!=": "=="}
# Calls of the language that mean arithmetic: what stands for them, and whether the second operand
# may be left out.
BUILTINS = {
    "unsafe_add": "unsafe_sub",
    "unsafe_sub": "unsafe_add",
    "unsafe_mul": "unsafe_add",
    "unsafe_div": "unsafe_mul",
    "min": "max",
    "max": "min",
}
COMMUTATIVE = frozenset(("min", "max", "unsafe_add", "unsafe_mul"))
# Arguments that are part of a type, or that the compiler needs as they are.
FIXED_CALLS = {"empty", "slice", "raw_call", "range", "method_id", "max_value", "min_value"}
SENDERS = {"msg.sender": ("self", "tx.origin"), "tx.origin": ("msg.sender",)}
MOMENTS = {"block.timestamp", "block.number"}

Variable = tuple[str, str]  # name and type


class _ExactPreParser(PreParser):  # type: ignore[misc]
    """Vyper shifts the columns of a line that has one of its own keywords for starts of tokens
    only, so that most ends come out too low; this one does it for ends too."""

    def parse(self, code: str) -> None:
        super().parse(code)
        shifts = {
            (line, column + shift): shift for (line, column), shift in self.adjustments.items()
        }
        for token in tokenize(io.BytesIO(code.encode()).readline):
            shift = shifts.get(token.start, 0)
            line, column = token.end
            self.adjustments.setdefault((line, column - shift), shift)


@contextmanager
def exact_positions() -> Iterator[None]:
    """Within it, parsed nodes end where they end."""
    before = vyper_parser.PreParser
    vyper_parser.PreParser = _ExactPreParser
    try:
        yield
    finally:
        vyper_parser.PreParser = before


def annotated(path: Path, root: Path, evm_version: str = "cancun") -> Any:
    """The module with its types, positions exact."""
    site = Path(sysconfig.get_paths()["purelib"])
    bundle = FilesystemInputBundle([site, root])
    with exact_positions():
        data = CompilerData(bundle.load_file(path), bundle, Settings(evm_version=evm_version))
        return data.annotated_vyper_module


def vyper_mutants(
    files: Sequence[str], root: Path, commutative: Sequence[str] = ()
) -> list[Mutant]:
    """Every mutant of these files below root that ought to compile, in the order of the files.

    The first two arguments of functions of the names `commutative` are not exchanged.
    """
    base = root.resolve()
    modules: dict[str, Any] = {}
    for file in files:
        if file not in modules:
            _add_modules(annotated(base / file, base), base, modules)
    mutants = []
    for file in files:
        source = Source(file, (root / file).read_text())
        _Module(source, modules[file], frozenset(commutative) | COMMUTATIVE).collect()
        mutants += source.mutants()
    return mutants


def _add_modules(module: Any, base: Path, found: dict[str, Any]) -> None:
    """The module and those that it imports, by path from the base."""
    path = Path(module.resolved_path)
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
    if name not in found:
        found[name] = module
        for imported in module._metadata["type"].imported_modules.values():
            _add_modules(imported.module_node, base, found)


def reached(path: Path, root: Path) -> set[tuple[str, str]]:
    """The functions that a deployable contains, of any file: (path from root, name)."""
    module = annotated(path.resolve(), root.resolve())._metadata["type"]
    functions: list[ContractFunctionT] = list(module.exposed_functions)
    if module.init_function is not None:
        functions.append(module.init_function)
    found = set()
    for function in functions:
        for each in (function, *function.reachable_internal_functions):
            where = Path(each.decl_node.module_node.resolved_path)
            if where.is_relative_to(root.resolve()):
                found.add((where.relative_to(root.resolve()).as_posix(), each.name))
    return found


class _Module:
    def __init__(self, source: Source, module: Any, commutative: frozenset[str]) -> None:
        self.source = source
        self.module = module
        self.commutative = commutative

    def collect(self) -> None:
        for node in self.module.body:
            if isinstance(node, vy_ast.VariableDecl) and node.is_constant:
                self.source.function = ""
                _Function(self.source, self.commutative, ()).expression(node.value)
            elif isinstance(node, vy_ast.FunctionDef):
                self.source.function = node.name
                self._decorators(node)
                arguments = [(item.arg, self._text(item.annotation)) for item in node.args.args]
                _Function(self.source, self.commutative, arguments).body(node)

    def _text(self, node: Any) -> str:
        return " ".join(self.source.of(node).split())

    def _decorators(self, node: Any) -> None:
        for decorator in node.decorator_list:
            if getattr(decorator, "id", "") == "nonreentrant":
                start, end = self.source.span(decorator)
                self.source.add("lock", (start - 1, end), "# nothing")


class _Function:
    """Walks one function, or the value of one constant."""

    def __init__(
        self, source: Source, commutative: frozenset[str], arguments: Sequence[Variable]
    ) -> None:
        self.source = source
        self.commutative = commutative
        self.variables = list(arguments)
        self.returns = False

    # Statements

    def body(self, node: Any) -> None:
        self.returns = node.returns is not None
        self._block(node.body, is_last=True)

    def _block(self, statements: Sequence[Any], *, is_last: bool) -> None:
        known = len(self.variables)
        for i, statement in enumerate(statements):
            self._statement(statement, is_last=is_last and i == len(statements) - 1)
        del self.variables[known:]

    def _statement(self, node: Any, *, is_last: bool) -> None:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is not None:
            method(node, is_last)

    def _remove(self, node: Any, operator: str = "statement") -> None:
        self.source.add(operator, self.source.span(node), "pass")

    def _expr(self, node: Any, _: bool) -> None:
        call = node.value
        if isinstance(call, vy_ast.ExtCall | vy_ast.StaticCall):
            call = call.value
        called = _name_of(getattr(call, "func", None))
        if called != "__init__":
            operator = "statement"
            if is_requirement(called):
                operator = "assertion"
            elif _writes_transient(call):
                operator = "lock"
            self._remove(node, operator)
        self.expression(node.value)

    def _log(self, node: Any, _: bool) -> None:
        self._remove(node, "event")
        self._swapped([item.value for item in node.value.keywords], "event")
        self._swapped(node.value.args, "event")
        for item in (*node.value.args, *(keyword.value for keyword in node.value.keywords)):
            if _is_integer(item):
                self.source.add("event", self.source.span(item), f"({self.source.of(item)} + 1)")
            self.expression(item)

    def _assign(self, node: Any, _: bool) -> None:
        if not _is_immutable(node.target):
            self._remove(node)
        self._target(node.target)
        self.expression(node.value)

    def _augassign(self, node: Any, _: bool) -> None:
        self._remove(node)
        symbol = SYMBOLS[type(node.op)]
        first, last = self.source.span(node.target)[1], self.source.span(node.value)[0]
        span = self.source.find(f"{symbol}=", first, last)
        for other in ASSIGNED[symbol]:
            self.source.add("arithmetic", span, f"{other}=")
        self._target(node.target)
        self.expression(node.value)

    def _annassign(self, node: Any, _: bool) -> None:
        kind = " ".join(self.source.of(node.annotation).split())
        value = self.source.of(node.value)
        if not value.startswith("empty(") and value not in ("0", "[]", "False"):
            self.source.add("statement", self.source.span(node.value), f"empty({kind})")
        self.expression(node.value)
        self.variables.append((node.target.id, kind))

    def _if(self, node: Any, is_last: bool) -> None:
        returns = bool(node.get_descendants(vy_ast.Return))
        is_elif = self.source.of(node).startswith("elif")
        if not (returns and is_last and self.returns) and not is_elif:
            self._remove(node)
        self._condition(node.test)
        self._block(node.body, is_last=is_last)
        self._block(node.orelse, is_last=is_last)

    def _for(self, node: Any, _: bool) -> None:
        self._remove(node)
        self.expression(node.iter)
        kind = " ".join(self.source.of(node.target.annotation).split())
        self.variables.append((node.target.target.id, kind))
        self._block(node.body, is_last=False)
        self.variables.pop()

    def _assert(self, node: Any, _: bool) -> None:
        self._remove(node, "assertion")
        self._condition(node.test)

    def _raise(self, node: Any, is_last: bool) -> None:
        if not (is_last and self.returns):
            self._remove(node, "assertion")

    def _return(self, node: Any, _: bool) -> None:
        if node.value is not None:
            self.expression(node.value)

    def _break(self, node: Any, _: bool) -> None:
        self.source.add("statement", self.source.span(node), "continue")
        self._remove(node)

    def _continue(self, node: Any, _: bool) -> None:
        self.source.add("statement", self.source.span(node), "break")
        self._remove(node)

    def _target(self, node: Any) -> None:
        """What is assigned to: other state of the same type, another key."""
        if isinstance(node, vy_ast.Tuple):
            for item in node.elements:
                self._target(item)
        elif isinstance(node, vy_ast.Subscript):
            self._target(node.value)
            self.expression(node.slice)
        elif isinstance(node, vy_ast.Attribute):
            self._state(node)
            self._field(node)
            if not isinstance(node.value, vy_ast.Name):
                self._target(node.value)

    # Conditions

    def _condition(self, node: Any) -> None:
        span, text = self.source.span(node), self.source.of(node)
        if _type(node) != "bool":
            pass
        elif isinstance(node, vy_ast.UnaryOp):
            self.source.add("condition", span, self.source.of(node.operand), is_guard=True)
        elif not isinstance(node, vy_ast.Compare):  # of these, another relation says it
            self.source.add("condition", span, f"(not ({text}))", is_guard=True)
        self.expression(node, is_guard=True)

    # Expressions

    def expression(self, node: Any, is_guard: bool = False) -> None:
        """Mutants of an expression and of what it is made of."""
        name = type(node).__name__.lower()
        getattr(self, f"_of_{name}", self._of_other)(node, is_guard)

    def _of_other(self, node: Any, is_guard: bool) -> None:
        for child in node.get_children():
            if isinstance(child, vy_ast.ExprNode):
                self.expression(child, is_guard)

    def _of_compare(self, node: Any, is_guard: bool) -> None:
        symbol = SYMBOLS[type(node.op)]
        if _is_integer(node.left) and symbol in (*NEIGHBOURS, "==", "!="):
            to_zero = _is_unsigned(node.left) and _folded(node.right) == 0
            others: Sequence[str] = list(relations_of(symbol, to_zero))
        else:
            others = [OPPOSITE[symbol]]
        for other in others:
            operator = "edge" if NEIGHBOURS.get(symbol) == other else "relational"
            self._binary(node, node.left, node.right, symbol, other, operator, is_guard)
        self.expression(node.left, is_guard)
        self.expression(node.right, is_guard)

    def _of_boolop(self, node: Any, is_guard: bool) -> None:
        symbol = SYMBOLS[type(node.op)]
        parts = [self._part(node, item) for item in node.values]
        text = f" {OPPOSITE[symbol]} ".join(enclosed(part) for part in parts)
        self.source.add("condition", self.source.span(node), f"({text})", is_guard=is_guard)
        for item in node.values:
            constant = str(symbol == "and")
            self.source.add("condition", self.source.span(item), constant, is_guard=is_guard)
            self.expression(item, is_guard)

    def _part(self, node: Any, item: Any) -> str:
        return self.source.of(item)

    def _of_binop(self, node: Any, is_guard: bool) -> None:
        symbol = SYMBOLS[type(node.op)]
        if not node.has_folded_value:
            for other in ARITHMETIC[symbol]:
                operator = "arithmetic"
                if other == "" and symbol in "+-" and _folded(node.right) == 1:
                    operator = "rounding"
                self._binary(node, node.left, node.right, symbol, other, operator, is_guard)
        self.expression(node.left, is_guard)
        self.expression(node.right, is_guard)

    def _binary(
        self,
        node: Any,
        left: Any,
        right: Any,
        symbol: str,
        other: str,
        operator: str,
        is_guard: bool,
    ) -> None:
        span = self.source.span(node)
        at, after = self.source.find(symbol, self.source.span(left)[1], self.source.span(right)[0])
        first = self.source.text[span[0] : at].strip()
        second = self.source.text[after : span[1]].strip()
        if other == "":
            new = enclosed(first)
        elif other == ".":
            new = enclosed(second)
        elif other in NEIGHBOURS or other in ("==", "!=", "in", "not in"):
            new = f"{first} {other} {second}"
        else:
            new = f"({enclosed(first)} {other} {enclosed(second)})"
        self.source.add(operator, span, new, is_guard=is_guard)

    def _of_unaryop(self, node: Any, is_guard: bool) -> None:
        operand = self.source.of(node.operand)
        if not isinstance(node.op, vy_ast.Not):
            self.source.add("arithmetic", self.source.span(node), enclosed(operand))
        elif not is_guard:
            self.source.add("condition", self.source.span(node), enclosed(operand))
        self.expression(node.operand, is_guard)

    def _of_ifexp(self, node: Any, is_guard: bool) -> None:
        self._condition(node.test)
        self.expression(node.body, is_guard)
        self.expression(node.orelse, is_guard)

    def _of_call(self, node: Any, is_guard: bool) -> None:
        called = _name_of(node.func)
        span = self.source.span(node)
        is_builtin = isinstance(node.func, vy_ast.Name)
        if is_builtin and called in BUILTINS and not node.has_folded_value:
            self.source.add(
                "arithmetic", self.source.span(node.func), BUILTINS[called], is_guard=is_guard
            )
            if called.startswith("unsafe"):
                first = self.source.of(node.args[0])
                self.source.add("arithmetic", span, enclosed(first), is_guard=is_guard)
        if is_builtin and called == "abs":
            self.source.add("arithmetic", span, enclosed(self.source.of(node.args[0])))
        self._rounding(node)
        values = [*node.args, *(item.value for item in node.keywords)]
        if is_builtin and called in FIXED_CALLS:
            if called == "range":
                for item in node.args:
                    self.expression(item)
            elif called in ("raw_call", "slice"):
                self.expression(node.args[0])
            return
        if is_builtin and called == "convert":
            self.expression(node.args[0], is_guard)
            return
        skipped = 1 if called in self.commutative else 0
        self._swapped(node.args, "arguments", skipped)
        self._swapped([item.value for item in node.keywords], "arguments")
        if isinstance(node.func, vy_ast.Attribute):
            self.expression(node.func.value)
        if is_requirement(called) and values:
            self._condition(values[0])
            values = values[1:]
        for item in values:
            self.expression(item, is_guard)

    def _rounding(self, node: Any) -> None:
        function = node.func._metadata.get("type")
        if not isinstance(function, ContractFunctionT) or function.decl_node is None:
            return
        name = rounded_otherwise(function.name)
        others = function.decl_node.module_node.get_children(vy_ast.FunctionDef, {"name": name})
        if not name or not others:
            return
        other = others[0]._metadata["func_type"]
        same = [str(item) for item in function.argument_types] == [
            str(item) for item in other.argument_types
        ]
        if same and str(function.return_type) == str(other.return_type):
            end = self.source.span(node.func)[1]
            self.source.add("rounding", (end - len(function.name), end), name)

    def _swapped(self, values: Sequence[Any], operator: str, skipped: int = 0) -> None:
        """Exchanges each value with the next one of its type, but for the first `skipped`."""
        for i, first in enumerate(values):
            if i < skipped:
                continue
            for second in values[i + 1 :]:
                if _type(first) and _type(first) == _type(second):
                    here, there = self.source.span(first), self.source.span(second)
                    one, two = self.source.of(first), self.source.of(second)
                    between = self.source.text[here[1] : there[0]]
                    if " ".join(one.split()) != " ".join(two.split()):
                        self.source.add(operator, (here[0], there[1]), f"{two}{between}{one}")
                    break

    def _of_int(self, node: Any, is_guard: bool) -> None:
        span = self.source.span(node)
        for value in (node.value + 1, node.value - 1):
            if self._is_possible(node, value):
                self.source.add("constant", span, str(value), is_guard=is_guard)

    @staticmethod
    def _is_possible(node: Any, value: int) -> bool:
        if value < 0:
            return False
        parent = node.get_ancestor()
        if isinstance(parent, vy_ast.Subscript) and parent.slice is node:
            length = getattr(parent.value._metadata.get("type"), "length", None)
            return length is None or value < length
        return True

    def _of_nameconstant(self, node: Any, is_guard: bool) -> None:
        if isinstance(node.value, bool):
            self.source.add(
                "constant", self.source.span(node), str(not node.value), is_guard=is_guard
            )

    def _of_str(self, node: Any, _: bool) -> None:
        text = self.source.of(node)
        if len(text) > 2 and text[-2] != "\\":
            last = "x" if text[-2] != "x" else "y"
            self.source.add("constant", self.source.span(node), text[:-2] + last + text[-1])

    def _of_name(self, node: Any, is_guard: bool) -> None:
        if self._state(node):
            return
        kind = dict(self.variables).get(node.id)
        if kind is None:
            return
        for other, its in reversed(self.variables):
            if its == kind and other not in (node.id, "_"):
                self.source.add("variable", self.source.span(node), other, is_guard=is_guard)
                return

    def _of_attribute(self, node: Any, is_guard: bool) -> None:
        text = self.source.of(node)
        span = self.source.span(node)
        for other in SENDERS.get(text, ()):
            self.source.add("sender", span, other, is_guard=is_guard)
        if text in MOMENTS:
            for change in ("+ 1", "- 1"):
                self.source.add("constant", span, f"({text} {change})", is_guard=is_guard)
            return
        if self._state(node) or text in SENDERS:
            return
        self._field(node)
        if not isinstance(node.value, vy_ast.Name):
            self.expression(node.value)
        elif not _is_module(node.value):
            self._of_name(node.value, False)

    def _state(self, node: Any) -> bool:
        """Another variable of the module's own of the same kind and type; whether it is one."""
        info = getattr(node._expr_info, "var_info", None) if node._expr_info else None
        declared = info.decl_node if info is not None else None
        if not isinstance(declared, vy_ast.VariableDecl):
            return False
        if isinstance(node, vy_ast.Attribute) and node.attr != declared.target.id:
            return False
        others = [
            item
            for item in declared.module_node.get_children(vy_ast.VariableDecl)
            if _kind(item) == _kind(declared)
        ]
        at = next(i for i, item in enumerate(others) if item.target.id == declared.target.id)
        other = others[(at + 1) % len(others)].target.id
        end = self.source.span(node)[1]
        if other != declared.target.id:
            operator = "constant" if declared.is_constant else "storage"
            self.source.add(operator, (end - len(declared.target.id), end), other)
        return True

    def _field(self, node: Any) -> None:
        """Another member of a struct of the same type."""
        members = getattr(node.value._metadata.get("type"), "member_types", None)
        if not isinstance(members, dict) or node.attr not in members or not _is_struct(node.value):
            return
        same = [name for name, kind in members.items() if str(kind) == str(members[node.attr])]
        other = same[(same.index(node.attr) + 1) % len(same)]
        end = self.source.span(node)[1]
        if other != node.attr:
            self.source.add("field", (end - len(node.attr), end), other)


def is_requirement(name: str) -> bool:
    """Whether a function of this name checks something."""
    return name.lstrip("_").startswith(("require", "check"))


def _name_of(function: Any) -> str:
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))


def _type(node: Any) -> str:
    return str(node._metadata.get("type") or "")


def _is_integer(node: Any) -> bool:
    return _type(node).startswith(("uint", "int")) and "[" not in _type(node)


def _is_unsigned(node: Any) -> bool:
    return _type(node).startswith("uint")


def _is_struct(node: Any) -> bool:
    return type(node._metadata.get("type")).__name__ == "StructT"


def _is_module(node: Any) -> bool:
    return type(node._metadata.get("type")).__name__ in ("ModuleT", "InterfaceT", "TYPE_T")


def _folded(node: Any) -> int | None:
    value = getattr(node.reduced(), "value", None)
    return value if isinstance(value, int) else None


def _is_immutable(node: Any) -> bool:
    info = getattr(node._expr_info, "var_info", None) if node._expr_info else None
    return info is not None and info.location == DataLocation.CODE


def _writes_transient(call: Any) -> bool:
    function = getattr(call, "func", None)
    kind = function._metadata.get("type") if function is not None else None
    if not isinstance(kind, ContractFunctionT) or kind.ast_def is None:
        return False
    return any(
        access.variable.location == DataLocation.TRANSIENT for access in kind.get_variable_writes()
    )


def _kind(declared: Any) -> tuple[object, ...]:
    return (
        declared.is_constant,
        declared.is_immutable,
        declared.is_transient,
        str(declared.target._metadata.get("type") or declared.annotation.node_source_code),
    )

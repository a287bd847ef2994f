"""Mutants of the functions of a Python model, by its syntax.

Python says little of types: what stands for something has the same annotation, or begins with the
same value. Constants of modules stay, for others have imported them.
"""

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

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
from lockstep.mutation.vyper_source import OPPOSITE, is_requirement

SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Pow: "**",
    ast.And: "and",
    ast.Or: "or",
}
OPPOSITES = {**OPPOSITE, "is": "is not", "is not": "is"}
LOGS = "log"  # the method that emits an event


class Vocabulary:
    """What the files of a model define, for the choice of what may stand for what."""

    def __init__(self, texts: Mapping[str, str], commutative: Sequence[str] = ()) -> None:
        self.commutative = frozenset(commutative)
        self.functions: set[str] = set()
        self.locks: set[str] = set()  # methods that set a lock
        self.others: dict[str, str] = {}  # a field, and another of its record and type
        fields: dict[str, list[list[str]]] = defaultdict(list)
        for text in texts.values():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    self.functions.add(node.name)
                    if node.name != "__init__" and any(_is_lock(item) for item in node.body):
                        self.locks.add(node.name)
                elif isinstance(node, ast.ClassDef):
                    self._record(node, fields)
        for name, groups in fields.items():
            group = groups[0]
            if len(groups) == 1 and len(group) > 1:  # a name of two records says neither
                self.others[name] = group[(group.index(name) + 1) % len(group)]

    @staticmethod
    def _record(node: ast.ClassDef, fields: dict[str, list[list[str]]]) -> None:
        groups: dict[str, list[str]] = defaultdict(list)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                groups[ast.dump(item.annotation)].append(item.target.id)
        for group in groups.values():
            for name in group:
                fields[name].append(group)


def python_mutants(
    file: str, root: Path, vocabulary: Vocabulary, skipped: Sequence[str] = ()
) -> list[Mutant]:
    """Every mutant of the functions of root/file, but for functions of the names `skipped`."""
    source = Source(file, (root / file).read_text())
    tree = ast.parse(source.text)
    _collect(source, tree, vocabulary, skipped, {}, "")
    return source.mutants()


def _collect(
    source: Source,
    owner: ast.Module | ast.ClassDef,
    vocabulary: Vocabulary,
    skipped: Sequence[str],
    state: Mapping[str, str],
    prefix: str,
) -> None:
    for node in owner.body:
        if isinstance(node, ast.ClassDef):
            _collect(source, node, vocabulary, skipped, _state_of(node), f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and node.name not in skipped:
            source.function = f"{prefix}{node.name}"
            _Function(source, vocabulary, state, node).collect()


def _state_of(node: ast.ClassDef) -> dict[str, str]:
    """Attributes of a contract's own, and for each another that begins with the same value."""
    groups: dict[str, list[str]] = defaultdict(list)
    for function in node.body:
        if not isinstance(function, ast.FunctionDef) or function.name != "__init__":
            continue
        for item in function.body:
            if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
                target = item.targets[0] if isinstance(item, ast.Assign) else item.target
                is_plain = isinstance(item.value, ast.Constant | ast.Call)
                if isinstance(target, ast.Attribute) and is_plain:
                    groups[ast.dump(item.value)].append(target.attr)
    return {
        name: group[(i + 1) % len(group)]
        for group in groups.values()
        if len(group) > 1
        for i, name in enumerate(group)
    }


def _is_lock(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(target, ast.Attribute) and "lock" in target.attr for target in node.targets
    )


class _Function(ast.NodeVisitor):
    """Walks one function."""

    def __init__(
        self,
        source: Source,
        vocabulary: Vocabulary,
        state: Mapping[str, str],
        node: ast.FunctionDef,
    ) -> None:
        self.source = source
        self.vocabulary = vocabulary
        self.state = {} if node.name == "__init__" else state
        self.node = node
        self.is_guard = False
        arguments = [*node.args.args, *node.args.kwonlyargs]
        kinds: dict[str, list[str]] = defaultdict(list)
        for item in arguments:
            if item.annotation is not None:
                kinds[ast.dump(item.annotation)].append(item.arg)
        self.variables = {
            name: group[(i + 1) % len(group)]
            for group in kinds.values()
            if len(group) > 1
            for i, name in enumerate(group)
        }

    def collect(self) -> None:
        body = self.node.body
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body = body[1:]
        for statement in body:
            self.visit(statement)

    def _add(self, operator: str, node: ast.AST, new: str) -> None:
        self.source.add(operator, self.source.span(node), new, is_guard=self.is_guard)

    # Statements

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            called = _name_of(node.value.func)
            operator = "statement"
            if is_requirement(called):
                operator = "assertion"
            elif called == LOGS:
                operator = "event"
            elif called in self.vocabulary.locks:
                operator = "lock"
            if called != "__init__":
                self._add(operator, node, "pass")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        if node is not self.node.body[-1]:
            self._add("assertion", node, "pass")

    def visit_Assign(self, node: ast.Assign) -> None:
        if self.node.name != "__init__" and not any(
            isinstance(target, ast.Name | ast.Tuple) for target in node.targets
        ):
            self._add("statement", node, "pass")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add("statement", node, "pass")
        symbol = SYMBOLS[type(node.op)]
        first, last = self.source.span(node.target)[1], self.source.span(node.value)[0]
        span = self.source.find(f"{symbol}=", first, last)
        for other in ASSIGNED[symbol]:
            self.source.add("arithmetic", span, f"{other}=")
        self.visit(node.target)
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        if not self.source.of(node).startswith("elif"):
            self._add("statement", node, "pass")
        self._condition(node.test)
        for item in (*node.body, *node.orelse):
            self.visit(item)

    def visit_For(self, node: ast.For) -> None:
        self._add("statement", node, "pass")
        self.visit(node.iter)
        for item in (*node.body, *node.orelse):
            self.visit(item)

    def visit_Break(self, node: ast.Break) -> None:
        self._add("statement", node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._add("statement", node, "break")

    # Expressions

    def _condition(self, node: ast.expr) -> None:
        before, self.is_guard = self.is_guard, True
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._add("condition", node, enclosed(self.source.of(node.operand)))
        elif not isinstance(node, ast.Compare):
            self._add("condition", node, f"(not ({self.source.of(node)}))")
        self.visit(node)
        self.is_guard = before

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for i, kind in enumerate(node.ops):
            symbol = SYMBOLS[type(kind)]
            left, right = operands[i], operands[i + 1]
            span = self.source.find(symbol, self.source.span(left)[1], self.source.span(right)[0])
            to_zero = isinstance(right, ast.Constant) and right.value == 0
            others = [OPPOSITES[symbol]] if symbol in OPPOSITES else relations_of(symbol, to_zero)
            for other in others:
                operator = "edge" if NEIGHBOURS.get(symbol) == other else "relational"
                self.source.add(operator, span, other, is_guard=self.is_guard)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        symbol = SYMBOLS[type(node.op)]
        parts = [enclosed(self.source.of(item)) for item in node.values]
        self._add("condition", node, f"({f' {OPPOSITES[symbol]} '.join(parts)})")
        for item in node.values:
            self._add("condition", item, str(symbol == "and"))
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        symbol = SYMBOLS[type(node.op)]
        start, end = self.source.span(node)
        at, after = self.source.find(
            symbol, self.source.span(node.left)[1], self.source.span(node.right)[0]
        )
        first = enclosed(self.source.text[start:at].strip())
        second = enclosed(self.source.text[after:end].strip())
        is_one = isinstance(node.right, ast.Constant) and node.right.value == 1
        is_folded = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        for other in () if is_folded else ARITHMETIC[symbol]:
            new = {"": first, ".": second}.get(other, f"({first} {other} {second})")
            is_term = other == "" and symbol in "+-" and is_one
            self._add("rounding" if is_term else "arithmetic", node, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        is_not = isinstance(node.op, ast.Not)
        if not (is_not and self.is_guard):
            new = enclosed(self.source.of(node.operand))
            self._add("condition" if is_not else "arithmetic", node, new)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._condition(node.test)
        self.visit(node.body)
        self.visit(node.orelse)

    def visit_Call(self, node: ast.Call) -> None:
        called = _name_of(node.func)
        end = self.source.span(node.func)[1]
        other = rounded_otherwise(called)
        if other in self.vocabulary.functions:
            self.source.add("rounding", (end - len(called), end), other, is_guard=self.is_guard)
        if isinstance(node.func, ast.Name) and called in ("min", "max"):
            self._add("arithmetic", node.func, {"min": "max", "max": "min"}[called])
        elif isinstance(node.func, ast.Name) and called == "abs":
            self._add("arithmetic", node, enclosed(self.source.of(node.args[0])))
        elif called == LOGS:
            self._swapped(node.args[1:], "event")
        elif called not in self.vocabulary.commutative:
            self._swapped(node.args, "arguments")
        else:
            self._swapped(node.args[1:], "arguments")
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)
        # zip's `strict` is no part of a model.
        values = [*node.args, *(item.value for item in node.keywords if item.arg != "strict")]
        first = values[0] if is_requirement(called) and values else None
        if isinstance(first, ast.Compare | ast.BoolOp | ast.UnaryOp):
            self._condition(first)
            values = values[1:]
        for item in values:
            self.visit(item)

    def _swapped(self, values: Sequence[ast.expr], operator: str) -> None:
        plain = (ast.Name, ast.Attribute, ast.BinOp, ast.Call)
        for first, second in pairwise(values):
            if isinstance(first, plain) and isinstance(second, plain):
                here, there = self.source.span(first), self.source.span(second)
                one, two = self.source.of(first), self.source.of(second)
                between = self.source.text[here[1] : there[0]]
                if ast.dump(first) != ast.dump(second):
                    self.source.add(operator, (here[0], there[1]), f"{two}{between}{one}")

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add("constant", node, str(not node.value))
        elif isinstance(node.value, int):
            for value in (node.value + 1, node.value - 1):
                if value >= 0:
                    self._add("constant", node, str(value))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self.variables:
            self._add("variable", node, self.variables[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        end = self.source.span(node)[1]
        at = (end - len(node.attr), end)
        is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if node.attr == "timestamp":
            for change in ("+ 1", "- 1"):
                self._add("constant", node, f"({self.source.of(node)} {change})")
        elif is_own and node.attr in self.state:
            self.source.add("storage", at, self.state[node.attr], is_guard=self.is_guard)
        elif not is_own and node.attr in self.vocabulary.others:
            self.source.add("field", at, self.vocabulary.others[node.attr], is_guard=self.is_guard)
        self.visit(node.value)


def _name_of(function: ast.expr) -> str:
    return str(getattr(function, "attr", None) or getattr(function, "id", ""))

"""Probes in compiled Vyper: which lines and branches of the source a contract ran.

The code is the compiler's own assembly with short sequences put in that leave stack, memory,
storage and logs as they are. A probe asks for the balance of an address that stands for it: allowed
in a static call, and the engine's database remembers that the address was asked for even if the
call reverts. There are two kinds, each of a fixed number of bytes, so that one that has told all it
can tell is overwritten in place by a push and a pop:

- at the start of a block of code, for the lines whose code begins in it;
- on a condition, just before the jump that depends on it, for both of its outcomes.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.compiler import Artifact, Sources
from lockstep.engines.base import PROBES

FIRST = PROBES.start  # then the contract's number in a byte, and the probe's number in three
CONTRACTS = 1 << 8
EACH = 1 << 24
# PUSH5 address, BALANCE, POP; and DUP1, ISZERO, PUSH5 address, ADD, BALANCE, POP
_POINT, _CONDITION = 8, 11
_POINT_TAIL, _CONDITION_HEAD, _CONDITION_TAIL = b"\x31\x50", b"\x80\x15", b"\x01\x31\x50"


class Line(NamedTuple):
    path: str  # relative to the root of the sources
    number: int


class Branch(NamedTuple):
    """One of the two outcomes of a condition in the source."""

    path: str
    number: int  # of the line
    column: int
    kind: str  # if, assert, choice (a if c else b), and, or, for
    text: str  # the condition
    outcome: bool  # of a for: True when it enters its body, False when it runs out


Item = Line | Branch


class Probe(NamedTuple):
    offset: int  # in the initcode
    # What each address tells, the first one of a condition being that of a value other than zero.
    tells: tuple[tuple[Item, ...], ...]

    @property
    def width(self) -> int:
        return _POINT if len(self.tells) == 1 else _CONDITION


class Instrumented(NamedTuple):
    """Initcode with every probe in it, the address of each still that of contract 0."""

    initcode: bytes
    probes: tuple[Probe, ...]  # by number; a condition takes its own number and the next

    def code(self, contract: int, known: set[Item]) -> bytes:
        """The initcode as this contract's, without the probes that tell nothing beyond `known`."""
        code = bytearray(self.initcode)
        for probe in self.probes:
            at = probe.offset
            if all(item in known for told in probe.tells for item in told):
                width = probe.width
                code[at : at + width] = bytes((0x5F + width - 2,)) + bytes(width - 2) + b"\x50"
            else:
                code[at + 2 if probe.width == _POINT else at + 4] = contract
        return bytes(code)

    def addresses(self, contract: int) -> Iterator[tuple[int, tuple[Item, ...]]]:
        """Every address of a probe of this contract, and what it tells."""
        number = FIRST + contract * EACH
        for probe in self.probes:
            for told in probe.tells:
                yield number, told
                number += 1


def instrument(sources: Sources, artifact: Artifact) -> Instrumented:
    """The artifact's initcode with probes, from the cache where the sources are unchanged."""
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]

    def make() -> tuple[dict[str, Any], list[str]]:
        data, read = sources.load()
        return _instrument(data, sources.base, artifact.initcode), read

    found = sources.cached(f" probes {version}", make)
    initcode = bytes.fromhex(found["initcode"])
    items = [Line(*item) if len(item) == 2 else Branch(*item) for item in found["items"]]
    probes = tuple(
        Probe(offset, tuple(tuple(items[i] for i in told) for told in tells))
        for offset, tells in found["probes"]
    )
    return Instrumented(initcode, probes)


class _Mark:
    """Stands in for the source node of an instruction that a condition hangs on.

    `outcome` is that of the source when the value is not zero; `tells` says for which of the values
    other than zero and zero it is an outcome at all.
    """

    def __init__(
        self, branch: Branch, source: Any, tells: tuple[bool, bool] = (True, True)
    ) -> None:
        self.branch = branch  # with the outcome for a value other than zero
        self.source = source
        self.tells = tells

    def __deepcopy__(self, memo: Any) -> "_Mark":
        return self

    def get_original_node(self) -> Any:
        return self.source

    def flipped(self) -> "_Mark":
        branch = self.branch._replace(outcome=not self.branch.outcome)
        return _Mark(branch, self.source, self.tells[::-1])

    def told(self) -> tuple[tuple[Branch, ...], ...]:
        opposite = self.branch._replace(outcome=not self.branch.outcome)
        yes, no = self.tells
        return ((self.branch,) if yes else (), (opposite,) if no else ())


class _Entry(_Mark):
    """On a loop: marks its first block too."""


def _instrument(data: Any, base: Path, initcode: bytes) -> dict[str, Any]:
    from vyper.codegen import module
    from vyper.compiler.settings import anchor_settings, should_run_legacy_optimizer
    from vyper.ir import compile_ir, optimizer

    with anchor_settings(data.settings):
        ir, _ = module.generate_ir_for_module(data.global_ctx)
        _inherit(ir, None)  # the optimiser drops a node's source with the node
        if should_run_legacy_optimizer(data.settings):
            ir = optimizer.optimize(ir)
        _Marker(base).mark(ir)
        with _marks_kept(compile_ir):
            assembly = compile_ir.compile_to_assembly(ir, optimize=data.settings.optimize)
        if compile_ir.assembly_to_evm(assembly)[0] != initcode:
            raise RuntimeError("the assembly to instrument is not what the compiler made")
        inserter = _Inserter(compile_ir.is_symbol, base)
        inserter.insert(assembly)
        code = compile_ir.assembly_to_evm(assembly)[0]
    items: dict[Item, int] = {}
    probes = []
    number = FIRST
    for tells in inserter.probes:
        offset = _find(code, number, len(tells))
        number += len(tells)
        probes.append(
            (offset, [[items.setdefault(item, len(items)) for item in told] for told in tells])
        )
    return {"initcode": code.hex(), "items": list(items), "probes": probes}


def _inherit(ir: Any, source: Any) -> None:
    """Code without a source of its own is that of what it is part of."""
    if ir.ast_source is None:
        ir.ast_source = source
    for argument in ir.args:
        _inherit(argument, ir.ast_source)


def _find(code: bytes, number: int, addresses: int) -> int:
    push = b"\x64" + number.to_bytes(5, "big")
    is_point = addresses == 1
    pattern = push + _POINT_TAIL if is_point else _CONDITION_HEAD + push + _CONDITION_TAIL
    offset = code.find(pattern)
    if offset < 0 or code.find(pattern, offset + 1) >= 0:
        raise RuntimeError("a probe is not where it was put")
    return offset


@contextmanager
def _marks_kept(compile_ir: Any) -> Iterator[None]:
    """The one step of the optimiser that turns a condition round, with the mark turned too."""
    is_symbol, instruction = compile_ir.is_symbol, compile_ir.Instruction

    def invert(assembly: list[Any]) -> bool:
        # _sym_common JUMPI _sym_x JUMP _sym_common JUMPDEST
        # becomes ISZERO _sym_x JUMPI _sym_common JUMPDEST
        changed = False
        i = 0
        while i < len(assembly) - 6:
            if (
                is_symbol(assembly[i])
                and assembly[i + 1] == "JUMPI"
                and is_symbol(assembly[i + 2])
                and assembly[i + 3] == "JUMP"
                and assembly[i] == assembly[i + 4]
                and assembly[i + 5] == "JUMPDEST"
            ):
                changed = True
                mark = getattr(assembly[i + 1], "ast_source", None)
                source = mark.flipped() if isinstance(mark, _Mark) else mark
                jump = instruction("JUMPI", source)
                assembly[i : i + 4] = ["ISZERO", assembly[i + 2], jump]
            else:
                i += 1
        return changed

    original = compile_ir._optimize_inefficient_jumps
    compile_ir._optimize_inefficient_jumps = invert
    try:
        yield
    finally:
        compile_ir._optimize_inefficient_jumps = original


class _Marker:
    """Finds the conditions of the source in the intermediate code."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.inside: list[Any] = []  # the source nodes whose code this is

    def mark(self, ir: Any) -> None:
        source = ir.ast_source
        method = getattr(self, f"_mark_{type(source).__name__.lower()}", None)
        if (
            method is not None
            and not any(source is node for node in self.inside)
            and _place(source, self.base) is not None
            and method(ir, source)
        ):
            self.inside.append(source)
            self._below(ir)
            self.inside.pop()
        else:
            self._below(ir)

    def _below(self, ir: Any) -> None:
        for argument in ir.args:
            self.mark(argument)

    def _branch(self, node: Any, kind: str, condition: Any, outcome: bool) -> Branch:
        path, line, column = _place(node, self.base) or ("", 0, 0)
        text = " ".join(condition.get_original_node().node_source_code.split())
        return Branch(path, line, column, kind, text, outcome)

    def _mark_if(self, ir: Any, source: Any) -> bool:
        return self._two_armed(ir, source, "if", source.body, source.orelse)

    def _mark_ifexp(self, ir: Any, source: Any) -> bool:
        return self._two_armed(ir, source, "choice", [source.body], [source.orelse])

    def _two_armed(
        self, ir: Any, source: Any, kind: str, body: list[Any], orelse: list[Any]
    ) -> bool:
        if ir.value != "if":
            return False
        first_is_body = True
        if len(ir.args) == 3:
            # The optimiser exchanges the arms of some.
            first_is_body = _is_body(ir, source, body, orelse)
        # The jump is taken when the condition of the intermediate code is false.
        branch = self._branch(source, kind, source.test, not first_is_body)
        ir.ast_source = _Mark(branch, source)
        return True

    def _mark_assert(self, ir: Any, source: Any) -> bool:
        if ir.value not in ("assert", "assert_unreachable", "if"):
            return False
        # assert jumps when it fails; the others when it holds.
        branch = self._branch(source, "assert", source.test, ir.value != "assert")
        ir.ast_source = _Mark(branch, source)
        return True

    def _mark_boolop(self, ir: Any, source: Any) -> bool:
        """a and b: if a then b else 0; a or b: if a then 1 else b; more operands nest."""
        is_and = type(source.op).__name__ == "And"
        short = 0 if is_and else 1
        for operand in source.values[:-1]:
            if ir.value != "if" or len(ir.args) != 3:
                return ir.ast_source is not source
            arms = ir.args[1:]
            ends = [arm.value == short and not arm.args for arm in arms]
            if ends[0] == ends[1]:
                return ir.ast_source is not source
            # The arm that falls through is the first; it is the one for a false operand of `and`,
            # or a true one of `or`, if it ends there.
            falls_through = ends[0] != is_and
            branch = self._branch(operand, "and" if is_and else "or", operand, not falls_through)
            ir.ast_source = _Mark(branch, source)
            ir = arms[1] if ends[0] else arms[0]
        return True

    def _mark_for(self, ir: Any, source: Any) -> bool:
        if ir.value != "repeat":
            return False
        ir.ast_source = _Entry(self._branch(source, "for", source.iter, True), source)
        return True

    def _mark_expr(self, ir: Any, source: Any) -> bool:
        """A call of a function that asserts its own argument is an assertion where it is called."""
        call = source.value
        function: Any = call.func._metadata.get("type") if type(call).__name__ == "Call" else None
        index = _asserted(function)
        if index is None or type(call.args[index].reduced()).__name__ == "NameConstant":
            return False  # _require(False, ..) is a way to raise
        name = function.arguments[index].name
        store = _argument(ir, function._ir_info.frame_info.frame_vars[name].pos)
        store.ast_source = _Mark(self._branch(source, "assert", call.args[index], True), source)
        return True


def _argument(call: Any, position: int) -> Any:
    """The store of the argument at this place of the callee's frame; frames of others overlap."""
    found = None
    for argument in call.args:
        is_call = any(node.value == "goto" for node in argument.args)
        if not is_call:
            found = _argument(argument, position) or found
    if call.value == "mstore" and call.args[0].value == position:
        found = call
    return found


def _asserted(function: Any) -> int | None:
    """Which argument an internal function asserts before anything else."""
    if not getattr(function, "is_internal", False):
        return None
    first: Any = next(iter(function.ast_def.body), None)
    if type(first).__name__ != "Assert" or type(first.test).__name__ != "Name":
        return None
    names = [argument.name for argument in function.arguments]
    return names.index(first.test.id) if first.test.id in names else None


def _first(ir: Any, found: Any) -> Any:
    if found(ir):
        return ir
    for argument in ir.args:
        below = _first(argument, found)
        if below is not None:
            return below
    return None


def _is_body(ir: Any, source: Any, body: list[Any], orelse: list[Any]) -> bool:
    """Whether the first arm of an `if` of the intermediate code is the source's body."""
    for arm, is_first in ((ir.args[1], True), (ir.args[2], False)):
        for items, is_body in ((body, True), (orelse, False)):
            if _first(arm, lambda node, items=items: _is_below(node.ast_source, source, items)):
                return is_first is is_body
    raise RuntimeError(f"no telling the arms of {source.node_source_code!r} apart")


def _is_below(node: Any, top: Any, items: list[Any]) -> bool:
    """Whether a source node is one of the items, which are children of `top`, or part of one."""
    node = node.get_original_node() if node is not None else None
    while node is not None and node is not top:
        if any(node is item.get_original_node() for item in items):
            return True
        node = node._parent
    return False


def _place(node: Any, base: Path) -> tuple[str, int, int] | None:
    """Path, line and column of a node in a source below `base`; of others None."""
    if node is None:
        return None
    node = node.get_original_node()
    module = node.module_node
    if module is None or node.lineno is None:  # an expanded getter has nodes without a place
        return None
    try:
        path = Path(module.resolved_path).relative_to(base)
    except ValueError:
        return None
    if "site-packages" in path.parts:
        return None
    return path.as_posix(), node.lineno, node.col_offset


class _Inserter:
    """Puts probes into assembly, and keeps what each one tells."""

    def __init__(self, is_symbol: Any, base: Path) -> None:
        self.is_symbol = is_symbol
        self.base = base
        self.probes: list[tuple[tuple[Item, ...], ...]] = []
        self.next = FIRST

    def insert(self, assembly: list[Any]) -> None:
        before: dict[int, list[Any]] = {}
        start = 0  # of the block; what was told since the last label needs no second probe
        told: set[Item] = set()
        lines: dict[Item, None] = {}

        def end_block() -> None:
            new = tuple(item for item in lines if item not in told)
            if new:
                before.setdefault(start, []).extend(self._point(new))
                told.update(new)
            lines.clear()

        for i, item in enumerate(assembly):
            if isinstance(item, list):
                end_block()
                start = i + 1
                if type(item[0]).__name__ == "RuntimeHeader":
                    inner = item[1:]
                    self.insert(inner)
                    item[1:] = inner
                continue
            if self.is_symbol(item) and i + 1 < len(assembly) and assembly[i + 1] == "JUMPDEST":
                end_block()
                told = set()
                start = i + 2
                continue
            mark = getattr(item, "ast_source", None)
            source = mark.get_original_node() if mark is not None else None
            place = _place(source, self.base) if _has_code(source) else None
            if place is not None:
                lines[Line(*place[:2])] = None
            if isinstance(mark, _Mark):
                self._condition(assembly, i, mark, before, lines)
            if item == "JUMPI":
                end_block()
                start = i + 1
        end_block()
        for i in sorted(before, reverse=True):
            assembly[i:i] = before[i]

    def _condition(
        self, assembly: list[Any], i: int, mark: _Mark, before: dict[int, list[Any]], lines: Any
    ) -> None:
        item = assembly[i]
        if isinstance(mark, _Entry):
            self._loop(assembly, i, mark, before, lines)
        elif item == "JUMPI":
            before.setdefault(i - 1, []).extend(self._conditional(mark))
        elif item == "MSTORE":
            at = i - 1
            while isinstance(assembly[at], int):
                at -= 1
            before.setdefault(at, []).extend(self._conditional(mark))

    def _loop(
        self, assembly: list[Any], i: int, mark: _Mark, before: dict[int, list[Any]], lines: Any
    ) -> None:
        if assembly[i] == "JUMPDEST" and "loop_start" in assembly[i - 1]:
            lines[mark.branch] = None
        elif assembly[i] == "JUMPI" and "_sym_revert" not in assembly[i - 1]:
            # The one before the loop is taken when there is nothing to do, the one at its end
            # when there is more.
            is_end = assembly[i - 2] == "XOR"
            out = mark.branch._replace(outcome=not is_end)
            out = out if is_end else mark.branch._replace(outcome=False)
            tells = (False, True) if is_end else (True, False)
            branch = mark.branch if is_end else out
            before.setdefault(i - 1, []).extend(
                self._conditional(_Mark(branch, mark.source, tells))
            )

    def _point(self, tells: tuple[Item, ...]) -> list[Any]:
        code = [*self._push(), "BALANCE", "POP"]
        self.probes.append((tells,))
        self.next += 1
        return code

    def _conditional(self, mark: _Mark) -> list[Any]:
        code = ["DUP1", "ISZERO", *self._push(), "ADD", "BALANCE", "POP"]
        self.probes.append(mark.told())
        self.next += 2
        return code

    def _push(self) -> list[Any]:
        return ["PUSH5", *self.next.to_bytes(5, "big")]


def _has_code(node: Any) -> bool:
    """Whether a line counts: what is in a function's body, and what a getter is made of."""
    if type(node).__name__ == "VariableDecl":
        return True
    while node is not None:
        parent = node._parent
        if type(parent).__name__ == "FunctionDef":
            return any(node is item for item in parent.body)
        node = parent
    return False

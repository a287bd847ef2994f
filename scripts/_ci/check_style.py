"""House rules no other linter knows (STYLE.md). Prints `file:line: message`; exits 1 on any."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vyper import ast as vy_ast

ROOT = Path(__file__).resolve().parents[2]

# Functions that may divide outside fixed_point, as "file:function": their operands are unsigned, so
# both languages agree.
DIVISION_ALLOWED = frozenset(
    {
        "contracts/testing/token_ledger.vy:_move",  # the fee of a token that credits too little
        "python_model/testing/token_mock.py:_move",
        "python_model/evm.py:_plain_address",  # wraps into 160 bits
    }
)
# exact.py works in fractions, where `/` does not round; invariants.py counts with them too.
DIVISION_FILES = ("contracts/modules/fixed_point.vy", "python_model/modules/fixed_point.py")
EXACT_FILES = ("python_model/exact.py", "python_model/invariants.py")

STOCK_NAMES = {"alice", "bob", "accounts"}

FOREIGN_TEXT = re.compile(
    r"""
      \bregistry\.\w+\.\w+ | https?://\S+(?:/simple\b|\.whl|\.tgz|\.tar\.gz)
    | ^\s*--(?:extra-)?index-url | ^\s*--find-links | "resolved"\s*:
    | (?<![\w.<>-])/(?:work|root)/
    | (?<![\w.<>-])/(?:home|Users)/\w
    | file:/{3}
    """,
    re.VERBOSE,
)
TEXT_LIMIT = 2_000_000  # bytes: larger tracked files are data

Finding = tuple[str, int, str]


def tracked_files(root: Path) -> list[str]:
    """Paths below root that git tracks or would track."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in output.split("\0") if name and (root / name).is_file())


def is_deployable(name: str) -> bool:
    return Path(name).parent.as_posix() == "contracts" and name.endswith(".vy")


def docstring(node: vy_ast.VyperNode) -> str:
    found = getattr(node, "doc_string", None)
    return found.value if found else ""


def vyper_divisions(name: str, source: str) -> Iterator[Finding]:
    for function in vy_ast.parse_to_ast(source).get_children(vy_ast.FunctionDef):
        if f"{name}:{function.name}" in DIVISION_ALLOWED:
            continue
        for node in function.get_descendants((vy_ast.BinOp, vy_ast.AugAssign)):
            if isinstance(node.op, (vy_ast.Div, vy_ast.FloorDiv, vy_ast.Mod)):
                yield name, node.lineno, "bare division: use a helper of fixed_point"


def python_divisions(name: str, source: str) -> Iterator[Finding]:
    def visit(node: ast.AST, function: str) -> Iterator[Finding]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = node.name
        match node:
            case ast.BinOp(op=operator) | ast.AugAssign(op=operator):
                divides = isinstance(operator, (ast.Div, ast.FloorDiv, ast.Mod))
                if divides and f"{name}:{function}" not in DIVISION_ALLOWED:
                    yield name, node.lineno, "bare division: use a helper of fixed_point"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function)

    yield from visit(ast.parse(source), "")


def deployable_rules(name: str, source: str) -> Iterator[Finding]:
    """Version, kill notice, and a notice on everything a user can call."""
    module = vy_ast.parse_to_ast(source)
    if "@custom:kill" not in docstring(module):
        yield name, 1, "the heading says nothing under @custom:kill"
    variables = module.get_children(vy_ast.VariableDecl)
    if not any(
        item.target.id == "version" and item.is_public and item.is_constant for item in variables
    ):
        yield name, 1, "no `version: public(constant(String[..]))`"
    for function in module.get_children(vy_ast.FunctionDef):
        external = any(getattr(node, "id", "") == "external" for node in function.decorator_list)
        if external and "@notice" not in docstring(function):
            yield name, function.lineno, f"external `{function.name}` has no @notice"


def stock_names(name: str, source: str) -> Iterator[Finding]:
    # Ape's own fixture is called accounts; a conftest turns it into roles.
    stock = STOCK_NAMES - {"accounts"} if Path(name).name == "conftest.py" else STOCK_NAMES
    for node in ast.walk(ast.parse(source)):
        found = getattr(node, "id", None) or getattr(node, "arg", None)
        if isinstance(found, str) and found in stock:
            yield (
                name,
                getattr(node, "lineno", 1),
                f"`{found}` is no role: trader, keeper, attacker",
            )


def foreign_imports(name: str, source: str) -> Iterator[Finding]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "."]
        else:
            continue
        for module in modules:
            top = module.split(".")[0]
            if top != "python_model" and top not in sys.stdlib_module_names:
                yield name, node.lineno, f"the model imports `{module}`"


def foreign_text(name: str, source: str) -> Iterator[Finding]:
    for number, line in enumerate(source.splitlines(), 1):
        if match := FOREIGN_TEXT.search(line):
            yield name, number, f"names a registry or a path of one machine: {match.group()}"


def check_file(name: str, source: str) -> Iterator[Finding]:
    """Every rule that applies to one file; name is its path from the root, with slashes."""
    yield from foreign_text(name, source)
    if name.startswith("contracts/") and name.endswith(".vy"):
        if name not in DIVISION_FILES:
            yield from vyper_divisions(name, source)
        if is_deployable(name):
            yield from deployable_rules(name, source)
    if name.startswith("python_model/") and name.endswith(".py"):
        if name not in DIVISION_FILES + EXACT_FILES:
            yield from python_divisions(name, source)
        yield from foreign_imports(name, source)
    if name.startswith("tests/") and name.endswith(".py"):
        yield from stock_names(name, source)


def check_tree(root: Path) -> list[Finding]:
    findings: list[Finding] = []
    for name in tracked_files(root):
        data = (root / name).read_bytes()
        if len(data) > TEXT_LIMIT or b"\0" in data[:8192]:
            continue
        findings += check_file(name, data.decode("utf-8"))
    return findings


def main() -> int:
    findings = check_tree(ROOT)
    for name, line, message in findings:
        print(f"{name}:{line}: {message}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every reason of errors.vy is met by a test of this folder, in both forms."""

import ast
from pathlib import Path

from python_model.modules import errors

HERE = Path(__file__).parent
REASONS = {name for name in vars(errors) if name.isupper()}


def met() -> dict[str, int]:
    """How often each reason is named by the tests, in a call of `refuses` or a table for one.

    `refuses` fails unless contract and model revert for exactly this reason, so being named in a
    passing test is being met.
    """
    found = dict.fromkeys(REASONS, 0)
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id="errors"), attr=name) if name in found:
                    found[name] += 1
    return found


def test_every_reason_is_met() -> None:
    assert REASONS
    assert [name for name, count in met().items() if not count] == []


def test_every_reason_is_used_by_a_contract() -> None:
    root = HERE.parents[1] / "contracts"
    text = "\n".join(path.read_text() for path in root.rglob("*.vy") if path.stem != "errors")
    assert [name for name in REASONS if f"errors.{name}" not in text] == []

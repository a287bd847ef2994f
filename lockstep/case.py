"""A case on disk: the steps of one chain with all that is needed to have them again.

JSON, written whole. It names its adapter, but nothing of it is ever imported or executed: whoever
reads it brings the adapter. A regression test can be read as a case too, without running it.
"""

import ast
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.compare import Mismatch
from lockstep.errors import InputError
from lockstep.regression import identifier, write_regression, write_whole
from lockstep.step import Step, to_json

FORMAT, VERSION = "lockstep case", 1
KEYS = ("format", "version", "adapter", "engine", "config", "expected", "steps")
AGAIN = "write it again with the command that made it"


class Case(NamedTuple):
    """Steps for one adapter. `kind` and `text` are of the failure that was found, if any."""

    adapter: str  # its import path
    config: Config
    steps: list[Step]
    engine: str = "revm"
    kind: str = ""
    text: str = ""


def write_case(path: str | Path, case: Case) -> None:
    """Write the case, whole or not at all."""
    expected = {"kind": case.kind, "text": case.text} if case.kind else None
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "adapter": case.adapter,
        "engine": case.engine,
        "config": case.config,
        "expected": expected,
        "steps": [to_json(step) for step in case.steps],
    }
    steps = ",\n  ".join(json.dumps(to_json(step)) for step in case.steps)
    head = {name: value for name, value in content.items() if name != "steps"}
    lines = [f" {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    lines.append(f' "steps": [\n  {steps}\n ],')
    lines.append(f' "checksum": "{checksum(content)}"')
    write_whole(path, "{\n" + "\n".join(lines) + "\n}\n")


def write_failure(
    adapter: Adapter,
    config: Config,
    steps: Sequence[Step],
    mismatch: Mismatch,
    engine: str,
    directory: str | Path,
) -> tuple[Path, Path]:
    """A failure as a regression test and, beside it, as a case; in a new folder for temporary files
    if it cannot be written where it should be."""
    directory = writable(directory)
    case = directory / f"{identifier(adapter, config, steps, mismatch.kind)}.json"
    kind, text = mismatch.kind, mismatch.text
    write_case(case, Case(adapter.import_path, config, list(steps), engine, kind, text))
    return write_regression(adapter, config, steps, mismatch, engine, directory), case


def writable(directory: str | Path) -> Path:
    """The folder, made if need be, or one in which a failure is not lost."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="lockstep-"))
    return Path(directory)


def checksum(content: dict[str, Any]) -> str:
    """Of everything but itself, however it is laid out."""
    kept = {name: content[name] for name in KEYS if name in content}
    body = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(body.encode()).hexdigest()


def read_case(path: str | Path, adapter: Adapter) -> Case:
    """A case of this adapter, from a case file or from a regression test. InputError if it is not
    one, or not a sound one."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text file"
        raise InputError(f"case {path}: {reason.lower()}; name a case or a test file") from None
    read = _from_test if str(path).endswith(".py") else _from_json
    case = read(str(path), text)
    if case.adapter != adapter.import_path:
        raise InputError(
            f"case {path}: made for the adapter {case.adapter}, this command runs "
            f"{adapter.import_path}; run it with the command of that adapter"
        )
    _check_steps(str(path), case, adapter)
    return case


def _from_json(path: str, text: str) -> Case:
    try:
        content = json.loads(text)
    except ValueError as error:
        place = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(
            f"case {path}: broken{place}, it may have been cut short; {AGAIN}"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"case {path}: no case; name a file that a failing campaign has written")
    if content.get("version") != VERSION:
        raise InputError(
            f"case {path}: of version {content.get('version')!r}, this is version {VERSION}; run "
            "it with the version that wrote it, or run its regression test"
        )
    missing = [name for name in KEYS if name not in content]
    if missing:
        raise InputError(f"case {path}: lacks {', '.join(missing)}; {AGAIN}")
    if "checksum" in content and content["checksum"] != checksum(content):
        raise InputError(
            f"case {path}: was edited, its checksum does not match; undo the edit, or delete the "
            "checksum to run it as it is"
        )
    return _case(path, content)


def _case(path: str, content: dict[str, Any]) -> Case:
    steps, config, expected = content["steps"], content["config"], content["expected"] or {}
    if not isinstance(config, dict) or not isinstance(expected, dict):
        raise InputError(f"case {path}: config or expected is no object; {AGAIN}")
    if not isinstance(steps, list):
        raise InputError(f"case {path}: steps is no list; {AGAIN}")
    return Case(
        str(content["adapter"]),
        config,
        [_step(path, number, step) for number, step in enumerate(steps, 1)],
        str(content["engine"]),
        str(expected.get("kind", "")),
        str(expected.get("text", "")),
    )


def _step(path: str, number: int, item: Any) -> Step:
    if not isinstance(item, list | tuple) or len(item) not in (4, 5):
        raise InputError(
            f"case {path}: step {number} is not [action, actor, [arguments], time, aim]; {AGAIN}"
        )
    action, actor, args, at, aim = (*item, "valid")[:5]
    if not all(isinstance(text, str) for text in (action, actor, aim)):
        raise InputError(f"case {path}: step {number}: action, actor or aim is no text; {AGAIN}")
    if not isinstance(args, list | tuple) or not all(type(arg) in (int, str) for arg in args):
        raise InputError(
            f"case {path}: step {number} ({action}): an argument is neither a whole number nor a "
            f"text; {AGAIN}"
        )
    if type(at) is not int or at < 0:
        raise InputError(f"case {path}: step {number} ({action}): {at!r} is no time; {AGAIN}")
    return Step(action, actor, tuple(args), at, aim)


def _from_test(path: str, text: str) -> Case:
    """The literals of a regression test; its code is not run."""
    wrong = f"case {path}: no regression test of a campaign; name one, or a case file"
    try:
        tree = ast.parse(text)
        values = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        config = ast.literal_eval(values["CONFIG"])
        calls = values["STEPS"].elts  # type: ignore[attr-defined]  # else caught below
        steps = [tuple(ast.literal_eval(argument) for argument in call.args) for call in calls]
        adapter = next(
            f"{node.module}:{node.names[0].name}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("lockstep.")
        )
    except (SyntaxError, ValueError, KeyError, AttributeError, StopIteration):
        raise InputError(wrong) from None
    content = {"adapter": adapter, "engine": "revm", "expected": None}
    return _case(path, content | {"config": config, "steps": steps})


def _check_steps(path: str, case: Case, adapter: Adapter) -> None:
    before = 0
    complaint = getattr(adapter, "complaint", None)  # optional, see Adapter
    for number, step in enumerate(case.steps, 1):
        wrong: str | None = None
        if step.action not in adapter.actions:
            wrong = f"no action is called {step.action!r}; there are {', '.join(adapter.actions)}"
        elif step.at < before:
            wrong = f"the time goes back from {before} to {step.at}; {AGAIN}"
        elif complaint is not None:
            wrong = complaint(step)
        if wrong is not None:
            raise InputError(f"case {path}: step {number} ({step.action}): {wrong}")
        before = step.at

"""Write a failure down as a pytest file that tells its story, and run such files."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lockstep.adapter import Adapter, Config
from lockstep.checker import Checker
from lockstep.compare import Mismatch
from lockstep.engines.base import open_engine
from lockstep.step import Step
from lockstep.story import numbered, tell

TEMPLATE = '''"""{title}

{text}

Expected is what the model says, got what the contract did. The story:

{story}
"""

# ruff: noqa: E501, I001, RUF100
# fmt: off
from {module} import {name}
from lockstep.regression import replay
from lockstep.step import Step

CONFIG = {config}

STEPS = [
{steps}
]


def test_{identifier}() -> None:
    replay({name}, CONFIG, STEPS, "{engine}")
'''


def replay(adapter: Adapter, config: Config, steps: Sequence[Step], engine: str = "revm") -> None:
    """Run the steps; AssertionError says what differs.

    First as a campaign runs them, so that what it found is found again; then with a look at
    everything after each step.
    """
    for is_thorough in (False, True):
        mismatch = _first_difference(adapter, config, steps, engine, is_thorough)
        if mismatch is not None:
            story = numbered(tell(adapter, config, steps, engine, mismatch.text))
            raise AssertionError(f"{mismatch.text}\nThe story:\n{story}")


def _first_difference(
    adapter: Adapter, config: Config, steps: Sequence[Step], engine: str, is_thorough: bool
) -> Mismatch | None:
    running = open_engine(engine)
    try:
        checker = Checker(adapter, running, config, whole_every=0)
        for step in steps:
            checker.step(step)
            if is_thorough:
                checker.finish()
        checker.finish()
    except Mismatch as found:
        return found
    finally:
        running.close()
    return None


def identifier(adapter: Adapter, config: Config, steps: Sequence[Step], kind: str) -> str:
    """What the files of a failure are called: its kind, and a hash of what leads to it."""
    content = f"{adapter.import_path}\n{literal(config)}\n{_literals(steps)}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return re.sub(r"\W+", "_", kind).strip("_").lower() + "_" + digest


def write_regression(
    adapter: Adapter,
    config: Config,
    steps: Sequence[Step],
    mismatch: Mismatch,
    engine: str = "revm",
    directory: str | Path = "tests/regressions",
) -> Path:
    """Write tests/regressions/test_<kind>_<hash>.py, whole or not at all."""
    module, name = adapter.import_path.split(":")
    called = identifier(adapter, config, steps, mismatch.kind)
    count = "one step" if len(steps) == 1 else f"{len(steps)} steps"
    body = TEMPLATE.format(
        title=f"{adapter.name}: {mismatch.kind}, after {count}.",
        text=_docstring(mismatch.text),
        story=_docstring(numbered(tell(adapter, config, steps, engine, mismatch.text))),
        module=module,
        name=name,
        config=literal(config),
        steps=_literals(steps),
        identifier=called,
        engine=engine,
    )
    path = Path(directory) / f"test_{called}.py"
    write_whole(path, body)
    return path


def _literals(steps: Sequence[Step]) -> str:
    return "\n".join(f"    Step{literal(tuple(step))}," for step in steps)


def literal(value: Any) -> str:
    """Python source of plain data, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict):
        inside = ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")


def write_whole(path: str | Path, content: str) -> None:
    """Write a file so that nobody ever sees half of it."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise

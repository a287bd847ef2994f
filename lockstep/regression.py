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
    """Run the steps with every check after each of them; AssertionError says what differs."""
    running = open_engine(engine)
    told: list[str] = []
    try:
        checker = Checker(adapter, running, config, whole_every=1)
        for step in steps:
            told.append(checker.twin.describe(step))
            checker.step(step)
            checker.finish()
    except Mismatch as found:
        story = "\n".join(f"  {i}. {line}" for i, line in enumerate(told, 1))
        raise AssertionError(f"{found.text}\nafter:\n{story}") from None
    finally:
        running.close()


def story(adapter: Adapter, config: Config, steps: Sequence[Step], engine: str) -> list[str]:
    """One line per step: who does what, and what comes of it in the model."""
    running = open_engine(engine)
    lines: list[str] = []
    try:
        checker = Checker(adapter, running, config, whole_every=0)
        for step in steps:
            lines.append(checker.twin.describe(step))
            result = checker.step(step)
            if not result.ok:
                lines[-1] += f" (reverts: {result.reason or 'no reason'})"
            checker.finish()
    except Mismatch:
        lines[-1] += "  <- here they differ"
    finally:
        running.close()
    return lines


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
    lines = story(adapter, config, steps, engine)
    literals = "\n".join(f"    Step{literal(tuple(step))}," for step in steps)
    settings = literal(config)
    content = f"{adapter.import_path}\n{settings}\n{literals}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    identifier = re.sub(r"\W+", "_", mismatch.kind).strip("_").lower() + "_" + digest
    body = TEMPLATE.format(
        title=f"{adapter.name}: {mismatch.kind}, after {len(steps)} steps.",
        text=_docstring(mismatch.text),
        story=_docstring("\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))),
        module=module,
        name=name,
        config=settings,
        steps=literals,
        identifier=identifier,
        engine=engine,
    )
    path = Path(directory) / f"test_{identifier}.py"
    write_whole(path, body)
    return path


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

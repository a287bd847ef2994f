"""The guide docs/first_campaign.md, run as it stands in an empty folder."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "first_campaign.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUICK = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the plugins of this repository load slowly
FILE = re.compile(r"# (\w+\.(?:vy|py))\n")


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(GUIDE.read_text(encoding="utf-8"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """That of a shell whose `python` has lockstep."""
    tools = tmp_path / "bin"
    tools.mkdir()
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **QUICK}


def run(script: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """What each line of a shell block prints; it must end with the code it names."""
    for line in script.splitlines():
        command, _, code = line.partition("  # exit code ")
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        output = done.stdout + done.stderr
        assert done.returncode == int(code or 0), f"{line}\n{output}"
        yield output


def test_guide_runs_as_it_stands(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "protocol"
    folder.mkdir()
    output = ""
    for language, content in blocks():
        named = FILE.match(content)
        if language in ("vyper", "python"):
            assert named, f"a block without the name of its file:\n{content}"
            (folder / named[1]).write_text(content)
        elif language == "sh":
            output = "".join(run(content, folder, environment))
        else:
            assert language == "text"
            for line in content.splitlines():
                assert line in output, f"{line!r} is not in\n{output}"


def test_guide_starts_from_what_it_says() -> None:
    languages = [language for language, _ in blocks()]
    assert languages[0] == "vyper"
    assert languages.count("sh") == languages.count("text") >= 4

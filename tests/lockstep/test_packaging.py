"""What an installation of lockstep asks for is what this repository runs it with."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
NEEDED = [*PROJECT["dependencies"], *(item for extra in EXTRAS for item in extra)]
# Imported under another name than the package's.
PACKAGES = {"eth": "py-evm", "eth_abi": "eth-abi", "eth_hash": "eth-hash", "markupsafe": "jinja2"}
# Comes with another one.
BROUGHT = {"eth_typing": "py-evm", "numpy": "matplotlib"}


def name_of(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found
    return found[0]


def test_pins_are_those_of_the_repository() -> None:
    ours = (ROOT / "requirements.in").read_text().splitlines()
    pinned = [item for item in NEEDED if "==" in item]
    assert len(pinned) > 8
    assert [item for item in pinned if item not in ours] == []


def test_everything_that_lockstep_imports_is_asked_for() -> None:
    imported: set[str] = set()
    for path in (ROOT / "lockstep").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"lockstep"}
    names = {BROUGHT.get(name, PACKAGES.get(name, name)) for name in foreign}
    assert "pyrevm" in names
    assert names - {name_of(item) for item in NEEDED} == set()


def test_files_that_are_no_python_are_installed_too() -> None:
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]["lockstep"]
    package = ROOT / "lockstep"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    folders = [path for path in package.rglob("*") if path.is_file()]
    others = {path for path in folders if path.suffix not in (".py", ".pyc")}
    assert others
    assert others <= installed

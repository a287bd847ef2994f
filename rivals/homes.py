"""An environment for each rival under .rivals, from pinned requirements; nothing elsewhere."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rivals.vault.adapter import ROOT

HERE = ROOT / "rivals"
HOMES = ROOT / ".rivals"
PROJECT = ("foundry.toml", "package.json", "package-lock.json", "solc.js")


class Unavailable(Exception):
    """A tool cannot be installed or does not run here, and why, in one line."""


def python(home: str) -> str:
    """The interpreter of a home; of this process for ""."""
    return str(HOMES / home / "bin" / "python") if home else sys.executable


def ready(home: str) -> bool:
    """Whether it needs no installation."""
    if not home:
        return True
    stamp = HOMES / home / "installed"
    return stamp.exists() and stamp.read_text() == _stamp(home)


def install(home: str) -> None:
    """Install the rival, unless it is there; Unavailable tells why not."""
    if ready(home):
        return
    folder = HOMES / home
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    if home == "foundry":
        install_forge(folder, [HERE / "foundry" / name for name in PROJECT])
    else:
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [python(home), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--require-hashes", "--no-deps", "-r", str(_requirements(home))]
        _run(pip)
    (folder / "installed").write_text(_stamp(home))


def forge(folder: Path | None = None) -> Path:
    """The native binary: npm's wrapper around it ends with 0 when tests fail."""
    home = folder or HOMES / "foundry"
    found = sorted(home.glob("node_modules/@foundry-rs/forge-*/bin/forge"))
    if not found:
        raise Unavailable("npm brought no forge for this platform")
    return found[0]


def install_forge(folder: Path, files: Sequence[Path]) -> None:
    """A new folder with these files of a project of forge, and what its package.json names."""
    if shutil.which("npm") is None:
        raise Unavailable("npm is missing; install Node.js 20 or later")
    (folder / "test").mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / file.name)
    (folder / "solc.js").chmod(0o755)
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    _run(npm, cwd=folder)
    _run([str(forge(folder)), "--version"])


def _run(command: list[str], cwd: Path | None = None) -> None:
    env = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        told = " ".join(" ".join(errors[:3]).split())
        raise Unavailable(f"{Path(command[0]).name} could not set it up: {told[:200]}")


_FOREIGN = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}


def _requirements(home: str) -> Path:
    return HERE / f"requirements-{home}.txt"


def _stamp(home: str) -> str:
    sources = [HERE / "foundry" / name for name in PROJECT]
    return stamp_of(HOMES, sources if home == "foundry" else [_requirements(home)])


def stamp_of(folder: Path, files: Iterable[Path]) -> str:
    """What an installation into a folder depends on, in short."""
    digest = hashlib.sha256(f"{folder} {sys.version}".encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()

"""Compile Vyper in this process, with a cache on disk and with sources replaced by text.

A cache entry lists every path the compiler read or looked for, with the hash of what it found, so a
changed, new or deleted file anywhere in the imports is a miss. Overrides replace files of the tree
by text without touching it: that is how bugs are planted.
"""

import gc
import hashlib
import json
import os
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

EVM_VERSION = "cancun"
# Preamble of a blueprint: 0xFE, then 0x71 and version 0. create_from_blueprint skips 3 bytes of it.
BLUEPRINT_PREAMBLE = bytes.fromhex("fe7100")


class Artifact(NamedTuple):
    path: str
    abi: list[dict[str, Any]]
    initcode: bytes  # without constructor arguments: append them
    runtime: bytes  # without immutables, which follow it on chain
    layout: dict[str, Any]  # Vyper's storage layout: name -> {slot, type, ..}, nested per module
    immutables: int  # bytes of them

    def slot(self, name: str) -> int:
        """Slot of a storage variable; "module.name" for one of an initialised module."""
        entry: Any = self.layout
        for part in name.split("."):
            if part not in entry:
                raise KeyError(f"{self.path} has no storage variable {name!r}")
            entry = entry[part]
        return int(entry["slot"])


def blueprint_initcode(initcode: bytes) -> bytes:
    """Initcode that deploys `initcode` as an ERC-5202 blueprint."""
    code = BLUEPRINT_PREAMBLE + initcode
    # PUSH2 length, RETURNDATASIZE, DUP2, PUSH1 10, RETURNDATASIZE, CODECOPY, RETURN
    return b"\x61" + len(code).to_bytes(2, "big") + bytes.fromhex("3d81600a3d39f3") + code


def compile_vyper(
    path: str | Path,
    *,
    root: str | Path = ".",
    overrides: Mapping[str, str] | None = None,
    optimize: str = "gas",
) -> Artifact:
    """Compile root/path. `overrides` maps paths relative to root to the text to use instead.

    Imports resolve beside the importing file, then in root, then in site-packages. A pragma in the
    source that contradicts `optimize` wins.
    """
    return Sources.of(path, root, overrides, optimize).artifact(str(path))


class Sources(NamedTuple):
    """What is compiled and how: the target, texts that replace files, settings."""

    target: Path
    base: Path
    replaced: Mapping[str, str]
    optimize: str

    @classmethod
    def of(
        cls,
        path: str | Path,
        root: str | Path = ".",
        overrides: Mapping[str, str] | None = None,
        optimize: str = "gas",
    ) -> "Sources":
        base = Path(root).resolve()
        replaced = {str((base / name).resolve()): text for name, text in (overrides or {}).items()}
        return cls((base / path).resolve(), base, replaced, optimize)

    def artifact(self, name: str = "") -> Artifact:
        """Compiled. `name` is what its path is called, if not the whole path."""

        def compiled() -> tuple[dict[str, Any], list[str]]:
            data, read = self.load()
            from vyper.compiler.output import build_abi_output
            from vyper.compiler.settings import anchor_settings

            with anchor_settings(data.settings):
                return {
                    "abi": build_abi_output(data),
                    "initcode": data.bytecode.hex(),
                    "runtime": data.bytecode_runtime.hex(),
                    "layout": data.storage_layout.get("storage_layout", {}),
                    "immutables": _end(data.storage_layout.get("code_layout", {})),
                }, read

        kind = f" {' '.join(Artifact._fields)}"
        found = self.cached(kind, compiled)
        code = (bytes.fromhex(found["initcode"]), bytes.fromhex(found["runtime"]))
        rest = (found["layout"], found["immutables"])
        return Artifact(name or str(self.target), found["abi"], *code, *rest)

    def cached(
        self, kind: str, make: Callable[[], tuple[dict[str, Any], list[str]]]
    ) -> dict[str, Any]:
        """What `make` made of the same sources before, else of these: it returns JSON values and
        the paths it read."""
        folder = self.base / ".cache" / "lockstep"
        settings = f"vyper {version('vyper')} {EVM_VERSION} {self.optimize}{kind}"
        stem = f"{self.target.stem}-{_digest(f'{self.target} {settings}')}"
        inputs = folder / f"{stem}.inputs.json"
        if inputs.exists():
            read = json.loads(inputs.read_text())
            entry = folder / f"{stem}-{_fingerprint(read, self.replaced)}.json"
            if entry.exists():
                found: dict[str, Any] = json.loads(entry.read_text())
                return found
        with each_subtree_once():
            made, read = make()
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{stem}-{_fingerprint(read, self.replaced)}.json", made)
        _write(inputs, sorted(set(read)))
        return made

    def load(self) -> tuple[Any, list[str]]:
        """Vyper's CompilerData, nothing compiled yet, and the paths read. Reading goes on while it
        compiles: the list grows."""
        # Imported late: a hit in the cache spares the second that loading the compiler takes.
        from vyper.compiler import input_bundle, phases
        from vyper.compiler.settings import OptimizationLevel, Settings

        read: list[str] = []
        replaced = self.replaced

        class Bundle(input_bundle.FilesystemInputBundle):  # type: ignore[misc]
            """Files of the tree, or the texts that stand in for them; records every path tried."""

            def _normalize_path(self, path: Path) -> Path:
                full = str(Path(os.path.abspath(path)).resolve())
                read.append(full)
                return Path(full) if full in replaced else super()._normalize_path(path)

            def _load_from_path(self, resolved_path: Path, original_path: Path) -> Any:
                found = replaced.get(str(resolved_path))
                if found is None:
                    return super()._load_from_path(resolved_path, original_path)
                identifier = self._generate_source_id(resolved_path)
                return input_bundle.FileInput(identifier, original_path, resolved_path, found)

        site = Path(sysconfig.get_paths()["purelib"])
        bundle = Bundle([site, self.base])
        file = bundle.load_file(self.target)
        # The pragma in the source decides when it is there; merging two different values is an
        # error.
        pragma = phases.CompilerData(file, bundle).vyper_module.settings
        level = pragma.optimize or OptimizationLevel.from_string(self.optimize)
        settings = Settings(optimize=level, evm_version=pragma.evm_version or EVM_VERSION)
        return phases.CompilerData(file, bundle, settings, no_bytecode_metadata=True), read


@contextmanager
def each_subtree_once() -> Iterator[None]:
    """Within it, the compiler's optimizer does not walk again what it left unchanged.

    It is a function of a node and its parent's operation alone and starts over after every change,
    which takes half of the time it takes to compile. The code is the same byte by byte.
    """
    from vyper.ir import optimizer

    original = optimizer._optimize

    def once(node: Any, parent: Any) -> tuple[bool, Any]:
        operation = parent.value if parent is not None else None
        known: set[Any] | None = node.__dict__.get("_unchanged_below")
        if known is not None and operation in known:
            return False, node
        changed, result = original(node, parent)
        if not changed and result is node:
            node.__dict__.setdefault("_unchanged_below", set()).add(operation)
        return changed, result

    collects = gc.isenabled()
    gc.disable()
    optimizer._optimize = once
    try:
        yield
    finally:
        optimizer._optimize = original
        if collects:
            gc.enable()


def _end(layout: dict[str, Any]) -> int:
    """Length of the data that the constructor appends to the code."""
    ends = [
        item["offset"] + item["length"] if "offset" in item else _end(item)
        for item in layout.values()
    ]
    return max(ends, default=0)


def _fingerprint(paths: list[str], replaced: Mapping[str, str]) -> str:
    # A path inside the compiler itself is covered by its version.
    parts = []
    for name in sorted(set(paths)):
        if name in replaced:
            parts.append(f"{name} {_digest(replaced[name])}")
        elif os.path.isfile(name):
            parts.append(f"{name} {_digest(Path(name).read_text())}")
        else:
            parts.append(f"{name} absent")
    return _digest("\n".join(parts))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _write(path: Path, content: Any) -> None:
    # Several processes may compile the same file: the last one to finish wins, whole.
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(handle, "w") as file:
        json.dump(content, file)
    os.replace(name, path)

"""MirrorAdapter: what lockstep asks of a protocol, answered from a Mirror; and its command."""

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import click

from lockstep.adapter import Adapter, Config, Invariant
from lockstep.cli import fuzz_command
from lockstep.compiler import Artifact, Sources
from lockstep.engines.base import Engine, open_engine
from lockstep.errors import InputError
from lockstep.mirror.checks import check_model, check_unmirrored
from lockstep.mirror.interface import Interface
from lockstep.mirror.twin import Draw, Mirror, known
from lockstep.step import Step

LENGTH = 2_000  # steps of a chain


class MirrorAdapter:
    """The adapter of a Mirror subclass.

    `import_path` is where regression tests import it from, by default ADAPTER of the module that
    defines the mirror. `overrides` are texts to compile instead of files, by path from its root.
    """

    def __init__(
        self,
        mirror: type[Mirror],
        import_path: str = "",
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.mirror = mirror
        self.name = mirror.name
        self.import_path = import_path or f"{mirror.__module__}:ADAPTER"
        self.overrides = overrides or {}
        self._artifacts: Mapping[str, Artifact] = {}  # instead of what is compiled here
        self.invariants: Sequence[Invariant] = mirror.invariants
        self.references: Mapping[str, tuple[str, tuple[int, ...]]] = {
            draw.action: draw.references for draw in mirror.draws.values() if draw.references
        }

    @cached_property
    def interfaces(self) -> Mapping[str, Interface]:
        """The contracts, compiled and compared with the models. InputError if they do not fit."""
        mirror = self.mirror
        artifacts = {
            name: self._artifact(mirror.contracts[name][0], sources)
            for name, sources in self.sources().items()
        } | dict(self._artifacts)
        check_unmirrored(mirror.unmirrored, artifacts)
        for name, (_, model) in mirror.contracts.items():
            check_model(name, artifacts[name], model, mirror.unmirrored)
        return {
            name: Interface.of(artifacts[name], model)
            for name, (_, model) in mirror.contracts.items()
        }

    def sources(self) -> Mapping[str, Sources]:
        """What the contracts are compiled from."""
        root = self.mirror.root
        for path, _ in self.mirror.contracts.values():
            if path not in self.overrides and not Path(root, path).is_file():
                raise InputError(
                    f"contract {path}: no such file in {root}; see `contracts` and `root`"
                )
        return {
            name: Sources.of(path, root, self.overrides)
            for name, (path, _) in self.mirror.contracts.items()
        }

    def compiled(self, artifacts: Mapping[str, Artifact]) -> "MirrorAdapter":
        """The same adapter with these in the place of what it compiles itself."""
        other = MirrorAdapter(self.mirror, self.import_path, self.overrides)
        other._artifacts = {**self._artifacts, **artifacts}
        other.interfaces = {
            name: interface.compiled(artifacts.get(name, interface.artifact))
            for name, interface in self.interfaces.items()
        }
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without what can be worked out again, and cannot be pickled."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("interfaces", "actions")
        }

    @staticmethod
    def _artifact(path: str, sources: Sources) -> Artifact:
        try:
            return sources.artifact(path)
        except Exception as error:
            from vyper.exceptions import VyperException  # slow to load, and seldom needed

            if not isinstance(error, VyperException):
                raise
            raise InputError(f"contract {path} does not compile: {error}") from None

    @cached_property
    def actions(self) -> Mapping[str, Any]:
        """Every function that models and contracts share, and what is said of it."""
        found = {
            f"{name}.{function}": ""
            for name, interface in self.interfaces.items()
            for function in interface.functions
            if f"{name}.{function}" not in self.mirror.unmirrored
        }
        roles = dict.fromkeys(self.mirror.roles)
        for role in (*self.mirror.relays, *(one for item in self._draws() for one in item.by)):
            known("role", role, roles)
        for draw in self._draws():
            known("action", draw.action, found)
            found[draw.action] = draw.says
        return found

    def _draws(self) -> Sequence[Draw]:
        return tuple(self.mirror.draws.values())

    def new_twin(self, engine: Engine, config: Config) -> Mirror:
        return self.mirror(self, engine, config)

    def generate(self, twin: Any, rng: random.Random) -> Step:
        step: Step = twin.draw(rng)
        return step

    def check(self, configs: Sequence[Config] = ({},)) -> None:
        """InputError, before the first step, if contracts, models and draws do not fit."""
        assert self.actions is not None
        for config in configs:
            engine = open_engine("revm")
            try:
                self.new_twin(engine, config)
            finally:
                engine.close()

    def planted(self, path: str, old: str, new: str) -> "MirrorAdapter":
        """The adapter of a copy of the contract at `path` in which `old`, found once, is `new`."""
        text = self.overrides.get(path) or Path(self.mirror.root, path).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise InputError(f"{path} has {old!r} {text.count(old)} times; name a text it has once")
        overrides = {**self.overrides, path: text.replace(old, new)}
        return MirrorAdapter(self.mirror, self.import_path, overrides)


def mirror_command(
    adapter: MirrorAdapter, configs: Sequence[Config] = ({},), **settings: Any
) -> click.Command:
    """The fuzzing command; the chains take `configs` in turn. `settings` as of fuzz_command.

    Chains are short: drawn steps bring many systems to where little is possible any more.
    """

    def build(_: dict[str, Any]) -> tuple[Adapter, Sequence[Config]]:
        adapter.check(configs)
        # A property that is worked out once serves as well as the attribute that is asked for.
        return cast(Adapter, adapter), configs

    about = f"Drive {adapter.name} and its model with the same steps and compare everything."
    return fuzz_command(build, **{"about": about, "default_length": LENGTH, **settings})

"""Mutation testing of a protocol that has a Mirror: its contracts and models, changed a little."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import click

from lockstep.adapter import Adapter, Config
from lockstep.mirror.adapter import MirrorAdapter
from lockstep.mutation.command import mutants_command
from lockstep.mutation.project import Project, imported_files


def project_of(adapter: MirrorAdapter, configs: Sequence[Config] = ({},)) -> Project:
    """The protocol as mutation testing sees it. Imports have to start at the mirror's root."""
    mirror = adapter.mirror
    root = Path(mirror.root).resolve()
    deployables = {name: path for name, (path, _) in mirror.contracts.items()}

    def build(codes: Mapping[str, bytes]) -> Adapter:
        artifacts = {
            name: adapter.interfaces[name].artifact._replace(initcode=code)
            for name, code in codes.items()
        }
        return cast(Adapter, adapter.compiled(artifacts))

    model = {
        Path(inspect.getfile(model)).resolve().relative_to(root).as_posix()
        for _, model in mirror.contracts.values()
    }
    campaign = imported_files(root, mirror.__module__, "lockstep.checker", "lockstep.engines.revm")
    return Project(
        root=root,
        contracts=sorted(set(deployables.values())),
        model=sorted(model),
        deployables=deployables,
        build=build,
        configs=configs,
        inputs=sorted({*campaign, *deployables.values()}),
    )


def mirror_mutants_command(
    adapter: MirrorAdapter, configs: Sequence[Config] = ({},), reviewed: str = "equivalent.toml"
) -> click.Command:
    """The command; `reviewed`, relative to the mirror's root, is the file of reasons."""
    path = Path(adapter.mirror.root) / reviewed
    return mutants_command(lambda: project_of(adapter, configs), path)

"""`mutants`: the market's contracts and model, changed in many small ways."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from lockstep.adapter import Adapter, Config
from lockstep.corpus import Corpus
from lockstep.mutation.command import mutants_command as command_of
from lockstep.mutation.project import Project, imported_files
from lockstep.step import Step
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.corpus_command import SEEDS
from perp_fuzz.deployment import CONTRACTS, ROOT, compile_contracts

REVIEWED = Path(__file__).with_name("equivalent_mutants.toml")
# Not part of the model: what checks it, and the little chain that it runs on.
APART = ("evm", "exact", "invariants", "__init__")


def _paths(*patterns: str) -> list[str]:
    found = {path.relative_to(ROOT).as_posix() for item in patterns for path in ROOT.glob(item)}
    return sorted(found)


def _build(codes: Mapping[str, bytes]) -> Adapter:
    artifacts = dict(compile_contracts())
    for name, code in codes.items():
        artifacts[name] = artifacts[name]._replace(initcode=code)
    return PerpAdapter(artifacts=artifacts)


def _beginnings() -> list[tuple[Config, Sequence[Step]]]:
    """Those that a campaign has, the shortest first."""
    entries = sorted(Corpus(PerpAdapter(), [SEEDS]).entries, key=lambda entry: len(entry.steps))
    return [(entry.config, entry.steps) for entry in entries]


def perp_project(configs: Sequence[Config]) -> Project:
    """The market as mutation testing sees it."""
    campaign = imported_files(
        ROOT, "perp_fuzz.adapter", "lockstep.checker", "lockstep.engines.revm"
    )
    sources = _paths("contracts/**/*.vy", "contracts/**/*.vyi")
    return Project(
        root=ROOT,
        contracts=_paths("contracts/*.vy", "contracts/modules/*.vy"),
        model=[
            name
            for name in _paths("python_model/*.py", "python_model/modules/*.py")
            if Path(name).stem not in APART
        ],
        deployables={
            name: f"contracts/{name}.vy" for name in CONTRACTS if not name.startswith("testing/")
        },
        build=_build,
        configs=configs,
        commutative=(
            "_mul_div_down",
            "_mul_div_up",
            "_median_of_three",
            "_fraction_of_notional_up",
        ),
        inputs=sorted({*campaign, *sources, *_paths(f"{SEEDS.relative_to(ROOT)}/*.json")}),
        beginnings=_beginnings,
    )


def mutants_command(configs: Sequence[Config]) -> click.Command:
    """The command, on the deployments that the chains of a campaign take in turn."""
    return command_of(lambda: perp_project(configs), REVIEWED)

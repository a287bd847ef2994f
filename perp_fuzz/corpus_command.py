"""`python -m perp_fuzz corpus`: what is in a corpus, whether it still reaches it, and shorter."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from lockstep.cli import FuzzCommand, Whole
from lockstep.corpus import Corpus, Entry, entry_of
from lockstep.distil import Distiller
from lockstep.errors import InputError
from perp_fuzz.adapter import PerpAdapter

SEEDS = Path(__file__).with_name("corpus")


@click.command("corpus", cls=FuzzCommand)
@click.option("--corpus", type=click.Path(), default=None, help="The folder; else our own.")
@click.option("--update", is_flag=True, help="Shorten the entries as far as time allows.")
@click.option("--seconds", type=Whole(1), default=60, show_default=True, help="For --update.")
def corpus_command(corpus: str | None, update: bool, seconds: int) -> None:
    """The entries of a corpus: steps, deployment, and what they reach.

    Each is replayed on the model. Exit code 1 if one no longer reaches all it is kept for.
    """
    folder = Path(corpus) if corpus else SEEDS
    if not folder.is_dir():
        raise InputError(f"corpus {folder}: no such folder; `make fuzz CORPUS={folder}` makes one")
    adapter, console = PerpAdapter(), Console()
    kept = Corpus(adapter, [folder], folder if update else None)
    distiller = Distiller(adapter, seconds)
    try:
        if update:
            for entry in kept.entries:
                _shorten(kept, distiller, entry, console)
            kept = Corpus(adapter, [folder])
        is_sound = _show(kept, distiller, console)
    finally:
        distiller.close()
    if not is_sound:
        raise SystemExit(1)


def _shorten(kept: Corpus, distiller: Distiller, entry: Entry, console: Console) -> None:
    """An entry for each feature that the one before does not reach, in place of this one."""
    whole = distiller.whole(entry)
    left = [name for name in entry.features if name in whole.first]
    if len(left) < len(entry.features):
        return  # it is told about, and kept as it is
    made: list[Entry] = []
    while left and not distiller.is_over():
        run = distiller.shorten(entry.config, whole, left[0])
        reached = [name for name in left if name in run.first]
        left = [name for name in left if name not in run.first]
        made.append(entry_of(PerpAdapter(), entry.config, run.steps, reached))
    steps = sum(len(other.steps) for other in made)
    if left or steps >= len(entry.steps):
        return
    for other in made:
        kept.write(other)
    kept.remove(entry)
    told = f"{entry.file_name}: {len(entry.steps):,} steps, now {steps:,} in {len(made)}"
    console.print(told, highlight=False, markup=False)


def _show(kept: Corpus, distiller: Distiller, console: Console) -> bool:
    table = Table("entry", "deployment", title=f"{len(kept.entries):,} entries, {kept.digest}")
    table.add_column("steps", justify="right")
    table.add_column("reaches")
    is_sound = True
    for entry in kept.entries:
        first = distiller.whole(entry).first
        lost = [name for name in entry.features if name not in first]
        is_sound = is_sound and not lost
        told = [*(name for name in entry.features if name in first)]
        told += [f"NO LONGER: {name}" for name in lost]
        deployed = _deployed(entry.config)
        table.add_row(entry.digest, deployed, f"{len(entry.steps):,}", "\n".join(told))
    console.print(table, highlight=False, markup=False)
    return is_sound


def _deployed(config: dict[str, Any]) -> str:
    names = [str(config.get(key, "")) for key in ("token", "feed")]
    return ", ".join([*(name for name in names if name), f"{config['decimals']} decimals"])

"""`python -m examples.fee_vault fuzz`."""

import click

from examples.fee_vault.adapter import ADAPTER, CONFIGS
from lockstep.mirror import mirror_command


@click.group()
def main() -> None:
    """An example of a second protocol under lockstep: a vault with a fee, a cap and a lock."""


main.add_command(mirror_command(ADAPTER, CONFIGS, default_steps=20_000))

if __name__ == "__main__":
    main(prog_name="python -m examples.fee_vault")

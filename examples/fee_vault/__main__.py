"""`python -m examples.fee_vault fuzz` and `mutants`."""

import click

from examples.fee_vault.adapter import ADAPTER, CONFIGS
from lockstep.mirror import mirror_command
from lockstep.mirror.mutants import mirror_mutants_command


@click.group()
def main() -> None:
    """An example of a second protocol under lockstep: a vault with a fee, a cap and a lock."""


main.add_command(mirror_command(ADAPTER, CONFIGS, default_steps=20_000))
main.add_command(
    mirror_mutants_command(ADAPTER, CONFIGS, "examples/fee_vault/equivalent_mutants.toml")
)

if __name__ == "__main__":
    main(prog_name="python -m examples.fee_vault")

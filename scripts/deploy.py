"""`ape run deploy`: deploys what a deploy file says, once; `ape run deploy verify` compares."""

import os
import sys
from pathlib import Path
from typing import Any

import click
from ape.cli import AccountAliasPromptChoice

from lockstep.errors import InputError
from operations.accounts import signer_of
from operations.command import ROOT, ChainCommand, web3_of
from operations.deploy import deploy
from operations.settings import Settings, read_settings
from operations.verify import verify

HELP = """Deploys what a deploy file says, or compares a deployment with it.

\b
  ape run deploy --network ethereum:sepolia:node --account deployer --dry-run
  ape run deploy --network ethereum:sepolia:node --account deployer
  ape run deploy verify --network ethereum:sepolia:node

networks/<network>.toml says token, feeds, parameters and roles; copy networks/sepolia.toml for a
new network. All of it is checked first, the parameters against the bounds that the contracts
enforce. Then the plan is shown, worked out to the last address by deploying it in an EVM of this
process. What is sent afterwards is noted in deployments/<network>.json before it is sent: when
interrupted, run the same command again; it finishes, and nothing is deployed twice. Keep that file.

Addresses are the same on every network that has the CREATE2 deployer at
0x4e59b44847b379578588920cA78FbF26c0B4956C. The ownership is offered to roles.owner at the end; it
accepts by calling accept_ownership on configurator and factory.

Keys come from ape's accounts (`ape accounts import deployer`); TEST::0 is one of the development
mnemonic, for a local chain:

\b
  scripts/_ci/run.sh anvil &
  ape run deploy --network ethereum:local:http://127.0.0.1:8545 --account TEST::0

verify deploys the source once more in this process and compares code, immutables included, and
parameters of the chain with it and with the manifest.

Exit codes: 0 deployed, or equal; 1 it failed, or differs; 2 bad input, nothing was sent."""


@click.command(cls=ChainCommand, help=HELP)
@click.argument("action", type=click.Choice(["run", "verify"]), default="run")
@click.option(
    "--file", type=click.Path(path_type=Path), help="Deploy file.  [networks/<network>.toml]"
)
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Manifest.  [deployments/<network>.json]"
)
@click.option(
    "--account", type=AccountAliasPromptChoice(), help="Who deploys: an alias of `ape accounts`."
)
@click.option("--dry-run", is_flag=True, help="Checks and shows the plan; sends nothing.")
@click.option("--yes", is_flag=True, help="Sends without asking, as where no terminal is.")
def cli(
    provider: Any,
    action: str,
    file: Path | None,
    manifest: Path | None,
    account: Any,
    dry_run: bool,
    yes: bool,
) -> None:
    settings = read_settings(file or _below(f"networks/{provider.network.name}.toml"))
    path = manifest or _below(f"deployments/{settings.network}.json")
    web3 = web3_of(provider)
    if action == "verify":
        report = verify(web3, settings, path)
        for line in report.lines():
            click.echo(line)
        raise SystemExit(1 if report.differences else 0)
    if account is None:
        raise InputError("--account: who deploys? Name one of `ape accounts list`, or TEST::0")

    def agree() -> bool:
        return _is_agreed(settings, account, yes)

    deploy(web3, signer_of(account), settings, path, click.echo, dry_run=dry_run, agree=agree)


def _below(name: str) -> Path:
    """A file of this clone, as short as it can be said."""
    return Path(os.path.relpath(ROOT / name))


def _is_agreed(settings: Settings, account: Any, yes: bool) -> bool:
    """Asks, on a public network; a key file is unlocked once for all transactions."""
    if settings.profile != "local" and not yes:
        if not sys.stdin.isatty():
            raise InputError("--yes: there is no terminal to ask at: give it to send without")
        click.confirm("Send them?", abort=True)
    if hasattr(account, "set_autosign"):
        account.set_autosign(True)
    return True

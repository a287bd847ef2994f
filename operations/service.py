"""What the commands of publisher and keeper have in common: accounts, manifest, log, metrics."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from ape.api.accounts import TestAccountAPI
from ape.cli import AccountAliasPromptChoice
from web3 import Web3

from lockstep.errors import InputError
from lockstep.prices import parse_wad
from operations.accounts import Signer, signer_of
from operations.command import ROOT
from operations.manifest import read_manifest
from operations.market import Target, target_of
from operations.metrics import Metrics
from operations.rpc import Policy, patient

ALIAS = AccountAliasPromptChoice()
COMMON = (
    click.option(
        "--manifest",
        type=click.Path(path_type=Path),
        help="Manifest.  [deployments/<network>.json]",
    ),
    click.option("--market", help="Which market, if the deployment has several."),
    click.option("--account", type=ALIAS, help="Alias of the account that sends and pays the gas."),
    click.option(
        "--interval", default=1.0, show_default=True, help="Seconds between two looks at the chain."
    ),
    click.option("--wait", default=30.0, show_default=True, help="Seconds until a fee is raised."),
    click.option(
        "--patience", default=120.0, show_default=True, help="Seconds to ask a failing node again."
    ),
    click.option("--metrics-port", type=int, help="Prometheus metrics on this port of 127.0.0.1."),
)


def common_options(command: Any) -> Any:
    """The options that publisher and keeper share."""
    for option in reversed(COMMON):
        command = option(command)
    return command


class Decimal(click.ParamType):
    """A decimal number, taken exactly: WAD."""

    name = "decimal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_wad(str(value).replace("_", "").replace(",", ""))
        except ValueError as error:
            self.fail(f"{error}; write 3000 or 0.05")


def target_named(
    provider: Any, policy: Policy, manifest: Path | None, market: str | None
) -> tuple[Web3, Target]:
    """The connection, made patient, and the market that is meant."""
    path = manifest or Path(os.path.relpath(ROOT / f"deployments/{provider.network.name}.json"))
    found = read_manifest(path)
    web3 = patient(provider.web3, policy)
    try:
        return web3, target_of(web3, found, market)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def unlocked(account: Any, provider: Any, option: str) -> Signer:
    """An account that signs without asking from now on. InputError for one that nobody names, or
    whose key everybody knows."""
    if account is None:
        raise InputError(f"{option}: which account? Name one of `ape accounts list`")
    if isinstance(account, TestAccountAPI):
        if not provider.network.is_dev:
            raise InputError(
                f"{option} {account.alias}: everybody knows its key, and {provider.network.name} "
                "is no local network; name one of `ape accounts list`"
            )
    elif hasattr(account, "set_autosign"):
        account.set_autosign(True)
    return signer_of(account)


@contextmanager
def service(metrics: Metrics, port: int | None) -> Iterator[logging.Logger]:
    """A log on standard error and metrics on a port, until the end of the block."""
    log = logging.getLogger("ringfence")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    close = None
    try:
        if port is not None:
            close, port = _served(metrics, port)
            log.info("metrics: http://127.0.0.1:%d/metrics", port)
        yield log
    finally:
        if close is not None:
            close()
        log.removeHandler(handler)


def _served(metrics: Metrics, port: int) -> Any:
    try:
        return metrics.serve(port)
    except (OSError, OverflowError) as error:
        raise InputError(f"--metrics-port {port}: {error}; choose another") from None

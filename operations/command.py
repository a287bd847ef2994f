"""Ape commands whose errors are one line: 2 for bad input, 1 for what went wrong."""

from pathlib import Path
from typing import Any, NoReturn

import click
from ape.cli import ConnectedProviderCommand
from ape.exceptions import ApeException, NetworkError, ProviderError
from requests.exceptions import ConnectionError as NotConnected
from web3 import Web3

from lockstep.errors import InputError
from operations.outbox import DeployError
from operations.rpc import NodeError, patient

ROOT = Path(__file__).resolve().parents[1]


class OneLine(click.ClickException):
    """An error in one line."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(" ".join(text.split()))
        self.exit_code = code

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.format_message()}", err=True)


class ChainCommand(ConnectedProviderCommand):
    """A command that is connected to a network (`--network`)."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise OneLine(f"{error.format_message()} See --help.", 2) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (InputError, click.UsageError) as error:
            _fail(error, 2)
        except NotConnected:  # ape finds no node and none to start: later on `patient` answers
            raise OneLine(
                "--network: no node answers there. Start the node, or choose another network.", 2
            ) from None
        except (NetworkError, ProviderError) as error:  # of connecting: later on web3 answers
            raise OneLine(
                f"--network: {error} Start the node, or choose another network.", 2
            ) from None
        except (DeployError, NodeError, ApeException) as error:
            _fail(error, 1)


def _fail(error: Exception, code: int) -> NoReturn:
    raise OneLine(str(error), code) from None


def web3_of(provider: Any) -> Web3:
    """The connection of an ape provider, made patient."""
    web3: Web3 = provider.web3
    return patient(web3)

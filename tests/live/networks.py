"""Anvil as the network that is deployed to, and deploy files for it."""

import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from eth_account import Account
from web3 import Web3

from lockstep.engines.anvil import AnvilNode
from operations.accounts import LocalSigner
from operations.deploy import deploy
from operations.rpc import connect
from operations.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / "networks" / "local.toml"
# The development mnemonic's accounts, in the order in which networks/local.toml names them.
KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
)
DEPLOYER, OWNER, GUARDIAN = (LocalSigner(Account.from_key(key)) for key in KEYS)
FORK = multiprocessing.get_context("fork")  # no imports: a process in a tenth of a second


@contextmanager
def anvil(*flags: str) -> Iterator[Web3]:
    """A development chain on a free port, until the end of the block."""
    node = AnvilNode(f"--silent {' '.join(flags)}")
    web3 = connect(node.url)
    try:
        node.wait(lambda: web3.eth.chain_id, OSError)
        yield web3
    finally:
        node.close()


def url_of(web3: Web3) -> str:
    return str(web3.provider.endpoint_uri)


def rpc(web3: Web3, method: str, *values):
    answer = web3.provider.make_request(method, list(values))
    assert "error" not in answer, answer
    return answer["result"]


def send(web3: Web3, sender: str, to: str | None, data: bytes):
    """The receipt of a transaction of an account that the node has the key of."""
    # An estimate is of another moment than the block, in which a word may be written that was not.
    fields = {"from": sender, "data": "0x" + data.hex(), "gas": hex(16_000_000)}
    if to is not None:
        fields["to"] = to
    return web3.eth.wait_for_transaction_receipt(rpc(web3, "eth_sendTransaction", fields))


def changed(folder: Path, *changes: tuple[str, str], source: Path = LOCAL) -> Path:
    """A deploy file with some of its text replaced."""
    text = source.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / source.name
    path.write_text(text)
    return path


def settings_of(folder: Path, *changes: tuple[str, str], source: Path = LOCAL) -> Settings:
    return read_settings(changed(folder, *changes, source=source))


def deploy_here(web3: Web3, settings: Settings, manifest: Path, **options):
    """Deploys without a word."""
    return deploy(web3, DEPLOYER, settings, manifest, lambda line: None, **options)


def deploy_until(web3: Web3, file: Path, manifest: Path, survived: set[str]) -> str | None:
    """Deploys in a process of its own, which kills itself at the first boundary that is not among
    those survived before. That boundary; None if there is none left."""
    end, other = FORK.Pipe()
    process = FORK.Process(target=_killed, args=(url_of(web3), file, manifest, survived, other))
    with warnings.catch_warnings():
        # From 3.12 on: of threads that the child, which dies soon, has no use for.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    other.close()
    told = None
    with suppress(EOFError):
        told = end.recv()
    process.join()
    assert process.exitcode == (0 if told is None else -signal.SIGKILL)
    return told


def _killed(url: str, file: Path, manifest: Path, survived: set[str], told) -> None:
    def passed(boundary: str) -> None:
        if boundary not in survived:
            told.send(boundary)
            os.kill(os.getpid(), signal.SIGKILL)

    deploy_here(connect(url), read_settings(file), manifest, passed=passed)

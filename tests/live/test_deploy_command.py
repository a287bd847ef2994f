"""`ape run deploy` as it is typed."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from operations.manifest import read_manifest
from scripts import deploy, keeper, monitor, publish
from tests.live.networks import DEPLOYER, LOCAL, ROOT, anvil, changed, url_of

# ape looks for nodes on sockets that it leaves to the garbage collector.
LEFT_OPEN = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


@pytest.fixture(scope="module")
def web3():
    with anvil() as web3:
        yield web3


def refused(script, *arguments):
    """The one line that is told, with exit code 2."""
    result = CliRunner(mix_stderr=False).invoke(script.cli, arguments)
    gc.collect()  # what ape left open, while that is ignored
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.slow
def test_it_deploys(web3, tmp_path):
    path = tmp_path / "local.json"
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ape"), "run", "deploy"),
            *("--network", f"ethereum:local:{url_of(web3)}", "--account", "TEST::0"),
            *("--file", str(LOCAL), "--manifest", str(path)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert f"deployed and verified; written to {path}" in done.stdout
    assert read_manifest(path).roles.deployer == DEPLOYER.address.lower()


@pytest.mark.filterwarnings(LEFT_OPEN)
def test_on_a_public_network_nothing_is_sent_unasked(web3, tmp_path):
    file = changed(tmp_path, ('profile = "local"', 'profile = "testnet"'))
    manifest = tmp_path / "local.json"
    before = web3.eth.block_number
    told = refused(
        deploy,
        *("--network", f"ethereum:local:{url_of(web3)}", "--account", "TEST::1"),
        *("--file", str(file), "--manifest", str(manifest)),
    )
    assert told == "error: --yes: there is no terminal to ask at: give it to send without"
    assert (web3.eth.block_number, manifest.exists()) == (before, False)


@pytest.mark.filterwarnings(LEFT_OPEN)
def test_a_network_with_another_chain_is_refused(web3):
    told = refused(deploy, "--network", f"ethereum:sepolia:{url_of(web3)}", "--account", "TEST::0")
    assert told.startswith(
        "error: --network: Provider connected to chain ID '31337', which does not match"
    )


@pytest.mark.filterwarnings(LEFT_OPEN)
@pytest.mark.parametrize("script", [deploy, publish, keeper, monitor])
def test_a_node_that_is_not_there_is_told(script):
    nowhere = "ethereum:local:http://127.0.0.1:9"  # the port of "discard"
    assert refused(script, "--network", nowhere).startswith("error: --network: no node answers")

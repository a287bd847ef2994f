"""`ape run publish` and `ape run keeper` as they are typed, with accounts of ape."""

import gc
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from eth_account import Account

from operations.manifest import read_manifest
from operations.market import status_of, target_of
from scripts import keeper as keep
from scripts import publish
from tests.live.networks import ROOT, anvil, deploy_here, settings_of, url_of

# TEST::4 of the development mnemonic, which networks/local.toml lists as a publisher.
KEY = "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"
PHRASE = "only for tests"
# ape looks for nodes on sockets that it leaves to the garbage collector.
LEFT_OPEN = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A node whose chain lives by the clock, and the manifest of what is deployed there."""
    folder = tmp_path_factory.mktemp("deployed")
    with anvil("--block-time", "1", "--mixed-mining") as web3:
        path = folder / "local.json"
        deploy_here(web3, settings_of(folder), path)
        yield web3, path


@pytest.fixture
def environment(tmp_path):
    """Ape's data in a folder of its own, with one key file in it."""
    keyfiles = tmp_path / "ape" / "accounts"
    keyfiles.mkdir(parents=True)
    held = Account.encrypt(KEY, PHRASE, kdf="pbkdf2", iterations=1)
    held["address"] = Account.from_key(KEY).address
    (keyfiles / "signer.json").write_text(json.dumps(held))
    data = {"APE_DATA_FOLDER": str(tmp_path / "ape"), "APE_ACCOUNTS_signer_PASSPHRASE": PHRASE}
    return os.environ | data | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def start(environment, deployed, *arguments):
    web3, manifest = deployed
    given = ["--network", f"ethereum:local:{url_of(web3)}", "--manifest", str(manifest)]
    return subprocess.Popen(
        [Path(sys.executable).with_name("ape"), "run", *arguments, *given],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    out, told = process.communicate(timeout=120)
    return process.returncode, out, told


@pytest.mark.slow
def test_a_publisher_signs_with_accounts_of_ape_and_a_keeper_stops_when_told(deployed, environment):
    keys = ("--publisher", "signer", "--publisher", "TEST::5")
    publication = ("publish", "--account", "signer", *keys, "--synthetic", "--once")
    keeping = ("keeper", "--account", "TEST::7", "--at-a-loss", "all", "--metrics-port", "0")
    with (
        start(environment, deployed, *publication) as publisher,
        start(environment, deployed, *keeping) as keeper,
    ):
        code, _, told = finished(publisher)
        assert code == 0, told
        assert "stopped: 1 prices published" in told
        lines = []
        for line in keeper.stderr:
            lines.append(line)
            if "keeping market" in line:
                break
        address = next(line.split()[-1] for line in lines if "metrics: " in line)
        with urllib.request.urlopen(address) as answer:
            assert b"keeper_rounds_total" in answer.read()
        keeper.send_signal(signal.SIGINT)
        code, _, told = finished(keeper)
        assert code == 0, told
        assert "stopped: nothing done, 0 in vain" in told
    web3, path = deployed
    assert status_of(web3, target_of(web3, read_manifest(path))).price > 0


@pytest.mark.slow
@pytest.mark.filterwarnings(LEFT_OPEN)
@pytest.mark.parametrize(
    ("script", "arguments", "named"),
    [
        (publish, "--account TEST::4 --publisher TEST::4 --publisher TEST::9", "--publisher: 0x"),
        (publish, "--account TEST::4 --publisher TEST::4", "no source of prices: "),
        (publish, "--account TEST::4 --synthetic --ticker https://x", "--synthetic and --ticker: "),
        (publish, "--account TEST::4 --prices missing.csv", "missing.csv: no such file"),
        (publish, "--synthetic --publisher TEST::4", "--account: which account?"),
        (publish, "--account TEST::4 --synthetic --speed 0", "--speed 0: "),
        (publish, "--account TEST::4 --synthetic --heartbeat -1", "--heartbeat -1: "),
        (publish, "--account nobody", "Invalid value for '--account': "),
        (keep, "--account TEST::4", "--rate: without"),
        (keep, "--account TEST::4 --rate much", "Invalid value for '--rate': 'much' is no"),
        (keep, "--account TEST::4 --at-a-loss lend", "--at-a-loss lend: choose from all"),
        (keep, "--at-a-loss all", "--account: which account?"),
        (keep, "--account TEST::4 --rate 1 --market gold", "no market 'gold': choose one of btc"),
        (keep, "--account TEST::4 --rate 1 --manifest nowhere.json", "nowhere.json: no manifest"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_sent(deployed, script, arguments, named):
    web3, manifest = deployed
    before = web3.eth.get_transaction_count(Account.from_key(KEY).address)
    given = ["--network", f"ethereum:local:{url_of(web3)}", *arguments.split()]
    if "--manifest" not in given:
        given += ["--manifest", str(manifest)]
    if "--publisher TEST::9" in arguments:
        given.append("--synthetic")
    result = CliRunner(mix_stderr=False).invoke(script.cli, given)
    gc.collect()  # what ape left open, while that is ignored
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert named in line
    assert web3.eth.get_transaction_count(Account.from_key(KEY).address) == before

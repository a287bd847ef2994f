"""`ape run monitor` as it is typed: a market that `ape run deploy` has deployed."""

import gc
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from operations.page.server import HOST
from scripts import monitor
from tests.live.networks import ROOT, anvil, deploy_here, settings_of, url_of

# ape looks for nodes on sockets that it leaves to the garbage collector.
LEFT_OPEN = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    with anvil() as web3:
        path = folder / "local.json"
        deploy_here(web3, settings_of(folder), path)
        yield web3, path


@pytest.mark.slow
def test_it_follows_what_was_deployed(deployed, tmp_path):
    web3, manifest = deployed
    database = tmp_path / "monitor.sqlite"
    command = [Path(sys.executable).with_name("ape"), "run", "monitor", "--once"]
    given = ["--network", f"ethereum:local:{url_of(web3)}", "--manifest", str(manifest)]
    done = subprocess.run(
        [*command, *given, "--database", str(database), "--page", "0", "--metrics-port", "0"],
        cwd=ROOT,
        env=os.environ | {"APE_DATA_FOLDER": str(tmp_path / "ape"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"page at http://{HOST}:" in done.stderr
    with closing(sqlite3.connect(database)) as connection:
        last, findings = connection.execute(
            "SELECT MAX(number), (SELECT COUNT(*) FROM findings) FROM blocks"
        ).fetchone()
    assert (last, findings) == (web3.eth.block_number, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings(LEFT_OPEN)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--manifest nowhere.json", "nowhere.json: no manifest here: `ape run deploy` writes one"),
        ("--market gold", "--market: no market 'gold': choose one of btc"),
        ("--webhook gopher://x", "--webhook: no address that begins with http:// or https://"),
        ("--database /nowhere/monitor.sqlite", "/nowhere/monitor.sqlite: cannot be written"),
        ("--interval 0", "Invalid value for '--interval'"),
        ("--page 99999", "Invalid value for '--page'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(deployed, tmp_path, arguments, named):
    web3, manifest = deployed
    given = ["--network", f"ethereum:local:{url_of(web3)}", "--once", *arguments.split()]
    if "--manifest" not in given:
        given += ["--manifest", str(manifest)]
    if "--database" not in given:
        given += ["--database", str(tmp_path / "monitor.sqlite")]
    result = CliRunner(mix_stderr=False).invoke(monitor.cli, given)
    gc.collect()  # what ape left open, while that is ignored
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert named in line

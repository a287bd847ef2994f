"""`ape run deploy` as it is typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operations.manifest import read_manifest
from tests.live.networks import DEPLOYER, LOCAL, ROOT, anvil, url_of


def ape_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ape"), "run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_it_deploys_and_refuses_with_an_exit_code(tmp_path):
    path = tmp_path / "local.json"
    with anvil() as web3:
        network = ("--network", f"ethereum:local:{url_of(web3)}")
        files = ("--file", str(LOCAL), "--manifest", str(path))

        done = ape_run("deploy", *network, *files, "--account", "TEST::0")
        assert done.returncode == 0, done.stderr
        assert f"deployed and verified; written to {path}" in done.stdout
        assert read_manifest(path).roles.deployer == DEPLOYER.address.lower()

        other = ("--network", f"ethereum:sepolia:{url_of(web3)}")
        refused = ape_run("deploy", *other, "--account", "TEST::0")
        assert refused.returncode == 2
        told = "error: --network: Provider connected to chain ID '31337', which does not match"
        assert refused.stderr.splitlines()[-1].startswith(told)

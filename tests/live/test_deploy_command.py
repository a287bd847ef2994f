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

        public = tmp_path / "public.toml"
        public.write_text(LOCAL.read_text().replace('profile = "local"', 'profile = "testnet"'))
        unasked = ape_run(
            *(
                "deploy",
                *network,
                "--file",
                str(public),
                "--manifest",
                str(tmp_path / "public.json"),
            ),
            *("--account", "TEST::1"),
        )
        assert unasked.returncode == 2
        assert unasked.stderr.startswith("error: --yes: there is no terminal to ask at")

        other = ("--network", f"ethereum:sepolia:{url_of(web3)}")
        refused = ape_run("deploy", *other, "--account", "TEST::0")
        assert refused.returncode == 2
        told = "error: --network: Provider connected to chain ID '31337', which does not match"
        assert refused.stderr.splitlines()[-1].startswith(told)


@pytest.mark.parametrize("script", ["deploy", "publish", "keeper", "monitor"])
def test_a_node_that_is_not_there_is_told_in_one_line(script):
    network = ("--network", "ethereum:local:http://127.0.0.1:9")  # the port of "discard"
    refused = ape_run(script, *network)
    assert refused.returncode == 2, refused.stderr
    (told,) = refused.stderr.splitlines()
    assert told.startswith("error: --network: no node answers there")

"""A deployment that is killed finishes when it is run again, and nothing is there twice."""

from dataclasses import replace

import pytest

from operations.manifest import read_manifest
from operations.plan import Origin, make_plan
from operations.settings import read_settings
from operations.verify import verify
from tests.live.networks import (
    DEPLOYER,
    LOCAL,
    anvil,
    deploy_here,
    deploy_until,
)

BOUNDARIES = ("noted", "sent", "mined", "recorded")
STEPS = [
    step.key
    for step in make_plan(read_settings(LOCAL), Origin(DEPLOYER.address.lower(), True, 0)).steps
]
WITHOUT_CREATE2 = ("--disable-default-create2-deployer",)


def contracts(manifest):
    """Without what says when they were made."""
    return {
        key: replace(entry, transaction=None, block=None)
        for key, entry in manifest.contracts.items()
    }


@pytest.mark.parametrize("flags", [(), WITHOUT_CREATE2], ids=["create2", "create"])
def test_killed_at_every_boundary_it_ends_as_if_it_had_not_been(tmp_path, flags):
    settings, path = read_settings(LOCAL), tmp_path / "killed.json"
    with anvil(*flags) as quiet:
        meant = deploy_here(quiet, settings, tmp_path / "quiet.json")
        nonce = quiet.eth.get_transaction_count(DEPLOYER.address)
    assert nonce == len(STEPS)
    with anvil(*flags) as web3:
        survived: set[str] = set()
        while (boundary := deploy_until(web3, LOCAL, path, survived)) is not None:
            survived.add(boundary)
        found = read_manifest(path)
        assert survived == {f"{step} {name}" for step in STEPS for name in BOUNDARIES}
        assert contracts(found) == contracts(meant)
        assert all(entry.transaction for entry in found.contracts.values())
        assert found.block == meant.block
        assert web3.eth.get_transaction_count(DEPLOYER.address) == nonce
        assert verify(web3, settings, path).differences == []

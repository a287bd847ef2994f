"""A deployment that is killed finishes when it is run again, and nothing is there twice."""

from dataclasses import replace

import pytest

from lockstep.errors import InputError
from operations.manifest import read_manifest
from operations.outbox import Outbox
from operations.plan import Origin, make_plan
from operations.rpc import Policy, connect
from operations.settings import read_settings
from operations.verify import verify
from tests.live.faulty_rpc import FaultyNode
from tests.live.networks import (
    DEPLOYER,
    LOCAL,
    OWNER,
    anvil,
    deploy_here,
    deploy_until,
    rpc,
    send,
    settings_of,
    url_of,
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


def kill_at(web3, path, boundary, file=LOCAL):
    """A deployment that gets as far as this."""
    before = {
        f"{step} {name}" for step in STEPS for name in BOUNDARIES if f"{step} {name}" != boundary
    }
    assert deploy_until(web3, file, path, before) == boundary


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "names"),
    [((), BOUNDARIES), (WITHOUT_CREATE2, ("noted", "sent"))],
    ids=["create2", "create"],
)
def test_killed_at_every_boundary_it_ends_as_if_it_had_not_been(tmp_path, flags, names):
    settings, path = read_settings(LOCAL), tmp_path / "killed.json"
    with anvil(*flags) as quiet:
        meant = deploy_here(quiet, settings, tmp_path / "quiet.json")
        nonce = quiet.eth.get_transaction_count(DEPLOYER.address)
    assert nonce == len(STEPS)
    spared = {f"{step} {name}" for step in STEPS for name in BOUNDARIES if name not in names}
    with anvil(*flags) as web3:
        survived: set[str] = set()
        while (boundary := deploy_until(web3, LOCAL, path, survived | spared)) is not None:
            survived.add(boundary)
        found = read_manifest(path)
        assert survived == {f"{step} {name}" for step in STEPS for name in names}
        assert contracts(found) == contracts(meant)
        assert all(entry.transaction for entry in found.contracts.values())
        assert found.block == meant.block
        assert web3.eth.get_transaction_count(DEPLOYER.address) == nonce
        assert verify(web3, settings, path).differences == []


@pytest.fixture
def slow_chain():
    """Blocks come only when the test says so."""
    with anvil("--no-mining") as web3:
        yield web3


def resumed(web3, path):
    """Deploys to the end. The block that the first transaction waits for comes when it is waited
    for, the others at once."""

    def passed(boundary: str) -> None:
        if boundary == "market_blueprint sent":
            rpc(web3, "evm_mine")

    rpc(web3, "evm_setAutomine", True)
    manifest = deploy_here(web3, read_settings(LOCAL), path, passed=passed)
    assert verify(web3, read_settings(LOCAL), path).differences == []
    return manifest


@pytest.mark.parametrize("boundary", ["noted", "sent"])
def test_a_transaction_that_waits_is_waited_for(tmp_path, slow_chain, boundary):
    path = tmp_path / "local.json"
    kill_at(slow_chain, path, f"market_blueprint {boundary}")
    noted = read_manifest(path, unfinished=True).pending.attempts[0].transaction
    found = resumed(slow_chain, path)
    assert found.contracts["market_blueprint"].transaction == noted
    assert slow_chain.eth.get_transaction_count(DEPLOYER.address) == len(STEPS)


def test_a_transaction_that_the_node_has_dropped_is_sent_again(tmp_path, slow_chain):
    path = tmp_path / "local.json"
    kill_at(slow_chain, path, "market_blueprint sent")
    noted = read_manifest(path, unfinished=True).pending.attempts[0].transaction
    assert rpc(slow_chain, "anvil_dropTransaction", noted) == noted
    assert resumed(slow_chain, path).contracts["market_blueprint"].transaction == noted


def test_a_nonce_that_went_elsewhere_does_not_lose_the_step(tmp_path, slow_chain):
    path = tmp_path / "local.json"
    kill_at(slow_chain, path, "market_blueprint sent")
    noted = read_manifest(path, unfinished=True).pending.attempts[0].transaction
    rpc(slow_chain, "anvil_dropTransaction", noted)
    rpc(slow_chain, "evm_setAutomine", True)
    send(slow_chain, DEPLOYER.address, DEPLOYER.address, b"")
    made = resumed(slow_chain, path).contracts["market_blueprint"]
    assert made.transaction not in (None, noted)
    assert slow_chain.eth.get_transaction_count(DEPLOYER.address) == len(STEPS) + 1


def test_what_somebody_else_deployed_at_the_same_address_is_taken(tmp_path):
    settings = read_settings(LOCAL)
    with anvil() as web3:
        plan = make_plan(settings, Origin(DEPLOYER.address.lower(), True, 0))
        for step in plan.steps[:3]:
            send(web3, OWNER.address, step.to, step.data)
        found = deploy_here(web3, settings, tmp_path / "local.json")
        assert [found.contracts[step.key].transaction for step in plan.steps[:3]] == [None] * 3
        assert [found.contracts[step.key].block for step in plan.steps[:3]] == [1, 2, 3]
        assert web3.eth.get_transaction_count(DEPLOYER.address) == len(STEPS) - 3


def test_without_its_manifest_it_finds_what_is_deployed(tmp_path):
    settings, path = read_settings(LOCAL), tmp_path / "local.json"
    with anvil() as web3:
        before = deploy_here(web3, settings, path)
        path.unlink()
        after = deploy_here(web3, settings, path)
        assert contracts(after) == contracts(before)
        assert after.block == before.block
        assert web3.eth.get_transaction_count(DEPLOYER.address) == len(STEPS)


def test_contracts_that_a_reorganisation_took_away_are_deployed_again(tmp_path):
    public = ('profile = "local"', 'profile = "testnet"')
    settings, path = settings_of(tmp_path, public), tmp_path / "local.json"
    with anvil() as web3:
        kill_at(web3, path, "token recorded", settings.path)
        rpc(web3, "anvil_reorg", 2, [])
        vanished = read_manifest(path, unfinished=True).contracts["token"].address
        assert not web3.eth.get_code(web3.to_checksum_address(vanished))
        found = deploy_here(web3, settings, path)
        assert verify(web3, settings, path).differences == []
        assert found.contracts["token"].address == vanished


def test_a_transaction_that_takes_too_long_is_sent_at_a_higher_fee(slow_chain):
    noted = []

    def passed(boundary: str) -> None:
        if boundary == "it sent" and len(noted) == 2:
            rpc(slow_chain, "evm_mine")

    box = Outbox(slow_chain, DEPLOYER, noted.append, passed, lambda line: None, patience=0.2)
    receipt = box.send("it", DEPLOYER.address.lower(), b"")
    first, second = noted[-1].attempts
    assert "0x" + receipt["transactionHash"].hex() == second.transaction
    assert second.most > first.most
    assert slow_chain.eth.get_transaction_count(DEPLOYER.address) == 1


def test_without_create2_what_a_reorganisation_took_away_is_not_made_twice(tmp_path):
    public = ('profile = "local"', 'profile = "testnet"')
    settings, path = settings_of(tmp_path, public), tmp_path / "local.json"
    with anvil(*WITHOUT_CREATE2) as web3:
        kill_at(web3, path, "token recorded", settings.path)
        rpc(web3, "anvil_reorg", 2, [])
        before = web3.eth.block_number
        with pytest.raises(InputError, match=r"contracts\.engine_blueprint: nothing is at 0x"):
            deploy_here(web3, settings, path)
        assert web3.eth.block_number == before


@pytest.mark.slow
def test_a_node_that_fails_and_loses_transactions_changes_nothing(tmp_path):
    settings, path = read_settings(LOCAL), tmp_path / "local.json"
    with anvil() as web3:
        node = FaultyNode(url_of(web3))
        try:
            node.share, node.lost_transactions = 0.3, 1
            deploy_here(connect(node.address, Policy(timeout=2)), settings, path)
            assert node.failed["lost"] == 1
        finally:
            node.close()
        assert web3.eth.get_transaction_count(DEPLOYER.address) == len(STEPS)
        assert verify(web3, settings, path).differences == []


def test_one_deployment_at_a_time(tmp_path):
    settings, path = read_settings(LOCAL), tmp_path / "local.json"
    refused: list[str] = []

    def second(boundary: str) -> None:
        if boundary == "token sent":
            with pytest.raises(InputError, match="another deployment is writing it") as error:
                deploy_here(web3, settings, path)
            refused.append(str(error.value))

    with anvil() as web3:
        deploy_here(web3, settings, path, passed=second)
    assert len(refused) == 1


def test_a_development_chain_started_anew_is_deployed_to_anew(tmp_path):
    settings, path = read_settings(LOCAL), tmp_path / "local.json"
    with anvil() as web3:
        deploy_here(web3, settings, path)
    with anvil() as web3:
        deploy_here(web3, settings, path)
        assert verify(web3, settings, path).differences == []

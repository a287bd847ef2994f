"""What a manifest tells those who work with a deployment."""

import pytest

from lockstep.errors import InputError
from operations.codec import artifact_of, constructor_inputs
from operations.manifest import params_of, read_manifest
from operations.settings import read_settings
from operations.verify import check_deployed
from perp_fuzz.deployment import DEFAULT_PARAMS, DEFAULT_RISK
from tests.live.networks import ROOT, anvil, deploy_here

SEPOLIA = ROOT / "networks" / "sepolia.toml"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    path = tmp_path_factory.mktemp("deployed") / "sepolia.json"
    with anvil("--chain-id", "11155111") as web3:
        deploy_here(web3, read_settings(SEPOLIA), path)
        yield web3, path


def test_it_is_read_as_it_was_written(deployed):
    _, path = deployed
    manifest = read_manifest(path)
    assert manifest.finished
    assert manifest.pending is None
    assert manifest.markets() == ["btc", "eth"]
    assert params_of(manifest.at("market:btc")) == (DEFAULT_PARAMS, DEFAULT_RISK)


def test_every_contract_has_its_arguments_and_its_place(deployed):
    web3, path = deployed
    manifest = read_manifest(path)
    for key, entry in manifest.contracts.items():
        receipt = web3.eth.get_transaction_receipt(entry.transaction)
        assert receipt["blockNumber"] == entry.block
        if not key.endswith("_blueprint"):
            inputs = constructor_inputs(artifact_of(entry.contract))
            assert [*entry.arguments] == [item["name"] for item in inputs]
    assert manifest.at("engine:eth").arguments["decimals"] == "6"
    assert manifest.block == min(entry.block for entry in manifest.contracts.values())


def test_one_of_several_markets_has_to_be_named(deployed):
    manifest = read_manifest(deployed[1])
    assert manifest.market_name("eth") == "eth"
    with pytest.raises(InputError, match="--market: there are several markets: choose one of btc"):
        manifest.market_name()
    with pytest.raises(InputError, match="--market: no market 'sol': choose one of btc, eth"):
        manifest.market_name("sol")
    with pytest.raises(InputError, match="knows no 'market:sol'"):
        manifest.at("market:sol")


def test_a_chain_without_its_contracts_is_refused(deployed):
    web3, path = deployed
    manifest = read_manifest(path)
    check_deployed(web3, manifest)
    told = r"contracts\.market_blueprint: another contract, or none, is at 0x"
    with anvil("--chain-id", "11155111") as other, pytest.raises(InputError, match=told):
        check_deployed(other, manifest)
    told = "chain_id: the manifest is of chain 11155111, the network is 31337: choose another"
    with anvil() as other, pytest.raises(InputError, match=told):
        check_deployed(other, manifest)


def test_a_manifest_that_is_missing_names_the_command(tmp_path):
    with pytest.raises(InputError, match="no manifest here: `ape run deploy` writes one"):
        read_manifest(tmp_path / "none.json")

"""What a deployment refuses before it sends anything."""

import json
import re

import pytest
from eth_account import Account

from lockstep.errors import InputError
from operations.accounts import LocalSigner
from operations.codec import artifact_of, constructor_inputs, encoded
from operations.deploy import deploy
from operations.manifest import FORMAT, read_manifest
from operations.verify import verify
from tests.live.networks import (
    DEPLOYER,
    LOCAL,
    OWNER,
    anvil,
    changed,
    deploy_here,
    deploy_until,
    rpc,
    send,
    settings_of,
)

CONTRACT = "0x4e59b44847b379578588920cA78FbF26c0B4956C"  # any will do
NOBODY = "0x000000000000000000000000000000000000bEEF"


@pytest.fixture(scope="module")
def _lasting():
    with anvil() as web3:
        yield web3


@pytest.fixture
def web3(_lasting):
    """A chain on which nothing may happen."""
    snapshot = rpc(_lasting, "evm_snapshot")
    yield _lasting
    rpc(_lasting, "evm_revert", snapshot)


def refused(web3, settings, manifest, told, signer=DEPLOYER):
    """Nothing is sent, nothing is written."""
    before = web3.eth.block_number, manifest.read_bytes() if manifest.exists() else b""
    with pytest.raises(InputError, match=re.escape(told)) as error:
        deploy(web3, signer, settings, manifest, lambda line: None)
    after = web3.eth.block_number, manifest.read_bytes() if manifest.exists() else b""
    assert after == before
    assert "\n" not in str(error.value)


def create(web3, name, *values):
    """A contract of somebody else's."""
    artifact = artifact_of(name)
    data = artifact.initcode + encoded(constructor_inputs(artifact), values)
    return send(web3, OWNER.address, None, data)["contractAddress"].lower()


def with_token(folder, address, decimals=6):
    return settings_of(folder, ("decimals = 6", f'decimals = {decimals}\naddress = "{address}"'))


def with_aggregator(folder, address, decimals=8, more=""):
    text = f'kind = "aggregator"\naggregator = "{address}"\nheartbeat = 60\n{more}'
    return settings_of(
        folder,
        ('kind = "signed" # or "aggregator", see networks/sepolia.toml', text),
        ('id = "BTC/USD"\n', "confidence_fraction = 0.001\n"),
        ("decimals = 8", f"decimals = {decimals}"),
        ("quorum = 2", ""),
    )


def test_another_chain(web3, tmp_path):
    settings = settings_of(tmp_path, ("chain_id = 31_337", "chain_id = 1"))
    told = f"{settings.path}: chain_id: 1, but the network has 31337: choose another --network"
    refused(web3, settings, tmp_path / "m.json", told)


def test_a_chain_whose_evm_is_too_old(tmp_path):
    with anvil("--hardfork", "shanghai") as old:
        told = "--network: its EVM lacks instructions of Cancun"
        refused(old, settings_of(tmp_path), tmp_path / "m.json", told)


def test_a_token_that_is_not_there(web3, tmp_path):
    settings = with_token(tmp_path, NOBODY)
    told = f"{settings.path}: token.address: there is no contract at {NOBODY.lower()}"
    refused(web3, settings, tmp_path / "m.json", told)


def test_a_token_with_other_decimals_than_stated(web3, tmp_path):
    token = create(web3, "testing/TokenMock", 8)
    told = f"token.decimals: 6, but the contract at {token} has 8: correct it"
    refused(web3, with_token(tmp_path, token), tmp_path / "m.json", told)


def test_a_contract_that_is_no_token(web3, tmp_path):
    settings = with_token(tmp_path, CONTRACT)
    told = "answers no decimals(): correct it"
    refused(web3, settings, tmp_path / "m.json", told)


def test_an_aggregator_that_is_not_there(web3, tmp_path):
    told = f"feeds.btc.aggregator: there is no contract at {NOBODY.lower()}"
    refused(web3, with_aggregator(tmp_path, NOBODY), tmp_path / "m.json", told)


def test_an_aggregator_with_other_decimals_than_stated(web3, tmp_path):
    aggregator = create(web3, "testing/AggregatorMock", 18)
    told = f"feeds.btc.decimals: 8, but the contract at {aggregator} has 18: correct it"
    refused(web3, with_aggregator(tmp_path, aggregator), tmp_path / "m.json", told)


def test_a_sequencer_that_is_not_there(web3, tmp_path):
    aggregator = create(web3, "testing/AggregatorMock", 8)
    more = f'sequencer = "{NOBODY}"\ngrace_period = 60'
    told = f"feeds.btc.sequencer: there is no contract at {NOBODY.lower()}"
    refused(web3, with_aggregator(tmp_path, aggregator, 8, more), tmp_path / "m.json", told)


def test_an_owner_without_code_where_there_is_value(web3, tmp_path):
    token = create(web3, "testing/TokenMock", 6)
    with_token(tmp_path, token)
    settings = settings_of(
        tmp_path, ('profile = "local"', 'profile = "production"'), source=tmp_path / "local.toml"
    )
    told = f"roles.owner: there is no contract at {OWNER.address.lower()}"
    refused(web3, settings, tmp_path / "m.json", told)


def test_a_place_that_another_deployment_has_taken(web3, tmp_path):
    path = tmp_path / "m.json"
    deploy_here(web3, settings_of(tmp_path), path)
    path.unlink()
    other = settings_of(tmp_path, ("tier_sizes = [1, 5, 20, 50]", "tier_sizes = [1, 5, 25, 50]"))
    told = "is other code than the source gives: an earlier deployment is in the way: put back"
    refused(web3, other, path, told)


def test_an_account_without_funds(web3, tmp_path):
    poor = LocalSigner(Account.create())
    told = f"--account {poor.address.lower()}: holds 0.000000 of the native coin, up to 0."
    refused(web3, settings_of(tmp_path), tmp_path / "m.json", told, poor)


@pytest.fixture(scope="module")
def begun(tmp_path_factory, _lasting):
    """A deployment that was interrupted, on a chain that all tests of it share."""
    folder = tmp_path_factory.mktemp("begun")
    with anvil() as web3:
        path = folder / "local.json"
        file = changed(folder)
        steps = ("market_blueprint", "pool_blueprint", "engine_blueprint", "token")
        survived = {
            f"{step} {name}" for step in steps for name in ("noted", "sent", "mined", "recorded")
        }
        assert deploy_until(web3, file, path, survived) == "configurator noted"
        yield web3, path.read_text(), file


EDITS = {
    "chain_id": lambda content: content.update(chain_id=1),
    "network": lambda content: content.update(network="mainnet"),
    "git_commit": lambda content: content.update(git_commit="0" * 40),
    "block": lambda content: content.update(block=0),
    "finished": lambda content: content.update(finished=True),
    "roles": lambda content: content["roles"].update(owner=NOBODY.lower()),
    "compiler": lambda content: content["compiler"].update(optimize="none"),
    "pending": lambda content: content["pending"].update(nonce=9),
    "contracts.token": lambda content: content["contracts"]["token"].update(address=NOBODY),
    "contracts.pool_blueprint": lambda content: content["contracts"].pop("pool_blueprint"),
    "contracts.extra": lambda content: content["contracts"].update(extra={}),
}


@pytest.mark.parametrize("key", EDITS)
def test_a_manifest_edited_by_hand_is_refused_by_its_key(begun, tmp_path, key):
    web3, text, file = begun
    content = json.loads(text)
    EDITS[key](content)
    path = tmp_path / "local.json"
    path.write_text(json.dumps(content))
    told = f"{path}: {key} was changed by hand: take the file from version control, or remove it"
    refused(web3, settings_of(file.parent), path, told)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda text: text[:-20], "not readable as JSON"),
        (lambda text: "[]", "format: None is not 1"),
        (lambda text: text.replace('"format": 1', '"format": 2'), f"format: 2 is not {FORMAT}"),
        (lambda text: text.replace('"roles"', '"rolls"'), "roles is missing"),
        (lambda text: text.replace('"block"', '"colour": 1, "block"', 1), "colour is no key"),
    ],
)
def test_what_is_no_manifest_is_refused(begun, tmp_path, edit, told):
    web3, text, file = begun
    path = tmp_path / "local.json"
    path.write_text(edit(text))
    refused(web3, settings_of(file.parent), path, told)


def test_another_deploy_file_than_it_was_begun_with(begun, tmp_path):
    web3, text, _ = begun
    path = tmp_path / "m.json"
    path.write_text(text)
    settings = settings_of(tmp_path, ("cool_down = 120", "cool_down = 121"))
    told = f"{settings.path}: settings: changed since {path} was begun: put it back, or remove"
    refused(web3, settings, path, told)


def test_another_account_than_it_was_begun_with(begun, tmp_path):
    web3, text, file = begun
    path = tmp_path / "m.json"
    path.write_text(text)
    told = f"--account {OWNER.address.lower()}: {path} was begun by {DEPLOYER.address.lower()}"
    refused(web3, settings_of(file.parent), path, told, OWNER)


def test_an_interrupted_deployment_is_nothing_to_work_with(begun, tmp_path):
    _, text, _ = begun
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"finished: the deployment was interrupted: run `ape"):
        read_manifest(path)


def test_a_dry_run_shows_the_plan_and_sends_nothing(web3, tmp_path):
    said: list[str] = []
    path = tmp_path / "m.json"
    deploy(web3, DEPLOYER, settings_of(tmp_path), path, said.append, dry_run=True)
    assert web3.eth.block_number == 0
    assert not path.exists()
    assert sum(" gas" in line for line in said) == 11
    assert any("offer ownership of the factory to" in line for line in said)


def test_given_contracts_are_used_where_they_are(web3, tmp_path):
    """On a network with value: token, aggregator and owner are contracts."""
    token = create(web3, "testing/TokenMock", 6)
    aggregator = create(web3, "testing/AggregatorMock", 8)
    with_aggregator(tmp_path, aggregator)
    settings = settings_of(
        tmp_path,
        ('profile = "local"', 'profile = "production"'),
        ("decimals = 6", f'decimals = 6\naddress = "{token}"'),
        (OWNER.address, CONTRACT),
        source=tmp_path / "local.toml",
    )
    manifest = deploy_here(web3, settings, tmp_path / "m.json")
    assert manifest.at("token").how == manifest.at("aggregator:btc").how == "given"
    assert manifest.at("market:btc").arguments["token_"] == token
    assert manifest.at("feed:btc").arguments["aggregator"] == aggregator
    assert verify(web3, settings, tmp_path / "m.json").differences == []


def test_an_owner_who_deploys_is_offered_nothing(web3, tmp_path):
    settings = settings_of(tmp_path, (OWNER.address, DEPLOYER.address))
    deploy_here(web3, settings, tmp_path / "m.json")
    report = verify(web3, settings, tmp_path / "m.json")
    assert report.differences == []
    assert report.notes == [
        f"{key}: owned by {DEPLOYER.address.lower()}" for key in ("configurator", "factory")
    ]


def test_whoever_does_not_agree_sends_nothing(web3, tmp_path):
    path = tmp_path / "m.json"
    deploy_here(web3, settings_of(tmp_path, source=LOCAL), path, agree=lambda: False)
    assert web3.eth.block_number == 0
    assert not path.exists()

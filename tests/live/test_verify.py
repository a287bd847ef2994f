"""What `verify` finds: everything that is not as source, deploy file and manifest say."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from operations.codec import artifact_of, calldata, constructor_inputs, encoded
from operations.deploy import deploy
from operations.manifest import write_manifest
from operations.plan import BLUEPRINTS, TOKEN
from operations.verify import LIVE, PARAMETERS, verify
from perp_fuzz.deployment import DEFAULT_RISK
from scripts.deploy import cli
from tests.live.networks import (
    DEPLOYER,
    GUARDIAN,
    OWNER,
    anvil,
    deploy_here,
    rpc,
    send,
    settings_of,
)

TREASURY = "0x90f79bf6eb2c4f870365e785982e1f101e93b906"


@pytest.fixture(scope="module")
def _lasting(tmp_path_factory):
    """A market whose owner has accepted it."""
    folder = tmp_path_factory.mktemp("verify")
    path = folder / "local.json"
    settings = settings_of(folder)
    with anvil() as web3:
        manifest = deploy_here(web3, settings, path)
        yield web3, settings, manifest, path


class Deployed:
    """What is verified, and what happens to it."""

    def __init__(self, web3, settings, manifest, path):
        self.web3, self.settings, self.manifest, self.path = web3, settings, manifest, path

    def at(self, key: str) -> str:
        return self.web3.to_checksum_address(self.manifest.at(key).address)

    def call(self, sender: str, key: str, name: str, *values) -> None:
        artifact = artifact_of(self.manifest.at(key).contract)
        receipt = send(self.web3, sender, self.at(key), calldata(artifact, name, *values))
        assert receipt["status"] == 1

    def accept(self) -> None:
        for key in ("configurator", "factory"):
            self.call(OWNER.address, key, "accept_ownership")

    def report(self):
        return verify(self.web3, self.settings, self.path)


@pytest.fixture
def deployed(_lasting, tmp_path):
    web3, settings, manifest, _ = _lasting
    path = tmp_path / "local.json"
    write_manifest(path, manifest)
    snapshot = rpc(web3, "evm_snapshot")
    yield Deployed(web3, settings, manifest, path)
    rpc(web3, "evm_revert", snapshot)


def test_what_was_just_deployed_is_equal_and_awaits_its_owner(deployed):
    report = deployed.report()
    assert report.differences == []
    assert report.compared > 90
    assert [note.partition(";")[0] for note in report.notes] == [
        f"{key}: owned by the deployer {DEPLOYER.address.lower()}"
        for key in ("configurator", "factory")
    ]


def test_an_ownership_that_was_accepted_is_said(deployed):
    deployed.accept()
    report = deployed.report()
    assert report.differences == []
    assert report.notes == [
        f"{key}: owned by {OWNER.address.lower()}" for key in ("configurator", "factory")
    ]


def test_a_rerun_after_the_ownership_was_accepted_sends_nothing(deployed):
    deployed.accept()
    said: list[str] = []
    before = deployed.web3.eth.block_number
    deploy(deployed.web3, DEPLOYER, deployed.settings, deployed.path, said.append)
    assert said[-1] == "nothing to do: everything is deployed"
    assert deployed.web3.eth.block_number == before


def test_an_owner_that_nobody_named_is_a_difference(deployed):
    deployed.call(DEPLOYER.address, "factory", "transfer_ownership", GUARDIAN.address)
    deployed.call(GUARDIAN.address, "factory", "accept_ownership")
    (difference,) = deployed.report().differences
    assert difference.startswith(f"factory.owner: {GUARDIAN.address.lower()} on the chain")


def test_an_ownership_offered_to_somebody_else_is_a_difference(deployed):
    deployed.call(DEPLOYER.address, "factory", "transfer_ownership", GUARDIAN.address)
    (difference,) = deployed.report().differences
    assert difference.startswith(f"factory.owner: {DEPLOYER.address.lower()} on the chain")


def test_a_parameter_that_was_tightened_is_named_with_both_values(deployed):
    risk = DEFAULT_RISK._replace(cool_down=300, max_skew=10**18)
    deployed.call(
        DEPLOYER.address, "configurator", "tighten", deployed.at("market:btc"), tuple(risk)
    )
    assert deployed.report().differences == [
        "engine:btc.params.max_skew: 1000000000000000000 on the chain, "
        "60000000000000000000 by source and deploy file",
        "engine:btc.params.cool_down: 300 on the chain, 120 by source and deploy file",
    ]


def test_parameters_that_are_announced_are_said(deployed):
    risk = tuple(DEFAULT_RISK._replace(cool_down=60))
    market = deployed.at("market:btc")
    deployed.call(DEPLOYER.address, "configurator", "propose_params", market, risk)
    listed = [[OWNER.address], 1]
    feed = deployed.at("feed:btc")
    deployed.call(DEPLOYER.address, "configurator", "propose_publishers", feed, *listed)
    report = deployed.report()
    assert report.differences == []
    assert [note for note in report.notes if "announced" in note] == [
        note
        for note in report.notes
        if note.startswith(("market:btc: other parameters", "feed:btc: other publishers"))
    ]
    assert len([note for note in report.notes if "announced" in note]) == 2


@pytest.mark.parametrize(
    ("key", "name", "values", "difference"),
    [
        ("configurator", "set_guardian", [OWNER.address], "configurator.guardian"),
        ("factory", "set_treasury", [OWNER.address], "factory.treasury"),
        ("token", "set_fee", [5], "token.fee_bps"),
        ("token", "set_hook", [OWNER.address, b""], "token.hook_target"),
    ],
)
def test_a_setting_that_was_changed_is_named(deployed, key, name, values, difference):
    deployed.call(DEPLOYER.address, key, name, *values)
    assert [found.partition(":")[0] for found in deployed.report().differences] == [difference]


def test_a_publisher_that_was_removed_is_named(deployed):
    publisher, feed = deployed.manifest.roles.publishers[0], deployed.at("feed:btc")
    deployed.call(DEPLOYER.address, "configurator", "remove_publisher", feed, publisher)
    (difference,) = deployed.report().differences
    assert difference.startswith("feed:btc.publishers: ['0x")
    assert publisher in difference


@pytest.mark.parametrize("key", ["market:btc", "pool:btc", "engine:btc", "lens", "factory"])
def test_code_that_differs_in_one_byte_is_named_with_its_place(deployed, key):
    address = deployed.at(key)
    code = bytearray(deployed.web3.eth.get_code(address))
    code[-1] ^= 1
    rpc(deployed.web3, "anvil_setCode", address, "0x" + code.hex())
    place = f"first at byte {len(code) - 1:,} of {len(code):,}"
    differences = deployed.report().differences
    assert f"{key}: code on the chain differs from the source's, {place}" in differences
    assert f"{key}: code on the chain is not that of the manifest" in differences


def test_an_immutable_of_another_deployment_is_found(deployed):
    """The same source with another constructor argument: only immutables differ."""
    artifact = artifact_of(TOKEN)
    data = artifact.initcode + encoded(constructor_inputs(artifact), [8])
    other = send(deployed.web3, OWNER.address, None, data)["contractAddress"]
    code = deployed.web3.eth.get_code(other)
    rpc(deployed.web3, "anvil_setCode", deployed.at("token"), code.to_0x_hex())
    differences = deployed.report().differences
    assert "token.decimals: 8 on the chain, 6 by source and deploy file" in differences
    assert any(found.startswith("token: code on the chain differs") for found in differences)


def test_a_contract_that_is_gone_is_named(deployed):
    rpc(deployed.web3, "anvil_setCode", deployed.at("lens"), "0x")
    assert f"lens: no code on the chain at {deployed.at('lens').lower()}" in (
        deployed.report().differences
    )


def test_a_deploy_file_that_was_changed_since_is_told_by_its_effect(deployed, tmp_path):
    deployed.settings = settings_of(tmp_path, ("cool_down = 120", "cool_down = 180"))
    report = deployed.report()
    assert f"{deployed.settings.path} was changed since this was deployed" in report.notes
    assert any(
        found.startswith("market:btc.arguments.risk.cool_down: 120 in the manifest, 180")
        for found in report.differences
    )
    assert "engine:btc.params.cool_down: 120 on the chain, 180 by source and deploy file" in (
        report.differences
    )


def test_what_the_manifest_says_is_compared_with_the_source(deployed):
    entry = deployed.manifest.at("lens")
    other = {**deployed.manifest.contracts, "lens": replace(entry, initcode_hash="0x00")}
    write_manifest(deployed.path, replace(deployed.manifest, contracts=other, git_commit="f" * 40))
    report = deployed.report()
    (difference,) = report.differences
    assert difference.startswith("lens.initcode_hash: 0x00 in the manifest, 0x")
    assert any(note.endswith("deployed was " + "f" * 40) for note in report.notes)


def test_the_command_exits_with_one_where_something_differs(deployed, capsys):
    provider = SimpleNamespace(web3=deployed.web3, network=SimpleNamespace(name="local"))
    options = (deployed.settings.path, deployed.path, None, False, False)
    with pytest.raises(SystemExit) as ended:
        cli.callback(provider, "verify", *options)
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith(" compared, all equal\n")
    deployed.call(DEPLOYER.address, "factory", "set_treasury", OWNER.address)
    with pytest.raises(SystemExit) as ended:
        cli.callback(provider, "verify", *options)
    assert ended.value.code == 1
    assert "DIFFERS  factory.treasury: " in capsys.readouterr().out


def test_every_getter_is_compared_or_known_to_move():
    assert PARAMETERS.keys() == LIVE.keys()
    for contract in PARAMETERS:
        views = {
            item["name"]
            for item in artifact_of(contract).abi
            if item["type"] == "function"
            and item["stateMutability"] in ("view", "pure")
            and not item["inputs"]
        }
        assert views == {*PARAMETERS[contract], *LIVE[contract]}
    assert set(BLUEPRINTS.values()) <= PARAMETERS.keys()

"""What publisher and keeper ask and call exists in the contracts, with these types."""

import re
from dataclasses import replace

import pytest

from lockstep.errors import InputError
from lockstep.mirror.codec import canonical, signature
from operations import keeper, market
from operations.manifest import Compiler, Contract, Manifest, Roles
from perp_fuzz.deployment import compile_contracts

CONTRACTS = ("PerpMarket", "RiskEngine", "MarketLens", "SignedPriceFeed", "AggregatorPriceFeed")
CONTRACTS += ("testing/AggregatorMock", "testing/TokenMock")
FUNCTIONS = {
    name: value for name, value in vars(market).items() if isinstance(value, market.Function)
}


@pytest.fixture(scope="module")
def declared():
    """Output types by signature, of all contracts; a mock's bytes stand for any answer."""
    found = {}
    for name in CONTRACTS:
        for item in compile_contracts()[name].abi:
            if item["type"] == "function":
                outputs = tuple(canonical(field) for field in item["outputs"])
                found.setdefault(signature(item), set()).add(outputs)
    return found


def test_there_are_functions_to_look_at():
    assert len(FUNCTIONS) > 25


# Of an aggregator, which is somebody else's.
FOREIGN = {"LATEST_ROUND", "AGGREGATOR_DECIMALS"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - FOREIGN))
def test_a_function_is_declared_as_it_is_used(name, declared):
    assert FUNCTIONS[name].outputs in declared[FUNCTIONS[name].signature]


def test_the_event_whose_reward_is_counted_is_declared():
    (event,) = (
        item
        for item in compile_contracts()["PerpMarket"].abi
        if item["type"] == "event" and item["name"] == "PositionLiquidated"
    )
    plain = [field["name"] for field in event["inputs"] if not field["indexed"]]
    assert slice(32 * plain.index("reward"), 32 * plain.index("reward") + 32) == keeper.REWARD
    types = ",".join(field["type"] for field in event["inputs"])
    assert keeper.keccak(f"PositionLiquidated({types})".encode()) == keeper.LIQUIDATED


def test_places_in_structs_are_those_of_the_fields():
    by_name = {name: compile_contracts()[name].abi for name in CONTRACTS}

    def fields(contract, function):
        (item,) = (i for i in by_name[contract] if i.get("name") == function)
        return [field["name"] for field in item["outputs"][0]["components"]]

    assert fields("MarketLens", "status") == list(market.Status._fields)
    assert fields("RiskEngine", "params")[market.MAX_CONFIDENCE] == "max_confidence"
    assert fields("RiskEngine", "breaker")[keeper.PENDING_TIME] == "pending_time"
    marks = fields("PerpMarket", "marks")
    assert (marks[3], marks[5]) == ("epoch", "terms")
    totals = fields("PerpMarket", "totals")
    assert (totals[2], totals[6]) == ("has_backlog", "open_positions")


def manifest_at(stage, **places):
    """As `ape run deploy` would have written it."""

    def contract(name, address):
        return Contract(name, address, {}, "create", None, None, None, "0x", None)

    found = {
        "market:btc": contract("PerpMarket", stage.target.market),
        "lens": contract("MarketLens", stage.target.lens),
        "aggregator:btc": contract("testing/AggregatorMock", stage.system.aggregator.address),
    }
    for key, address in places.items():
        place = "market:btc" if key == "market" else key
        found[place] = replace(found[place], address=address)
    roles = Roles("0x", "0x", "0x", [], "0x")
    compiler = Compiler("0.4.3", "cancun", "gas")
    return Manifest("local", 31337, "local", "", "", compiler, roles, 1, True, found)


def test_a_target_is_what_the_market_itself_tells(node):
    found = market.target_of(node.web3, manifest_at(node))
    assert found == node.target
    assert found.decimals == 6
    assert found.test_aggregator is None  # its feed is of signed reports


def test_a_test_aggregator_is_known_from_the_manifest(make_stage):
    stage = make_stage(feed="aggregator")
    found = market.target_of(stage.web3, manifest_at(stage))
    assert found.test_aggregator == stage.system.aggregator.address
    unknown = replace(
        manifest_at(stage),
        contracts={
            key: value for key, value in manifest_at(stage).contracts.items() if "agg" not in key
        },
    )
    assert market.target_of(stage.web3, unknown).test_aggregator is None


def test_another_chain_is_refused(node):
    manifest = replace(manifest_at(node), chain_id=11155111)
    with pytest.raises(InputError, match=r"^chain_id: the manifest is of chain 11155111, the node"):
        market.target_of(node.web3, manifest)


@pytest.mark.parametrize("key", ["market", "lens"])
def test_an_address_without_code_is_refused(node, key):
    manifest = manifest_at(node, **{key: "0x" + "77" * 20})
    with pytest.raises(InputError, match=rf"^contracts\.{key}.*: no code at 0x77.*deploy verify"):
        market.target_of(node.web3, manifest)


@pytest.mark.parametrize("key", ["market", "lens"])
def test_another_contract_is_refused(node, key):
    manifest = manifest_at(node, **{key: node.system.token.address})
    with pytest.raises(InputError, match=re.escape("no answer as a market's")):
        market.target_of(node.web3, manifest)

"""What publisher and keeper ask and call exists in the contracts, with these types."""

import pytest

from operations import keeper, market
from operations.stage import abi_type
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
                inputs = ",".join(abi_type(field) for field in item["inputs"])
                outputs = tuple(abi_type(field) for field in item["outputs"])
                found.setdefault(f"{item['name']}({inputs})", set()).add(outputs)
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

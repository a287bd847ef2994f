"""A node that is making a block mixes it with the one before: the monitor asks again."""

import json

import pytest
from web3 import Web3

from operations.monitor.fuzz_market import FuzzMarket
from operations.monitor.node import SOLVENCY
from operations.monitor.watch import WELL, Options, watch
from operations.rpc import connect
from tests.live.faulty_rpc import FaultyNode

STEPS = 20


class MixingNode(FaultyNode):
    """Answers what solvency() is at a block, the first time it is asked, with what it is at the
    newest one; the same for balances."""

    def __init__(self, node):
        super().__init__(node)
        self.mixed = {}

    def _forward(self, body):
        request = json.loads(body)
        for one in request if isinstance(request, list) else [request]:
            if one["method"] == "eth_call" and isinstance(one["params"][1], dict):
                call, at = one["params"]
                key = (call["to"], call["data"], at["blockHash"])
                self.mixed[key] = self.mixed.get(key, 0) + 1
                if self.mixed[key] == 1:
                    one["params"][1] = "latest"
        return super()._forward(json.dumps(request).encode())


@pytest.fixture(scope="module")
def market():
    market = FuzzMarket({"decimals": 6, "feed": "signed"})
    market.generate(STEPS)
    yield market
    market.close()


def test_an_answer_of_another_moment_is_no_finding(market, tmp_path):
    node = MixingNode(market.url)
    try:
        options = Options(tmp_path / "monitor.sqlite", is_once=True)
        assert watch(connect(node.address), market.manifest(), options) == WELL
        asked_again = [key for key, count in node.mixed.items() if count > 1]
        assert any(data == SOLVENCY for _, data, _ in asked_again)
        # What was put right is what is kept.
        again = Options(tmp_path / "monitor.sqlite", is_once=True)
        assert watch(Web3(Web3.HTTPProvider(market.url)), market.manifest(), again) == WELL
    finally:
        node.close()

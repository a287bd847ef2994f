"""Patience with a node, against a real HTTP server that fails in all the ways nodes do."""

import threading
import time

import pytest
from web3 import Web3
from web3.exceptions import Web3RPCError

from operations.market import UPDATE_PRICE, Reverted, estimate_gas
from operations.rpc import NodeError, Policy, Stopped, block_of, connect, is_busy, patient
from operations.stage import signer_named


@pytest.fixture
def policy():
    return Policy(seconds=10.0, timeout=0.5)


@pytest.fixture
def web3(faulty, policy):
    return connect(faulty.address, policy)


def test_every_question_is_answered_when_a_third_of_the_requests_fails(faulty, web3, policy):
    faulty.share = 0.3
    for _ in range(40):
        assert web3.eth.chain_id == 31337
    assert set(faulty.failed) == {"status", "cut", "garbage", "limit", "swallowed"}
    assert sum(policy.failures.values()) == sum(faulty.failed.values())


def test_a_late_answer_is_waited_for(faulty, web3, policy):
    faulty.late = 0.3
    assert web3.eth.chain_id == 31337
    assert not policy.failures


def test_an_answer_that_comes_too_late_is_asked_for_again(faulty, web3, policy):
    faulty.late = 0.8
    threading.Timer(0.6, lambda: setattr(faulty, "late", 0.0)).start()
    assert web3.eth.chain_id == 31337
    assert policy.failures["timeout"] >= 1


def test_a_node_that_goes_away_is_waited_for(faulty, web3, policy):
    faulty.is_away = True
    threading.Timer(1.0, lambda: setattr(faulty, "is_away", False)).start()
    began = time.monotonic()
    assert web3.eth.chain_id == 31337
    assert time.monotonic() - began >= 1.0
    assert policy.failures["connection"] >= 2


def test_patience_ends_with_one_line_that_names_the_node_and_a_remedy(faulty):
    faulty.is_away = True
    with_key = faulty.address + "/v3/secret-key"
    web3 = connect(with_key, Policy(seconds=0.5, timeout=0.2))
    with pytest.raises(NodeError, match=r"^127\.0\.0\.1:\d+: eth_chainId: .*--network$") as error:
        _ = web3.eth.chain_id
    assert "secret" not in str(error.value)


def test_a_limit_is_kept_for_as_long_as_the_node_asks(faulty, web3, policy):
    faulty.per_second = 5
    for _ in range(12):
        assert web3.eth.chain_id == 31337
    assert policy.failures["rate limit"] == faulty.failed["rate"] > 0


def test_waiting_ends_when_asked_to_stop(faulty, web3, policy):
    faulty.is_away = True
    threading.Timer(0.3, policy.stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        _ = web3.eth.chain_id
    assert time.monotonic() - began < 2.0


def test_what_may_have_been_done_is_not_asked_twice(node, faulty, web3):
    before = node.block_number()
    faulty.share, faulty.faults = 1.0, ("swallowed",)
    with pytest.raises(NodeError, match="whether it was done is not known"):
        web3.manager.request_blocking("evm_mine", [])
    assert node.block_number() == before + 1


def test_a_signed_transaction_is_sent_again_and_happens_once(node, faulty, web3):
    keeper = signer_named("keeper")
    node.fund(keeper)
    node.hold_mining()
    fields = {"to": keeper.address, "value": 0, "gas": 21_000, "nonce": 0, "chainId": 31337}
    raw = keeper.sign_transaction(fields | {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 10**9})
    faulty.share, faulty.faults = 1.0, ("swallowed",)
    threading.Timer(0.4, lambda: setattr(faulty, "share", 0.0)).start()
    sent = web3.eth.send_raw_transaction(raw)
    node.mine()
    assert node.web3.eth.get_transaction_receipt(sent)["status"] == 1
    assert node.web3.eth.get_transaction_count(keeper.address) == 1


def test_what_a_contract_refuses_is_not_asked_again(node, faulty, web3, policy):
    keeper = signer_named("keeper")
    with pytest.raises(Reverted):
        estimate_gas(
            web3, keeper.address, node.system.engine.address, UPDATE_PRICE("0x" + "1" * 40)
        )
    assert not policy.failures


def test_an_error_of_the_node_is_passed_on(web3, policy):
    with pytest.raises(Web3RPCError):
        web3.manager.request_blocking("no_such_method", [])
    assert not policy.failures


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": -32005, "message": "x"}, True),
        ({"code": -32000, "message": "Too Many Requests"}, True),
        ({"code": 3, "message": "execution reverted: limit exceeded"}, False),
        ({"code": -32000, "message": "nonce too low"}, False),
    ],
)
def test_limits_are_told_from_refusals(error, expected):
    assert is_busy(error) is expected


def test_patience_is_installed_once(node):
    web3 = Web3(Web3.HTTPProvider(node.address))
    assert patient(patient(web3)) is web3
    assert block_of(web3).number == node.block_number()

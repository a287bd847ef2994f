"""Transactions of one account: none is lost, none happens twice, whatever node and chain do."""

import time

import pytest

from lockstep.errors import InputError
from operations.accounts import Call, Sender
from operations.market import Function
from operations.rpc import Policy, connect
from operations.stage import signer_named
from tests.live.faulty_rpc import FaultyNode
from tests.live.networks import DEPLOYER, OWNER, anvil

APPROVE = Function("approve(address,uint256)", "bool")


class Desk:
    """A sender that has a node of its own to deal with."""

    def __init__(self, stage, address, wait=30.0):
        self.stage = stage
        self.signer = signer_named("keeper")
        self.events = []
        self.web3 = connect(address, Policy(seconds=10.0, timeout=1.0))
        self.sender = self.another(wait)

    def another(self, wait=30.0):
        policy = Policy(seconds=10.0)
        return Sender(self.web3, self.signer, policy, wait=wait, on_event=self.events.append)

    def call(self, gas=1_000_000):
        data = APPROVE(self.signer.address, 1)
        return Call("approve", self.stage.system.token.address, data, gas)

    def settle(self, blocks=5):
        results = []
        for _ in range(blocks):
            results += self.sender.poll()
            self.stage.mine()
        return results + self.sender.poll()

    def count(self):
        return self.stage.web3.eth.get_transaction_count(self.signer.address)


@pytest.fixture
def desk(node):
    """What is sent does something, and the same each time."""
    desk = Desk(node, node.address)
    node.fund(desk.signer)
    node.mine(6)  # deeper than any reorganisation here
    node.hold_mining()
    return desk


def test_several_in_one_block_have_numbers_without_gaps(desk):
    for _ in range(3):
        desk.sender.send(desk.call())
    desk.stage.mine()
    results = desk.sender.poll()
    assert [(result.nonce, result.status) for result in results] == [
        (number, "done") for number in range(3)
    ]
    assert len({result.block for result in results}) == 1
    assert desk.count() == 3


def test_a_transaction_that_the_node_has_dropped_is_sent_again(desk):
    flight = desk.sender.send(desk.call())
    (form,) = flight.forms
    desk.stage.rpc("anvil_dropTransaction", "0x" + form.hex())
    assert [result.status for result in desk.settle()] == ["done"]
    assert desk.events.count("dropped") == 1
    assert desk.count() == 1


def test_a_gap_left_by_a_lost_transaction_is_filled(desk):
    first, _ = desk.sender.send(desk.call()), desk.sender.send(desk.call())
    (form,) = first.forms
    desk.stage.rpc("anvil_dropTransaction", "0x" + form.hex())
    desk.stage.mine()
    assert desk.count() == 0  # the second waits for the first
    assert [(result.nonce, result.status) for result in desk.settle()] == [(0, "done"), (1, "done")]


def test_a_late_transaction_is_replaced_at_a_higher_fee_and_happens_once(desk):
    desk.sender = desk.another(wait=0.2)
    flight = desk.sender.send(desk.call())
    before = flight.fee
    time.sleep(0.3)
    desk.sender.poll()
    assert flight.fee.most > before.most
    assert flight.fee.tip > before.tip
    assert len(flight.forms) == 2
    (result,) = desk.settle()
    assert result.status == "done"
    assert result.receipt["effectiveGasPrice"] >= flight.fee.tip
    assert desk.count() == 1


def test_fees_are_not_bumped_beyond_the_most_that_was_allowed(desk):
    most = desk.sender.fee().most
    desk.sender = Sender(desk.web3, desk.signer, wait=0.0, most_fee=most)
    flight = desk.sender.send(desk.call())
    for _ in range(3):
        desk.sender.poll()
    assert flight.fee.most == most
    desk.stage.mine()
    assert [result.status for result in desk.sender.poll()] == ["done"]


def test_a_number_used_by_another_transaction_is_told_and_the_next_is_sent(desk):
    flight = desk.sender.send(desk.call())
    fields = {"to": desk.signer.address, "value": 0, "gas": 21_000, "nonce": flight.nonce}
    fields |= {"chainId": 31337, "maxFeePerGas": 10**12, "maxPriorityFeePerGas": 10**12}
    desk.stage.web3.eth.send_raw_transaction(desk.signer.sign_transaction(fields))
    assert [result.status for result in desk.settle()] == ["replaced"]
    desk.sender.send(desk.call())
    assert [(result.nonce, result.status) for result in desk.settle()] == [(1, "done")]


def test_what_an_earlier_run_has_left_stuck_is_replaced(desk):
    desk.sender.send(desk.call())  # and then it is killed
    desk.sender = desk.another(wait=0.3)
    flight = desk.sender.send(desk.call())
    assert flight.nonce == 0
    assert [result.status for result in desk.settle()] == ["done"]
    assert desk.count() == 1


@pytest.mark.parametrize("depth", [1, 5])
def test_what_a_reorganisation_throws_out_is_sent_again(desk, depth):
    desk.sender.send(desk.call())
    desk.stage.mine()
    assert [result.status for result in desk.sender.poll()] == ["done"]
    desk.stage.mine(depth - 1)
    desk.sender.poll()
    desk.stage.rpc("anvil_reorg", depth, [])
    assert desk.count() == 0
    (result,) = desk.settle()
    assert (result.nonce, result.status) == (0, "done")
    assert "reorganisation" in desk.events
    assert desk.count() == 1


def test_numbers_go_back_with_a_chain_that_forgot_what_was_sent(desk):
    desk.sender.send(desk.call())
    desk.settle(2)
    assert desk.count() == 1
    desk.sender._mined.clear()  # longer ago than it remembers
    desk.stage.rpc("anvil_reorg", 4, [])
    desk.sender.poll()
    desk.sender.send(desk.call())
    assert [result.status for result in desk.settle()] == ["done"]
    assert desk.count() == 1


def test_a_transaction_that_reverts_is_told(desk):
    call = desk.call()._replace(data=APPROVE.selector)
    desk.sender.send(call)
    (result,) = desk.settle()
    assert (result.status, result.gas_used > 21_000) == ("reverted", True)


def test_an_account_without_coin_is_told_so_before_anything_is_sent(desk):
    desk.stage.rpc("anvil_setBalance", desk.signer.address, "0x0")
    with pytest.raises(InputError, match=f"account {desk.signer.address} has no native coin"):
        desk.sender.check()
    with pytest.raises(InputError, match="cannot pay for gas; fund it"):
        desk.sender.send(desk.call())
    assert desk.sender.in_flight == []


def test_a_chain_without_base_fees_is_sent_to_as_it_was_used_to():
    with anvil("--hardfork", "berlin") as web3:
        sender = Sender(web3, DEPLOYER)
        sender.send(Call("nothing", OWNER.address, b"", 21_000))
        (result,) = sender.drain(5.0)
        assert (result.status, result.receipt["type"]) == ("done", 0)
        assert result.cost == 21_000 * result.receipt["effectiveGasPrice"] > 0


def test_nothing_is_lost_or_doubled_when_a_third_of_the_requests_fails(desk, request):
    node = FaultyNode(desk.stage.address, seed=7)
    request.addfinalizer(node.close)
    node.share, node.lost_transactions = 0.3, 3
    faulty = Desk(desk.stage, node.address)
    sent = 5
    statuses = []
    for _ in range(sent):
        faulty.sender.send(faulty.call())
        statuses += faulty.sender.poll()
        desk.stage.mine()
    while faulty.sender.in_flight:
        statuses += faulty.sender.poll()
        desk.stage.mine()
    assert sorted(result.nonce for result in statuses) == list(range(sent))
    assert {result.status for result in statuses} == {"done"}
    assert desk.count() == sent
    assert sum(node.failed.values()) > sent

"""The keeper on a real chain: it does what is due, survives what goes wrong, and harms nobody."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from lockstep.errors import InputError
from operations.keeper import Keeper, Settings, reward_of
from operations.market import (
    CONTINUE_BACKLOG,
    CREDIT_OF,
    LIQUIDATE,
    UPDATE_PRICE,
    Function,
    Reverted,
    ask,
)
from operations.rpc import Policy
from operations.stage import PRICE, Stage, signer_named
from python_model.modules.constants import WAD
from tests.live.faulty_rpc import FaultyNode
from tests.live.people import ALL, make_keeper, publish, run_until, with_backlog

LIQUIDATION_PRICE = Function("liquidation_price(address,uint256)", "uint256")
POSITIONS = 100


def credit(stage, keeper):
    return ask(stage.web3, stage.target.market, CREDIT_OF, keeper._sender.address)


def agree(stage):
    """The model has followed, and every storage word is its own."""
    stage.follow()
    stage.compare()


@pytest.fixture
def backlog():
    """A market with 68 liquidations left over, on a chain of its own: one that is put back forgets
    blocks now and then."""
    stage = Stage()
    with_backlog(stage, POSITIONS)
    stage.mine(6)
    assert (stage.has_backlog(), stage.open_positions()) == (True, POSITIONS - 32)
    yield stage
    stage.close()


@pytest.fixture
def proxy(backlog):
    node = FaultyNode(backlog.address, seed=3)
    yield node
    node.close()


def test_a_backlog_is_worked_off_several_calls_to_a_block(backlog):
    keeper = make_keeper(backlog)
    backlog.hold_mining()
    assert keeper.step() == 2  # more than two calls' worth are listed
    backlog.mine()
    run_until([keeper], lambda: not backlog.has_backlog(), mine=backlog.mine)
    assert backlog.open_positions() == 0
    assert keeper.tally.done["backlog"] == 3
    assert keeper.tally.failed == 0
    assert keeper.step() == 0
    agree(backlog)


def test_rewards_are_counted_to_the_unit(backlog):
    keeper = make_keeper(backlog, Settings(rate_wad=WAD, least_profit=1))
    run_until([keeper], lambda: not backlog.has_backlog())
    assert keeper.tally.reward == credit(backlog, keeper) > 0
    agree(backlog)


def test_what_costs_more_than_it_earns_is_left_alone_unless_told(backlog):
    dear = Settings(rate_wad=10**9 * WAD)
    keeper = make_keeper(backlog, dear)
    assert keeper.step() == 0
    assert keeper.metrics.value("unprofitable_total", work="backlog") == 1
    assert backlog.has_backlog()
    told = make_keeper(backlog, Settings(dear.rate_wad, at_a_loss=frozenset({"backlog"})))
    assert told.step() > 0


def test_without_rate_and_orders_a_keeper_is_refused():
    with pytest.raises(InputError, match=r"^--rate: .*--at-a-loss"):
        Settings().check()
    with pytest.raises(InputError, match=r"^--at-a-loss lend: choose from all, backlog"):
        Settings(at_a_loss=frozenset({"lend"})).check()


def test_the_reward_of_a_call_is_exact(backlog):
    market, keeper = backlog.target.market, signer_named("keeper")
    for data in (CONTINUE_BACKLOG(32), UPDATE_PRICE(keeper.address)):
        block = backlog.block_number()
        expected = reward_of(backlog.web3, market, data, keeper.address, block)
        before = backlog.rpc("evm_snapshot")
        backlog.rpc("evm_setNextBlockTimestamp", backlog.chain_time())
        fields = {"from": keeper.address, "to": market, "data": "0x" + data.hex()}
        backlog.rpc("eth_sendTransactionSync", fields | {"gas": hex(5_000_000), "gasPrice": "0x0"})
        found = ask(backlog.web3, market, CREDIT_OF, keeper.address)
        assert found == expected > 0
        backlog.rpc("evm_revert", before)


def test_the_reward_of_a_call_that_reverts_is_its_reason(backlog):
    with pytest.raises(Reverted, match="no such position"):
        reward_of(backlog.web3, backlog.target.market, LIQUIDATE(10**6), "0x" + "12" * 20)


def start_keeper(stage, name="keeper"):
    stage.fund(signer_named(name))
    arguments = [stage.address, stage.target.market, stage.target.lens, name]
    command = [sys.executable, "tests/live/run_keeper.py", *arguments]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(is_so, seconds=60.0, pause=0.02):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(pause)


def waiting(stage):
    """Hashes of transactions in the node's pool, in order."""
    (pool,) = stage.rpc("txpool_content")["pending"].values() or [{}]
    return [pool[nonce]["hash"] for nonce in sorted(pool, key=int)]


def test_a_keeper_killed_in_the_middle_of_a_backlog_and_restarted_finishes_it(stage):
    with_backlog(stage, 260)
    stage.hold_mining()
    killed = start_keeper(stage)
    wait_for(lambda: len(waiting(stage)) >= 2)
    stage.mine()  # two calls are mined, and it goes on
    wait_for(lambda: len(waiting(stage)) >= 2)
    killed.kill()
    killed.communicate(timeout=10)
    assert killed.returncode == -signal.SIGKILL
    stage.rpc("anvil_dropTransaction", waiting(stage)[0])  # which leaves a gap behind
    stage.mine()
    assert stage.has_backlog()
    assert stage.open_positions() == 260 - 3 * 32
    restarted = start_keeper(stage)
    try:
        wait_for(lambda: stage.mine() or not stage.has_backlog(), pause=0.3)
    finally:
        restarted.terminate()
        said, _ = restarted.communicate(timeout=20)
    assert restarted.returncode == 0
    assert "stopped: " in said
    assert stage.open_positions() == 0
    agree(stage)


def test_a_third_of_the_requests_failing_loses_and_doubles_nothing(backlog, proxy):
    proxy.share = 0.3
    keeper = make_keeper(backlog, address=proxy.address)
    run_until([keeper], lambda: not backlog.has_backlog(), seconds=60)
    assert sum(proxy.failed.values()) >= 5
    assert backlog.open_positions() == 0
    agree(backlog)


def test_late_answers_lose_and_double_nothing(backlog, proxy):
    proxy.late, proxy.late_share = 0.4, 0.2
    keeper = make_keeper(backlog, address=proxy.address, policy=Policy(seconds=20.0, timeout=0.2))
    run_until([keeper], lambda: not backlog.has_backlog(), seconds=60)
    assert keeper._sender.policy.failures["timeout"] > 0
    agree(backlog)


# LONG=1 for the whole minute.
AWAY = 60.0 if os.environ.get("LONG") else 2.0


def test_a_node_that_goes_away_for_a_while_is_outlived(backlog, proxy):
    policy = Policy(seconds=AWAY / 2, timeout=1.0)  # less than it is away: rounds fail, it goes on
    keeper = make_keeper(backlog, address=proxy.address, policy=policy)
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop, 0.05))
    backlog.hold_mining()
    thread.start()
    wait_for(lambda: proxy.asked["eth_sendRawTransaction"] >= 1)
    proxy.is_away = True
    time.sleep(AWAY)
    proxy.is_away = False
    backlog.rpc("evm_setAutomine", True)
    backlog.mine()
    wait_for(lambda: not backlog.has_backlog())
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert policy.failures["connection"] >= 3
    assert keeper.tally.failed == 0
    agree(backlog)


def test_two_keepers_racing_do_no_harm(backlog):
    keepers = [make_keeper(backlog, name=name) for name in ("keeper", "other keeper")]
    stop = threading.Event()
    threads = [threading.Thread(target=keeper.run, args=(stop, 0.01)) for keeper in keepers]
    backlog.hold_mining()
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while backlog.has_backlog():
        assert time.monotonic() < deadline
        time.sleep(0.15)
        backlog.mine()
    stop.set()
    backlog.rpc("evm_setAutomine", True)
    backlog.mine()
    for thread in threads:
        thread.join(20)
    assert backlog.open_positions() == 0
    assert all(keeper.tally.done["backlog"] >= 1 for keeper in keepers)
    agree(backlog)
    model = backlog.system.market
    for keeper in keepers:
        assert credit(backlog, keeper) == model.credit_of[keeper._sender.address.lower()]


def test_a_backlog_that_a_reorganisation_brings_back_is_worked_off_again(backlog):
    backlog.mine(6)
    keeper = make_keeper(backlog)
    backlog.mine(6)
    before = backlog.block_number()
    run_until([keeper], lambda: not backlog.has_backlog())
    backlog.mine(2)
    keeper.step()
    depth = backlog.block_number() - before
    assert depth == 5
    backlog.rpc("anvil_reorg", depth, [])
    assert backlog.has_backlog()
    run_until([keeper], lambda: not backlog.has_backlog())
    assert keeper.metrics.value("sending_events_total", event="reorganisation") == 1
    assert backlog.open_positions() == 0
    agree(backlog)


def test_what_the_index_lists_is_liquidated_by_id(stage):
    stage.deposit(1_000_000)
    publish(stage, PRICE)
    stage.open(3)
    first = ask(stage.web3, stage.target.lens, LIQUIDATION_PRICE, stage.target.market, 1)
    publish(stage, first + 10**14)
    stage.later(100)  # funding does the rest
    keeper = make_keeper(stage)
    sent = keeper.step()
    keeper.account(keeper._sender.drain(2.0))
    assert sent == keeper.tally.done["liquidate"] > 0
    agree(stage)


def test_deleveraging_is_continued_although_it_earns_nothing(stage):
    stage.deposit(10_000)
    publish(stage, PRICE)
    stage.open(260, size=24 * 10**15, margin=100)
    price = PRICE
    for _ in range(3):
        price = price * 1098 // 1000
        publish(stage, price)
    assert (stage.has_backlog(), stage.open_positions()) == (True, 260 - 32)
    unpaid = make_keeper(stage, Settings(rate_wad=WAD))
    assert unpaid.step() == 0
    keeper = make_keeper(stage)
    run_until([keeper], lambda: not stage.has_backlog())
    assert stage.open_positions() < 260 - 64
    assert (keeper.tally.done["backlog"], keeper.tally.reward) == (2, 0)
    agree(stage)


def test_a_node_with_a_limit_is_asked_more_slowly(backlog, proxy):
    proxy.per_second = 12
    keeper = make_keeper(backlog, address=proxy.address)
    run_until([keeper], lambda: not backlog.has_backlog(), seconds=60)
    assert keeper.metrics.value("rpc_failures_total", kind="rate limit") == proxy.failed["rate"] > 0
    agree(backlog)


def test_rounds_that_fail_for_no_known_reason_do_not_end_it(backlog, proxy):
    keeper = make_keeper(backlog, address=proxy.address)
    proxy.share, proxy.faults = 0.1, ("internal",)
    stop = threading.Event()
    thread = threading.Thread(target=keeper.run, args=(stop, 0.02))
    thread.start()
    wait_for(lambda: not backlog.has_backlog() and proxy.failed["internal"] >= 2)
    proxy.share = 0.0
    stop.set()
    thread.join(20)
    assert keeper.tally.done["backlog"] == 3
    agree(backlog)


def test_an_expired_market_is_settled(make_stage):
    stage = make_stage()
    stage.deposit(1_000_000)
    publish(stage, PRICE)
    stage.open(10, margin=400)
    stage.later(8 * 86_400)
    keeper = make_keeper(stage)
    run_until([keeper], lambda: stage.open_positions() == 0)
    assert keeper.tally.done["settle"] == 10
    agree(stage)


def test_a_market_that_nobody_touches_is_poked(stage):
    stage.deposit(1_000_000)
    publish(stage, PRICE)
    stage.open(1, margin=400)
    keeper = make_keeper(stage, Settings(at_a_loss=frozenset({"poke"}), poke_after=60))
    stage.later(1)
    assert keeper.step() == 0
    stage.later(61)
    assert keeper.step() == 1
    assert keeper.step() == 0
    assert keeper.tally.done == {"poke": 1}
    agree(stage)


def test_a_price_that_is_held_is_left_to_its_confirmation(stage):
    stage.deposit(1_000_000)
    publish(stage, PRICE)
    stage.open(40)
    publish(stage, PRICE * 80 // 100)
    keeper = make_keeper(stage)
    assert [keeper.step() for _ in range(2)] == [0, 0]
    assert stage.open_positions() == 40
    agree(stage)


def test_credit_is_withdrawn_when_told(backlog):
    token = backlog.system.token
    keeper = make_keeper(backlog, Settings(at_a_loss=ALL.at_a_loss, withdraw_above=1))
    run_until([keeper], lambda: keeper.tally.done.get("withdraw", 0) == 1)
    agree(backlog)
    assert token.balanceOf[keeper._sender.address.lower()] > 0


def test_metrics_are_told_on_the_loopback_interface_only(backlog):
    keeper = make_keeper(backlog)
    close, port = keeper.metrics.serve(0)
    try:
        keeper.step()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        close()
    assert "keeper_has_backlog 1.0" in text
    assert "keeper_due_positions 64.0" in text
    assert isinstance(keeper, Keeper)

"""Publishers and keepers of a test, and the story of a backlog."""

import time

from operations.accounts import Sender
from operations.keeper import KINDS, Keeper, Settings
from operations.publisher import SignedPublisher, Thresholds
from operations.rpc import Policy, connect
from operations.stage import PRICE, Stage, publisher_keys, signer_named

ALL = Settings(at_a_loss=frozenset(KINDS))


class Quotes:
    """A source whose price is what the test says."""

    is_over = False

    def __init__(self, price=PRICE):
        self.price = price

    def quote(self):
        return self.price


def make_keeper(stage, settings=ALL, address=None, name="keeper", wait=5.0, policy=None):
    policy = policy or Policy(seconds=20.0, timeout=2.0)
    web3 = connect(address or stage.address, policy)
    signer = signer_named(name)
    stage.fund(signer)
    return Keeper(web3, stage.target, Sender(web3, signer, policy, wait=wait), settings)


def make_publisher(stage, source, thresholds=None, address=None, keys=None, clock=None, wait=5.0):
    """Its clock is the chain's unless the test gives another."""
    web3 = connect(address or stage.address, Policy(seconds=20.0, timeout=2.0))
    signer = signer_named("publisher")
    stage.fund(signer)
    return SignedPublisher(
        web3,
        stage.target,
        publisher_keys() if keys is None else keys,
        Sender(web3, signer, wait=wait),
        source,
        thresholds or Thresholds(heartbeat=30, deviation_bps=10, confidence_bps=5),
        clock=clock or stage.chain_time,
    )


def publish(stage: Stage, price: int) -> None:
    """Brings a price and waits for it; a second later than the last."""
    publisher = make_publisher(stage, Quotes(price))
    stage.later(2)
    assert publisher.step() == 1
    publisher.account(publisher._sender.drain(5.0))
    assert publisher.published == 1


def with_backlog(stage: Stage, positions: int, fall_bps: int = 380) -> None:
    """Positions of which the last price has made all liquidatable, with a little equity left: 32
    are liquidated with it."""
    stage.deposit(1_000_000)
    publish(stage, PRICE)
    stage.open(positions)
    publish(stage, PRICE * (10_000 - fall_bps) // 10_000)


def run_until(keepers, is_done, seconds=20.0, mine=None):
    """Rounds of keepers in turn."""
    deadline = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < deadline, "not done in time"
        for keeper in keepers:
            keeper.step()
        if mine is not None:
            mine()
    for keeper in keepers:
        keeper.account(keeper._sender.drain(0.0))

"""A keeper as a process of its own, to be killed: node, market and lens as arguments."""

import logging
import sys
import threading

from lockstep.interrupts import ENDINGS, noted_interrupts
from operations.accounts import Sender
from operations.keeper import KINDS, Keeper, Settings
from operations.market import target_at
from operations.rpc import Policy, connect
from operations.stage import signer_named


def main(address: str, market: str, lens: str, name: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    stop = threading.Event()
    policy = Policy(seconds=20.0, timeout=2.0, stop=stop)
    web3 = connect(address, policy)
    sender = Sender(web3, signer_named(name), policy, wait=1.0)
    settings = Settings(at_a_loss=frozenset(KINDS))
    keeper = Keeper(web3, target_at(web3, market, lens), sender, settings)
    with noted_interrupts(stop.set, ENDINGS):
        keeper.run(stop, interval=0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])

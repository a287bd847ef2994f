"""What publisher and keeper have in common: rounds until they are stopped, results, one voice."""

import logging
import threading
from collections.abc import Callable

from web3.exceptions import Web3Exception

from operations.accounts import Result, Sender, SendError
from operations.market import Reverted
from operations.metrics import Metrics
from operations.rpc import NodeError, Stopped

DRAIN_SECONDS = 10.0
FAILURE = "failure"  # of a round
MOST_TOLD = 1_000


class Rounds:
    """Looks at the chain again and again and sends what is to be sent."""

    def __init__(self, log: logging.Logger, sender: Sender, metrics: Metrics) -> None:
        self._log = log
        self._sender = sender
        self._told: set[str] = set()
        self.metrics = metrics
        sender.on_event = metrics.on_event
        sender.policy.on_failure = metrics.on_failure

    @property
    def is_over(self) -> bool:
        """Whether there will never be anything to do again."""
        return False

    def step(self) -> int:
        """One round; how many transactions were sent."""
        raise NotImplementedError

    def on_result(self, result: Result) -> None:
        """What became of a transaction of an earlier round."""

    def summary(self) -> str:
        """What was done so far, in words."""
        raise NotImplementedError

    def run(
        self,
        stop: threading.Event,
        interval: float = 1.0,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        """Rounds until `stop` is set; what is in flight then has a moment to be mined. A round
        that fails, because the node does for longer than its policy says or answers nonsense, is
        told of, and the next one begins."""
        while not (stop.is_set() or self.is_over):
            try:
                self.step()
                self.is_over_with(FAILURE)
            except Stopped:
                break
            except (NodeError, SendError, Web3Exception) as error:
                self.tell(str(error), logging.ERROR, f"{FAILURE} {type(error).__name__}")
            except Reverted as error:
                # What never reverts has: a node in the middle of a block answers with the time of
                # one and the state of the next.
                self.tell(f"a view reverted: {error}", logging.WARNING)
            on_round()
            stop.wait(interval)
        try:
            self.account(self._sender.drain(DRAIN_SECONDS))
        except (NodeError, SendError, Reverted, Web3Exception, Stopped) as error:
            self._log.warning("left in flight: %s", error)
        self._log.info("stopped: %s", self.summary())

    def account(self, results: list[Result]) -> None:
        """Counts what was decided and says it."""
        metrics = self.metrics
        for result in results:
            kind = result.call.label
            metrics.transactions.labels(kind, result.status).inc()
            metrics.gas.labels(kind).inc(result.gas_used)
            metrics.fees.labels(kind).inc(result.cost)
            self.on_result(result)
            if result.status == "done":
                self._told.clear()
                said = "%s: mined in block %d, gas %d"
                self._log.info(said, kind, result.block, result.gas_used)
            else:
                self._log.warning("%s: %s (transaction %d)", kind, result.status, result.nonce)

    def tell(self, text: str, level: int, key: str = "") -> None:
        """Says something once, until it is over or a transaction is done. `key` is what stays the
        same in a text whose numbers change."""
        if (key or text) not in self._told:
            self._log.log(level, "%s", text)
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        self._told.add(key or text)

    def is_over_with(self, key: str) -> None:
        """What was told under keys that begin so is no more; the next time it is told again."""
        self._told = {told for told in self._told if not told.startswith(key)}

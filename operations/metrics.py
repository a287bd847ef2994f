"""Metrics of publisher and keeper for Prometheus, on the loopback interface only."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

LOOPBACK = "127.0.0.1"


class Metrics:
    """A registry of its own: several may live in one process. Names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = prefix
        self._server: Any = None
        self.transactions = self.counter(
            "transactions", "Transactions by what they do and what became of them", "work", "result"
        )
        self.gas = self.counter("gas_used", "Gas of transactions that were mined", "work")
        self.fees = self.counter("fees_wei", "Wei of the native coin paid for them", "work")
        self.sending = self.counter(
            "sending_events", "Sent, bumped, dropped, replaced, reorganisation", "event"
        )
        self.failures = self.counter("rpc_failures", "Answers that failed, by kind", "kind")
        self.block = self.gauge("block", "Number of the block last looked at")
        self.block_time = self.gauge("block_timestamp", "Its time, seconds since 1970")
        self.balance = self.gauge("balance_wei", "Native coin of the sending account")

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{self._prefix}_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{self._prefix}_{name}", text, labels, registry=self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Of one of them, as it would be read; zero before the first."""
        found = self.registry.get_sample_value(f"{self._prefix}_{name}", labels)
        return found or 0.0

    def on_event(self, event: str) -> None:
        self.sending.labels(event).inc()

    def on_failure(self, kind: str) -> None:
        self.failures.labels(kind).inc()

    def serve(self, port: int) -> tuple[Callable[[], None], int]:
        """Answers GET /metrics on this port (0: any free one) of the loopback interface; what ends
        it, and the port."""
        server, thread = start_http_server(port, LOOPBACK, self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close, int(server.server_port)

"""The monitor's figures for Prometheus, on the loopback interface."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from lockstep.errors import InputError
from operations.monitor.follow import Follower
from operations.monitor.health import Record
from operations.monitor.replica import SENTENCES

LOOPBACK = "127.0.0.1"
PREFIX = "ringfence_monitor_"
WAD = 10**18
OWED = ("assets", "liabilities", "pool_cash", "margin", "insurance", "fees", "credits", "claims")


class Collector:
    """Reads everything when it is asked for."""

    def __init__(self, follower: Follower, failures: Callable[[], dict[str, int]]) -> None:
        self._follower = follower
        self._failures = failures  # of the node, by kind

    def collect(self) -> list[Metric]:
        """All families."""
        follower = self._follower
        progress, last = follower.progress, follower.replica.last
        found: list[Metric] = [
            _gauge(
                "block", "Number of the last block that was checked", last.number if last else 0
            ),
            _gauge("head_block", "Number of the newest block of the chain", progress.head),
            _counter("blocks", "Blocks checked", progress.blocks),
            _counter("block_seconds", "Seconds spent on checking them", progress.seconds),
            _counter("reorganisations", "Times the chain went back", progress.reorganisations),
            _counter("undone_blocks", "Blocks taken back for that", progress.undone),
            _counter("rebuilds", "Times the model was rebuilt for that", progress.rebuilds),
            _counter("requests", "Requests to the node", follower.node.requests),
        ]
        broken = GaugeMetricFamily(
            PREFIX + "invariant_broken", "1 where an invariant is broken", labels=["invariant"]
        )
        findings = CounterMetricFamily(
            PREFIX + "findings", "Blocks that broke an invariant", labels=["invariant"]
        )
        for name in SENTENCES:
            broken.add_metric([name], int(name in follower.broken))
            findings.add_metric([name], progress.findings.get(name, 0))
        failures = CounterMetricFamily(
            PREFIX + "rpc_failures", "Answers of the node that failed", labels=["kind"]
        )
        for kind, count in self._failures().items():
            failures.add_metric([kind], count)
        found += [broken, findings, failures]
        if follower.latest is not None:
            found += _market(follower.latest)
        return found


def _market(record: Record) -> list[Metric]:
    unit = 10 ** record["decimals"]
    solvency, sides, breaker = record["solvency"], record["open_interest"], record["breaker"]
    now = record["block"]["timestamp"]
    found: list[Metric] = [
        _gauge("block_timestamp", "Time of the last block, Unix", now),
        _gauge("price", "Price in effect", int(record["price"]["value"]) / WAD),
        _gauge("price_age_seconds", "Its age at the last block", record["price"]["age"]),
        _gauge("price_held", "1 while a price is held", int(record["price"]["held"] is not None)),
        _gauge("restricted", "1 while a breaker allows exits only", int(breaker["until"] > now)),
        _gauge("backlog", "1 while there is one", int(breaker["state"] == "backlog")),
        _gauge("solvency_ratio", "Assets by liabilities", int(solvency["ratio"]) / WAD),
        _gauge("bad_debt", "Losses the pool has borne, tokens", int(solvency["bad_debt"]) / unit),
        _gauge("open_positions", "Positions that are open", record["positions"]["open"]),
    ]
    tokens = GaugeMetricFamily(
        PREFIX + "solvency_tokens", "What solvency() is made of, tokens", labels=["what"]
    )
    for name in OWED:
        tokens.add_metric([name], int(solvency[name]) / unit)
    interest = GaugeMetricFamily(PREFIX + "open_interest", "Size of a side", labels=["side"])
    for side in ("long", "short"):
        interest.add_metric([side], int(sides[side]) / WAD)
    found += [tokens, interest]
    if record["next"]:
        distance = record["next"][0]["distance_bp"]
        found.append(_gauge("nearest_liquidation_bp", "Distance of the nearest", distance))
    return found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def serve(collector: Collector, port: int) -> tuple[int, Callable[[], None]]:
    """Answers GET /metrics; the port (0 takes a free one) and what ends it."""
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, LOOPBACK, registry)
    except (OSError, OverflowError) as error:
        reason: Any = getattr(error, "strerror", error)
        raise InputError(f"--metrics-port: cannot listen on {port} ({reason})") from None

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, close

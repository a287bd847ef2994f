"""The monitor as a command: everything put together, until it is stopped."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from web3 import Web3

from lockstep.abi import keccak
from lockstep.compiler import compile_vyper
from lockstep.errors import InputError
from operations.manifest import Manifest
from operations.monitor import metrics
from operations.monitor.alerts import Alerts
from operations.monitor.database import Database
from operations.monitor.follow import Follower
from operations.monitor.node import Node
from operations.monitor.replica import JOURNAL
from operations.monitor.system import Given, Subject
from operations.page.server import HOST
from operations.page.server import serve as serve_page
from operations.rpc import NodeError, Policy, Stopped
from perp_fuzz.deployment import ROOT, Artifacts

LOG = logging.getLogger("ringfence.monitor")
WELL, BROKEN, BAD_INPUT = 0, 1, 2
INTERVAL = 0.5  # seconds between two looks for a new block
ALERT_SECONDS = 30.0  # for a webhook, when the monitor is to end
DECIMALS = "0x313ce567"
AGREED = ("PerpMarket", "LiquidityPool", "RiskEngine", "Configurator", "MarketFactory")


@dataclass
class Options:
    """How to watch. Ports of None: not at all; 0: any that is free."""

    database: Path
    market: str | None = None
    from_block: int | None = None
    is_once: bool = False
    interval: float = INTERVAL
    journal: int = JOURNAL
    metrics_port: int | None = None
    page_port: int | None = None
    page_host: str = HOST
    webhook: str | None = None
    is_acknowledging: bool = False
    policy: Policy = field(default_factory=Policy)
    on_page: Callable[[str], None] = lambda address: None


def watch(web3: Web3, manifest: Manifest, options: Options) -> int:
    """Follows until `options.policy.stop` is set, or the head is reached; the exit code.

    InputError where something does not fit: manifest, chain, database, ports.
    """
    subject = Subject(manifest, manifest.market_name(options.market), options.from_block)
    node = Node(web3, subject.addresses, options.policy, subject.creations)
    check_chain(node, subject)
    if not node.look_for_traces():
        _warn_of_no_traces(subject)
    with ExitStack() as stack:
        database = Database(options.database, subject)
        stack.callback(database.close)
        if options.is_acknowledging:
            LOG.info("acknowledged %d findings", database.acknowledge())
        alerts = Alerts(options.webhook, subject) if options.webhook else None
        if alerts is not None:
            stack.callback(alerts.close)
            alerts.send(database.untold())
        follower = Follower(
            node,
            database,
            subject,
            given_of(node, subject, database),
            artifacts_of(subject),
            options.journal,
            alerts.send if alerts is not None else lambda stored: None,
        )
        _open(stack, follower, options)
        try:
            _follow(follower, database, alerts, options)
        except Stopped:
            LOG.info("stopped after block %d", follower.next_number - 1)
        if alerts is not None:
            database.set_told(alerts.wait(ALERT_SECONDS if options.is_once else 0))
        return BROKEN if follower.broken else WELL


def _warn_of_no_traces(subject: Subject) -> None:
    if not subject.is_signed:
        raise InputError(
            "the node traces nothing, and what an aggregator has answered is only in traces: use "
            "a node that offers debug_traceBlockByHash"
        )
    LOG.warning(
        "the node traces nothing: results and reverts are not compared, and only those words that "
        "the model says were changed"
    )


def _open(stack: ExitStack, follower: Follower, options: Options) -> None:
    """Metrics and page."""
    if options.metrics_port is not None:
        collector = metrics.Collector(follower, lambda: dict(options.policy.failures))
        port, close = metrics.serve(collector, options.metrics_port)
        stack.callback(close)
        LOG.info("metrics at http://%s:%d/metrics", metrics.LOOPBACK, port)
    if options.page_port is not None:
        page = serve_page(
            lambda: follower.latest, follower.history, options.page_host, options.page_port
        )
        stack.callback(page.close)
        LOG.info("page at %s", page.address)
        options.on_page(page.address)


def _follow(
    follower: Follower, database: Database, alerts: Alerts | None, options: Options
) -> None:
    policy = options.policy
    until: int | None = None
    while not policy.stop.is_set():
        try:
            count = follower.step()
        except NodeError as error:
            if options.is_once:
                raise InputError(str(error)) from None
            LOG.warning("%s", error)
            count = 0
        if alerts is not None:
            database.set_told(alerts.taken())
        until = follower.progress.head if until is None else until
        if options.is_once and follower.next_number > min(until, follower.progress.head):
            return
        if count == 0:
            policy.pause(options.interval)


def check_chain(node: Node, subject: Subject) -> None:
    """That the node's chain has what the manifest says."""
    manifest = subject.manifest
    found = node.chain_id()
    if found != manifest.chain_id:
        raise InputError(
            f"chain_id: the manifest is of chain {manifest.chain_id}, the node of chain {found}; "
            "choose the network with --network, or the manifest with --manifest"
        )
    wanted = {contract.address: (key, contract) for key, contract in manifest.contracts.items()}
    places = [address for address in subject.addresses.system if address in wanted]
    codes = node.ask([("eth_getCode", [address, "latest"]) for address in places])
    for address, code in zip(places, codes, strict=True):
        key, contract = wanted[address]
        if len(code) <= 2:
            raise InputError(
                f"{key}: there is no contract at {address}; the manifest is of another chain, or "
                "the node is not in sync"
            )
        digest = "0x" + keccak(bytes.fromhex(code[2:])).hex()
        if digest != contract.code_hash:
            raise InputError(
                f"{key}: another contract is at {address}: its code hash is {digest}, the "
                f"manifest says {contract.code_hash}; take the manifest of this deployment"
            )


def given_of(node: Node, subject: Subject, database: Database) -> Given:
    """What others' contracts say of themselves, asked for once."""
    known = database.given()
    if known is not None:
        return known
    places = [subject.addresses.token]
    if not subject.is_signed:
        places.append(str(subject.feed.arguments["aggregator"]))
    answers = node.ask([("eth_call", [{"to": one, "data": DECIMALS}, "latest"]) for one in places])
    decimals = [int(answer, 16) if len(answer) > 2 else 0 for answer in answers]
    given = Given(*decimals)
    database.set_given(given)
    return given


def artifacts_of(subject: Subject) -> Artifacts:
    """Interfaces and storage layouts of the contracts that the models mirror."""
    names = (*AGREED, subject.feed.contract)
    return {name: compile_vyper(f"contracts/{name}.vy", root=ROOT) for name in names}

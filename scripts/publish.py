"""`ape run publish`: signs prices with several keys and brings them to a market."""

import threading
from typing import Any

import click
from web3 import Web3

from lockstep.errors import InputError
from lockstep.interrupts import ENDINGS, noted_interrupts
from operations.accounts import Sender
from operations.command import ChainCommand
from operations.market import Target
from operations.publisher import (
    AggregatorPublisher,
    Publisher,
    PublisherMetrics,
    SignedPublisher,
    Thresholds,
    is_signed_feed,
)
from operations.rpc import Policy, connect
from operations.service import ALIAS, common_options, service, target_named, unlocked
from operations.sources import (
    Aggregator,
    NoSource,
    Source,
    Tape,
    Ticker,
    file_tape,
    synthetic_tape,
)

HELP = """Signs prices and brings them to a market, from one of four sources.

\b
A file of bars (CSV or .gz with ts,open,high,low,close), as fast as it is told:
  ape run publish --network ethereum:local:http://127.0.0.1:8545 --account TEST::0
      --publisher TEST::4 --publisher TEST::5 --prices crash.csv.gz --start 2020-03-12 --speed 60
The built-in crash:
  ... --synthetic --speed 60
An aggregator of another network:
  ... --aggregator 0x5f4e... --aggregator-node https://node.example.org
A ticker that answers with JSON:
  ... --ticker https://exchange.example.org/price?symbol=BTCUSD --path result.0.price

A price is published when it differs by --deviation from the one in effect, or when that is
--heartbeat seconds old. Every key signs every report; the feed wants its quorum of them. Keys are
accounts of ape (`ape accounts import`), never files or options. A key file is unlocked once: with
APE_ACCOUNTS_<alias>_PASSPHRASE in the environment, or by a prompt. TEST:: accounts are for local
chains only.

A market whose feed reads an aggregator takes no signatures: rounds of a test aggregator are set
here, those of a real one are only brought to the market; then no source is needed.

Exit codes: 0 stopped, or the file has ended; 1 the node failed at the start; 2 bad input, nothing
was sent."""

SOURCES = ("prices", "synthetic", "aggregator", "ticker")


@click.command(cls=ChainCommand, help=HELP)
@common_options
@click.option(
    "--publisher", "keys", type=ALIAS, multiple=True, help="Alias of a key that signs; repeat."
)
@click.option("--prices", help="CSV or .gz of bars to replay.")
@click.option("--start", help="First moment of the file: 2020-03-12 or a unix time.")
@click.option("--end", help="The moment it ends (itself not included).")
@click.option("--synthetic", is_flag=True, help="Replay the built-in crash.")
@click.option("--seed", default=1, show_default=True, help="Of the built-in crash.")
@click.option("--speed", default=1.0, show_default=True, help="Seconds of a replay in one of ours.")
@click.option("--aggregator", help="Address of a Chainlink-style aggregator to follow.")
@click.option("--aggregator-node", help="Node of its network, if it is another one.")
@click.option("--aggregator-age", default=3_600, show_default=True, help="Seconds it may be old.")
@click.option("--ticker", help="Address that answers with JSON.")
@click.option("--path", default="price", show_default=True, help="Where in it the price is.")
@click.option("--heartbeat", default=30, show_default=True, help="Seconds.")
@click.option("--deviation", default=10.0, show_default=True, help="Basis points.")
@click.option("--confidence", default=5.0, show_default=True, help="Basis points of the price.")
@click.option("--most-skew", default=15, show_default=True, help="Seconds this clock may be off.")
@click.option("--once", is_flag=True, help="Ends after one price.")
def cli(provider: Any, **options: Any) -> None:
    stop = threading.Event()
    policy = Policy(seconds=options["patience"], stop=stop)
    web3, target = target_named(provider, policy, options["manifest"], options["market"])
    signer = unlocked(options["account"], provider, "--account")
    sender = Sender(web3, signer, policy, wait=options["wait"])
    metrics = PublisherMetrics()
    publisher = _publisher(web3, target, sender, metrics, provider, options)
    publisher.check()
    with service(metrics, options["metrics_port"]) as log:
        log.info("publishing for market %s, feed %s", target.market, target.feed)

        def on_round() -> None:
            if options["once"] and publisher.published:
                stop.set()

        with noted_interrupts(stop.set, ENDINGS):
            publisher.run(stop, options["interval"], on_round)


def _publisher(
    web3: Web3,
    target: Target,
    sender: Sender,
    metrics: PublisherMetrics,
    provider: Any,
    options: dict[str, Any],
) -> Publisher:
    names = ("heartbeat", "deviation", "confidence", "most_skew")
    thresholds = Thresholds(*(options[name] for name in names))
    if is_signed_feed(web3, target.feed):
        keys = [unlocked(key, provider, "--publisher") for key in options["keys"]]
        source = _source(web3, options)
        return SignedPublisher(web3, target, keys, sender, source, thresholds, metrics)
    is_test = target.test_aggregator is not None
    source = _source(web3, options) if is_test else NoSource()
    return AggregatorPublisher(web3, target, sender, source, thresholds, metrics)


def _source(web3: Web3, options: dict[str, Any]) -> Source:
    """The one source that was chosen."""
    chosen = [name for name in SOURCES if options[name]]
    if len(chosen) != 1:
        asked = "no source of prices" if not chosen else " and ".join(f"--{n}" for n in chosen)
        raise InputError(f"{asked}: give one of {', '.join(f'--{name}' for name in SOURCES)}")
    if options["aggregator"]:
        node = options["aggregator_node"]
        there = connect(node, Policy(seconds=10.0)) if node else web3
        return Aggregator(there, options["aggregator"], options["aggregator_age"])
    if options["ticker"]:
        return Ticker(options["ticker"], options["path"])
    if options["prices"]:
        tape = file_tape(options["prices"], options["start"], options["end"])
        return Tape(tape, options["speed"])
    return Tape(synthetic_tape(options["seed"]), options["speed"])

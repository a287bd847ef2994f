"""`ape run monitor`: follows a market from its first block and holds every block to the model."""

import logging
from pathlib import Path
from typing import Any

import click

from lockstep.interrupts import ENDINGS, noted_interrupts
from operations.command import ROOT, ChainCommand, web3_of
from operations.manifest import read_manifest
from operations.monitor.replica import JOURNAL
from operations.monitor.watch import INTERVAL, Options, watch
from operations.page.server import HOST

HELP = """Follows a market from the block it was deployed in, executes every call on the model, and
holds results, events, every storage word and solvency() to it, block by block; checks every
invariant by its ID. What it knows is in one SQLite file: interrupted anywhere, it goes on where it
was. It goes back with the chain when that is reorganised.

\b
  ape run monitor --network ethereum:sepolia:node --page 8787 --metrics-port 9187
  ape run monitor --network ethereum:sepolia:node --once    # for cron

The node has to offer debug_traceBlockByHash with callTracer and prestateTracer, and the state of
the blocks to be followed: an archive of them, if the monitor begins late.

A finding is logged, kept, and, the first of each invariant, posted to the webhook: JSON with the
invariant's ID and sentence, block, transaction and difference. An invariant stays broken until
somebody has looked: --acknowledge. The webhook may also be in RINGFENCE_WEBHOOK, as its address is
often a secret.

Exit codes: 0 all well; 1 an invariant is broken; 2 bad input, or with --once no node."""


@click.command(cls=ChainCommand, help=HELP)
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="Manifest.  [deployments/<network>.json]"
)
@click.option("--market", help="Name of the market, where the manifest has several.")
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    help="SQLite file.  [deployments/<network>-<market>.sqlite]",
)
@click.option(
    "--from-block", type=click.IntRange(0), help="Where the deployment began.  [the manifest's]"
)
@click.option("--once", is_flag=True, help="Follows to the head and ends.")
@click.option(
    "--interval",
    type=click.FloatRange(0.05, 3600),
    default=INTERVAL,
    show_default=True,
    help="Seconds between two looks for a new block.",
)
@click.option(
    "--journal",
    type=click.IntRange(1, 10_000),
    default=JOURNAL,
    show_default=True,
    help="Blocks that can be taken back without rebuilding.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65_535), help="Serves /metrics there.")
@click.option("--page", type=click.IntRange(0, 65_535), help="Serves the web page on this port.")
@click.option("--host", default=HOST, show_default=True, help="Address of the page.")
@click.option("--webhook", envvar="RINGFENCE_WEBHOOK", help="Where findings are posted.")
@click.option("--acknowledge", is_flag=True, help="All findings so far have been looked at.")
def cli(
    provider: Any,
    manifest: Path | None,
    market: str | None,
    database: Path | None,
    from_block: int | None,
    once: bool,
    interval: float,
    journal: int,
    metrics_port: int | None,
    page: int | None,
    host: str,
    webhook: str | None,
    acknowledge: bool,
) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("ringfence").setLevel(logging.INFO)
    network = provider.network.name
    found = read_manifest(manifest or ROOT / "deployments" / f"{network}.json")
    name = found.market_name(market)
    options = Options(
        database=database or ROOT / "deployments" / f"{network}-{name}.sqlite",
        market=name,
        from_block=from_block,
        is_once=once,
        interval=interval,
        journal=journal,
        metrics_port=metrics_port,
        page_port=page,
        page_host=host,
        webhook=webhook,
        is_acknowledging=acknowledge,
    )
    with noted_interrupts(options.policy.stop.set, ENDINGS):
        raise SystemExit(watch(web3_of(provider), found, options))

"""`ape run keeper`: liquidates, works off backlogs, pokes and settles where that is due."""

import threading
from typing import Any

import click

from lockstep.interrupts import ENDINGS, noted_interrupts
from operations.accounts import GWEI, Sender
from operations.command import ChainCommand
from operations.keeper import KINDS, Keeper, KeeperMetrics, Settings
from operations.market import WAD
from operations.rpc import Policy
from operations.service import Decimal, common_options, service, target_named, unlocked

HELP = f"""Keeps a market: does what is due there and pays for its gas.

\b
  ape run keeper --network ethereum:sepolia:node --account keeper --rate 3000
  ape run keeper --network ethereum:local:http://127.0.0.1:8545 --account TEST::5 --at-a-loss all

It works off backlogs (liquidation and deleveraging), liquidates by id what the lens lists, brings
the price of an aggregator, settles a market whose price has expired, and pokes one that nobody
touches. Each call is first run without being sent, so that its reward is known exactly; it is sent
when the reward, less gas at --rate collateral tokens for a native coin, is at least --least-profit
tokens. --at-a-loss names work that is done whatever it costs: all, or {", ".join(KINDS)}.

Several keepers may run side by side, and one may be killed at any moment: it remembers nothing.
Ctrl-C or SIGTERM ends it after the round that is running.

Keys come from ape's accounts (`ape accounts import keeper`); a key file is unlocked once, with
APE_ACCOUNTS_<alias>_PASSPHRASE in the environment or by a prompt.

Exit codes: 0 stopped; 1 the node failed at the start; 2 bad input, nothing was sent."""


@click.command(cls=ChainCommand, help=HELP)
@common_options
@click.option("--rate", type=Decimal(), help="Collateral tokens that a native coin is worth.")
@click.option(
    "--least-profit", type=Decimal(), default="0", help="Tokens after gas, for each call.  [0]"
)
@click.option("--at-a-loss", help="Work to do whatever it costs, with commas; or all.")
@click.option("--poke-after", type=int, help="Pokes a market untouched for so many seconds.")
@click.option("--withdraw-above", type=Decimal(), help="Withdraws rewards from so many tokens on.")
@click.option("--most-fee", type=Decimal(), help="Most to pay for a unit of gas, in gwei.")
def cli(provider: Any, **options: Any) -> None:
    stop = threading.Event()
    policy = Policy(seconds=options["patience"], stop=stop)
    web3, target = target_named(provider, policy, options["manifest"], options["market"])
    unit: int = 10**target.decimals

    def tokens(amount: int | None) -> int | None:
        return None if amount is None else amount * unit // WAD

    named = (options["at_a_loss"] or "").replace(" ", "")
    settings = Settings(
        options["rate"],
        tokens(options["least_profit"]) or 0,
        frozenset(KINDS if named == "all" else filter(None, named.split(","))),
        options["poke_after"],
        tokens(options["withdraw_above"]),
    )
    settings.check()
    signer = unlocked(options["account"], provider, "--account")
    most = options["most_fee"]
    most_fee = None if most is None else most * GWEI // WAD
    sender = Sender(web3, signer, policy, wait=options["wait"], most_fee=most_fee)
    sender.check()
    metrics = KeeperMetrics()
    keeper = Keeper(web3, target, sender, settings, metrics)
    with service(metrics, options["metrics_port"]) as log:
        log.info("keeping market %s as %s", target.market, sender.address)
        with noted_interrupts(stop.set, ENDINGS):
            keeper.run(stop, options["interval"])

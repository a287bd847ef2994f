"""`make backlog`: a keeper clears a backlog on anvil; what that takes in calls, blocks and gas."""

import time
from typing import Any, Literal, NamedTuple

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lockstep.cli import FuzzCommand, Whole
from lockstep.errors import InputError
from operations.accounts import Result, Sender
from operations.keeper import BACKLOG, KINDS, MAX_VISITS, Keeper, Settings
from operations.market import LATEST_PRICE, ask
from operations.publisher import SignedPublisher, Thresholds
from operations.stage import PRICE, Stage, publisher_keys, signer_named

MOST = 2_000
# Basis points that the price falls: as far as leaves a little equity, none, or enough for a part
# of each position to stay open.
FALLS = {"in full": 380, "at a loss": 600, "in part": 320}
ROUND_LIMIT = 1_000
COLUMNS = (
    *("liquidated", "left over", "calls", "blocks", "gas", "most a call", "a position"),
    *("the price", "reward", "seconds", "words equal"),
)


class Cleared(NamedTuple):
    """A backlog that was worked off."""

    kind: str
    left: int  # positions
    publish_gas: int  # of the price, and the liquidations that came with it
    calls: int
    blocks: int
    gas: int
    largest: int  # gas of a call
    reward: int
    seconds: float
    words: int  # compared with the model afterwards


class FixedPrice:
    """A source with one price."""

    is_over = False

    def __init__(self, price: int) -> None:
        self.price = price

    def quote(self) -> int:
        return self.price


class CountingKeeper(Keeper):
    """Notes the gas of every call."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.gas: list[int] = []

    def on_result(self, result: Result) -> None:
        super().on_result(result)
        self.gas.append(result.gas_used)


def clear(kind: str, left: int) -> Cleared:
    """Lets the price fall under so many positions, and those that are liquidated with it, and has
    a keeper work off what is left."""
    stage = Stage()
    try:
        stage.deposit(1_000_000)
        _publish(stage, PRICE)
        stage.open(left + MAX_VISITS)
        publish_gas = _publish(stage, PRICE * (10_000 - FALLS[kind]) // 10_000)
        stage.follow()
        return _clear(stage, kind, left, publish_gas)
    finally:
        stage.close()


def _publish(stage: Stage, price: int) -> int:
    """Brings a price; the gas of it."""
    signer = signer_named("publisher")
    stage.fund(signer)
    stage.later(2)
    sender = Sender(stage.web3, signer)
    given = (stage.web3, stage.target, publisher_keys(), sender)
    source = FixedPrice(price)
    publisher = SignedPublisher(*given, source, Thresholds(), clock=stage.chain_time)
    publisher.step()
    (result,) = sender.drain(10.0)
    assert ask(stage.web3, stage.target.feed, LATEST_PRICE)[0] == price
    return result.gas_used


def _clear(stage: Stage, kind: str, left: int, publish_gas: int) -> Cleared:
    signer = signer_named("keeper")
    stage.fund(signer)
    sender = Sender(stage.web3, signer)
    settings = Settings(at_a_loss=frozenset(KINDS))
    keeper = CountingKeeper(stage.web3, stage.target, sender, settings)
    stage.hold_mining()
    before = stage.block_number()
    began = time.perf_counter()
    for _ in range(ROUND_LIMIT):
        if keeper.step():
            stage.mine()
        elif not sender.in_flight:
            break
    seconds = time.perf_counter() - began
    blocks = stage.block_number() - before
    stage.follow()
    words = stage.compare()
    calls = keeper.tally.done.get(BACKLOG, 0)
    return Cleared(
        *(kind, left, publish_gas, calls, blocks, sum(keeper.gas)),
        *(max(keeper.gas, default=0), keeper.tally.reward, seconds, words),
    )


def table_of(found: list[Cleared]) -> Table:
    """The figures."""
    title = f"A backlog of liquidations, {MAX_VISITS} having come with the price"
    table = Table(title=title, box=SIMPLE)
    for name in COLUMNS:
        side: Literal["left", "right"] = "left" if name == "liquidated" else "right"
        table.add_column(name, justify=side, no_wrap=True)
    for row in found:
        table.add_row(
            *(row.kind, f"{row.left:,}", f"{row.calls:,}", f"{row.blocks:,}", f"{row.gas:,}"),
            *(f"{row.largest:,}", f"{row.gas // row.left:,}", f"{row.publish_gas:,}"),
            *(f"{row.reward / 10**6:,.2f}", f"{row.seconds:.1f}", f"{row.words:,}"),
        )
    return table


@click.group()
def main() -> None:
    """How a keeper copes with a load."""


@main.command(cls=FuzzCommand)
@click.option("--positions", type=Whole(1), default=500, show_default=True, help="Left over.")
def run(positions: int) -> None:
    """Works off backlogs of three kinds, and compares every word with the model afterwards."""
    if positions > MOST:
        raise InputError(f"--positions {positions}: give at most {MOST:,}")
    console = Console(width=max(Console().width, 140))
    found = []
    for kind in FALLS:
        console.print(f"{positions:,} positions to liquidate {kind} ...")
        found.append(clear(kind, positions))
    console.print(table_of(found))


if __name__ == "__main__":
    main()

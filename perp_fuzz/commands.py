"""The commands of the perpetual market's fuzzer."""

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from lockstep.adapter import Adapter, Config
from lockstep.cli import FuzzCommand, Whole, fuzz_command
from lockstep.progress import StepProgress
from lockstep.replay_command import replay_command
from perp_fuzz.adapter import ADAPTER, PerpAdapter, scaled_params
from perp_fuzz.bench import measure, show
from perp_fuzz.corpus_command import SEEDS, corpus_command
from perp_fuzz.coverage_command import coverage_command
from perp_fuzz.deployment import DEFAULT_RISK
from perp_fuzz.forms import check_models
from perp_fuzz.gas_command import gas_command
from perp_fuzz.isolation_command import isolation_command
from perp_fuzz.mutants_command import mutants_command
from perp_fuzz.planted_command import planted_command
from perp_fuzz.shrinks_command import shrinks_command
from perp_fuzz.solvency_command import solvency_command
from perp_fuzz.stages import show_stages
from simulation.command import crashes_command

DECIMALS = ("6", "8", "18")
# A pool that cannot pay everybody: little cash, and less of it reserved.
THIN = {
    "deposit": 120_000,
    "sequencer": True,
    "params": {"reserve_fraction": 10**16, "max_profit_share": 4 * 10**17},
}
# Caps that one position can reach, a token without return values, breakers that trip at little, a
# pool that is soon rid of winners.
NARROW = {
    "token": "no return",
    "deposit": 60_000,
    "is_narrow": True,
    "params": {
        "max_bad_debt": 10**9,
        "max_pool_loss": 2 * 10**16,
        "max_liquidated_size": 10**18,
        "max_moves": [2 * 10**16, 4 * 10**16],
        "max_jump": 5 * 10**16,
        "max_profit_share": 2 * 10**17,
    },
}
PROFILES: tuple[Config, ...] = ({"token": "standard", "feed": "signed"}, THIN, NARROW)


def configs(decimals: Sequence[int], price: int | None = None) -> list[Config]:
    """The deployments that the chains of a campaign take in turn: neighbours differ in both."""
    scaled: dict[str, Any] = {} if price is None else scaled_params(price)
    cap = scaled.get("max_skew", DEFAULT_RISK.max_skew) // 2
    narrow = {"max_open_interest": cap, "max_skew": cap}
    pairs = [(i, j) for i in range(len(PROFILES)) for j in range(len(decimals))]
    pairs.sort(key=lambda pair: (pair[1] - pair[0]) % len(decimals))
    return [
        {
            **PROFILES[i],
            "decimals": decimals[j],
            "params": {
                **scaled,
                **PROFILES[i].get("params", {}),
                **(narrow if "is_narrow" in PROFILES[i] else {}),
            },
        }
        for i, j in pairs
    ]


def _build(values: dict[str, Any]) -> tuple[Adapter, Sequence[Config]]:
    check_models()
    bars = values["bars"]
    chosen = values["decimals"]
    decimals = [int(chosen)] if chosen else [int(choice) for choice in DECIMALS]
    return PerpAdapter(bars), configs(decimals, bars[0].open if bars else None)


@click.group()
def main() -> None:
    """Drive the contracts and their model together, plant bugs, measure gas and speed."""


main.add_command(
    fuzz_command(
        _build,
        about="Drive the perpetual market and its model with the same actions and compare "
        "everything: results, reasons, events, every word of state, and the invariants.",
        examples=(
            "make fuzz",
            "make fuzz STEPS=1_000_000 SEED=7 PROCESSES=2",
            "make fuzz CORPUS=corpus",
            "make fuzz PRICES=prices.csv.gz START=2020-03-12 END=2020-03-14 REPORT=report.json",
        ),
        options=[
            click.Option(
                ["--decimals"],
                type=click.Choice(DECIMALS),
                help="Decimals of the collateral. Without it the deployments take turns.",
            )
        ],
        corpus=SEEDS,
    )
)
main.add_command(corpus_command)
main.add_command(coverage_command(configs([6, 8, 18])))
main.add_command(crashes_command())
main.add_command(gas_command())
main.add_command(isolation_command())
main.add_command(mutants_command(configs([6, 8, 18])))
main.add_command(planted_command(configs([6, 8, 18])))
main.add_command(replay_command(ADAPTER, configs([6, 8, 18])))
main.add_command(shrinks_command(configs([6, 8, 18])))
main.add_command(solvency_command(configs([6, 8, 18])))


@main.command("bench", cls=FuzzCommand)
@click.option("--steps", type=Whole(100), default=10_000, show_default=True, help="Steps a round.")
@click.option("--seed", type=Whole(0), default=1, show_default=True, help="Of the first round.")
@click.option("--rounds", type=Whole(1), default=3, show_default=True, help="Medians of these.")
@click.option("--stages", is_flag=True, help="Only show where the time of the loop goes.")
def bench(steps: int, seed: int, rounds: int, stages: bool) -> None:
    """Steps per second in one run: raw EVM replay of the calldata, the model, the encoding, their
    sum, the full loop, and two processes.

    Ratios carry over between machines, the figures themselves do not. Exit code 1 when the loop
    is below half of raw replay and below 0.9 of the floor, or two processes gain too little.
    """
    console = Console()
    if stages:
        show_stages(PerpAdapter(), steps, seed, {"decimals": 6}, console)
        return
    with StepProgress(steps * rounds, console) as progress:
        result = measure(steps, seed, {"decimals": 6}, rounds, lambda: progress.tick(steps))
    show(result, console)
    for failure in result.failures:
        console.print(failure)
    if result.failures:
        raise SystemExit(1)

"""The figures of a replay as rows of a table, the same on the terminal and in the document."""

from collections import Counter
from collections.abc import Callable, Sequence

from simulation.figures import PPM
from simulation.replay import Result
from simulation.venue import DOLLAR

Row = list[str]  # a label and a cell for each result


def heading(results: Sequence[Result]) -> Row:
    return ["dynamic leverage", *("on" if result.is_dynamic else "off" for result in results)]


def rows(results: Sequence[Result]) -> list[Row]:
    """Everything that is reported of replays of one tape."""
    found = [[label, *map(cell, results)] for label, cell in _ROWS]
    for label, counter in _COUNTERS:
        names = sorted({name for result in results for name in counter(result)})
        for name in names:
            found.append(
                [f"{label}: {name}", *(f"{counter(result)[name]:,}" for result in results)]
            )
    return found


def markdown(results: Sequence[Result]) -> str:
    """The rows as a table of a document."""
    lines = [heading(results), ["---", *["---:"] * len(results)], *rows(results)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _dollars(units: int) -> str:
    return f"{units / DOLLAR:,.0f}"


def _percent(ppm: int) -> str:
    return f"{100 * ppm / PPM:.1f} %"


_ROWS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("open positions before the crash", lambda r: f"{r.before.positions:,}"),
    ("their notional", lambda r: _dollars(r.before.notional)),
    ("their margin", lambda r: _dollars(r.before.margin)),
    ("pool cash before", lambda r: _dollars(r.before.pool_cash)),
    ("reserve before", lambda r: _dollars(r.before.reserve)),
    ("opened during the crash", lambda r: f"{r.figures.opened:,}"),
    ("open positions at the end", lambda r: f"{r.after.positions:,}"),
    ("liquidated positions", lambda r: f"{len(r.figures.liquidated):,}"),
    ("liquidations in part", lambda r: f"{r.figures.partial:,}"),
    ("liquidations in full", lambda r: f"{r.figures.full:,}"),
    ("notional liquidated", lambda r: _dollars(r.figures.liquidated_notional)),
    ("liquidations with bad debt", lambda r: f"{r.figures.ruined:,}"),
    ("bad debt", lambda r: _dollars(r.figures.bad_debt)),
    ("reserve used", lambda r: _dollars(r.figures.reserve_used)),
    ("reserve at the end", lambda r: _dollars(r.after.reserve)),
    ("deleveraged positions", lambda r: f"{r.figures.deleveraged:,}"),
    ("notional deleveraged", lambda r: _dollars(r.figures.deleveraged_notional)),
    ("largest unpaid claims", lambda r: _dollars(r.figures.largest_claims)),
    ("worst drawdown of a pool share", lambda r: _percent(r.figures.drawdown_ppm)),
    ("backlogs", lambda r: f"{r.figures.backlogs:,}"),
    ("longest backlog, updates", lambda r: f"{r.figures.longest_backlog_updates:,}"),
    ("longest backlog, seconds", lambda r: f"{r.figures.longest_backlog_seconds:,}"),
    ("price updates taken", lambda r: f"{r.figures.updates:,}"),
    ("prices held for a second report", lambda r: f"{r.figures.held:,}"),
    ("seconds halted", lambda r: f"{r.figures.halted_seconds:,}"),
    ("seconds of reduce only", lambda r: f"{r.figures.restricted_seconds:,}"),
)
_COUNTERS: tuple[tuple[str, Callable[[Result], Counter[str]]], ...] = (
    ("prices refused", lambda r: r.figures.refused),
    ("breaker trips", lambda r: r.figures.trips),
    ("traders refused", lambda r: r.figures.turned_away),
)

"""A campaign as one page that stands alone: no scripts, no fonts, no address outside itself."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lockstep.report import figures
from lockstep.report.source import GLYPHS, annotated

SUCCEEDS = "succeeds"
PARTS = ("lines", "branches")
MOST_CHAINS = 200  # shown
MOST_STEPS = 40
SECTIONS = (
    ("failures", "Failures"),
    ("rates", "Rates"),
    ("actions", "Actions"),
    ("matrix", "Reverts"),
    ("coverage", "Contracts"),
    ("model", "Model"),
    ("invariants", "Invariants"),
    ("boundaries", "Boundaries"),
    ("distributions", "Distributions"),
    ("series", "Series"),
    ("counts", "Counts"),
    ("configurations", "Configurations"),
)


def page(summary: dict[str, Any], texts: Mapping[str, str]) -> str:
    """The page. `texts` are the sources that its coverage is shown on, by path."""
    kinds = _kinds(summary["series"])
    failed = summary["divergence"]
    steps = list(enumerate(failed["steps"], 1))[-MOST_STEPS:] if failed else []
    chains = _chains(summary)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            s=summary,
            style=Markup((files(__package__) / "templates" / "style.css").read_text("utf-8")),
            verdict=verdict(summary),
            began=datetime.fromisoformat(summary["timing"]["began"]).strftime(
                "%-d %B %Y, %H:%M UTC"
            ),
            sections=SECTIONS,
            figures=_figures(summary),
            last_steps=steps,
            pace=Markup(figures.pace(summary["timing"]["pace"], "pace")),
            chains=chains[:MOST_CHAINS],
            more_chains=len(chains) - MOST_CHAINS if len(chains) > MOST_CHAINS else 0,
            matrix=_matrix(summary["actions"]),
            coverage=_coverage(summary["coverage"], texts),
            glyphs=GLYPHS,
            boundaries=summary["boundaries"],
            features=_other_features(summary),
            distributions=_distributions(summary["distributions"]),
            series=_series(summary["series"], kinds),
            series_title=", ".join(dict.fromkeys(item["title"] for item in summary["series"]))
            or "Series",
            series_chains=len({item["chain"] for item in summary["series"]}),
            legend=_legend(summary["series"], kinds),
            none_recorded=Markup('<p class="lead">Not recorded by this campaign.</p>'),
        )
    )


def verdict(summary: dict[str, Any]) -> str:
    """The outcome in a sentence."""
    failed = summary["divergence"]
    if failed is not None:
        return f"Divergence in chain {failed['chain']}: {failed['kind']}"
    if summary["interrupted"]:
        return f"Interrupted after {summary['steps']:,} steps, no divergence in them"
    return f"No divergence in {summary['steps']:,} steps"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lockstep.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["n"] = _number
    environment.filters["pct"] = lambda share: f"{share:.1%}"
    environment.filters["by_count"] = lambda counts: sorted(
        counts.items(), key=lambda item: (-item[1], item[0])
    )
    return environment


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _figures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    actions = summary["actions"].values()
    invariants = summary["invariants"].values()
    return [
        ("Steps", f"{summary['steps']:,}"),
        ("Steps per second", f"{summary['steps_per_second']:,}"),
        (
            "Actions reached",
            f"{sum(entry['steps'] > 0 for entry in actions):,} of {len(actions):,}",
        ),
        ("Revert reasons", f"{len({name for entry in actions for name in entry['reverts']}):,}"),
        ("Invariant checks", f"{sum(entry['checked'] for entry in invariants):,}"),
        *_covered(summary["coverage"]),
    ]


def _covered(coverage: Mapping[str, Any]) -> list[tuple[str, str]]:
    shares = []
    for group, entries in coverage.items():
        pairs = [entry[what] for entry in entries.values() for what in PARTS]
        total = sum(pair[1] for pair in pairs)
        if total:
            share = sum(pair[0] for pair in pairs) / total
            shares.append((f"{group.capitalize()} covered", f"{share:.1%}"))
    return shares


def _chains(summary: dict[str, Any]) -> list[dict[str, Any]]:
    timing = {row["chain"]: row for row in summary["timing"]["chains"]}
    rows = []
    for chain in summary["each_chain"]:
        row = {**timing[chain["chain"]], **chain}
        rows.append(row | {"rate": round(row["steps"] / row["seconds"]) if row["seconds"] else 0})
    return rows


def _matrix(actions: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of reasons, columns of actions, the heat of a cell from 0 to 1."""
    counts = {
        name: {SUCCEEDS: entry["succeeded"], **entry["reverts"]} for name, entry in actions.items()
    }
    reasons = sorted({reason for entry in actions.values() for reason in entry["reverts"]})
    most = max((count for row in counts.values() for count in row.values()), default=0)
    rows = []
    for reason in (SUCCEEDS, *reasons):
        cells = [counts[name].get(reason, 0) for name in actions]
        rows.append(
            {
                "name": reason,
                "cells": [(count, _heat(count, most)) for count in cells],
                "total": sum(cells),
            }
        )
    return {"columns": list(actions), "rows": rows}


def _heat(count: int, most: int) -> float:
    return round(0.1 + 0.9 * math.log1p(count) / math.log1p(most), 3) if count else 0.0


def _coverage(coverage: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    return {
        group: [
            {
                "path": path,
                **entry,
                "left": sum(not item["reason"] for item in entry["missed"]),
                "rows": annotated(path, texts[path], entry),
            }
            for path, entry in entries.items()
        ]
        for group, entries in coverage.items()
    }


def _other_features(summary: Mapping[str, Any]) -> dict[str, int]:
    boundaries = summary["boundaries"]
    return {
        name: count
        for name, count in sorted(summary["features"].items())
        if name.rpartition(": ")[0] not in boundaries
    }


def _distributions(distributions: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        item
        | {
            "bins": list(zip(_labels(item["edges"]), item["counts"], strict=True)),
            "figure": Markup(figures.histogram(item, f"d{i}")),
        }
        for i, item in enumerate(distributions.values())
    ]


def _labels(edges: Sequence[float]) -> list[str]:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more"]


def _series(series: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[dict[str, Any]]:
    return [
        item | {"figure": Markup(figures.lines(item, kinds, f"s{i}"))}
        for i, item in enumerate(series)
    ]


def _kinds(series: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({kind for item in series for kind in item["marked"]})


def _legend(series: Sequence[dict[str, Any]], kinds: Sequence[str]) -> list[tuple[str, str, int]]:
    return [
        (
            figures.GLYPHS[i % len(figures.GLYPHS)],
            kind,
            sum(item["marked"].get(kind, 0) for item in series),
        )
        for i, kind in enumerate(kinds)
    ]

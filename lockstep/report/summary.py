"""Everything that is known of a campaign as plain JSON values: what every report is made from."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from lockstep.adapter import Adapter, Config
from lockstep.campaign import Divergence, Plan, Result
from lockstep.coverage.recorder import scope_of
from lockstep.story import tell
from lockstep.tally import Chain

FORMAT = 1
PACKAGES = ("vyper", "pyrevm", "py-evm")  # what a figure may depend on
LONGEST_STORY = 200  # steps


def campaign_summary(
    plan: Plan, processes: int, result: Result, found: Divergence | None, began: float
) -> dict[str, Any]:
    """The summary; `began` is the unix time of the start, `found` the failure as shrunk."""
    tally = result.tally
    ran = sorted(tally.ran)
    return {
        "format": FORMAT,
        "title": f"{plan.adapter.name} on {plan.engine}, seed {plan.seed_text}",
        "adapter": plan.adapter.name,
        "engine": plan.engine,
        "seed": plan.seed,
        "last_seed": plan.seed + plan.seeds - 1,
        "planned_steps": plan.steps * plan.seeds,
        "length": plan.length,
        "processes": processes,
        "configs": [dict(config) for config in plan.configs],
        "corpus": _corpus(plan),
        "versions": versions(),
        "interrupted": result.interrupted,
        "verdict": _verdict(result, found),
        **tally.summary(),
        "each_chain": _chains(plan, ran),
        "divergence": _failure(plan, found),
        "timing": {
            "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            "pace": [[round(seconds, 3), steps] for seconds, steps in tally.pace],
            "chains": [
                {
                    "chain": chain.number,
                    "worker": chain.worker,
                    "began": round(max(chain.began - began, 0.0), 3),
                    "seconds": round(chain.seconds, 3),
                }
                for chain in ran
            ],
            "processes": _processes(ran),
        },
    }


def source_texts(adapter: Adapter, summary: dict[str, Any]) -> dict[str, str]:
    """What the covered files say, as the adapter has them compiled, by their path."""
    scope = scope_of(adapter)
    return {path: scope.text(path) for group in summary["coverage"].values() for path in group}


def _corpus(plan: Plan) -> dict[str, Any]:
    """What the campaign began from."""
    entries = plan.corpus.entries if plan.corpus else ()
    begun = sum("entry" in chain.config for chain in plan.chains())
    digest = plan.corpus.digest if plan.corpus else "none"
    return {"digest": digest, "entries": len(entries), "chains": begun}


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _verdict(result: Result, found: Divergence | None) -> str:
    if found is not None:
        return "divergence"
    return "interrupted" if result.interrupted else "agreement"


def _chains(plan: Plan, ran: Sequence[Chain]) -> list[dict[str, Any]]:
    planned = {chain.number: chain for chain in plan.chains()}
    return [
        {
            "chain": chain.number,
            "seed": planned[chain.number].seed,
            "config": _config(plan, planned[chain.number].config),
            "entry": planned[chain.number].config.get("entry"),
            "steps": chain.steps,
            "outcome": chain.outcome,
        }
        for chain in ran
    ]


def _config(plan: Plan, config: Config) -> int:
    """Which of the plan's the chain's is, that one having more besides."""
    fitting = [i for i, own in enumerate(plan.configs) if own.items() <= config.items()]
    return max(fitting, key=lambda i: len(plan.configs[i]))


def _processes(ran: Sequence[Chain]) -> list[dict[str, Any]]:
    """What each process did, in the order of their first chains."""
    of: dict[str, list[Chain]] = {}
    for chain in ran:
        of.setdefault(chain.worker, []).append(chain)
    rows = []
    for worker, chains in of.items():
        steps = sum(chain.steps for chain in chains)
        seconds = sum(chain.seconds for chain in chains)
        rows.append(
            {
                "worker": worker,
                "chains": len(chains),
                "steps": steps,
                "seconds": round(seconds, 3),
                "steps_per_second": round(steps / seconds) if seconds else 0,
            }
        )
    return rows


def _failure(plan: Plan, found: Divergence | None) -> dict[str, Any] | None:
    if found is None:
        return None
    told: list[str] = []
    if len(found.steps) <= LONGEST_STORY:
        told = tell(plan.adapter, found.config, found.steps, found.engine, found.text)
    kind, _, name = found.kind.partition(" ")
    return {
        "kind": found.kind,
        "text": found.text,
        "invariant": name if kind == "invariant" else None,
        "chain": found.chain,
        "engine": found.engine,
        "config": found.config,
        "steps": [list(step) for step in found.steps],
        "story": told,
        "regression": found.regression,
        "case": found.case,
        "minimal": found.minimal,
        "replay": [f"python -m pytest {found.regression}"] if found.regression else [],
    }

"""A campaign as JUnit XML: a case for the agreement, for every chain, for every invariant."""

import json
import re
from io import BytesIO
from typing import Any

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from lockstep.story import numbered
from lockstep.tally import STOPPED

AGREEMENT = "agreement"
# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(summary: dict[str, Any]) -> str:
    """The summary as a JUnit document."""
    failure = summary["divergence"]
    name = _plain(summary["adapter"])
    xml = JUnitXml(name)
    suites = (
        (AGREEMENT, [_agreement(name, summary, failure)]),
        ("chains", [_chain(name, chain, summary, failure) for chain in summary["each_chain"]]),
        (
            "invariants",
            [
                _invariant(name, identifier, entry, failure)
                for identifier, entry in summary["invariants"].items()
            ],
        ),
    )
    for title, cases in suites:
        suite = TestSuite(f"{name}.{title}")
        suite.timestamp = summary["timing"]["began"][:19]  # the schema has no zone: it is UTC
        if title == AGREEMENT:
            for key, value in _properties(summary).items():
                suite.add_property(key, _plain(str(value)))
        suite.add_testcases(cases)
        xml.add_testsuite(suite)
    # The package's own sums have one that the usual schema does not know: of those skipped.
    xml.tests = sum(suite.tests for suite in xml)
    xml.failures = sum(suite.failures for suite in xml)
    xml.errors = 0
    xml.time = summary["seconds"]
    out = BytesIO()
    xml.write(out)
    return out.getvalue().decode()


def _properties(summary: dict[str, Any]) -> dict[str, Any]:
    names = ("engine", "seed", "planned_steps", "steps", "steps_per_second", "verdict")
    return {**{name: summary[name] for name in names}, **summary["versions"]}


def _agreement(name: str, summary: dict[str, Any], failure: dict[str, Any] | None) -> TestCase:
    case = TestCase("model and contract agree", f"{name}.{AGREEMENT}", summary["seconds"])
    if failure is not None and failure["invariant"] is None:
        case.result = [_failure(failure)]
    elif summary["interrupted"]:
        case.result = [Skipped(f"interrupted after {summary['steps']:,} steps")]
    return case


def _chain(
    name: str, chain: dict[str, Any], summary: dict[str, Any], failure: dict[str, Any] | None
) -> TestCase:
    number = chain["chain"]
    seconds = {row["chain"]: row["seconds"] for row in summary["timing"]["chains"]}
    case = TestCase(
        f"chain {number}, configuration {chain['config']}", f"{name}.chains", seconds[number]
    )
    if failure is not None and failure["chain"] == number:
        case.result = [_failure(failure)]
    elif chain["outcome"] == STOPPED:
        case.result = [Skipped(f"stopped after {chain['steps']:,} steps")]
    case.system_out = _plain(f"{chain['steps']:,} steps, seed {chain['seed']}")
    return case


def _invariant(
    name: str, identifier: str, entry: dict[str, Any], failure: dict[str, Any] | None
) -> TestCase:
    case = TestCase(_plain(f"{identifier}: {entry['sentence']}"), f"{name}.invariants", 0)
    if failure is not None and failure["invariant"] == identifier:
        case.result = [_failure(failure)]
    elif not entry["checked"]:
        case.result = [Skipped("never checked")]
    case.system_out = f"checked {entry['checked']:,} times"
    return case


def _failure(failure: dict[str, Any]) -> Failure:
    first = failure["text"].splitlines()[0] if failure["text"] else failure["kind"]
    told = Failure(_plain(first), _plain(failure["kind"]))
    lines = [failure["text"], "", numbered(failure["story"]), ""]
    lines += [f"configuration {json.dumps(failure['config'])}", *failure["replay"]]
    if failure["case"]:
        lines.append(f"case {failure['case']}")
    told.text = _plain("\n".join(lines))
    return told


def _plain(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)

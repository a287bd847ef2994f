"""The gas of a part of the scenarios is the recorded one; all that is recorded is within limits."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockstep import abi
from lockstep.engines.base import GENESIS_TIME
from lockstep.engines.pyevm import PyEvmEngine
from lockstep.errors import InputError
from perp_fuzz import gas, gas_command
from perp_fuzz.deployment import ADDRESSES, deploy
from perp_fuzz.gas import GROUPS, PARTS, GasEngine, Usage, limit_of, measure
from perp_fuzz.gas_command import DOCUMENT, SNAPSHOT, document_with, problems, read_snapshot

QUICK = ("publish 10", "publish 1,000", "trading", "20 with credit", "20 with bad debt")


def recorded_limits() -> dict[str, int | None]:
    rows = {name: Usage(row["gas"], {}) for name, row in read_snapshot(SNAPSHOT).items()}
    return {name: limit_of(name, rows) for name in rows}


@pytest.mark.slow
def test_measured_gas_is_the_recorded_gas() -> None:
    rows = measure(QUICK)
    recorded = read_snapshot(SNAPSHOT)
    assert {f"each of 20 liquidated, {kind}" for kind in (gas.CREDIT, gas.BAD_DEBT)} <= set(rows)
    for name, usage in rows.items():
        assert {"gas": usage.gas, **usage.parts} == recorded[name], name
        assert sum(usage.parts.values()) == usage.gas, name
        limit = limit_of(name, rows)
        assert limit is None or usage.gas <= limit, name


def test_recorded_gas_is_within_its_limits() -> None:
    recorded, limits = read_snapshot(SNAPSHOT), recorded_limits()
    assert {*gas.LIMITS, gas.FLAT_ROW} == {name for name in limits if limits[name] is not None}
    assert problems(recorded, recorded, limits) == []


def test_document_shows_the_record() -> None:
    text = DOCUMENT.read_text()
    assert document_with(read_snapshot(SNAPSHOT), recorded_limits(), text) == text


def test_tracing_changes_no_gas() -> None:
    used = []
    for engine in (PyEvmEngine(), GasEngine()):
        system = deploy(engine, gas.CONFIG)
        engine.set_time(GENESIS_TIME + 60)
        data = abi.selector("accrue()")
        used.append(engine.call(ADDRESSES["keeper_0"], system.market.address, data).gas)
        if isinstance(engine, GasEngine):
            assert engine.last.gas == sum(engine.last.parts[part] for part in PARTS)
    assert used[0] == used[1] > 21_000


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ({"a": {"gas": 10}}, []),
        ({"a": {"gas": 11}}, ["a: 11 gas, recorded are 10"]),
        ({"a": {"gas": 9}}, ["a: 9 gas, recorded are 10"]),
        ({}, ["a: in the snapshot only"]),
        ({"a": {"gas": 10}, "b": {"gas": 1}}, ["b: not in the snapshot"]),
        (
            {"a": {"gas": 13}},
            ["a: 13 gas is over the limit of 12", "a: 13 gas, recorded are 10"],
        ),
        ({"a": {"gas": 10, "base": 1}}, ["a: the same gas, paid for other things than recorded"]),
    ],
)
def test_any_difference_is_a_problem(rows: dict[str, dict[str, int]], found: list[str]) -> None:
    assert problems(rows, {"a": {"gas": 10}}, {"a": 12, "b": None}) == found


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {}}', '{"a": {"gas": "1"}}'])
def test_broken_snapshot_is_bad_input(tmp_path: Path, content: str) -> None:
    path = tmp_path / "gas.json"
    path.write_text(content)
    with pytest.raises(InputError, match="not a snapshot of gas; record it"):
        read_snapshot(path)


def test_missing_snapshot_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no snapshot; record it"):
        read_snapshot(tmp_path / "gas.json")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The command's two files elsewhere, and one cheap group to measure."""
    snapshot, document = tmp_path / "gas.json", tmp_path / "gas.md"
    document.write_text(f"before\n{''.join(gas_command.MARKS)}after\n")
    monkeypatch.setattr(gas_command, "SNAPSHOT", snapshot)
    monkeypatch.setattr(gas_command, "DOCUMENT", document)
    monkeypatch.setattr(gas, "GROUPS", {"publish 10": GROUPS["publish 10"]})
    monkeypatch.setattr(gas, "LIMITS", {})
    return snapshot, document


def test_command_records_and_compares(places: tuple[Path, Path]) -> None:
    snapshot, document = places
    run = CliRunner().invoke
    command = gas_command.gas_command()
    assert run(command, ["--update"]).exit_code == 0
    rows = json.loads(snapshot.read_text())
    assert list(rows) == [
        "publish, 10 open positions",
        "update alone, 10 open positions",
        "solvency(), 10 open positions",
    ]
    assert f"| {rows['publish, 10 open positions']['gas']:,} |" in document.read_text()
    assert run(command, []).exit_code == 0
    rows["publish, 10 open positions"]["gas"] += 1
    snapshot.write_text(json.dumps(rows))
    result = run(command, [])
    assert result.exit_code == 1
    assert "gas, recorded are" in result.output


def test_command_says_in_one_line_what_it_cannot_use(places: tuple[Path, Path]) -> None:
    snapshot, document = places
    run = CliRunner().invoke
    command = gas_command.gas_command()
    document.write_text("no table\n")
    result = run(command, ["--update"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "its table is not between" in result.output
    document.unlink()
    result = run(command, ["--update"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    snapshot.mkdir()
    result = run(command, ["--update"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "is a directory" in result.output

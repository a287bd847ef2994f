"""What the mutators change, what they leave alone, and how mutants are named and chosen."""

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from lockstep.mutation.compilation import InvalidMutant, compile_initcode
from lockstep.mutation.mutants import OPERATORS, Mutant, sample
from lockstep.mutation.planting import code_digest
from lockstep.mutation.python_source import Vocabulary, python_mutants
from lockstep.mutation.vyper_source import reached, vyper_mutants
from tests.mutation.purse import CONTRACT, MODEL, ROOT

VYPER = vyper_mutants([CONTRACT], ROOT)
TEXT = (ROOT / CONTRACT).read_text()
PYTHON = python_mutants(MODEL, ROOT, Vocabulary({MODEL: (ROOT / MODEL).read_text()}))
# What a reader expects of each operator; before and after are lines.
EXPECTED = [
    ("edge", 'assert amount <= LARGEST, "too much"', 'assert amount < LARGEST, "too much"'),
    ("edge", 'self._require(amount > 0, "nothing")', 'self._require(amount >= 0, "nothing")'),
    ("relational", "if saving.amount == 0:", "if saving.amount != 0:"),
    ("relational", "if i == 1:", "if i >= 1:"),
    (
        "condition",
        'assert saving.is_open and saving.amount >= amount, "too little"',
        'assert (saving.is_open or (saving.amount >= amount)), "too little"',
    ),
    (
        "condition",
        'assert saving.is_open and saving.amount >= amount, "too little"',
        'assert True and saving.amount >= amount, "too little"',
    ),
    ("condition", 'assert not self._locked, "locked"', 'assert self._locked, "locked"'),
    ("arithmetic", "return x // y", "return (x * y)"),
    ("arithmetic", "self.fees += fee", "self.fees -= fee"),
    (
        "arithmetic",
        "self.given_of[msg.sender] = max(self.given_of[msg.sender], amount)",
        "self.given_of[msg.sender] = min(self.given_of[msg.sender], amount)",
    ),
    (
        "rounding",
        "fee: uint256 = self._div_up(amount * FEE, UNIT)",
        "fee: uint256 = self._div_down(amount * FEE, UNIT)",
    ),
    ("rounding", "return (x + y - 1) // y", "return ((x + y)) // y"),
    ("statement", "self.fees += fee", "pass"),
    ("statement", "saving.since = block.timestamp", "pass"),
    (
        "statement",
        "saving: Saving = self.saving_of[msg.sender]",
        "saving: Saving = empty(Saving)",
    ),
    ("statement", "break", "continue"),
    ("assertion", 'assert amount <= LARGEST, "too much"', "pass"),
    ("assertion", 'self._require(amount > 0, "nothing")', "pass"),
    ("assertion", 'raise "too early"', "pass"),
    (
        "arguments",
        "fee: uint256 = self._div_up(amount * FEE, UNIT)",
        "fee: uint256 = self._div_up(UNIT, amount * FEE)",
    ),
    (
        "event",
        "log Saved(who=msg.sender, amount=amount, fee=fee)",
        "log Saved(who=msg.sender, amount=fee, fee=amount)",
    ),
    ("event", "log Saved(who=msg.sender, amount=amount, fee=fee)", "pass"),
    ("constant", "FEE: constant(uint256) = 30", "FEE: constant(uint256) = 31"),
    ("constant", "saving.is_open = True", "saving.is_open = False"),
    ("constant", "saving.since = block.timestamp", "saving.since = (block.timestamp + 1)"),
    (
        "constant",
        "fee: uint256 = self._div_up(amount * FEE, UNIT)",
        "fee: uint256 = self._div_up(amount * UNIT, UNIT)",
    ),
    ("variable", "self.fees += fee", "self.fees += amount"),
    ("storage", "self.fees += fee", "self.total += fee"),
    ("storage", "self.spent_of[msg.sender] += amount", "self.given_of[msg.sender] += amount"),
    ("field", "saving.amount -= amount", "saving.since -= amount"),
    ("sender", "self.saving_of[msg.sender] = saving", "self.saving_of[self] = saving"),
    ("lock", "self._enter()", "pass"),
    ("lock", "self._exit()", "pass"),
]


def found(mutants: list[Mutant]) -> set[tuple[str, str, str]]:
    return {(mutant.operator, mutant.before, mutant.after) for mutant in mutants}


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda item: f"{item[0]}: {item[2]}")
def test_each_operator_makes_what_its_name_says(expected: tuple[str, str, str]) -> None:
    assert expected in found(VYPER)


def test_every_operator_has_a_mutant_in_vyper() -> None:
    assert {mutant.operator for mutant in VYPER} == set(OPERATORS)


def test_what_says_the_same_of_an_unsigned_number_is_left_out() -> None:
    after = {mutant.after for mutant in VYPER if mutant.before == "if saving.amount == 0:"}
    assert "if saving.amount > 0:" in after
    assert "if saving.amount <= 0:" not in after


def test_nodes_end_where_they_end_behind_a_keyword_of_vyper() -> None:
    line = "return staticcall clock.offset() >= before + self.total"
    after = {mutant.after for mutant in VYPER if mutant.before == line}
    assert "return staticcall clock.offset() > before + self.total" in after
    assert "return staticcall clock.offset() >= (before - self.total)" in after
    assert "return staticcall clock.offset() >= before" in after


def test_no_mutant_touches_comments_documentation_or_pragmas() -> None:
    def prose(text: str) -> list[str]:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        documentation = [token.string for token in tokens if token.string.startswith('"""')]
        return [token.string for token in tokens if token.type == tokenize.COMMENT] + documentation

    for mutant in VYPER:
        assert prose(mutant.apply(TEXT)) == prose(TEXT)


def test_nearly_all_mutants_compile() -> None:
    """Many of the purse, some of a contract with external calls: under one in twenty may not."""
    other = "contracts/AggregatorPriceFeed.vy"
    invalid = 0
    chosen = [*sample(VYPER, 20, 1), *sample(vyper_mutants([other], ROOT), 5, 1)]
    for mutant in chosen:
        text = mutant.apply((ROOT / mutant.file).read_text())
        try:
            compile_initcode(mutant.file, ROOT, {mutant.file: text})
        except InvalidMutant:
            invalid += 1
    assert invalid * 20 < len(chosen)


def test_a_mutant_is_named_by_what_it_says_not_by_where_it_stands(tmp_path: Path) -> None:
    moved = TEXT.replace("# pragma version 0.4.3\n", "# pragma version 0.4.3\n\n\n")
    (tmp_path / CONTRACT).parent.mkdir(parents=True)
    (tmp_path / CONTRACT).write_text(moved)
    again = vyper_mutants([CONTRACT], tmp_path)
    assert [item.id for item in again] == [item.id for item in VYPER]
    assert all(new.line == old.line + 2 for new, old in zip(again, VYPER, strict=True))
    assert len({item.id for item in VYPER}) == len(VYPER)


def test_edges_of_guards_are_known_as_such() -> None:
    edges = {mutant.before for mutant in VYPER if mutant.is_edge}
    assert 'assert amount <= LARGEST, "too much"' in edges
    assert "if block.timestamp < saving.since + 60:" in edges
    assert "return staticcall clock.offset() >= before + self.total" not in edges


def test_the_sample_has_its_share_of_each_file_and_operator() -> None:
    everything = [*VYPER, *PYTHON]
    chosen = sample(everything, 80, 7)
    assert len(chosen) == 80
    assert chosen == sample(everything[::-1], 80, 7)[::-1]
    assert chosen != sample(everything, 80, 8)
    groups = Counter((item.file, item.operator) for item in everything)
    counted = Counter((item.file, item.operator) for item in chosen)
    assert set(counted) == set(groups)
    for group, count in groups.items():
        assert abs(counted[group] - count * 80 / len(everything)) <= 2
    assert sample(everything, 10**6, 7) == everything


def test_mutants_of_the_model_are_mutants_of_its_functions() -> None:
    changes = found(PYTHON)
    assert (
        "rounding",
        "fee = _div_up(amount * FEE, UNIT)",
        "fee = _div_down(amount * FEE, UNIT)",
    ) in changes
    assert (
        "edge",
        '_require(amount <= self.largest, "too much")',
        '_require(amount < self.largest, "too much")',
    ) in changes
    assert ("assertion", '_require(amount > 0, "nothing")', "pass") in changes
    assert ("storage", "self.fees += fee", "self.total += fee") in changes
    assert ("statement", "self.total -= amount", "pass") in changes
    assert ("condition", "if not ok:", "if ok:") in changes
    assert not [item for item in PYTHON if item.line <= 4]
    text = (ROOT / MODEL).read_text()
    for mutant in PYTHON:
        ast.parse(mutant.apply(text))
        assert code_digest(MODEL, mutant.apply(text))


def test_a_deployable_contains_what_its_functions_reach() -> None:
    functions = reached(ROOT / CONTRACT, ROOT)
    assert (CONTRACT, "_div_up") in functions
    assert (CONTRACT, "_div_down") not in functions

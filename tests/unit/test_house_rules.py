"""Each house rule fails on the text it forbids and is silent on the text it asks for."""

import subprocess
from pathlib import Path

import pytest

from lockstep.compiler import compile_vyper
from scripts._ci import check_sizes, check_style

GOOD_CONTRACT = '''# pragma version 0.4.3
"""
@title Vault
@custom:kill Set the flag.
"""
version: public(constant(String[8])) = "0.1.0"

@external
def poke(amount: uint256) -> uint256:
    """
    @notice Costs 3 / 4 of nothing.
    """
    return amount  # 100 % of it
'''


def messages(name: str, source: str) -> list[tuple[int, str]]:
    return [(line, message) for _, line, message in check_style.check_file(name, source)]


def test_tidy_contract_has_no_finding() -> None:
    assert messages("contracts/Vault.vy", GOOD_CONTRACT) == []


@pytest.mark.parametrize(
    ("right", "wrong", "finding"),
    [
        ("@custom:kill", "@custom:end", (1, "the heading says nothing under @custom:kill")),
        ("public(constant", "(constant", (1, "no `version: public(constant(String[..]))`")),
        ("@notice ", "", (9, "external `poke` has no @notice")),
        ("return amount", "return amount // 2", (13, "bare division: use a helper of fixed_point")),
        ("return amount", "return amount % 2", (13, "bare division: use a helper of fixed_point")),
    ],
)
def test_contract_rule_can_fail(right: str, wrong: str, finding: tuple[int, str]) -> None:
    assert messages("contracts/Vault.vy", GOOD_CONTRACT.replace(right, wrong)) == [finding]


def test_contract_without_any_docstring_is_found() -> None:
    bare = GOOD_CONTRACT.replace('"""', "#").replace("@title", "#").replace("@custom", "#")
    bare = "\n".join(line for line in bare.splitlines() if "@notice" not in line)
    assert messages("contracts/Vault.vy", bare) == [
        (1, "the heading says nothing under @custom:kill"),
        (9, "external `poke` has no @notice"),
    ]


def test_division_is_allowed_in_fixed_point_only() -> None:
    vyper = "@internal\n@pure\ndef _half(x: uint256) -> uint256:\n    return x // 2\n"
    python = "def _half(x: int) -> int:\n    x //= 2\n    return x\n"
    assert messages("contracts/modules/fixed_point.vy", vyper) == []
    assert messages("python_model/modules/fixed_point.py", python) == []
    assert [line for line, _ in messages("contracts/modules/margin_math.vy", vyper)] == [4]
    assert [line for line, _ in messages("python_model/modules/margin_math.py", python)] == [2]


def test_allowed_function_may_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def _word(bit: int) -> int:\n    return bit // 256\n"
    name = "python_model/modules/trigger_index.py"
    assert len(messages(name, source)) == 1
    monkeypatch.setattr(check_style, "DIVISION_ALLOWED", frozenset({f"{name}:_word"}))
    assert messages(name, source) == []


def test_model_imports_only_the_standard_library() -> None:
    name = "python_model/perp_market.py"
    good = "import dataclasses\nfrom python_model.evm import Chain\n"
    assert messages(name, good) == []
    found = messages(name, good + "import numpy as np\nfrom eth_abi.abi import encode\n")
    assert found == [(3, "the model imports `numpy`"), (4, "the model imports `eth_abi.abi`")]


def test_stock_names_are_refused_in_tests() -> None:
    source = "def test_close(accounts):\n    bob = accounts[0]\n"
    found = {message.split("`")[1] for _, message in messages("tests/unit/test_x.py", source)}
    assert found == {"accounts", "bob"}
    fixture = "def trader(accounts):\n    return accounts[0]\n"
    assert messages("tests/integration/conftest.py", fixture) == []


@pytest.mark.parametrize(
    "text",
    [
        "https://" + "registry." + "example.org/x",
        "https://" + "example.org/files/x.whl",
        "--find" + "-links wheels",
        '  "res' + 'olved": "x"',
        "from " + "/" + "work/main",
        "see /" + "home/someone/x",
        "file:" + "///x",
    ],
)
def test_machine_and_registry_are_not_named(text: str) -> None:
    assert [line for line, _ in messages("docs/a.md", f"first\n{text}\n")] == [2]
    assert messages("docs/a.md", "a network/root/work path, and/or home/page\n") == []


def test_tree_check_reads_files_git_would_track(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "python_model").mkdir()
    (tmp_path / "python_model" / "thing.py").write_text("HALF = 1 / 2\n")
    (tmp_path / "ignored.md").write_text("/" + "root/x\n")
    (tmp_path / ".gitignore").write_text("ignored.md\n")
    findings = check_style.check_tree(tmp_path)
    assert [(name, line) for name, line, _ in findings] == [("python_model/thing.py", 1)]


def test_size_report_counts_contracts_at_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_sizes.report({"Small": 99, "Equal": 100, "Large": 101}, limit=100) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("TOO LARGE") for line in lines[1:]] == [False, True, True]


def test_sizes_include_immutables(tmp_path: Path) -> None:
    folder = tmp_path / "contracts"
    folder.mkdir()
    source = "A: immutable(uint256)\nB: immutable(address)\n@deploy\ndef __init__():\n    A = 1\n"
    (folder / "Pair.vy").write_text(f"{source}    B = msg.sender\n")
    artifact = compile_vyper("contracts/Pair.vy", root=tmp_path)
    assert artifact.immutables == 64
    assert check_sizes.runtime_sizes(tmp_path) == {"Pair": len(artifact.runtime) + 64}

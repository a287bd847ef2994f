"""What ape deploys is what is fuzzed: two ways to the compiler, one code."""

from pathlib import Path

from lockstep.compiler import compile_vyper

ROOT = Path(__file__).resolve().parents[2]


def test_ape_and_the_fuzzer_compile_the_same_code(project):
    """Ape's has metadata behind the initcode; the runtime code must be equal."""
    differing = []
    contracts = sorted(ROOT.glob("contracts/[A-Z]*.vy"))
    assert contracts
    for path in contracts:
        of_ape = project.get_contract(path.stem).contract_type.runtime_bytecode.bytecode
        if bytes.fromhex(of_ape.removeprefix("0x")) != compile_vyper(path, root=ROOT).runtime:
            differing.append(path.stem)
    assert differing == []

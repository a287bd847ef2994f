"""What is compiled: the compiler's own code, of the sources as they are."""

from pathlib import Path

import pytest
from vyper.compiler.settings import anchor_settings

from lockstep.compiler import Sources, compile_vyper

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["AggregatorPriceFeed", "MarketFactory"])
def test_the_faster_compiler_writes_the_same_code(name: str) -> None:
    """The stories compare every contract with what ape compiles."""
    path = f"contracts/{name}.vy"
    data, _ = Sources.of(path, ROOT).load()
    with anchor_settings(data.settings):
        assert compile_vyper(path, root=ROOT).initcode == data.bytecode


def test_overrides_and_cache(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "Main.vy").write_text(
        "from modules import rate\n\n\n@external\ndef f() -> uint256:\n    return rate.ONE\n"
    )
    module = tmp_path / "modules" / "rate.vy"
    module.write_text("ONE: constant(uint256) = 1\n")
    plain = compile_vyper("Main.vy", root=tmp_path)
    assert compile_vyper("Main.vy", root=tmp_path) == plain
    entries = len(list((tmp_path / ".cache/lockstep").iterdir()))
    two = "ONE: constant(uint256) = 2\n"
    planted_two = compile_vyper("Main.vy", root=tmp_path, overrides={"modules/rate.vy": two})
    assert planted_two.runtime != plain.runtime
    assert len(list((tmp_path / ".cache/lockstep").iterdir())) == entries + 1
    assert compile_vyper("Main.vy", root=tmp_path) == plain  # the tree was not touched
    module.write_text(two)
    assert compile_vyper("Main.vy", root=tmp_path).runtime == planted_two.runtime
    assert compile_vyper("tests/lockstep/Vault.vy", root=ROOT).slot("total") == 2
    with pytest.raises(KeyError, match="no storage variable 'nothing'"):
        plain.slot("nothing")

"""Runtime size of every deployable, immutables included. Exits 1 when one reaches the limit."""

import sys
import sysconfig
from pathlib import Path
from typing import Any

from vyper.compiler import compile_from_file_input
from vyper.compiler.input_bundle import FilesystemInputBundle

from lockstep.compiler import compile_vyper

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 22_000  # bytes; a chain refuses 24,577


def immutable_bytes(layout: dict[str, Any]) -> int:
    """Length of the data section the constructor appends to the code."""
    ends = [
        item["offset"] + item["length"] if "offset" in item else immutable_bytes(item)
        for item in layout.values()
    ]
    return max(ends, default=0)


def runtime_sizes(root: Path) -> dict[str, int]:
    """Bytes of code on chain by contract name."""
    sizes = {}
    for path in sorted((root / "contracts").glob("*.vy")):
        artifact = compile_vyper(path.relative_to(root), root=root)
        sizes[path.stem] = len(artifact.runtime) + immutable_bytes(code_layout(path, root))
    return sizes


def code_layout(path: Path, root: Path) -> dict[str, Any]:
    bundle = FilesystemInputBundle([Path(sysconfig.get_paths()["purelib"]), root])
    file = bundle.load_file(path)
    layout = compile_from_file_input(file, input_bundle=bundle, output_formats=["layout"])["layout"]
    found: dict[str, Any] = layout.get("code_layout", {})
    return found


def report(sizes: dict[str, int], limit: int = LIMIT) -> int:
    """Print the table; the number of contracts at or over the limit."""
    print(f"{'contract':<20} {'bytes':>7} {'left':>7}   runtime code, limit {limit:,}")
    for name, size in sizes.items():
        mark = "" if size < limit else "   TOO LARGE"
        print(f"{name:<20} {size:>7,} {limit - size:>7,}{mark}")
    return sum(size >= limit for size in sizes.values())


def main() -> int:
    sizes = runtime_sizes(ROOT)
    if not sizes:
        print(
            f"error: no contract in {ROOT / 'contracts'}; run from a whole clone", file=sys.stderr
        )
        return 2
    return 1 if report(sizes) else 0


if __name__ == "__main__":
    sys.exit(main())

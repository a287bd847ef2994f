"""Runtime size of every deployable, immutables included. Exits 1 when one reaches the limit."""

import sys
from pathlib import Path
from typing import Any

from lockstep.compiler import Sources

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
        sources = Sources.of(path, root)
        sizes[path.stem] = len(sources.artifact().runtime) + immutable_bytes(code_layout(sources))
    return sizes


def code_layout(sources: Sources) -> dict[str, Any]:
    """Where the compiler puts immutables, behind the code."""

    def compiled() -> tuple[dict[str, Any], list[str]]:
        data, read = sources.load()
        return data.storage_layout.get("code_layout", {}), read

    return sources.cached(" code layout", compiled)


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

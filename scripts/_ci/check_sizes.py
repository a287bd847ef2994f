"""Runtime size of every deployable, immutables included. Exits 1 when one reaches the limit."""

import sys
from pathlib import Path

from lockstep.compiler import compile_vyper

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 22_000  # bytes; a chain refuses 24,577


def runtime_sizes(root: Path) -> dict[str, int]:
    """Bytes of code on chain by contract name."""
    sizes = {}
    for path in sorted((root / "contracts").glob("*.vy")):
        artifact = compile_vyper(path, root=root)
        sizes[path.stem] = len(artifact.runtime) + artifact.immutables
    return sizes


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

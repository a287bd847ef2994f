"""Find the exact edge of a guard by bisection on the model, so that steps can aim at it."""

from collections.abc import Callable


def largest_accepted(probe: Callable[[int], bool], lo: int, hi: int) -> int | None:
    """Largest x in lo..hi with probe(x), for a probe that accepts up to some point.

    None when even lo is refused.
    """
    if not probe(lo):
        return None
    if probe(hi):
        return hi
    while hi - lo > 1:
        middle = (lo + hi) // 2
        if probe(middle):
            lo = middle
        else:
            hi = middle
    return lo


def smallest_accepted(probe: Callable[[int], bool], lo: int, hi: int) -> int | None:
    """Smallest x in lo..hi with probe(x), for a probe that accepts from some point on.

    None when even hi is refused.
    """
    found = largest_accepted(lambda x: probe(-x), -hi, -lo)
    return None if found is None else -found


def find_edge(probe: Callable[[int], bool], lo: int, hi: int) -> tuple[int, int] | None:
    """Two neighbours in lo..hi on which a monotone probe differs, or None if it never does."""
    first = probe(lo)
    if probe(hi) == first:
        return None
    last_same = largest_accepted(lambda x: probe(x) == first, lo, hi)
    assert last_same is not None
    return last_same, last_same + 1

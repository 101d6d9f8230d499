"""Where a curve of accuracy against sparsity stops being free."""

from collections.abc import Callable, Sequence

ROUNDING = 1e-9
"""A drop of exactly the tolerance is within it, whatever its last bits are."""


def first_violation(levels: Sequence[float], drops: Sequence[float], tolerance: float) -> float:
    """The largest level before the first one that loses more than the tolerance.

    Args:
        levels: sparsities, ascending, fractions.
        drops: dense accuracy minus pruned accuracy at each level.
        tolerance: accuracy that may be lost; 0.01 = one point.

    Returns:
        The essential sparsity; 0.0 when already the first level loses too much.

    Source: Essential Sparsity, section 3.
    """
    found = 0.0
    for level, drop in zip(levels, drops, strict=True):
        if drop > tolerance + ROUNDING:
            break
        found = level
    return found


DETECTORS: dict[str, Callable[[Sequence[float], Sequence[float], float], float]] = {
    "first_violation": first_violation,
}

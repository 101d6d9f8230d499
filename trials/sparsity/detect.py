"""Where a curve of accuracy against sparsity stops being free.

A detector is one function of levels (ascending sparsities), drops (dense accuracy minus pruned
accuracy at each level) and a tolerance. None raises for values that a sweep can produce.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

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


def knee(levels: Sequence[float], drops: Sequence[float], tolerance: float) -> float:
    """The level at which accuracy bends down most: the knee of a concave, decreasing curve.

    The dense point (sparsity 0, drop 0) is prepended. The tolerance counts only where there is
    no knee (a straight or flat curve, fewer than two levels): see `_without_bend`.

    Args, Returns: as `first_violation`.

    Source: Satopaa et al., "Finding a Kneedle in a Haystack" (2011); library kneed, S = 1.
    """
    x, y = _with_dense(levels, drops)
    if len(x) < FEWEST_LEVELS["knee"] + 1 or np.ptp(y) <= ROUNDING:
        return _without_bend(levels, drops, tolerance)
    from kneed import KneeLocator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "no knee found" is answered below
        found = KneeLocator(x, -y, S=1.0, curve="concave", direction="decreasing").knee
    # kneed also names points where the curve is convex, such as the end of a collapse.
    if found is None or y[x == found][0] >= y[-1] * found / x[-1] - ROUNDING:
        return _without_bend(levels, drops, tolerance)
    return float(found)


def changepoint(levels: Sequence[float], drops: Sequence[float], tolerance: float) -> float:
    """The largest level before the curve, as two straight lines, turns steeper.

    Least squares with one change of line, over the levels and the dense point (sparsity 0,
    drop 0). The lines meet at the break; the level at or below it is returned, and never one
    outside the two levels between which the lines change. The tolerance counts only where
    nothing turns steeper downwards or there are fewer than three levels: see `_without_bend`.

    Args, Returns: as `first_violation`.

    Source: Truong et al., "Selective review of offline change point detection methods", Signal
    Processing 167 (2020) 107299; library ruptures, `Dynp` with cost `linear`, which holds for
    uneven levels.
    """
    x, y = _with_dense(levels, drops)
    if len(x) < FEWEST_LEVELS["changepoint"] + 1 or np.ptp(y) <= ROUNDING:
        return _without_bend(levels, drops, tolerance)
    import ruptures

    signal = np.column_stack([y, x, np.ones_like(x)])
    search = ruptures.Dynp(model="linear", min_size=2, jump=1).fit(signal)
    change = int(search.predict(n_bkps=1)[0])
    flat, flat_start = np.polyfit(x[:change], y[:change], 1)
    steep, steep_start = np.polyfit(x[change:], y[change:], 1)
    if steep <= max(flat, 0.0) + ROUNDING:
        return _without_bend(levels, drops, tolerance)
    meeting = (flat_start - steep_start) / (steep - flat)
    meeting = min(max(meeting, x[change - 1]), x[change])
    return float(x[x <= meeting + ROUNDING][-1])


def _with_dense(levels: Sequence[float], drops: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Levels and drops as float64 (L+1,), the dense point first."""
    known = [(s, d) for s, d in zip(levels, drops, strict=True) if s > 0 and np.isfinite(d)]
    x, y = np.array([(0.0, 0.0), *known]).T
    return x, y


def _without_bend(levels: Sequence[float], drops: Sequence[float], tolerance: float) -> float:
    """What a curve without a bend says: all of it is free, or nothing is.

    The highest level when nothing loses more than the tolerance (a lower bound, as for
    `first_violation`), else 0.0.
    """
    free = first_violation(levels, drops, tolerance)
    return free if len(levels) and free == levels[-1] else 0.0


Detector = Callable[[Sequence[float], Sequence[float], float], float]

DETECTORS: dict[str, Detector] = {
    "first_violation": first_violation,
    "knee": knee,
    "changepoint": changepoint,
}

FEWEST_LEVELS = {"first_violation": 1, "knee": 2, "changepoint": 3}
"""Levels above 0 that a detector needs beside the dense model."""

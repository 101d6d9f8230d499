"""Reading an essential sparsity off a curve, with an interval that holds it as often as stated.

`first_violation`. The curve of a sweep is measured at levels; the true drop crosses the
tolerance somewhere between them. At a level s the measured drop d(s) and its half-width h(s)
give the confidence C(s) = Φ(z·(d(s) - tolerance) / h(s)) that the true drop there exceeds the
tolerance; at the true crossing C is uniform, whatever the shape of the curve. Between two levels
C rises in a straight line: where the grid and not the noise is the limit, the crossing is taken
to lie anywhere in the gap alike. `low` is where C first reaches 5 %, but never above the level
that is reported, `high` where it first reaches 95 % (for confidence 95 %).

Both are one-sided limits. Where the grid is the limit, low is the reported level and cannot
miss, so high alone misses, in 5 % of all sweeps. Where noise is the limit, C is read at its first
passage and at many levels, which makes the pair hold about 95 % and not 90 %; two-sided limits
(2.5 %, 97.5 %) hold 98.8 %. Measured on 1,000 random curves, in slices too:
`tests/benchmarks/essential_coverage.json`.

`knee`, `changepoint`: no test can be inverted. The detector reads DRAWS curves, drawn around the
measured one with its standard errors; the limits are the quantiles of what it finds, the upper one
a level further, as the break lies between levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from orchestrator.selection.statistics import z
from trials.detect import DETECTORS, ROUNDING, first_violation

DRAWS = 200
WIDEST = 0.5  # half of all sparsities; see `statistics.sayable`
Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What a detector reads from a curve; the fields are those of `EssentialSparsity`."""

    value: float
    low: float | None
    high: float | None
    bracket: tuple[float, float | None]


def detect(
    points: Sequence[dict[str, Any]], tolerance: float, detector: str, confidence: float = 0.95
) -> Detection:
    """Read a detector of `trials.detect` off a curve, with its interval (module docstring).

    Limits further apart than WIDEST are left out, and so is a lower one of 0 without an upper one.

    Args:
        points: rows of `one_shot_curve`, ascending in `sparsity`; those without a drop are
            left out.
        tolerance: accuracy that may be lost, a fraction.
        detector: a key of `trials.detect.DETECTORS`.
        confidence: of `low` and `high`; the one at which `drop_high` was computed.
    """
    known = [p for p in points if p["drop"] is not None and p["sparsity"] > 0]
    levels = [float(p["sparsity"]) for p in known]
    drops = np.array([p["drop"] for p in known], dtype=np.float64)
    halves = np.array([_half_width(p) for p in known], dtype=np.float64)
    read = DETECTORS[detector]
    value = read(levels, drops.tolist(), tolerance)
    beyond = next((level for level in levels if level > value), None)
    if read is first_violation:
        low, high = crossing_interval(levels, drops, halves, tolerance, confidence)
    else:
        drawn = _drawn_curves(drops, halves / z(confidence))
        found = [read(levels, curve.tolist(), tolerance) for curve in drawn]
        low, high = _quantile_levels(levels, found, confidence)
        high = None if high is None or beyond is None else max(high, beyond)
    low = min(low, value)
    unsaid = low <= 0 if high is None else high - low > WIDEST
    if unsaid:  # no number that a person should read
        return Detection(value=value, low=None, high=None, bracket=(value, beyond))
    return Detection(value=value, low=low, high=high, bracket=(value, beyond))


def side_by_side(
    points: Sequence[dict[str, Any]], tolerance: float, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Every detector on one curve: detector, value, low, high, bracket."""
    found = []
    for name in DETECTORS:
        one = detect(points, tolerance, name, confidence)
        limits = {"value": one.value, "low": one.low, "high": one.high, "bracket": one.bracket}
        found.append({"detector": name, **limits})
    return found


def crossing_interval(
    levels: Sequence[float], drops: Vector, halves: Vector, tolerance: float, confidence: float
) -> tuple[float, float | None]:
    """Where the confidence that the drop exceeds the tolerance first reaches each limit.

    Args:
        levels: sparsities above 0, ascending.
        drops: (L,) dense minus pruned accuracy.
        halves: (L,) half-widths of their intervals at `confidence`; NaN = unknown, which
            neither allows nor excludes a crossing.

    Returns:
        Low and high, fractions; low is the highest level and high None as far as the levels
        do not reach the limit.
    """
    tail = 1 - confidence
    at = np.array([0.0, *levels])  # at 0 the drop is 0, hence within any tolerance
    sure = np.maximum.accumulate(
        np.array([0.0, *_beyond(drops - tolerance - ROUNDING, halves, z(confidence))])
    )
    low, high = _reached(at, sure, tail), _reached(at, sure, 1 - tail)
    return (float(at[-1]) if low is None else low), high


def _beyond(excess: Vector, halves: Vector, reach: float) -> Vector:
    """(L,) confidence that the true excess over the tolerance is positive."""
    scale = np.where(halves > 0, halves, 1.0)
    noisy = special.ndtr(reach * excess / scale)
    certain = np.where(excess > 0, 1.0, 0.0)
    return np.where(np.isnan(halves), 0.5, np.where(halves > 0, noisy, certain))


def _reached(at: Vector, rising: Vector, target: float) -> float | None:
    """The first place at which a rising curve, straight between its points, has a value."""
    reached = np.flatnonzero(rising >= target)
    if not len(reached):
        return None
    k = int(reached[0])
    share = (target - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))


def _drawn_curves(drops: Vector, errors: Vector) -> Vector:
    """(DRAWS, L) curves around the measured one; always the same for the same curve.

    Masks nest, so the images that a level loses are mostly lost at the next one too. The noise
    is a random walk along the levels that is scaled to the standard error of each.
    """
    errors = np.nan_to_num(errors)
    grown = np.maximum.accumulate(errors**2)
    steps = np.sqrt(np.diff(grown, prepend=0.0))
    walk = np.cumsum(np.random.default_rng(0).standard_normal((DRAWS, len(drops))) * steps, axis=1)
    spread = np.sqrt(np.where(grown > 0, grown, 1.0))
    drawn: Vector = drops + walk / spread * errors
    return drawn


def _quantile_levels(
    levels: Sequence[float], found: Sequence[float], confidence: float
) -> tuple[float, float | None]:
    tail = (1 - confidence) / 2
    low = float(np.quantile(found, tail, method="lower"))
    last = float(np.quantile(found, 1 - tail, method="higher"))
    return low, next((level for level in levels if level > last), None)


def _half_width(point: dict[str, Any]) -> float:
    """Of the drop's interval, from the side that was not clipped; NaN when it has none."""
    if point["drop_low"] is None or point["drop_high"] is None:
        return float("nan")
    return float(max(point["drop_high"] - point["drop"], point["drop"] - point["drop_low"]))

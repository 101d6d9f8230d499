"""Reading an essential sparsity off a curve, with an interval of the stated coverage.

`first_violation`. The curve is measured at levels; the true drop crosses the tolerance somewhere
between two of them. At a level s, the measured drop d(s) and its half-width h(s) give the
confidence C(s) = Φ(z·(d(s) - tolerance) / h(s)) that the true drop exceeds the tolerance; at the
true crossing C is uniform, whatever the shape of the curve. Between levels C is interpolated
linearly: where the grid limits the precision, not the noise, the crossing may lie anywhere in the
gap with equal probability. `low` is where C first reaches 5 %, but never above the reported level;
`high` is where it first reaches 95 % (for confidence 95 %).

Both are one-sided limits. Where the grid is the limit, low is the reported level and cannot miss,
so only high misses, in 5 % of sweeps. Where noise is the limit, C is read at its first passage and
at many levels, so the pair covers about 95 % instead of 90 %; two-sided limits (2.5 %, 97.5 %)
cover 98.8 %. Measured on 1,000 random curves, also in slices:
`tests/benchmarks/essential_coverage.json`.

`knee`, `changepoint`: there is no test to invert. The detector is applied to DRAWS curves, drawn
around the measured one with its standard errors. The limits are quantiles of the results, the upper
one a level higher because the break lies between levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from orchestrator.selection.statistics import z
from trials.sparsity.detect import DETECTORS, ROUNDING, first_violation

DRAWS = 200
WIDEST = 0.5  # half of all sparsities; see `statistics.sayable`
Vector = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The result of a detector; for the fields see `EssentialSparsity`."""

    value: float
    low: float | None
    high: float | None
    bracket: tuple[float, float | None]


def detect(
    points: Sequence[dict[str, Any]], tolerance: float, detector: str, confidence: float = 0.95
) -> Detection:
    """Apply a detector of `trials.sparsity.detect` to a curve, with its interval (see above).

    Limits further apart than WIDEST are left out, as is a lower limit of 0 without an upper one.

    Args:
        points: rows of `one_shot_curve`, ascending in `sparsity`; rows without a drop are ignored.
        tolerance: accuracy that may be lost, a fraction.
        detector: a key of `trials.sparsity.detect.DETECTORS`.
        confidence: of `low` and `high`; the same at which `drop_high` was computed.
    """
    usable = [p for p in points if p["drop"] is not None and p["sparsity"] > 0]
    levels = [float(p["sparsity"]) for p in usable]
    drops = np.array([p["drop"] for p in usable], dtype=np.float64)
    halves = np.array([_half_width(p) for p in usable], dtype=np.float64)
    read = DETECTORS[detector]
    value = read(levels, drops.tolist(), tolerance)
    beyond = next((level for level in levels if level > value), None)
    if read is first_violation:
        low, high = crossing_interval(levels, drops, halves, tolerance, confidence)
    else:
        drawn = _drawn_curves(drops, halves / z(confidence))
        positions = [read(levels, curve.tolist(), tolerance) for curve in drawn]
        low, high = _quantile_levels(levels, positions, confidence)
        high = None if high is None or beyond is None else max(high, beyond)
    low = min(low, value)
    uninformative = low <= 0 if high is None else high - low > WIDEST
    if uninformative:
        return Detection(value=value, low=None, high=None, bracket=(value, beyond))
    return Detection(value=value, low=low, high=high, bracket=(value, beyond))


def side_by_side(
    points: Sequence[dict[str, Any]], tolerance: float, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Every detector on one curve: detector, value, low, high, bracket."""
    rows = []
    for detector in DETECTORS:
        detection = detect(points, tolerance, detector, confidence)
        limits = {
            "value": detection.value,
            "low": detection.low,
            "high": detection.high,
            "bracket": detection.bracket,
        }
        rows.append({"detector": detector, **limits})
    return rows


def crossing_interval(
    levels: Sequence[float], drops: Vector, halves: Vector, tolerance: float, confidence: float
) -> tuple[float, float | None]:
    """Where the confidence that the drop exceeds the tolerance first reaches each limit.

    Args:
        levels: sparsities above 0, ascending.
        drops: (L,) dense minus pruned accuracy.
        halves: (L,) half-widths of their intervals at `confidence`; NaN = unknown, which
            neither indicates nor excludes a crossing.

    Returns:
        Low and high, fractions. If no level reaches a limit, low is the highest level and high
        is None.
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
    """Where a rising, linearly interpolated curve first reaches a value."""
    reached = np.flatnonzero(rising >= target)
    if not len(reached):
        return None
    k = int(reached[0])
    share = (target - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(at[k - 1] + share * (at[k] - at[k - 1]))


def _drawn_curves(drops: Vector, errors: Vector) -> Vector:
    """(DRAWS, L) curves around the measured one; always the same for the same curve.

    Masks nest, so images lost at one level are mostly lost at the next one too. The noise is
    therefore a random walk along the levels, scaled to the standard error of each.
    """
    errors = np.nan_to_num(errors)
    grown = np.maximum.accumulate(errors**2)
    steps = np.sqrt(np.diff(grown, prepend=0.0))
    walk = np.cumsum(np.random.default_rng(0).standard_normal((DRAWS, len(drops))) * steps, axis=1)
    spread = np.sqrt(np.where(grown > 0, grown, 1.0))
    drawn: Vector = drops + walk / spread * errors
    return drawn


def _quantile_levels(
    levels: Sequence[float], positions: Sequence[float], confidence: float
) -> tuple[float, float | None]:
    tail = (1 - confidence) / 2
    low = float(np.quantile(positions, tail, method="lower"))
    last = float(np.quantile(positions, 1 - tail, method="higher"))
    return low, next((level for level in levels if level > last), None)


def _half_width(point: dict[str, Any]) -> float:
    """Half-width of the drop's interval, from the side that was not clipped; NaN without one."""
    if point["drop_low"] is None or point["drop_high"] is None:
        return float("nan")
    return float(max(point["drop_high"] - point["drop"], point["drop"] - point["drop_low"]))

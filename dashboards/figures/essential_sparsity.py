"""Loss of the one-shot pruned model against sparsity, and where it exceeds the tolerance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dashboards import style
from dashboards.figure import Figure
from dashboards.text import clean, level, number, percent, plural, points, tolerance_points

MOST_TOLERANCES = 8  # losses beyond this many tolerances are cut off


@dataclass(frozen=True, slots=True)
class Curve:
    """The levels in ascending order, the essential sparsity, and the confidence in words."""

    levels: list[dict[str, Any]]
    essential: dict[str, Any]
    confidence: str


def data(summary: dict[str, Any]) -> Curve | None:
    """The one-shot curve, if any level was measured."""
    essential = summary.get("essential_sparsity") or {}
    levels = sorted(
        (row for row in essential.get("curve") or [] if number(row.get("sparsity")) is not None),
        key=lambda row: float(row["sparsity"]),
    )
    return Curve(levels, essential, percent(summary.get("confidence", 0.95), 0)) if levels else None


def draw(shown: Curve) -> tuple[Axes, str]:
    """Loss of the pruned model against sparsity, with the tolerance, s* and its interval."""
    curve, essential, confidence = shown.levels, shown.essential, shown.confidence
    (axes,) = style.new_figure(4.1)
    x, y = _floats(curve, "sparsity"), _floats(curve, "drop")
    low, high = _floats(curve, "drop_low"), _floats(curve, "drop_high")
    if np.isfinite(low).any():
        scope = clean(essential.get("scope"), 40)
        label = f"{confidence} interval, {scope}" if scope else f"{confidence} interval"
        axes.fill_between(x, low, high, color=style.BAND, alpha=0.2, lw=0, label=label)
    recovered = essential.get("reference") == "level_zero"
    dense = "Level 0, fine-tuned alike" if recovered else "Dense"
    pruned = "Loss, pruned in one shot and fine-tuned" if recovered else "Loss, pruned in one shot"
    axes.plot(x, y, "o-", color=style.BAND, label=pruned)
    axes.axhline(0.0, color=style.INK, lw=1.3, ls="--", label=dense)
    tolerance = number(essential.get("tolerance"))
    if tolerance is not None:
        label = f"Tolerance: {tolerance_points(tolerance)}"
        axes.axhline(tolerance, color=style.INK, lw=1.3, ls=":", label=label)
    _mark_essential(axes, essential, float(x.min()), float(x.max()))
    _show_the_crossing(axes, y, tolerance)
    axes.set_xlabel("Sparsity of the prunable weights (%)")
    axes.set_ylabel(f"Loss against {'level 0' if recovered else 'dense'} (points)")
    style.percent_ticks(axes, x=True, y=True)
    style.legend_below(axes)
    alt = (
        f"Loss of validation accuracy against sparsity at {plural(len(curve), 'level')}, from "
        f"{points(y[0])} points at {level(x[0])} sparsity to {points(y[-1])} at {level(x[-1])}; "
        f"tolerance {tolerance_points(tolerance)}; "
        f"essential sparsity {level(essential.get('value'))}."
    )
    return axes, alt


def _floats(rows: list[dict[str, Any]], field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One entry of every row as (N,) float64; None becomes NaN."""
    values = [number(row.get(field)) for row in rows]
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _mark_essential(axes: Axes, essential: dict[str, Any], first: float, last: float) -> None:
    """s* as a line and its interval as a band; an open end reaches to the outermost level."""
    value, low, high = (number(essential.get(field)) for field in ("value", "low", "high"))
    if low is not None or high is not None:
        left, right = first if low is None else low, last if high is None else high
        axes.axvspan(left, right, color="#e69f00", alpha=0.18, lw=0, label="Interval of s*")
    if value is not None:
        axes.axvline(value, color="#b35900", lw=1.8, label=f"s* = {level(value)}")
    _mark_other_detectors(axes, essential)


def _mark_other_detectors(axes: Axes, essential: dict[str, Any]) -> None:
    """Thin lines for s* of the other detectors."""
    others = [
        r
        for r in essential.get("detectors") or []
        if r.get("detector") != essential.get("detector")
    ]
    for row, dashes in zip(others, ((0, (1, 1.5)), (0, (5, 2))), strict=False):
        if (value := number(row.get("value"))) is not None:
            detector = clean(row.get("detector"), 40).replace("_", " ").capitalize()
            label = f"{detector}: {level(value)}"
            axes.axvline(value, color=style.MUTED, lw=1, ls=dashes, label=label)


def _show_the_crossing(
    axes: Axes, losses: np.ndarray[Any, np.dtype[np.float64]], tolerance: float | None
) -> None:
    """Cut off a collapse, so that the tolerance and the losses near it stay visible."""
    finite = losses[np.isfinite(losses)]
    if tolerance and (finite > MOST_TOLERANCES * tolerance).any():
        near = finite[finite <= MOST_TOLERANCES * tolerance]
        bottom = min(-tolerance, float(near.min()) if len(near) else 0.0)
        axes.set_ylim(1.2 * bottom, MOST_TOLERANCES * tolerance)


FIGURE = Figure(
    name="essential_sparsity",
    place="essential",
    caption="Loss of the pruned model against sparsity, with the tolerance [LOTUS, figure 2].",
    data=data,
    draw=draw,
)

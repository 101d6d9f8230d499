"""The five figures of a report. Each returns None when there is nothing to draw."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dashboards import style, tables
from dashboards.style import Drawing
from dashboards.text import (
    AUTO,
    amount,
    arm_label,
    clean,
    duration,
    level,
    number,
    percent,
    plural,
    points,
    short_arm_label,
    time_unit,
    tolerance_points,
)

NEAR_DENSE = 0.01  # LOTUS and ES call one point below dense "near"
FAR = 0.10  # an arm this far below the best needs a scale of its own
MOST_TOLERANCES = 8  # losses beyond this many tolerances are cut off
MOST_LEVELS = 6  # lines that one panel can hold and a reader can still tell apart


def _floats(rows: list[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One entry of every row as (N,) float64; None becomes NaN."""
    values = [number(row.get(name)) for row in rows]
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _mark_essential(axes: Axes, found: dict[str, Any], first: float, last: float) -> None:
    """s* as a line and its interval as a shade; an open end reaches to the outermost level."""
    value, low, high = (number(found.get(name)) for name in ("value", "low", "high"))
    if low is not None or high is not None:
        left, right = first if low is None else low, last if high is None else high
        axes.axvspan(left, right, color="#e69f00", alpha=0.18, lw=0, label="Interval of s*")
    if value is not None:
        axes.axvline(value, color="#b35900", lw=1.8, label=f"s* = {level(value)}")
    _mark_other_detectors(axes, found)


def _mark_other_detectors(axes: Axes, found: dict[str, Any]) -> None:
    """Thin lines where the detectors that were not chosen put s*."""
    others = [r for r in found.get("detectors") or [] if r.get("detector") != found.get("detector")]
    for row, dashes in zip(others, ((0, (1, 1.5)), (0, (5, 2))), strict=False):
        if (value := number(row.get("value"))) is not None:
            name = clean(row.get("detector"), 40).replace("_", " ").capitalize()
            label = f"{name}: {level(value)}"
            axes.axvline(value, color=style.MUTED, lw=1, ls=dashes, label=label)


def essential_sparsity(summary: dict[str, Any]) -> Drawing | None:
    """Loss of the pruned model against sparsity, with the tolerance, s* and its interval."""
    found = summary.get("essential_sparsity") or {}
    curve = sorted(
        (row for row in found.get("curve") or [] if number(row.get("sparsity")) is not None),
        key=lambda row: float(row["sparsity"]),
    )
    if not curve:
        return None
    (axes,) = style.new_figure(4.1)
    x, y = _floats(curve, "sparsity"), _floats(curve, "drop")
    low, high = _floats(curve, "drop_low"), _floats(curve, "drop_high")
    confidence = percent(summary.get("confidence", 0.95), 0)
    if np.isfinite(low).any():
        scope = clean(found.get("scope"), 40)
        label = f"{confidence} interval, {scope}" if scope else f"{confidence} interval"
        axes.fill_between(x, low, high, color=style.BAND, alpha=0.2, lw=0, label=label)
    axes.plot(x, y, "o-", color=style.BAND, label="Loss, pruned in one shot")
    axes.axhline(0.0, color=style.INK, lw=1.3, ls="--", label="Dense")
    tolerance = number(found.get("tolerance"))
    if tolerance is not None:
        label = f"Tolerance: {tolerance_points(tolerance)}"
        axes.axhline(tolerance, color=style.INK, lw=1.3, ls=":", label=label)
    _mark_essential(axes, found, float(x.min()), float(x.max()))
    _show_the_crossing(axes, y, tolerance)
    axes.set_xlabel("Sparsity of the prunable weights (%)")
    axes.set_ylabel("Loss against dense (points)")
    style.percent_ticks(axes, x=True, y=True)
    style.legend_below(axes)
    alt = (
        f"Loss of validation accuracy against sparsity at {plural(len(curve), 'level')}, from "
        f"{points(y[0])} points at {level(x[0])} sparsity to {points(y[-1])} at {level(x[-1])}; "
        f"tolerance {tolerance_points(tolerance)}; essential sparsity {level(found.get('value'))}."
    )
    return Drawing("essential_sparsity", style.to_png(axes), alt)


def _show_the_crossing(
    axes: Axes, losses: np.ndarray[Any, np.dtype[np.float64]], tolerance: float | None
) -> None:
    """Cut a collapse off, so that the tolerance can still be seen beside the losses near it."""
    known = losses[np.isfinite(losses)]
    if tolerance and (known > MOST_TOLERANCES * tolerance).any():
        near = known[known <= MOST_TOLERANCES * tolerance]
        bottom = min(-tolerance, float(near.min()) if len(near) else 0.0)
        axes.set_ylim(1.2 * bottom, MOST_TOLERANCES * tolerance)


def close_range(by_arm: dict[str, pd.DataFrame], dense: float | None) -> tuple[float, float] | None:
    """The accuracies (low, high) that a second, closer panel shows; None if one panel will do.

    A control that collapses, or an arm that starts low, would squeeze what lies near dense
    into one line.
    """
    tops = [float(t["high"].max()) for t in by_arm.values()] + ([] if dense is None else [dense])
    ends = [float(t["low"].iloc[-1]) for t in by_arm.values()]
    top = max(tops)
    near = [end for end in ends if end > top - FAR]
    bottom = min([*near, top - 2 * NEAR_DENSE])
    lowest = min(float(t["low"].min()) for t in by_arm.values())
    if not near or top - lowest < 3 * (top - bottom):
        return None
    pad = 0.1 * (top - bottom)
    return bottom - pad, top + pad


def _finetune_lines(axes: Axes, by_arm: dict[str, pd.DataFrame], dense: float | None) -> None:
    for arm, table in by_arm.items():
        colour = style.ARM_COLOURS.get(arm, style.MUTED)
        epoch = table["epoch"]
        axes.fill_between(epoch, table["low"], table["high"], color=colour, alpha=0.15, lw=0)
        axes.plot(
            epoch,
            table["mean"],
            color=colour,
            marker=style.ARM_MARKERS.get(arm, "."),
            ls=(0, (4, 1.5)) if arm in style.CONTROLS else "-",
            zorder=4 if arm == "lotus" else 3,
            label=short_arm_label(arm),
        )
    if dense is not None:
        axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        axes.axhline(dense - NEAR_DENSE, color=style.INK, lw=1.2, ls=":", label="Dense − 1 point")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    style.percent_ticks(axes, y=True)


def finetune(by_arm: dict[str, pd.DataFrame], dense: float | None) -> Drawing | None:
    """Validation accuracy per fine-tuning epoch, one line per arm, spread over seeds."""
    if not by_arm:
        return None
    legend_in = 0.12 * (len(by_arm) + 3)
    close = close_range(by_arm, dense)
    panels = style.new_figure(*([2.6, 2.6 + legend_in] if close else [3.3 + legend_in]))
    for axes in panels:
        _finetune_lines(axes, by_arm, dense)
        axes.set_ylabel("Val. accuracy (%)" if close else "Validation accuracy (%)")
    if close:
        panels[0].set_title("Full range", loc="left", fontweight="bold")
        panels[1].set_title("Close to dense", loc="left", fontweight="bold")
        panels[1].set_ylim(*close)
    panels[-1].set_xlabel("Fine-tuning epoch")
    style.legend_below(panels[0])
    ends = [f"{arm_label(arm)} {percent(t['mean'].iloc[-1])}" for arm, t in by_arm.items()]
    alt = f"Validation accuracy by epoch. At the last epoch: {'; '.join(ends)}."
    return Drawing("finetune", style.to_png(panels[0]), alt)


def shown_levels(table: pd.DataFrame) -> list[Any]:
    """The sparsities that the figure draws: all, or evenly spread ones when there are many.

    `auto`, which each trial finds for itself, comes last.
    """
    levels = sorted(table["sparsity"].dropna().unique(), key=lambda s: (s == AUTO, s))
    if len(levels) <= MOST_LEVELS:
        return levels
    picked = np.linspace(0, len(levels) - 1, MOST_LEVELS).round().astype(int)
    return [levels[i] for i in picked]


def arms_of(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Lengths below and above the mean; equal values may be rounded to the wrong side of it."""
    below, above = rows["mean"] - rows["low"], rows["high"] - rows["mean"]
    return np.array([below, above]).clip(min=0.0)


def issp_by_fraction(table: pd.DataFrame, dense: float | None) -> Drawing | None:
    """Accuracy against the mask data fraction: right after ISSP, and after fine-tuning."""
    if table.empty or table["fraction"].nunique() < 2:
        return None
    stages = [s for s in ("issp", "final") if (table["stage"] == s).any()]
    titles = {"issp": "Right after ISSP", "final": "After fine-tuning"}
    panels = style.new_figure(*[2.8] * len(stages))
    for axes, stage in zip(panels, stages, strict=True):
        for i, sparsity in enumerate(shown_levels(table)):
            rows = table[(table["stage"] == stage) & (table["sparsity"] == sparsity)]
            axes.errorbar(
                rows["fraction"],
                rows["mean"],
                yerr=arms_of(rows),
                color=style.LEVEL_COLOURS[i],
                marker=style.LEVEL_MARKERS[i],
                elinewidth=1.2,
                capsize=2.5,
                label=f"{level(sparsity)} sparsity",
            )
        if dense is not None:
            axes.axhline(dense, color=style.INK, lw=1.2, ls="--", label="Dense model")
        axes.set_title(titles[stage], loc="left", fontweight="bold")
        axes.set_ylabel("Val. accuracy (%)")
        style.percent_ticks(axes, x=True, y=True)
    panels[-1].set_xlabel("Training data used to find the masks (%)")
    style.legend_below(panels[0])
    first = table[table["stage"] == "issp"]["mean"]
    alt = (
        "Validation accuracy by mask data fraction, one line per sparsity; right after ISSP "
        f"between {percent(first.min())} and {percent(first.max())}."
    )
    return Drawing("issp_by_fraction", style.to_png(panels[0]), alt)


def _arm_dot(axes: Axes, y: int, row: dict[str, Any], far: float | None) -> None:
    """One arm's mean and interval; left of `far` only an arrow to where it lies."""
    arm, mean = str(row["arm"]), float(row["test_accuracy_mean"])
    colour = style.ARM_COLOURS.get(arm, style.MUTED)
    if far is not None and mean < far:
        axes.plot([far], [y], color=colour, marker="<", markersize=8, ls="none", clip_on=False)
        axes.annotate(percent(mean), (far, y), (10, 0), textcoords="offset points", va="center")
        return
    low, high = number(row.get("ci_low")), number(row.get("ci_high"))
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
    axes.plot([mean], [y], color=colour, marker=style.ARM_MARKERS.get(arm, "."), markersize=8)


def arms(summary: dict[str, Any]) -> Drawing | None:
    """Test accuracy of every arm with its interval, beside the dense model."""
    rows = [a for a in summary.get("arms") or [] if number(a.get("test_accuracy_mean")) is not None]
    if not rows:
        return None
    rows = sorted(rows, key=lambda a: tables.arm_rank(str(a["arm"])), reverse=True)
    (axes,) = style.new_figure(1.4 + 0.38 * len(rows))
    dense = number((summary.get("dense") or {}).get("test_accuracy"))
    means = [float(row["test_accuracy_mean"]) for row in rows]
    best = max(means if dense is None else [*means, dense])
    near = [
        number(r.get("ci_low")) or m for r, m in zip(rows, means, strict=True) if m > best - FAR
    ]
    # An arm far below the others would press them into one column: an arrow says where it is.
    far = min(near) - 0.2 * (best - min(near)) - 0.005 if len(near) < len(rows) else None
    for y, row in enumerate(rows):
        _arm_dot(axes, y, row, far)
    if dense is not None:
        axes.axvline(dense, color=style.INK, lw=1.2, ls="--", label=f"Dense {percent(dense)}")
    axes.set_yticks(range(len(rows)), [short_arm_label(r["arm"]) for r in rows], color=style.INK)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.08)
    if far is not None:
        axes.set_xlim(left=far)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Test accuracy on the tokens used (%)")
    style.percent_ticks(axes, x=True)
    style.legend_below(axes)
    said = [f"{arm_label(r['arm'])} {percent(r['test_accuracy_mean'])}" for r in reversed(rows)]
    return Drawing("arms", style.to_png(axes), f"Mean test accuracy: {'; '.join(said)}.")


def _stage_bars(axes: Axes, stages: pd.DataFrame) -> None:
    """A bar per stage, in the unit that suits the longest."""
    table = stages.iloc[::-1]
    unit, size = time_unit(float(table["total_s"].max()))
    bars = axes.barh(table["stage"].str[:28], table["total_s"] / size, color=style.BAND, height=0.6)
    axes.bar_label(bars, [duration(s) for s in table["total_s"]], padding=4, fontsize=11)
    axes.margins(x=0.2)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"Sum as recorded per trial ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(axis="y", labelcolor=style.INK)


def _rate_line(axes: Axes, throughput: pd.DataFrame) -> None:
    """Images per second by patch drop; bars from the lowest to the highest trial."""
    drop, mean = throughput["patch_drop"], throughput["mean"]
    # Of equal values the mean may differ from each by rounding.
    spread = np.array([mean - throughput["low"], throughput["high"] - mean]).clip(min=0)
    axes.errorbar(drop, mean, yerr=spread, color=style.BAND, marker="o", capsize=3)
    axes.set_ylim(bottom=0, top=float(throughput["high"].max()) * 1.15 or 1)
    axes.set_xlabel("Patches dropped (%)")
    axes.set_ylabel("Training images/s")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    style.percent_ticks(axes, x=True)


def cost(stages: pd.DataFrame, throughput: pd.DataFrame) -> Drawing | None:
    """Time per stage as recorded per trial, and training speed by patch drop."""
    has_stages, has_rate = bool(len(stages)), bool(len(throughput))
    if not has_stages and not has_rate:
        return None
    heights = [1.0 + 0.3 * len(stages)] * has_stages + [2.6] * has_rate
    panels = style.new_figure(*heights, sharex=False)
    said = []
    if has_stages:
        _stage_bars(panels[0], stages)
        said.append(f"most time in {stages['stage'].iloc[0]}")
    if has_rate:
        _rate_line(panels[-1], throughput)
        rate = amount(throughput["mean"].iloc[0])
        said.append(f"{rate} training images/s at the lowest patch drop")
    return Drawing("cost", style.to_png(panels[0]), f"Cost: {'; '.join(said)}.")

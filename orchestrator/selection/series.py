"""The series that figures draw, computed here so that pages only draw.

A row in `SERIES` makes a series an entry of summary.json.

Rows hold plain values, accuracies as fractions. Intervals are for the mean, by
`statistics.accuracy_interval`: for other seeds with FEWEST_SEEDS seeds or more, else for these
models.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.pareto import front
from orchestrator.selection.rows import Row, grouped, rows
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.settings import (
    VAL,
    WHOLE,
    Setting,
    best_settings,
    comparable,
    macs_ratio,
    speed_ratio,
)
from orchestrator.selection.statistics import accuracy_interval
from orchestrator.vocabulary import Metric
from trials.arms import BASE_AXES, CONTROLS, ISSP_ARMS, LOTUS

_STAGES = ("issp", "final")
FEWEST_AXES, FEWEST_TRIALS = 3, 30
"""Below them `importance` says nothing."""
Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Trial key -> (epoch from 1, validation accuracy on whole images)."""


def spread(values: Sequence[float], n_images: float | None, confidence: float) -> Row:
    """mean, low and high (of the values), ci_low, ci_high, n."""
    seeds = len(values) >= FEWEST_SEEDS
    interval = accuracy_interval(values, n_images, confidence, seeds=seeds)
    return {
        "mean": interval.mean,
        "low": min(values),
        "high": max(values),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "n": len(values),
    }


def curves_of(table: pd.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """Learning curves (`tables.learning_curves`) by trial key."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows(table, ("key", "epoch", "val_accuracy")):
        if row["key"] is not None and row["val_accuracy"] is not None:
            curves.setdefault(str(row["key"]), []).append((int(row["epoch"]), row["val_accuracy"]))
    return curves


def finetuning(
    settings: Sequence[Setting], curves: Curves, confidence: float = 0.95
) -> dict[str, list[Row]]:
    """Validation accuracy per epoch at the best setting of each arm, over seeds.

    Returns:
        arm -> rows with epoch (from 1) and `spread`; arms without a curve are left out.
    """
    lines: dict[str, list[Row]] = {}
    for arm, setting in best_settings(settings).items():
        epochs: dict[int, list[float]] = {}
        for trial in setting.trials:
            for epoch, accuracy in curves.get(str(trial["key"]), ()):
                epochs.setdefault(epoch, []).append(accuracy)
        images = setting.mean[Metric.DENSE_VAL_N]
        if epochs:
            lines[arm] = [
                {"epoch": epoch} | spread(epochs[epoch], images, confidence)
                for epoch in sorted(epochs)
            ]
    return lines


def by_mask_data(
    settings: Sequence[Setting], recommended: Mapping[str, Any] | None, confidence: float = 0.95
) -> list[Row]:
    """Accuracy right after ISSP and after fine-tuning, by mask data fraction, on validation.

    Arm, patch drop and all further axes are fixed, so that only the fraction and the sparsity vary.
    Chosen is the place with the most fractions; on a tie the recommended patch drop, then LOTUS,
    then more trials.

    Args:
        recommended: the recommended setting.

    Returns:
        arm, patch_drop (None: all patches), sparsity (None: found by each trial), fraction, stage
        (`issp` | `final`) and `spread` over seeds, each the mean of its trials.
    """
    masked = [
        s for s in settings
        if s.arm in ISSP_ARMS and s.axes["mask_data_fraction"] is not None
        and s.mean[Metric.ISSP_VAL_ACCURACY] is not None
    ]  # fmt: skip
    places = grouped([{"setting": s} for s in masked], lambda r: _beside(r["setting"]))
    if not places:
        return []
    wanted = comparable((recommended or {}).get("patch_drop"))

    def fullness(place: list[Row]) -> tuple[Any, ...]:
        here = [r["setting"] for r in place]
        fractions = {comparable(s.axes["mask_data_fraction"]) for s in here}
        same = comparable(here[0].axes["patch_drop"]) == wanted
        return len(fractions), same, here[0].arm == LOTUS, sum(len(s.trials) for s in here)

    chosen = [r["setting"] for r in max(places, key=fullness)]
    return [
        row for s in sorted(chosen, key=lambda s: s.place) for stage in _STAGES
        if (row := _mask_data_row(s, stage, confidence)) is not None
    ]  # fmt: skip


def _beside(s: Setting) -> tuple[Any, ...]:
    """A setting's place without its sparsity and mask data fraction."""
    free = ("sparsity", "mask_data_fraction")
    return (s.arm, *(comparable(v) for axis, v in s.axes.items() if axis not in free))


def _mask_data_row(s: Setting, stage: str, confidence: float) -> Row | None:
    column = f"{stage}/val_accuracy"
    values = [float(r[column]) for r in s.seeds if r[column] is not None]
    if not values:
        return None
    place = {axis: s.axes[axis] for axis in BASE_AXES}
    place["fraction"] = place.pop("mask_data_fraction")
    if place["sparsity"] is not None and not isinstance(place["sparsity"], str):
        place["sparsity"] = round(float(place["sparsity"]), 9)
    limits = spread(values, s.mean[Metric.DENSE_VAL_N], confidence)
    return {"arm": s.arm, **place, "stage": stage, **limits}


def tried(settings: Sequence[Setting], confidence: float = 0.95) -> list[Row]:
    """Accuracy and cost of every setting with an accuracy, on validation, the best first.

    Returns:
        arm, setting (axis -> value), front (whether no other setting dominates it, see
        `pareto.front`), macs_ratio (deployed, relative to dense), speed_ratio (measured images/s
        relative to dense; None if all patches are kept), sparsity (reached), and `spread` over
        seeds of the deployed accuracy.
    """
    undominated = {id(s) for s in front(settings)}
    found = []
    for s in settings:
        measured = s.mean[VAL] is not None
        values = [r[VAL if measured else WHOLE[VAL]] for r in s.seeds]
        known = [float(v) for v in values if v is not None]
        if known:
            found.append({
                "arm": s.arm,
                "setting": dict(s.axes),
                "trials": [str(t["key"]) for t in s.trials if t["key"] is not None],
                "front": id(s) in undominated,
                "macs_ratio": macs_ratio(s.mean),
                "speed_ratio": speed_ratio(s.mean),
                "sparsity": s.mean[Metric.FINAL_SPARSITY],
            } | spread(known, s.mean[Metric.DENSE_VAL_N], confidence))  # fmt: skip
    return sorted(found, key=lambda row: -row["mean"])


def importance(settings: Sequence[Setting]) -> dict[str, Any] | None:
    """How much of the variance of accuracy each axis explains alone, in the arm with most settings.

    The share is that between the means of an axis' values in the whole variance over settings
    (eta squared); what is left is the axes together. None with fewer than FEWEST_AXES axes
    that vary or FEWEST_TRIALS trials, where a share says little.

    Returns:
        arm, n (trials), and axes: rows with axis and share (0 to 1), the largest first.
    """
    measured = [s for s in settings if s.arm not in CONTROLS and math.isfinite(s.val_accuracy)]
    arms = grouped([{"setting": s} for s in measured], _arm)
    own = max(([r["setting"] for r in rows_] for rows_ in arms), key=len, default=[])
    trials = sum(len(s.trials) for s in own)
    axes = own[0].axes if own else ()
    names = [axis for axis in axes if len({comparable(s.axes[axis]) for s in own}) > 1]
    if len(names) < FEWEST_AXES or trials < FEWEST_TRIALS:
        return None
    accuracy = np.array([s.val_accuracy for s in own])
    whole = float(((accuracy - accuracy.mean()) ** 2).sum())
    if not whole:
        return None
    shares = [
        {"axis": axis, "share": _between([comparable(s.axes[axis]) for s in own], accuracy) / whole}
        for axis in names
    ]
    shares.sort(key=lambda row: -float(row["share"]))
    return {"arm": own[0].arm, "n": trials, "axes": shares}


def _arm(row: Row) -> str:
    return str(row["setting"].arm)


def _between(values: Sequence[Any], accuracy: NDArray[np.float64]) -> float:
    """The sum of squares between the means of equal values."""
    total = 0.0
    for value in set(values):
        here = accuracy[[v == value for v in values]]
        total += len(here) * float(here.mean() - accuracy.mean()) ** 2
    return total


def stage_seconds(results: pd.DataFrame) -> list[Row]:
    """Seconds per stage, as recorded by trials: stage, total_s, median_s, n; longest first."""
    stages = []
    for column in map(str, results.columns):
        if (
            column.startswith(Metric.TIME)
            and column.endswith("_s")
            and column != Metric.TIME_TOTAL_S
        ):
            seconds = pd.to_numeric(results[column], errors="coerce").dropna()
            if len(seconds):
                stages.append({
                    "stage": column.removeprefix(Metric.TIME).removesuffix("_s"),
                    "total_s": float(seconds.sum()),
                    "median_s": float(seconds.median()),
                    "n": len(seconds),
                })  # fmt: skip
    return sorted(stages, key=lambda row: (-row["total_s"], row["stage"]))


def throughput(results: pd.DataFrame) -> list[Row]:
    """Training images per second by patch drop: patch_drop, mean, low, high (over trials), n.

    A trial without a patch drop trained on all patches; its drop is 0.
    """
    rates: dict[float, list[float]] = {}
    for row in rows(results, ("status", "patch_drop", Metric.FINAL_TRAIN_IMAGES_PER_S)):
        if row["status"] in (None, "FINISHED") and row[Metric.FINAL_TRAIN_IMAGES_PER_S] is not None:
            drop = round(float(row["patch_drop"] or 0.0), 9)
            rates.setdefault(drop, []).append(float(row[Metric.FINAL_TRAIN_IMAGES_PER_S]))
    return [
        {"patch_drop": drop, "mean": float(np.mean(values)), "low": min(values),
         "high": max(values), "n": len(values)}
        for drop, values in sorted(rates.items())
    ]  # fmt: skip


def _recommended_setting(analysis: Analysis) -> Mapping[str, Any] | None:
    return analysis.recommended.setting if analysis.recommended else None


SERIES: dict[str, Callable[[Analysis], Any]] = {
    "by_mask_data": lambda analysis: by_mask_data(
        analysis.settings, _recommended_setting(analysis), analysis.confidence
    ),
    "tried": lambda analysis: tried(analysis.settings, analysis.confidence),
    "importance": lambda analysis: importance(analysis.settings),
    "stage_seconds": lambda analysis: stage_seconds(analysis.results),
    "throughput": lambda analysis: throughput(analysis.results),
}
"""Entry of summary.json -> what it holds."""

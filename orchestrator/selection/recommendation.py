"""The setting to use: the cheapest that keeps the dense accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.arms import (
    LOTUS_ARMS,
    Setting,
    best_settings,
    macs_ratio,
    preference,
    settings,
)
from orchestrator.selection.curve import TIE, average, dense_models, missing_column, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """The trial to use: the best seed, by validation, of the recommended setting.

    Accuracies, sparsity (of the prunable weights) and macs_ratio are this trial's own;
    `within_tolerance` is about the mean of its setting; `reason` is a sentence for people.
    """

    trial_key: str | None
    name: str | None
    arm: str
    sparsity: float | None
    patch_drop: float | None
    mask_data_fraction: float | None
    seed: int | None
    final_sparsity: float | None
    val_accuracy: float
    test_accuracy: float | None
    macs_ratio: float | None
    within_tolerance: bool
    reason: str
    setting: dict[str, Any]


def recommend(
    results: pd.DataFrame, tolerance: float = 0.01, axes: Sequence[str] = ()
) -> Recommended | None:
    """The cheapest setting that keeps the dense accuracy, and its best trial.

    Among settings of LOTUS_ARMS whose mean final validation accuracy is at least the dense
    reference minus `tolerance`: fewest MACs, then highest final sparsity, then best
    validation accuracy. When none qualifies: the best validation accuracy, with
    within_tolerance False. Dense reference: the `dense` arm (equal fine-tuning; its best
    setting) when it was run, else the mean over the dense models before fine-tuning.

    Args:
        results: one row per trial.
        tolerance: fraction (0.01 = 1 point).
        axes: columns that tell settings apart, beside BASE_AXES.

    Returns:
        None when no trial of LOTUS_ARMS has finished.

    Raises:
        ValueError: a needed column or axis is absent altogether.
    """
    found = settings(results, axes)
    candidates = [s for s in found if s.arm in LOTUS_ARMS]
    if not candidates:
        return None
    reference, source = _dense_reference(results, found)
    floor = float("inf") if reference is None else reference - tolerance - TIE
    within = [s for s in candidates if s.val_accuracy >= floor]
    best = min(within, key=_cost) if within else min(candidates, key=preference)
    reason = _reason(
        best,
        candidates=len(candidates),
        within=len(within),
        reference=reference,
        source=source,
        tolerance=tolerance,
    )
    return _recommended(best, within_tolerance=bool(within), reason=reason)


def _reason(
    best: Setting,
    *,
    candidates: int,
    within: int,
    reference: float | None,
    source: str,
    tolerance: float,
) -> str:
    mean = f"{100 * best.val_accuracy:.2f} %"
    if reference is None:
        return (
            f"No dense accuracy is known; of {candidates} settings this one has the best mean "
            f"validation accuracy ({mean})."
        )
    points = f"{100 * tolerance:g} point{'' if tolerance == 0.01 else 's'}"
    dense = f"{points} of {source} ({100 * reference:.2f} % on validation)"
    if within:
        return (
            f"Of {candidates} settings, {within} within {dense}; of these this one has the "
            f"fewest MACs, then the highest sparsity (mean {mean})."
        )
    return (
        f"None of {candidates} settings is within {dense}; this one has the best mean "
        f"validation accuracy ({mean})."
    )


def _recommended(s: Setting, *, within_tolerance: bool, reason: str) -> Recommended:
    trial = min(
        s.trials,
        key=lambda r: (
            -round(r["final/val_accuracy"], 12),
            r["seed"] is None,
            r["seed"],
            str(r["key"]),
        ),
    )
    return Recommended(
        trial_key=trial["key"],
        name=trial["name"],
        arm=s.arm,
        sparsity=trial["sparsity"],
        patch_drop=trial["patch_drop"],
        mask_data_fraction=trial["mask_data_fraction"],
        seed=None if trial["seed"] is None else int(trial["seed"]),
        final_sparsity=trial["final/sparsity"],
        val_accuracy=trial["final/val_accuracy"],
        test_accuracy=trial["final/test_accuracy"],
        macs_ratio=macs_ratio(trial),
        within_tolerance=within_tolerance,
        reason=reason,
        setting=dict(s.axes),
    )


def _dense_reference(results: pd.DataFrame, found: Sequence[Setting]) -> tuple[float | None, str]:
    if dense := best_settings(found).get("dense"):
        return dense.val_accuracy, "the dense arm with equal fine-tuning"
    if "dense/val_accuracy" not in results:
        raise missing_column(results, "dense/val_accuracy", "a recommendation without dense arm")
    models = dense_models(rows(results, ("stage.dense", "seed", "dense/val_accuracy")))
    mean = average(models, ["dense/val_accuracy"])["dense/val_accuracy"]
    return mean, "the dense model before fine-tuning (the dense arm was not run)"


def _cost(s: Setting) -> tuple[Any, ...]:
    macs, sparsity = s.mean["final/macs"], s.mean["final/sparsity"]
    return (
        macs is None,
        float(f"{macs or 0:.9g}"),  # means of equal counts may differ in the last bit
        -round(sparsity or 0.0, 9),
        *preference(s),
    )

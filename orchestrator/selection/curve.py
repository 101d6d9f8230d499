"""The essential sparsity: the one-shot curve of a sweep and where it exceeds the tolerance."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from orchestrator.selection.crossing import detect, side_by_side
from orchestrator.selection.rows import (
    Row,
    average,
    dense_identity,
    dense_models,
    distinct,
    fewest,
    grouped,
    missing_column,
    rows,
)
from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS, Scope
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.statistics import Comparison, accuracy_interval, compare
from orchestrator.vocabulary import Metric
from trials.arms import CURVE_ARMS
from trials.sparsity.detect import DETECTORS

CURVE_COLUMNS = (
    "sparsity", "val_accuracy", "ci_low", "ci_high", "drop", "drop_low", "drop_high", "n",
)  # fmt: skip
_PRUNED = Metric.ESSENTIAL_VAL_ACCURACY
_REFERENCE = Metric.ESSENTIAL_REFERENCE
_METRICS = (
    Metric.DENSE_VAL_ACCURACY,
    Metric.DENSE_VAL_N,
    _PRUNED,
    Metric.ESSENTIAL_VAL_LOST,
    Metric.ESSENTIAL_VAL_GAINED,
    _REFERENCE,
)
_STAGES = ("stage.dense", "stage.essential", "stage.pick")
_EVALUATE = "essential.evaluate"
_COLUMNS = ("arm", "status", "seed", "sparsity", _EVALUATE, *_STAGES, *_METRICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class EssentialSparsity:
    """The largest sparsity that costs at most `tolerance` of accuracy.

    Attributes:
        value: a level of the sweep, a fraction of the prunable weights; 0.0 when the first
            level violates.
        low, high: interval for the point at which the true curve exceeds the tolerance
            (`crossing.py`); value is never below low. high is None when no level certainly
            exceeds it. Both are None for an interval that says too little (`crossing.detect`).
        scope: of the interval: other seeds, or these models with fewer than 3 seeds.
        bracket: value and the next level; None when not even the highest level violates, so that
            `value` is a lower bound.
        curve: see `one_shot_curve`.
        reference: what levels are compared with, as `essential.reference` says.
        evaluate: whether they were fine-tuned before, as `essential.evaluate` says.
    """

    value: float
    low: float | None
    high: float | None
    scope: Scope
    bracket: tuple[float, float | None]
    detector: str
    tolerance: float
    confidence: float
    curve: pd.DataFrame = field(compare=False, repr=False)
    reference: Literal["dense", "level_zero"] = "dense"
    evaluate: Literal["one_shot", "after_finetune"] = "one_shot"

    @property
    def when(self) -> str:
        """When its losses were measured, in words."""
        return f"{'after' if self.evaluate == 'after_finetune' else 'before'} fine-tuning"


def one_shot_curve(results: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Accuracy of the one-shot mask against its level, over the dense models of the sweep.

    Every distinct `stage.essential` counts once, and every dense model once per level (several
    masks of one dense model at one level are averaged; see `curve_model`). Trials that failed
    later count, controls of the mask do not.

    Args:
        results: one row per trial, and one per level that `sparsity: auto` measured itself
            (`tables.curve_table`). Without `stage.*`, trials of one seed share a dense model;
            without lost and gained counts, errors are taken as independent (wider interval).
        confidence: of all limits. With fewer than 3 dense models the scope is these models: only
            the noise of the images counts.

    Returns:
        Ascending in `sparsity` (nominal), accuracies as fractions; ci_* from
        `accuracy_interval`, drop* (dense - pruned) from `compare`, NaN where not measurable;
        n = dense models. The row at sparsity 0 is the dense model, if measured, or level 0 after
        the recovery with `essential.reference: level_zero`: its drop is 0 by definition and has
        no limits.

    Raises:
        ValueError: a column is missing that the curve needs.
    """
    trials = rows(results, _COLUMNS)
    measured = [
        r for r in trials if r[_PRUNED] is not None and (r["arm"] is None or r["arm"] in CURVE_ARMS)
    ]
    _require_curve_columns(results, trials, measured)
    levels: dict[float, list[Row]] = {}
    for row in level_rows(measured):
        if row["sparsity"] is not None:
            levels.setdefault(round(float(row["sparsity"]), 9), []).append(row)
    points = [_level(s, levels[s], confidence) for s in sorted(levels)]
    if dense := distinct(_references(measured), curve_model) or dense_models(trials):
        points = [_dense_point(dense, confidence), *(p for p in points if p["sparsity"] > 0)]
    return pd.DataFrame(
        {c: pd.Series([p[c] for p in points], dtype="int64" if c == "n" else "float64")
         for c in CURVE_COLUMNS}
    )  # fmt: skip


def _references(measured: Sequence[Row]) -> list[Row]:
    """Where levels are compared with level 0 after the same recovery: that, as dense models."""
    return [
        row | {Metric.DENSE_VAL_ACCURACY: row[_REFERENCE]}
        for row in measured
        if row[_REFERENCE] is not None
    ]


def _dense_point(dense: Sequence[Row], confidence: float) -> Row:
    accuracies = [d[Metric.DENSE_VAL_ACCURACY] for d in dense]
    other = len(dense) >= FEWEST_SEEDS
    spread = accuracy_interval(
        accuracies, fewest(dense, Metric.DENSE_VAL_N), confidence, seeds=other
    )
    return _point(0.0, spread.mean, spread.low, spread.high, 0, None, None, len(dense))


def level_rows(measured: Sequence[Row]) -> list[Row]:
    """Each measurement of a level once.

    A trial with `sparsity: auto` repeats the level that was found under another key. It counts
    only if nothing else measured that level for its dense model.
    """
    once = distinct(measured, _essential_identity)
    named = {_place(r) for r in once if r["stage.pick"] is None}
    return [r for r in once if r["stage.pick"] is None or _place(r) not in named]


def _place(row: Row) -> Hashable:
    level = row["sparsity"]
    return curve_model(row), None if level is None else round(float(level), 9)


def curve_model(row: Row) -> Hashable:
    """What a curve belongs to: a dense model, or its recovery with one seed.

    With `essential.reference: level_zero` all seeds may start from one dense model, and each
    recovers it, and all levels, anew.
    """
    recovered = row[_REFERENCE] is not None
    return (dense_identity(row), row["seed"]) if recovered else dense_identity(row)


def _level(sparsity: float, measured: Sequence[Row], confidence: float) -> Row:
    models = [average(group, _METRICS) for group in grouped(measured, curve_model)]
    other = len(models) >= FEWEST_SEEDS
    accuracies = [m[_PRUNED] for m in models]
    accuracy = accuracy_interval(
        accuracies, fewest(models, Metric.DENSE_VAL_N), confidence, seeds=other
    )
    drop = compare(
        [
            Comparison(
                dense=m[Metric.DENSE_VAL_ACCURACY] if m[_REFERENCE] is None else m[_REFERENCE],
                pruned=m[_PRUNED],
                lost=m[Metric.ESSENTIAL_VAL_LOST],
                gained=m[Metric.ESSENTIAL_VAL_GAINED],
                n_images=m[Metric.DENSE_VAL_N],
            )
            for m in models
        ],
        confidence,
        pooled=True,
        seeds=other,
    )
    limits = (drop.mean, drop.low, drop.high) if drop else (None, None, None)
    return _point(sparsity, accuracy.mean, accuracy.low, accuracy.high, *limits, len(models))


def _point(*values: float | None) -> Row:
    return dict(zip(CURVE_COLUMNS, values, strict=True))


def essential_sparsity(
    results: pd.DataFrame,
    tolerance: float = 0.01,
    detector: str = "first_violation",
    confidence: float = 0.95,
) -> EssentialSparsity | None:
    """The essential sparsity of a sweep, with its interval and the levels between which it lies.

    Args:
        results: one row per trial, see `one_shot_curve`.
        tolerance: largest acceptable drop of validation accuracy, a fraction (0.01 = 1 point).
        detector: a key of `trials.sparsity.detect.DETECTORS`.
        confidence: of `low` and `high`.

    Returns:
        None when no level above 0 was measured against its dense model.

    Raises:
        ValueError: unknown detector, tolerance outside [0, 1), or an absent column.
    """
    _check_arguments(detector, tolerance)
    curve = one_shot_curve(results, confidence)
    if not bool(((curve["sparsity"] > 0) & curve["drop"].notna()).any()):
        return None
    detection = detect(rows(curve, CURVE_COLUMNS), tolerance, detector, confidence)
    trials = rows(results, _COLUMNS)
    fewest_models = int(curve.loc[curve["sparsity"] > 0, "n"].min())
    return EssentialSparsity(
        value=detection.value,
        low=detection.low,
        high=detection.high,
        scope=OTHER_SEEDS if fewest_models >= FEWEST_SEEDS else THESE_MODELS,
        bracket=detection.bracket,
        detector=detector,
        tolerance=tolerance,
        confidence=confidence,
        curve=curve,
        reference="level_zero" if _references(trials) else "dense",
        evaluate="after_finetune"
        if any(r[_EVALUATE] == "after_finetune" for r in trials)
        else "one_shot",
    )


def _check_arguments(detector: str, tolerance: float) -> None:
    if detector not in DETECTORS:
        raise ValueError(
            f"essential.detector = {detector!r}: unknown; choose one of {sorted(DETECTORS)}."
        )
    if not 0 <= tolerance < 1:
        raise ValueError(
            f"tolerance = {tolerance}: must be 0 or more and below 1 (a fraction: write 0.01 "
            "for 1 point)."
        )


def essential_summary(essential: EssentialSparsity | None) -> dict[str, Any] | None:
    """`essential_sparsity` of summary.json: the chosen detector, then all detectors compared."""
    if essential is None:
        return None
    fields = (
        "value", "low", "high", "scope", "bracket", "detector", "tolerance", "reference",
        "evaluate",
    )  # fmt: skip
    points = rows(essential.curve, CURVE_COLUMNS)
    return {
        **{field: getattr(essential, field) for field in fields},
        "curve": points,
        "detectors": side_by_side(points, essential.tolerance, essential.confidence),
    }


def _require_curve_columns(
    results: pd.DataFrame, trials: Sequence[Row], measured: Sequence[Row]
) -> None:
    pruned = [r for r in trials if r["arm"] in CURVE_ARMS and r["status"] == "FINISHED"]
    counts = {Metric.ESSENTIAL_VAL_LOST, Metric.ESSENTIAL_VAL_GAINED, Metric.DENSE_VAL_N}
    if pruned and _PRUNED not in results:
        missing = _PRUNED
    elif measured and "sparsity" not in results:
        missing = "sparsity"
    elif measured and Metric.DENSE_VAL_ACCURACY not in results and not counts <= set(results):
        missing = Metric.DENSE_VAL_ACCURACY
    else:
        return
    raise missing_column(results, missing, "the one-shot curve")


def _essential_identity(row: Row) -> Hashable:
    if row["stage.essential"] is not None:
        return ("stage", row["stage.essential"])
    return (dense_identity(row), row["sparsity"])

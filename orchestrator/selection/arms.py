"""What each arm of a sweep reached, at its best setting.

A setting is a point of the sweep without its seed. It is chosen by validation accuracy
alone; test accuracies are reported for what was chosen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from orchestrator.selection.curve import (
    Row,
    average,
    axis_value,
    dense_models,
    grouped,
    missing_column,
    plain,
    rows,
)
from orchestrator.selection.statistics import (
    Comparison,
    accuracy_interval,
    compare,
    mean_interval,
    wilson,
)

LOTUS_ARMS = ("tickets", "essential", "issp", "lotus")
CONTROLS = ("random_patches", "random_mask", "magnitude")
ARMS = ("dense", *LOTUS_ARMS, *CONTROLS)
BASE_AXES = ("sparsity", "patch_drop", "mask_data_fraction")
_IDENTITY = (
    "run_id", "key", "name", "arm", "status", "seed", "stage.dense", "rung", "auto_sparsity",
)  # fmt: skip
METRICS = (
    "dense/val_accuracy", "dense/val_n", "dense/test_accuracy", "dense/test_n",
    "issp/val_accuracy", "final/val_accuracy", "final/test_accuracy", "final/sparsity",
    "final/sparsity_model", "final/macs", "final/macs_dense",
    "final/test_lost", "final/test_gained", "final/epochs_to_near_dense",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm at its best setting; accuracies and sparsities are fractions.

    Attributes:
        n: seeds of the setting (each seed weighs the same).
        val_accuracy_mean: what the setting was chosen by, so optimistic when there were many
            settings; the test accuracy is not.
        ci_low, ci_high: limits of the mean test accuracy.
        interval: what they count: the spread over `seeds` (Student t, n >= 2), or for one
            seed the choice of `images` (Wilson); None when neither can be said.
        difference_to_dense: test accuracy minus that of the same trials' dense models,
            positive = better than dense; limits from `compare` (image pairs and seeds).
        macs_ratio: final / dense multiply-accumulates; below 1 through dropped patches only.
        near_dense_reached: seeds of `n` that came within 1 point of dense.
        epochs_to_near_dense: mean over those seeds alone, so read it beside their number;
            limits by Student t (2 seeds or more), and the fastest and the slowest of them.
        setting: value per axis; None for an axis that the arm ignores.
    """

    arm: str
    n: int
    val_accuracy_mean: float
    test_accuracy_mean: float | None
    ci_low: float | None
    ci_high: float | None
    interval: Literal["seeds", "images"] | None
    difference_to_dense: float | None
    difference_ci_low: float | None
    difference_ci_high: float | None
    sparsity_mean: float | None
    sparsity_model_mean: float | None
    macs_ratio: float | None
    near_dense_reached: int
    epochs_to_near_dense: float | None
    epochs_ci_low: float | None
    epochs_ci_high: float | None
    epochs_lowest: float | None
    epochs_highest: float | None
    setting: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """All finished trials of one arm at one point of the sweep."""

    arm: str
    axes: dict[str, Any]
    trials: tuple[Row, ...]
    seeds: tuple[Row, ...]  # METRICS, averaged per seed
    mean: Row  # METRICS, averaged over seeds

    @property
    def val_accuracy(self) -> float:
        return float(self.mean["final/val_accuracy"])


def settings(results: pd.DataFrame, axes: Sequence[str] = ()) -> list[Setting]:
    """Finished trials with a final validation accuracy, grouped by arm and axes.

    Args:
        axes: columns that tell settings apart, beside BASE_AXES (`seed`, `arm` are ignored).

    Raises:
        ValueError: a needed column or axis is absent altogether.
    """
    names = axis_names(axes)
    table = rows(results, (*_IDENTITY, *names, *METRICS))
    finished = [r for r in table if r["status"] in (None, "FINISHED")]
    full = any(r["status"] == "FINISHED" and r["rung"] is None for r in finished)
    if full and "final/val_accuracy" not in results:
        raise missing_column(results, "final/val_accuracy", "a comparison of arms")
    finished = [r for r in finished if r["final/val_accuracy"] is not None]
    if finished:
        for column in ("arm", *names[len(BASE_AXES) :]):
            if column not in results:
                raise missing_column(results, column, "a comparison of arms")
    arms = [r for r in finished if r["arm"] is not None]
    return [_setting(group, names) for group in grouped(arms, lambda r: _point(r, names))]


def axis_names(axes: Sequence[str]) -> tuple[str, ...]:
    """BASE_AXES, then the other axes once each."""
    return tuple(dict.fromkeys((*BASE_AXES, *(a for a in axes if a not in ("seed", "arm")))))


def best_settings(found: Sequence[Setting]) -> dict[str, Setting]:
    """Per arm the setting with the best mean validation accuracy, arms in the order of ARMS.

    Ties: more seeds, then the smaller axis values.
    """
    order = {arm: i for i, arm in enumerate(ARMS)}
    best: dict[str, Setting] = {}
    for s in sorted(found, key=lambda s: (order.get(s.arm, len(order)), s.arm, preference(s))):
        best.setdefault(s.arm, s)
    return best


def arms_table(
    results: pd.DataFrame, confidence: float = 0.95, axes: Sequence[str] = ()
) -> list[ArmRow]:
    """Every arm at the setting with its best mean validation accuracy.

    Args:
        results: one row per trial.
        confidence: of all limits.
        axes: columns that tell settings apart, beside BASE_AXES.

    Raises:
        ValueError: a needed column or axis is absent altogether.
    """
    return [_arm_row(s, confidence) for s in best_settings(settings(results, axes)).values()]


def _arm_row(s: Setting, confidence: float) -> ArmRow:
    low, high, kind = _test_limits(s, confidence)
    drop = compare(
        [
            Comparison(
                dense=r["dense/test_accuracy"],
                pruned=r["final/test_accuracy"],
                lost=r["final/test_lost"],
                gained=r["final/test_gained"],
                n_images=r["dense/test_n"],
            )
            for r in s.seeds
        ],
        confidence,
    )
    return ArmRow(
        arm=s.arm,
        n=len(s.seeds),
        val_accuracy_mean=s.val_accuracy,
        test_accuracy_mean=s.mean["final/test_accuracy"],
        ci_low=low,
        ci_high=high,
        interval=kind,
        difference_to_dense=_negated(drop.mean if drop else None),
        difference_ci_low=_negated(drop.high if drop else None),
        difference_ci_high=_negated(drop.low if drop else None),
        sparsity_mean=s.mean["final/sparsity"],
        sparsity_model_mean=s.mean["final/sparsity_model"],
        macs_ratio=macs_ratio(s.mean),
        **_epochs(s, confidence),
        setting=dict(s.axes),
    )


def _epochs(s: Setting, confidence: float) -> dict[str, Any]:
    """The fields of ArmRow about epochs to within 1 point of dense."""
    reached = [e for r in s.seeds if (e := r["final/epochs_to_near_dense"]) is not None]
    spread = mean_interval(reached, confidence) if reached else None
    return {
        "near_dense_reached": len(reached),
        "epochs_to_near_dense": spread.mean if spread else None,
        "epochs_ci_low": spread.low if spread else None,
        "epochs_ci_high": spread.high if spread else None,
        "epochs_lowest": min(reached, default=None),
        "epochs_highest": max(reached, default=None),
    }


def dense_summary(results: pd.DataFrame, confidence: float = 0.95) -> dict[str, Any]:
    """The dense models of a sweep: mean accuracies, n, and the limits of the test accuracy."""
    metrics = ("dense/val_accuracy", "dense/test_accuracy")
    columns = ("stage.dense", "seed", "dense/test_n", *metrics)
    models = dense_models(rows(results, columns))
    mean = average(models, metrics)
    tested = [a for m in models if (a := m["dense/test_accuracy"]) is not None]
    counts = [m["dense/test_n"] for m in models if m["dense/test_n"] is not None]
    images = min(counts, default=None)
    spread = accuracy_interval(tested, images, confidence) if tested else None
    return {
        **{m.removeprefix("dense/"): mean[m] for m in metrics},
        "test_ci_low": spread.low if spread else None,
        "test_ci_high": spread.high if spread else None,
        "n": len(models),
    }


def _test_limits(
    s: Setting, confidence: float
) -> tuple[float | None, float | None, Literal["seeds", "images"] | None]:
    tested = [a for r in s.seeds if (a := r["final/test_accuracy"]) is not None]
    if len(tested) >= 2:
        spread = mean_interval(tested, confidence)
        if spread.low is not None and spread.high is not None:
            return max(0.0, spread.low), min(1.0, spread.high), "seeds"
    if tested and s.mean["dense/test_n"]:
        return *wilson(tested[0], s.mean["dense/test_n"], confidence), "images"
    return None, None, None


def _setting(group: Sequence[Row], names: Sequence[str]) -> Setting:
    seeds = [average(g, METRICS) for g in grouped(group, _seed)]
    return Setting(
        arm=group[0]["arm"],
        axes={n: axis_value(group[0], n) for n in names},
        trials=tuple(group),
        seeds=tuple(seeds),
        mean=average(seeds, METRICS),
    )


def _seed(row: Row) -> tuple[str, Any]:
    for column in ("seed", "stage.dense"):
        if row[column] is not None:
            return column, row[column]
    return "row", id(row)


def _point(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """Hashable place of a row in the sweep; floats apart by rounding only are one place."""
    return (row["arm"], *(_comparable(axis_value(row, n)) for n in names))


def _comparable(value: Any) -> tuple[int, float, str]:
    """Sorts and hashes any axis value: None, then numbers, then the rest as JSON."""
    value = plain(value)
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, (int, float)):
        return 1, round(float(value), 9), ""
    return 2, 0.0, json.dumps(value, sort_keys=True, default=str)


def preference(s: Setting) -> tuple[Any, ...]:
    """Sort key: best validation accuracy, then more seeds, then smaller axis values."""
    return (
        -round(s.val_accuracy, 12),
        -len(s.seeds),
        *(_comparable(v) for v in s.axes.values()),
        s.arm,
    )


def macs_ratio(row: Row) -> float | None:
    """Final over dense multiply-accumulates."""
    macs, dense = row["final/macs"], row["final/macs_dense"]
    return macs / dense if macs is not None and dense else None


def _negated(value: float | None) -> float | None:
    return None if value is None else -value or 0.0

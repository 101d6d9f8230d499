"""What each arm reached at its best setting, next to the dense model.

Settings are chosen by validation accuracy alone; test accuracy is only reported. Both are deployed
accuracies (`settings.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import against_reference
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.rows import average, dense_models, fewest, rows
from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS, Scope
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.settings import (
    TEST,
    VAL,
    Setting,
    best_settings,
    kept_macs_ratio,
    macs_ratio,
    speed_ratio,
)
from orchestrator.selection.statistics import (
    Interval,
    accuracy_interval,
    mean_interval,
    sayable,
)
from orchestrator.vocabulary import Metric, of
from trials.arms import BY_NAME, DENSE, LOTUS, SHOWN

Reference = Literal["fine_tuned", "before_fine_tuning"]
"""The dense model that a sweep is measured against: with equal fine-tuning, if that was run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """One arm at its best setting; accuracies and sparsities are fractions.

    Attributes:
        n: number of seeds (each seed weighs the same).
        val_accuracy_mean: the setting was chosen by this, so it is optimistic when there were
            many settings; the test accuracy is not. Both are deployed accuracies.
        ci_low, ci_high: limits of the mean test accuracy, in `scope`; None where the interval is
            left out (`statistics.sayable`).
        test_accuracy_whole: of the same models on whole images.
        difference_to_dense: test accuracy minus that of the dense reference at the same seeds,
            positive = better than dense; limits as in `scopes.py`, uncorrected.
        macs_ratio: deployed over dense multiply-accumulates, including the choice of patches;
            macs_ratio_kept: without it.
        images_per_s_ratio: measured on the kept patches, without choosing them.
        near_dense_reached: how many of the `n` seeds came within 1 point of dense.
        epochs_to_near_dense: mean over those seeds only, so read it together with their number;
            with Student t limits, and the fastest and slowest of these seeds.
        setting: value per axis; None for an axis that the arm ignores.
    """

    arm: str
    n: int
    val_accuracy_mean: float | None
    test_accuracy_mean: float | None
    ci_low: float | None
    ci_high: float | None
    scope: Scope
    test_accuracy_whole: float | None
    reference: Reference
    difference_to_dense: float | None
    models_low: float | None
    models_high: float | None
    seeds_low: float | None
    seeds_high: float | None
    sparsity_mean: float | None
    sparsity_model_mean: float | None
    macs_ratio: float | None
    macs_ratio_kept: float | None
    images_per_s_ratio: float | None
    near_dense_reached: int
    epochs_to_near_dense: float | None
    epochs_ci_low: float | None
    epochs_ci_high: float | None
    epochs_lowest: float | None
    epochs_highest: float | None
    setting: dict[str, Any]


def known_arms() -> list[dict[str, Any]]:
    """`known_arms` of summary.json: every arm as pages need it, in the order of tables.

    Returns:
        arm, label, mask (what prunes it), replaces (of controls) and look as in `trials.arms`;
        full (all of LOTUS). The arm of token reduction is also listed under each of its methods.
    """
    return [
        {"arm": name, "label": label, "mask": arm.mask if arm else None,
         "replaces": arm.replaces if arm else None, "full": name == LOTUS, "look": look}
        for name, label, look in SHOWN
        for arm in [BY_NAME.get(name)]
    ]  # fmt: skip


def arms_table(
    settings: Sequence[Setting],
    spreads: Spreads,
    outcomes: Outcomes | None = None,
    confidence: float = 0.95,
) -> list[ArmRow]:
    """Every arm at the setting with its best mean validation accuracy.

    Args:
        settings: from `group_settings`.
        outcomes: None = differences are computed from counts.
        confidence: of all limits.
    """
    best = best_settings(settings).values()
    return [_arm_row(s, settings, spreads, outcomes or {}, confidence) for s in best]


def _arm_row(
    setting: Setting,
    settings: Sequence[Setting],
    spreads: Spreads,
    outcomes: Outcomes,
    confidence: float,
) -> ArmRow:
    spread, scope = test_interval(setting, confidence)
    contrast = against_reference(setting, settings)
    itself = setting.arm == DENSE and contrast.b is setting and contrast.of_a is contrast.of_b
    gap = None if itself else spreads.difference(contrast, contrast.pairs(outcomes))
    models, seeds = (
        gap.interval(where, confidence) if gap else Interval(mean=0.0, low=None, high=None)
        for where in (THESE_MODELS, OTHER_SEEDS)
    )  # fmt: skip
    return ArmRow(
        arm=setting.arm,
        n=len(setting.seeds),
        val_accuracy_mean=setting.mean[VAL],
        test_accuracy_mean=setting.mean[TEST],
        ci_low=spread.low if spread else None,
        ci_high=spread.high if spread else None,
        scope=scope,
        test_accuracy_whole=setting.mean[Metric.FINAL_TEST_ACCURACY],
        reference="before_fine_tuning" if contrast.a is contrast.b and not itself else "fine_tuned",
        difference_to_dense=gap.mean if gap else None,
        models_low=models.low,
        models_high=models.high,
        seeds_low=seeds.low,
        seeds_high=seeds.high,
        sparsity_mean=setting.mean[Metric.FINAL_SPARSITY],
        sparsity_model_mean=setting.mean[Metric.FINAL_SPARSITY_MODEL],
        macs_ratio=macs_ratio(setting.mean),
        macs_ratio_kept=kept_macs_ratio(setting.mean),
        images_per_s_ratio=speed_ratio(setting.mean),
        **_epochs(setting, confidence),
        setting=dict(setting.axes),
    )


def test_interval(s: Setting, confidence: float) -> tuple[Interval | None, Scope]:
    """The mean test accuracy of a setting, and the scope of its limits."""
    tested = [a for r in s.seeds if (a := r[TEST]) is not None]
    other = len(tested) >= FEWEST_SEEDS
    scope = OTHER_SEEDS if other else THESE_MODELS
    if not tested:
        return None, scope
    return accuracy_interval(tested, s.mean[Metric.DENSE_TEST_N], confidence, seeds=other), scope


def _epochs(s: Setting, confidence: float) -> dict[str, Any]:
    """The fields of ArmRow about epochs to within 1 point of dense."""
    reached = [e for r in s.seeds if (e := r[Metric.FINAL_EPOCHS_TO_NEAR_DENSE]) is not None]
    spread = mean_interval(reached, confidence) if len(reached) >= FEWEST_SEEDS else None
    ran = s.mean["finetune.epochs"]
    low, high = (spread.low, spread.high) if spread and ran else (None, None)
    if low is not None and high is not None:
        spread = sayable(sum(reached) / len(reached), low, high, 0, ran)
        low, high = spread.low, spread.high
    return {
        "near_dense_reached": len(reached),
        "epochs_to_near_dense": sum(reached) / len(reached) if reached else None,
        "epochs_ci_low": low,
        "epochs_ci_high": high,
        "epochs_lowest": min(reached, default=None),
        "epochs_highest": max(reached, default=None),
    }


def dense_summary(
    results: pd.DataFrame,
    settings: Sequence[Setting],
    reference: Setting | None,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """`dense` of summary.json: the dense model that all final accuracies are measured against.

    Args:
        reference: the `dense` arm to compare the recommended setting with
            (`contrasts.dense_for`); None = the best `dense` setting that was run.

    Returns:
        `reference` with its mean accuracies, limits and n; `before_fine_tuning`: the same for
        the dense models that all trials start from, which pruned models are compared with before
        fine-tuning. Without a dense arm the two are the same.
    """
    before = _before_fine_tuning(results, confidence)
    tuned = reference or best_settings(settings).get(DENSE)
    if tuned is None:
        return {"reference": "before_fine_tuning", **before, "before_fine_tuning": before}
    spread, scope = test_interval(tuned, confidence)
    return {
        "reference": "fine_tuned",
        "val_accuracy": tuned.mean[VAL],
        "test_accuracy": tuned.mean[TEST],
        "test_ci_low": spread.low if spread else None,
        "test_ci_high": spread.high if spread else None,
        "scope": scope,
        "n": len(tuned.seeds),
        "before_fine_tuning": before,
    }


def _before_fine_tuning(results: pd.DataFrame, confidence: float) -> dict[str, Any]:
    metrics = (Metric.DENSE_VAL_ACCURACY, Metric.DENSE_TEST_ACCURACY)
    columns = ("stage.dense", "seed", Metric.DENSE_TEST_N, *metrics)
    models = dense_models(rows(results, columns))
    mean = average(models, metrics)
    tested = [a for m in models if (a := m[Metric.DENSE_TEST_ACCURACY]) is not None]
    other = len(tested) >= FEWEST_SEEDS
    spread = (
        accuracy_interval(tested, fewest(models, Metric.DENSE_TEST_N), confidence, seeds=other)
        if tested
        else None
    )
    return {
        **{m.removeprefix(of("dense", "")): mean[m] for m in metrics},
        "test_ci_low": spread.low if spread else None,
        "test_ci_high": spread.high if spread else None,
        "scope": OTHER_SEEDS if other else THESE_MODELS,
        "n": len(models),
    }

"""The setting to use: the cheapest that keeps the dense accuracy, and how sure that is.

It is chosen by validation alone. Whether it keeps the accuracy is then tested once, on the test
images: a single question, asked beforehand, so its interval needs no correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.selection.arms import Reference
from orchestrator.selection.choice import Choice, Chosen, choose, reference_means
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.rows import TIE, Row
from orchestrator.selection.scopes import (
    OTHER_SEEDS,
    THESE_MODELS,
    Difference,
    Scope,
    needed,
)
from orchestrator.selection.settings import (
    TEST,
    VAL,
    Setting,
    kept_macs_ratio,
    macs_ratio,
    speed_ratio,
)
from orchestrator.selection.statistics import Interval
from orchestrator.vocabulary import Metric

Verdict = Literal["shown", "not shown", "exceeded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """The setting to use. Accuracies are deployed, means over its seeds; all fractions.

    Attributes:
        trial_key, name, seed: of the representative trial: the median seed by validation
            accuracy, or the lower of the middle two.
        n: seeds; n_compared: those that the dense reference also has; n_images: test images.
        final_sparsity: of the prunable weights; sparsity_model: of all parameters.
        test_accuracy_whole: of the same models on whole images, as plain timm runs them.
        reference: of `dense_*` and the difference; see `contrasts.dense_for`.
        difference: test accuracy minus that of the dense reference at the same seeds.
        models_low, models_high, seeds_low, seeds_high: its limits in both scopes; None where the
            interval is left out.
        scope: of the verdict; confidence: of all its limits.
        verdict: whether the loss is at most the tolerance: "shown" (for the whole interval),
            "exceeded" (for none of it), else "not shown".
        within_tolerance: the verdict is "shown".
        chosen: by which rule; see `choice.choose`.
        macs_ratio: deployed over dense multiply-accumulates, including the choice of patches;
            macs_ratio_kept: without it; macs_training_ratio: the whole training over that of the
            dense reference.
        images_per_s_ratio: measured on the kept patches, without choosing them.
        reason: a sentence on why it was chosen; would_show: what would decide, or None.
    """

    trial_key: str | None
    name: str | None
    arm: str
    sparsity: float | str | None
    patch_drop: float | None
    mask_data_fraction: float | None
    seed: int | None
    n: int
    n_compared: int
    n_images: int | None
    final_sparsity: float | None
    sparsity_model: float | None
    val_accuracy: float
    test_accuracy: float | None
    test_accuracy_whole: float | None
    reference: Reference
    dense_val_accuracy: float | None
    dense_test_accuracy: float | None
    difference: float | None
    models_low: float | None
    models_high: float | None
    seeds_low: float | None
    seeds_high: float | None
    scope: Scope
    confidence: float
    tolerance: float
    verdict: Verdict
    within_tolerance: bool
    chosen: Chosen
    macs_ratio: float | None
    macs_ratio_kept: float | None
    macs_training_ratio: float | None
    images_per_s_ratio: float | None
    reason: str
    would_show: str | None
    setting: dict[str, Any]


def recommend(
    settings: Sequence[Setting],
    spreads: Spreads,
    outcomes: Outcomes | None = None,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Recommended | None:
    """`choose`, and the result on test; None when there is nothing to choose from.

    Args:
        outcomes: which images each trial gets right; None = use counts.
    """
    choice = choose(settings, spreads, tolerance, confidence)
    if choice is None:
        return None
    return read_on_test(choice, spreads, outcomes, tolerance, confidence)


def read_on_test(
    choice: Choice,
    spreads: Spreads,
    outcomes: Outcomes | None = None,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Recommended:
    """The result of a chosen setting on test; see `recommend`."""
    gap = spreads.difference(choice.on_test, choice.on_test.pairs(outcomes or {}))
    return _recommended(choice, gap, tolerance, confidence)


def median_trial(s: Setting) -> Row:
    """The trial of the median seed by validation accuracy, or of the lower of the middle two."""
    ordered = sorted(
        (r for r in s.trials if r[VAL] is not None),
        key=lambda r: (round(r[VAL], 12), r["seed"] is None, r["seed"], str(r["key"])),
    )
    return ordered[(len(ordered) - 1) // 2]


def _recommended(
    choice: Choice, gap: Difference | None, tolerance: float, confidence: float
) -> Recommended:
    s, dense = choice.setting, choice.on_test.b
    trial = median_trial(s)
    reference = reference_means(choice.on_test)
    return Recommended(
        trial_key=trial["key"],
        name=trial["name"],
        arm=s.arm,
        sparsity=s.axes["sparsity"],
        patch_drop=s.axes["patch_drop"],
        mask_data_fraction=s.axes["mask_data_fraction"],
        seed=None if trial["seed"] is None else int(trial["seed"]),
        n=len(s.seeds),
        final_sparsity=s.mean[Metric.FINAL_SPARSITY],
        sparsity_model=s.mean[Metric.FINAL_SPARSITY_MODEL],
        val_accuracy=s.mean[VAL],
        test_accuracy=s.mean[TEST],
        test_accuracy_whole=s.mean[Metric.FINAL_TEST_ACCURACY],
        reference="before_fine_tuning" if dense is s else "fine_tuned",
        dense_val_accuracy=reference["val"],
        dense_test_accuracy=reference["test"],
        confidence=confidence,
        tolerance=tolerance,
        **_test_result(gap, tolerance, confidence),
        chosen=choice.chosen,
        macs_ratio=macs_ratio(s.mean),
        macs_ratio_kept=kept_macs_ratio(s.mean),
        macs_training_ratio=_training_ratio(s, dense),
        images_per_s_ratio=speed_ratio(s.mean),
        reason=choice.reason,
        setting=dict(s.axes),
    )


def _test_result(gap: Difference | None, tolerance: float, confidence: float) -> dict[str, Any]:
    """The fields of Recommended about the difference to dense on test."""
    unknown = Interval(mean=0.0, low=None, high=None)
    models = gap.interval(THESE_MODELS, confidence) if gap else unknown
    seeds = gap.interval(OTHER_SEEDS, confidence) if gap else unknown
    scope = gap.scope if gap else THESE_MODELS
    verdict = _verdict(seeds if scope == OTHER_SEEDS else models, tolerance)
    would_show = None
    if gap is not None and verdict == "not shown":
        remedy = needed(gap, scope, confidence, tolerance, noninferior=True)
        would_show = remedy.words(gap.n_images)
    return {
        "n_compared": gap.n if gap else 0,
        "n_images": gap.n_images if gap else None,
        "difference": gap.mean if gap else None,
        "models_low": models.low,
        "models_high": models.high,
        "seeds_low": seeds.low,
        "seeds_high": seeds.high,
        "scope": scope,
        "verdict": verdict,
        "within_tolerance": verdict == "shown",
        "would_show": would_show,
    }


def _training_ratio(s: Setting, dense: Setting) -> float | None:
    macs, dense_macs = s.mean[Metric.FINAL_MACS_TRAINING], dense.mean[Metric.FINAL_MACS_TRAINING]
    return macs / dense_macs if dense is not s and macs and dense_macs else None


def _verdict(interval: Interval, tolerance: float) -> Verdict:
    if interval.low is None or interval.high is None:
        return "not shown"
    if interval.low >= -tolerance - TIE:
        return "shown"
    return "exceeded" if interval.high < -tolerance - TIE else "not shown"

"""The setting to use: the cheapest that keeps the dense accuracy, and how sure that is.

Chosen by validation alone. Whether it keeps the accuracy is then read once, on the test images:
a single question, asked beforehand, so its interval needs no correction.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.selection.arms import Reference
from orchestrator.selection.comparisons import Contrast, Spreads, against_reference
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.rows import TIE, Row, average
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
    preference,
    speed_ratio,
)
from orchestrator.selection.statistics import Interval
from orchestrator.selection.verdicts import between, percent, points_of
from trials.arms import LOTUS_ARMS

Verdict = Literal["shown", "not shown", "exceeded"]
Chosen = Literal["shown on validation", "within on validation", "best on validation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """The setting to use. Accuracies are deployed, means over its seeds; all fractions.

    Attributes:
        trial_key, name, seed: of the trial whose model stands for it: the median seed by
            validation accuracy, of an even number the lower of the middle two.
        n: seeds; n_compared: those that the dense reference has too; n_images: test images.
        final_sparsity: of the prunable weights; sparsity_model: of all parameters.
        test_accuracy_whole: of the same models on whole images, as plain timm runs them.
        reference: what `dense_*` and the difference are about; see `comparisons.dense_for`.
        difference: test accuracy minus that of the dense reference at the same seeds.
        models_low, models_high, seeds_low, seeds_high: its limits in both scopes; None where
            nothing is said.
        scope: the one in which the verdict is given; confidence: of all its limits.
        verdict: whether the loss is at most the tolerance: "shown" (the whole interval is),
            "exceeded" (none of it is), else "not shown".
        within_tolerance: the verdict is "shown".
        chosen: by which rule, see `recommend`.
        macs_ratio: deployed over dense multiply-accumulates, choosing the patches included;
            macs_ratio_kept: without that; macs_training_ratio: of the whole training over that
            of the dense reference.
        images_per_s_ratio: measured, on the kept patches, without choosing them.
        reason: a sentence on how it was chosen; would_show: what would decide, or None.
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


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting and why it was chosen, before any test outcome is read.

    Attributes:
        on_test: the comparison that its verdict is read from.
    """

    setting: Setting
    chosen: Chosen
    reason: str
    on_test: Contrast


def choose(
    found: Sequence[Setting],
    spreads: Spreads,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Choice | None:
    """The cheapest setting that keeps the dense accuracy on validation.

    Candidates are the settings of LOTUS_ARMS with a deployed accuracy and known MACs. Those whose
    whole interval against the dense reference (by counts, in the widest scope that can be said)
    is above -tolerance are shown to keep it; where there is none, those whose mean does. Of these:
    fewest MACs, choosing the patches included, then highest final sparsity, then best validation
    accuracy. Where even that leaves none: the best validation accuracy.

    Args:
        tolerance: fraction (0.01 = 1 point).

    Returns:
        None when there is no candidate.
    """
    candidates = [
        s for s in found
        if s.arm in LOTUS_ARMS and s.mean[VAL] is not None and s.mean["final/macs_deployed"]
    ]  # fmt: skip
    if not candidates:
        return None
    gaps = [_validation_gap(s, found, spreads) for s in candidates]
    shown = [
        s for s, gap in zip(candidates, gaps, strict=True)
        if gap and _at_least(gap.interval(gap.scope, confidence).low, -tolerance)
    ]  # fmt: skip
    within = [
        s
        for s, gap in zip(candidates, gaps, strict=True)
        if gap and _at_least(gap.mean, -tolerance)
    ]
    if shown:
        best, chosen = min(shown, key=_cost), "shown on validation"
    elif within:
        best, chosen = min(within, key=_cost), "within on validation"
    else:
        best, chosen = min(candidates, key=preference), "best on validation"
    counts = {"candidates": len(candidates), "shown": len(shown), "within": len(within)}
    on_test = against_reference(best, found)
    return Choice(best, chosen, _reason(chosen, counts, on_test, tolerance), on_test)  # type: ignore[arg-type]


def recommend(
    found: Sequence[Setting],
    spreads: Spreads,
    outcomes: Outcomes | None = None,
    tolerance: float = 0.01,
    confidence: float = 0.95,
) -> Recommended | None:
    """`choose`, with what the test images say of it; None when there is nothing to choose from.

    Args:
        outcomes: which images each trial gets right, where they were read; else counts serve.
    """
    choice = choose(found, spreads, tolerance, confidence)
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
    """What the test images say of the setting that was chosen; see `recommend`."""
    gap = spreads.difference(choice.on_test, choice.on_test.pairs(outcomes or {}))
    return _recommended(choice, gap, tolerance, confidence)


def median_trial(s: Setting) -> Row:
    """The trial of the median seed by validation accuracy; the lower one of two middle ones."""
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
    nothing = Interval(mean=0.0, low=None, high=None)
    models = gap.interval(THESE_MODELS, confidence) if gap else nothing
    seeds = gap.interval(OTHER_SEEDS, confidence) if gap else nothing
    scope = gap.scope if gap else THESE_MODELS
    verdict = _verdict(seeds if scope == OTHER_SEEDS else models, tolerance)
    would = None
    if gap is not None and verdict == "not shown":
        would = needed(gap, scope, confidence, tolerance, noninferior=True).words(gap.n_images)
    reference = _reference_means(choice.on_test)
    return Recommended(
        trial_key=trial["key"],
        name=trial["name"],
        arm=s.arm,
        sparsity=s.axes["sparsity"],
        patch_drop=s.axes["patch_drop"],
        mask_data_fraction=s.axes["mask_data_fraction"],
        seed=None if trial["seed"] is None else int(trial["seed"]),
        n=len(s.seeds),
        n_compared=gap.n if gap else 0,
        n_images=gap.n_images if gap else None,
        final_sparsity=s.mean["final/sparsity"],
        sparsity_model=s.mean["final/sparsity_model"],
        val_accuracy=s.mean[VAL],
        test_accuracy=s.mean[TEST],
        test_accuracy_whole=s.mean["final/test_accuracy"],
        reference="before_fine_tuning" if dense is s else "fine_tuned",
        dense_val_accuracy=reference["val"],
        dense_test_accuracy=reference["test"],
        difference=gap.mean if gap else None,
        models_low=models.low,
        models_high=models.high,
        seeds_low=seeds.low,
        seeds_high=seeds.high,
        scope=scope,
        confidence=confidence,
        tolerance=tolerance,
        verdict=verdict,
        within_tolerance=verdict == "shown",
        chosen=choice.chosen,
        macs_ratio=macs_ratio(s.mean),
        macs_ratio_kept=kept_macs_ratio(s.mean),
        macs_training_ratio=_training_ratio(s, dense),
        images_per_s_ratio=speed_ratio(s.mean),
        reason=choice.reason,
        would_show=would,
        setting=dict(s.axes),
    )


def _reference_means(on_test: Contrast) -> dict[str, float | None]:
    """Validation and test accuracy of the dense reference, over the seeds that both have."""
    dense = on_test.b
    columns = {"val": VAL, "test": TEST}
    if dense is on_test.a:
        columns = {"val": "dense/val_accuracy", "test": "dense/test_accuracy"}
    common = [
        average(dense.by_seed()[seed], columns.values()) for seed in on_test.a.seeds_with(dense)
    ] or list(dense.seeds)
    mean = average(common, columns.values())
    return {name: mean[column] for name, column in columns.items()}


def _training_ratio(s: Setting, dense: Setting) -> float | None:
    own, reference = s.mean["final/macs_training"], dense.mean["final/macs_training"]
    return own / reference if dense is not s and own and reference else None


def _validation_gap(s: Setting, found: Sequence[Setting], spreads: Spreads) -> Difference | None:
    # By counts: the outcomes of every candidate are too much to read.
    contrast = against_reference(s, found, validation=True)
    return spreads.difference(contrast, contrast.pairs({}))


def _at_least(value: float | None, floor: float) -> bool:
    return value is not None and value >= floor - TIE


def _verdict(found: Interval, tolerance: float) -> Verdict:
    if found.low is None or found.high is None:
        return "not shown"
    if found.low >= -tolerance - TIE:
        return "shown"
    return "exceeded" if found.high < -tolerance - TIE else "not shown"


def _reason(chosen: Chosen, counts: dict[str, int], on_test: Contrast, tolerance: float) -> str:
    """How it was chosen, in one or two sentences."""
    mean, dense = percent(on_test.a.mean[VAL]), percent(_reference_means(on_test)["val"])
    source = (
        "the dense model before fine-tuning (the dense arm was not run)"
        if on_test.a is on_test.b
        else "dense with equal fine-tuning"
    )
    near = f"within {points_of(tolerance)} of {source} ({dense} on validation)"
    cheapest = (
        f"this one ({mean}) needs the fewest multiply-accumulates and, of those that need equally "
        "few, removes the most weights"
    )
    total, shown, within = (counts[name] for name in ("candidates", "shown", "within"))
    if chosen == "shown on validation":
        are = "is" if shown == 1 else "are"
        return f"{shown} of {_settings(total)} {are} shown to be {near}; of them {cheapest}."
    if chosen == "within on validation":
        return (
            f"None of {_settings(total)} is shown on validation to be {near}, but the mean of "
            f"{within} is; of them {cheapest}."
        )
    return f"None of {_settings(total)} is {near}; this one is the most accurate there ({mean})."


def _settings(count: int) -> str:
    return f"{count:,} setting{'' if count == 1 else 's'}"


def in_words(best: Recommended) -> str:
    """What it costs in accuracy, and how sure that is: the same sentences on every screen."""
    if best.difference is None:
        return "Its accuracy on test was not compared with dense."
    tuned = best.reference == "fine_tuned"
    source = "dense with equal fine-tuning" if tuned else "dense before fine-tuning"
    size = f"{abs(100 * best.difference):.1f}"
    points = f"{size} point{'' if size == '1.0' else 's'}"
    start = "It differs from dense by less than 0.1 points" if size == "0.0" else (
        f"It {'loses' if best.difference < 0 else 'gains'} {points}"
    )  # fmt: skip
    models = _limits(best.models_low, best.models_high, "too few images to say")
    few = (
        f"too few seeds ({best.n_compared}) to say"
        if best.scope == THESE_MODELS
        else "too wide to say"
    )
    seeds = _limits(best.seeds_low, best.seeds_high, few)
    tolerated = points_of(best.tolerance)
    said = {
        "shown": f"Shown to be within {tolerated} of dense",
        "exceeded": f"Shown to lose more than {tolerated}",
        "not shown": f"Not shown to be within {tolerated} of dense",
    }[best.verdict]
    would = f"; {best.would_show}" if best.would_show else ""
    return (
        f"{start} on test: {percent(best.test_accuracy)} against "
        f"{percent(best.dense_test_accuracy)} for {source} "
        f"({_seeds(best)}). "
        f"{100 * best.confidence:g} % intervals: these models {models}; other seeds {seeds}. "
        f"{said} ({best.scope}){would}."
    )


def _seeds(best: Recommended) -> str:
    said = f"mean of {best.n} seed{'' if best.n == 1 else 's'}"
    fewer = f"; the difference is that of {best.n_compared}, which both have"
    return said + (fewer if best.n_compared < best.n else "")


def _limits(low: float | None, high: float | None, otherwise: str) -> str:
    if low is None or high is None:
        return otherwise
    return between(low, high)


def _cost(s: Setting) -> tuple[Any, ...]:
    macs, sparsity = s.mean["final/macs_deployed"], s.mean["final/sparsity"]
    return (
        math.inf if macs is None else float(f"{macs:.9g}"),  # means may differ in the last bit
        -round(sparsity or 0.0, 9),
        *preference(s),
    )

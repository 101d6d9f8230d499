"""The answer of a sweep: essential sparsity, recommended setting, and the report's summary.

Pure statistics on the table of trials, one row per trial. `statistics.py` has the
intervals, `curve.py` the one-shot curve, `arms.py` the arms, `comparisons.py` arms against
each other, `diagnosis.py` what caused a collapse, `claims.py` the paper's claims, `findings.py`
and `controls.py` the sentences about what is doubtful or was not measured; their public names
stand here too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.arms import (
    LOTUS_ARMS,
    ArmRow,
    Setting,
    arms_table,
    best_settings,
    dense_summary,
    macs_ratio,
    preference,
    settings,
)
from orchestrator.selection.claims import paper_claims
from orchestrator.selection.comparisons import ArmComparison, compare_arms, contrasts
from orchestrator.selection.curve import (
    TIE,
    EssentialSparsity,
    average,
    dense_models,
    essential_sparsity,
    essential_summary,
    missing_column,
    one_shot_curve,
    plain,
    rows,
)
from orchestrator.selection.diagnosis import diagnose
from orchestrator.selection.findings import Findings, not_measured, warnings
from orchestrator.selection.halving import halving
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.pareto import pareto
from orchestrator.selection.statistics import Interval, mean_interval, paired_drop

__all__ = [
    "ArmComparison",
    "ArmRow",
    "EssentialSparsity",
    "Interval",
    "Recommended",
    "Selection",
    "arms_table",
    "diagnose",
    "essential_sparsity",
    "mean_interval",
    "one_shot_curve",
    "paired_drop",
    "paper_claims",
    "recommend",
    "select",
    "summarise",
]

CONFIDENCE = 0.95


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a sweep selects; None where it did not measure enough to say."""

    essential: EssentialSparsity | None
    recommended: Recommended | None


def select(
    results: pd.DataFrame,
    tolerance: float = 0.01,
    detector: str = "first_violation",
    axes: Sequence[str] = (),
    curve: pd.DataFrame | None = None,
) -> Selection:
    """`essential_sparsity` and `recommend` with one tolerance (a fraction).

    Args:
        curve: what measured the one-shot curve (`tables.curve`), where `results` lacks the
            levels that `sparsity: auto` evaluates for itself.
    """
    measured = results if curve is None else curve
    return Selection(
        essential=essential_sparsity(measured, tolerance, detector, CONFIDENCE),
        recommended=recommend(results, tolerance, axes),
    )


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


def summarise(
    results: pd.DataFrame,
    *,
    sweep: str,
    planned: int,
    device: str,
    device_hours: float,
    device_hours_saved: float,
    wall_s: float | None,
    tolerance: float = 0.01,
    detector: str = "first_violation",
    axes: Sequence[str] = (),
    curve: pd.DataFrame | None = None,
    extra_warnings: Sequence[str] = (),
    outcomes: Outcomes | None = None,
) -> dict[str, Any]:
    """The content of `report/summary.json`: Python scalars only, None for what is unknown.

    Args:
        results: one row per trial; may be empty.
        sweep: name of the sweep.
        planned: trials that the sweep file asks for.
        device: in words; device_hours and device_hours_saved as measured, wall_s in seconds.
        tolerance: fraction (0.01 = 1 point).
        detector: a key of `trials.detect.DETECTORS`.
        axes: columns that tell settings apart, beside the three of LOTUS; one that no trial
            has is left out with a warning.
        curve: see `select`.
        extra_warnings: sentences put first.
        outcomes: trial key -> evaluation -> which images it gets right; makes comparisons
            between arms exact by image.

    Raises:
        ValueError: see `essential_sparsity` and `recommend`.
    """
    results = _full_first(results)
    known = [a for a in axes if a in results]
    absent = [a for a in axes if a not in results and a not in ("seed", "arm")]
    chosen = select(results, tolerance, detector, known, curve)
    points = settings(results, known)
    diagnosis = diagnose(results, CONFIDENCE, outcomes)
    found = Findings(
        results=results,
        measured=results if curve is None else curve,
        planned=planned,
        settings=points,
        arms=arms_table(results, CONFIDENCE, known),
        comparisons=compare_arms(contrasts(points), outcomes or {}, CONFIDENCE),
        essential=chosen.essential,
        absent_axes=absent if len(results) else [],
        tolerance=tolerance,
        confidence=CONFIDENCE,
        diagnosed=diagnosis is not None,
    )
    summary = {
        "sweep": sweep,
        "confidence": CONFIDENCE,
        "trials": {"planned": planned, "finished": found.finished, "failed": found.failed},
        "dense": dense_summary(results, CONFIDENCE),
        "essential_sparsity": essential_summary(chosen.essential),
        "arms": [asdict(a) for a in found.arms],
        "comparisons": [asdict(c) for c in found.comparisons],
        "recommended": asdict(chosen.recommended) if chosen.recommended else None,
        "claims": paper_claims(results, tolerance, CONFIDENCE, outcomes, curve),
        "diagnosis": diagnosis,
        "pareto": pareto(found.settings),
        "halving": halving(results, known),
        "cost": {
            "device": device,
            "device_hours": device_hours,
            "device_hours_saved": device_hours_saved,
            "wall_s": wall_s,
        },
        "not_measured": not_measured(found),
        "warnings": [*extra_warnings, *warnings(found)],
    }
    return {name: plain(value) for name, value in summary.items()}


def _full_first(results: pd.DataFrame) -> pd.DataFrame:
    """Stopped trials last: of one dense model the first row counts, and they have no test."""
    if "rung" not in results:
        return results
    return results.iloc[results["rung"].notna().to_numpy().argsort(kind="stable")]

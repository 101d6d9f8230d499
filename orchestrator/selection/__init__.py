"""The answer of a sweep: essential sparsity, recommended setting, and the report's summary.

Pure statistics on the table of trials, one row per trial. `settings.py` groups trials,
`statistics.py`, `seeds.py`, `pairs.py` and `scopes.py` have the intervals, `curve.py` the one-shot
curve, `arms.py` the arms, `recommendation.py` the setting to use, `comparisons.py` arms against
each other, `diagnosis.py` what caused a collapse, `claims.py` the paper's claims, `findings.py` and
`controls.py` the sentences about what is doubtful or was not measured, `answer.py` the answer in
words, `series.py` what figures draw;
their public names stand here too.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.costs import cost_words
from orchestrator.selection.answer import answer
from orchestrator.selection.arms import ArmRow, arms_table, dense_summary
from orchestrator.selection.claims import paper_claims
from orchestrator.selection.comparisons import (
    ArmComparison,
    Spreads,
    compare_arms,
    contrasts,
    dense_for,
    needed_trials,
)
from orchestrator.selection.curve import (
    EssentialSparsity,
    essential_sparsity,
    essential_summary,
    one_shot_curve,
)
from orchestrator.selection.diagnosis import diagnose
from orchestrator.selection.findings import Findings, not_measured, warnings
from orchestrator.selection.halving import halving
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.pareto import pareto
from orchestrator.selection.recommendation import Recommended, choose, recommend
from orchestrator.selection.rows import plain
from orchestrator.selection.series import by_mask_data, stage_seconds, throughput
from orchestrator.selection.settings import settings
from orchestrator.selection.statistics import Interval, mean_interval, paired_drop

__all__ = [
    "ArmComparison",
    "ArmRow",
    "EssentialSparsity",
    "Interval",
    "Recommended",
    "Selection",
    "diagnose",
    "essential_sparsity",
    "mean_interval",
    "one_shot_curve",
    "paired_drop",
    "paper_claims",
    "select",
    "summarise",
    "wanted_trials",
]

CONFIDENCE = 0.95


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
    outcomes: Outcomes | None = None,
) -> Selection:
    """`essential_sparsity` and `recommend` with one tolerance (a fraction).

    Args:
        curve: what measured the one-shot curve (`tables.curve`), where `results` lacks the
            levels that `sparsity: auto` evaluates for itself.
        outcomes: which images each trial gets right (`wanted_trials` says whose); they change no
            choice, and make the recommended setting's interval exact by image. Without, it rests
            on counts and is rather too wide.
    """
    measured = results if curve is None else curve
    results = _full_first(results)
    found = settings(results, [a for a in axes if a in results])
    return Selection(
        essential=essential_sparsity(measured, tolerance, detector, CONFIDENCE),
        recommended=recommend(found, Spreads(found), outcomes, tolerance, CONFIDENCE),
    )


def wanted_trials(
    results: pd.DataFrame, tolerance: float = 0.01, axes: Sequence[str] = (), all_arms: bool = True
) -> list[str]:
    """Keys of the trials whose outcomes make comparisons exact by image.

    Args:
        all_arms: False = those of the recommended setting alone.
    """
    found = settings(_full_first(results), [a for a in axes if a in results])
    planned = contrasts(found) if all_arms else []
    choice = choose(found, Spreads(found), tolerance, CONFIDENCE)
    return needed_trials([*([choice.on_test] if choice else []), *planned])


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
        device: `cpu` or `gpu`; device_hours and device_hours_saved as measured, wall_s in seconds.
        tolerance: fraction (0.01 = 1 point).
        detector: a key of `trials.sparsity.detect.DETECTORS`.
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
    measured = results if curve is None else curve
    essential = essential_sparsity(measured, tolerance, detector, CONFIDENCE)
    points = settings(results, known)
    spreads = Spreads(points)
    best = recommend(points, spreads, outcomes, tolerance, CONFIDENCE)
    choice = choose(points, spreads, tolerance, CONFIDENCE)
    dense = dense_for(choice.setting, points) if choice else None
    diagnosis = diagnose(results, CONFIDENCE, outcomes)
    found = Findings(
        results=results,
        measured=measured,
        planned=planned,
        settings=points,
        arms=arms_table(points, spreads, outcomes, CONFIDENCE),
        comparisons=compare_arms(contrasts(points), outcomes or {}, spreads, CONFIDENCE, tolerance),
        essential=essential,
        absent_axes=absent if len(results) else [],
        tolerance=tolerance,
        confidence=CONFIDENCE,
        diagnosed=diagnosis is not None,
    )
    cost = {
        "device": device,
        "device_hours": device_hours,
        "device_hours_saved": device_hours_saved,
        "wall_s": wall_s,
    }
    summary = {
        "sweep": sweep,
        "confidence": CONFIDENCE,
        "trials": {"planned": planned, "finished": found.finished, "failed": found.failed},
        "dense": dense_summary(results, points, dense, CONFIDENCE),
        "essential_sparsity": essential_summary(essential),
        "arms": [asdict(a) for a in found.arms],
        "comparisons": [asdict(c) for c in found.comparisons],
        "recommended": asdict(best) if best else None,
        "answer": answer(essential, best),
        "claims": paper_claims(results, tolerance, CONFIDENCE, outcomes, curve),
        "diagnosis": diagnosis,
        "pareto": pareto(found.settings),
        "halving": halving(results, known),
        "by_mask_data": by_mask_data(points, best.setting if best else None, CONFIDENCE),
        "stage_seconds": stage_seconds(results),
        "throughput": throughput(results),
        "cost": cost | {"words": cost_words(cost)},
        "not_measured": not_measured(found),
        "warnings": [*extra_warnings, *warnings(found)],
    }
    return {name: plain(value) for name, value in summary.items()}


def _full_first(results: pd.DataFrame) -> pd.DataFrame:
    """Stopped trials last: of one dense model the first row counts, and they have no test."""
    if "rung" not in results:
        return results
    return results.iloc[results["rung"].notna().to_numpy().argsort(kind="stable")]

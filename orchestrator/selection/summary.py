"""What a sweep selects, and the parts of its summary.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.costs import cost_words, predicted_words
from orchestrator.selection.analysis import CONFIDENCE, Analysis, analyse, full_first
from orchestrator.selection.answer import answer
from orchestrator.selection.arms import dense_summary, known_arms
from orchestrator.selection.choice import choose
from orchestrator.selection.claims import paper_claims
from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import contrasts, needed_trials
from orchestrator.selection.curve import EssentialSparsity, essential_sparsity, essential_summary
from orchestrator.selection.findings import not_measured, warnings
from orchestrator.selection.halving import halving
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.pareto import pareto
from orchestrator.selection.recommendation import Recommended, recommend
from orchestrator.selection.rows import plain
from orchestrator.selection.series import SERIES
from orchestrator.selection.settings import group_settings
from orchestrator.selection.systems import planned as side_by_side
from orchestrator.selection.systems import systems
from orchestrator.selection.three_way import data_lth, threes
from orchestrator.selection.trust import trust

Part = Callable[[Analysis], Any]

PARTS: dict[str, Part] = {
    "confidence": lambda analysis: analysis.confidence,
    "trials": lambda analysis: {
        "planned": analysis.planned, "finished": analysis.finished, "failed": analysis.failed,
    },
    "dense": lambda analysis: dense_summary(
        analysis.results, analysis.settings, analysis.dense, analysis.confidence
    ),
    "essential_sparsity": lambda analysis: essential_summary(analysis.essential),
    "known_arms": lambda _: known_arms(),
    "arms": lambda analysis: [asdict(arm) for arm in analysis.arms],
    "comparisons": lambda analysis: [asdict(comparison) for comparison in analysis.comparisons],
    "recommended": lambda analysis: analysis.recommended and asdict(analysis.recommended),
    "answer": lambda analysis: answer(analysis.essential, analysis.recommended),
    "trust": trust,
    "claims": lambda analysis: paper_claims(
        analysis.results, analysis.tolerance, analysis.confidence, analysis.outcomes,
        analysis.measured,
    ),
    "data_lth": lambda analysis: data_lth(
        analysis.results, analysis.tolerance, analysis.confidence, analysis.outcomes
    ),
    "diagnosis": lambda analysis: analysis.diagnosis,
    "pareto": lambda analysis: pareto(analysis.settings),
    "systems": systems,
    "halving": lambda analysis: halving(analysis.results, analysis.axes),
    **SERIES,
}  # fmt: skip
"""Entries of summary.json that depend on the trials alone, in the order of the file. What only one
figure draws is a row of `series.SERIES`."""


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
        curve: the measurements of the one-shot curve (`tables.curve`), for `results` that lack
            the levels that `sparsity: auto` evaluates itself.
        outcomes: which images each trial gets right, for the trials of `wanted_trials`. They do
            not change the choice; they make the interval of the recommended setting exact.
            Without them it is computed from counts and somewhat too wide.
    """
    measured = results if curve is None else curve
    results = full_first(results)
    settings = group_settings(results, [a for a in axes if a in results])
    return Selection(
        essential=essential_sparsity(measured, tolerance, detector, CONFIDENCE),
        recommended=recommend(settings, Spreads(settings), outcomes, tolerance, CONFIDENCE),
    )


def wanted_trials(
    results: pd.DataFrame, tolerance: float = 0.01, axes: Sequence[str] = (), all_arms: bool = True
) -> list[str]:
    """Keys of the trials whose outcomes make comparisons exact.

    Args:
        all_arms: False = only those of the recommended setting.
    """
    settings = group_settings(full_first(results), [a for a in axes if a in results])
    planned = [*contrasts(settings), *side_by_side(results, settings)] if all_arms else []
    if all_arms:
        planned += [one for test in threes(full_first(results)) for one in test.contrasts]
    choice = choose(settings, Spreads(settings), tolerance, CONFIDENCE)
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
    device_hours_predicted: float | None = None,
    tolerance: float = 0.01,
    detector: str = "first_violation",
    axes: Sequence[str] = (),
    curve: pd.DataFrame | None = None,
    extra_warnings: Sequence[str] = (),
    outcomes: Outcomes | None = None,
    overlap: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `report/summary.json`: Python scalars only, None for what is unknown.

    Args:
        results: one row per trial; may be empty. curve, outcomes: see `select`.
        overlap: of masks (`reading/overlap.py`), for claims about masks; None = none were read.
        sweep, planned: name of the sweep, and the trials that its file asks for.
        device: `cpu` or `gpu`; device_hours, device_hours_saved, wall_s (seconds) as measured.
        device_hours_predicted: before the sweep began; None = nobody wrote it down.
        tolerance: a fraction. detector: a key of `trials.sparsity.detect.DETECTORS`.
        axes: further columns that distinguish settings, beside the three of LOTUS; a column that
            no trial has is left out with a warning.
        extra_warnings: sentences that come before the other warnings.

    Raises:
        ValueError: see `essential_sparsity` and `recommend`.
    """
    analysis = analyse(results, curve, planned, tolerance, detector, axes, outcomes, overlap)
    cost: dict[str, Any] = {
        "device": device,
        "device_hours": device_hours,
        "device_hours_saved": device_hours_saved,
        "device_hours_predicted": device_hours_predicted,
        "wall_s": wall_s,
    }
    cost |= {"words": cost_words(cost), "predicted_words": predicted_words(cost)}
    summary = {"sweep": sweep, **{entry: part(analysis) for entry, part in PARTS.items()}}
    summary |= {"cost": cost, "not_measured": not_measured(analysis)}
    summary |= {"warnings": [*extra_warnings, *warnings(analysis)]}
    return {entry: plain(value) for entry, value in summary.items()}

"""What a sweep selects, and the content of its summary.json, part by part."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from orchestrator.costs import cost_words
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
from orchestrator.selection.settings import settings

Part = Callable[[Analysis], Any]

PARTS: dict[str, Part] = {
    "confidence": lambda found: found.confidence,
    "trials": lambda found: {
        "planned": found.planned, "finished": found.finished, "failed": found.failed,
    },
    "dense": lambda found: dense_summary(
        found.results, found.settings, found.dense, found.confidence
    ),
    "essential_sparsity": lambda found: essential_summary(found.essential),
    "known_arms": lambda _: known_arms(),
    "arms": lambda found: [asdict(arm) for arm in found.arms],
    "comparisons": lambda found: [asdict(one) for one in found.comparisons],
    "recommended": lambda found: found.recommended and asdict(found.recommended),
    "answer": lambda found: answer(found.essential, found.recommended),
    "claims": lambda found: paper_claims(
        found.results, found.tolerance, found.confidence, found.outcomes, found.measured
    ),
    "diagnosis": lambda found: found.diagnosis,
    "pareto": lambda found: pareto(found.settings),
    "halving": lambda found: halving(found.results, found.axes),
    **SERIES,
}  # fmt: skip
"""Entries of summary.json that follow from the trials alone, in its order. What only one figure
draws is a row of `series.SERIES`."""


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
    results = full_first(results)
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
    found = settings(full_first(results), [a for a in axes if a in results])
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
        results: one row per trial; may be empty. curve, outcomes: see `select`.
        sweep, planned: name of the sweep, and the trials that its file asks for.
        device: `cpu` or `gpu`; device_hours, device_hours_saved, wall_s (seconds) as measured.
        tolerance: a fraction. detector: a key of `trials.sparsity.detect.DETECTORS`.
        axes: columns that tell settings apart, beside the three of LOTUS; one that no trial
            has is left out with a warning.
        extra_warnings: sentences put first.

    Raises:
        ValueError: see `essential_sparsity` and `recommend`.
    """
    found = analyse(results, curve, planned, tolerance, detector, axes, outcomes)
    cost = {"device": device, "device_hours": device_hours,
            "device_hours_saved": device_hours_saved, "wall_s": wall_s}  # fmt: skip
    summary = {"sweep": sweep, **{name: part(found) for name, part in PARTS.items()}}
    summary |= {"cost": cost | {"words": cost_words(cost)}, "not_measured": not_measured(found)}
    summary |= {"warnings": [*extra_warnings, *warnings(found)]}
    return {name: plain(value) for name, value in summary.items()}

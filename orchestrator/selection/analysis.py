"""What every part of the summary reads, computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.selection.arms import ArmRow, arms_table
from orchestrator.selection.choice import choose
from orchestrator.selection.comparisons import ArmComparison, Spreads, compare_arms
from orchestrator.selection.contrasts import contrasts, dense_for
from orchestrator.selection.curve import EssentialSparsity, essential_sparsity
from orchestrator.selection.diagnosis import diagnose
from orchestrator.selection.pairs import Outcomes
from orchestrator.selection.recommendation import Recommended, read_on_test
from orchestrator.selection.rows import rows
from orchestrator.selection.settings import Setting, group_settings

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A sweep's trials, and the results that several parts of its summary share.

    Attributes:
        results: the trials, stopped ones last; measured: the rows behind the one-shot curve.
        planned: number of trials that the sweep file asks for.
        axes: further axes that trials have; absent_axes: axes that no trial has.
        dense: the `dense` arm to compare the recommended setting with, if it was run.
        overlap: of masks, the entry of summary.json; nothing where no masks were read.
    """

    results: pd.DataFrame
    measured: pd.DataFrame
    planned: int
    axes: Sequence[str]
    absent_axes: Sequence[str]
    outcomes: Outcomes | None
    tolerance: float
    confidence: float
    settings: Sequence[Setting]
    essential: EssentialSparsity | None
    recommended: Recommended | None
    dense: Setting | None
    arms: Sequence[ArmRow]
    comparisons: Sequence[ArmComparison]
    diagnosis: dict[str, Any] | None
    overlap: Mapping[str, Any]

    @property
    def finished(self) -> int:
        """Number of finished trials; in a table without a status, those with a final accuracy."""
        if "status" not in self.results:
            return sum(len(s.trials) for s in self.settings)
        return self._count("FINISHED")

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return self._count("FAILED")

    def _count(self, status: str) -> int:
        return sum(r["status"] == status for r in rows(self.results, ["status"]))


def analyse(
    results: pd.DataFrame,
    curve: pd.DataFrame | None,
    planned: int,
    tolerance: float,
    detector: str,
    axes: Sequence[str],
    outcomes: Outcomes | None,
    overlap: Mapping[str, Any] | None = None,
) -> Analysis:
    """Analyse a table of trials; see `summarise` for the arguments."""
    trials = full_first(results)
    measured = trials if curve is None else curve
    present = [a for a in axes if a in trials]
    absent = [a for a in axes if a not in trials and a not in ("seed", "arm")]
    essential = essential_sparsity(measured, tolerance, detector, CONFIDENCE)
    settings = group_settings(trials, present)
    spreads = Spreads(settings)
    choice = choose(settings, spreads, tolerance, CONFIDENCE)
    best = read_on_test(choice, spreads, outcomes, tolerance, CONFIDENCE) if choice else None
    return Analysis(
        results=trials,
        measured=measured,
        planned=planned,
        axes=present,
        absent_axes=absent if len(trials) else [],
        outcomes=outcomes,
        tolerance=tolerance,
        confidence=CONFIDENCE,
        settings=settings,
        essential=essential,
        recommended=best,
        dense=dense_for(choice.setting, settings) if choice else None,
        arms=arms_table(settings, spreads, outcomes, CONFIDENCE),
        comparisons=compare_arms(
            contrasts(settings), outcomes or {}, spreads, CONFIDENCE, tolerance
        ),
        diagnosis=diagnose(trials, CONFIDENCE, outcomes),
        overlap=overlap or {},
    )


def full_first(results: pd.DataFrame) -> pd.DataFrame:
    """Put stopped trials last: the first row of a dense model counts, and they have no test."""
    if "rung" not in results:
        return results
    return results.iloc[results["rung"].notna().to_numpy().argsort(kind="stable")]

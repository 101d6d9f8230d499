"""The answer of a sweep: essential sparsity, recommended setting, and the report's summary.

Pure statistics on the table of trials, one row per trial:

    rows.py, settings.py                    reading the table, and grouping trials into settings
    statistics.py, seeds.py, scopes.py      intervals
    pairs.py, family.py                     pairs of models, and intervals of many comparisons
    curve.py, crossing.py                   the one-shot curve and the essential sparsity
    arms.py                                 every arm at its best setting
    choice.py, recommendation.py            the setting to use
    contrasts.py, comparisons.py            arms against each other
    design.py, diagnosis.py, causes.py      what caused a collapse
    couples.py, claims.py, verdicts.py      the paper's claims
    overlap.py, one_shot_overlap.py         how much masks overlap
    families.py, systems.py, matched.py     the seed systems side by side
    published.py, claimed.py                what their papers claim, and the verdicts on it
    findings.py, controls.py                what is doubtful or was not measured
    answer.py, wording.py                   the answer in words
    series.py                               what figures draw
    analysis.py, summary.py                 the shared results, and summary.json
"""

from typing import TYPE_CHECKING

from orchestrator.lazily import imported_on_use

if TYPE_CHECKING:
    from orchestrator.selection.analysis import CONFIDENCE
    from orchestrator.selection.arms import ArmRow
    from orchestrator.selection.claims import paper_claims
    from orchestrator.selection.comparisons import ArmComparison
    from orchestrator.selection.curve import EssentialSparsity, essential_sparsity, one_shot_curve
    from orchestrator.selection.diagnosis import diagnose
    from orchestrator.selection.recommendation import Recommended
    from orchestrator.selection.statistics import Interval, mean_interval, paired_drop
    from orchestrator.selection.summary import Selection, select, summarise, wanted_trials
    from orchestrator.selection.three_way import data_lth

__all__ = [
    "CONFIDENCE",
    "ArmComparison",
    "ArmRow",
    "EssentialSparsity",
    "Interval",
    "Recommended",
    "Selection",
    "data_lth",
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

__getattr__ = imported_on_use(
    __name__,
    {
        "CONFIDENCE": "analysis",
        "ArmRow": "arms",
        "paper_claims": "claims",
        "ArmComparison": "comparisons",
        "EssentialSparsity": "curve",
        "essential_sparsity": "curve",
        "one_shot_curve": "curve",
        "diagnose": "diagnosis",
        "Recommended": "recommendation",
        "Interval": "statistics",
        "mean_interval": "statistics",
        "paired_drop": "statistics",
        "Selection": "summary",
        "select": "summary",
        "summarise": "summary",
        "wanted_trials": "summary",
        "data_lth": "three_way",
    },
)

"""The answer of a sweep: essential sparsity, recommended setting, and the report's summary.

Pure statistics on the table of trials, one row per trial. `rows.py` reads tables and `settings.py`
groups trials; `statistics.py`, `seeds.py`, `pairs.py` and `scopes.py` have the intervals,
`curve.py` the one-shot curve, `arms.py` the arms, `recommendation.py` the setting to use,
`comparisons.py` arms against each other, `diagnosis.py` what caused a collapse, `claims.py` the
paper's claims, `overlap.py` how much masks overlap, `findings.py` and `controls.py` the sentences
about what is doubtful or was not measured, `answer.py` the answer in words, `series.py` what
figures draw; `analysis.py` computes what several need, and `summary.py` puts it together. The
public names stand here too.
"""

from orchestrator.selection.analysis import CONFIDENCE
from orchestrator.selection.arms import ArmRow
from orchestrator.selection.claims import paper_claims
from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.curve import EssentialSparsity, essential_sparsity, one_shot_curve
from orchestrator.selection.diagnosis import diagnose
from orchestrator.selection.recommendation import Recommended
from orchestrator.selection.statistics import Interval, mean_interval, paired_drop
from orchestrator.selection.summary import Selection, select, summarise, wanted_trials

__all__ = [
    "CONFIDENCE",
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

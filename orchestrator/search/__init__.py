"""Search methods: the trials of a block, from the sweep file and finished results."""

from orchestrator.search.proposal import (
    OBJECTIVES,
    RESULT_METRICS,
    Bench,
    Fixed,
    Outcome,
    Point,
    Proposed,
    Proposer,
)
from orchestrator.search.space import Range

__all__ = [
    "OBJECTIVES",
    "RESULT_METRICS",
    "Bench",
    "Fixed",
    "Outcome",
    "Point",
    "Proposed",
    "Proposer",
    "Range",
]

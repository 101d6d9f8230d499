"""Sentences about controls that do as well as the arm that they test."""

from collections.abc import Iterator, Sequence

from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.verdicts import percent_points, points_between
from trials.arms import TESTS


def control_warnings(comparisons: Sequence[ArmComparison]) -> Iterator[str]:
    """One sentence for each control that the fullest arm is not shown to beat."""
    for c in comparisons:
        if c.family != "against_controls" or c.verdict == "better":
            continue
        relation = {
            "worse": "does worse than",
            "equal": f"is equal within {percent_points(c.equal_within)} to",
            "undecided": "cannot be told apart from",
        }[c.verdict]
        limits = points_between(c.corrected.low, c.corrected.high)
        basis = f"n = {c.n}, {c.scope}"
        if c.family_size > 1:
            basis += f", corrected for {c.family_size} comparisons"
        yield (
            f"{c.a} {relation} its control `{c.b}`: {100 * c.mean:+z.1f} points on {c.split}, "
            f"paired by image ({limits}; {basis}). This sweep does not show that "
            f"{TESTS[c.b]} "
            f"helps{'; ' + c.would_decide if c.would_decide else ''}."
        )

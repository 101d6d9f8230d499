"""Sentences about controls that do as well as the arm that they test."""

from collections.abc import Iterator, Sequence

from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.verdicts import percent_points, points_between
from trials.arms import IN_WORDS, TESTS


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
        control = IN_WORDS[c.b][0].lower() + IN_WORDS[c.b][1:]
        yield (
            f"{IN_WORDS[c.a]} {relation} its control, {control}: "
            f"{100 * c.mean:+z.1f} points on {c.split}, paired by image ({limits}; {basis}). "
            f"This sweep does not show that {TESTS[c.b]} helps"
            f"{'; ' + c.would_decide if c.would_decide else ''}."
        )

"""Sentences about controls that do as well as the arm that they test."""

from collections.abc import Iterator, Sequence

from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.verdicts import percent_points, points_between
from trials.arms import IN_WORDS, TESTS


def control_in_words(control: str) -> str:
    """A control within a sentence: `random mask`."""
    label = IN_WORDS[control]
    return label[0].lower() + label[1:]


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
            f"{IN_WORDS[c.a]} {relation} its control, {control_in_words(c.b)}: "
            f"{100 * c.mean:+z.1f} points on {c.split}, paired by image ({limits}; {basis}). "
            f"This sweep does not show that {TESTS[c.b]} helps"
            f"{'; ' + c.would_decide if c.would_decide else ''}."
        )

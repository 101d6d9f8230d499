"""The verdict on a published claim, from an interval of a - b and the tolerance alone."""

from orchestrator.selection.published import Published
from orchestrator.selection.rows import TIE
from orchestrator.selection.statistics import Interval
from orchestrator.selection.verdicts import Verdict, percent_points, points_of


def verdict_of(p: Published, at: float, i: Interval, tolerance: float) -> tuple[Verdict, str]:
    """The verdict of an interval of a - b, and its reason."""
    if i.low is None or i.high is None:
        return "undecided", "the interval is too wide to say"
    published = p.levels[at] / 100
    if p.asks == "more":
        return _more(i.low, i.high, published, tolerance)
    if p.asks == "alike":
        return _alike_within(i.low, i.high, tolerance)
    return _loses(i.low, i.high, published, tolerance if p.added_tolerance else 0.0)


def _more(low: float, high: float, published: float, tolerance: float) -> tuple[Verdict, str]:
    """A gain; where more than the tolerance is published, an equal result does not reproduce it."""
    if low > TIE:
        return "reproduced", "the interval lies above 0"
    if high <= TIE:
        return "not reproduced", "the interval has nothing above 0"
    if published > tolerance and max(high, -low) <= tolerance + TIE:
        return "not reproduced", f"equal within {percent_points(max(high, -low))}"
    return "undecided", "the interval holds 0"


def _alike_within(low: float, high: float, tolerance: float) -> tuple[Verdict, str]:
    within = points_of(tolerance)
    if max(high, -low) <= tolerance + TIE:
        return "reproduced", f"the interval lies within {within} either way"
    if low > tolerance + TIE or high < -tolerance - TIE:
        return "not reproduced", f"the interval lies beyond {within}"
    return "undecided", f"the interval is partly beyond {within}"


def _loses(low: float, high: float, published: float, added: float) -> tuple[Verdict, str]:
    bound = added - published
    limit = f"a loss of {points_of(round(bound, 9))}"
    if added:
        limit += f" ({abs(100 * published):g} as published, and {points_of(added)} of tolerance)"
    if low >= -bound - TIE:
        return "reproduced", f"the interval has no more than {limit}"
    if high < -bound - TIE:
        return "not reproduced", f"the interval has more than {limit}"
    return "undecided", f"the interval holds {limit}"

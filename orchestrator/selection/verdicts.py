"""A claim and its verdict, which depends on an interval alone."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from orchestrator.selection.rows import TIE
from orchestrator.selection.scopes import Difference, Scope
from orchestrator.selection.statistics import Interval

Verdict = Literal["reproduced", "not reproduced", "undecided", "not measured"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The measurement behind a claim: an interval, its number of seeds, and its scope."""

    interval: Interval
    n: int
    scope: Scope

    @classmethod
    def of(cls, gap: Difference | None, confidence: float) -> "Measured | None":
        """The interval in the widest scope; None without a difference."""
        if gap is None:
            return None
        return cls(gap.interval(gap.scope, confidence), gap.n, gap.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of the paper and its verdict.

    Attributes:
        paper: the paper's own number, in words.
        figure: of the paper, if the claim has one.
        ours: what was measured, in words, with n, mean and interval.
        n: seeds.
        mean, ci_low, ci_high: the numbers in `ours`: a loss or gain (a fraction, 0.01 = 1
            point), or a share of seeds.
        scope: of the interval; None without one.
        why: the reason for the verdict, or what is missing.
    """

    id: str
    claim: str
    paper: str
    figure: int | None
    ours: str = "–"
    n: int = 0
    mean: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    scope: Scope | None = None
    verdict: Verdict = "not measured"
    why: str = ""

    def unmeasured(self, why: str) -> "Claim":
        """The claim with the reason why it was not measured."""
        return replace(self, why=why)

    def at_most(self, measured: Measured | None, limit: float, before: str = "") -> "Claim":
        """Judge whether the loss is at most `limit`."""
        return self._measured(measured, limit, f"{before}loss", below=True)

    def more_than(
        self, measured: Measured | None, limit: float, before: str = "", what: str = "loss"
    ) -> "Claim":
        """Judge whether the loss (or gain) is more than `limit`."""
        return self._measured(measured, limit, f"{before}{what}", below=False)

    def _measured(
        self, measured: Measured | None, limit: float, label: str, below: bool
    ) -> "Claim":
        if measured is None:
            return self.unmeasured("Nothing was measured against the dense model.")
        spread = measured.interval
        verdict, why = side(spread, limit, below)
        limits = ""
        if spread.low is not None and spread.high is not None:
            limits = f" (interval {between(spread.low, spread.high)}, {measured.scope})"
        return replace(
            self,
            ours=f"{label} {signed(spread.mean)} points{limits}, n = {measured.n}",
            n=measured.n,
            mean=spread.mean,
            ci_low=spread.low,
            ci_high=spread.high,
            scope=measured.scope,
            verdict=verdict,
            why=why,
        )


def side(interval: Interval, limit: float, below: bool) -> tuple[Verdict, str]:
    """The verdict from the side of the limit on which the whole interval lies, and the reason."""
    points = f"{100 * limit:g}"
    if interval.low is None or interval.high is None:
        return "undecided", "the interval is too wide to say; more seeds or images would decide"
    if interval.high <= limit + TIE:
        return ("reproduced" if below else "not reproduced"), f"the interval is not above {points}"
    if interval.low > limit + TIE:
        return ("not reproduced" if below else "reproduced"), f"the interval lies above {points}"
    return "undecided", (
        f"the interval {between(interval.low, interval.high)} holds the limit "
        f"{points}; more seeds or images would decide"
    )


def percent(value: float | None) -> str:
    """A fraction in words; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def signed(value: float) -> str:
    """A difference of fractions in points."""
    return f"{100 * value:+z.1f}"


def points_of(tolerance: float) -> str:
    """0.01 -> `1 point`, 0.02 -> `2 points`."""
    size = f"{100 * tolerance:g}"
    return f"{size} point{'' if size == '1' else 's'}"


def percent_points(size: float | None) -> str:
    """A bound in points, rounded up so that it still holds: 0.0072 -> `0.8 points`."""
    if size is None:
        return "an unknown margin"
    tenths = math.ceil(round(1000 * size, 6))
    return f"{tenths / 10:.1f} point{'' if tenths == 10 else 's'}"


def points_between(low: float | None, high: float | None) -> str:
    """`interval -0.5 to +1.2`, or why there is none."""
    if low is None or high is None:
        return "no interval: too few images or seeds to say"
    return f"interval {between(low, high)}"


def between(low: float, high: float, sign: str = "+z") -> str:
    """Two fractions in points, with enough digits to differ from each other, and from 0.

    `-0.5 to +1.2`, `-0.02 to +1.33`. Less than a hundredth of a point is 0.

    Args:
        sign: the sign option of Python's format.
    """
    for digits in range(1, 7):
        ends = [f"{100 * v:{sign}.{digits}f}" for v in (low, high)]
        hidden = digits == 1 and any(0.00005 <= abs(v) < 0.0005 for v in (low, high))
        if ends[0] != ends[1] and not hidden:
            break
    return f"{ends[0]} to {ends[1]}"


def level(value: Any) -> str:
    """A setting or a sparsity: 0.225569 -> `22.6 %`, 0.6 -> `60 %`, 0.0004 -> `0.04 %`.

    Uses as many digits as needed; only 0 and 1 themselves are written as 0 % and 100 %. Text stays
    as it is.
    """
    if value is None or isinstance(value, str | bool):
        return "–" if value is None else str(value)
    percent = 100 * float(value)
    for digits in range(1, 5):
        rounded = round(percent, digits)
        if rounded == percent or (rounded not in (0, 100) and abs(rounded) >= 10 ** (1 - digits)):
            break
    return f"{rounded:.{digits}f}".rstrip("0").rstrip(".") + " %"


def share(value: float | None) -> str:
    """A fraction as percent with two digits after the point."""
    return "–" if value is None else f"{100 * value:.2f} %"


def ratio(value: float | None) -> str:
    """`0.87×`."""
    return "–" if value is None else f"{value:.2f}×"

"""A claim and its verdict, read from an interval alone."""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.selection.curve import TIE
from orchestrator.selection.statistics import Interval

Verdict = Literal["reproduced", "not reproduced", "not tested"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim and what became of it.

    Attributes:
        paper: the paper's own number, in words.
        figure: of the paper, where it has one.
        ours: what was measured, in words, with n, mean and interval.
        n: seeds.
        mean, ci_low, ci_high: what `ours` names: a loss or a gain (a fraction, 0.01 = 1
            point), or a share of seeds.
        why: what the verdict rests on, or what is missing.
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
    verdict: Verdict = "not tested"
    why: str = ""

    def untested(self, why: str) -> "Claim":
        """The claim when the sweep did not measure it."""
        return replace(self, why=why)

    def at_most(self, found: Interval | None, n: int, limit: float, before: str = "") -> "Claim":
        """Judged as: the loss is at most `limit`."""
        return self._measured(found, n, limit, f"{before}loss", below=True)

    def more_than(
        self, found: Interval | None, n: int, limit: float, before: str = "", what: str = "loss"
    ) -> "Claim":
        """Judged as: the loss (or gain) is more than `limit`."""
        return self._measured(found, n, limit, f"{before}{what}", below=False)

    def _measured(
        self, found: Interval | None, n: int, limit: float, said: str, below: bool
    ) -> "Claim":
        if found is None:
            return self.untested("Nothing was measured against the dense model.")
        verdict, why = side(found, limit, below)
        limits = ""
        if found.low is not None and found.high is not None:
            limits = f" (interval {signed(found.low)} to {signed(found.high)})"
        return replace(
            self,
            ours=f"{said} {signed(found.mean)} points{limits}, n = {n}",
            n=n,
            mean=found.mean,
            ci_low=found.low,
            ci_high=found.high,
            verdict=verdict,
            why=why,
        )


def side(found: Interval, limit: float, below: bool) -> tuple[Verdict, str]:
    """On which side of the limit the whole interval lies, and whether that is the claim's."""
    said = f"{100 * limit:g}"
    if found.low is None or found.high is None:
        return "not tested", "undecided: nothing gives an interval; more seeds would"
    if found.high <= limit + TIE:
        return ("reproduced" if below else "not reproduced"), f"the interval is not above {said}"
    if found.low > limit + TIE:
        return ("not reproduced" if below else "reproduced"), f"the interval lies above {said}"
    return "not tested", (
        f"undecided: the interval {signed(found.low)} to {signed(found.high)} holds the limit "
        f"{said}; more seeds or images would decide"
    )


def percent(value: float | None) -> str:
    """A fraction in words; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def signed(value: float) -> str:
    """A difference of fractions in points."""
    return f"{100 * value:+z.1f}"

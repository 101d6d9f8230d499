"""Published claims that no comparison of two settings decides, and what is said of any claim."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.selection.analysis import Analysis
from orchestrator.selection.published import Published
from orchestrator.selection.scopes import THESE_MODELS, Scope
from orchestrator.selection.three_way import data_lth
from orchestrator.selection.verdicts import Verdict, level

LEVEL = 5e-4
"""Levels that differ by less are one: a reached sparsity is a count of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One published claim and what this sweep says of it.

    Attributes:
        at: the level that was read; None = not tested.
        ours: what was measured, in words; mean, low, high: a minus b, fractions, corrected.
        n: seeds; scope: of the interval.
        smallest: the smallest difference that this sweep could have told apart, a fraction.
        why: the reason for the verdict, or what to run.
    """

    id: str
    source: str
    claim: str
    numbers: str
    at: float | None = None
    ours: str = ""
    n: int = 0
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    scope: Scope | None = None
    smallest: float | None = None
    verdict: Verdict = "not measured"
    why: str = ""


Judge = Callable[[Published, Analysis], Claimed | None]
"""Judges a claim that no comparison of two settings decides; None = nothing was measured for it."""


def untested(p: Published) -> Claimed:
    """A claim before anything is known of it here."""
    return Claimed(id=p.id, source=p.source, claim=p.claim, numbers=p.numbers)


COSINE, LOW, HIGH = 0.98, 0.3, 0.5


def _lottery_masks(p: Published, analysis: Analysis) -> Claimed | None:
    """One-shot masks against those of lottery tickets, by their cosine: the share that both keep.

    The masks are what they are, so each of them counts and there is no interval.
    """
    here = [
        row for row in analysis.overlap.get("one_shot", [])
        if row["preset"] == "lth" and LOW - LEVEL <= row["sparsity"] <= HIGH + LEVEL
    ]  # fmt: skip
    if not here:
        return None
    row = max(here, key=lambda r: r["sparsity"])
    low, high = row["shared_lowest"], row["shared_highest"]
    verdict: Verdict = "undecided"
    if low > COSINE or high <= COSINE:
        verdict = "reproduced" if low > COSINE else "not reproduced"
    return replace(
        untested(p),
        at=row["sparsity"],
        ours=f"at {level(row['sparsity'])} sparsity the masks have a cosine of "
        f"{low:.3f} to {high:.3f} ({row['n_pairs']} pairs)",
        n=row["n_pairs"],
        mean=row["shared"],
        low=low,
        high=high,
        scope=THESE_MODELS,
        verdict=verdict,
        why=f"the published cosine is above {COSINE:g}",
    )


def _three_way(p: Published, analysis: Analysis) -> Claimed | None:
    """Data-LTH's test at the fewest patches that it was run at; see `three_way.py`."""
    tests = [
        test
        for test in data_lth(
            analysis.results, analysis.tolerance, analysis.confidence, analysis.outcomes
        )
        if test["verdict"] != "not measured"
    ]
    if not tests:
        return None
    test = tests[-1]
    return replace(
        untested(p),
        at=1 - test["patch_drop"],
        ours=test["ours"],
        n=test["n"],
        mean=test["mean"],
        low=test["ci_low"],
        high=test["ci_high"],
        scope=test["scope"],
        verdict=test["verdict"],
        why=test["why"],
    )


JUDGES: dict[str, Judge] = {"es_lottery_masks": _lottery_masks, "data_lth": _three_way}
"""Claim -> what judges it."""

"""The three-way test of Data-LTH: is a selector's share of the patches a winning ticket?

Three models of one size start from the same random weights and see the same images:
(a) `tickets` is trained and tested on the patches that the selector leaves;
(b) `random_tickets` is trained on as many random ones, and tested on the selector's;
(c) `dense` is trained and tested on all.

The claim is (a) ≈ (c) > (b). Here (a) wins if it loses less than the tolerance to (c) and gains on
(b), both at the lower ends of intervals that are paired by seed and image and hold together
(Bonferroni over the two), over 3 seeds or more.

Source: Shen et al., IJCAI 2023, which has no number for "about".
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from orchestrator.selection.comparisons import Spreads
from orchestrator.selection.contrasts import Contrast
from orchestrator.selection.design import point, read_settings
from orchestrator.selection.pairs import FINAL, Outcomes
from orchestrator.selection.rows import Row, mean
from orchestrator.selection.scopes import Difference, verdict
from orchestrator.selection.seeds import FEWEST_SEEDS
from orchestrator.selection.settings import Setting, number_or_text, preference
from orchestrator.selection.statistics import Interval
from orchestrator.selection.verdicts import (
    Claim,
    Verdict,
    percent,
    points_between,
    points_of,
    side,
    signed,
)
from orchestrator.vocabulary import Metric
from trials.arms import DENSE, RANDOM_TICKETS, TICKETS

COMPARISONS = 2
KEEP = "tickets.nested_keep"
START = "finetune.weights"
_RECOVERY = ("data.", "model.", "dense.", "finetune.")
_NOT_OF_RANDOM = "tickets.selection"
"""What (b) does not read, so that one (b) stands beside several (a)."""


@dataclass(frozen=True, slots=True)
class Three:
    """The settings of one test."""

    a: Setting
    b: Setting
    c: Setting

    @property
    def contrasts(self) -> tuple[Contrast, Contrast]:
        """(a) against (b), and against (c), at the seeds that all three have."""
        common = {s for s in self.a.first if s in self.b.first and s in self.c.first}
        a, b, c = (_at(s, common) for s in (self.a, self.b, self.c))
        return (
            Contrast(family="against_controls", a=a, b=b, of_a=FINAL, of_b=FINAL),
            Contrast(family="against_controls", a=a, b=c, of_a=FINAL, of_b=FINAL),
        )


def _at(s: Setting, seeds: set[Any]) -> Setting:
    first = {seed: row for seed, row in s.first.items() if seed in seeds}
    return replace(s, first=first, trials=tuple(first.values()))


def threes(results: pd.DataFrame) -> list[Three]:
    """Every test that a sweep has all three models for, decided without any outcome."""
    if START not in results or "arm" not in results:
        return []
    settings = read_settings(results[results[START].map(str) == "random"])
    columns = sorted({column for s in settings for column in s.axes})
    beside = [c for c in columns if c != _NOT_OF_RANDOM]
    recovery = [c for c in columns if c.startswith(_RECOVERY) and c != "finetune.budget"]
    found = []
    for a in (s for s in settings if s.arm == TICKETS and _chosen(s)):
        b = _match(a, settings, RANDOM_TICKETS, beside)
        c = _match(a, settings, DENSE, recovery)
        if b is not None and c is not None:
            found.append(Three(a, b, c))
    return found


def _chosen(s: Setting) -> bool:
    """Whether patches are left out, and by what a model attends to."""
    row = next(iter(s.first.values()))
    return bool(row["patch_drop"]) and row["tickets.select"] in (None, "attention")


def _match(
    a: Setting, settings: Sequence[Setting], arm: str, same: Sequence[str]
) -> Setting | None:
    place = point(a.axes, same)
    fitting = [
        s for s in settings if s.arm == arm and a.seeds_with(s) and point(s.axes, same) == place
    ]
    return min(fitting, key=lambda s: (-len(a.seeds_with(s)), preference(s)), default=None)


def data_lth(
    results: pd.DataFrame,
    tolerance: float = 0.01,
    confidence: float = 0.95,
    outcomes: Outcomes | None = None,
) -> list[dict[str, Any]]:
    """Every three-way test of a sweep with its verdict, the most patches first.

    Args:
        results: one row per trial; may be empty.
        tolerance: how far below (c) still counts as near it, a fraction.
        confidence: of the two comparisons together.
        outcomes: which images each trial gets right, if they were read.

    Returns:
        The fields of `Claim`, whose mean and limits are those of (a) - (b), and: `patch_drop` and
        `nested_keep`; `against_random` and `against_dense`, each with mean, low, high and verdict
        (`scopes.verdict`); `accuracy`, on test: `a`, `b` and `c` as they are tested, the same as
        `a_whole` and `b_whole` on whole images, and `b_own`, (b) on patches that are drawn.
    """
    tests = threes(results)
    spreads = Spreads([s for test in tests for s in (test.a, test.b, test.c)])
    order = lambda test: (_first(test.a)["patch_drop"], test.a.place)  # noqa: E731
    return [
        _judged(test, spreads, tolerance, confidence, outcomes) for test in sorted(tests, key=order)
    ]


def _judged(
    test: Three, spreads: Spreads, tolerance: float, confidence: float, outcomes: Outcomes | None
) -> dict[str, Any]:
    each = 1 - (1 - confidence) / COMPARISONS
    gaps = [spreads.difference(c, c.pairs(outcomes or {})) for c in test.contrasts]
    claim = Claim(
        id=f"data_lth_{_share(test.a):.6g}",
        claim=f"Data-LTH: trained from scratch on a selector's {percent(_share(test.a))} of the "
        f"patches, within {points_of(tolerance)} of all patches, and better than on random ones",
        paper="winning tickets; no number",
        figure=None,
    )
    accuracy = _accuracies(test)
    detail: dict[str, Any] = {
        "patch_drop": _first(test.a)["patch_drop"],
        "nested_keep": number_or_text(test.a.axes.get(KEEP)),
        "accuracy": accuracy,
    }
    over_random, under_dense = gaps
    if over_random is None or under_dense is None:
        claim = claim.unmeasured("Needs the accuracies of all three models on equal seeds.")
        return asdict(claim) | detail | {"against_random": None, "against_dense": None}
    above, below = (gap.interval(gap.scope, each) for gap in (over_random, under_dense))
    intervals = (above, below)
    decided, why = three_way(above, below, over_random.n, tolerance)
    claim = replace(
        claim,
        ours=_words(accuracy, intervals, over_random),
        n=over_random.n,
        mean=over_random.mean,
        ci_low=above.low,
        ci_high=above.high,
        scope=over_random.scope,
        verdict=decided,
        why=why,
    )
    names = ("against_random", "against_dense")
    compared = {
        name: asdict(interval) | {"verdict": verdict(interval, tolerance)[0]}
        for name, interval in zip(names, intervals, strict=True)
    }
    return asdict(claim) | detail | compared


def three_way(
    over_random: Interval, over_dense: Interval, n: int, tolerance: float
) -> tuple[Verdict, str]:
    """The verdict of a test, and its reason.

    Args:
        over_random, over_dense: (a) - (b) and (a) - (c), fractions, limits that hold together.
        n: seeds.
        tolerance: how far below (c) still counts as near it.
    """
    if n < FEWEST_SEEDS:
        return "undecided", f"{n} of at least {FEWEST_SEEDS} seeds"
    tests = (
        (over_random, 0.0, "better than on random patches"),
        (over_dense, -tolerance, f"within {points_of(tolerance)} of all patches"),
    )
    sides = [(side(interval, limit, below=False)[0], text) for interval, limit, text in tests]
    wordings: tuple[tuple[Verdict, str], ...] = (
        ("not reproduced", "not "),
        ("undecided", "cannot be told whether "),
    )
    for found, before in wordings:
        if named := [text for one, text in sides if one == found]:
            return found, before + f" and {before}".join(named)
    return "reproduced", " and ".join(text for _, text in sides)


def _accuracies(test: Three) -> dict[str, float | None]:
    random, dense = test.contrasts
    a, b, c = (list(s.first.values()) for s in (random.a, random.b, dense.b))
    whole, own = Metric.FINAL_TEST_ACCURACY, Metric.FINAL_DRAWN_TEST_ACCURACY
    return {
        "a": mean(a, FINAL.accuracy),
        "b": mean(b, FINAL.accuracy),
        "c": mean(c, FINAL.accuracy),
        "a_whole": mean(a, whole),
        "b_whole": mean(b, whole),
        "b_own": mean(b, own),
    }


def _words(
    accuracy: dict[str, float | None], intervals: Sequence[Interval], gap: Difference
) -> str:
    say: Callable[[str], str] = lambda name: percent(accuracy[name])  # noqa: E731
    means = [
        f"{signed(one.mean)} points ({points_between(one.low, one.high)})" for one in intervals
    ]
    return (
        f"on test {say('a')} on the selector's patches, {say('b')} trained on random ones, "
        f"{say('c')} on all; on whole images {say('a_whole')} and {say('b_whole')}; against random "
        f"{means[0]}, against all {means[1]}, {gap.scope}, n = {gap.n}"
    )


def _share(s: Setting) -> float:
    return 1.0 - float(_first(s)["patch_drop"])


def _first(s: Setting) -> Row:
    return next(iter(s.first.values()))

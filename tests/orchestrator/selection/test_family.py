"""Intervals of a family: they equal those of one comparison alone, borrow, and hold together."""

import math

import numpy as np
import pytest

from orchestrator.selection.family import MOST_DF, Family, interval, seed_spread
from orchestrator.selection.pairs import Pair
from orchestrator.selection.statistics import paired_drop


def test_without_a_family_the_interval_is_that_of_paired_drop() -> None:
    counts = [(30, 10), (45, 12), (28, 19)]
    pairs = [Pair(loss=(b - c) / 1000, lost=b, gained=c, n_images=1000) for b, c in counts]
    ours = interval(pairs, 0.95)
    theirs = paired_drop([b for b, _ in counts], [c for _, c in counts], 1000)
    assert ours is not None
    assert (ours.mean, ours.low, ours.high) == pytest.approx((theirs.mean, theirs.low, theirs.high))


def test_without_images_or_seeds_there_are_no_limits() -> None:
    found = interval([Pair(loss=0.1)], 0.95)
    assert found is not None
    assert (found.mean, found.low, found.high) == (0.1, None, None)
    assert interval([], 0.95) is None


def test_variances_that_agree_are_pooled_and_those_that_do_not_are_kept() -> None:
    rng = np.random.default_rng(0)
    alike = [[Pair(loss=float(x)) for x in rng.normal(0, 0.01, 3)] for _ in range(200)]
    found = seed_spread(alike)
    assert found is not None
    assert found.df > 20
    assert math.sqrt(found.variance) == pytest.approx(0.01, rel=0.1)
    scales = np.geomspace(1e-4, 1, 200)
    unlike = [[Pair(loss=float(x)) for x in rng.normal(0, s, 3)] for s in scales]
    wide = seed_spread(unlike)
    assert wide is not None
    assert wide.df < 1
    assert seed_spread(alike[:2]) is None


def family_coverage(m: int, anchor: float, variants: list[float], repeats: int) -> float:
    """How often all 12 intervals of a family with one anchor hold the true effect, 0."""
    rng = np.random.default_rng([m, int(1e5 * anchor), len(variants)])
    hits = 0
    for _ in range(repeats):
        base = rng.normal(0, anchor, m)
        family = Family(0.95)
        for k in range(12):
            own = rng.normal(0, variants[k % len(variants)], m)
            family.add("effect", [Pair(loss=float(x)) for x in base - own])
        found = family.intervals()
        hits += all(i is not None and i.low <= 0 <= i.high for i in found)  # type: ignore[operator]
    return hits / repeats


@pytest.mark.parametrize("m", [3, 5])
@pytest.mark.parametrize(
    ("anchor", "variants"),
    [(0.001, [0.001]), (0.003, [0.0005]), (0.0002, [0.001]), (5e-4, [5e-4] * 11 + [0.005])],
    ids=["alike", "anchor", "variants", "one wild"],
)
def test_all_intervals_of_a_family_hold_together(
    m: int, anchor: float, variants: list[float]
) -> None:
    assert family_coverage(m, anchor, variants, 300) >= 0.92


def test_three_seeds_borrow_enough_to_tell_an_effect_that_they_could_not_tell_alone() -> None:
    rng = np.random.default_rng(1)
    family = Family(0.95)
    family.add("effect", [Pair(loss=0.1 + x) for x in (-0.015, 0.0, 0.015)])
    for _ in range(19):
        family.add("effect", [Pair(loss=float(x)) for x in rng.normal(0, 0.01, 3)])
    first = family.intervals()[0]
    assert first is not None
    assert first.low is not None
    assert first.low > 0
    assert MOST_DF == 2
    alone = interval(family.members[0][1], 1 - 0.05 / family.size)
    assert alone is not None
    assert alone.low is not None
    assert alone.low < 0


def test_two_seeds_are_judged_by_their_images_alone() -> None:
    counts = [(30, 10), (45, 12)]
    pairs = [Pair(loss=(b - c) / 1000, lost=b, gained=c, n_images=1000) for b, c in counts]
    ours = interval(pairs, 0.95)
    theirs = paired_drop([b for b, _ in counts], [c for _, c in counts], 1000, seeds=False)
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    bare = interval([Pair(loss=p.loss) for p in pairs], 0.95)
    assert bare is not None
    assert (bare.low, bare.high) == (None, None)

"""Intervals: exact values, limits, and coverage by simulation (fixed random seeds)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.selection.statistics import (
    Comparison,
    accuracy_interval,
    compare,
    mean_interval,
    paired_drop,
    sayable,
    wilson,
)

REPEATS = 2_000
N_IMAGES = 1_000
P_LOST, P_GAINED = 0.04, 0.02


def simulated_coverage(m: int, shared: float, seed_effect: float, repeats: int = REPEATS) -> float:
    """How often the nominal 95 % interval of `paired_drop` covers the true drop.

    Each image has a luck: lost below P_LOST + the effect of the seed, gained above
    1 - P_GAINED. A share of the images has the same luck for every seed, the rest draws
    it anew. seed_effect is the standard deviation between seeds in image standard errors.
    """
    rng = np.random.default_rng([m, int(100 * shared), int(100 * seed_effect)])
    common = round(shared * N_IMAGES)
    truth = P_LOST - P_GAINED
    scale = seed_effect * math.sqrt((P_LOST + P_GAINED - truth**2) / N_IMAGES)
    p_lost = P_LOST + rng.normal(scale=scale, size=(repeats, m))
    p = np.stack([p_lost, np.full_like(p_lost, P_GAINED), 1 - P_GAINED - p_lost], axis=-1)
    counts = rng.multinomial(N_IMAGES - common, p)
    luck = rng.random((repeats, 1, common), dtype=np.float32)
    counts[..., 0] += (luck < p_lost[..., None]).sum(-1)
    counts[..., 1] += (luck > 1 - P_GAINED).sum(-1)
    hits = 0
    for lost, gained in zip(counts[..., 0].tolist(), counts[..., 1].tolist(), strict=True):
        interval = paired_drop(lost, gained, N_IMAGES)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= truth <= interval.high
    return hits / repeats


def test_one_seed_covers_its_drop_about_as_often_as_it_says() -> None:
    assert simulated_coverage(1, 0.0, 0.0) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("m", [3, 5])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed_effect", [0.0, 1.0])
def test_several_seeds_never_cover_less_than_they_say(
    m: int, shared: float, seed_effect: float
) -> None:
    assert simulated_coverage(m, shared, seed_effect) >= 0.92


def test_two_seeds_keep_the_whole_spread_because_it_has_one_degree_of_freedom() -> None:
    assert simulated_coverage(2, 1.0, 1.0) >= 0.92


@pytest.mark.parametrize(("m", "shared"), [(3, 0.0), (3, 1.0), (5, 1.0)])
def test_accuracy_over_seeds_covers_the_true_accuracy(m: int, shared: float) -> None:
    rng = np.random.default_rng(m)
    common = round(shared * N_IMAGES)
    right = rng.binomial(common, 0.9, (REPEATS, 1)) + rng.binomial(
        N_IMAGES - common, 0.9, (REPEATS, m)
    )
    limits = [accuracy_interval(a, N_IMAGES) for a in (right / N_IMAGES).tolist()]
    assert np.mean([i.low <= 0.9 <= i.high for i in limits]) >= 0.92  # type: ignore[operator]


def test_one_seed_is_the_agresti_min_interval() -> None:
    interval = paired_drop([30], [10], 1000)
    variance = ((30.5 + 10.5) - (30.5 - 10.5) ** 2 / 1002) / 1002**2
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert interval.mean == pytest.approx(0.02)
    assert interval.low == pytest.approx(0.02 - half)
    assert interval.high == pytest.approx(0.02 + half)


def test_more_seeds_that_agree_leave_the_image_noise_as_it_is() -> None:
    assert paired_drop([30] * 5, [10] * 5, 1000) == paired_drop([30], [10], 1000)


def test_seeds_that_disagree_beyond_image_noise_add_a_student_part() -> None:
    alike, apart = paired_drop([50] * 3, [0] * 3, 1000), paired_drop([10, 50, 90], [0] * 3, 1000)
    images = np.mean([((b + 1) - b**2 / 1002) / 1002**2 for b in (10, 50, 90)])
    excess = np.var([0.01, 0.05, 0.09], ddof=1) - images
    half = math.hypot(
        stats.norm.ppf(0.975) * math.sqrt(images), stats.t.ppf(0.975, 2) * math.sqrt(excess / 3)
    )
    assert apart.mean == pytest.approx(alike.mean)
    assert apart.high == pytest.approx(apart.mean + half, rel=1e-3)


counts = st.integers(1, 5).flatmap(
    lambda m: st.tuples(*[st.lists(st.integers(0, 50), min_size=m, max_size=m)] * 2)
)


@given(counts, st.integers(100, 10_000), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_an_interval_holds_its_mean_stays_in_range_and_mirrors_when_models_swap(
    pairs: tuple[list[int], list[int]], n: int, confidence: float
) -> None:
    there = paired_drop(*pairs, n, confidence)
    back = paired_drop(pairs[1], pairs[0], n, confidence)
    assert back.mean == pytest.approx(-there.mean, abs=1e-15)
    if there.low is None or there.high is None or back.high is None:
        assert len(pairs[0]) > 1, "100 images alone are never too few"
        assert there.low is there.high is back.low is back.high is None
        return
    assert -1 <= there.low < there.mean < there.high <= 1
    assert back.high == pytest.approx(-there.low)


def test_more_images_make_the_interval_narrower() -> None:
    widths = [i.high - i.low for k in (1, 10, 100)  # type: ignore[operator]
              for i in [paired_drop([30 * k], [10 * k], 1000 * k)]]  # fmt: skip
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.5, 0.5, (-0.5, 0.5)),
        (-0.5, 0.5 + 1e-9, (None, None)),
        (0.2, 0.2, (None, None)),
        (0.2, 0.2 + 1e-16, (None, None)),
        (0.7, 1.7, (0.7, 1)),
        (-1.7, -0.7, (-1, -0.7)),
        (-3, 3, (None, None)),
        (1, 2, (None, None)),
    ],
    ids=[
        "half",
        "wider",
        "no width",
        "rounding",
        "clipped",
        "clipped below",
        "all",
        "nothing left",
    ],
)
def test_limits_of_no_width_or_of_more_than_half_of_what_can_be_are_not_said(
    low: float, high: float, said: tuple[float | None, float | None]
) -> None:
    found = sayable(0.3, low, high, -1, 1)
    assert (found.mean, found.low, found.high) == (0.3, *said)


def test_about_these_models_the_spread_between_seeds_counts_for_nothing() -> None:
    apart, one = paired_drop([10, 50, 90], [0] * 3, 1000, seeds=False), paired_drop([50], [0], 1000)
    assert apart.mean == pytest.approx(one.mean)
    assert apart.high == pytest.approx(one.high, rel=0.02)
    spread = accuracy_interval([0.8, 0.9, 1.0], 1000, seeds=False)
    assert (spread.low, spread.high) == pytest.approx(wilson(0.9, 1000))


def test_equal_values_have_no_limits_for_they_say_little_about_others() -> None:
    for value in (0.5, 0.1, 0.7):  # the mean of three 0.1 is not 0.1
        found = mean_interval([value] * 3)
        assert (found.mean, found.low, found.high) == (pytest.approx(value), None, None)


def test_mean_interval_is_student_t_and_has_no_limits_for_one_value() -> None:
    spread = mean_interval([0.9, 0.92, 0.94])
    half = stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    assert (spread.low, spread.high) == pytest.approx((0.92 - half, 0.92 + half))
    one = mean_interval([0.5])
    assert (one.mean, one.low, one.high) == (0.5, None, None)


@pytest.mark.parametrize("right", [0, 1, 990, 1000])
def test_wilson_agrees_with_scipy_and_stays_in_range(right: int) -> None:
    expected = stats.binomtest(right, 1000).proportion_ci(0.95, method="wilson")
    assert wilson(right / 1000, 1000) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_accuracy_of_a_perfect_model_is_not_above_one() -> None:
    interval = accuracy_interval([1.0, 1.0, 1.0], 1000)
    assert interval.high == 1.0
    assert interval.low is not None
    assert 0.99 < interval.low < 1.0


def test_without_counts_the_drop_is_the_same_and_its_interval_wider() -> None:
    counted = Comparison(dense=0.98, pruned=0.96, lost=30, gained=10, n_images=1000)
    uncounted = Comparison(dense=0.98, pruned=0.96, lost=None, gained=None, n_images=1000)
    a, b = compare([counted]), compare([uncounted])
    assert a is not None
    assert b is not None
    assert a.mean == pytest.approx(b.mean) == pytest.approx(0.02)
    assert b.low is not None
    assert a.low is not None
    assert b.low < a.low


def test_models_measured_on_unequal_counts_get_the_noise_of_the_smaller() -> None:
    small, large = (
        Comparison(dense=None, pruned=None, lost=20 * k, gained=10 * k, n_images=1000 * k)
        for k in (1, 10)
    )
    assert compare([small, large]) == paired_drop([20, 20], [10, 10], 1000)


def test_without_an_image_count_only_the_spread_over_seeds_is_left() -> None:
    bare = [
        Comparison(dense=0.98, pruned=p, lost=None, gained=None, n_images=None)
        for p in (0.97, 0.96)
    ]
    assert compare(bare) == mean_interval([b.drop for b in bare])  # type: ignore[misc]
    assert compare(bare[:1]).low is None  # type: ignore[union-attr]
    assert compare([]) is None


@pytest.mark.parametrize(
    ("lost", "gained", "n"), [([], [], 10), ([1], [1, 2], 10), ([-1], [0], 10), ([8], [8], 10)]
)
def test_counts_that_cannot_be_are_refused(lost: list[int], gained: list[int], n: int) -> None:
    with pytest.raises(ValueError, match="paired_drop"):
        paired_drop(lost, gained, n)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_that_is_no_fraction_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="95 %"):
        paired_drop([1], [1], 10, confidence)

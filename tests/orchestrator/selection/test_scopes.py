"""Two scopes of one difference: exact variances, containment, verdicts, what would decide."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.selection.pairs import Pair
from orchestrator.selection.scopes import (
    OTHER_SEEDS,
    THESE_MODELS,
    Difference,
    Needed,
    Scope,
    difference,
    needed,
    verdict,
)
from orchestrator.selection.seeds import Spread
from orchestrator.selection.statistics import Interval, paired_drop


def pairs_of(a: np.ndarray, b: np.ndarray, by_image: bool = True) -> list[Pair]:
    """Pairs of (seeds, images) outcomes."""
    found = []
    for x, y in zip(a, b, strict=True):
        own = x.astype(float) - y
        lost, gained = float((own > 0).sum()), float((own < 0).sum())
        found.append(
            Pair(
                loss=(lost - gained) / len(own), lost=lost, gained=gained, n_images=len(own),
                by_image=own if by_image else None,
            )
        )  # fmt: skip
    return found


def models(seed: int, n: int, images: int, apart: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of two arms that differ on a share of the images, some of them for all seeds."""
    rng = np.random.default_rng(seed)
    a = rng.random((n, images)) < 0.9
    alike = rng.random(images) < apart / 2
    return a, a ^ alike ^ (rng.random((n, images)) < apart / 2)


def found(seed: int, n: int, images: int, by_image: bool = True) -> Difference:
    d = difference(pairs_of(*models(seed, n, images), by_image))
    assert d is not None
    return d


sizes = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(20, 400))


@given(sizes, st.sampled_from([0.5, 0.95, 0.993]))
def test_the_interval_about_other_seeds_holds_the_one_about_these_models(
    size: tuple[int, int, int], confidence: float
) -> None:
    d = found(*size)
    narrow = d.half_width(THESE_MODELS, confidence)
    wide = d.half_width(OTHER_SEEDS, confidence)
    assert narrow is not None
    assert narrow > 0
    if size[1] < 3:
        assert (wide, d.scope) == (None, THESE_MODELS)
    else:
        assert d.scope == OTHER_SEEDS
        assert wide is not None
        assert wide >= narrow * (1 - 1e-9)


@given(sizes, st.booleans())
def test_swapping_the_two_mirrors_both_intervals(
    size: tuple[int, int, int], by_image: bool
) -> None:
    a, b = models(*size)
    there, back = (difference(pairs_of(x, y, by_image)) for x, y in ((a, b), (b, a)))
    assert there is not None
    assert back is not None
    assert back.mean == pytest.approx(-there.mean, abs=1e-15)
    for scope in (THESE_MODELS, OTHER_SEEDS):
        one, other = (d.half_width(scope, 0.95) for d in (there, back))
        assert (one is None) == (other is None)
        assert one is None or other == pytest.approx(one)


@given(st.integers(0, 2**32 - 1), st.integers(20, 400))
def test_with_one_seed_counts_say_what_the_images_say_and_agresti_and_min_say(
    seed: int, images: int
) -> None:
    exact, counted = (found(seed, 1, images, by_image) for by_image in (True, False))
    assert exact.image_variance == pytest.approx(counted.image_variance)
    a, b = models(seed, 1, images)
    theirs = paired_drop([int((a & ~b).sum())], [int((b & ~a).sum())], images)
    ours = exact.interval(THESE_MODELS, 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@given(sizes)
def test_images_never_say_less_than_counts(size: tuple[int, int, int]) -> None:
    exact, counted = (found(*size, by_image=by_image) for by_image in (True, False))
    assert exact.image_variance is not None
    assert counted.image_variance is not None
    assert exact.image_variance <= counted.image_variance * (1 + 1e-9)
    assert exact.shared <= exact.image_variance


def test_seeds_that_agree_on_every_image_say_as_much_as_one() -> None:
    a, b = models(0, 1, 300)
    one = difference(pairs_of(a, b))
    five = difference(pairs_of(np.repeat(a, 5, 0), np.repeat(b, 5, 0)))
    assert one is not None
    assert five is not None
    assert five.image_variance == pytest.approx(one.image_variance)
    assert five.shared == pytest.approx(five.image_variance), "all of it is shared"


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_what_two_seeds_share_is_the_mean_covariance_of_their_differences(
    seed: int, n: int
) -> None:
    """By brute force, of images with the two pseudo images that keep a variance above 0."""
    a, b = models(seed, n, 200, apart=0.4)
    own = a.astype(float) - b
    half = math.sqrt(0.5)
    padded = np.hstack([own, np.full((n, 1), half), np.full((n, 1), -half)])
    images = padded.shape[1]
    covariance = np.cov(padded, bias=True) / images
    apart = covariance[~np.eye(n, dtype=bool)]
    d = difference(pairs_of(a, b))
    assert d is not None
    assert d.image_variance == pytest.approx(float(np.var(padded.mean(0)) / images))
    assume(0 <= apart.mean() <= d.image_variance)  # beyond, it is cut off
    assert d.shared == pytest.approx(float(apart.mean()), abs=1e-12)


def test_identical_models_have_a_small_interval_that_is_not_of_no_width() -> None:
    a = np.random.default_rng(0).random((3, 1000)) < 0.9
    d = difference(pairs_of(a, a), Spread(0.0, 4.0))
    assert d is not None
    for scope in (THESE_MODELS, OTHER_SEEDS):
        said = d.interval(scope, 0.95)
        assert said.low is not None
        assert said.high is not None
        assert -0.003 < said.low < 0 < said.high < 0.003
    assert d.half_width(OTHER_SEEDS, 0.95) == pytest.approx(
        d.half_width(THESE_MODELS, 0.95), rel=1e-5
    )
    few = difference(pairs_of(a[:, :1], a[:, :1]))
    assert few is not None
    assert few.interval(THESE_MODELS, 0.95).low is None, "one image says nothing"


def test_without_image_counts_three_seeds_have_students_interval() -> None:
    losses = [0.01, 0.03, 0.08]
    d = difference([Pair(loss=v) for v in losses])
    assert d is not None
    half = stats.t.ppf(0.975, 2) * np.std(losses, ddof=1) / math.sqrt(3)
    assert d.half_width(OTHER_SEEDS, 0.95) == pytest.approx(half)
    assert d.half_width(THESE_MODELS, 0.95) is None
    assert difference([]) is None
    same = difference([Pair(loss=0.1)] * 3)
    assert same is not None
    assert same.interval(OTHER_SEEDS, 0.95).low is None, "equal losses alone say nothing"


def test_the_spread_between_seeds_is_not_counted_twice() -> None:
    """What images the seeds do not share is in the spread already: the sum is P / n + C."""
    d = Difference(
        mean=0.02, n=4, n_images=1000, image_variance=3e-5, shared=1e-5, spread=Spread(2e-4, 9.0)
    )
    total = 2e-4 / 4 + 1e-5
    df = 9 * (total / (2e-4 / 4)) ** 2
    half = stats.t.ppf(0.975, df) * math.sqrt(total)
    assert d.half_width(OTHER_SEEDS, 0.95) == pytest.approx(half)
    quiet = Difference(
        mean=0.02, n=4, n_images=1000, image_variance=3e-5, shared=1e-5, spread=Spread(1e-9, 9.0)
    )
    unshared = (3e-5 - 1e-5) * 4  # more than the measured spread: the images alone are so noisy
    df = 9 * (3e-5 / (unshared / 4)) ** 2
    half = stats.t.ppf(0.975, df) * math.sqrt(3e-5)
    assert quiet.half_width(OTHER_SEEDS, 0.95) == pytest.approx(half)


@pytest.mark.parametrize(
    ("low", "high", "said", "within"),
    [
        (0.001, 0.1, "better", None),
        (-0.1, -0.001, "worse", None),
        (0.0, 0.1, "undecided", None),
        (-0.1, 0.0, "undecided", None),
        (-0.002, 0.007, "equal", 0.007),
        (-0.007, 0.002, "equal", 0.007),
        (-0.01, 0.01, "equal", 0.01),
        (-0.002, 0.0101, "undecided", None),
        (0.001, 0.002, "better", None),
        (None, None, "undecided", None),
    ],
)
def test_a_verdict_is_read_from_the_limits_alone(
    low: float | None, high: float | None, said: str, within: float | None
) -> None:
    assert verdict(Interval(mean=0.0, low=low, high=high), 0.01) == (said, within)


differences = st.builds(
    Difference,
    mean=st.integers(-80, 80).map(lambda k: k / 2000),
    n=st.integers(3, 6),
    n_images=st.just(500),
    image_variance=st.floats(4e-6, 4e-4),
    shared=st.just(2e-6),
    spread=st.builds(Spread, st.floats(1e-6, 1e-3), st.floats(2, 20)),
)


@given(differences, st.sampled_from([THESE_MODELS, OTHER_SEEDS]), st.booleans())
def test_what_is_said_to_decide_does_decide_and_one_seed_less_does_not(
    d: Difference, scope: Scope, noninferior: bool
) -> None:
    goal = max(abs(d.mean), 0.01 - abs(d.mean))
    if noninferior:
        goal = abs(d.mean + 0.01)
    now = d.half_width(scope, 0.99)
    assert now is not None
    assume(now > goal)
    said = needed(d, scope, 0.99, 0.01, noninferior)
    if said.seeds is not None:
        assert scope == OTHER_SEEDS
        there, before = (d.half_width(scope, 0.99, seeds=said.seeds - i) for i in (0, 1))
        assert there is not None
        assert before is not None
        assert there <= goal
        assert said.seeds == d.n + 1 or before > goal
    if said.images is not None:
        there = d.half_width(scope, 0.99, images=said.images / 500)
        assert there is not None
        assert there <= goal
        assert said.images > 500
    elif scope == THESE_MODELS and goal > 0:
        most = d.half_width(scope, 0.99, images=100)
        assert most is not None
        assert most > goal


@given(differences, st.integers(1, 40))
def test_more_images_and_more_seeds_never_widen_an_interval(d: Difference, more: int) -> None:
    now, images = d.half_width(THESE_MODELS, 0.95), d.half_width(THESE_MODELS, 0.95, images=more)
    assert now is not None
    assert images == pytest.approx(now / more**0.5)
    now, seeds = d.half_width(OTHER_SEEDS, 0.95), d.half_width(OTHER_SEEDS, 0.95, seeds=d.n + more)
    assert now is not None
    assert seeds is not None
    assert seeds <= now * (1 + 1e-9)


def test_what_would_decide_is_said_in_words() -> None:
    assert Needed(9, 2400).words(500) == "about 9 seeds, or 2,400 images, would decide"
    assert Needed(9, None).words(500) == "about 9 seeds would decide"
    assert Needed(None, None).words(500).startswith("neither more seeds nor more images")


# --- coverage -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The simulation of `tests/benchmarks`, so that test and figure measure the same."""
    path = Path(__file__).parents[2] / "benchmarks/comparison_coverage.py"
    spec = importlib.util.spec_from_file_location("comparison_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 8])
def test_all_corrected_intervals_of_a_family_hold_together_as_often_as_they_say(
    benchmark: ModuleType, size: int
) -> None:
    """Bit by bit, through `compare_arms`; the whole of it is in comparison_coverage.json."""
    found = benchmark.measure(50, seed=size, sizes=[size], seeds=[2, 3, 5])["coverage"]
    for n in (2, 3, 5):
        assert found["these models"][f"seeds {n}"]["family"] == pytest.approx(0.96, abs=0.035)
    assert found["other seeds"]["seeds 2"]["no_interval"] == 1
    for n in (3, 5):
        slice_ = found["other seeds"][f"seeds {n}"]
        assert slice_["family"] == pytest.approx(0.965, abs=0.035)
        assert slice_["no_interval"] == 0
        narrower = found["these models"][f"seeds {n}"]["median_width_points"]
        assert slice_["median_width_points"] > narrower

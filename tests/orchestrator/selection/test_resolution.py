"""The smallest difference that a sweep can tell apart, against the intervals of its report."""

import itertools
import math

import numpy as np
import pytest

from orchestrator.selection.pairs import Pair
from orchestrator.selection.resolution import expected, resolution, words
from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS, difference, verdict
from orchestrator.selection.seeds import SeedSpread
from orchestrator.selection.statistics import t, z

SIZE = {"seeds": 3, "images": 3000, "settings": 6, "comparisons": 5}


def simulated(
    gap: float, seeds: int, images: int, settings: int, differing: float, draw: np.random.Generator
) -> tuple[list[Pair], SeedSpread]:
    """Two of `settings` arms whose models err on images of their own; b is better by `gap`."""
    base, wrong = 0.8, (differing + gap) / 2
    right = np.zeros((settings, seeds, images), bool)
    for seed in range(seeds):
        common = draw.random(images) < base
        for arm in range(settings):
            # Half of the images that differ are lost by one arm, half by the other.
            lost = common & (draw.random(images) < wrong / 2 / base)
            won = ~common & (draw.random(images) < wrong / 2 / (1 - base))
            right[arm, seed] = (common & ~lost) | won
    if gap:
        extra = draw.random((seeds, images)) < gap / 0.2
        right[1] |= extra & ~right[1]
    pairs = []
    for seed in range(seeds):
        a, b = right[0, seed], right[1, seed]
        by_image = a.astype(float) - b.astype(float)
        pairs.append(
            Pair(
                loss=float(by_image.mean()),
                lost=float((a & ~b).sum()),
                gained=float((b & ~a).sum()),
                n_images=images,
                by_image=by_image,
            )
        )
    accuracies = {
        arm: {float(seed): float(right[arm, seed].mean()) for seed in range(seeds)}
        for arm in range(settings)
    }
    return pairs, SeedSpread(accuracies)


def test_the_reports_intervals_are_as_wide_as_was_said() -> None:
    """Seeds that differ by their images alone: the half-width of the report, on average."""
    draw = np.random.default_rng(0)
    each = 1 - 0.05 / SIZE["comparisons"]
    widths, shares = [], []
    for _ in range(60):
        pairs, spread = simulated(0.0, 3, 3000, 6, 0.1, draw)
        gap = difference(pairs, spread.between(0, 1))
        assert gap is not None
        width = gap.half_width(OTHER_SEEDS, each)
        assert width is not None
        widths.append(width)
        shares.append(
            sum(p.lost + p.gained for p in pairs if p.lost is not None and p.gained is not None)
            / 9000
        )
    said = resolution(**SIZE, differing=float(np.mean(shares))).difference
    assert said is not None
    assert np.median(widths) == pytest.approx(said, rel=0.25)
    assert said <= 1.1 * np.median(widths), "at best: hardly ever wider than what follows"


def test_a_difference_above_it_is_decided_and_one_below_is_not() -> None:
    said = resolution(**SIZE).difference
    assert said is not None
    gap = expected(3, 3000, 6, 0.1)
    for factor, decided in ((1.01, "better"), (0.99, "undecided")):
        moved = type(gap)(
            mean=factor * said, n=3, n_images=3000, image_variance=gap.image_variance,
            shared=0.0, spread=gap.spread,
        )  # fmt: skip
        interval = moved.interval(OTHER_SEEDS, 1 - 0.05 / 5)
        assert verdict(interval, margin=0.001)[0] == decided


def test_by_hand() -> None:
    """Three seeds: t with the degrees of freedom of 6 settings, at a confidence of 99 %."""
    found = resolution(**SIZE)
    assert found.difference == pytest.approx(t(0.99, 10) * math.sqrt(0.1 / 3000 / 3))
    assert found.scope == OTHER_SEEDS
    two = resolution(**SIZE | {"seeds": 2})
    assert two.difference == pytest.approx(z(0.99) * math.sqrt(0.1 / 3000 / 2))
    assert two.scope == THESE_MODELS


@pytest.mark.parametrize("name", ["seeds", "images", "settings"])
def test_more_of_anything_tells_more_apart(name: str) -> None:
    sizes = [SIZE | {name: SIZE[name] * times} for times in (1, 2, 4)]
    found = [resolution(**size).difference or 0.0 for size in sizes]
    assert all(a > b or name == "settings" for a, b in itertools.pairwise(found))
    assert found[0] >= found[-1]


def test_more_comparisons_tell_less_apart() -> None:
    found = [resolution(**SIZE | {"comparisons": n}).difference or 0.0 for n in (1, 5, 20)]
    assert found == sorted(found)
    assert found[0] < found[-1]


@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"images": 0}, {"differing": 0.0}])
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        resolution(**SIZE | wrong)  # type: ignore[arg-type]


def test_in_words() -> None:
    assert words(resolution(**SIZE)) == (
        "1.1 points at best: 3 seeds, 3,000 test images, 5 comparisons, if two models judge "
        "10 % of the images differently"
    )
    one = resolution(seeds=1, images=500, settings=2, comparisons=1)
    assert words(one).startswith("2.8 points at best: 1 seed, 500 test images, 1 comparison, ")
    assert words(one).endswith("differently, about these models only")

"""How small a difference a sweep can tell apart: known before it runs, from its size alone.

The interval is that of the report (`scopes.Difference`), with what has to be measured replaced by
what it is at best: seeds differ by the noise of their images and nothing else, all settings vary
alike, and the models of two arms judge a share `DIFFERING` of the images differently. So the
report's intervals are rarely narrower, and wider where seeds differ.
"""

from dataclasses import dataclass

from orchestrator.selection.scopes import OTHER_SEEDS, THESE_MODELS, Difference, Scope
from orchestrator.selection.seeds import FEWEST_SEEDS, MOST_BORROWED, Spread

DIFFERING = 0.1
"""Share of images that exactly one of two models gets right, where nothing has been measured.

About what the intervals of the diagnosis in `trials/LOG.md` (2026-11-20) mean: 1.4 points either
way on 2,000 images, n = 3, in a family of some twenty comparisons.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The smallest difference of two arms whose interval leaves out zero.

    Attributes:
        difference: a fraction of the images; None = no interval.
        seeds: that every arm has; images: of the test set; comparisons: of the family.
        settings: of the sweep, from which the spread between seeds is borrowed.
        differing: share of the images that two models judge differently, an assumption.
        scope: what the interval is about.
    """

    difference: float | None
    seeds: int
    images: int
    settings: int
    comparisons: int
    differing: float
    scope: Scope


def resolution(
    *,
    seeds: int,
    images: int,
    settings: int,
    comparisons: int,
    differing: float = DIFFERING,
    confidence: float = 0.95,
) -> Resolution:
    """The half-width that the corrected interval of a comparison will have at best.

    Args:
        confidence: of the whole family, as `comparisons.compare_arms` corrects it.

    Raises:
        ValueError: fewer than one seed, image, setting or comparison, or a share outside (0, 1].
    """
    if min(seeds, images, settings, comparisons) < 1 or not 0 < differing <= 1:
        raise ValueError(
            f"resolution: seeds = {seeds}, images = {images}, settings = {settings}, comparisons = "
            f"{comparisons}: at least one of each; differing = {differing}: above 0, at most 1"
        )
    gap = expected(seeds, images, settings, differing)
    each = 1 - (1 - confidence) / comparisons
    return Resolution(
        difference=gap.half_width(gap.scope, each),
        seeds=seeds,
        images=images,
        settings=settings,
        comparisons=comparisons,
        differing=differing,
        scope=gap.scope,
    )


def expected(seeds: int, images: int, settings: int, differing: float) -> Difference:
    """A difference of 0 with the variances that it has at best.

    Of one seed the variance due to the images is differing / images. Seeds draw other images'
    errors, so that of the mean is a part of it, and none is shared.
    """
    of_one = differing / images
    spread: Spread | None = None
    if seeds >= FEWEST_SEEDS:
        own = seeds - 1.0
        borrowed = 2 * (1 + MOST_BORROWED) * own  # of two settings
        of_all = max(1.0, (settings - 1) * own)
        spread = Spread(of_one, min(borrowed, of_all))
    return Difference(
        mean=0.0,
        n=seeds,
        n_images=images,
        image_variance=of_one / seeds,
        shared=0.0,
        spread=spread,
    )


def words(found: Resolution) -> str:
    """`0.9 points at best, with 3 seeds on 3,000 test images (...)`."""
    if found.difference is None:
        return "unknown"
    counted = "1 seed" if found.seeds == 1 else f"{found.seeds} seeds"
    many = "1 comparison" if found.comparisons == 1 else f"{found.comparisons} comparisons"
    about = "" if found.scope == OTHER_SEEDS else f", about {THESE_MODELS} only"
    return (
        f"{100 * found.difference:.1f} points at best: {counted}, {found.images:,} test images, "
        f"{many}, if two models judge {100 * found.differing:.0f} % of the images "
        f"differently{about}"
    )

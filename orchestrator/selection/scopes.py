"""A difference of two settings in two scopes: these models, and other seeds.

*These models*: the models are fixed, and only the choice of the images is random. With outcomes by
image, each image's difference is averaged over the seeds, and its variance over the images is the
variance V of the mean; from counts alone, V is bounded by the mean of the seeds' variances.
Half-width: z sqrt(V).

*Other seeds*: n other seeds would have given n other pairs of models. The variance between seeds P
(`seeds.py`) contains the image noise that seeds do not share. The noise that they share, the
covariance C of two seeds' differences, does not show in the spread between them. So the variance of
the mean is P / n + C, but at least V, with Welch's and Satterthwaite's degrees of freedom for the
sum. With fewer than FEWEST_SEEDS seeds there is no interval for other seeds.

Both scopes, at 95 %, for a family of comparisons: `tests/benchmarks/comparison_coverage.json`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.selection.pairs import Pair, image_variance
from orchestrator.selection.seeds import FEWEST_SEEDS, Spread
from orchestrator.selection.statistics import Interval, sayable, t, z

Scope = Literal["these models", "other seeds"]
Verdict = Literal["better", "worse", "equal", "undecided"]

THESE_MODELS: Scope = "these models"
OTHER_SEEDS: Scope = "other seeds"
MOST_SEEDS_NEEDED = 100
MOST_IMAGES_NEEDED = 100  # times as many as there are
_CERTAIN = 1e6  # degrees of freedom of a known variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The mean difference a - b over seeds, and the variances behind its intervals.

    Attributes:
        n: seeds; n_images: images of each.
        image_variance: V, of the mean due to the choice of images; None = no counts.
        shared: C, the part of it that seeds share.
        spread: P, between seeds; None = no interval for other seeds.
    """

    mean: float
    n: int
    n_images: int | None
    image_variance: float | None
    shared: float
    spread: Spread | None

    @property
    def scope(self) -> Scope:
        """The widest scope with an interval."""
        return THESE_MODELS if self.spread is None else OTHER_SEEDS

    def interval(self, scope: Scope, confidence: float) -> Interval:
        """The mean with its limits, fractions; no limits where they are unknown or say little."""
        half = self.half_width(scope, confidence)
        if half is None:
            return Interval(mean=self.mean, low=None, high=None)
        return sayable(self.mean, self.mean - half, self.mean + half, -1, 1)

    def half_width(
        self, scope: Scope, confidence: float, seeds: float | None = None, images: float = 1.0
    ) -> float | None:
        """Half-width of the interval, as measured or with more seeds or images.

        Args:
            seeds: number of seeds instead of the measured ones.
            images: factor on the number of images.
        """
        if scope == THESE_MODELS:
            if self.image_variance is None:
                return None
            return z(confidence) * math.sqrt(self.image_variance / images)
        if self.spread is None:
            return None
        n = seeds or self.n
        averaged_out = (self.image_variance or 0.0) - self.shared  # part of V
        unshared = max(0.0, averaged_out) * self.n
        between = max(0.0, self.spread.variance - unshared) + unshared / images
        total = between / n + self.shared / images
        if not total > 0:
            return None
        df = _CERTAIN
        if between > 0:
            own_df = self.spread.df * (n - 1) / (self.n - 1)
            df = min(df, own_df * (total * n / between) ** 2)
        return t(confidence, df) * math.sqrt(total)


def difference(pairs: Sequence[Pair], spread: Spread | None = None) -> Difference | None:
    """A difference from its pairs, one for each seed; None without any.

    Args:
        spread: of this difference between seeds (`seeds.SeedSpread.between`); None = that of the
            pairs.
    """
    if not pairs:
        return None
    losses = [p.loss for p in pairs]
    n = len(losses)
    variance, shared = _image_variances(pairs)
    if n < FEWEST_SEEDS:
        spread = None
    elif spread is None:
        spread = Spread(float(np.var(losses, ddof=1)), n - 1.0)
    counts = [p.n_images for p in pairs if p.n_images]
    return Difference(
        mean=math.fsum(losses) / n,
        n=n,
        n_images=int(min(counts)) if counts else None,
        image_variance=variance,
        shared=shared,
        spread=spread,
    )


def _image_variances(pairs: Sequence[Pair]) -> tuple[float | None, float]:
    """V and C, see the module docstring; from counts alone as if seeds shared all their images.

    Half an image on either side keeps V above 0 where all models agree (Agresti and Min). All seeds
    share it: seeds that agree on all images are worth no more than one. (With 1/n of it, as if each
    seed had its own half image, a rare difference of five like seeds was covered in 63 % of
    simulations instead of 95 %.)
    """
    variances = [v for p in pairs if (v := image_variance(p)) is not None]
    n = len(pairs)
    if len(variances) < n:
        return None, 0.0
    mean = math.fsum(variances) / n
    by_image = [p.by_image for p in pairs if p.by_image is not None]
    if len(by_image) < n or len({len(images) for images in by_image}) > 1:
        return mean, mean * (1 - 1 / n)
    together = np.mean(by_image, axis=0)
    size = len(together) + 2
    total = float((together**2).sum()) + 1
    variance = (total - float(together.sum()) ** 2 / size) / size**2
    shared = max(0.0, variance - (mean - variance) / (n - 1)) if n > 1 else 0.0
    return variance, min(shared, variance)


def verdict(interval: Interval, margin: float) -> tuple[Verdict, float | None]:
    """The verdict of an interval of a - b on a; with "equal" also a bound on the difference.

    "equal" rests on two one-sided tests: the whole interval lies within the margin. The bound is
    the farther end of the interval.

    Args:
        margin: differences up to this do not matter, a fraction.
    """
    if interval.low is None or interval.high is None:
        return "undecided", None
    if interval.low > 0:
        return "better", None
    if interval.high < 0:
        return "worse", None
    bound = max(-interval.low, interval.high)
    return ("equal", bound) if bound <= margin else ("undecided", None)


@dataclass(frozen=True, slots=True)
class Needed:
    """What would decide if difference and spread stay as measured; None = no number is enough."""

    seeds: int | None
    images: int | None

    def words(self, n_images: int | None) -> str:
        """`about 9 seeds, or 2,400 images, would decide`."""
        parts = []
        if self.seeds is not None:
            parts.append(f"{self.seeds} seeds")
        if self.images is not None and n_images:
            parts.append(f"{self.images:,} images")
        if parts:
            return f"about {', or '.join(parts)}{',' * (len(parts) > 1)} would decide"
        return "neither more seeds nor more images alone would decide"


def needed(
    gap: Difference, scope: Scope, confidence: float, margin: float, noninferior: bool = False
) -> Needed:
    """The smallest number of seeds, and of images, with which the interval would decide.

    It decides when its half-width is below the larger of |mean| (better or worse) and
    margin - |mean| (equal); for non-inferiority below |mean + margin|.
    """
    goal = max(abs(gap.mean), margin - abs(gap.mean))
    if noninferior:
        goal = abs(gap.mean + margin)
    seeds = None
    if scope == OTHER_SEEDS:
        for n in range(gap.n + 1, MOST_SEEDS_NEEDED + 1):
            half = gap.half_width(scope, confidence, seeds=n)
            if half is not None and half <= goal:
                seeds = n
                break
    images = None
    if gap.n_images:
        factor = _least_factor(gap, scope, confidence, goal)
        images = None if factor is None else _rounded(factor * gap.n_images)
    return Needed(seeds, images)


def _least_factor(gap: Difference, scope: Scope, confidence: float, goal: float) -> float | None:
    """The factor on the images that brings the half-width to the goal; None if too large."""
    low, high = 1.0, float(MOST_IMAGES_NEEDED)
    half = gap.half_width(scope, confidence, images=high)
    if half is None or half > goal:
        return None
    for _ in range(40):
        middle = math.sqrt(low * high)
        half = gap.half_width(scope, confidence, images=middle)
        low, high = (middle, high) if half is None or half > goal else (low, middle)
    return high


def _rounded(count: float) -> int:
    """Rounded up to two digits: it is a plan, not a measurement."""
    step: int = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / step) * step

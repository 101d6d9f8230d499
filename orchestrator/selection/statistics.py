"""Intervals for accuracies measured on shared images, over few seeds.

All seeds share the validation (and test) images. So an average over seeds has two kinds of
noise: the choice of the images, which more seeds do not reduce, and the seed itself (another
dense model). Every interval here is
`half-width = sqrt(image_half_width^2 + seed_half_width^2)`.

Double counting: the observed variance between seeds S^2 contains the image noise that seeds do
not share (E[S^2] = var_seed + var_unshared, with 0 <= var_unshared <= var_image), which is
already in the image part. With m >= 3 seeds we subtract the whole image variance,
`max(0, S^2 - var_image)`: right if seeds err on different images, slightly too much if they err
on the same ones. With m = 2 (one degree of freedom) nothing is subtracted. Measured coverage at
a nominal 95 %, over seed effects of 0 to 4 image standard errors and 0 to 100 % shared noise:
at least 93 % for m = 3 and m = 5. Subtracting at m = 2 would give 89 %, hence the exception; not
subtracting at m = 3 would give 100 % for independent seeds, at 1.4 times the width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its confidence limits, in the unit of the values; None = not measurable."""

    mean: float
    low: float | None
    high: float | None


def sayable(mean: float, low: float, high: float, least: float, most: float) -> Interval:
    """The interval, clipped to possible values; without limits if they say too little.

    An interval wider than half of the possible range, or without any width (which few images cannot
    justify), is not worth reporting: only the mean is left.

    Args:
        least, most: the range of possible values, such as -1 and 1 for a difference of accuracies.
    """
    low, high = max(least, low), min(most, high)
    if not _has_width(low, high) or high - low > (most - least) / 2:
        return Interval(mean=mean, low=None, high=None)
    return Interval(mean=mean, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One pruned model against its own dense model on the same images.

    Attributes:
        dense, pruned: accuracies, fractions.
        lost: images that dense gets right and pruned wrong (an average may be fractional).
        gained: the opposite.
        n_images: images that both were measured on.
    """

    dense: float | None
    pruned: float | None
    lost: float | None
    gained: float | None
    n_images: float | None

    @property
    def drop(self) -> float | None:
        """Accuracy lost by pruning: (lost - gained) / n_images, else dense - pruned."""
        if self.lost is not None and self.gained is not None and self.n_images:
            return (self.lost - self.gained) / self.n_images
        if self.dense is not None and self.pruned is not None:
            return self.dense - self.pruned
        return None

    def discordant_shares(self) -> tuple[float, float] | None:
        """Shares of lost and gained images.

        Without counts: the shares for independent errors, dense(1-pruned) and pruned(1-dense).
        The difference is exact and the interval too wide rather than too narrow, because a model
        and its pruned copy tend to err on the same images.
        """
        if not self.n_images:
            return None
        if self.lost is not None and self.gained is not None:
            return self.lost / self.n_images, self.gained / self.n_images
        if self.dense is not None and self.pruned is not None:
            return self.dense * (1 - self.pruned), self.pruned * (1 - self.dense)
        return None


def paired_drop(
    lost: Sequence[float],
    gained: Sequence[float],
    n_images: float,
    confidence: float = 0.95,
    pooled: bool = False,
    seeds: bool = True,
) -> Interval:
    """Accuracy drop dense - pruned, paired by image, over m >= 1 dense models.

    mean = average of (lost - gained) / n_images. Image part: z * sqrt(V), V the variance of
    `agresti_min`, averaged over the seeds and not divided by m (the images are shared).
    Seed part: t(m-1) * sqrt(max(0, S^2 - V) / m), for m = 2 without "- V" (module docstring).

    Args:
        lost, gained: per seed, see `Comparison`.
        n_images: the same for all seeds.
        confidence: two-sided, in (0, 1).
        pooled: one half-width for both parts, see `_pooled_half_width`.
        seeds: False = the image part alone: the interval is for these models.

    Returns:
        Fractions; see `sayable` for limits that are left out.

    Raises:
        ValueError: no seed, unequal lengths, or impossible counts.

    Source: ours.
    """
    _check_confidence(confidence)
    counts = _checked_counts(lost, gained, n_images)
    drops = [(b - c) / n_images for b, c in counts]
    image_variance = float(np.mean([agresti_min(b, c, n_images) for b, c in counts]))
    mean = float(np.mean(drops))
    half = z(confidence) * math.sqrt(image_variance)
    if seeds and pooled and len(drops) > 1:
        half = _pooled_half_width(drops, image_variance, confidence)
    elif seeds:
        half = math.hypot(half, _seed_half_width(drops, image_variance, confidence))
    return sayable(mean, mean - half, mean + half, -1, 1)


def _checked_counts(
    lost: Sequence[float], gained: Sequence[float], n_images: float
) -> list[tuple[float, float]]:
    if len(lost) != len(gained) or not len(lost):
        raise ValueError(
            f"paired_drop: {len(lost)} lost and {len(gained)} gained counts; "
            "give one pair for each seed, at least one."
        )
    counts = [(float(b), float(c)) for b, c in zip(lost, gained, strict=True)]
    if not n_images > 0 or any(b < 0 or c < 0 or b + c > n_images * (1 + 1e-9) for b, c in counts):
        raise ValueError(
            f"paired_drop: lost {list(lost)} and gained {list(gained)} of {n_images} images; "
            "counts must be 0 or more and lost + gained at most n_images."
        )
    return counts


def compare(
    comparisons: Sequence[Comparison],
    confidence: float = 0.95,
    pooled: bool = False,
    seeds: bool = True,
) -> Interval | None:
    """`paired_drop` over comparisons, one for each dense model; None when nothing is measured.

    Comparisons without a drop are left out. If an image count is missing, only the spread over
    seeds is used (`mean_interval`).
    """
    measured = [(c, drop) for c in comparisons if (drop := c.drop) is not None]
    shares = [s for c, _ in measured if (s := c.discordant_shares()) is not None]
    if not measured:
        return None
    if len(shares) < len(measured):
        spread = mean_interval([drop for _, drop in measured], confidence)
        if spread.low is None or spread.high is None or not seeds:
            return Interval(mean=spread.mean, low=None, high=None)
        return sayable(spread.mean, spread.low, spread.high, -1, 1)
    n_images = min(c.n_images for c, _ in measured if c.n_images)
    lost, gained = ([share[i] * n_images for share in shares] for i in (0, 1))
    return paired_drop(lost, gained, n_images, confidence, pooled, seeds)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student t interval, mean ± t(n-1) * s / sqrt(n).

    No limits when n < 2 or all values are equal, which says little about further values.

    Raises:
        ValueError: no values.
    """
    _check_confidence(confidence)
    if not len(values):
        raise ValueError("mean_interval: no values; give at least one.")
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean=mean, low=None, high=None)
    half = _t_half_width(float(np.var(values, ddof=1)), len(values), confidence)
    if not _has_width(mean - half, mean + half):
        return Interval(mean=mean, low=None, high=None)
    return Interval(mean=mean, low=mean - half, high=mean + half)


def wilson(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share of n images, in [0, 1].

    (p + z²/2n ± z * sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n). Source: Wilson, JASA 22 (1927) 209.
    """
    _check_confidence(confidence)
    z2 = z(confidence) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * share * (1 - share) / n + z2**2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def accuracy_interval(
    accuracies: Sequence[float],
    n_images: float | None,
    confidence: float = 0.95,
    seeds: bool = True,
) -> Interval:
    """Mean accuracy over seeds measured on the same images, clipped to [0, 1].

    Image part: Wilson at the mean accuracy with n_images (not m * n_images). Seed part: as
    in `paired_drop`, with p(1-p)/n for V. Each side is combined by sqrt(image² + seed²).
    Without n_images only the spread over seeds is used (`mean_interval`).

    Args:
        seeds: False = the image part alone: the interval is for these models.
    """
    mean = float(np.mean(accuracies))
    if not n_images:
        spread = mean_interval(accuracies, confidence)
        if spread.low is None or spread.high is None or not seeds:
            return Interval(mean=mean, low=None, high=None)
        return sayable(mean, spread.low, spread.high, 0, 1)
    low, high = wilson(mean, n_images, confidence)
    image_variance = float(np.mean([p * (1 - p) / n_images for p in accuracies]))
    seed = _seed_half_width(accuracies, image_variance, confidence) if seeds else 0.0
    return sayable(
        mean,
        mean - math.hypot(mean - low, seed),
        mean + math.hypot(high - mean, seed),
        0,
        1,
    )


def _seed_half_width(values: Sequence[float], image_variance: float, confidence: float) -> float:
    """Half-width from the spread between seeds, without the image noise in it."""
    m = len(values)
    if m < 2:
        return 0.0
    between = float(np.var(values, ddof=1))
    excess = between if m == 2 else max(0.0, between - image_variance)
    return _t_half_width(excess, m, confidence)


def _pooled_half_width(values: Sequence[float], image_variance: float, confidence: float) -> float:
    """t(ν)·sqrt(T) with T = image variance + S²/m and ν = (m - 1)·T² / (S²/m)².

    Source: Welch, Biometrika 34 (1947) 28; Satterthwaite, Biometrics Bulletin 2 (1946) 110.
    """
    m = len(values)
    seed_variance = float(np.var(values, ddof=1)) / m
    total = image_variance + seed_variance
    if seed_variance == 0:
        return z(confidence) * math.sqrt(total)
    freedom = (m - 1) * (total / seed_variance) ** 2
    return t(confidence, freedom) * math.sqrt(total)


def _t_half_width(variance: float, n: int, confidence: float) -> float:
    return t(confidence, n - 1) * math.sqrt(variance / n)


def _has_width(low: float, high: float) -> bool:
    """False if the ends differ only by the rounding of a mean of equal numbers."""
    return high - low > 1e-12 * max(abs(low), abs(high))


def z(confidence: float) -> float:
    """Half-width of a two-sided normal interval, in standard errors."""
    return float(special.ndtri((1 + confidence) / 2))


def t(confidence: float, df: float) -> float:
    """The same for a standard error that was estimated with `df` degrees of freedom."""
    return float(special.stdtrit(df, (1 + confidence) / 2))


def agresti_min(lost: float, gained: float, n_images: float) -> float:
    """Variance of (lost - gained) / n_images due to the choice of images.

    ((b + c) - (b - c)² / n) / n² with b = lost + 0.5, c = gained + 0.5, n = n_images + 2.

    Source: Agresti & Min, Statistics in Medicine 24 (2005) 729.
    """
    n = n_images + 2
    b, c = lost + 0.5, gained + 0.5
    return ((b + c) - (b - c) ** 2 / n) / n**2


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence}: must lie between 0 and 1 (0.95 for 95 %).")

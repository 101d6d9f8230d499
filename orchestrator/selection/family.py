"""Intervals for many comparisons at once, as the diagnosis needs them.

Settings are compared in two scopes (`scopes.py`). The diagnosis asks another question: what does
one change to a mask do? Its interval is computed here. With FEWEST_SEEDS seeds or more it is about
other seeds, with fewer about these models alone.

The image part is that of `statistics.paired_drop`. The seed part borrows from the other comparisons
of the family: at n = 3 and 20 comparisons, a comparison alone would give an interval ten times as
wide. The variances between seeds are shrunk towards their common value (Smyth 2004, "moderated t"),
as far as they agree on one, and never below the comparison's own. Comparisons with the same anchor
share its seeds and are not independent, so the degrees of freedom gained are capped.

Measured family-wise coverage at a nominal 95 %: 20 comparisons with one anchor, no image noise,
seeds that vary alike, mostly in the anchor, mostly in the variants, or very unequally. With the cap
at twice a comparison's own degrees of freedom it is 94 to 100 % for n = 3 and 5; at four times it
fell to 84 %.
"""

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.selection.pairs import Pair, image_variance
from orchestrator.selection.seeds import FEWEST_SEEDS, Prior, Spread, common
from orchestrator.selection.statistics import Interval, sayable, t, z

MOST_DF = 2
"""Degrees of freedom with borrowing, at most this many times a comparison's own."""


def seed_spread(comparisons: Sequence[Sequence[Pair]]) -> Prior | None:
    """The common prior of a family's variances between seeds; see `seeds.common`."""
    losses = [[p.loss for p in pairs] for pairs in comparisons if len(pairs) > 1]
    return common(
        [
            Spread(float(np.var(seed_losses, ddof=1)), len(seed_losses) - 1.0)
            for seed_losses in losses
        ]
    )


def interval(
    pairs: Sequence[Pair], confidence: float, spread: Prior | None = None
) -> Interval | None:
    """Mean loss over seeds with its limits; None without a pair.

    half² = z² V + t² max(0, s² - V) / m. V: the image variance (`paired_drop`), 0 if image counts
    are unknown. s²: the variance between seeds, shrunk to `spread`. With fewer than FEWEST_SEEDS
    seeds the second part is left out: the interval is about these models.

    Returns:
        Fractions; without limits if there is no variance to compute them from, or if the interval
        says too little (`statistics.sayable`).
    """
    if not pairs:
        return None
    losses = [p.loss for p in pairs]
    mean, m = math.fsum(losses) / len(losses), len(losses)
    image = _image_variance(pairs)
    variance, df = _shrunk(losses, spread) if m >= FEWEST_SEEDS else (0.0, None)
    if image is None and df is None:
        return Interval(mean=mean, low=None, high=None)
    half = z(confidence) * math.sqrt(image or 0.0)
    if df is not None:
        left = max(0.0, variance - (image or 0.0))
        half = math.hypot(half, t(confidence, df) * math.sqrt(left / m))
    return sayable(mean, mean - half, mean + half, -1, 1)


def _shrunk(losses: Sequence[float], spread: Prior | None) -> tuple[float, float]:
    """Variance between seeds and its degrees of freedom."""
    df = len(losses) - 1
    variance = float(np.var(losses, ddof=1))
    if spread is None:
        return variance, df
    if math.isinf(spread.df):
        return max(variance, spread.variance), MOST_DF * df
    weighted = (spread.df * spread.variance + df * variance) / (spread.df + df)
    # Never below its own variance: a noisy comparison among quiet ones keeps its width.
    return max(variance, weighted), min(spread.df + df, MOST_DF * df)


def _image_variance(pairs: Sequence[Pair]) -> float | None:
    """Agresti and Min's variance, averaged over the seeds because all share the images."""
    variances = [image_variance(p) for p in pairs]
    measured = [v for v in variances if v is not None]
    return math.fsum(measured) / len(measured) if len(measured) == len(variances) else None


class Family:
    """Comparisons shown together: their intervals hold simultaneously (Bonferroni)."""

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence
        self.members: list[tuple[str, list[Pair]]] = []

    def add(self, kind: str, pairs: Sequence[Pair | None]) -> int:
        """Add a comparison and return its index; one kind shares its spread between seeds."""
        self.members.append((kind, [p for p in pairs if p is not None]))
        return len(self.members) - 1

    @property
    def size(self) -> int:
        """Number of comparisons with at least one pair."""
        return sum(bool(pairs) for _, pairs in self.members)

    def intervals(self) -> list[Interval | None]:
        """One per `add`, in order, each at 1 - (1 - confidence) / size."""
        kinds = {kind for kind, _ in self.members}
        spreads = {
            kind: seed_spread([pairs for k, pairs in self.members if k == kind]) for kind in kinds
        }
        each = 1 - (1 - self.confidence) / max(1, self.size)
        return [interval(pairs, each, spreads[kind]) for kind, pairs in self.members]

"""Two models of one sweep on the same images, seed by seed; and many such comparisons at once.

Settings are compared in two scopes (`scopes.py`). The diagnosis asks other things, such as what
one change to a mask does: here is its interval. With FEWEST_SEEDS seeds or more it is about other
seeds, below about these models alone.

It has the image part of `statistics.paired_drop`. Its seed part borrows from the other comparisons
of the family: at n = 3 and 20 comparisons an interval of its own would be ten times as wide. The
variances between seeds are shrunk towards their common value (Smyth 2004, "moderated t"), as far
as they themselves agree on one, and never below a comparison's own. Comparisons with one anchor
share its seeds and so are no independent witnesses: the degrees of freedom gained are capped.
Measured family-wise coverage of a nominal 95 %, 20 comparisons with one anchor, no image noise,
seeds that vary alike, most in the anchor, most in the variants, or very unequally: 94 to 100 % for
n = 3 and 5 with the cap at twice a comparison's own degrees; at four times it fell to 84 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.rows import Row
from orchestrator.selection.seeds import FEWEST_SEEDS, Prior, Spread, common
from orchestrator.selection.settings import drops_patches
from orchestrator.selection.statistics import Interval, agresti_min, sayable, t, z

Bits = NDArray[np.bool_]
Outcomes = Mapping[str, Mapping[str, Bits]]
"""Trial key -> what was measured (`final.test`, `issp.validation`, ...) -> bool (images,)."""

MOST_DF = 2
"""Degrees of freedom with borrowing, at most this many times a comparison's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The columns of one evaluation of a trial's model, beside its dense model's."""

    accuracy: str
    lost: str
    gained: str
    dense: str
    n_images: str
    outcome: str
    stage: str

    @property
    def columns(self) -> tuple[str, ...]:
        """What has to be read from the table."""
        names = (self.accuracy, self.lost, self.gained, self.dense, self.n_images, self.stage)
        return tuple(name for name in names if name)


def _measure(prefix: str, split: str, outcome: str, stage: str) -> Measure:
    return Measure(
        accuracy=f"{prefix}{split}_accuracy",
        lost=f"{prefix}{split}_lost",
        gained=f"{prefix}{split}_gained",
        dense=f"dense/{split}_accuracy",
        n_images=f"dense/{split}_n",
        outcome=outcome,
        stage=stage,
    )


def _measure_of_dense(split: str, outcome: str) -> Measure:
    accuracy = f"dense/{split}_accuracy"
    return Measure(
        accuracy=accuracy,
        lost="",
        gained="",
        dense=accuracy,
        n_images=f"dense/{split}_n",
        outcome=outcome,
        stage="stage.dense",
    )


PRUNED = _measure("issp/", "val", "issp.validation", "stage.issp")
CONTROL = _measure("control/", "val", "control.validation", "stage.control")
FINAL = _measure("final/deployed_", "test", "deployed.test", "stage.finetune")
"""The model that a trial ends with, on the tokens that it uses; see `settings.py`."""
CHOSEN_BY = _measure("final/deployed_", "val", "deployed.validation", "stage.finetune")
DENSE = _measure_of_dense("test", "dense.test")
"""The dense model that a trial started from, before any fine-tuning."""
DENSE_CHOSEN_BY = _measure_of_dense("val", "dense.validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What one seed loses from model a to model b.

    Attributes:
        loss: accuracy of a minus that of b, a fraction.
        lost, gained: images that only a, and that only b, gets right; exact, or the largest
            that the known counts allow. Their difference is exact. None = not known.
        n_images: images that both were measured on.
        by_image: (images,) +1 where only a is right, -1 where only b is, else 0; None = not known.
    """

    loss: float
    lost: float | None = None
    gained: float | None = None
    n_images: float | None = None
    by_image: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


def to_dense(row: Row, measure: Measure) -> Pair | None:
    """What a model loses against its own dense model; None where it was not measured."""
    dense, own = row[measure.dense], row[measure.accuracy]
    lost, gained, n = row[measure.lost], row[measure.gained], row[measure.n_images]
    if lost is not None and gained is not None and n:
        return Pair(loss=(lost - gained) / n, lost=lost, gained=gained, n_images=n)
    if dense is None or own is None:
        return None
    return _independent(dense, own, n)


def between(
    a: Row, b: Row, of_a: Measure, of_b: Measure | None = None, outcomes: Outcomes | None = None
) -> Pair | None:
    """What is lost from a's model to b's, both of one dense model; None where not measured.

    Exact where both have outcomes by image, or are one and the same stage result. From counts
    against the dense model only the difference is exact; the images on which the two differ
    are taken to be as many as can be, so that the interval is rather too wide:
    lost <= min(lost_b, D - lost_a) + min(gained_a, N - D - gained_b) with D right for dense.
    """
    of_b = of_b or of_a
    x, y, n = a[of_a.accuracy], b[of_b.accuracy], a[of_a.n_images]
    if x is None or y is None:
        return None
    if of_a.stage and a[of_a.stage] is not None and a[of_a.stage] == b.get(of_b.stage):
        same = np.zeros(int(n)) if n else None
        return Pair(loss=0.0, lost=0 if n else None, gained=0 if n else None, n_images=n,
                    by_image=same)  # fmt: skip
    right, theirs = outcome_of(a, of_a, outcomes), outcome_of(b, of_b, outcomes)
    if right is not None and theirs is not None and len(right) == len(theirs) > 0:
        return _by_image(right, theirs)
    counts = [*_counts(a, of_a), *_counts(b, of_b)]
    if not n or a[of_a.dense] is None or any(c is None for c in counts):
        return _independent(x, y, n)
    lost_a, gained_a, lost_b, gained_b = counts
    right_n = a[of_a.dense] * n
    wrong_n = n - right_n
    lost = min(lost_b, right_n - lost_a) + min(gained_a, wrong_n - gained_b)
    gained = min(lost_a, right_n - lost_b) + min(gained_b, wrong_n - gained_a)
    # Accuracies and counts may disagree by rounding: never below 0.
    return Pair(loss=x - y, lost=max(0.0, lost), gained=max(0.0, gained), n_images=n)


def _independent(a: float, b: float, n: float | None) -> Pair:
    if not n:
        return Pair(loss=a - b)
    return Pair(loss=a - b, lost=a * (1 - b) * n, gained=b * (1 - a) * n, n_images=n)


def _by_image(right: Bits, theirs: Bits) -> Pair:
    difference = right.astype(np.float64) - theirs
    lost, gained = int((difference > 0).sum()), int((difference < 0).sum())
    size = len(right)
    return Pair(
        loss=(lost - gained) / size,
        lost=lost,
        gained=gained,
        n_images=size,
        by_image=difference,
    )


def _counts(row: Row, measure: Measure) -> tuple[float | None, float | None]:
    """Lost and gained against the dense model; of the dense model itself none."""
    if not measure.lost:
        return 0.0, 0.0
    return row.get(measure.lost), row.get(measure.gained)


def outcome_of(row: Row, measure: Measure, outcomes: Outcomes | None) -> Bits | None:
    """Which images a trial's model gets right; None where that was not read."""
    known = (outcomes or {}).get(str(row.get("key")), {})
    found = known.get(measure.outcome)
    if found is None and not drops_patches(row):  # whole images are the tokens that it uses
        found = known.get(measure.outcome.replace("deployed.", "final."))
    return None if found is None else np.asarray(found, dtype=bool)


def together(pairs: Sequence[Pair]) -> Pair:
    """Several pairs of one seed as one: their mean.

    Raises:
        ValueError: no pair.
    """
    if len(pairs) == 1:
        return pairs[0]
    if not pairs:
        raise ValueError("together: no pairs; give at least one.")

    def mean(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return math.fsum(known) / len(known) if len(known) == len(values) else None

    known = [p.by_image for p in pairs if p.by_image is not None]
    alike = len(known) == len(pairs) and len({len(one) for one in known}) == 1
    return Pair(
        loss=math.fsum(p.loss for p in pairs) / len(pairs),
        lost=mean([p.lost for p in pairs]),
        gained=mean([p.gained for p in pairs]),
        n_images=mean([p.n_images for p in pairs]),
        by_image=np.mean(known, axis=0) if alike else None,
    )


def seed_spread(comparisons: Sequence[Sequence[Pair]]) -> Prior | None:
    """What the variances between seeds of a family have in common, see `seeds.common`."""
    losses = [[p.loss for p in pairs] for pairs in comparisons if len(pairs) > 1]
    return common([Spread(float(np.var(own, ddof=1)), len(own) - 1.0) for own in losses])


def interval(
    pairs: Sequence[Pair], confidence: float, spread: Prior | None = None
) -> Interval | None:
    """Mean loss over seeds with its limits; None without a pair.

    half² = z² V + t² max(0, s² - V) / m. V: the image variance (`paired_drop`), left out where
    image counts are not known. s²: the variance between seeds, shrunk to `spread`. With fewer
    than FEWEST_SEEDS seeds the second part is left out: the interval is about these models.

    Returns:
        Fractions; without limits where nothing gives any, or none that a person should read
        (`statistics.sayable`).
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
    own = len(losses) - 1
    variance = float(np.var(losses, ddof=1))
    if spread is None:
        return variance, own
    if math.isinf(spread.df):
        return max(variance, spread.variance), MOST_DF * own
    weighted = (spread.df * spread.variance + own * variance) / (spread.df + own)
    # Never below its own: one restless comparison among quiet ones keeps its width.
    return max(variance, weighted), min(spread.df + own, MOST_DF * own)


def _image_variance(pairs: Sequence[Pair]) -> float | None:
    """Agresti and Min's, averaged over the seeds: the images are the same for all."""
    variances = [image_variance(p) for p in pairs]
    known = [v for v in variances if v is not None]
    return math.fsum(known) / len(known) if len(known) == len(variances) else None


def image_variance(pair: Pair) -> float | None:
    """Variance of a loss by the choice of the images; None without counts."""
    if pair.lost is None or pair.gained is None or not pair.n_images:
        return None
    return agresti_min(pair.lost, pair.gained, pair.n_images)


class Family:
    """Comparisons that are shown together: their intervals hold all at once (Bonferroni)."""

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence
        self.members: list[tuple[str, list[Pair]]] = []

    def add(self, kind: str, pairs: Sequence[Pair | None]) -> int:
        """Join a comparison; those of one kind share the spread between seeds."""
        self.members.append((kind, [p for p in pairs if p is not None]))
        return len(self.members) - 1

    @property
    def size(self) -> int:
        """Comparisons that have something to say."""
        return sum(bool(pairs) for _, pairs in self.members)

    def intervals(self) -> list[Interval | None]:
        """One per `add`, in order, each at 1 - (1 - confidence) / size."""
        kinds = {kind for kind, _ in self.members}
        spreads = {
            kind: seed_spread([pairs for k, pairs in self.members if k == kind]) for kind in kinds
        }
        each = 1 - (1 - self.confidence) / max(1, self.size)
        return [interval(pairs, each, spreads[kind]) for kind, pairs in self.members]

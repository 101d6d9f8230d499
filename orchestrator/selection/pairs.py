"""Two models of one sweep on the same images, seed by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from orchestrator.selection.rows import Row
from orchestrator.selection.settings import drops_patches
from orchestrator.selection.statistics import agresti_min
from orchestrator.vocabulary import of

Bits = NDArray[np.bool_]
Outcomes = Mapping[str, Mapping[str, Bits]]
"""Trial key -> what was measured (`final.test`, `issp.validation`, ...) -> bool (images,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The columns of one evaluation of a trial's model and of its dense model."""

    accuracy: str
    lost: str
    gained: str
    dense: str
    n_images: str
    outcome: str
    stage: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to read from the table."""
        all_columns = (self.accuracy, self.lost, self.gained, self.dense, self.n_images, self.stage)
        return tuple(column for column in all_columns if column)


def _measure(group: str, split: str, outcome: str, stage: str, reading: str = "") -> Measure:
    return Measure(
        accuracy=of(group, f"{reading}{split}_accuracy"),
        lost=of(group, f"{reading}{split}_lost"),
        gained=of(group, f"{reading}{split}_gained"),
        dense=of("dense", f"{split}_accuracy"),
        n_images=of("dense", f"{split}_n"),
        outcome=outcome,
        stage=stage,
    )


def _measure_of_dense(split: str, outcome: str) -> Measure:
    accuracy = of("dense", f"{split}_accuracy")
    return Measure(
        accuracy=accuracy,
        lost="",
        gained="",
        dense=accuracy,
        n_images=of("dense", f"{split}_n"),
        outcome=outcome,
        stage="stage.dense",
    )


PRUNED = _measure("issp", "val", "issp.validation", "stage.issp")
CONTROL = _measure("control", "val", "control.validation", "stage.control")
FINAL = _measure("final", "test", "deployed.test", "stage.finetune", "deployed_")
"""A trial's final model, on the tokens that it uses; see `settings.py`."""
CHOSEN_BY = _measure("final", "val", "deployed.validation", "stage.finetune", "deployed_")
DENSE = _measure_of_dense("test", "dense.test")
"""The dense model that a trial started from, before any fine-tuning."""
DENSE_CHOSEN_BY = _measure_of_dense("val", "dense.validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What one seed loses from model a to model b.

    Attributes:
        loss: accuracy of a minus that of b, a fraction.
        lost, gained: images that only a, and only b, gets right: exact, or the largest numbers
            that the counts allow. Their difference is always exact. None = unknown.
        n_images: images that both were measured on.
        by_image: (images,) +1 where only a is right, -1 where only b is, else 0; None = unknown.
    """

    loss: float
    lost: float | None = None
    gained: float | None = None
    n_images: float | None = None
    by_image: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


def to_dense(row: Row, measure: Measure) -> Pair | None:
    """What a model loses against its own dense model; None if it was not measured."""
    dense, accuracy = row[measure.dense], row[measure.accuracy]
    lost, gained, n = row[measure.lost], row[measure.gained], row[measure.n_images]
    if lost is not None and gained is not None and n:
        return Pair(loss=(lost - gained) / n, lost=lost, gained=gained, n_images=n)
    if dense is None or accuracy is None:
        return None
    return _independent(dense, accuracy, n)


def between(
    a: Row, b: Row, of_a: Measure, of_b: Measure | None = None, outcomes: Outcomes | None = None
) -> Pair | None:
    """What is lost from a's model to b's, both of one dense model; None if not measured.

    Exact if both have outcomes by image or are the same stage result. From counts against the
    dense model only the difference is exact; the number of images on which the two differ is
    taken at its maximum, so the interval is somewhat too wide:
    lost <= min(lost_b, D - lost_a) + min(gained_a, N - D - gained_b), D = images dense has right.
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
    # Rounded accuracies may disagree with the counts: never below 0.
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
    """Lost and gained against the dense model; 0 for the dense model itself."""
    if not measure.lost:
        return 0.0, 0.0
    return row.get(measure.lost), row.get(measure.gained)


def outcome_of(row: Row, measure: Measure, outcomes: Outcomes | None) -> Bits | None:
    """Which images a trial's model gets right; None if that was not read."""
    by_name = (outcomes or {}).get(str(row.get("key")), {})
    outcome = by_name.get(measure.outcome)
    if outcome is None and not drops_patches(row):  # then it uses whole images
        outcome = by_name.get(measure.outcome.replace("deployed.", "final."))
    return None if outcome is None else np.asarray(outcome, dtype=bool)


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
        by_image = [v for v in values if v is not None]
        return math.fsum(by_image) / len(by_image) if len(by_image) == len(values) else None

    by_image = [p.by_image for p in pairs if p.by_image is not None]
    alike = len(by_image) == len(pairs) and len({len(outcomes) for outcomes in by_image}) == 1
    return Pair(
        loss=math.fsum(p.loss for p in pairs) / len(pairs),
        lost=mean([p.lost for p in pairs]),
        gained=mean([p.gained for p in pairs]),
        n_images=mean([p.n_images for p in pairs]),
        by_image=np.mean(by_image, axis=0) if alike else None,
    )


def image_variance(pair: Pair) -> float | None:
    """Variance of a loss due to the choice of images; None without counts."""
    if pair.lost is None or pair.gained is None or not pair.n_images:
        return None
    return agresti_min(pair.lost, pair.gained, pair.n_images)

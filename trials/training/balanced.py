"""Accuracy in which every class counts the same, however many images it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trials.context import Outcomes


def balanced_accuracy(outcomes: Outcomes, labels: NDArray[np.int64]) -> float:
    """The mean over classes of the fraction of their images that are right.

    Args:
        labels: int64 (N,), of the images in the order of the outcomes. A class without an image
            does not count.

    Source: Brodersen et al. 2010, The balanced accuracy and its posterior distribution.
    """
    correct = outcomes.correct.numpy().astype(np.float64)
    images = np.bincount(labels)
    right = np.bincount(labels, weights=correct)
    there = images > 0
    return float((right[there] / images[there]).mean())

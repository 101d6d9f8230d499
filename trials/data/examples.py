"""Which images of a split are shown to people."""

import numpy as np
from numpy.typing import NDArray

EXAMPLES = 8


def example_rows(labels: NDArray[np.int64], most: int = EXAMPLES) -> NDArray[np.int64]:
    """The first image of each class, and then the first of the others.

    Args:
        labels: int64 (N,).

    Returns:
        int64 (min(N, most),), rows in the order of classes, so that all trials on the same data
        show the same images.
    """
    _, firsts = np.unique(labels, return_index=True)
    others = np.setdiff1d(np.arange(len(labels)), firsts)
    return np.concatenate([firsts, others])[:most].astype(np.int64)

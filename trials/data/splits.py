"""Which images go together: stratified orders, fractions and splits, by labels alone."""

import numpy as np
from numpy.typing import NDArray

from trials.seeding import Permutations

Rows = NDArray[np.int64]
"""Numbers of images."""

FIRST, MIDDLE, LAST = 0, 1, 2


def stratified_order(
    labels: NDArray[np.int64], seed: int, purpose: str, *, keep_last: bool = False
) -> Rows:
    """An order of which every prefix is stratified by class, so fractions nest.

    One image of each class comes before all others, so that a prefix as long as there are classes
    has every class, however rare. Where no class is three times as large as another one that
    changes nothing: those images come first by their share already.

    Args:
        labels: int64 (N,).
        seed: of the shuffle inside each class.
        purpose: keeps the draws of different uses apart.
        keep_last: an image of each class comes after all others as well, and the only image of a
            class there alone: what a prefix leaves has every class, too.

    Returns:
        int64 (N,): a permutation of the indices. In a prefix of k images each class has its
        share of k, rounded, and at least one image.
    """
    draw = Permutations(seed, "stratified", purpose)
    position, place = np.empty(len(labels)), np.full(len(labels), MIDDLE)
    for members in by_class(labels):
        shuffled = members[draw.next(len(members))]
        position[shuffled] = (np.arange(len(members)) + 0.5) / len(members)
        place[shuffled[0]] = FIRST
        if keep_last:
            place[shuffled[-1]] = LAST
    return np.lexsort((position, place)).astype(np.int64)


def by_class(labels: NDArray[np.int64]) -> list[Rows]:
    """The indices of each class that occurs, ascending, the classes in their order."""
    if not len(labels):
        return []
    order = np.argsort(labels, kind="stable").astype(np.int64)
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def fraction_indices(labels: NDArray[np.int64], fraction: float, seed: int, purpose: str) -> Rows:
    """Indices of a stratified fraction of the images, ascending; at least one."""
    count = max(1, round(fraction * len(labels)))
    return np.sort(stratified_order(labels, seed, purpose)[:count])


def two_parts(
    labels: NDArray[np.int64], first: int, seed: int, purpose: str, *, keep_last: bool = True
) -> tuple[Rows, Rows]:
    """Split stratified: the rows of a part of `first` images and those of the rest, ascending.

    Args:
        keep_last: the rest has every class, too; False where it is not used.
    """
    order = stratified_order(labels, seed, purpose, keep_last=keep_last)
    return np.sort(order[:first]), np.sort(order[first:])

"""Stratified orders and splits: nesting, shares, and classes that have few images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trials.data.splits import by_class, fraction_indices, stratified_order, two_parts
from trials.seeding import Permutations

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)
RARE = np.repeat([0, 1, 2], [990, 9, 1])


@given(LABELS, st.integers(0, 5), st.booleans())
def test_a_stratified_order_is_a_permutation_whose_prefixes_hold_each_classs_share(
    labels: NDArray[np.int64], seed: int, keep_last: bool
) -> None:
    order = stratified_order(labels, seed, "test", keep_last=keep_last)
    assert sorted(order.tolist()) == list(range(len(labels)))
    classes, sizes = np.unique(labels, return_counts=True)
    for length in range(1, len(labels) + 1):
        counts = np.array([(labels[order[:length]] == c).sum() for c in classes])
        # Each of the other classes can be an image early, with its first, or half an image late.
        assert np.abs(counts - length * sizes / len(labels)).max() <= len(classes) + 1


@given(LABELS, st.integers(0, 5), st.data())
def test_a_part_has_every_class_and_so_has_the_rest_where_there_are_enough(
    labels: NDArray[np.int64], seed: int, data: st.DataObject
) -> None:
    classes, sizes = np.unique(labels, return_counts=True)
    first = data.draw(st.integers(1, len(labels)))
    part, rest = two_parts(labels, first, seed, "test")
    assert len(part) == first
    assert sorted([*part, *rest]) == list(range(len(labels)))
    enough = classes[sizes >= 2]
    if len(enough) <= first <= len(labels) - len(classes):
        assert set(enough) <= set(labels[part])
        assert set(classes) == set(labels[rest])


def test_of_990_9_and_1_images_none_of_the_classes_is_lost() -> None:
    validation, train = two_parts(RARE, 100, 0, "validation")
    assert np.bincount(RARE[train], minlength=3).tolist() == [891, 8, 1]
    assert np.bincount(RARE[validation], minlength=3).tolist() == [99, 1, 0]
    for fraction in (0.01, 0.1, 0.5):
        assert set(RARE[fraction_indices(RARE, fraction, 0, "mask data")]) == {0, 1, 2}
    subset, _ = two_parts(RARE, 50, 0, "train subset", keep_last=False)
    assert set(RARE[subset]) == {0, 1, 2}


def order_of_before(labels: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.int64]:
    """As it was before rare classes were looked after: by shares alone."""
    draw = Permutations(seed, "stratified", purpose)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shuffled = members[draw.next(len(members))]
        position[shuffled] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(position, kind="stable").astype(np.int64)


@given(st.lists(st.integers(20, 59), min_size=2, max_size=6), st.integers(0, 3), st.booleans())
def test_sets_in_which_no_class_is_three_times_another_are_split_as_ever(
    sizes: list[int], seed: int, keep_last: bool
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    labels = labels[np.random.default_rng(seed).permutation(len(labels))]
    found = stratified_order(labels, seed, "test", keep_last=keep_last)
    assert np.array_equal(found, order_of_before(labels, seed, "test"))


@given(LABELS)
def test_classes_are_found_in_their_order_with_ascending_indices(
    labels: NDArray[np.int64],
) -> None:
    expected = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    assert [one.tolist() for one in by_class(labels)] == expected


@given(LABELS, st.floats(0.1, 1), st.floats(0.1, 1))
def test_data_fractions_nest(labels: NDArray[np.int64], a: float, b: float) -> None:
    inner, outer = (fraction_indices(labels, f, 0, "mask data") for f in sorted((a, b)))
    assert set(inner) <= set(outer)


@given(LABELS, st.floats(0.1, 1))
def test_a_data_fraction_has_the_asked_size_ascending_without_repeats(
    labels: NDArray[np.int64], fraction: float
) -> None:
    chosen = fraction_indices(labels, fraction, 0, "mask data")
    assert len(chosen) == max(1, round(fraction * len(labels)))
    assert (np.diff(chosen) > 0).all()
    everything = fraction_indices(labels, 1.0, 0, "mask data")
    assert everything.tolist() == list(range(len(labels)))


def test_a_tenth_of_balanced_images_is_balanced() -> None:
    labels = np.arange(1000) % 10
    assert np.bincount(labels[fraction_indices(labels, 0.1, 0, "mask data")]).tolist() == [10] * 10


def test_fractions_differ_by_seed_and_purpose() -> None:
    labels = np.arange(100) % 10
    drawn = [fraction_indices(labels, 0.3, *how).tolist() for how in ((0, "a"), (1, "a"), (0, "b"))]
    assert len({tuple(one) for one in drawn}) == 3


@pytest.mark.parametrize("first", [1, 2, 4])
def test_a_part_of_fewer_images_than_classes_has_as_many_classes_as_images(first: int) -> None:
    labels = np.arange(100) % 10
    part, _ = two_parts(labels, first, 0, "test")
    assert len(set(labels[part])) == first

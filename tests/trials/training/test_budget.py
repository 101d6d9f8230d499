import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.data.datasets import fraction_indices
from trials.training.budget import (
    left_steps,
    look_ahead_steps,
    pass_steps,
    round_share,
    share_images,
)


def test_round_i_of_the_paper_sees_i_plus_one_tenths_and_at_most_all() -> None:
    found = [round_share(0.1, number) for number in range(1, 12)]
    assert found == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
    assert round_share(0.3, 4) == 1.0


@given(st.integers(1, 500), st.floats(0.001, 1.0))
def test_the_estimate_counts_the_images_that_the_stage_draws(images: int, fraction: float) -> None:
    labels = np.arange(images) % 3
    drawn = fraction_indices(labels.astype(np.int64), fraction, 0, "any")
    assert share_images(images, fraction) == len(drawn)


@pytest.mark.parametrize(("images", "expected"), [(1, 1), (16, 1), (17, 2), (160, 10)])
def test_a_pass_sees_every_image_once(images: int, expected: int) -> None:
    assert pass_steps(images, 16) == look_ahead_steps("pass", images, 16) == expected
    assert look_ahead_steps(3, images, 16) == 3


@given(st.integers(0, 100), st.integers(1, 9), st.integers(1, 2000), st.integers(1, 64))
def test_ingredients_and_training_share_one_pass(
    steps: int, ingredients: int, images: int, batch: int
) -> None:
    left, spent = left_steps(steps, ingredients, images, batch), steps * ingredients
    assert left >= 0
    assert left + spent == max(pass_steps(images, batch), spent)
    assert left_steps("pass", ingredients, images, batch) == 0

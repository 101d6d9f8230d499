from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.config import EssentialSection
from trials.detect import DETECTORS, first_violation
from trials.stages.essential import PickConfig

LEVELS = [0.1, 0.2, 0.3, 0.4]
DROPS = st.lists(st.floats(-0.1, 0.5), min_size=4, max_size=4)
TOLERANCE = st.floats(0, 0.5)


@pytest.mark.parametrize(
    ("drops", "found"),
    [
        ([0.0, 0.005, 0.02, 0.03], 0.2),
        ([0.0, 0.02, 0.0, 0.0], 0.1),  # what recovers after a violation does not count
        ([0.02, 0.0, 0.0, 0.0], 0.0),
        ([0.0, -0.01, 0.01, 0.01], 0.4),
    ],
)
def test_essential_sparsity_is_the_last_level_before_the_first_violation(
    drops: list[float], found: float
) -> None:
    assert first_violation(LEVELS, drops, 0.01) == found


def test_a_drop_of_exactly_the_tolerance_is_within_it() -> None:
    assert first_violation([0.5], [0.97 - 0.96], 0.01) == 0.5
    assert 0.97 - 0.96 > 0.01, "the case above needs the allowance for rounding"


@given(DROPS, TOLERANCE, TOLERANCE)
def test_essential_sparsity_grows_with_the_tolerance(
    drops: list[float], a: float, b: float
) -> None:
    low, high = sorted((a, b))
    assert first_violation(LEVELS, drops, low) <= first_violation(LEVELS, drops, high)


@given(DROPS, TOLERANCE)
def test_no_level_up_to_the_essential_one_violates_and_the_next_does(
    drops: list[float], tolerance: float
) -> None:
    found = first_violation(LEVELS, drops, tolerance)
    below = [d for level, d in zip(LEVELS, drops, strict=True) if level <= found]
    above = [d for level, d in zip(LEVELS, drops, strict=True) if level > found]
    assert all(drop <= tolerance + 1e-9 for drop in below)
    assert not above or above[0] > tolerance


def test_levels_and_drops_must_pair() -> None:
    with pytest.raises(ValueError, match="shorter"):
        first_violation(LEVELS, [0.0], 0.01)


def test_every_detector_that_a_sweep_file_may_name_is_there() -> None:
    for section in (PickConfig, EssentialSection):
        assert DETECTORS.keys() == set(get_args(section.model_fields["detector"].annotation))

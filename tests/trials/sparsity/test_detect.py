import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trials.config import EssentialSection
from trials.sparsity.detect import DETECTORS, FEWEST_LEVELS, changepoint, first_violation, knee
from trials.stages.essential import PickConfig

Detector = Callable[[Sequence[float], Sequence[float], float], float]
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


@settings(deadline=None)  # the first call imports two libraries
@given(DROPS, TOLERANCE, TOLERANCE)
def test_essential_sparsity_grows_with_the_tolerance(
    drops: list[float], a: float, b: float
) -> None:
    low, high = sorted((a, b))
    for detector in DETECTORS.values():
        assert detector(LEVELS, drops, low) <= detector(LEVELS, drops, high)


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


UNEVEN = [0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7]


@pytest.mark.parametrize("bend", [0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("slope", [0.1, 1.0])
@pytest.mark.parametrize("detector", [knee, changepoint])
def test_a_hinge_bends_at_its_bend_whatever_the_tolerance(
    detector: Detector, bend: float, slope: float
) -> None:
    drops = [slope * max(0.0, s - bend) for s in UNEVEN]
    assert {detector(UNEVEN, drops, tolerance) for tolerance in (0, 0.01, 0.3)} == {bend}


def test_a_changepoint_between_levels_is_the_level_below_it() -> None:
    drops = [max(0.0, s - 0.25) for s in UNEVEN]
    assert changepoint(UNEVEN, drops, 0.01) == 0.2


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("levels", [[], [0.2], [0.1, 0.2], UNEVEN], ids=len)
def test_a_flat_curve_is_free_up_to_its_highest_level(name: str, levels: list[float]) -> None:
    for drop in (0.0, -0.01, 0.01):
        found = DETECTORS[name](levels, [drop] * len(levels), 0.01)
        assert found == (levels[-1] if levels else 0.0)


@pytest.mark.parametrize("detector", [knee, changepoint])
def test_a_curve_that_collapses_at_once_has_no_free_level(detector: Detector) -> None:
    assert detector(UNEVEN, [0.3, 0.31, 0.32, 0.33, 0.33, 0.33, 0.33, 0.33], 0.01) == 0.0


@pytest.mark.parametrize("name", ["knee", "changepoint"])
def test_with_too_few_levels_all_is_free_or_nothing(name: str) -> None:
    levels = UNEVEN[: FEWEST_LEVELS[name] - 1]
    bent = [0.0] * (len(levels) - 1) + [0.5]
    assert DETECTORS[name](levels, bent, 0.01) == 0.0
    assert DETECTORS[name](levels, bent, 0.5) == levels[-1]


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), max_size=8), TOLERANCE)
def test_a_detector_gives_a_level_or_zero_for_any_curve(
    drops: list[float], tolerance: float
) -> None:
    levels = UNEVEN[: len(drops)]
    for detector in DETECTORS.values():
        assert detector(levels, drops, tolerance) in (0.0, *levels)


def test_detectors_are_imported_only_when_they_are_used() -> None:
    loaded = "import sys, trials.sparsity.detect; print({'kneed', 'ruptures'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True
    )
    assert done.stdout == "set()\n"

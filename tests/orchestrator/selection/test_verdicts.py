"""Numbers and verdicts as people read them."""

from typing import Any

import pytest

from orchestrator.selection.verdicts import level, percent_points, points_between, points_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.225569, "22.6 %"), (0.6, "60 %"), (0.0, "0 %"), (1.0, "100 %"), (0.999, "99.9 %"),
        (0.9999, "99.99 %"), (0.0004, "0.04 %"), (0.00004, "0.004 %"), (0.95, "95 %"),
        (-0.0116, "-1.2 %"), (None, "–"), ("auto", "auto"),
    ],
)  # fmt: skip
def test_a_level_has_as_many_digits_as_say_something(value: Any, text: str) -> None:
    assert level(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.01, "1 point"), (0.005, "0.5 points"), (0.02, "2 points")]
)
def test_a_tolerance_is_in_points(value: float, text: str) -> None:
    assert points_of(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0072, "0.8 points"), (0.01, "1.0 point"), (0.007, "0.7 points"), (0.0, "0.0 points")],
)
def test_a_bound_is_rounded_up_so_that_it_still_holds(value: float, text: str) -> None:
    assert percent_points(value) == text


def test_an_interval_shows_two_ends_or_says_that_there_is_none() -> None:
    assert points_between(-0.005, 0.012) == "interval -0.5 to +1.2"
    assert points_between(0.0051, 0.0054) == "interval +0.51 to +0.54"
    assert points_between(-1e-6, 1e-6) == "interval -0.0001 to +0.0001"
    assert points_between(-0.000176, 0.0133) == "interval -0.02 to +1.33", "it holds 0"
    assert points_between(0.0, 0.0133) == "interval +0.0 to +1.3"
    assert points_between(-0.00004, 0.0133) == "interval +0.0 to +1.3"
    assert points_between(None, 0.1) == "no interval: too few images or seeds to say"

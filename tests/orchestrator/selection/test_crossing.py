"""The interval of the essential sparsity, and the detectors side by side."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.selection.crossing import (
    WIDEST,
    crossing_interval,
    detect,
    side_by_side,
)
from trials.sparsity.detect import DETECTORS

LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The simulation of `tests/benchmarks`, so that test and figure measure the same."""
    path = Path(__file__).parents[2] / "benchmarks/essential_coverage.py"
    spec = importlib.util.spec_from_file_location("essential_coverage", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


# Half-widths grow with the level, as those of nested masks do.
def points(drops: list[float], half: float | None, levels: list[float] = LEVELS) -> list[Any]:
    return [
        {
            "sparsity": s, "drop": d,
            "drop_low": None if half is None else d - half * s,
            "drop_high": None if half is None else d + half * s,
        }
        for s, d in zip(levels, drops, strict=True)
    ]  # fmt: skip


def test_the_stated_interval_holds_the_true_crossing_as_often_as_it_says(
    benchmark: ModuleType,
) -> None:
    found = benchmark.measure(120, seed=3)
    assert found["coverage"]["all"] == pytest.approx(0.95, abs=0.045)
    assert found["median_width"] < 0.3


def test_where_the_grid_is_the_limit_the_crossing_is_missed_in_one_of_twenty_sweeps() -> None:
    drops, halves = np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.5]), np.full(6, 1e-9)
    low, high = crossing_interval(LEVELS, drops, halves, 0.01, 0.95)
    assert high == pytest.approx(0.2 + 0.95 * 0.1)
    assert low == pytest.approx(0.2 + 0.05 * 0.1)


def test_the_limits_of_a_straight_curve_are_where_its_intervals_leave_the_tolerance() -> None:
    levels = [k / 1000 for k in range(1, 1000)]
    drops = np.array(levels) * 0.1
    low, high = crossing_interval(levels, drops, np.full(999, 0.01), 0.05, 0.95)
    half = 0.01 * 1.6448536 / 1.9599640 / 0.1
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


def test_without_half_widths_nothing_above_zero_is_excluded() -> None:
    found = detect(points([0.0, 0.0, 0.5, 0.5, 0.5, 0.5], None), 0.01, "first_violation")
    assert (found.value, found.high) == (0.2, None)
    assert found.low < 0.1


def test_neither_a_lower_nor_an_upper_limit_is_said_where_they_hold_everything() -> None:
    wide = points([0.02, 0.02, 0.02, 0.02, 0.02, 0.02], 0.5)
    found = detect(wide, 0.01, "first_violation")
    assert (found.value, found.low, found.high) == (0.0, None, None)
    beyond = detect(points([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 1e-6), 0.01, "first_violation")
    assert (beyond.low, beyond.high) == (0.6, None), "a lower limit alone says something"
    far = detect(points([0.0, 0.5], 1e-6, [0.1, 0.9]), 0.01, "first_violation")
    assert (far.bracket, far.low, far.high) == ((0.1, 0.9), None, None)


@settings(max_examples=10, deadline=None)  # 200 draws for each detector
@given(
    st.lists(st.integers(-5, 60).map(lambda k: k / 1000), min_size=6, max_size=6),
    st.sampled_from([1e-12, 0.005, 0.05]),
    st.integers(0, 60), st.integers(0, 60),
)  # fmt: skip
def test_no_detector_falls_with_the_tolerance_and_none_leaves_its_interval(
    drops: list[float], half: float, a: int, b: int
) -> None:
    small, large = sorted((a / 1000, b / 1000))
    for name in DETECTORS:
        first, second = (detect(points(drops, half), t, name) for t in (small, large))
        assert first.value <= second.value
        for one in (first, second):
            if one.low is None:
                assert one.high is None
                continue
            assert one.low <= one.value < (one.high or math.inf)
            assert one.high is None or one.high - one.low <= WIDEST
            assert one.low > 0 or one.high is not None, "nothing to nothing says nothing"
    limits = [
        crossing_interval(LEVELS, np.array(drops), half * np.array(LEVELS), t, 0.95)
        for t in (small, large)
    ]
    assert limits[0][0] <= limits[1][0]
    assert (limits[0][1] or 1) <= (limits[1][1] or 1)


def test_side_by_side_shows_every_detector_with_a_wider_interval_under_more_noise() -> None:
    hinge = [0.0, 0.0, 0.0, 0.035, 0.085, 0.135]
    quiet, noisy = (side_by_side(points(hinge, half), 0.05) for half in (1e-6, 0.3))
    assert [one["detector"] for one in quiet] == list(DETECTORS)
    assert [one["value"] for one in quiet] == [0.4, 0.3, 0.3]
    assert [one["bracket"] for one in quiet] == [(0.4, 0.5), (0.3, 0.4), (0.3, 0.4)]
    assert [(one["low"], one["high"]) for one in quiet[1:]] == [(0.3, 0.4)] * 2
    for a, b in zip(quiet, noisy, strict=True):
        assert b["high"] is None or b["high"] - b["low"] > a["high"] - a["low"]
    assert side_by_side(points(hinge, 0.3), 0.05) == noisy, "the draws are always the same"

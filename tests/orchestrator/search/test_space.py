"""Lists and ranges."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.search.space import Range, combinations, drawn


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ({"low": 0.1, "high": 0.6, "step": 0.1}, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
        ({"low": 0.1, "high": 0.6, "step": 0.05},
         tuple(round(0.1 + i / 20, 2) for i in range(11))),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, (0.0, 0.3, 0.6, 0.9)),
        ({"low": 2, "high": 9, "step": 3}, (2, 5, 8)),
        ({"low": 1e-5, "high": 1e-3, "log": True}, None),
    ],
)  # fmt: skip
def test_a_stepped_range_has_its_ends_and_no_last_bits(
    raw: dict[str, object], values: tuple[float, ...] | None
) -> None:
    assert Range.model_validate(raw).grid == values


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.booleans(), st.integers(0, 2**32))
def test_a_drawn_value_lies_inside_and_prints_in_six_digits(
    low: float, factor: float, log: bool, seed: int
) -> None:
    axis = Range(low=low, high=low * factor, log=log)
    value = axis.draw(random.Random(seed))
    assert axis.low <= value <= axis.high
    assert value in (axis.low, axis.high) or float(f"{value:.6g}") == value


def test_whole_ends_mean_whole_numbers() -> None:
    axis = Range(low=1, high=4)
    found = {axis.draw(random.Random(i)) for i in range(100)}
    assert found == {1, 2, 3, 4}
    assert all(isinstance(v, int) for v in found)
    assert isinstance(Range(low=1, high=4, step=0.5).draw(random.Random(0)), float)


@pytest.mark.parametrize(
    "raw",
    [
        {"low": 1, "high": 1},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 9, "log": True, "step": 1},
        {"low": 1, "high": 2, "step": 0},
        {"low": 0, "high": 1, "step": 1e-9},
        {"low": 0, "high": float("inf")},
    ],
)
def test_a_range_that_means_nothing_is_refused(raw: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate(raw)


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 5), st.booleans())
def test_a_larger_sample_starts_with_the_smaller_one(
    small: int, more: int, seed: int, ranged: bool
) -> None:
    space = {"a": (1, 2, 3), "b": Range(low=0.0, high=1.0) if ranged else ("x", "y", "z")}
    assert drawn(space, small + more, seed)[:small] == drawn(space, small, seed)


def test_lists_are_drawn_without_repetition_and_all_in_the_end() -> None:
    space = {"a": (1, 2, 3), "b": (4, 5)}
    everything = drawn(space, 100, 0)
    assert len(everything) == 6
    assert sorted(map(str, everything)) == sorted(map(str, combinations(space)))


def test_a_range_has_no_combinations() -> None:
    with pytest.raises(ValueError, match="b is a range"):
        combinations({"a": (1,), "b": Range(low=0, high=1)})

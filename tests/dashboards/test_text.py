import math
from typing import Any

import pytest

from dashboards import text

NBSP = "\u00a0"


@pytest.mark.parametrize("value", [None, float("nan"), math.inf, "many", object()])
def test_what_is_no_number_becomes_a_dash(value: Any) -> None:
    forms = (text.percent, text.level, text.points, text.ratio, text.duration, text.amount)
    assert [form(value) for form in forms] == [text.DASH] * 6


@pytest.mark.parametrize(
    ("value", "shown"), [(0.012, "+1.2"), (-0.0049, "−0.5"), (-0.0004, "0.0"), (0.0, "0.0")]
)
def test_points_carry_a_sign_unless_they_round_to_nothing(value: float, shown: str) -> None:
    assert text.points(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (0.84, "0.8 s"), (89, "89 s"), (90, "1.5 min"), (5399, "90 min"), (36000, "10 h")],
)
def test_durations_take_the_unit_that_suits(seconds: float, shown: str) -> None:
    assert text.duration(seconds).replace(NBSP, " ") == shown


def test_levels_show_no_needless_digits() -> None:
    assert [text.level(x).replace(NBSP, " ") for x in (0.3, 0.125, 0.1 + 0.2)] == [
        "30 %",
        "12.5 %",
        "30 %",
    ]


def test_a_sparsity_that_each_trial_finds_is_named_so() -> None:
    assert text.level("auto") == "auto"
    assert text.level("other") == text.level(None) == text.DASH


def test_clean_removes_terminal_colours_and_cuts_what_is_long() -> None:
    assert text.clean("\x1b[1;31mbad\x1b[0m\x00\ud800\nnext") == "bad\ufffd\ufffd\nnext"
    assert text.clean("abcdef", 3) == "abc …"
    assert text.clean(None) == text.clean(float("nan")) == ""

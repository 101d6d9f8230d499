"""Sentences about controls that the fullest arm is not shown to beat."""

from typing import Any

import pytest

from orchestrator.selection.comparisons import ArmComparison
from orchestrator.selection.controls import control_warnings
from trials.arms import BY_NAME, CONTROLS


def compared(**values: Any) -> ArmComparison:
    known: dict[str, Any] = {
        "a": "lotus", "b": "magnitude", "setting_a": {}, "setting_b": {}, "split": "test", "n": 3,
        "n_images": 1000, "mean": 0.004, "models_low": 0.001, "models_high": 0.007,
        "models_corrected_low": 0.002, "models_corrected_high": 0.0084, "seeds_low": -0.01,
        "seeds_high": 0.018, "seeds_corrected_low": -0.02, "seeds_corrected_high": 0.028,
        "family": "against_controls", "family_size": 2, "margin": 0.01, "scope": "other seeds",
        "verdict": "undecided", "verdict_models": "better", "equal_within": None,
        "would_decide": "about 9 seeds would decide",
    }  # fmt: skip
    return ArmComparison(**(known | values))


def said(**values: Any) -> list[str]:
    return list(control_warnings([compared(**values)]))


def test_an_undecided_control_is_said_in_its_scope_with_what_would_decide() -> None:
    (text,) = said()
    assert text == (
        "LOTUS cannot be told apart from its control, one-shot magnitude: +0.4 points on test, "
        "paired by image (interval -2.0 to +2.8; n = 3, other seeds, corrected for 2 comparisons). "
        "This sweep does not show that denoising the mask helps; about 9 seeds would decide."
    )


def test_limits_are_those_that_the_verdict_was_read_from() -> None:
    (text,) = said(scope="these models", n=2, family_size=1)
    assert "interval +0.2 to +0.8" in text
    assert "n = 2, these models)" in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("worse", "does worse than"), ("equal", "is equal within 0.8 points to")],
)
def test_each_verdict_has_its_words(verdict: str, words: str) -> None:
    (text,) = said(verdict=verdict, equal_within=0.0072, would_decide=None)
    assert f"LOTUS {words} its control" in text
    assert text.endswith("helps.")


def test_without_limits_it_says_why_there_are_none() -> None:
    (text,) = said(seeds_corrected_low=None, seeds_corrected_high=None)
    assert "(no interval: too few images or seeds to say; n = 3" in text


def test_a_control_that_is_beaten_and_other_families_are_not_mentioned() -> None:
    assert said(verdict="better") == []
    assert said(family="against_dense") == []
    assert said(family="after_pruning") == []


@pytest.mark.parametrize("control", CONTROLS)
def test_it_says_what_the_control_tests(control: str) -> None:
    (text,) = said(b=control)
    assert BY_NAME[control].tests in text

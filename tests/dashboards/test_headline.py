from typing import Any

import pytest

from dashboards import ReportData, headline
from dashboards.data import plain


@pytest.fixture
def summary(full: ReportData) -> dict[str, Any]:
    result: dict[str, Any] = plain(full.summary)
    return result


def card(summary: dict[str, Any], label: str) -> headline.Card:
    return next(c for c in headline.cards(summary) if c.label == label)


def spaces(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_the_verdict_gives_the_mean_over_seeds_when_the_setting_is_the_same(
    summary: dict[str, Any],
) -> None:
    said = spaces(headline.verdict(summary))
    assert "95.7 % test accuracy over 3 seeds, 1.1 points below dense (95 % interval" in said
    summary["recommended"]["sparsity"] = 0.5
    assert "test accuracy in one trial, dense 96.8 %" in spaces(headline.verdict(summary))


def test_the_verdict_admits_what_is_outside_the_tolerance(summary: dict[str, Any]) -> None:
    summary["recommended"]["within_tolerance"] = False
    assert "not within the tolerance" in headline.verdict(summary)


def test_an_interval_that_was_not_reached_says_so(summary: dict[str, Any]) -> None:
    summary["essential_sparsity"] |= {
        "value": 0.5,
        "low": 0.4,
        "high": None,
        "bracket": [0.5, None],
    }
    found = card(summary, "Essential sparsity")
    assert spaces(found.value) == "≥ 50 %"
    assert "40 % to above 50 %, the highest level measured" in spaces(found.note)


def test_no_level_near_dense_is_said_in_words(summary: dict[str, Any]) -> None:
    summary["essential_sparsity"] |= {"value": None, "low": None, "high": 0.01}
    assert "No level measured" in card(summary, "Essential sparsity").note


def test_one_seed_has_no_interval(summary: dict[str, Any]) -> None:
    lotus = headline.arm_entry(summary, "lotus")
    lotus |= {"n": 1, "ci_low": None, "ci_high": None, "difference_ci_low": None}
    note = card(summary, "LOTUS test accuracy").note
    assert "Mean of 1 seed; no interval." in note
    assert "interval −" not in note


@pytest.mark.parametrize(
    ("gap", "said"),
    [(-0.004, "0.4 points below"), (0.004, "0.4 points above"), (0.0001, "equal to")],
)
def test_the_difference_names_its_side(gap: float, said: str) -> None:
    assert headline.difference({}, {"difference_to_dense": gap}) == f"{said} dense"

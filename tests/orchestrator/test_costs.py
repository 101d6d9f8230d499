"""What a sweep cost, in words."""

import pytest

from orchestrator.costs import cost_words, device_time, predicted_words


@pytest.mark.parametrize(
    ("device", "used", "saved", "words"),
    [
        ("cpu", 0.077, 0.41, "4.6 CPU-minutes instead of 29 without sharing stages"),
        ("gpu", 12.34, 45.0, "12 GPU-hours instead of 57 without sharing stages"),
        ("gpu", 1.25, 0.5, "1.2 GPU-hours instead of 1.8 without sharing stages"),
        ("cpu", 0.5, 120.0, "30 CPU-minutes instead of 7,230 without sharing stages"),
        ("cpu", 0.5, 0.0, "30 CPU-minutes"),
        ("cpu", 0.5, None, "30 CPU-minutes"),
        ("cpu", 0.5, 0.001, "30 CPU-minutes"),
        ("cpu", 0.0, 0.5, "0.0 CPU-minutes instead of 30 without sharing stages"),
        (None, 12345.6, 0.0, "12,346 device-hours"),
    ],
)
def test_cost_is_told_as_what_was_used_instead_of_what(
    device: str | None, used: float, saved: float | None, words: str
) -> None:
    cost = {"device": device, "device_hours": used, "device_hours_saved": saved}
    assert cost_words(cost) == words


def test_a_prediction_is_told_in_the_same_units() -> None:
    assert device_time(0.05, "cpu") == "3.0 CPU-minutes"
    assert device_time(1.5, "gpu") == "1.5 GPU-hours"
    assert device_time(9.96, "gpu") == "10 GPU-hours"


def test_what_nobody_predicted_is_not_told() -> None:
    cost = {"device": "cpu", "device_hours": 0.1}
    assert predicted_words(cost) == ""
    assert predicted_words(cost | {"device_hours_predicted": None}) == ""
    assert predicted_words(cost | {"device_hours_predicted": 0.05}) == "3.0 CPU-minutes"

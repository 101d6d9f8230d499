"""The answer in a line each."""

from typing import Any

import pytest

from orchestrator.selection.short import costs_words, found_words, saves_words, short_answer

ESSENTIAL: dict[str, Any] = {
    "bracket": [0.6, 0.7],
    "tolerance": 0.01,
    "detector": "first_violation",
    "low": 0.6,
    "high": 0.69,
    "scope": "other seeds",
    "curve": [{"sparsity": 0.6, "drop": 0.004}, {"sparsity": 0.7, "drop": 0.018}],
}
BEST: dict[str, Any] = {
    "macs_ratio": 0.76,
    "macs_ratio_kept": 0.72,
    "patch_drop": 0.3,
    "final_sparsity": 0.7,
    "images_per_s_ratio": 1.23,
    "difference": -0.01,
    "test_accuracy": 0.946,
    "dense_test_accuracy": 0.956,
    "models_low": -0.026,
    "models_high": 0.006,
    "seeds_low": None,
    "seeds_high": None,
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "Up to 60 % can be pruned in one shot; 70 % loses 1.8 points. "
            "For other seeds: 60 % to 69 %.",
        ),
        (
            {"high": None, "bracket": [0.7, None]},
            "Up to 70 %, the highest level, can be pruned in one shot. "
            "For other seeds: above 60 %.",
        ),
        (
            {"low": None, "bracket": [0.0, 0.6]},
            "Pruning 60 % in one shot, the lowest level, loses more than 1 point.",
        ),
        (
            {"low": None, "detector": "first_bad", "curve": []},
            "Up to 60 % can be pruned in one shot; 70 % loses more than 1 point "
            "(by the detector first bad).",
        ),
    ],
)
def test_what_was_found(changes: dict[str, Any], words: str) -> None:
    assert found_words(ESSENTIAL | changes) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "It needs 0.76× the MACs of dense (0.72× where the patches are known beforehand), "
            "measured 1.23× the images/s on kept patches; zeros alone speed nothing up.",
        ),
        (
            {"macs_ratio": 1.9, "images_per_s_ratio": None, "final_sparsity": None},
            "Nothing: it needs 1.90× the MACs of dense "
            "(0.72× where the patches are known beforehand).",
        ),
        (
            {"macs_ratio": 1.0, "macs_ratio_kept": 1.0, "patch_drop": None},
            "No MACs, because it keeps all patches; zeros alone speed nothing up.",
        ),
        (
            {"macs_ratio": 0.75, "macs_ratio_kept": 0.75, "patch_drop": None},
            "It needs 0.75× the MACs of dense, measured 1.23× the images/s; "
            "zeros alone speed nothing up.",
        ),
        ({"macs_ratio": None}, "Its MACs were not measured; zeros alone speed nothing up."),
    ],
)
def test_what_the_setting_saves(changes: dict[str, Any], words: str) -> None:
    assert saves_words(BEST | changes) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "1.0 point less than dense on test (94.6 % against 95.6 %): these models -2.6 to +0.6.",
        ),
        (
            {"difference": 0.0203, "seeds_low": -0.03, "seeds_high": 0.07, "models_low": None},
            "No accuracy: 2.0 points more than dense on test (94.6 % against 95.6 %): other seeds "
            "-3.0 to +7.0.",
        ),
        (
            {"difference": 0.0001, "models_low": None},
            "Less than 0.1 points of difference to dense on test (94.6 % against 95.6 %).",
        ),
        ({"difference": None}, "Its accuracy on test was not compared with dense."),
    ],
)
def test_what_the_setting_costs(changes: dict[str, Any], words: str) -> None:
    assert costs_words(BEST | changes) == words


def test_without_a_recommendation_that_is_said() -> None:
    said = {"essential": "It was not measured.", "recommended": None}
    summary = {"answer": said, "recommended": None, "essential_sparsity": None}
    assert short_answer(summary) == {
        "found": "It was not measured.",
        "use": "Nothing is recommended: no trial of a LOTUS arm has finished.",
    }
    assert list(short_answer(summary | {"recommended": BEST})) == ["found", "use", "saves", "costs"]

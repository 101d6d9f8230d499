"""The answer in words: what each sentence says, and what it must not say."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from orchestrator.selection.answer import (
    answer,
    essential_words,
    model_words,
    saving_words,
    setting_words,
)
from orchestrator.selection.curve import CURVE_COLUMNS, EssentialSparsity
from orchestrator.selection.recommendation import Recommended
from orchestrator.selection.wording import in_words, to_be_surer


def essential(**changes: Any) -> EssentialSparsity:
    drops = {0.1: 0.002, 0.3: 0.01, 0.5: 0.034}
    rows = [dict.fromkeys(CURVE_COLUMNS) | {"sparsity": s, "drop": d} for s, d in drops.items()]
    found = EssentialSparsity(
        value=0.3, low=0.21, high=0.4, scope="other seeds", bracket=(0.3, 0.5),
        detector="first_violation", tolerance=0.01, confidence=0.95, curve=pd.DataFrame(rows),
    )  # fmt: skip
    return replace(found, **changes)


def best(**changes: Any) -> Recommended:
    found = Recommended(
        trial_key="k", name="lotus-seed1", arm="lotus", sparsity=0.3, patch_drop=0.1,
        mask_data_fraction=0.1, seed=1, n=3, n_compared=3, n_images=1_000, final_sparsity=0.7,
        sparsity_model=0.6, val_accuracy=0.9, test_accuracy=0.893, test_accuracy_whole=0.897,
        reference="fine_tuned", dense_val_accuracy=0.91, dense_test_accuracy=0.897,
        difference=-0.004, models_low=-0.007, models_high=-0.001, seeds_low=-0.009,
        seeds_high=0.001, scope="other seeds", confidence=0.95, tolerance=0.01, verdict="shown",
        within_tolerance=True, chosen="shown on validation", macs_ratio=1.9, macs_ratio_kept=0.9,
        macs_training_ratio=1.0, images_per_s_ratio=1.08, reason="", would_show=None,
        setting={"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1},
    )  # fmt: skip
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "The essential sparsity is 30 %: that much of the prunable weights can be removed in "
            "one shot for a loss of at most 1 point, before fine-tuning; at 50 % the loss is 3.4 "
            "points. For other seeds, it lies between 21 % and 40 % with 95 % confidence.",
        ),
        (
            {"value": 0.0, "low": 0.0, "high": 0.1, "bracket": (0.0, 0.1), "tolerance": 0.001},
            "The essential sparsity is below 10 %, the lowest level measured: removing that much "
            "of the prunable weights in one shot already loses 0.2 points, more than the tolerated "
            "0.1 points. For other seeds, it lies between 0 % and 10 % with 95 % confidence.",
        ),
        (
            {"value": 0.5, "low": 0.4, "high": None, "bracket": (0.5, None), "tolerance": 0.05},
            "The essential sparsity is at least 50 %, the highest level measured: even that much "
            "of the prunable weights can be removed in one shot for a loss of at most 5 points, "
            "before fine-tuning. For other seeds, it lies above 40 % with 95 % confidence.",
        ),
        (
            {"detector": "knee", "low": None, "high": None, "scope": "these models"},
            "The essential sparsity is 30 % by the detector knee: removing that much of the "
            "prunable weights in one shot loses 1.0 point before fine-tuning; at 50 % the loss is "
            "3.4 points. For these models, its interval is too wide to give.",
        ),
    ],
    ids=["between levels", "below the lowest", "above the highest", "another detector"],
)
def test_the_essential_sparsity_in_words(changes: dict[str, Any], said: str) -> None:
    assert essential_words(essential(**changes)) == said


def test_an_interval_narrower_than_a_tenth_of_a_percent_has_a_width() -> None:
    said = essential_words(essential(low=0.3001, high=0.3003))
    assert "between 30.01 % and 30.03 %" in said


def test_another_detector_is_not_said_to_keep_the_tolerance() -> None:
    said = essential_words(essential(detector="changepoint", value=0.5, bracket=(0.5, None)))
    assert "loses 3.4 points before fine-tuning." in said
    assert "at most" not in said


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, "Recommended: "),
        ({"verdict": "not shown"},
         "Cheapest candidate, not shown to be within 1 point of dense: "),
        ({"verdict": "exceeded", "chosen": "within on validation"},
         "Cheapest candidate by validation, but on test not within 1 point of dense: "),
        ({"verdict": "not shown", "chosen": "best on validation"},
         "No setting is within 1 point of dense on validation; the most accurate: "),
    ],
)  # fmt: skip
def test_only_what_is_shown_is_recommended(changes: dict[str, Any], start: str) -> None:
    said = answer(None, best(**changes))["recommended"]
    assert said == f"{start}{setting_words(best())}."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "LOTUS (one-shot level 30 %, final sparsity 70 %, 10 % of the patches dropped, masks "
             "from 10 % of the data)"),
        ({"sparsity": "auto"}, "LOTUS (one-shot level auto, final sparsity 70 %, 10 % of the "
                               "patches dropped, masks from 10 % of the data)"),
        ({"arm": "tickets", "sparsity": None, "final_sparsity": 0.0, "mask_data_fraction": None},
         "Tickets only (10 % of the patches dropped)"),
        ({"arm": "issp", "patch_drop": None, "name": "issp-seed1-finetune.lr=0.001",
          "setting": {"finetune.lr": 0.001, "issp.x": None, "issp.rounds": 1}},
         "ISSP on all patches (one-shot level 30 %, final sparsity 70 %, masks from 10 % of the "
         "data, finetune.lr 0.001)"),
        ({"arm": "tickets", "sparsity": None, "final_sparsity": 0.0, "mask_data_fraction": None,
          "patch_drop": 0.0}, "Tickets only"),
        ({"arm": "tickets", "sparsity": None, "final_sparsity": 0.0, "mask_data_fraction": None,
          "name": "tickets-seed1-issp.preset=default-tickets.sink=none",
          "setting": {"issp.preset": "default", "tickets.sink": "none"}},
         "Tickets only (10 % of the patches dropped, tickets.sink none)"),
    ],
)  # fmt: skip
def test_a_setting_names_what_it_has_and_nothing_else(changes: dict[str, Any], said: str) -> None:
    assert setting_words(best(**changes)) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Nothing as it stands. On the patches that it keeps it needs 0.90× the "
             "multiply-accumulates (MACs) of dense, and does 1.08× as many images/s (measured). "
             "Choosing the patches costs another 1.00×: 1.90× in all, unless they are known "
             "beforehand. 70 % of the prunable weights are zero, which by itself speeds nothing "
             "up."),
        ({"macs_ratio": 0.9, "images_per_s_ratio": None, "final_sparsity": 0.0},
         "On the patches that it keeps it needs 0.90× the multiply-accumulates (MACs) of dense."),
        ({"macs_ratio": 1.0, "macs_ratio_kept": 1.0, "patch_drop": None},
         "It keeps all patches and needs the multiply-accumulates (MACs) of dense. 70 % of the "
         "prunable weights are zero, which by itself speeds nothing up."),
        ({"macs_ratio": 0.75, "macs_ratio_kept": 0.75, "patch_drop": None, "final_sparsity": 0.0,
          "images_per_s_ratio": None},
         "With fewer tokens inside it needs 0.75× the multiply-accumulates (MACs) of dense."),
        ({"macs_ratio": None, "final_sparsity": None},
         "Its multiply-accumulates (MACs) were not measured."),
    ],
)  # fmt: skip
def test_savings_count_what_choosing_the_patches_costs(changes: dict[str, Any], said: str) -> None:
    assert saving_words(best(**changes)) == said


def test_the_price_in_accuracy_names_both_scopes_and_its_verdict() -> None:
    assert in_words(best()) == (
        "It loses 0.4 points on test: 89.3 % against 89.7 % for dense with equal fine-tuning (mean "
        "of 3 seeds). 95 % intervals: these models -0.7 to -0.1; other seeds -0.9 to +0.1. Shown "
        "to be within 1 point of dense (other seeds)."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"difference": 0.01}, "It gains 1.0 point on test: "),
        ({"difference": -0.0004}, "It differs from dense by less than 0.1 points on test: "),
        ({"reference": "before_fine_tuning"}, " for dense before fine-tuning "),
        ({"n": 5}, "(mean of 5 seeds; the difference is that of 3, which both have). "),
        ({"n": 1, "n_compared": 1}, "(mean of 1 seed). "),
        ({"seeds_low": None, "seeds_high": None}, "; other seeds unknown (too wide). "),
        ({"n_compared": 2, "scope": "these models", "seeds_low": None},
         "; other seeds unknown (n = 2). "),
        ({"models_low": None}, ": these models unknown (too few images); "),
        ({"verdict": "exceeded"}, ". Shown to lose more than 1 point (other seeds)."),
        ({"verdict": "not shown", "would_show": "about 9 seeds would decide"},
         ". Not shown to be within 1 point of dense (other seeds)."),
        ({"difference": None}, "Its accuracy on test was not compared with dense."),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said_in_words(changes: dict[str, Any], said: str) -> None:
    found = in_words(best(**changes))
    assert said in found
    assert "None" not in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Nothing is left to decide at a tolerance of 1 point."),
        ({"would_show": "about 9 seeds would decide"},
         "About 9 seeds would decide whether it is within 1 point of dense."),
        ({"scope": "these models", "n_compared": 1},
         "3 seeds (now 1) would say something about other seeds."),
        ({"difference": None, "reference": "before_fine_tuning"},
         "A test accuracy of the setting and of dense would say what it costs; the dense arm "
         "would show what equal fine-tuning gives the dense model."),
    ],
)  # fmt: skip
def test_what_would_make_it_surer(changes: dict[str, Any], said: str) -> None:
    assert to_be_surer(best(**changes)) == said


def test_why_a_model_stands_for_its_setting_is_said() -> None:
    assert model_words(1) == "its only seed"
    assert model_words(5) == "the median of its 5 seeds on validation"

"""Both accuracies of a model in words, each with the cost of the same forward pass."""

from typing import Any

import pytest

from orchestrator.publishing.card import ALL, card, measured, number, tokens

ROW: dict[str, Any] = {
    "arm": "lotus", "patch_drop": "0.25", "tickets.select": "attention", "tickets.scope": "image",
    "tickets.weights": "pretrained", "tickets.score": "cls", "tickets.removal": "gather",
    "tickets/kept_patches": 48.0, "final/val_n": 200.0, "final/test_n": 500.0,
    "final/val_accuracy": 0.96, "final/test_accuracy": 0.956,
    "final/deployed_val_accuracy": 0.94, "final/deployed_test_accuracy": 0.932,
    "final/macs": 29.3e6, "final/macs_dense": 38.8e6, "final/macs_selector": 38.8e6,
    "final/macs_deployed": 68.1e6,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "48 patches of each image (patch_drop 0.25), the highest by the attention of the "
            "pretrained model (score cls)",
        ),
        (
            {"tickets.select": "lowest", "tickets.weights": "adapted"},
            "48 patches of each image (patch_drop 0.25), the lowest by the attention of the "
            "adapted model (score cls)",
        ),
        (
            {"tickets.select": "random_fixed"},
            "48 patches of each image (patch_drop 0.25), drawn at random once",
        ),
        (
            {"tickets.scope": "global", "tickets/kept_patches": 47.5},
            "47.5 patches of an image on average (patch_drop 0.25), the highest by the attention "
            "of the pretrained model (score cls), one threshold for all images",
        ),
        (
            {"tickets.removal": "zero"},
            "48 patches of each image (patch_drop 0.25), the highest by the attention of the "
            "pretrained model (score cls); the others are hidden (zero), and still cost",
        ),
        ({"arm": "issp"}, ALL),
        ({"patch_drop": 0.0, "tickets/kept_patches": 64.0}, ALL),
        ({"arm": "dense", "patch_drop": None, "tickets/kept_patches": float("nan")}, ALL),
    ],
)
def test_the_tokens_of_a_deployed_model_are_named(changes: dict[str, Any], said: str) -> None:
    assert tokens(ROW | changes) == said


def test_each_accuracy_stands_beside_the_cost_of_its_own_forward_pass() -> None:
    found = measured(ROW)
    assert found["images"] == {"validation": 200, "test": 500}
    whole, deployed = found["whole_images"], found["deployed"]
    assert (whole["test_accuracy"], whole["macs"]) == (0.956, 38.8e6)
    assert (deployed["test_accuracy"], deployed["macs"]) == (0.932, 68.1e6)
    assert deployed["macs_selector"] == 38.8e6


def test_the_card_says_that_the_served_model_runs_whole_images_and_what_the_other_gives() -> None:
    assert card("lotus-x", ROW) == (
        "`lotus-x`. This model runs all patches of each image: 95.6 % of 500 test images right "
        "and 96.0 % of 200 validation images right, at 38.8 million MACs an image. On 48 patches "
        "of each image (patch_drop 0.25), the highest by the attention of the pretrained model "
        "(score cls): 93.2 % of 500 test images right and 94.0 % of 200 validation images right, "
        "at 68.1 million MACs an image, 38.8 million of them to choose the patches. Leaving "
        "patches out takes `trials.model.forward`; plain timm and `mlflow models serve` do not."
    )


def test_an_arm_without_tickets_has_one_accuracy() -> None:
    said = card("issp-x", ROW | {"arm": "issp"})
    assert said.endswith("at 38.8 million MACs an image.")
    assert "93.2" not in said


def test_what_an_earlier_version_did_not_measure_is_said_and_not_guessed() -> None:
    new = ("deployed", "macs_selector", "_n")
    old = {name: value for name, value in ROW.items() if not any(one in name for one in new)}
    assert measured(old)["deployed"]["test_accuracy"] is None
    assert measured(old)["images"] == {"validation": None, "test": None}
    said = card("lotus-x", old)
    assert "95.6 % of the test images right" in said
    assert "was not measured by the version that ran it: run the sweep again" in said


@pytest.mark.parametrize("value", [None, "", "None", float("nan"), float("inf"), "text"])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert number({"a": value}, "a") is None
    assert number({}, "a") is None

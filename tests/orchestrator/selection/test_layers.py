"""Which masks are shown layer by layer, and their means. TEST DATA, made up."""

from typing import Any

import pandas as pd

from orchestrator.selection.layers import summarised, wanted_masks


def trial(arm: str, level: float, seed: int, accuracy: float = 0.9, **more: Any) -> dict[str, Any]:
    name = f"{arm}-{level}-{seed}"
    return {
        "run_id": name, "key": name, "name": name, "arm": arm, "status": "FINISHED", "seed": seed,
        "sparsity": level, "patch_drop": 0.1, "mask_data_fraction": 0.1, "rung": None,
        "final/val_accuracy": accuracy, "final/deployed_val_accuracy": accuracy, **more,
    }  # fmt: skip


def both(arm: str, level: float, mask: str, **more: Any) -> list[dict[str, Any]]:
    return [trial(arm, level, seed, **{mask: f"{mask}-{level}-{seed}"}, **more) for seed in (0, 1)]


TABLE = pd.DataFrame([
    *both("lotus", 0.3, "stage.issp", accuracy=0.8),
    *both("lotus", 0.5, "stage.issp"),
    *both("issp", 0.3, "stage.issp"),
    *both("magnitude", 0.3, "stage.control"),
    *both("essential", 0.3, "stage.essential"),
    *both("dense", 0.3, "none"),
])  # fmt: skip
PLACE = {"setting": {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}}


def test_masks_are_those_of_the_recommended_place_and_each_stands_once() -> None:
    found = [(one.mask, one.setting.arm, one.runs) for one in wanted_masks(TABLE, (), PLACE)]
    assert found == [
        ("essential", "lotus", ["lotus-0.3-0", "lotus-0.3-1"]),
        ("final", "lotus", ["lotus-0.3-0", "lotus-0.3-1"]),
        ("final", "magnitude", ["magnitude-0.3-0", "magnitude-0.3-1"]),
    ], "ISSP on all patches has the mask of LOTUS, and one-shot pruning that of the first row"
    assert [one.shared for one in wanted_masks(TABLE, (), PLACE)] == [(), ("issp",), ()]


def test_without_a_recommendation_the_best_setting_of_an_arm_is_shown() -> None:
    (_, lotus, *_) = wanted_masks(TABLE, (), None)
    assert lotus.setting.axes["sparsity"] == 0.5


def test_no_pruned_trial_is_no_mask() -> None:
    assert wanted_masks(TABLE[TABLE["arm"] == "dense"], (), PLACE) == []


def test_kept_shares_are_means_over_the_seeds_that_recorded_them() -> None:
    wanted = wanted_masks(TABLE, (), PLACE)
    read = {
        "lotus-0.3-0": {"final": {"a": 0.5, "b": 0.75}, "essential": {"a": 0.25}},
        "lotus-0.3-1": {"final": {"a": 0.75, "b": 0.25}},
    }
    one_shot, final = summarised(wanted, read)
    assert (one_shot["mask"], one_shot["n"]) == ("essential", 1)
    assert one_shot["layers"] == [{"layer": "a", "kept": 0.75}]
    assert (final["arm"], final["n"], final["setting"]["sparsity"]) == ("lotus", 2, 0.3)
    assert final["layers"] == [{"layer": "a", "kept": 0.375}, {"layer": "b", "kept": 0.5}]
    assert summarised(wanted, {}) == []

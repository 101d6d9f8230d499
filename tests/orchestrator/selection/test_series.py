"""The series that figures draw, over made-up trials."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection.rows import Row
from orchestrator.selection.series import (
    by_mask_data,
    curves_of,
    finetuning,
    importance,
    spread,
    stage_seconds,
    throughput,
    tried,
)
from orchestrator.selection.settings import best_settings, group_settings
from trials.arms import BASE_AXES

N = 1_000


def trial(arm: str = "lotus", seed: int = 0, **values: Any) -> dict[str, Any]:
    """A finished trial."""
    used = {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    row = {
        "arm": arm, "seed": seed, "status": "FINISHED", "final/val_accuracy": 0.9,
        "issp/val_accuracy": 0.8, "dense/val_n": N, **used,
    } | values  # fmt: skip
    row.setdefault("key", f"{arm}-{seed}-{[row[a] for a in BASE_AXES]}")
    return row


def found(*trials: dict[str, Any], axes: tuple[str, ...] = ()) -> list[Any]:
    return group_settings(pd.DataFrame(list(trials)), axes)


def means(table: list[Row], stage: str = "issp") -> dict[Any, float]:
    return {row["fraction"]: row["mean"] for row in table if row["stage"] == stage}


# --- a mean, its spread and its limits ------------------------------------------------


def test_the_limits_of_three_values_without_a_count_of_images_are_students() -> None:
    row = spread([0.49, 0.50, 0.51], None, 0.95)
    half = 4.302653 * 0.01 / 3**0.5
    assert row == {
        "mean": pytest.approx(0.5), "low": 0.49, "high": 0.51, "n": 3,
        "ci_low": pytest.approx(0.5 - half), "ci_high": pytest.approx(0.5 + half),
    }  # fmt: skip


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.52]])
def test_below_three_seeds_the_limits_are_about_these_models_alone(values: list[float]) -> None:
    row = spread(values, N, 0.95)
    mean = float(np.mean(values))
    assert row["n"] == len(values)
    assert row["ci_low"] == pytest.approx(mean - 0.031, abs=5e-4), "of the images alone"
    assert row["ci_high"] == pytest.approx(mean + 0.031, abs=5e-4)
    assert spread(values, None, 0.95)["ci_low"] is None, "nothing is known of the images"


# --- fine-tuning ----------------------------------------------------------------------


def test_finetuning_gives_mean_and_spread_over_seeds_at_the_best_setting() -> None:
    best = [trial(key=key, seed=seed) for seed, key in enumerate("ab")]
    worse = trial(key="c", sparsity=0.5, **{"final/val_accuracy": 0.8})
    curves = {"a": [(1, 0.5), (2, 0.7)], "b": [(1, 0.7), (2, 0.8)], "c": [(1, 0.1)]}
    table = finetuning(found(*best, worse, trial("dense", key="d")), curves)
    assert list(table) == ["lotus"], "dense has no curve"
    rows = table["lotus"]
    assert [r["epoch"] for r in rows] == [1, 2]
    assert [r["mean"] for r in rows] == pytest.approx([0.6, 0.75])
    assert [r["low"] for r in rows] == [0.5, 0.7]
    assert [r["high"] for r in rows] == [0.7, 0.8]
    assert [r["n"] for r in rows] == [2, 2]


def test_failed_trials_enter_no_curve() -> None:
    trials = [trial(key="a"), trial(key="b", seed=1, status="FAILED")]
    table = finetuning(found(*trials), {"a": [(1, 0.5)], "b": [(1, 0.1)]})
    assert [row["mean"] for row in table["lotus"]] == [0.5]


def test_a_trial_that_found_its_own_sparsity_belongs_to_the_setting_auto() -> None:
    own = [trial(key=f"k{s}", seed=s, sparsity=0.3 + s / 10, auto_sparsity=True) for s in (0, 1)]
    (setting,) = found(*own)
    assert setting.axes["sparsity"] == "auto"
    table = finetuning([setting], {"k0": [(1, 0.5)], "k1": [(1, 0.7)]})
    assert table["lotus"][0]["mean"] == pytest.approx(0.6)


def test_curves_are_gathered_by_trial_without_what_is_unknown() -> None:
    table = pd.DataFrame(
        {"key": ["a", "a", "b", None], "epoch": [1, 2, 1, 1],
         "val_accuracy": [0.5, 0.6, np.nan, 0.9]}
    )  # fmt: skip
    assert curves_of(table) == {"a": [(1, 0.5), (2, 0.6)]}


def test_the_best_setting_of_an_arm_is_by_mean_validation_and_arms_keep_their_order() -> None:
    trials = [
        trial(arm, seed, sparsity=s, **{"final/val_accuracy": 0.9 - s + 0.01 * seed})
        for arm in ("magnitude", "lotus", "dense") for s in (0.3, 0.1) for seed in (0, 1)
    ]  # fmt: skip
    best = best_settings(found(*trials))
    assert list(best) == ["dense", "lotus", "magnitude"]
    assert {arm: s.axes["sparsity"] for arm, s in best.items()} == dict.fromkeys(best, 0.1)
    assert best["lotus"].mean["final/val_accuracy"] == pytest.approx(0.805)


# --- mask data ------------------------------------------------------------------------


def test_one_arm_and_one_patch_drop_are_shown() -> None:
    trials = [
        trial(arm, seed, patch_drop=drop, mask_data_fraction=f, sparsity=s,
              **{"issp/val_accuracy": 0.5 + f / 10 + seed / 100})
        for arm in ("lotus", "issp") for drop in ((0.1, 0.3) if arm == "lotus" else (None,))
        for s in (0.2, 0.4) for f in (0.1, 0.3, 1.0) for seed in (0, 1, 2)
    ]  # fmt: skip
    table = by_mask_data(found(*trials), {"patch_drop": 0.3})
    assert {row["arm"] for row in table} == {"lotus"}
    assert {row["patch_drop"] for row in table} == {0.3}
    assert len(table) == 2 * 3 * 2
    here = [r for r in table if r["sparsity"] == 0.2]
    assert means(here) == pytest.approx({0.1: 0.52, 0.3: 0.54, 1.0: 0.61})
    assert means(here, "final") == pytest.approx({0.1: 0.9, 0.3: 0.9, 1.0: 0.9})
    assert {row["n"] for row in table} == {3}


def test_two_trials_of_one_seed_are_one_value_of_the_mask_data() -> None:
    values = [(0, 0.2), (0, 0.4), (1, 0.5)]
    trials = [
        trial(seed=seed, key=f"k{i}", **{"issp/val_accuracy": v, "dense/val_n": None})
        for i, (seed, v) in enumerate(values)
    ]
    row = by_mask_data(found(*trials), None)[0]
    assert row["stage"] == "issp"
    assert (row["n"], row["low"], row["high"]) == (2, pytest.approx(0.3), 0.5)
    assert row["mean"] == pytest.approx(0.4)
    assert (row["ci_low"], row["ci_high"]) == (None, None), "two seeds say nothing of others"


def test_another_value_of_a_further_axis_does_not_enter_the_mask_data() -> None:
    trials = [
        trial("issp", patch_drop=None, mask_data_fraction=f,
              **{"issp.merge": merge, "issp/val_accuracy": accuracy})
        for f, merge, accuracy in (
            (0.1, "vote_topk", 0.8), (1.0, "vote_topk", 0.9), (1.0, "union_pruned", 0.1),
        )
    ]  # fmt: skip
    known = found(*trials, axes=("issp.merge",))
    for merge in ("vote_topk", "union_pruned"):  # the recommended one has fewer fractions
        assert means(by_mask_data(known, {"patch_drop": None, "issp.merge": merge})) == {
            0.1: 0.8, 1.0: 0.9,
        }  # fmt: skip


def test_without_masks_there_is_no_mask_data() -> None:
    assert by_mask_data(found(trial("dense", mask_data_fraction=None)), None) == []


# --- cost -----------------------------------------------------------------------------


def test_stage_seconds_leave_out_the_total_and_start_with_the_dearest() -> None:
    table = pd.DataFrame(
        {"time/issp_s": [2.0, np.nan, 4.0], "time/dense_s": [640.0, np.nan, np.nan],
         "time/never_s": [np.nan] * 3, "time/total_s": [9.0] * 3, "other/x_s": [1.0] * 3}
    )  # fmt: skip
    assert stage_seconds(table) == [
        {"stage": "dense", "total_s": 640.0, "median_s": 640.0, "n": 1},
        {"stage": "issp", "total_s": 6.0, "median_s": 3.0, "n": 2},
    ]


def test_throughput_counts_trials_without_a_drop_as_all_patches_and_no_failed_ones() -> None:
    rates = [
        (None, 400.0, "FINISHED"),
        (0.0, 420.0, "FINISHED"),
        (0.1 + 0.2, 600.0, "FINISHED"),
        (0.3, 500.0, "FINISHED"),
        (0.3, 9.0, "FAILED"),
        (0.5, None, "FINISHED"),
    ]
    table = pd.DataFrame(
        [{"patch_drop": d, "final/train_images_per_s": r, "status": s} for d, r, s in rates]
    )
    assert throughput(table) == [
        {"patch_drop": 0.0, "mean": 410.0, "low": 400.0, "high": 420.0, "n": 2},
        {"patch_drop": 0.3, "mean": 550.0, "low": 500.0, "high": 600.0, "n": 2},
    ]


# --- accuracy and cost of all settings ------------------------------------------------


def test_every_setting_with_an_accuracy_is_listed_the_best_first() -> None:
    table = tried(found(
        trial(seed=0), trial(seed=1, **{"final/val_accuracy": 0.92}),
        trial("dense", **{"final/val_accuracy": 0.95}),
        trial("tickets", **{"final/val_accuracy": None}),
    ))  # fmt: skip
    assert [(row["arm"], row["n"]) for row in table] == [("dense", 1), ("lotus", 2)]
    assert table[1]["mean"] == pytest.approx(0.91)
    assert table[1]["setting"] == {"sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1}
    assert table[1]["ci_low"] < 0.91 < table[1]["ci_high"]


def test_costs_are_relative_to_dense_and_the_front_is_marked() -> None:
    costs = {"final/macs_dense": 100.0, "final/sparsity": 0.3, "final/macs": 80.0}
    cheap = trial(**costs, **{"final/macs_deployed": 90.0, "final/deployed_val_accuracy": 0.9})
    worse = trial(sparsity=0.5, **costs,
                  **{"final/macs_deployed": 95.0, "final/deployed_val_accuracy": 0.8})  # fmt: skip
    table = tried(found(cheap, worse))
    assert [(row["front"], row["macs_ratio"]) for row in table] == [
        (True, pytest.approx(0.9)),
        (False, pytest.approx(0.95)),
    ]


def grid(effect: float = 0.0) -> list[dict[str, Any]]:
    """36 trials over three axes; accuracy falls with sparsity, and with patch drop by `effect`."""
    return [
        trial(sparsity=s, patch_drop=d, mask_data_fraction=f,
              **{"final/val_accuracy": 0.9 - s - effect * d})
        for s in (0.1, 0.2, 0.3, 0.4) for d in (0.1, 0.2, 0.3) for f in (0.1, 0.3, 1.0)
    ]  # fmt: skip


def test_an_axis_that_alone_moves_accuracy_explains_all_of_it() -> None:
    said = importance(found(*grid()))
    assert said is not None
    assert (said["arm"], said["n"]) == ("lotus", 36)
    assert [(row["axis"], row["share"]) for row in said["axes"]] == [
        ("sparsity", pytest.approx(1.0)),
        ("patch_drop", pytest.approx(0.0, abs=1e-9)),
        ("mask_data_fraction", pytest.approx(0.0, abs=1e-9)),
    ]


def test_shares_of_axes_that_do_not_act_together_add_up() -> None:
    said = importance(found(*grid(effect=1.0)))
    assert said is not None
    shares = {row["axis"]: row["share"] for row in said["axes"]}
    # Variance of 4 levels 0.1 apart: 0.0125; of 3: 0.02 / 3.
    assert shares["sparsity"] == pytest.approx(0.0125 / (0.0125 + 0.02 / 3))
    assert sum(shares.values()) == pytest.approx(1.0)


def test_few_trials_or_axes_say_nothing_of_importance() -> None:
    assert importance(found(*grid()[:29])) is None
    assert importance(found(*(row | {"mask_data_fraction": 0.1} for row in grid()))) is None
    assert importance([]) is None

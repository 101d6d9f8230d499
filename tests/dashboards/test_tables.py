import numpy as np
import pandas as pd
import pytest

from dashboards import ReportData, tables


def test_a_missing_column_is_nan_and_text_is_no_number() -> None:
    frame = pd.DataFrame({"a": ["0.5", "x", None, np.inf]})
    assert tables.numbers(frame, "b").isna().all()
    np.testing.assert_array_equal(tables.numbers(frame, "a"), [0.5, np.nan, np.nan, np.nan])
    assert list(tables.words(frame, "a")) == ["0.5", "x", "", "inf"]


def test_a_setting_matches_by_value_and_ignores_unused_axes(full: ReportData) -> None:
    setting = {"sparsity": 0.1 + 0.2, "patch_drop": None, "mask_data_fraction": None}
    rows = tables.at_setting(full.trials, "essential", setting)
    assert list(rows["name"]) == [f"essential-s0.30-seed{s}" for s in range(3)]
    own = full.trials.assign(auto_sparsity=full.trials["key"].isin(rows["key"]))
    found = tables.at_setting(own, "essential", setting | {"sparsity": "auto"})
    assert list(found["key"]) == list(rows["key"])
    none = tables.at_setting(full.trials, "essential", setting | {"issp.merge": "other"})
    assert none.empty


def test_failed_trials_enter_no_mean(full: ReportData) -> None:
    rows = tables.at_setting(full.trials, "magnitude", {"sparsity": 0.5})
    assert len(rows) == 2


def test_best_settings_fall_back_to_mean_validation(full: ReportData) -> None:
    means = (
        full.trials[full.trials["arm"] == "lotus"]
        .groupby(list(tables.AXES))["final/val_accuracy"]
        .mean()
    )
    best = tables.best_settings({}, full.trials)
    assert tuple(best["lotus"][axis] for axis in tables.AXES) == means.idxmax()
    assert list(best) == list(tables.ARM_ORDER)
    assert best["dense"] == dict.fromkeys(tables.AXES)


def test_finetune_gives_mean_and_spread_over_seeds() -> None:
    trials = pd.DataFrame({"key": ["a", "b", "c"], "arm": "lotus", "sparsity": [0.3, 0.3, 0.5]})
    curves = pd.DataFrame(
        {"key": list("aabbc"), "epoch": [1, 2, 1, 2, 1], "val_accuracy": [0.5, 0.7, 0.7, 0.8, 0.1]}
    )
    table = tables.finetune_by_arm(curves, trials, {"lotus": {"sparsity": 0.3}, "dense": {}})
    assert list(table) == ["lotus"]
    assert table["lotus"]["mean"].tolist() == pytest.approx([0.6, 0.75])
    assert table["lotus"]["low"].tolist() == [0.5, 0.7]
    assert table["lotus"]["n"].tolist() == [2, 2]


def test_the_fraction_table_holds_one_arm_and_one_patch_drop(full: ReportData) -> None:
    table = tables.issp_by_fraction(full.trials, {"patch_drop": 0.3})
    assert set(table["arm"]) == {"lotus"}
    assert set(table["patch_drop"]) == {0.3}
    assert len(table) == 5 * 3 * 2
    rows = full.trials[full.trials["name"].str.startswith("lotus-s0.20-d0.30-f0.10")]
    found = table.query("sparsity == 0.2 and fraction == 0.1 and stage == 'issp'")
    assert found["mean"].item() == pytest.approx(rows["issp/val_accuracy"].mean())


def test_two_trials_of_one_seed_are_one_value_of_the_fraction_table() -> None:
    trials = pd.DataFrame(
        {
            "arm": "lotus", "sparsity": 0.3, "patch_drop": 0.1, "mask_data_fraction": 0.1,
            "seed": [0, 0, 1], "issp/val_accuracy": [0.2, 0.4, 0.5],
        }
    )  # fmt: skip
    (row,) = tables.issp_by_fraction(trials, {}).to_dict("records")
    assert (row["n"], row["low"], row["high"]) == (2, pytest.approx(0.3), 0.5)
    assert row["mean"] == pytest.approx(0.4)
    assert (row["ci_low"], row["ci_high"]) == (0, 1), "t(1) * 0.1 is wider than what can be"


def test_another_value_of_a_further_axis_does_not_enter_the_fraction_table() -> None:
    trials = pd.DataFrame(
        {
            "arm": "issp", "sparsity": 0.3, "patch_drop": np.nan, "mask_data_fraction": [0.1, 1, 1],
            "seed": 0, "issp.merge": ["vote_topk", "vote_topk", "union_pruned"],
            "issp/val_accuracy": [0.8, 0.9, 0.1],
        }
    )  # fmt: skip
    for merge in ("vote_topk", "union_pruned"):  # the recommended one has fewer fractions
        setting = {"sparsity": 0.3, "mask_data_fraction": 1, "issp.merge": merge}
        table = tables.issp_by_fraction(trials, {"setting": setting})
        assert dict(zip(table["fraction"], table["mean"], strict=True)) == {0.1: 0.8, 1.0: 0.9}


def test_the_interval_is_students_and_one_value_has_none() -> None:
    table = pd.DataFrame({"mean": [0.5, 0.5], "sd": [0.01, np.nan], "n": [3, 1]})
    found = tables.with_interval(table, 0.95)
    half = 4.302653 * 0.01 / 3**0.5
    np.testing.assert_allclose(found["ci_low"], [0.5 - half, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["ci_high"], [0.5 + half, np.nan], rtol=1e-6)


def test_stage_seconds_leave_out_the_total(full: ReportData) -> None:
    table = tables.stage_seconds(full.trials)
    assert set(table["stage"]) == {"finetune", "issp", "dense"}
    dense = table[table["stage"] == "dense"]
    assert dense["total_s"].item() == pytest.approx(640.0 * dense["n"].item())
    assert table["total_s"].is_monotonic_decreasing


def test_throughput_counts_trials_without_a_drop_as_all_patches(full: ReportData) -> None:
    table = tables.throughput(full.trials)
    assert table["patch_drop"].tolist() == [0.0, 0.1, 0.3]
    assert table["n"].sum() == len(full.trials) - 1

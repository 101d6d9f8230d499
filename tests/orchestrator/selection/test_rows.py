"""Tables as plain rows, and which rows rest on one dense model."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from orchestrator.selection.rows import (
    average,
    axis_value,
    dense_identity,
    dense_models,
    distinct,
    grouped,
    missing_column,
    plain,
    rows,
)


def test_rows_are_python_values_and_none_for_what_is_absent_or_not_finite() -> None:
    table = pd.DataFrame({
        "a": np.array([1.5, np.nan, np.inf]), "b": np.array([1, 2, 3]), "c": ["x", None, pd.NA],
    })  # fmt: skip
    found = rows(table, ["a", "b", "c", "nowhere", "a"])
    assert found == [
        {"a": 1.5, "b": 1, "c": "x", "nowhere": None},
        {"a": None, "b": 2, "c": None, "nowhere": None},
        {"a": None, "b": 3, "c": None, "nowhere": None},
    ]
    assert {type(r["b"]) for r in found} == {int}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_plain_reaches_into_what_is_nested() -> None:
    nested = {"a": [np.float64(1), (np.nan, {"b": -math.inf})], 2: np.bool_(True)}
    assert plain(nested) == {"a": [1.0, [None, {"b": None}]], "2": True}


def test_an_average_is_over_what_was_measured() -> None:
    group = [{"x": 1.0, "y": None}, {"x": None, "y": None}, {"x": 2.0}]
    assert average(group, ["x", "y", "z"]) == {"x": 1.5, "y": None, "z": None}
    assert average([], ["x"]) == {"x": None}


def test_a_trial_that_found_its_own_sparsity_stands_at_auto() -> None:
    row = {"sparsity": 0.31, "patch_drop": 0.1, "auto_sparsity": True}
    assert (axis_value(row, "sparsity"), axis_value(row, "patch_drop")) == ("auto", 0.1)
    assert axis_value(row | {"auto_sparsity": None}, "sparsity") == 0.31


def test_groups_and_first_rows_stand_in_order_of_appearance() -> None:
    table = [{"k": k, "i": i} for i, k in enumerate("baab")]
    assert [[r["i"] for r in g] for g in grouped(table, lambda r: r["k"])] == [[0, 3], [1, 2]]
    assert [r["i"] for r in distinct(table, lambda r: r["k"])] == [0, 1]


def test_a_dense_model_is_its_stage_else_its_seed_else_the_row_itself() -> None:
    stage, seed = {"stage.dense": "d", "seed": 1}, {"stage.dense": None, "seed": 1}
    bare = {"stage.dense": None, "seed": None}
    assert dense_identity(stage) == dense_identity(stage | {"seed": 2})
    assert dense_identity(seed) == dense_identity(dict(seed)) != dense_identity(stage)
    assert dense_identity(bare) != dense_identity(dict(bare))
    measured = {"dense/val_accuracy": 0.9}
    trials = [stage | {"dense/val_accuracy": None}, stage | measured, stage | measured]
    assert dense_models(trials) == trials[1:2]


def test_the_error_for_an_absent_column_names_what_there_is() -> None:
    error = missing_column(pd.DataFrame({"b": [1], "a": [2]}), "arm", "a comparison of arms")
    assert "no column `arm`, which a comparison of arms needs (columns: a, b)" in str(error)
    assert "(columns: none)" in str(missing_column(pd.DataFrame(), "arm", "it"))


@pytest.mark.parametrize("value", [True, "text", 3])
def test_what_is_plain_already_stays(value: object) -> None:
    assert plain(value) is value

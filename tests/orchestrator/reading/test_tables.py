"""The table of a sweep: from the tracking store alone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from orchestrator.planning.config import SweepConfig
from orchestrator.reading.tables import axis_columns, learning_curves, results, trials_table
from orchestrator.storage.keys import key_of

BASE = [
    "run_id", "name", "key", "arm", "status", "error", "versions", "tokens", "seed", "sparsity",
    "patch_drop", "mask_data_fraction", "rung",
]  # fmt: skip


def run(kind: str = "trial", params: dict[str, str] | None = None, **tags: str) -> Any:
    """A run as MLflow gives it."""
    given = {f"lotus.{k}": v for k, v in tags.items()}
    return SimpleNamespace(
        info=SimpleNamespace(run_id="r", run_name="n", status="FINISHED"),
        data=SimpleNamespace(
            tags={"lotus.kind": kind, "lotus.key": "k", **given}, params=params or {}, metrics={}
        ),
    )


def test_a_row_holds_everything_of_a_trial(tracked_trial: Any) -> None:
    table = results(tracked_trial.sweep)
    assert len(table) == 1
    assert set(BASE) <= set(table.columns)
    row = table.iloc[0]
    assert (row["arm"], row["seed"], row["sparsity"]) == ("lotus", 0, 0.3)
    assert row["key"] == tracked_trial.trial.key
    assert row["stage.dense"] == key_of(tracked_trial.trial.graph.dense)
    assert row["issp.merge"] == "vote_topk"
    assert 0 <= row["final/test_accuracy"] <= 1
    assert pd.isna(row["error"])


def test_a_curve_has_a_line_an_epoch(tracked_trial: Any) -> None:
    table = results(tracked_trial.sweep)
    curves = learning_curves(tracked_trial.tracker, table)
    assert list(curves.columns) == [
        "key", "name", "arm", "seed", "epoch", "train_loss", "val_loss", "val_accuracy",
    ]  # fmt: skip
    assert list(curves["epoch"]) == [1, 2]
    assert curves["val_accuracy"].iloc[-1] == table["finetune/val_accuracy"].iloc[0]
    assert list(learning_curves(tracked_trial.tracker, table.iloc[:0]).columns) == list(curves)


def test_a_sweep_that_never_ran_is_an_empty_table(tiny: Callable[..., SweepConfig]) -> None:
    table = results(tiny())
    assert table.empty
    assert list(table.columns) == BASE


def test_superseded_trials_and_stages_are_left_out() -> None:
    runs = [run(), run("stage"), run(superseded="true"), run(superseded="false")]
    assert len(trials_table(runs)) == 2


def test_an_axis_that_the_arm_ignores_is_not_a_number() -> None:
    table = trials_table([run(params={"seed": "3", "sparsity": "0.25"}, error="broken")])
    assert (table["seed"][0], table["sparsity"][0]) == (3, 0.25)
    assert table["patch_drop"].isna().all()
    assert table["error"][0] == "broken"


@pytest.mark.parametrize("name", ["issp.merge", "model.kwargs.depth"])
def test_further_axes_are_read_from_the_parent(name: str) -> None:
    tags = {"lotus.axis.sparsity": "[]", f"lotus.axis.{name}": "[]", "lotus.kind": "sweep"}
    assert axis_columns(tags) == [name]

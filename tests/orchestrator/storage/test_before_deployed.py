"""Sweeps of the version before `deployed`: only what is new is computed, and nothing is lost.

`before_deployed.tar.xz` is what commit 23650f7 left of `lotus run before.yaml --no-report` and
`lotus run searched.yaml --no-report` in /tmp/oldsweep: sweep files, store, MLflow database and
artifacts of two finished sweeps of tiny models.
"""

import json
import sqlite3
import tarfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import load_sweep, results, run
from orchestrator.commands.export import export
from orchestrator.driver.state import look
from orchestrator.planning.plan import plan
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, find_sweep

pytestmark = pytest.mark.slow

OLD = Path(__file__).with_name("before_deployed.tar.xz")
MADE_IN = "/tmp/oldsweep"
ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
]
DEPLOYED = [
    "final/deployed_val_accuracy", "final/deployed_test_accuracy", "final/deployed_val_lost",
    "final/deployed_val_gained", "final/deployed_test_lost", "final/deployed_test_gained",
    "final/macs_selector", "final/macs_deployed", "final/macs_training", "final/val_n",
    "final/test_n",
]  # fmt: skip


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of before, as if it had been made here."""
    with tarfile.open(OLD) as packed:
        packed.extractall(tmp_path, filter="data")
    with closing(sqlite3.connect(tmp_path / "lotus/mlflow.db")) as database, database:
        for table, column in ADDRESSES:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (MADE_IN, str(tmp_path))
            )
    for name in ("MLFLOW_TRACKING_URI", "LOTUS_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored() -> set[tuple[str, str]]:
    """(stage, key) of every result in the store."""
    return {(entry.stage, entry.key) for entry in Store("lotus/store").entries()}


def trial_runs(path: Path) -> list[Any]:
    """All runs of trials that MLflow has of a sweep."""
    address = find_sweep(load_sweep(path))
    assert address is not None
    return [r for r in Tracker(address).runs() if r.data.tags.get("lotus.kind") == "trial"]


def test_every_result_of_before_but_the_evaluation_is_still_known_by_its_key(old: Path) -> None:
    has = {key for _, key in stored()}
    for name in ("before", "searched"):
        sweep = load_sweep(old / f"{name}.yaml")
        state = look(sweep)
        trials = (state.plan if state else plan(sweep)).trials
        for trial in trials:
            for stage, node in trial.graph.stages().items():
                known = key_of(node) in has
                assert known == (stage != "final"), f"{trial.name}: {stage}"


def test_a_trial_of_before_is_exported_and_what_it_did_not_measure_is_said(old: Path) -> None:
    sweep = load_sweep(old / "before.yaml")
    for row in results(sweep).to_dict("records"):
        found = export(sweep, old / row["arm"], row["key"])
        about = json.loads((found.folder / "lotus.json").read_text())
        measured = about["measured"]
        assert measured["whole_images"]["test_accuracy"] == row["final/test_accuracy"]
        assert measured["deployed"]["test_accuracy"] is None
        assert measured["deployed"]["macs"] is None
        assert about["final/macs_training"] is None


@pytest.mark.parametrize(("name", "trials"), [("before", 3), ("searched", 1)])
def test_a_sweep_of_before_evaluates_again_and_trains_nothing(
    old: Path, ray_cluster: None, name: str, trials: int
) -> None:
    path = old / f"{name}.yaml"
    before, runs_before = stored(), trial_runs(path)
    finished = run(load_sweep(path))
    assert finished.failed == {}
    new = stored() - before
    assert Counter(stage for stage, _ in new) == {"evaluate": trials}
    assert before <= stored(), "what was there is not lost"

    # One run that counts per trial; those of before are there, whole, and marked.
    rungs = {r.info.run_id for r in runs_before if "lotus.rung" in r.data.tags}
    superseded = {r.info.run_id for r in runs_before} - rungs
    runs = {r.info.run_id: r for r in trial_runs(path)}
    assert superseded | rungs < runs.keys()
    assert len(runs) == len(runs_before) + trials
    for run_id, one in runs.items():
        assert one.info.status == "FINISHED"
        marked = one.data.tags.get("lotus.superseded") == "true"
        assert marked == (run_id in superseded)
    table = results(load_sweep(path))
    full = table[table["rung"].isna()]
    assert len(full) == full["name"].nunique() == trials
    assert full[DEPLOYED].notna().all(axis=None)

    # What both versions measure is the same, to the last bit: nothing else was computed anew.
    for row in full.to_dict("records"):
        (twin,) = (r for r in runs_before if r.info.run_name == row["name"])
        for metric in ("val_accuracy", "test_accuracy", "macs", "sparsity", "val_lost"):
            assert row[f"final/{metric}"] == twin.data.metrics[f"final/{metric}"]
    assert run(load_sweep(path), report=False).ran == 0

"""Sweeps end to end on this machine: real Ray, real SQLite, real training."""

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator import load_sweep, results, run, select
from orchestrator.driver.searcher import TuneSearcher
from orchestrator.driver.state import look
from orchestrator.storage.files import Files
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, find_sweep

pytestmark = pytest.mark.slow
ARTIFACT_ADDRESSES = [
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
]


@pytest.fixture
def copied(finished_sweep: Path, tmp_path: Path) -> Path:
    """The finished sweep in a folder of its own, to be changed."""
    source = finished_sweep.parent
    for name in ("store", "artifacts"):
        shutil.copytree(source / name, tmp_path / name)
    with (
        closing(sqlite3.connect(source / "mlflow.db")) as original,
        closing(sqlite3.connect(tmp_path / "mlflow.db")) as database,
        database,
    ):
        original.backup(database)
        # MLflow keeps whole addresses; a change of the copy must not reach the original's files.
        for table, column in ARTIFACT_ADDRESSES:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                (str(source), str(tmp_path)),
            )
    text = finished_sweep.read_text().replace(str(source), str(tmp_path))
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    return path


def children(path: Path, *overrides: str) -> dict[str, str]:
    """Run id -> status of all runs below the sweep."""
    address = find_sweep(load_sweep(path, overrides))
    assert address is not None
    return {child.run_id: child.status for child in Tracker(address).children()}


def parent_of(path: Path) -> Any:
    """The sweep's own run."""
    address = find_sweep(load_sweep(path))
    assert address is not None
    return Tracker(address).parent()


def stored(path: Path) -> Counter[str]:
    """How many results of each stage the store has."""
    return Counter(entry.stage for entry in Store(load_sweep(path).storage.path).entries())


def test_every_trial_has_one_finished_run_with_its_metrics(finished_sweep: Path) -> None:
    table = results(load_sweep(finished_sweep))
    assert sorted(table["arm"]) == ["essential", "lotus", "magnitude"]
    assert set(table["status"]) == {"FINISHED"}
    lotus = table[table["arm"] == "lotus"].iloc[0]
    assert lotus["name"] == "lotus-s0.30-d0.25-f0.50-seed0"
    assert abs(lotus["final/sparsity"] - 0.6) < 1e-4
    assert abs(lotus["essential/sparsity"] - 0.3) < 1e-4
    assert 0 < lotus["final/macs"] < lotus["final/macs_dense"]
    assert lotus["final/val_accuracy"] > 0.2


def test_fine_tuning_curves_start_at_epoch_one_and_have_each_epoch_once(
    finished_sweep: Path,
) -> None:
    sweep = load_sweep(finished_sweep)
    client = MlflowClient(sweep.tracking.uri)
    for run_id in results(sweep)["run_id"]:
        history = client.get_metric_history(run_id, "finetune/val_accuracy")
        assert [point.step for point in history] == [1, 2]


def test_the_report_is_on_the_sweeps_run(finished_sweep: Path) -> None:
    sweep = load_sweep(finished_sweep)
    address = find_sweep(sweep)
    assert address is not None
    client = MlflowClient(sweep.tracking.uri)
    names = {file.path for file in client.list_artifacts(address.parent, "report")}
    assert {"report/report.html", "report/summary.json", "report/trials.csv"} <= names
    assert (finished_sweep.parent / "reports/tiny/report.html").exists()
    assert client.get_run(address.parent).data.metrics["trials/finished"] == 3


def test_a_finished_sweep_runs_nothing_and_makes_no_run(copied: Path) -> None:
    before, ended = children(copied), parent_of(copied).info.end_time
    finished = run(load_sweep(copied))
    assert finished.ran == 0
    assert finished.summary["trials"] == {"planned": 3, "finished": 3, "failed": 0}
    assert children(copied) == before
    assert parent_of(copied).info.end_time == ended, "it ended when it ended"


def test_an_enlarged_sweep_runs_only_what_is_new(copied: Path, ray_cluster: None) -> None:
    before, had = children(copied), stored(copied)
    larger = "search.sparsity=[0.3, 0.5]"
    finished = run(load_sweep(copied, [larger]), report=False)
    # `magnitude` ignores the axis: one new level is one more `essential` and one more `lotus`.
    assert (finished.ran, finished.failed) == (2, {})
    after = children(copied, larger)
    assert before.items() <= after.items()
    assert stored(copied)["dense"] == had["dense"] == 1
    assert stored(copied)["essential"] == had["essential"] + 1
    assert stored(copied)["finetune"] == had["finetune"] + 2


def test_nothing_large_passes_through_the_driver(
    copied: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, int]] = []
    read, write = Files.read, Files.write
    suggest, complete = TuneSearcher.suggest, TuneSearcher.on_trial_complete

    def reading(files: Files, path: str) -> bytes:
        content = read(files, path)
        moved.append((path, len(content)))
        return content

    def writing(files: Files, path: str, content: bytes) -> None:
        moved.append((path, len(content)))
        write(files, path, content)

    def suggesting(searcher: TuneSearcher, trial_id: str) -> Any:
        given = suggest(searcher, trial_id)
        moved.append(("to a worker", len(str(given))))
        return given

    def completing(
        searcher: TuneSearcher, trial_id: str, result: Any = None, error: bool = False
    ) -> None:
        moved.append(("from a worker", len(str(result))))
        complete(searcher, trial_id, result, error)

    monkeypatch.setattr(Files, "read", reading)
    monkeypatch.setattr(Files, "write", writing)
    monkeypatch.setattr(TuneSearcher, "suggest", suggesting)
    monkeypatch.setattr(TuneSearcher, "on_trial_complete", completing)
    had = sum(stored(copied).values())
    finished = run(load_sweep(copied, ["search.sparsity=[0.3, 0.5]"]), report=False)
    assert (finished.ran, finished.failed) == (2, {})
    assert sum(stored(copied).values()) > had + 4
    objects = [path for path, _ in moved if path.startswith("objects/")]
    assert len(objects) <= 1, "the best model, to publish it"
    assert {name for name, _ in moved} >= {"to a worker", "from a worker"}
    assert max(size for path, size in moved if path not in objects) < 10_000


def test_a_changed_fine_tuning_rate_reruns_the_fine_tunes_and_nothing_before(
    copied: Path, ray_cluster: None
) -> None:
    had, old = stored(copied), results(load_sweep(copied))
    sweep = load_sweep(copied, ["finetune.lr=2.0e-3"])
    finished = run(sweep, report=False)
    assert (finished.ran, finished.failed) == (3, {})
    now = stored(copied)
    assert {stage for stage in now if now[stage] != had[stage]} == {"finetune", "evaluate"}
    table = results(sweep)
    assert len(table) == 3, "the old trials are superseded and left out"
    assert not set(table["key"]) & set(old["key"])


def test_a_failing_trial_stops_no_other_and_is_run_again_alone(
    copied: Path, ray_cluster: None
) -> None:
    axis = ["search.finetune.lr=[1.0e-3, 1.0e+30]", "search.arm=[lotus]"]
    finished = run(load_sweep(copied, axis), report=False)
    assert finished.ran == 1, "the trial at 1e-3 is the one that had run"
    assert len(finished.failed) == 1
    (reason,) = finished.failed.values()
    assert "lower `lr`" in reason
    table = results(load_sweep(copied, axis))
    assert sorted(table["status"]) == ["FAILED", "FINISHED"]
    assert "lower `lr`" in table[table["status"] == "FAILED"].iloc[0]["error"]
    state = look(load_sweep(copied, axis))
    assert state is not None
    assert len(state.missing_trials()) == 1


def test_selection_names_a_trial_that_exists(finished_sweep: Path) -> None:
    table = results(load_sweep(finished_sweep))
    found = select(table)
    assert found.recommended is not None
    assert found.recommended.trial_key in set(table["key"])
    assert found.essential is not None
    assert found.essential.value in (0.0, 0.3)

"""Trials whose stage failed: failed trials everywhere, once each, also if the driver dies."""

import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator import load_sweep, run
from orchestrator.commands.status import all_sweeps, of_sweep
from orchestrator.driver.fallen import Fallen
from orchestrator.driver.growth import Growth
from orchestrator.driver.interrupts import Stop
from orchestrator.driver.queue import Item
from orchestrator.planning.plan import Planner
from orchestrator.planning.speeds import learned
from orchestrator.storage.store import Store
from orchestrator.tracking import patience
from orchestrator.tracking.pending import Pending
from orchestrator.tracking.tracker import Tracker, find_sweep, open_sweep

sys.path.insert(0, str(Path(__file__).parent.parent))
from programs import Program, environment, mlflow_server

from tests.conftest import tiny_sweep

pytestmark = pytest.mark.slow

Lotus = Callable[..., tuple[int, str, str]]
TRIALS = 3
TOO_FAST = "dense.lr=1e30"


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    Program.end_all()


def runs_of(path: Path, *overrides: str) -> list[Any]:
    """All runs below the sweep, duplicates included."""
    address = find_sweep(load_sweep(path, overrides))
    assert address is not None
    return Tracker(address).runs()


def trials_of(path: Path, *overrides: str) -> dict[str, Any]:
    """The runs of trials by key; one each."""
    found = [r for r in runs_of(path, *overrides) if r.data.tags["lotus.kind"] == "trial"]
    keys = Counter(run.data.tags["lotus.key"] for run in found)
    assert set(keys.values()) <= {1}, "one run a key"
    return {run.data.tags["lotus.key"]: run for run in found}


def test_a_trial_whose_stage_failed_is_a_failed_trial_everywhere(
    tmp_path: Path, ray_cluster: None, lotus: Lotus
) -> None:
    path = tiny_sweep(tmp_path)
    finished = run(load_sweep(path, [TOO_FAST]))
    trials = trials_of(path, TOO_FAST)
    stages = [r for r in runs_of(path, TOO_FAST) if r.data.tags["lotus.kind"] == "stage"]
    (dense,) = [r for r in stages if r.data.tags["lotus.stage"] == "dense"]
    assert dense.info.status == "FAILED"
    reason = dense.data.tags["lotus.error"]
    assert {r.info.status for r in trials.values()} == {"FAILED"}
    assert len(trials) == TRIALS
    for trial in trials.values():
        tags, params = trial.data.tags, trial.data.params
        assert tags["lotus.error"] == f"dense failed: {reason} (MLflow run {dense.info.run_id})"
        assert tags["lotus.stage.dense"] == dense.data.tags["lotus.key"]
        assert (tags["lotus.arm"], params["seed"]) == (params["arm"], "0")
        assert params["dense.lr"] == "1e+30"
        assert tags["lotus.attempts"] == "1"
        assert trial.info.end_time >= trial.info.start_time
    # the terminal
    assert len(finished.failed) == TRIALS + 1
    assert finished.failed_stages == 1
    assert set(finished.runs.values()) == {dense.info.run_id}, "where the log is"
    # summary, parent, report
    counts = {"planned": TRIALS, "finished": 0, "failed": TRIALS}
    assert finished.summary["trials"] == counts
    written = json.loads((tmp_path / "reports/tiny/summary.json").read_text())
    assert written["trials"] == counts
    tracker = Tracker(finished.address)
    assert tracker.parent().data.metrics["trials/failed"] == TRIALS
    page = (tmp_path / "reports/tiny/report.html").read_text()
    assert "have not ended" not in page
    assert "dense failed: " in page
    # status, with and without the file
    sweep = load_sweep(path, [TOO_FAST])
    for row in (of_sweep(sweep), *all_sweeps(sweep.tracking.uri)):
        assert (row["failed"], row["missing"]) == (TRIALS, 0)
        assert all(dense.info.run_id in error for error in row["errors"].values())
    # plan
    code, out, _ = lotus("plan", str(path), "--set", TOO_FAST, "--json")
    assert code == 0
    assert json.loads(out)["trials"] == {"planned": 3, "missing": 3, "failed": 3}
    assert "of which 3 to run, 3 of them failed before" in lotus(
        "plan", str(path), "--set", TOO_FAST
    )[1].replace("\n", " ")
    # the same command tries them again
    run(load_sweep(path, [TOO_FAST]))
    again = trials_of(path, TOO_FAST)
    assert {k: r.info.run_id for k, r in again.items()} == {
        k: r.info.run_id for k, r in trials.items()
    }
    assert {r.data.tags["lotus.attempts"] for r in again.values()} == {"2"}
    assert {r.info.status for r in again.values()} == {"FAILED"}


def test_when_the_cause_is_mended_the_same_runs_finish(tmp_path: Path) -> None:
    path, faults = tiny_sweep(tmp_path), tmp_path / "faults"
    faults.mkdir()
    (faults / "dense.1.raise").touch()
    first = Program.start(tmp_path / "1", "run", str(path), env=environment(faults))
    assert first.wait() == 1, first.said
    assert "3 trials and 1 shared stage failed:" in first.said
    failed = trials_of(path)
    assert {r.info.status for r in failed.values()} == {"FAILED"}
    assert all("broken for a test" in r.data.tags["lotus.error"] for r in failed.values())
    second = Program.start(tmp_path / "2", "run", str(path), env=environment())
    assert second.wait() == 0, second.said
    finished = trials_of(path)
    assert {k: r.info.run_id for k, r in finished.items()} == {
        k: r.info.run_id for k, r in failed.items()
    }
    for trial in finished.values():
        assert trial.info.status == "FINISHED"
        assert "lotus.error" not in trial.data.tags
    assert of_sweep(load_sweep(path))["finished"] == TRIALS


def failed_trials(path: Path) -> int:
    """Runs that say so now, by the database itself."""
    with closing(sqlite3.connect(path.parent / "mlflow.db")) as database:
        asked = (
            "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE key = 'lotus.kind' "
            "AND value = 'trial' AND status = 'FAILED'"
        )
        try:
            return int(database.execute(asked).fetchone()[0])
        except sqlite3.Error:
            return 0


def test_a_driver_killed_while_it_says_so_leaves_each_trial_once(tmp_path: Path) -> None:
    path, faults = tiny_sweep(tmp_path), tmp_path / "faults"
    faults.mkdir()
    for number in range(2):
        (faults / f"dense.{number}.raise").touch()
    levels = ", ".join(f"{0.1 + i / 500:.3f}" for i in range(300))
    more = ["search.arm=[essential]", f"search.sparsity=[{levels}]"]
    args = ["run", str(path), *(part for one in more for part in ("--set", one)), "--no-report"]
    first = Program.start(tmp_path / "1", *args, env=environment(faults))
    first.until(lambda: failed_trials(path) > 0)
    first.kill()
    assert 0 < len(trials_of(path, *more)) <= 300
    second = Program.start(tmp_path / "2", *args, env=environment(faults))
    assert second.wait() == 1, second.said
    trials = trials_of(path, *more)
    assert len(trials) == 300
    assert {r.info.status for r in trials.values()} == {"FAILED"}
    assert all("dense failed: " in r.data.tags["lotus.error"] for r in trials.values())


def test_what_mlflow_does_not_take_is_owed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_sweep(tmp_path)
    with mlflow_server(tmp_path) as uri:
        sweep = load_sweep(path, [f"tracking.uri={uri}"])
        address = open_sweep(sweep)
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    planner, store = Planner(sweep), Store(sweep.storage.path)
    planned = planner.plan({})
    growth = Growth(planner, planned, set(), set(), {}, learned([], "cpu"))
    trial = planned.trials[0]
    with Fallen(growth, store, Tracker(address, late=True), Stop(), []) as fell:
        fell(Item(key=trial.key, name=trial.name, kind="trial"), "d" * 64, "dense failed: no")
    (note,) = Pending(store, address.parent).all().values()
    assert (note.key, note.status, note.error) == (trial.key, "FAILED", "dense failed: no")
    assert note.tags["lotus.arm"] == trial.config.arm


def test_after_a_stop_nothing_is_said_any_more(tracked: Any) -> None:
    address = open_sweep(tracked)
    tracker, store, stop = Tracker(address), Store(tracked.storage.path), Stop()
    planner = Planner(tracked)
    planned = planner.plan({})
    (trial,) = planned.trials
    stop.ask("another driver works on this sweep")
    growth = Growth(planner, planned, set(), set(), {}, learned([], "cpu"))
    with (
        pytest.raises(Exception, match="another driver"),
        Fallen(growth, store, tracker, stop, []) as fell,
    ):
        fell(Item(key=trial.key, name=trial.name, kind="trial"), "d" * 64, "dense failed: no")
    assert tracker.runs() == []
    assert Pending(store, address.parent).all() == {}

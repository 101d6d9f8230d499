"""MLflow on a real SQLite store: one run per (sweep, key), each (metric, step) once."""

import errno
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.planning.config import SweepConfig
from orchestrator.tracking import patience
from orchestrator.tracking import tracker as tracking
from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.places import local
from orchestrator.tracking.runlog import METRICS_PER_BATCH, PARAMS_PER_BATCH, TAGS_PER_BATCH
from orchestrator.tracking.runs import Identity
from orchestrator.tracking.tracker import (
    RunLog,
    Tracker,
    TrackingError,
    find_sweep,
    list_sweeps,
    open_sweep,
    patiently,
)
from tests.conftest import loaded_by

Tiny = Callable[..., SweepConfig]


@pytest.fixture
def tracker(tracked: SweepConfig) -> Tracker:
    """The runs of a new sweep."""
    address = open_sweep(tracked)
    return Tracker(address)


def history(log: RunLog, name: str) -> list[tuple[int, float]]:
    """All points of a metric as the server has them."""
    return [(m.step, m.value) for m in log.client.get_metric_history(log.run_id, name)]


def test_a_sweep_is_found_again_by_its_name(tracked: SweepConfig) -> None:
    assert find_sweep(tracked) is None
    made = open_sweep(tracked)
    assert open_sweep(tracked) == find_sweep(tracked) == made
    other = tracked.model_copy(update={"name": "other"})
    assert find_sweep(other) is None
    second = open_sweep(other)
    assert second.experiment_id == made.experiment_id
    assert second.parent != made.parent
    run = Tracker(made).parent()
    assert run.info.run_name == "tiny"
    assert run.data.tags["lotus.kind"] == "sweep"
    assert run.data.tags["lotus.version"]


def test_names_with_every_allowed_sign_are_found_again(tracked: SweepConfig) -> None:
    name = "A.b_c + d-0" + "x" * 100
    sweep = type(tracked).model_validate(tracked.model_dump() | {"name": name})
    made = open_sweep(sweep)
    assert find_sweep(sweep) == made


@pytest.mark.parametrize("name", ["it's", 'say "x"', "a`b", "a;b", "a=b", "%", "a\\b"])
def test_a_name_that_could_break_a_query_is_refused(name: str, tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="name"):
        SweepConfig.model_validate(tiny().model_dump() | {"name": name})


def test_there_is_one_run_per_key_however_often_it_starts(tracker: Tracker) -> None:
    ids = set()
    for attempt in range(1, 4):
        again = Tracker(tracker.address)  # another process
        log = again.start(Identity("k" * 64, "trial", "lotus-seed0", {"lotus.arm": "lotus"}))
        ids.add(log.run_id)
        (child,) = again.children()
        assert child.tags["lotus.attempts"] == str(attempt)
        assert (child.status, child.kind, child.key) == ("RUNNING", "trial", "k" * 64)
        log.finish("FAILED" if attempt == 1 else "FINISHED")
    assert len(ids) == 1
    (child,) = tracker.children()
    assert child.status == "FINISHED"
    assert child.tags["lotus.sweep"] == child.tags["mlflow.parentRunId"] == tracker.address.parent
    assert child.tags["lotus.arm"] == "lotus"


def test_keys_of_two_sweeps_do_not_meet(tracked: SweepConfig, tracker: Tracker) -> None:
    address = open_sweep(tracked.model_copy(update={"name": "other"}))
    a = tracker.start(Identity("k" * 64, "trial", "x"))
    b = Tracker(address).start(Identity("k" * 64, "trial", "x"))
    assert a.run_id != b.run_id
    assert len(tracker.children()) == len(Tracker(address).children()) == 1


def test_a_deleted_run_does_not_count(tracker: Tracker) -> None:
    first = tracker.start(Identity("k" * 64, "trial", "x"))
    tracker.client.delete_run(first.run_id)
    assert tracker.children() == []
    assert tracker.start(Identity("k" * 64, "trial", "x")).run_id != first.run_id


def test_more_children_than_a_page_are_all_found(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PAGE", 3)
    names = [f"key{i}" for i in range(8)]
    for name in names:
        tracker.start(Identity(name, "trial", name))
    # Several can begin in the same millisecond.
    assert sorted(child.key for child in tracker.children()) == names


def test_metrics_of_a_step_are_never_doubled_after_a_restart(tracker: Tracker) -> None:
    first = tracker.start(Identity("k", "trial", "x"))
    first.metrics({"loss": 1.0, "none": None}, 1)
    first.metrics({"loss": 9.0}, 1)  # the same step again in one attempt
    first.metrics({"loss": 0.5, "accuracy": 0.5}, 2)
    first.flush()
    first.metrics({"loss": 0.25}, 3)  # never sent: the process dies
    again = Tracker(tracker.address).start(Identity("k", "trial", "x"))
    for step, loss in enumerate((1.0, 0.5, 0.25, 0.125), start=1):
        again.metrics({"loss": loss, "accuracy": loss}, step)
    again.metrics({"final": 0.75})
    again.finish()
    assert sorted(history(again, "loss")) == [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125)]
    assert sorted(step for step, _ in history(again, "accuracy")) == [1, 2, 3, 4]
    third = tracker.start(Identity("k", "trial", "x"))
    third.metrics({"final": 0.75})
    third.finish()
    assert history(third, "final") == [(0, 0.75)]
    assert history(third, "none") == []


def test_an_old_buffer_is_sent_with_the_next_metric(tracker: Tracker) -> None:
    log = tracker.start(Identity("k", "trial", "x"))
    log.flush_s = 1000
    log.metrics({"a": 1.0}, 1)
    assert history(log, "a") == []
    log.flush_s = 0
    log.metrics({"a": 2.0}, 2)
    assert len(history(log, "a")) == 2


def test_batches_respect_the_limits_and_lose_nothing(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tracker.start(Identity("k", "trial", "x"))
    sizes: list[tuple[int, ...]] = []
    real = log.client.log_batch

    def counted(run_id: str, *parts: Any) -> None:
        sizes.append(tuple(map(len, parts)))
        real(run_id, *parts)

    monkeypatch.setattr(log.client, "log_batch", counted)
    for i in range(1500):
        log.metrics({f"m{i % 5}": float(i)}, i // 5)
    log.flush({f"p{i}": i for i in range(250)}, {f"t{i}": "x" * 6000 for i in range(150)})
    assert len(sizes) == 3
    for metrics, params, tags in sizes:
        assert params <= PARAMS_PER_BATCH == 100
        assert tags <= TAGS_PER_BATCH == 100
        assert metrics + params <= METRICS_PER_BATCH == 1000
    run = log.client.get_run(log.run_id)
    assert sum(len(history(log, f"m{i}")) for i in range(5)) == 1500
    assert {k: v for k, v in run.data.params.items() if k[0] == "p"} == {
        f"p{i}": str(i) for i in range(250)
    }
    assert sum(name.startswith("t") for name in run.data.tags) >= 150


def test_a_long_param_is_cut_and_an_old_one_not_sent_again(tracker: Tracker) -> None:
    log = tracker.start(Identity("k", "trial", "x"))
    log.flush({"long": "x" * 10_000, "lr": 0.1})
    again = tracker.start(Identity("k", "trial", "x"))
    again.flush({"lr": 0.2, "new": 1})  # MLflow itself would refuse the change
    params = log.client.get_run(log.run_id).data.params
    assert (len(params["long"]), params["lr"], params["new"]) == (6000, "0.1", "1")


def test_a_run_id_in_the_environment_changes_nothing(
    tracked: SweepConfig, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tracker.client.create_run(tracker.address.experiment_id)
    monkeypatch.setenv("MLFLOW_RUN_ID", foreign.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    assert open_sweep(tracked) == tracker.address
    log = Tracker(tracker.address).start(Identity("k", "trial", "x"))
    log.metrics({"a": 1.0})
    log.finish()
    assert log.run_id != foreign.info.run_id
    untouched = tracker.client.get_run(foreign.info.run_id)
    assert untouched.data.metrics == {}
    assert untouched.info.status == "RUNNING"
    assert tracker.client.get_run(log.run_id).data.metrics == {"a": 1.0}


def test_artifacts_lie_beside_the_database(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "up" / "masks").mkdir(parents=True)
    (tmp_path / "up" / "masks" / "a.txt").write_text("x")
    log = tracker.start(Identity("k", "trial", "x"))
    log.artifacts(tmp_path / "up")
    log.artifacts(tmp_path / "up", "again")
    listed = [a.path for a in log.client.list_artifacts(log.run_id)]
    assert sorted(listed) == ["again", "masks"]
    folder = Path(tracker.address.uri.removeprefix("sqlite:///")).parent / "artifacts"
    assert list(folder.rglob("a.txt"))


def own_folder(tracker: Tracker, run_id: str) -> Path:
    """Where a run's artifacts lie on this machine."""
    folder = local(tracker.client.get_run(run_id).info.artifact_uri)
    assert folder is not None
    return folder


def test_files_of_this_machine_are_written_where_they_lie(tracker: Tracker) -> None:
    log = tracker.start(Identity("k", "trial", "x"), background=True)
    places: list[Path] = []

    def write(folder: Path) -> None:
        places.append(folder)
        (folder / "masks").mkdir(parents=True)
        (folder / "masks" / "a.txt").write_text("x")

    log.write(write)
    log.finish()
    assert places == [own_folder(tracker, log.run_id)]
    assert [file.path for file in log.client.list_artifacts(log.run_id)] == ["masks"]


def test_files_that_cannot_be_written_there_are_uploaded(tracker: Tracker) -> None:
    log = tracker.start(Identity("k", "trial", "x"))
    own, places = own_folder(tracker, log.run_id), list[Path]()

    def write(folder: Path) -> None:
        places.append(folder)
        if folder == own:
            raise OSError(errno.EACCES, "Permission denied")
        (folder / "a.txt").write_text("x")

    log.write(write)
    assert len(places) == 2
    assert not places[1].exists()
    assert (own / "a.txt").read_text() == "x"


def test_files_for_elsewhere_are_uploaded(tracker: Tracker) -> None:
    log = tracker.start(Identity("k", "trial", "x"))
    log.place = "s3://bucket/x"
    sent: list[tuple[str, list[str]]] = []

    class Bucket(Forwarding):
        """Takes what is uploaded."""

        def log_artifacts(
            self, run_id: str, local_dir: str, artifact_path: str | None = None, place: str = ""
        ) -> None:
            sent.append((place, os.listdir(local_dir)))

    log.client = Bucket(log.client)
    log.write(lambda folder: (folder / "a.txt").touch())
    assert sent == [("s3://bucket/x", ["a.txt"])]


def test_a_deleted_experiment_is_said_in_words(tracked: SweepConfig, tracker: Tracker) -> None:
    MlflowClient(tracker.address.uri).delete_experiment(tracker.address.experiment_id)
    for look_up in (open_sweep, find_sweep):
        with pytest.raises(TrackingError, match="is deleted: restore it, or choose another"):
            look_up(tracked)


def test_all_sweeps_of_a_store_are_listed(
    tracked: SweepConfig, tracker: Tracker, database: str
) -> None:
    other = open_sweep(tracked.model_copy(update={"experiment": f"o-{uuid.uuid4().hex}"}))
    tracker.start(Identity("k", "trial", "x"))
    listed = {run.info.run_id for run in list_sweeps(database)}
    assert {tracker.address.parent, other.parent} <= listed


def test_looking_makes_no_database(tiny: Tiny, tmp_path: Path) -> None:
    sweep = tiny()
    assert find_sweep(sweep) is None
    assert list_sweeps(sweep.tracking.uri) == []
    assert not (tmp_path / "mlflow.db").exists()


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for hundredths of seconds instead of a minute."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.01,))
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    # A look at all objects of this process takes longer, and is made after each lock.
    monkeypatch.setattr(patience.gc, "collect", lambda: 0)


class Away:
    """A store that is away for some calls."""

    def __init__(self, calls: int, code: str) -> None:
        self.left, self.code, self.asked = calls, code, 0

    def __call__(self) -> str:
        self.asked += 1
        if self.left:
            self.left -= 1
            error = MlflowException("database is locked")
            error.error_code = self.code
            raise error
        return "here"


@pytest.mark.parametrize("code", ["INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"])
def test_a_store_that_comes_back_is_waited_for(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    store = Away(3, code)
    assert patiently(store) == "here"
    assert store.asked == 4


def test_a_store_that_stays_away_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    store = Away(99, "INTERNAL_ERROR")
    with pytest.raises(TrackingError, match=r"database is locked.*nothing is lost"):
        patiently(store)
    assert store.asked > 1


def test_a_wrong_call_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    store = Away(99, "INVALID_PARAMETER_VALUE")
    with pytest.raises(MlflowException, match="locked"):
        patiently(store)
    assert store.asked == 1


def test_what_was_buffered_arrives_when_the_store_is_back(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    log = tracker.start(Identity("k", "trial", "x"))
    real, away = MlflowClient.log_batch, Away(2, "INTERNAL_ERROR")
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *a: (away(), real(*a))[1])
    log.metrics({"a": 1.0}, 7)
    log.finish()
    assert history(log, "a") == [(7, 1.0)]


def test_a_place_where_no_database_can_be_is_said_in_words(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrackingError, match=r"tracking\.uri"):
        open_sweep(tiny("", f"tracking.uri=sqlite:///{tmp_path}/file/mlflow.db"))


def test_a_client_for_several_threads_has_imported_mlflow_before_they_ask() -> None:
    """Two threads that import it at once find a deadlock inside it, and the run is never told."""
    program = "from orchestrator.tracking.connection import LateClient\nLateClient('sqlite:///nowhere.db')"
    assert "mlflow" in loaded_by(program)

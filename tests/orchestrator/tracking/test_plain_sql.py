"""What is written plainly into an SQLite file is row by row what MLflow's own client writes."""

import math
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.tracking import plain_sql
from orchestrator.tracking.adapter import Adapter
from orchestrator.tracking.connection import connect
from orchestrator.tracking.patience import is_away
from orchestrator.tracking.plain_sql import PlainSql, plainly
from orchestrator.tracking.runs import Interner
from tests.orchestrator.tracking.plain import both, copied, own

TAGS = {"lotus.kind": "trial", "mlflow.user": "somebody", "odd value": "ü\n'quoted'"}


@pytest.fixture
def path(prepared: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    return copied(prepared, tmp_path)


def content(path: Path, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, the run's id and the times of its start and end replaced."""
    with closing(sqlite3.connect(path)) as opened:
        names = [n for (n,) in opened.execute("select name from sqlite_master where type='table'")]
        found = {}
        for name in sorted(names):
            cursor = opened.execute(f'select * from "{name}"')
            columns = [one[0] for one in cursor.description]
            times = {"start_time", "end_time"} & set(columns)
            rows = []
            for row in cursor:
                cells = dict(zip(columns, row, strict=True))
                for column in times:
                    cells[column] = type(cells[column]).__name__
                rows.append(
                    tuple(
                        value.replace(run_id, "RUN") if isinstance(value, str) else value
                        for value in cells.values()
                    )
                )
            found[name] = sorted(rows, key=repr)
        return found


def whole(client: Any) -> str:
    """A run as trials have it."""
    run_id = str(client.create_run("1", tags=TAGS, run_name="lotus-s0.30").info.run_id)
    first = [Metric("loss", 0.5, 1000, 1), Metric("loss", 0.25, 2000, 2), Metric("n", 3, 1000, 0)]
    client.log_batch(run_id, first, [], [])
    odd = [
        Metric("nan", math.nan, 1, 0),
        Metric("inf", math.inf, 1, 0),
        Metric("m", -math.inf, 1, 0),
    ]
    again = [Metric("loss", 9.0, 500, 1), Metric("loss", 0.125, 3000, 3), Metric("n", 3, 1000, 0)]
    params = [Param(f"model.{i}", "x" * i) for i in range(90)]
    client.log_batch(run_id, odd + again, params, [RunTag("lotus.kind", "other"), RunTag("b", "")])
    client.set_terminated(run_id, "FINISHED", 10**13)
    return run_id


def test_the_installed_mlflow_was_compared(path: Path) -> None:
    """If this fails after an update of MLflow: compare (`TESTED`), or everything is slower."""
    assert plain_sql._installed_versions(path) in plain_sql.TESTED
    assert isinstance(connect(f"sqlite:///{path}"), PlainSql)


def test_a_run_is_row_by_row_that_of_mlflow(prepared: Path, tmp_path: Path) -> None:
    found = []
    for name in ("own", "plain"):
        (tmp_path / name).mkdir()
        path = copied(prepared, tmp_path / name)
        client = both(path)[name == "plain"]
        found.append(content(path, whole(client)))
    assert found[0] == found[1]
    assert len(found[1]["params"]) == 90
    assert len(found[1]["metrics"]) == 8
    assert len(found[1]["latest_metrics"]) == 5
    assert [row for row in found[1]["runs"] if "FINISHED" in row]


VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float)
METRICS = st.builds(
    Metric,
    st.sampled_from(["a", "b/c", "d e"]),
    VALUES,
    st.integers(0, 3),
    st.integers(-1, 3),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
KEYS = st.sampled_from(["k", "k.l", "m/n", "ü", "../k", "k//l", "/k", "k*", "x" * 251, " k"])
BATCHES = st.tuples(
    st.lists(METRICS, max_size=6),
    st.lists(st.builds(Param, KEYS, TEXTS), max_size=3, unique_by=lambda one: one.key),
    st.lists(st.builds(RunTag, KEYS | st.just("mlflow.runName"), TEXTS), max_size=3),
)


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for all examples."""
    return copied(prepared, tmp_path_factory.mktemp("shared"))


@pytest.mark.slow
@given(st.lists(BATCHES, max_size=4), st.sampled_from(["FINISHED", "FAILED"]))
def test_whatever_is_logged_both_leave_the_same_or_refuse_the_same(
    shared: Path, batches: list[Any], status: str
) -> None:
    found = []
    for client in both(shared):
        said = []
        run_id = str(client.create_run("1", tags=TAGS, run_name="n").info.run_id)
        for batch in batches:
            try:
                client.log_batch(run_id, *batch)
            except MlflowException as error:
                said.append(str(error).replace(run_id, "RUN"))
        client.set_terminated(run_id, status, 5)
        rows = content(shared, run_id)
        found.append((said, {name: [r for r in some if "RUN" in r] for name, some in rows.items()}))
    assert found[0] == found[1]


def test_what_it_gives_back_is_what_mlflow_has(path: Path) -> None:
    client = connect(f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("x").experiment_id
    made = client.create_run(experiment, tags=TAGS, run_name="n")
    kept = own(path).get_run(made.info.run_id)
    assert made == Interner().interned(kept)
    assert made.info.artifact_uri == f"file:///somewhere/x/{made.info.run_id}/artifacts"


def test_runs_of_others_are_mlflows_own_business(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = own(path)
    run_id = other.create_run("1", tags={}).info.run_id
    client, called = connect(f"sqlite:///{path}"), list[str]()
    monkeypatch.setattr(client._client, "log_batch", lambda *a: called.append("log"))
    monkeypatch.setattr(client._client, "set_terminated", lambda *a: called.append("end"))
    client.log_batch(run_id, [Metric("a", 1, 1, 1)])
    client.set_terminated(run_id, "FINISHED", 5)
    assert called == ["log", "end"]


def test_a_deleted_run_takes_nothing_and_a_param_does_not_change(path: Path) -> None:
    client = connect(f"sqlite:///{path}")
    run_id = client.create_run("1", tags={}, run_name="n").info.run_id
    client.log_batch(run_id, [], [Param("p", "1")])
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        client.log_batch(run_id, [Metric("a", 1, 1, 1)], [Param("p", "2")])
    client.log_batch(run_id, [], [Param("p", "1"), Param("q", "1")])
    assert client.get_run(run_id).data.params == {"p": "1", "q": "1"}
    assert client.get_run(run_id).data.metrics == {}
    client.delete_run(run_id)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.log_batch(run_id, [Metric("a", 1, 1, 1)])
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        client.set_terminated(run_id, "FINISHED", 5)


@pytest.mark.parametrize("found", [("3.18", "dc11669786a5"), ("3.17", "another"), ("3.17", "")])
def test_another_mlflow_or_schema_is_written_by_its_own_client(
    path: Path, monkeypatch: pytest.MonkeyPatch, found: tuple[str, str]
) -> None:
    monkeypatch.setattr(mlflow, "__version__", f"{found[0]}.0")
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("update alembic_version set version_num = ?", (found[1],))
        opened.commit()
    client = object()
    assert plainly(client, path) is client


def test_metrics_that_mlflow_would_give_to_a_model_too_are_left_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ACTIVE_MODEL_ID", "m-1")
    client = object()
    assert plainly(client, path) is client


def test_a_locked_database_is_away_and_nothing_of_a_call_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_sql, "BUSY_S", 0.1)
    client = connect(f"sqlite:///{path}")
    run_id = client.create_run("1", tags={}, run_name="n").info.run_id
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        with pytest.raises(MlflowException, match="database is locked") as caught:
            client.log_batch(run_id, [Metric("a", 1, 1, 1)])
        assert is_away(caught.value)
        holder.execute("rollback")
    assert client.get_run(run_id).data.metrics == {}
    client.log_batch(run_id, [Metric("a", 1, 1, 1)])
    assert client.get_run(run_id).data.metrics == {"a": 1.0}


def test_a_full_disk_is_away_and_with_room_it_goes_on(
    prepared: Path, mounted: Callable[..., Path]
) -> None:
    place = mounted("size=4m")
    client = connect(f"sqlite:///{copied(prepared, place)}")
    run_id = client.create_run("1", tags={}, run_name="n").info.run_id
    number, refused = 0, False
    try:
        while number < 2000:  # 12 MB
            client.log_batch(run_id, [Metric("a", 1, 1, number)], [Param(f"p{number}", "x" * 6000)])
            number += 1
    except MlflowException as error:
        refused = is_away(error)
    assert refused
    assert 0 < number < 2000
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    client.set_terminated(run_id, "FINISHED", 5)
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert len(found.data.params) == number
    assert found.data.metrics == {"a": 1.0}


@pytest.mark.parametrize(("mode", "waits"), [("wal", 1), ("delete", 2)])
def test_only_with_a_log_a_commit_does_not_wait_for_the_disk(
    path: Path, mode: str, waits: int
) -> None:
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(f"pragma journal_mode = {mode}")
    client = PlainSql(Adapter(own(path)), path)
    database = client._opened()
    assert database.execute("pragma synchronous").fetchone() == (waits,)  # normal; full


def test_threads_that_write_at_once_lose_nothing(path: Path) -> None:
    client = connect(f"sqlite:///{path}")

    def work() -> None:
        run_id = client.create_run("1", tags={"t": "1"}, run_name="n").info.run_id
        client.log_batch(run_id, [Metric("a", 1, 1, step) for step in range(20)])
        client.set_terminated(run_id, "FINISHED", int(time.time() * 1000))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = own(path).search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 16
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("select count(*) from metrics").fetchone() == (320,)

"""Our own runs in an SQLite file: written with a few plain INSERTs, found with plain SELECTs.

For each run MLflow's client makes four transactions, and an object for each of about 200 rows. That
is negligible if trials take minutes, but took most of the time of ten thousand short ones, mostly
waiting for the file's lock. So for SQLite files the calls that every run needs are made here, each
as one transaction.

The rows are exactly those that MLflow writes: a test compares whole databases. It is done only for
versions of MLflow and its schema that were compared (`TESTED`), and only runs that this process has
created are written to. Everything else, and any unusual call, goes to MLflow's client, which also
reports errors.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sqlite3
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.plain_search import search_of
from orchestrator.tracking.port import RUNS_AT_ONCE, Client, Page, View
from orchestrator.tracking.runs import Data, Info, Interner, Measurement, Pair, Run
from orchestrator.tracking.schema import TESTED, mlflow_version
from orchestrator.vocabulary import Tag

BUSY_S = 20.0
"""How long SQLite waits for a lock; the same as in MLflow."""

CHECKPOINT_PAGES = 8000
"""Pages of its log that SQLite gathers before it writes them to the file: 32 MiB. The pages of an
index that every run changes are written once for all of them."""

ORDINARY = re.compile(r"\w[\w. :-]*(/\w[\w. :-]*)*")
"""Names that MLflow accepts unchanged: as paths they neither lead up nor have empty parts."""

NAME_CHARACTERS = 250

RUN_NAME = Tag.RUN_NAME

ELSEWHERE = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
"""Environment variables that make MLflow log metrics to a model as well."""

NEW_RUN = (
    "insert into runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
    " start_time, end_time, deleted_time, source_version, lifecycle_stage, artifact_uri,"
    " experiment_id) values (?, ?, 'UNKNOWN', '', '', ?, 'RUNNING', ?, null, null, '', 'active',"
    " ?, ?)"
)
NEW_PARAM = "insert into params (run_uuid, key, value) values (?, ?, ?)"
NEW_TAG = (
    "insert into tags (run_uuid, key, value) values (?, ?, ?)"
    " on conflict (key, run_uuid) do update set value = excluded.value"
)
NEW_METRIC = (
    "insert or ignore into metrics (run_uuid, key, value, timestamp, step, is_nan)"
    " values (?, ?, ?, ?, ?, ?)"
)
NEW_LATEST = (
    "insert into latest_metrics (run_uuid, key, value, timestamp, step, is_nan)"
    " values (?, ?, ?, ?, ?, ?) on conflict (key, run_uuid) do update set"
    " value = excluded.value, timestamp = excluded.timestamp, step = excluded.step,"
    " is_nan = excluded.is_nan where (excluded.step, excluded.timestamp, excluded.value)"
    " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"
)
ENDED = "update runs set status = ?, end_time = ? where run_uuid = ? and lifecycle_stage = 'active'"
IS_ACTIVE = "select 1 from runs where run_uuid = ? and lifecycle_stage = 'active'"
PLACE = (
    "select artifact_location from experiments where experiment_id = ? and"
    " lifecycle_stage = 'active'"
)


class PlainSql(Forwarding):
    """A client for an SQLite file.

    Args:
        client: makes all other calls.
    """

    def __init__(self, client: Client, path: Path) -> None:
        super().__init__(client)
        self._path = path
        self._own_runs: set[str] = set()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        view: View = "active",
        max_results: int = RUNS_AT_ONCE,
        order_by: Sequence[str] = (),
        page_token: str | None = None,
        interner: Interner | None = None,
    ) -> Page[Run]:
        """Runs of experiments."""
        asked = (experiment_ids, filter_string, view, max_results, order_by, page_token)
        search = search_of(*asked)
        if search is not None:
            with (
                contextlib.suppress(sqlite3.Error, UnicodeError),
                self._transaction("begin") as database,
            ):
                runs, more = search.page(database, interner or Interner())
                return Page(runs, search.next_token if more else None)
        return self._client.search_runs(*asked, interner)

    def create_run(
        self,
        experiment_id: str,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """A new run, RUNNING from now on."""
        from mlflow.utils.uri import append_to_uri_path

        run_id, now = uuid.uuid4().hex, int(time.time() * 1000)
        given = tags or {}
        user, marks = given.get("mlflow.user", "unknown"), {**given, RUN_NAME: str(run_name)}
        artifacts = ""

        def write(database: sqlite3.Connection) -> bool:
            nonlocal artifacts
            place = database.execute(PLACE, (int(experiment_id),)).fetchone()
            if place is None:
                return False
            artifacts = append_to_uri_path(place[0], run_id, "artifacts")
            values = (run_id, run_name, user, now, artifacts, int(experiment_id))
            database.execute(NEW_RUN, values)
            database.executemany(NEW_TAG, [(run_id, *mark) for mark in marks.items()])
            return True

        plain = RUN_NAME not in given and all(map(_ordinary, marks))
        if not (run_name and plain and self._wrote(write)):
            return self._client.create_run(experiment_id, tags, run_name)
        self._own_runs.add(run_id)
        info = Info(
            run_id=run_id,
            run_name=run_name,
            experiment_id=experiment_id,
            status="RUNNING",
            start_time=now,
            end_time=None,
            lifecycle_stage="active",
            artifact_uri=artifacts,
        )
        return Run(info, Data(params={}, metrics={}, tags=marks))

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Measurement] = (),
        params: Sequence[Pair] = (),
        tags: Sequence[Pair] = (),
    ) -> None:
        """Metrics, params and tags of a run."""
        points = [(run_id, *_point(item)) for item in metrics]

        def write(database: sqlite3.Connection) -> bool:
            if database.execute(IS_ACTIVE, (run_id,)).fetchone() is None:
                return False
            database.executemany(NEW_PARAM, [(run_id, item.key, item.value) for item in params])
            database.executemany(NEW_METRIC, points)
            database.executemany(NEW_LATEST, points)
            database.executemany(NEW_TAG, [(run_id, item.key, item.value) for item in tags])
            return True

        plain = run_id in self._own_runs and _plain(metrics, params, tags)
        if not plain or not self._wrote(write):
            self._client.log_batch(run_id, metrics, params, tags)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """The end of a run."""

        def write(database: sqlite3.Connection) -> bool:
            return database.execute(ENDED, (status, end_time, run_id)).rowcount == 1

        plain = run_id in self._own_runs and status and end_time
        if not plain or not self._wrote(write):
            self._client.set_terminated(run_id, status, end_time)
        self._own_runs.discard(run_id)

    def _wrote(self, write: Callable[[sqlite3.Connection], bool]) -> bool:
        """Write in one transaction; False = nothing was written."""
        # Some errors are for MLflow to tell, such as a param that has another value already.
        with (
            contextlib.suppress(sqlite3.Error, UnicodeError),
            self._transaction("begin immediate") as database,
        ):
            if write(database):
                database.commit()
                return True
        return False

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """A transaction, which is rolled back unless it was committed.

        Raises:
            MlflowException: as from MLflow itself, if the file is locked or full.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

        with self._lock:
            try:
                database = self._opened()
                database.execute(begin)
                yield database
            except sqlite3.OperationalError as error:
                raise MlflowException(str(error), error_code=TEMPORARILY_UNAVAILABLE) from error
            finally:
                if self._database is not None and self._database.in_transaction:
                    self._database.rollback()

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            # mode=rw: a file that was removed is not created again.
            place = f"{self._path.absolute().as_uri()}?mode=rw"
            self._database = sqlite3.connect(
                place, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            # Also when the process ends (`entry.py`), or SQLite's log would stay behind.
            weakref.finalize(self, self._database.close)
            self._database.execute("pragma foreign_keys = on")
            if self._database.execute("pragma journal_mode").fetchone() == ("wal",):
                # Commits do not wait for the disk with the file locked. A power failure can take
                # the last ones, never the file: the next `lotus run` reconciles.
                self._database.execute("pragma synchronous = normal")
                self._database.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
        return self._database


def plainly(client: Client, path: Path) -> Client:
    """A client that writes with plain SQL if the versions are tested; else the same client."""
    if any(os.environ.get(variable) for variable in ELSEWHERE):
        return client
    return PlainSql(client, path) if _installed_versions(path) in TESTED else client


def _installed_versions(path: Path) -> tuple[str, str]:
    """The installed MLflow and the revision of a database; "" = unknown."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as database:
            rows = database.execute("select version_num from alembic_version").fetchall()
    except sqlite3.Error:  # MLflow says what is wrong with it
        rows = []
    return mlflow_version(), rows[0][0] if len(rows) == 1 else ""


def _plain(metrics: Sequence[Measurement], params: Sequence[Pair], tags: Sequence[Pair]) -> bool:
    """Whether a call holds nothing unusual."""
    keys = [item.key for item in metrics] + [item.key for item in (*params, *tags)]
    return all(map(_ordinary, keys)) and RUN_NAME not in keys


def _ordinary(key: str) -> bool:
    return len(key) <= NAME_CHARACTERS and ORDINARY.fullmatch(key) is not None


def _point(metric: Measurement) -> tuple[str, float, int, int, bool]:
    """Key, value, time, step and whether the value is NaN, as MLflow stores them."""
    value = float(metric.value)
    if math.isnan(value):
        return metric.key, 0.0, metric.timestamp, metric.step, True
    limit = sys.float_info.max
    return metric.key, max(-limit, min(limit, value)), metric.timestamp, metric.step, False

"""Our own runs in an SQLite file, written by a few plain INSERTs.

MLflow's client makes an object for each of the 200 rows of a run and four transactions. Where a
trial takes minutes nobody sees it; of ten thousand short ones it was most of the time, and most of
that two processes waited for the file's lock. So on an SQLite file the three calls that every run
needs are made here, each as one transaction.

What is written is row by row what MLflow itself writes: a test compares whole databases. It is done
only for runs that this process has made, and only where the installed MLflow and the schema of the
database are those that were compared (`TESTED`). Everything else, and whatever is unusual in a
call, goes to MLflow's own client, which also says what is wrong with it.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from orchestrator.tracking.forwarding import Forwarding
from orchestrator.tracking.port import Client
from orchestrator.tracking.runs import Data, Info, Measurement, Pair, Run
from orchestrator.tracking.schema import TESTED, mlflow_version
from orchestrator.vocabulary import Tag

BUSY_S = 20.0
"""How long one waits for a lock; MLflow's own."""

ORDINARY = re.compile(r"\w[\w. :-]*(/\w[\w. :-]*)*")
"""Names that MLflow takes as they are: no path within them leads up or nowhere."""

NAME_CHARACTERS = 250

RUN_NAME = Tag.RUN_NAME

ELSEWHERE = ("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID")
"""Variables that make MLflow log metrics to a model as well."""

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
        self._own: set[str] = set()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

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
        self._own.add(run_id)
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
        points = [(run_id, *_point(one)) for one in metrics]

        def write(database: sqlite3.Connection) -> bool:
            if database.execute(IS_ACTIVE, (run_id,)).fetchone() is None:
                return False
            database.executemany(NEW_PARAM, [(run_id, one.key, one.value) for one in params])
            database.executemany(NEW_METRIC, points)
            database.executemany(NEW_LATEST, points)
            database.executemany(NEW_TAG, [(run_id, one.key, one.value) for one in tags])
            return True

        plain = run_id in self._own and _plain(metrics, params, tags)
        if not plain or not self._wrote(write):
            self._client.log_batch(run_id, metrics, params, tags)

    def set_terminated(
        self, run_id: str, status: str | None = None, end_time: int | None = None
    ) -> None:
        """The end of a run."""

        def write(database: sqlite3.Connection) -> bool:
            return database.execute(ENDED, (status, end_time, run_id)).rowcount == 1

        plain = run_id in self._own and status and end_time
        if not plain or not self._wrote(write):
            self._client.set_terminated(run_id, status, end_time)
        self._own.discard(run_id)

    def _wrote(self, write: Callable[[sqlite3.Connection], bool]) -> bool:
        """Make a transaction of what is written; nothing of it is, where that gives False.

        Raises:
            MlflowException: as of MLflow's own, where the file is locked or full.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

        with self._lock:
            try:
                database = self._opened()
                database.execute("begin immediate")
                if write(database):
                    database.commit()
                    return True
            except sqlite3.OperationalError as error:
                raise MlflowException(str(error), error_code=TEMPORARILY_UNAVAILABLE) from error
            except (sqlite3.Error, UnicodeError):  # as a param that has another value already
                return False
            finally:
                if self._database is not None and self._database.in_transaction:
                    self._database.rollback()
        return False

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            # Not made anew where somebody has taken it away.
            place = f"{self._path.absolute().as_uri()}?mode=rw"
            self._database = sqlite3.connect(
                place, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._database.execute("pragma foreign_keys = on")
        return self._database


def plainly(client: Client, path: Path) -> Client:
    """A client that writes plainly where that was compared; else the same client."""
    if any(os.environ.get(name) for name in ELSEWHERE):
        return client
    return PlainSql(client, path) if _found(path) in TESTED else client


def _found(path: Path) -> tuple[str, str]:
    """The installed MLflow and the revision of a database; "" = not known."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as database:
            rows = database.execute("select version_num from alembic_version").fetchall()
    except sqlite3.Error:  # MLflow says what is wrong with it
        rows = []
    return mlflow_version(), rows[0][0] if len(rows) == 1 else ""


def _plain(metrics: Sequence[Measurement], params: Sequence[Pair], tags: Sequence[Pair]) -> bool:
    """Whether a call holds nothing unusual."""
    names = [one.key for one in metrics] + [one.key for one in (*params, *tags)]
    return all(map(_ordinary, names)) and RUN_NAME not in names


def _ordinary(name: str) -> bool:
    return len(name) <= NAME_CHARACTERS and ORDINARY.fullmatch(name) is not None


def _point(metric: Measurement) -> tuple[str, float, int, int, bool]:
    """Key, value, time, step and whether it is no number, as MLflow keeps them."""
    value = float(metric.value)
    if math.isnan(value):
        return metric.key, 0.0, metric.timestamp, metric.step, True
    limit = sys.float_info.max
    return metric.key, max(-limit, min(limit, value)), metric.timestamp, metric.step, False

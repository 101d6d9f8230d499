"""Waiting for a tracking store, by the environment that MLflow reads."""

import gc
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.tracking.patience import TrackingAway, own_patience, patiently

NAMES = (
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE",
    "PGCONNECT_TIMEOUT",
)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_counts_as_unset_and_one_that_is_set_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    own_patience()
    usual = os.environ[name]
    assert usual
    monkeypatch.setenv(name, "")
    own_patience()
    assert os.environ[name] == usual
    monkeypatch.setenv(name, "7")
    own_patience()
    assert os.environ[name] == "7"


def test_mlflow_reads_its_settings_although_they_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    with pytest.raises(ValueError, match="int"):
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.get()
    own_patience()
    assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 0


@pytest.fixture
def no_collector() -> Iterator[None]:
    """As in a process that does little: nothing asks the garbage collector to run."""
    gc.disable()
    yield
    gc.enable()


def test_a_transaction_that_an_interrupt_left_open_is_ended(
    tmp_path: Path, no_collector: None
) -> None:
    """Of 600 interrupted calls of MLflow's client 3 left one, until the collector came by."""
    path = tmp_path / "mlflow.db"

    def interrupted() -> None:
        database = sqlite3.connect(path)
        database.execute("create table t (x)")
        database.execute("begin immediate")
        error = KeyboardInterrupt()
        kept = {"error": error, "database": database}
        error.__dict__["frame"] = kept  # a cycle, as a frame and its traceback are

    def write() -> None:
        try:
            with closing(sqlite3.connect(path, timeout=0)) as database:
                database.execute("insert into t values (1)")
        except sqlite3.OperationalError as error:
            raise TrackingAway(f"{error}") from error

    interrupted()
    with pytest.raises(TrackingAway, match="locked"):
        write()
    start = time.monotonic()
    patiently(write)
    assert time.monotonic() - start < 20, "not by waiting for its patience to end"

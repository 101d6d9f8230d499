"""A new SQLite database for MLflow is whole, or not there."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.tracking import database
from orchestrator.tracking.connection import connect
from orchestrator.tracking.database import prepare
from orchestrator.tracking.patience import TrackingError

PREPARE = (
    "import sys; from pathlib import Path; from orchestrator.tracking.database import prepare; "
)


def preparing(path: Path) -> "subprocess.Popen[bytes]":
    """Another process that makes the database."""
    return subprocess.Popen([sys.executable, "-c", PREPARE + f"prepare(Path({str(path)!r}))"])


def usable(path: Path) -> bool:
    """Whether MLflow takes it."""
    return connect(f"sqlite:///{path}").create_experiment("x") is not None


def half_made(path: Path, *statements: str) -> None:
    """What an interrupted migration leaves."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        for statement in ("create table _alembic_tmp_experiments (x int)", *statements):
            made.execute(statement)
        made.commit()
    os.utime(path, (time.time() + 86400,) * 2)  # written before the clock was set back


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database counts as abandoned after half a second without a write."""
    monkeypatch.setattr(database, "QUIET_S", 0.5)


def begun(folder: Path) -> bool:
    """Whether a database is being made there."""
    with contextlib.suppress(FileNotFoundError):  # it has just got its name
        return any(part.stat().st_size for part in folder.glob("*.part"))
    return False


def test_a_start_that_is_killed_while_it_makes_the_database_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mlflow.db"
    made = preparing(path)
    while not begun(path.parent):
        assert made.poll() is None
        time.sleep(0.01)
    made.send_signal(signal.SIGKILL)
    made.wait()
    assert not path.exists()
    prepare(path)
    assert usable(path)


def test_two_processes_that_make_it_at_once_both_end_well(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    both = [preparing(path), preparing(path)]
    assert [one.wait() for one in both] == [0, 0]
    assert [one.name for one in tmp_path.iterdir()] == ["mlflow.db"]
    assert usable(path)


def test_a_database_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("create table own (x int)")
        made.commit()
    before = path.read_bytes()
    prepare(path)
    assert path.read_bytes() == before


def test_a_half_made_one_without_runs_is_set_aside_and_made_again(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    half_made(path, "create table runs (x int)")
    with pytest.warns(UserWarning, match="half-made by an interrupted start and holds no runs"):
        prepare(path)
    assert usable(path)
    assert list(tmp_path.glob("mlflow.db.half-made-*"))


def test_a_half_migrated_one_with_runs_is_not_touched_and_said(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    half_made(path, "create table runs (x int)", "insert into runs values (1)")
    before = path.read_bytes()
    with pytest.raises(TrackingError, match=r"holds runs: put back its backup"):
        prepare(path)
    assert path.read_bytes() == before


def test_what_killed_starts_left_is_removed_after_a_while(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    old, new = tmp_path / "mlflow.db.a.part", tmp_path / "mlflow.db.b.part"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (0, 0))
    prepare(path)
    assert (old.exists(), new.exists()) == (False, True)

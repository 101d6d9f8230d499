"""A new SQLite database for MLflow is whole, or not there."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
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


@pytest.fixture
def nothing_kept(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine on which none was ever made: it takes its time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def begun(folder: Path) -> bool:
    """Whether a database is being made there."""
    with contextlib.suppress(FileNotFoundError):  # it has just got its name
        return any(part.stat().st_size for part in folder.glob("*.part"))
    return False


def test_a_start_that_is_killed_while_it_makes_the_database_leaves_none(
    tmp_path: Path, nothing_kept: None
) -> None:
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


def test_two_processes_that_make_it_at_once_both_end_well(
    tmp_path: Path, nothing_kept: None
) -> None:
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
    with pytest.raises(TrackingError, match=r"holds runs: restore its backup"):
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


def journal(path: Path) -> str:
    """How a database keeps what a transaction needs to be undone or done again."""
    with contextlib.closing(sqlite3.connect(path)) as opened:
        return str(opened.execute("pragma journal_mode").fetchone()[0])


def test_it_keeps_a_write_ahead_log_and_is_one_file_at_rest(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    prepare(path)
    assert journal(path) == "wal"
    assert [one.name for one in tmp_path.iterdir()] == ["mlflow.db"]


def test_none_is_kept_on_a_file_system_that_other_machines_may_share(
    mounted: Callable[..., Path],
) -> None:
    """Whatever is not known to be one machine's own, as this one."""
    place = mounted("size=64m", "ramfs")
    prepare(place / "mlflow.db")
    assert journal(place / "mlflow.db") == "delete"
    assert usable(place / "mlflow.db")


def test_a_database_of_before_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    prepare(path)
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("pragma journal_mode = delete")
    prepare(path)
    assert usable(path)
    assert journal(path) == "delete"


def test_who_reads_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert usable(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("begin exclusive")
        writer.execute("update experiments set name = 'y' where name = 'x'")
        start = time.monotonic()
        assert "x" in {one.name for one in connect(f"sqlite:///{path}").search_experiments()}
        assert time.monotonic() - start < 5.0  # as long as SQLite waits for a lock
        writer.execute("rollback")


def test_a_sweep_whose_processes_were_killed_is_read_from_its_log(tmp_path: Path) -> None:
    """Nobody was left to write the log back into the database."""
    path = tmp_path / "mlflow.db"
    prepare(path)
    write = (
        "import os, sqlite3; c = sqlite3.connect({!r}); "
        "c.execute(\"insert into experiments (name, lifecycle_stage) values ('x', 'active')\"); "
        "c.commit(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", write.format(str(path))], check=False)
    assert path.with_name("mlflow.db-wal").stat().st_size > 0
    assert connect(f"sqlite:///{path}").get_experiment_by_name("x") is not None

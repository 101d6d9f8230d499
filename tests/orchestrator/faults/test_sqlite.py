"""MLflow's SQLite file is locked by another program, or has no room, in the middle of a trial."""

import errno
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.tracking import database, patience, plain_sql
from orchestrator.tracking.connection import connect
from orchestrator.tracking.patience import TrackingAway
from orchestrator.tracking.pending import Note, Pending
from orchestrator.tracking.runs import Identity
from tests.orchestrator.faults.conftest import Bench, Content, content_of, made_bench

LOCK = """\
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
held.execute("begin exclusive")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""

LOCKED_S = 12.0
"""More than twice as long as SQLite itself waits."""


def notes(made: Bench) -> dict[str, Note]:
    """What is owed to MLflow."""
    return Pending(made.here.store, made.here.settings.address.parent).all()


@pytest.fixture
def bench(tmp_path: Path, tiny_text: str, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A sweep of one trial with a database file of its own."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.05, 0.1, 0.2))
    return made_bench(tmp_path, tiny_text, f"sqlite:///{tmp_path}/mlflow.db")


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Another process holds a database for itself alone, for that long at most."""
    command = [sys.executable, "-c", LOCK, str(path), str(seconds)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_database_that_is_locked_for_a_while_changes_nothing(
    bench: Bench, tmp_path: Path, undisturbed: Content
) -> None:
    client = bench.here.tracker.client
    real, holds = client.log_batch, []

    def locking(*args: object) -> None:
        if not holds:
            holds.append(locked(tmp_path / "mlflow.db", LOCKED_S))
            holds[0].__enter__()
        real(*args)

    client.log_batch = locking
    start = time.monotonic()
    try:
        bench.run()
    finally:
        holds[0].__exit__(None, None, None)
    assert time.monotonic() - start > LOCKED_S, "nobody could write for so long"
    assert notes(bench) == {}
    assert content_of(bench.tracker) == undisturbed


def test_a_database_locked_for_longer_is_given_up_and_delivered_to_later(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One item, because every single question waits for a while."""
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    monkeypatch.setattr(plain_sql, "BUSY_S", 5.0)
    with locked(tmp_path / "mlflow.db", 600):
        log = bench.here.start(Identity("k", "trial", "x"))
        log.metrics({"loss": 0.5}, 1)
        log.finish()
        (note,) = notes(bench).values()
        assert (note.key, note.status) == ("k", "FINISHED")
        assert "database is locked" in note.reason
        with pytest.raises(TrackingAway, match="Another program holds it: end that one"):
            bench.tracker.ask(lambda: bench.tracker.client.create_experiment("one more"))
        assert bench.tracker.parent().info.run_id  # who only reads does not wait
    again = bench.again().here.start(Identity("k", "trial", "x"))
    again.metrics({"loss": 0.5}, 1)
    again.finish()
    assert notes(bench) == {}
    (run,) = bench.tracker.runs()
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 0.5})
    assert run.data.tags["lotus.attempts"] == "2"


@pytest.mark.slow
def test_a_program_that_starts_while_a_database_is_locked_waits_for_it(tmp_path: Path) -> None:
    """MLflow's own start reads the database, and gives up after some seconds."""
    path = tmp_path / "mlflow.db"
    database.prepare(path)
    with locked(path, LOCKED_S):
        start = time.monotonic()
        client = connect(f"sqlite:///{path}")
        assert time.monotonic() - start > LOCKED_S / 2
    assert client.search_experiments()


def test_a_full_database_is_said_and_with_more_space_it_is_delivered_to(
    mounted: Callable[..., Path],
    tmp_path: Path,
    tiny_text: str,
    undisturbed: Content,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its file system holds nothing more; what was computed meanwhile arrives afterwards."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.05, 0.1, 0.2))
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    place = mounted("size=16m")
    bench = made_bench(tmp_path, tiny_text, f"sqlite:///{place}/mlflow.db")
    fill(place / "other")
    bench.run()
    owed = notes(bench)
    assert {note.status for note in owed.values()} == {"FINISHED"}
    assert len(owed) == 2
    assert all("disk is full" in note.reason for note in owed.values())
    with pytest.raises(TrackingAway, match="Its file system is full: free space there"):
        bench.tracker.ask(lambda: bench.tracker.client.create_experiment("one more"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    bench.again().run()
    assert notes(bench) == {}
    assert content_of(bench.tracker) == undisturbed


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it always comes

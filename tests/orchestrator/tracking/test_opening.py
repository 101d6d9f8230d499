"""A tracking database that can only be read: a copy on a read-only disk."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking import database, opening
from orchestrator.tracking.connection import connect
from orchestrator.tracking.database import prepare
from tests.orchestrator.tracking.conftest import Output

ReadOnly = Callable[[Path], Path]


def names(path: Path) -> set[str]:
    """The experiments that a reader sees."""
    return {one.name for one in connect(f"sqlite:///{path}").search_experiments()}


def made(path: Path, journal: str = "wal", used: bool = True) -> Path:
    """A database with an experiment `x`, and with MLflow's own first one where it was used."""
    prepare(path)
    if used:
        MlflowClient(f"sqlite:///{path}")._tracking_client.store._dispose_engine()
    with closing(sqlite3.connect(path)) as opened:
        opened.execute(f"pragma journal_mode = {journal}")
        opened.execute("insert into experiments (name, lifecycle_stage) values ('x', 'active')")
        opened.commit()
    return path


def killed_in(path: Path, statements: str) -> None:
    """A process that is killed before it closes the database."""
    begin = f"import os, sqlite3; c = sqlite3.connect({str(path)!r}); "
    program = f"{begin}{statements}; os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program], check=False)


NEW = "insert into experiments (name, lifecycle_stage) values ('late', 'active')"


@pytest.mark.slow
def test_a_read_only_copy_of_a_finished_sweep_is_read_by_every_command_that_reads(
    output: Output, read_only: ReadOnly, tmp_path: Path
) -> None:
    before = output.reported(tmp_path / "before")
    here = Output(read_only(output.folder), output.text)
    output.moved("its old place is gone too")
    file = str(here.file)
    assert here.reported(tmp_path / "report") == before
    for command in (["status", file], ["status", file, "--json"], ["select", file], ["plan", file],
                    ["export", file, "--output", str(tmp_path / "model")]):  # fmt: skip
        done = here.lotus(*command)
        assert done.returncode == 0, done.stderr
        assert "unable to open" not in done.stderr
    assert "4" in here.lotus("status", file).stdout
    assert not list((tmp_path).glob("file:*"))
    refused = here.lotus("report", file)
    assert refused.returncode == 1
    assert "name a folder with --output" in refused.stderr
    refused = here.lotus("run", file)
    assert refused.returncode == 1
    assert "mlflow.db cannot be written to: its file system is read-only" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("journal", "used"), [("wal", True), ("delete", True), ("wal", False)])
def test_one_at_rest_is_read_and_nothing_is_made_beside_it(
    journal: str, used: bool, tmp_path: Path, read_only: ReadOnly
) -> None:
    path = made(tmp_path / "a b#c" / "mlflow.db", journal, used)
    before = sorted(one.name for one in path.parent.iterdir())
    seen = read_only(path.parent) / path.name
    assert "x" in names(seen)
    assert sorted(one.name for one in path.parent.iterdir()) == before == ["mlflow.db"]


@pytest.mark.parametrize("shared", [True, False], ids=["whole folder", "copied without -shm"])
def test_what_only_the_log_has_is_read_too(
    shared: bool, tmp_path: Path, read_only: ReadOnly
) -> None:
    """Left by processes that were killed: without it the newest results would be missing."""
    path = made(tmp_path / "used" / "mlflow.db")
    killed_in(path, f"c.execute({NEW!r}); c.commit()")
    assert path.with_name("mlflow.db-wal").stat().st_size > 0
    if not shared:
        path.with_name("mlflow.db-shm").unlink()
    assert "late" in names(read_only(path.parent) / path.name)
    assert path.with_name("mlflow.db-wal").stat().st_size > 0


def test_what_was_not_committed_is_undone_before_it_is_read(
    tmp_path: Path, read_only: ReadOnly
) -> None:
    path = made(tmp_path / "used" / "mlflow.db", "delete")
    many = NEW.replace("'late'", "hex(randomblob(2000))")
    killed_in(
        path,
        "c.execute('pragma cache_size = 1'); c.execute('begin immediate'); "
        f"[c.execute({many!r}) for _ in range(500)]",
    )
    assert path.with_name("mlflow.db-journal").stat().st_size > 0
    assert len(names(read_only(path.parent) / path.name) - {"Default"}) == 1


def test_copies_are_gone_when_the_process_ends(tmp_path: Path, read_only: ReadOnly) -> None:
    path = made(tmp_path / "used" / "mlflow.db")
    killed_in(path, f"c.execute({NEW!r}); c.commit()")
    path.with_name("mlflow.db-shm").unlink()
    seen, folder = read_only(path.parent) / path.name, tmp_path / "temporary"
    folder.mkdir()
    code = (
        "from pathlib import Path; from orchestrator.tracking.opening import address; "
        f"print(address(Path({str(seen)!r})), address(Path({str(seen)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"TMPDIR": str(folder), "PATH": ""},
                          capture_output=True, text=True, check=True)  # fmt: skip
    first, second = done.stdout.split()
    assert first == second, "made once"
    assert str(folder) in first
    assert list(folder.iterdir()) == []


def test_without_space_for_a_copy_that_is_said(
    tmp_path: Path, read_only: ReadOnly, mounted: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = made(tmp_path / "used" / "mlflow.db")
    killed_in(path, f"c.execute({NEW!r}); c.commit()")
    path.with_name("mlflow.db-shm").unlink()
    place = mounted("size=64k")
    monkeypatch.setattr(opening.tempfile, "tempdir", str(place))
    with pytest.raises(opening.TrackingError, match="name another place with TMPDIR"):
        opening.address(read_only(path.parent) / path.name)
    assert list(place.iterdir()) == []


def test_a_database_that_can_be_written_to_is_opened_as_it_is(tmp_path: Path) -> None:
    path = made(tmp_path / "mlflow.db")
    assert opening.address(path) == f"sqlite:///{path}"


def test_at_rest_it_is_one_file_whoever_was_killed(tmp_path: Path) -> None:
    path = made(tmp_path / "mlflow.db")
    with database.at_rest(f"sqlite:///{path}"):
        killed_in(path, f"c.execute({NEW!r}); c.commit()")
        assert path.with_name("mlflow.db-wal").stat().st_size > 0
    copy = tmp_path / "copy.db"
    shutil.copyfile(path, copy)
    assert "late" in names(copy)
    with database.at_rest("http://127.0.0.1:9"):
        pass

"""A tracking database of another MLflow: read without a change, migrated by who writes to it."""

import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from orchestrator import notices
from orchestrator.tracking import schema
from orchestrator.tracking.connection import connect, make_ready
from orchestrator.tracking.patience import TrackingError
from tests.orchestrator.tracking.conftest import Output
from tests.warm.starting import python

OLD = "4465047574b1"
"""The schema of an MLflow 2 of early 2024, before it had traces, logged models and workspaces."""


def made_old(path: Path, revision: str = OLD) -> None:
    """An empty database as an older MLflow made it, by that one's own migrations."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    old(engine, revision)
    engine.dispose()


def old(engine: sqlalchemy.Engine, revision: str = OLD) -> None:
    from alembic import command
    from mlflow.store.db.utils import InitialBase, _get_alembic_config

    InitialBase.metadata.create_all(engine)
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def aged(output: Output) -> None:
    """The sweep as if an older MLflow had written it: whatever that one had a place for."""
    new = output.database.rename(output.folder / "new.db")
    made_old(output.database)
    with closing(sqlite3.connect(output.database, isolation_level=None)) as opened:
        opened.execute("attach ? as new", (str(new),))
        opened.execute("delete from experiments")
        for table in ("experiments", "runs", "params", "metrics", "latest_metrics", "tags"):
            here = [row[1] for row in opened.execute(f"pragma main.table_info({table})")]
            there = {row[1] for row in opened.execute(f"pragma new.table_info({table})")}
            columns = ", ".join(name for name in here if name in there)
            opened.execute(f"insert into {table} ({columns}) select {columns} from new.{table}")
    new.unlink()


def dump(path: Path) -> list[str]:
    """A database, line by line."""
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.iterdump())


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as opened:
        return str(opened.execute("select version_num from alembic_version").fetchone()[0])


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What somebody is told."""
    found: list[str] = []
    notices.tell(found.append)
    yield found
    notices.tell(None)


@pytest.mark.slow
def test_reading_commands_read_a_database_of_an_older_mlflow_and_leave_it_as_it_is(
    output: Output, tmp_path: Path
) -> None:
    before = output.reported(tmp_path / "before")
    aged(output)
    content = output.database.read_bytes()
    file = str(output.file)
    for command in (["status", file], ["select", file], ["plan", file],
                    ["report", file, "--output", str(tmp_path / "report")]):  # fmt: skip
        done = output.lotus(*command)
        assert done.returncode == 0, done.stderr
        assert "mlflow.db is of an older MLflow" in done.stderr
        assert "`lotus run` migrates it and keeps a copy" in done.stderr
    assert output.reported(tmp_path / "again") == before
    assert output.lotus("status", "--tracking-uri", f"sqlite:///{output.database}").returncode == 0
    assert output.database.read_bytes() == content
    assert sorted(one.name for one in output.folder.glob("mlflow.db*")) == ["mlflow.db"]


@pytest.mark.slow
def test_run_migrates_it_says_so_and_keeps_a_copy(output: Output, tmp_path: Path) -> None:
    before = output.reported(tmp_path / "before")
    aged(output)
    content = dump(output.database)
    done = output.lotus("run", str(output.file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"is of an older MLflow (schema {OLD}): it is migrated" in done.stderr
    (kept,) = output.folder.glob(f"mlflow.db.schema-{OLD}-*")
    assert kept.name in done.stderr
    assert dump(kept) == content
    assert revision(output.database) == schema.of_revision(OLD).wanted
    after = output.reported(tmp_path / "after")
    assert after["comparisons"] == before["comparisons"]
    assert output.lotus("run", str(output.file)).stderr == ""


def test_two_that_migrate_at_once_do_it_once(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "mlflow.db"
    made_old(path)
    program = (
        "from pathlib import Path; from orchestrator.tracking.schema import migrate; "
        f"migrate(Path({str(path)!r}))"
    )
    both = [subprocess.Popen([python(), "-c", program]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    assert len(list(tmp_path.glob("mlflow.db.schema-*"))) == 1
    assert not list(tmp_path.glob("*.part*"))
    assert not list(tmp_path.glob("*.migrating"))
    assert connect(f"sqlite:///{path}").create_experiment("x")
    assert said == []


def test_a_migration_that_fails_or_is_killed_leaves_it_as_it_was(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    made_old(path)
    content = path.read_bytes()
    program = (
        "import os; from pathlib import Path; from orchestrator.tracking import schema; "
        "real = schema.upgrade; "
        "schema.upgrade = lambda *paths: (real(*paths), os.kill(os.getpid(), 9)); "
        f"schema.migrate(Path({str(path)!r}))"
    )
    done = subprocess.run([python(), "-c", program], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == content

    def fails(*paths: Path) -> None:
        raise TrackingError("no")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "upgrade", fails)
        with pytest.raises(TrackingError):
            schema.migrate(path)
    assert path.read_bytes() == content
    schema.migrate(path)
    assert schema.of_revision(revision(path)).age == "current"
    assert said[-1].startswith(f"{path} is migrated. A backup is kept as mlflow.db.schema-")


@pytest.mark.slow
def test_one_that_is_written_to_meanwhile_is_not_migrated(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    made_old(path)
    real = schema.upgrade

    def upgrade(new: Path, shown: Path) -> None:
        real(new, shown)
        with closing(sqlite3.connect(path)) as opened:
            opened.execute("insert into experiments (name, lifecycle_stage) values ('n', 'active')")
            opened.commit()

    monkeypatch.setattr(schema, "upgrade", upgrade)
    with pytest.raises(TrackingError, match="was written to while it was migrated"):
        schema.migrate(path)
    assert revision(path) == OLD


def test_without_space_for_the_copy_nothing_is_changed(
    mounted: Callable[..., Path], said: list[str]
) -> None:
    path = mounted("size=1500k") / "mlflow.db"
    made_old(path)
    content = path.read_bytes()
    with path.with_name("rest").open("wb") as rest:
        rest.write(b"x" * (1000 * 1024 - path.stat().st_size))
    with pytest.raises(TrackingError, match=r"(full|cannot be copied).*Nothing is changed"):
        schema.migrate(path)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_one_of_a_newer_mlflow_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    connect(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("update alembic_version set version_num = 'of the future'")
        opened.commit()
    for act in (lambda: connect(f"sqlite:///{path}"), lambda: make_ready(path, "e")):
        with pytest.raises(TrackingError, match="is of a newer MLflow than the"):
            act()


def test_a_server_with_a_database_of_an_older_mlflow_is_not_migrated(tmp_path: Path) -> None:
    """By an engine of SQLAlchemy, as for every database on a server."""
    path = tmp_path / "mlflow.db"
    made_old(path)
    content = path.read_bytes()
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with pytest.raises(TrackingError, match=r"run `mlflow db upgrade URL` once"):
        schema.check_server(engine, "postgresql://host/x")
    engine.dispose()
    assert path.read_bytes() == content
    empty = sqlalchemy.create_engine("sqlite://")
    schema.check_server(empty, "postgresql://host/x")


@pytest.mark.slow
def test_threads_that_read_an_older_one_share_a_copy(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "mlflow.db"
    made_old(path)
    threads = [threading.Thread(target=lambda: connect(f"sqlite:///{path}")) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(said) == 1


def test_the_ui_does_not_migrate_it_either(
    tmp_path: Path, lotus: Callable[..., tuple[int, str, str]]
) -> None:
    path = tmp_path / "mlflow.db"
    made_old(path)
    content = path.read_bytes()
    code, _, error = lotus("ui", "--tracking-uri", f"sqlite:///{path}")
    assert code == 1
    assert "is of an older MLflow" in error
    assert "is left as it is" in error
    assert path.read_bytes() == content

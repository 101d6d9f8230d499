"""A new database is a copy of an empty one that was made before, or it is made."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.tracking import blank, database
from orchestrator.tracking.connection import connect


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the empty database is kept; nothing is there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lotus-sweep" / "mlflow"


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Databases that MLflow was asked to make."""
    made: list[Path] = []
    migrate = database._migrate

    def migrated(path: Path) -> None:
        made.append(path)
        migrate(path)

    monkeypatch.setattr(database, "_migrate", migrated)
    return made


@pytest.mark.slow
def test_the_second_folder_gets_a_copy_of_what_the_first_one_made(
    cache: Path, migrations: list[Path], tmp_path: Path
) -> None:
    for name in ("a.db", "b.db", "c.db"):
        database.prepare(tmp_path / name)
        assert connect(f"sqlite:///{tmp_path / name}").create_experiment("x") is not None
    assert len(migrations) == 1
    assert len(list(cache.iterdir())) == 1
    dumps = []
    for name in ("b.db", "c.db"):
        with closing(sqlite3.connect(tmp_path / name)) as opened:
            rows = opened.execute("select name, experiment_id from experiments").fetchall()
            dumps.append(sorted(rows))
    assert dumps[0] == dumps[1] == [("Default", 0), ("x", 1)]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"", b"something else"])
def test_a_copy_that_is_not_what_was_kept_is_removed_and_one_is_made(
    damage: bytes, cache: Path, migrations: list[Path], tmp_path: Path
) -> None:
    database.prepare(tmp_path / "a.db")
    (kept,) = cache.iterdir()
    kept.write_bytes(damage)
    database.prepare(tmp_path / "b.db")
    assert len(migrations) == 2
    assert connect(f"sqlite:///{tmp_path / 'b.db'}").create_experiment("x") is not None
    (again,) = cache.iterdir()
    assert again.stat().st_size > 100_000


@pytest.mark.slow
def test_another_mlflow_has_another_one(
    cache: Path, migrations: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.prepare(tmp_path / "a.db")
    monkeypatch.setattr(blank, "_installed", lambda: "0" * 16)
    database.prepare(tmp_path / "b.db")
    assert len(migrations) == len(list(cache.iterdir())) == 2


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_is_made_each_time(
    migrations: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    database.prepare(tmp_path / "a.db")
    monkeypatch.setattr(blank, "_installed", lambda: "")  # MLflow is installed for editing
    database.prepare(tmp_path / "b.db")
    assert len(migrations) == 2


@pytest.mark.slow
def test_a_place_without_room_is_left_as_it_was(cache: Path, tmp_path: Path) -> None:
    database.prepare(tmp_path / "a.db")
    assert not blank.copy_to(tmp_path / "absent" / "b.db")
    assert not (tmp_path / "absent").exists()

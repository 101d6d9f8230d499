"""Sweeps are found however many there are."""

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

from orchestrator.tracking.connection import connect
from orchestrator.tracking.sweeps import list_sweeps, parents

MANY = 1100
"""More than MLflow answers at once."""


def filled(path: Path, experiments: int, each: int) -> None:
    """A database with sweeps, written at once."""
    connect(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as opened:
        for number in range(1, experiments + 1):
            opened.execute(
                "insert into experiments (experiment_id, name, lifecycle_stage, creation_time,"
                " last_update_time) values (?, ?, 'active', ?, ?)",
                (number, f"e{number}", number, number),
            )
            for _ in range(each):
                run = uuid.uuid4().hex
                opened.execute(
                    "insert into runs (run_uuid, name, status, start_time, lifecycle_stage,"
                    " experiment_id, user_id) values (?, 's', 'FINISHED', 1, 'active', ?, 'u')",
                    (run, number),
                )
                marks = (("lotus.kind", "sweep"), ("lotus.name", "s"))
                opened.executemany(
                    "insert into tags (run_uuid, key, value) values (?, ?, ?)",
                    [(run, *mark) for mark in marks],
                )
        opened.commit()


def test_more_experiments_than_a_page_holds_are_all_seen(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    filled(path, MANY, 1)
    found = list_sweeps(f"sqlite:///{path}")
    assert len({run.info.experiment_id for run in found}) == len(found) == MANY


def test_more_sweeps_than_a_page_holds_are_all_seen(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    filled(path, 1, MANY)
    uri = f"sqlite:///{path}"
    assert len({run.info.run_id for run in list_sweeps(uri)}) == MANY
    assert len(parents(connect(uri), "1", "s")) == MANY

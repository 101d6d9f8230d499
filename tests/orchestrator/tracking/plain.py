"""MLflow's own client and ours, each with an SQLite file."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from orchestrator.tracking.adapter import Adapter
from orchestrator.tracking.plain_sql import plainly


def own(path: Path) -> Any:
    """MLflow's own client."""
    return MlflowClient(tracking_uri=f"sqlite:///{path}")


def both(path: Path) -> tuple[Any, Any]:
    """MLflow's own client, and ours."""
    return own(path), plainly(Adapter(own(path)), path)


def copied(database: Path, folder: Path) -> Path:
    """A copy in another folder."""
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(database)) as one, closing(sqlite3.connect(path)) as other:
        one.backup(other)
    return path

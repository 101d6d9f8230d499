"""Reading runs by their tags from an SQLite file with four plain SELECTs a page.

MLflow's client makes an object for each of about 250 params, metrics and tags of a run, which takes
2 ms a run: half a minute for the runs of ten thousand trials, at each end, restart and report. The
runs found here are those that it finds, in the same order, and so are the pages: a test compares
them. `plain_sql.py` says when they are read this way.
"""

import math
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from orchestrator.tracking.port import View
from orchestrator.tracking.runs import Data, Info, Interner, Run

_ONE = r"tags\.`([^`]+)` = '([^'\"\\]*)'"
QUERY = re.compile(rf"{_ONE}(?: and {_ONE})?")
"""What our own searches for runs look like."""

ORDER = ("attributes.start_time",)

STAGES: Mapping[View, tuple[str, ...]] = {
    "active": ("active",),
    "deleted": ("deleted",),
    "all": ("active", "deleted"),
}

COLUMNS = (
    "run_uuid, name, cast(experiment_id as text), status, start_time, end_time, lifecycle_stage,"
    " artifact_uri"
)


@dataclass(frozen=True, slots=True)
class Search:
    """Runs that have some tags, oldest first.

    Attributes:
        tags: names and values.
        offset: how many runs earlier pages had.
    """

    experiments: Sequence[int]
    tags: Sequence[tuple[str, str]]
    stages: Sequence[str]
    limit: int
    offset: int

    def page(self, database: sqlite3.Connection, interner: Interner) -> tuple[list[Run], bool]:
        """The runs of a page, and whether there are more."""
        found = self._found(database)
        names = [str(row[0]) for row in found[: self.limit]]
        params, tags = (_texts(database, table, names) for table in ("params", "tags"))
        metrics = _metrics(database, names)
        runs = []
        for row in found[: self.limit]:
            info, data = Info(*row), Data(params[row[0]], metrics[row[0]], tags[row[0]])
            if not info.run_name:
                raise sqlite3.DataError(f"the run {info.run_id} has no name")
            runs.append(interner.interned(Run(info, data)))
        return runs, len(found) > self.limit

    @property
    def next_token(self) -> str:
        """Asks for the page after this one, here or of MLflow's client."""
        from mlflow.utils.search_utils import SearchUtils

        return str(SearchUtils.create_page_token(self.offset + self.limit).decode())

    def _found(self, database: sqlite3.Connection) -> list[tuple[Any, ...]]:
        has = (
            " and exists (select 1 from tags"
            " where run_uuid = runs.run_uuid and key = ? and value = ?)"
        )
        query = (
            f"select {COLUMNS} from runs"
            f" where experiment_id in ({_marks(self.experiments)})"
            f" and lifecycle_stage in ({_marks(self.stages)}){has * len(self.tags)}"
            " order by start_time is null, start_time, run_uuid limit ? offset ?"
        )
        wanted = [text for tag in self.tags for text in tag]
        values = [*self.experiments, *self.stages, *wanted, self.limit + 1, self.offset]
        return _rows(database, query, values)


def search_of(
    experiment_ids: Sequence[str],
    query: str,
    view: View,
    limit: int,
    order_by: Sequence[str],
    page_token: str | None,
) -> Search | None:
    """A search of MLflow's client as one of ours; None if it is of another kind."""
    from mlflow.utils.search_utils import SearchUtils

    match = QUERY.fullmatch(query)
    if match is None or tuple(order_by) != ORDER or not experiment_ids:
        return None
    texts = [text for text in match.groups() if text is not None]
    tags = list(zip(texts[::2], texts[1::2], strict=True))
    offset = SearchUtils.parse_start_offset_from_page_token(page_token)
    return Search(list(map(int, experiment_ids)), tags, STAGES[view], limit, offset)


def _texts(
    database: sqlite3.Connection, table: str, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Run -> its params or tags."""
    found: dict[str, dict[str, str]] = {name: {} for name in names}
    query = f"select run_uuid, key, value from {table} where run_uuid in ({_marks(names)})"
    for name, key, value in _rows(database, query, names):
        found[name][key] = value
    return found


def _metrics(database: sqlite3.Connection, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Run -> the last values of its metrics."""
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    query = (
        "select run_uuid, key, value, is_nan from latest_metrics"
        f" where run_uuid in ({_marks(names)})"
    )
    for name, key, value, is_nan in _rows(database, query, names):
        found[name][key] = math.nan if is_nan else value
    return found


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _rows(
    database: sqlite3.Connection, query: str, values: Sequence[object]
) -> list[tuple[Any, ...]]:
    with closing(database.execute(query, values)) as cursor:
        return cursor.fetchall()

"""Runs that are found by plain SQL are those of MLflow's own client, in its order and its pages."""

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.tracking.adapter import Adapter
from orchestrator.tracking.patience import is_away
from orchestrator.tracking.plain_search import ORDER
from orchestrator.tracking.plain_sql import PlainSql
from orchestrator.tracking.port import Page, View
from orchestrator.tracking.runs import Run
from tests.orchestrator.tracking.plain import both, copied, own

MINE = "tags.`lotus.sweep` = 'mine'"
ONE_KEY = f"{MINE} and tags.`lotus.key` = 'k3'"


@pytest.fixture(scope="module")
def filled(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven runs of one sweep, two of them deleted, among runs of others."""
    path = copied(prepared, tmp_path_factory.mktemp("filled"))
    client = own(path)
    other = client.create_experiment("other")
    for number in range(11):
        tags = {"lotus.sweep": "mine", "lotus.key": f"k{number % 4}", "odd value": "ü\n'quoted'"}
        # Some begin at the same time: their ids decide.
        run = client.create_run("1", 1000 - number // 3, tags, f"run {number}").info.run_id
        values = [0.5, math.nan, math.inf, -math.inf]
        points = [Metric(f"m{n}", value, n, n) for n, value in enumerate(values)]
        points.append(Metric("m0", number, 9, 9))
        params = [Param("same", "text"), Param("own", f"{number}")][: number % 3]
        client.log_batch(run, points[: number % 6], params, [RunTag("empty", "")])
        if number % 2:
            client.set_terminated(run, "FINISHED", 2000)
        if number in (4, 9):
            client.delete_run(run)
    client.create_run("1", 5, {"lotus.sweep": "another's", "lotus.key": "k3"})
    client.create_run("1", 5, {"lotus.key": "k3"})
    client.create_run(other, 5, {"lotus.sweep": "mine"})
    return path


def pages(client: Any, query: str, view: View, size: int) -> list[Page[Run]]:
    """All pages of a search."""
    found = [client.search_runs(["1"], query, view, size, ORDER)]
    while found[-1].token:
        found.append(client.search_runs(["1"], query, view, size, ORDER, found[-1].token))
    return found


def alone(path: Path) -> PlainSql:
    """A client whose calls to MLflow's client fail."""
    return PlainSql(Mock(search_runs=Mock(side_effect=AssertionError("MLflow was asked"))), path)


@pytest.mark.parametrize("size", [1, 3, 9, 11, 250])
@pytest.mark.parametrize("view", ["active", "deleted", "all"])
@pytest.mark.parametrize("query", [MINE, ONE_KEY, "tags.`lotus.sweep` = 'nobody'"])
def test_both_find_the_same(filled: Path, query: str, view: View, size: int) -> None:
    expected = pages(Adapter(own(filled)), query, view, size)
    found = pages(alone(filled), query, view, size)
    assert repr(found) == repr(expected)  # NaN is not equal to itself
    assert list(map(len, found)) == list(map(len, expected))


def test_a_page_of_one_is_continued_by_the_other(filled: Path) -> None:
    plain, other = alone(filled), Adapter(own(filled))
    one = plain.search_runs(["1"], MINE, "all", 4, ORDER)
    two = other.search_runs(["1"], MINE, "all", 4, ORDER, one.token)
    three = plain.search_runs(["1"], MINE, "all", 4, ORDER, two.token)
    names = [run.info.run_name for page in (one, two, three) for run in page]
    assert sorted(names) == sorted(f"run {n}" for n in range(11))


@pytest.mark.parametrize(
    ("query", "order"),
    [
        (MINE, ()),
        ("", ORDER),
        ("tags.`lotus.sweep` != 'mine'", ORDER),
        ("metrics.m0 > 3", ORDER),
        (f"{MINE} and metrics.m0 > 3", ORDER),
        ("tags.`lotus.sweep` = 'another\\'s'", ORDER),
    ],
)
def test_other_questions_are_left_to_mlflow(
    filled: Path, query: str, order: tuple[str, ...]
) -> None:
    with pytest.raises(AssertionError, match="MLflow was asked"):
        alone(filled).search_runs(["1"], query, "all", 9, order)


def test_a_run_without_a_name_is_left_to_mlflow_too(filled: Path, tmp_path: Path) -> None:
    path = copied(filled, tmp_path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update runs set name = ''")
    _, plain = both(path)
    found = plain.search_runs(["1"], MINE, "all", 250, ORDER)
    assert {run.info.run_name for run in found} == {f"run {n}" for n in range(11)}


def test_a_database_that_is_locked_is_away(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.plain_sql.BUSY_S", 0.05)
    path = copied(filled, tmp_path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = delete")
    _, plain = both(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("begin exclusive")
        with pytest.raises(MlflowException) as error:
            plain.search_runs(["1"], MINE, "all", 250, ORDER)
        assert is_away(error.value)
    assert len(plain.search_runs(["1"], MINE, "all", 250, ORDER)) == 11

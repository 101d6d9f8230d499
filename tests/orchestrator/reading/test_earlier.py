"""An earlier state of a sweep, read from a report that was kept."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dashboards import ReportData
from dashboards.data import plain
from dashboards.files import trials_csv
from orchestrator.reading.earlier import is_earlier, read_earlier
from orchestrator.reading.tables import trials_table
from orchestrator.selection.settings import group_settings
from trials.errors import LotusError

ROWS = pd.DataFrame({
    "run_id": ["1", "0002"], "key": ["00a1", "7"], "name": ["=lotus-s0.30", "lotus-s0.50"],
    "arm": ["lotus", "lotus"], "status": ["FINISHED", "FINISHED"], "seed": [0.0, 0.0],
    "sparsity": [0.3, 0.5], "final/val_accuracy": [0.9, 0.8],
    "final/deployed_val_accuracy": [0.9, 0.8], "issp.merge": ["vote_topk", "union_kept"],
    "stage.finetune": ["a", None],
})  # fmt: skip


def keep(folder: Path, table: pd.DataFrame | None = ROWS) -> Path:
    summary = {
        "sweep": "mine",
        "trials": {"planned": 2},
        "tried": [{"arm": "lotus", "setting": {"sparsity": 0.3, "issp.merge": "vote_topk"}}],
    }
    (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    if table is not None:
        (folder / "trials.csv").write_bytes(trials_csv(table))
    return folder


@pytest.mark.parametrize("named", [".", "summary.json"])
def test_settings_are_those_of_the_trials_that_were_kept(named: str, tmp_path: Path) -> None:
    found = read_earlier(keep(tmp_path) / named)
    assert found.axes == ["issp.merge"]
    assert list(found.table["run_id"]) == ["1", "0002"], "text stays text"
    assert list(found.table["name"]) == ["=lotus-s0.30", "lotus-s0.50"]
    assert set(trials_table([]).columns) <= set(found.table.columns)
    now = group_settings(ROWS.assign(rung=None), ["issp.merge"])
    before = group_settings(found.table, found.axes)
    assert [s.place for s in before] == [s.place for s in now]
    assert [s.val_accuracy for s in before] == [0.9, 0.8]
    assert found.problems == ()


def test_the_table_of_a_real_report_is_read(tmp_path: Path, report: ReportData) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(plain(report.summary)), "utf-8")
    (tmp_path / "trials.csv").write_bytes(trials_csv(report.trials))
    found = read_earlier(tmp_path)
    before, now = (group_settings(table) for table in (found.table, report.trials))
    assert len(before) > 50
    assert [(s.place, s.mean) for s in before] == [(s.place, s.mean) for s in now]


@pytest.fixture
def report() -> ReportData:
    from tests.dashboards.conftest import make_summary, make_trials

    trials = make_trials()
    summary = make_summary(trials)
    return ReportData(summary=summary, trials=trials, pictures=(), sweep_yaml="", facts={})


def test_without_its_trials_a_summary_is_compared_alone(tmp_path: Path) -> None:
    found = read_earlier(keep(tmp_path, None))
    assert len(found.table) == 0
    assert "trials.csv is missing or damaged" in found.problems[0]
    (tmp_path / "trials.csv").write_text("a,b\n1\n2,3,4,5\n", "utf-8")
    assert read_earlier(tmp_path).problems == found.problems


def test_what_is_no_report_is_refused_in_a_line(tmp_path: Path) -> None:
    for content in ("[]", "{", "{}"):
        (tmp_path / "summary.json").write_text(content, "utf-8")
        with pytest.raises(LotusError, match="is not the summary of a report: name a folder"):
            read_earlier(tmp_path)
    with pytest.raises(LotusError, match="cannot be read: No such file"):
        read_earlier(tmp_path / "none.json")


def test_a_folder_with_a_summary_is_no_sweep(tmp_path: Path) -> None:
    assert not is_earlier(str(tmp_path))
    assert is_earlier(str(keep(tmp_path)))
    assert is_earlier("kept/summary.json")
    assert not is_earlier("digits")
    assert not is_earlier("my.yaml")

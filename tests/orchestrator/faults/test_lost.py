"""A server that answers, and whose artifacts are gone or do not answer."""

import shutil
import time
from pathlib import Path

import pytest

from orchestrator.reading.report import report
from orchestrator.tracking import artifacts
from tests.orchestrator.faults.conftest import Bench, Proxy, Server
from trials.errors import LotusError

pytestmark = pytest.mark.slow


def test_artifacts_that_a_server_has_lost_are_said_and_the_report_is_written_without_them(
    bench: Bench, server: Server, tmp_path: Path
) -> None:
    bench.run()
    page = report(bench.sweep, tmp_path / "whole")
    assert "are missing" not in page.read_text()
    (trial,) = [one for one in bench.tracker.runs() if one.data.tags["lotus.kind"] == "trial"]
    (place,) = Path(server.artifacts).rglob(trial.info.run_id)
    shutil.rmtree(place)
    with pytest.raises(LotusError, match="artifacts of 1 of 1 finished trials are missing") as lost:
        report(bench.sweep, tmp_path / "poorer")
    assert "Restore that place (a bucket, the folder of a server)" in str(lost.value)
    assert "are missing" in (tmp_path / "poorer/report.html").read_text()


def test_a_place_of_artifacts_that_does_not_answer_is_told_from_a_server_that_does_not(
    bench: Bench, proxy: Proxy, impatient: None
) -> None:
    """It is waited for once, not for every file."""
    bench.run()
    tracker = bench.tracker
    runs = [one for one in tracker.runs() if one.data.tags["lotus.kind"] == "trial"] * 5
    proxy.times(500, 10**6, "/mlflow-artifacts/")
    start = time.monotonic()
    said = artifacts.gone(tracker, runs)
    assert time.monotonic() - start < 15
    assert "MLflow answers, but that place does not" in said
    assert "artifacts of 5 of 5" in said
    proxy.close()
    with pytest.raises(artifacts.TrackingAway):
        artifacts.gone(tracker, runs)

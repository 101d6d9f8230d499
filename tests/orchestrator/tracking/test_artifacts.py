"""Artifacts read back from a real MLflow store."""

import contextlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.reading.tables import trials_table
from orchestrator.tracking import artifacts
from orchestrator.tracking.places import local
from orchestrator.tracking.tracker import Address, RunLog, Tracker
from orchestrator.vocabulary import Artifact
from tests.serving import HttpServer
from trials import formats
from trials.stages.evaluate import Final


@pytest.fixture
def trials(tracked_trial: Any) -> pd.DataFrame:
    return trials_table(tracked_trial.tracker.runs())


def test_outcomes_come_back_bit_for_bit(tracked_trial: Any, trials: pd.DataFrame) -> None:
    key = tracked_trial.trial.key
    found, damaged = artifacts.outcomes_of(tracked_trial.tracker, trials, [key, "unknown"])
    final: Final = tracked_trial.store.get(tracked_trial.trial.graph.final)[0]
    assert damaged == []
    assert list(found) == [key]
    np.testing.assert_array_equal(found[key]["final.test"], final.test.correct.numpy())
    assert {"dense.test", "issp.validation", "final.validation"} <= found[key].keys()


def test_a_trial_that_is_not_asked_for_is_not_read(tracked_trial: Any, trials: Any) -> None:
    assert artifacts.outcomes_of(tracked_trial.tracker, trials, []) == ({}, [])


def test_an_artifact_that_is_not_there_is_none(tracked_trial: Any, trials: pd.DataFrame) -> None:
    run = trials["run_id"].iloc[0]
    for path in ("masks/none.safetensors", "nowhere/at.all"):
        with artifacts.fetched(tracked_trial.tracker, run, path) as found:
            assert found is None


def test_on_this_machine_an_artifact_is_read_where_it_lies(
    tracked_trial: Any, trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracked_trial.tracker.client.get_run(trials["run_id"].iloc[0])
    path = local(run.info.artifact_uri)
    assert path is not None
    with artifacts.fetched(tracked_trial.tracker, run.info.run_id, Artifact.OUTCOMES) as found:
        assert found == path / Artifact.OUTCOMES
    assert found.stat().st_size > 10, "it stays"
    monkeypatch.setattr(artifacts, "LIMIT", 10)
    with (
        pytest.raises(artifacts.ArtifactTooLarge, match="limit of 10 bytes"),
        artifacts.fetched(tracked_trial.tracker, run.info.run_id, Artifact.OUTCOMES),
    ):
        pass


def test_a_damaged_artifact_is_said_and_costs_nothing_else(
    tracked_trial: Any, trials: pd.DataFrame, tmp_path: Path
) -> None:
    tracker = tracked_trial.tracker
    run = tracker.client.create_run(tracker.address.experiment_id)
    for path in (Artifact.OUTCOMES, Artifact.FINAL_MASK):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"no safetensors")
    RunLog(tracker.client, run.info.run_id).artifacts(tmp_path)
    more = pd.concat([trials, pd.DataFrame([{"run_id": run.info.run_id, "key": "bad"}])])
    found, damaged = artifacts.outcomes_of(tracker, more, [tracked_trial.trial.key, "bad"])
    assert list(found) == [tracked_trial.trial.key]
    assert len(damaged) == 1
    assert run.info.run_id in damaged[0]
    content = dict(
        artifacts.read_each(
            tracker, list(more["run_id"]), Artifact.FINAL_MASK, formats.load_packed_mask
        )
    )
    assert isinstance(content[run.info.run_id], formats.FormatError)
    assert isinstance(content[trials["run_id"].iloc[0]], dict)


class Liar(BaseHTTPRequestHandler):
    """An MLflow server with one finished trial, whose artifacts are other than it says."""

    said, sent, served = 10, 10, 0

    def do_GET(self) -> None:
        if "/runs/get" in self.path:
            place = {"artifact_uri": f"mlflow-artifacts:/1/{RUN}", "lifecycle_stage": "active"}
            info = {"run_id": RUN, "run_uuid": RUN, "experiment_id": "1", "status": "FINISHED"}
            info |= place
            self.answer(json.dumps({"run": {"info": info, "data": {}}}).encode())
        elif "/mlflow-artifacts/artifacts?" in self.path:
            files = [{"path": "correct.safetensors", "is_dir": False, "file_size": self.said}]
            self.answer(json.dumps({"files": files}).encode())
        elif "/mlflow-artifacts/artifacts/" in self.path:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(self.sent // 2**20):
                    self.wfile.write(bytes(2**20))
                    type(self).served += 2**20
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(b"{}")  # no logged models

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


RUN = "0" * 32


@pytest.mark.parametrize(
    ("said", "served"), [(2**40, 0), (10, 64 * 2**20)], ids=["says so", "says less"]
)
def test_of_a_foreign_server_no_more_is_read_than_the_limit(
    said: int, served: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "LIMIT", 8 * 2**20)
    handler = type("Handler", (Liar,), {"said": said, "sent": 2**30})
    server = HttpServer(handler)
    try:
        tracker = Tracker(Address(server.url, "1", "p"))
        with (
            pytest.raises(artifacts.ArtifactTooLarge) as refused,
            artifacts.fetched(tracker, RUN, Artifact.OUTCOMES),
        ):
            pass
        text = str(refused.value)
        assert text.startswith(f"{Artifact.OUTCOMES} of run {RUN} has ")
        assert "limit of 8,388,608 bytes" in text
        assert "\n" not in text
        assert handler.served <= served  # type: ignore[attr-defined]
        table = pd.DataFrame([{"run_id": RUN, "key": "k"}])
        found, damaged = artifacts.outcomes_of(tracker, table, ["k"])
        assert (found, len(damaged)) == ({}, 1)
        assert "limit of 8,388,608 bytes" in damaged[0]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (Artifact.OUTCOMES, None),
        (Artifact.FINAL_MASK, "masks/"),
        ("checkpoints/final.safetensors", "checkpoints/"),
    ],
)
def test_every_kind_of_file_has_its_limit(
    path: str,
    kind: str | None,
    tracked_trial: Any,
    trials: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if kind:
        monkeypatch.setitem(artifacts.LIMITS, kind, 100)
    else:
        monkeypatch.setattr(artifacts, "LIMIT", 100)
    run = trials["run_id"].iloc[0]
    with (
        pytest.raises(artifacts.ArtifactTooLarge, match="limit of 100 bytes"),
        artifacts.fetched(tracked_trial.tracker, run, path),
    ):
        pass

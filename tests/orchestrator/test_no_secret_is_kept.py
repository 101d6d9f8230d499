"""A trial tracked by a server whose address holds a password leaves no secret anywhere."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.driver.described import describe
from orchestrator.driver.state import State
from orchestrator.planning import pins
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_stage, run_trial
from tests.orchestrator.programs import mlflow_server

PASSWORD, TOKEN, KEY = "pw-Xy7Qm31k", "tok-Zt5Rn82c", "wJalrXUtnFEMIKEY"
SECRETS = (PASSWORD, TOKEN, KEY)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real MLflow server: its address and the folder of all that it keeps."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder) as url:
        yield url.removeprefix("http://"), folder


@pytest.mark.slow
def test_no_secret_reaches_tracking_artifacts_store_or_logs(
    tiny: Callable[..., SweepConfig],
    server: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One trial that ends well, one that fails with the secrets in its error."""
    torch.set_num_threads(1)
    caplog.set_level(logging.DEBUG)
    for name, value in (
        ("MLFLOW_TRACKING_TOKEN", TOKEN),
        ("AWS_SECRET_ACCESS_KEY", KEY),
    ):
        monkeypatch.setenv(name, value)
    address, kept = server
    sweep = tiny(f"tracking: {{uri: 'http://me:{PASSWORD}@{address}'}}\n")
    (tmp_path / "sweep.yaml").unlink()  # the user's own file holds it
    where = open_sweep(sweep)
    planned = plan(sweep)
    (trial,) = planned.trials
    tracker, store = Tracker(where), Store(sweep.storage.path)
    pins.pin(store, planned, where.parent)
    describe(State(planned, store, tracker, {}))
    settings = Settings(
        store=sweep.storage.path, address=where, cpus=1, gpu=False, checkpoints="all"
    )
    here, job = Worker(settings, store, tracker), job_of(trial)
    opened = planned.sources_of(trial.config)
    run_stage(here, job, key_of(trial.graph.dense), opened)
    run_trial(here, job, opened)

    def fails(*_: Any, **__: Any) -> None:
        raise ValueError(f"login {PASSWORD} at {sweep.tracking.uri} with {TOKEN} and {KEY}")

    monkeypatch.setattr(Worker, "cached", fails)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with pytest.raises(ValueError, match="login"):
        run_trial(here, job, opened)
    ended = {child.kind: child for child in tracker.children()}
    assert ended["trial"].status == "FAILED"
    assert "login *** at http://me:***@" in ended["trial"].tags["lotus.error"]
    shown = caplog.text + "".join(capfd.readouterr())
    assert not [secret for secret in SECRETS if secret in shown]
    files = [path for root in (tmp_path, kept) for path in root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"mlflow.db", "trial.yaml", f"{where.parent}.json"}
    for path in files:
        content = path.read_bytes()
        found = [secret for secret in SECRETS if secret.encode() in content]
        assert not found, f"{path} holds {found}"

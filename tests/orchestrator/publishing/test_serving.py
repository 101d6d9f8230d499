"""The published model, served by MLflow's own server: the labels are those of the exported one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from mlflow import MlflowClient

from orchestrator import load_sweep
from orchestrator.commands.export import export
from orchestrator.publishing.model import tracking_at
from orchestrator.tracking.tracker import open_sweep
from trials.data import datasets as data

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(finished_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve` of the best model of a finished sweep."""
    import mlflow

    where = open_sweep(load_sweep(finished_sweep))
    found = MlflowClient(where.uri).search_logged_models([where.experiment_id])
    (model,) = [one for one in found if one.source_run_id == where.parent]
    folder = tmp_path_factory.mktemp("served")
    with tracking_at(where.uri):
        mlflow.artifacts.download_artifacts(model.model_uri, dst_path=str(folder))
    (place,) = [path.parent for path in folder.rglob("MLmodel")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(place)]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "--workers", "1"]
    log = folder / "log"
    # It starts uvicorn by its name, and leaves it behind when it is ended alone.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            cwd=folder,  # it makes a database of its own there, as MLflow does wherever it starts
            stdout=out,
            stderr=out,
            env=os.environ | {"PATH": path},
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-2000:])


def asked(address: str, body: Any) -> Any:
    """The answer to `{"inputs": ...}`, or with parameters beside it."""
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["predictions"]


def test_it_answers_over_http_with_the_labels_of_the_exported_model(
    address: str, finished_sweep: Path, tmp_path: Path
) -> None:
    sweep = load_sweep(finished_sweep)
    images = data.load(sweep.data).test.images[:20]
    answer = np.array(asked(address, {"inputs": images.transpose(0, 2, 3, 1).tolist()}))
    folder = export(sweep, tmp_path / "model").folder
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    x = torch.from_numpy(images).float() / 255
    mean, std = (torch.tensor(config[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        logits = model((x - mean) / std)
    assert answer.argmax(1).tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(answer, logits.softmax(-1).numpy(), atol=1e-4)
    assert len(set(answer.argmax(1).tolist())) > 3
    body = {"inputs": images.transpose(0, 2, 3, 1).tolist(), "params": {"labels": True}}
    named = asked(address, body)
    assert [one["label"] for one in named] == [str(label) for label in answer.argmax(1)]
    assert json.loads((folder / "config.json").read_text())["label_names"] == list("0123456789")

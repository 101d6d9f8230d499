"""A real MLflow server, a proxy that treats its answers as networks do, and a sweep behind it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking import database, patience
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_stage, run_trial
from tests.orchestrator.programs import free_port
from tests.serving import HttpServer
from tests.warm.starting import python

TIMED = ("time/", "final/train_images_per_s", "profile/images_per_s", "cache/saved_s")
"""Metrics that two computations of one trial need not share."""

OWN_TAGS = ("lotus.sweep", "mlflow.parentRunId", "lotus.attempts")


@dataclass
class Server:
    """`mlflow server` as a process of its own, on one port through all its lives."""

    backend: str
    artifacts: Path | str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        """Start it; wait until it answers."""
        command = [python(), "-m", "mlflow", "server", "--workers", "1"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", self.backend]
        command += ["--artifacts-destination", str(self.artifacts)]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "GIT_PYTHON_REFRESH": "quiet"}
        self.process = subprocess.Popen(
            command,
            env=os.environ | quiet,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while wait:
            assert self.process.poll() is None
            try:
                requests.get(f"http://127.0.0.1:{self.port}/health", timeout=1)
                return
            except requests.RequestException:
                time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, to it and to its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            while listens(self.port):
                time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody does, on this machine."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


Fault = int | float | str
"""A status to answer; seconds to wait first; `lost`: do it and drop the connection; `refuse`."""


class Proxy:
    """Stands before the server and misbehaves as told.

    Attributes:
        fault: decides by method and path, None = behave.
        asked: every request that came.
        answered: those of them that are done with, whether or not somebody heard the answer.
    """

    def __init__(self, target: int) -> None:
        self.target, self.port = target, free_port()
        self.fault: Callable[[str, str], Fault | None] = lambda method, path: None
        self.asked: list[tuple[str, str]] = []
        self.answered: list[tuple[str, str]] = []
        self.server: HttpServer | None = None

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen."""
        handler = type("Bound", (_Handler,), {"proxy": self})
        self.server = HttpServer(handler, self.port)

    def close(self) -> None:
        """Refuse connections."""
        if self.server is not None:
            self.server.close()
            self.server = None

    def behave(self) -> None:
        """No faults, nothing counted."""
        self.fault = lambda method, path: None
        self.asked, self.answered = [], []
        if self.server is None:
            self.open()

    def times(self, fault: Fault, count: int, part: str = "") -> list[str]:
        """Misbehave for the next requests whose path holds a part; the list fills with them."""
        met: list[str] = []

        def decide(method: str, path: str) -> Fault | None:
            if part not in path or len(met) >= count:
                return None
            met.append(path)
            return fault

        self.fault = decide
        return met


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _serve(self) -> None:
        body = self._body()
        path = self.path.split("?")[0]
        fault = self.proxy.fault(self.command, path)
        self.proxy.asked.append((self.command, path))
        try:
            self._treat(body, fault)
        finally:
            self.proxy.answered.append((self.command, path))

    def _treat(self, body: bytes, fault: Fault | None) -> None:
        if self.proxy.server is None or fault == "refuse":
            self.close_connection = True
            return
        if isinstance(fault, float):
            time.sleep(fault)
        if type(fault) is int:
            self._answer(fault, {}, b"<html>not now</html>")
            return
        link = http.client.HTTPConnection("127.0.0.1", self.proxy.target, timeout=60)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        kept.pop("Transfer-Encoding", None)
        try:
            link.request(self.command, self.path, body, kept | {"Content-Length": str(len(body))})
            answer = link.getresponse()
            content = answer.read()
        except OSError:
            self.close_connection = True
            return
        if fault == "lost":
            self.close_connection = True
            return
        self._answer(answer.status, dict(answer.headers), content)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() in ("content-type", "content-disposition"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One MLflow server on SQLite for all tests."""
    folder = tmp_path_factory.mktemp("server")
    database.prepare(folder / "mlflow.db")
    found = Server(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    found.start()
    yield found
    found.kill()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy before it, well-behaved at first."""
    if server.process is None:
        server.start()
    found = Proxy(server.port)
    found.open()
    yield found
    found.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after a second instead of a minute."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.05, 0.1, 0.2))
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)
    monkeypatch.setattr(patience, "PROBE_S", 10.0)  # of a server that is busy, not away


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon, and be patient for long."""
    monkeypatch.setattr(patience, "PAUSES_S", (0.05, 0.1, 0.2))


@dataclass
class Bench:
    """A sweep of one trial behind the proxy, run by a worker in this process."""

    sweep: SweepConfig
    plan: Plan
    here: Worker

    def run(self) -> None:
        """Its dense stage and its trial."""
        (trial,) = self.plan.trials
        opened = self.plan.sources_of(trial.config)
        run_stage(self.here, job_of(trial), key_of(trial.graph.dense), opened)
        run_trial(self.here, job_of(trial), opened)

    def again(self) -> "Bench":
        """Another process: nothing in memory, the same store."""
        return Bench(self.sweep, self.plan, _worker(self.sweep))

    def late(self) -> "Bench":
        """Another process that has not asked its tracking store anything yet."""
        settings = self.here.settings
        tracker = Tracker(settings.address, late=True)
        return Bench(self.sweep, self.plan, Worker(settings, Store(settings.store), tracker))

    @property
    def tracker(self) -> Tracker:
        """A connection of its own."""
        return Tracker(self.here.settings.address)


def _worker(sweep: SweepConfig) -> Worker:
    address = open_sweep(sweep)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="all"
    )
    return Worker(settings, Store(sweep.storage.path), Tracker(address))


def made_bench(folder: Path, text: str, uri: str) -> Bench:
    """A sweep of its own, tracked at an address."""
    torch.set_num_threads(1)
    path = folder / "sweep.yaml"
    path.write_text(
        f"{text}experiment: e-{uuid.uuid4().hex}\nretention: {{checkpoints: all}}\n"
        f"tracking: {{uri: '{uri}'}}\nstorage: {{path: {folder}/store}}\n"
    )
    sweep = load_sweep(path)
    return Bench(sweep, plan(sweep), _worker(sweep))


@pytest.fixture
def bench(proxy: Proxy, tmp_path: Path, tiny_text: str) -> Bench:
    """A sweep of one trial behind the proxy."""
    return made_bench(tmp_path, tiny_text, proxy.url)


Content = dict[str, dict[str, Any]]


def content_of(tracker: Tracker) -> Content:
    """Everything that MLflow shows of a sweep, by key; fails when a run or point is there twice."""
    runs = tracker.runs()
    assert max(Counter(run.data.tags["lotus.key"] for run in runs).values(), default=1) == 1
    return {run.data.tags["lotus.key"]: _shown(tracker.client, run) for run in runs}


def _shown(client: Any, run: Any) -> dict[str, Any]:
    metrics: dict[tuple[str, int], float] = {}
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            assert (name, point.step) not in metrics
            timed = name.startswith(TIMED)
            metrics[name, point.step] = 0.0 if timed else point.value
    tags = {k: v for k, v in run.data.tags.items() if k not in OWN_TAGS}
    return {
        "status": run.info.status,
        "name": run.info.run_name,
        "metrics": metrics,
        "params": run.data.params,
        "tags": tags,
        "artifacts": _artifacts(client, run.info.run_id),
    }


def _artifacts(client: Any, run_id: str) -> dict[str, Any]:
    """Path -> bytes; of safetensors the parsed header and the bytes below it.

    safetensors writes its metadata in a random order, so equal files have unequal bytes.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        top = Path(client.download_artifacts(run_id, "", folder))
        for path in filter(Path.is_file, top.rglob("*")):
            content: Any = path.read_bytes()
            if path.suffix == ".safetensors":
                end = 8 + int.from_bytes(content[:8], "little")
                content = json.loads(content[8:end]), content[end:]
            found[str(path.relative_to(top))] = content
    return found


@pytest.fixture(scope="session")
def undisturbed(
    server: Server, tmp_path_factory: pytest.TempPathFactory, tiny_text: str
) -> Content:
    """What MLflow shows when nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = made_bench(folder, tiny_text, f"http://127.0.0.1:{server.port}")
    made.run()
    return content_of(made.tracker)

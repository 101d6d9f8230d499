"""What the tests of the sweep share: a tiny sweep, one finished trial, one MLflow database."""

import gc
import logging
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import metrics
from orchestrator.metrics import Metric
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan, PlannedTrial, plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.storage.store import Store
from trials.graph.execute import TrialResult, run_trial

TINY = """\
name: tiny
data: {name: digits, train_images: 64, validation: 40}
model:
  name: vit_tiny_patch16_224
  pretrained: false
  kwargs: {img_size: 8, patch_size: 2, in_chans: 1, embed_dim: 16, depth: 2, num_heads: 2}
  mean: [0.3]
  std: [0.38]
dense: {epochs: 1, lr: 1.0e-3, batch_size: 32}
tickets: {weights: adapted}
issp: {target_sparsity: 0.6, ingredients: 2, steps: 2, lr: 1.0e-3, batch_size: 16}
finetune: {weights: current, epochs: 2, lr: 1.0e-3, batch_size: 32}
"""


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """A valid sweep file: one `lotus` trial of a ViT that trains in a second."""
    return TINY


@pytest.fixture
def sweep_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep file; its store and its database lie below the test's own folder."""

    def write(extra: str = "", text: str = TINY, name: str = "sweep.yaml") -> Path:
        path = tmp_path / name
        places = f"storage: {{path: {tmp_path}/store}}\n"
        if "tracking:" not in extra:
            places += f"tracking: {{uri: 'sqlite:///{tmp_path}/mlflow.db'}}\n"
        path.write_text(text + extra + places, encoding="utf-8")
        return path

    return write


@pytest.fixture
def tiny(sweep_file: Callable[..., Path]) -> Callable[..., SweepConfig]:
    """Loads the tiny sweep with further lines and overrides."""

    def load(extra: str = "", *overrides: str) -> SweepConfig:
        return load_sweep(sweep_file(extra), overrides)

    return load


@pytest.fixture
def lotus(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """`lotus ...` in this process: exit code, stdout, stderr."""
    from orchestrator import cli

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), sys.argv

    def call(*args: str) -> tuple[int, str, str]:
        sys.argv = ["lotus", *args]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, shown.out, shown.err

    yield call
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])
    sys.argv = before[2]
    gc.unfreeze()  # see orchestrator.memory.keep: this process does not end


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One real SQLite MLflow store for all tests: making one takes seconds."""
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def tracked(tiny: Callable[..., SweepConfig], database: str) -> SweepConfig:
    """The tiny sweep in the shared database, in an experiment of its own."""
    return tiny(f"experiment: e-{uuid.uuid4().hex}\ntracking: {{uri: '{database}'}}\n")


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Plan, PlannedTrial, TrialResult]:
    """A planned `lotus` trial and what it computed, without store and tracking."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("sweep") / "sweep.yaml"
    path.write_text(TINY, encoding="utf-8")
    planned = plan(load_sweep(path))
    (trial,) = planned.trials
    return planned, trial, run_trial(trial.config)


@pytest.fixture
def results_of(finished: tuple[Plan, PlannedTrial, TrialResult]) -> dict[str, Any]:
    """The stage results of the finished trial by name."""
    return dict(finished[2].results)


@dataclass(frozen=True)
class TrackedTrial:
    """A sweep of which one trial and its dense stage are in MLflow, made without Ray."""

    sweep: SweepConfig
    path: Path
    plan: Plan
    trial: PlannedTrial
    tracker: Any
    store: Any


@pytest.fixture(scope="session")
def tracked_trial(tmp_path_factory: pytest.TempPathFactory, database: str) -> TrackedTrial:
    """Run by the worker, as a Ray process does it; tests must not change its runs."""
    from orchestrator.storage.keys import key_of
    from orchestrator.tracking.tracker import Tracker, open_sweep
    from orchestrator.worker.job import Settings, job_of
    from orchestrator.worker.worker import Worker, run_stage, run_trial

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tracked")
    path = folder / "sweep.yaml"
    path.write_text(
        TINY + f"storage: {{path: {folder}/store}}\ntracking: {{uri: '{database}'}}\n"
        "retention: {checkpoints: all}\nexperiment: tracked-trial\n",
        encoding="utf-8",
    )
    sweep = load_sweep(path)
    address = open_sweep(sweep)
    planned = plan(sweep)
    (trial,) = planned.trials
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="all"
    )
    here = Worker(settings, Store(sweep.storage.path), Tracker(address))
    opened = planned.sources_of(trial.config)
    job = job_of(trial)
    run_stage(here, job, key_of(trial.graph.dense), opened)
    run_trial(here, job, opened)
    return TrackedTrial(sweep, path, planned, trial, here.tracker, here.store)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a real S3 API on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place on it; the environment holds what reaches it."""
    import s3fs

    for name, value in (
        ("AWS_ENDPOINT_URL", s3_server),
        ("AWS_ACCESS_KEY_ID", "lotus-test-key"),
        ("AWS_SECRET_ACCESS_KEY", "lotus-test-secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"b{uuid.uuid4().hex}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(bucket)
    return f"s3://{bucket}/some/store"


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "s3":
        yield Store(request.getfixturevalue("s3"))
        return
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    made = Store(url)
    yield made
    if request.param == "memory" and made.fs.exists(made.root):
        made.fs.rm(made.root, recursive=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system of its own; skips where that is not allowed."""
    made: list[Path] = []

    def mount(options: str, kind: str = "tmpfs") -> Path:
        place = tmp_path / f"mount{len(made)}"
        place.mkdir()
        command = ["mount", "-t", kind, "-o", options, kind, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=False)


class Kept:
    """A sink that keeps what it is given, save by threads that an earlier test has left behind."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, float, dict[str, str]]] = []
        self.earlier = set(threading.enumerate()) - {threading.current_thread()}

    def take(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        if threading.current_thread() in self.earlier:
            return
        self.taken.append((metric.name, value, dict(labels)))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Everything that is measured in a test."""
    sink = Kept()
    metrics.send_to(sink)
    yield sink
    metrics.send_to(None)

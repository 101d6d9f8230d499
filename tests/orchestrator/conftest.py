"""What the tests of the sweep share: a tiny sweep, one finished trial, one MLflow database."""

import logging
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.config import SweepConfig
from orchestrator.planning import Plan, PlannedTrial, plan
from orchestrator.sweepfile import load_sweep
from trials.execute import TrialResult, run_trial

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
    from orchestrator.keys import key_of
    from orchestrator.store import Store
    from orchestrator.tracking import Tracker, open_sweep
    from orchestrator.worker import Settings, Worker, job_of, run_stage, run_trial

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
    assert address is not None
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

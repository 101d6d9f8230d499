"""A finished sweep in a folder of its own, which may be moved, copied, cut and mounted."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.planning.config import SweepConfig
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.tracking import database
from orchestrator.tracking.connection import connect
from tests.warm.starting import python

ROOT = Path(__file__).parents[3]

SEARCH = """\
experiment: lost
retention: {checkpoints: all}
search: {arm: [dense, lotus], sparsity: [0.3], patch_drop: [0.25], seed: [0, 1]}
resources: {max_concurrent_trials: 1}
"""


@dataclass(frozen=True)
class Output:
    """The output folder of a sweep: database, artifacts and store."""

    folder: Path
    text: str

    @property
    def database(self) -> Path:
        """Its tracking database."""
        return self.folder / "mlflow.db"

    @property
    def file(self) -> Path:
        """A sweep file that names this folder, outside of it."""
        path = self.folder.parent / f"{self.folder.name}.yaml"
        path.write_text(
            f"{self.text}tracking: {{uri: 'sqlite:///{self.database}'}}\n"
            f"storage: {{path: '{self.folder}/store'}}\n",
            encoding="utf-8",
        )
        return path

    @property
    def sweep(self) -> SweepConfig:
        """What the file says."""
        return load_sweep(self.file)

    def moved(self, name: str) -> "Output":
        """The same, after `mv`."""
        to = self.folder.parent / name
        to.parent.mkdir(parents=True, exist_ok=True)
        self.folder.rename(to)
        return Output(to, self.text)

    def lotus(self, *args: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """`lotus ...` in a process of its own."""
        return subprocess.run(
            [python(), "-m", "orchestrator.cli", *args],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def reported(self, to: Path) -> dict[str, Any]:
        """What a report in another folder says, without the digest that holds paths too."""
        done = self.lotus("report", str(self.file), "--output", str(to))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads((to / "summary.json").read_text())
        assert found.pop("made_from")
        return found

    def rows(self, query: str) -> list[Any]:
        """What the database answers."""
        with closing(sqlite3.connect(self.database)) as opened:
            return opened.execute(query).fetchall()

    def addresses(self) -> set[str]:
        """Everything in the database that is an address of artifacts."""
        return {
            value
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"))
            for (value,) in self.rows(f"select {column} from {table}")
            if value and "/artifacts" in value
        }


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Output:
    """Two arms on two seeds, run by the worker as a Ray process does it; not to be changed."""
    from orchestrator.planning.plan import plan
    from orchestrator.storage.keys import key_of
    from orchestrator.storage.store import Store
    from orchestrator.tracking.tracker import Tracker, open_sweep
    from orchestrator.worker.job import Settings, job_of
    from orchestrator.worker.worker import Worker, run_stage, run_trial

    torch.set_num_threads(1)
    made = Output(tmp_path_factory.mktemp("original") / "lotus", tiny_text + SEARCH)
    sweep = made.sweep
    address = open_sweep(sweep)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="all"
    )
    here = Worker(settings, Store(sweep.storage.path), Tracker(address))
    planned = plan(sweep)
    for trial in planned.trials:
        opened = planned.sources_of(trial.config)
        if (key := key_of(trial.graph.dense)) in planned.shared:
            run_stage(here, job_of(trial), key, opened)
        run_trial(here, job_of(trial), opened)
    return made


@pytest.fixture
def output(original: Output, tmp_path: Path) -> Output:
    """The same sweep as if it had been made in a folder of this test's own."""
    made = Output(tmp_path / "lotus", original.text)
    shutil.copytree(original.folder, made.folder)
    old, new = original.folder.as_uri(), made.folder.as_uri()
    with closing(sqlite3.connect(made.database)) as opened:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            opened.execute(f"update {table} set {column} = replace({column}, ?, ?)", (old, new))
        opened.commit()
    return made


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one experiment."""
    path = tmp_path_factory.mktemp("prepared") / "mlflow.db"
    database.prepare(path)
    connect(f"sqlite:///{path}").create_experiment("x", artifact_location="file:///somewhere/x")
    return path


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Shows a folder at another place, read-only; skips where that is not allowed."""
    made: list[Path] = []

    def mount(folder: Path) -> Path:
        place = tmp_path / f"read-only-{len(made)}"
        place.mkdir()
        for command in (
            ["mount", "--bind", str(folder), str(place)],
            ["mount", "-o", "remount,ro,bind", str(place)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"nothing can be mounted read-only here: {done.stderr.strip()}")
            if place not in made:
                made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["umount", "-l", str(place)], check=False)

"""Summary, report and the sweep's own run are of the sweep as it stands, whatever has changed."""

import html
import json
import math
import os
import re
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator import load_sweep, run
from orchestrator.commands.status import all_sweeps, of_sweep
from orchestrator.driver.driver import Finished
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.reading import standing
from orchestrator.reading.report import report
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Tracker, open_sweep
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.worker import Worker, run_stage, run_trial
from tests.warm.starting import programs_in

pytestmark = pytest.mark.slow

Made = Callable[..., Path]

ROOT = Path(__file__).parents[3]
SEARCH = "search: {arm: [dense, lotus], sparsity: [0.3], patch_drop: [0.25], seed: [0, 1]}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, database: str, tiny_text: str) -> Made:
    """Makes a sweep file, everything of it run by the worker as a Ray process does it."""
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store")

    def make(
        experiment: str | None = None, folder: Path | None = None, search: str = SEARCH,
        name: str = "sweep.yaml",
    ) -> Path:  # fmt: skip
        place = folder or tmp_path_factory.mktemp("sweep")
        (place / "store").symlink_to(store)
        path = place / name
        own = experiment or f"e-{uuid.uuid4().hex[:8]}"
        places = f"storage: {{path: {place}/store}}\ntracking: {{uri: '{database}'}}\n"
        path.write_text(f"{tiny_text}{search}{places}experiment: {own}\n", encoding="utf-8")
        everything(load_sweep(path))
        return path

    return make


def everything(sweep: SweepConfig) -> None:
    """Make what a sweep asks for, in this process."""
    address = open_sweep(sweep)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False,
        checkpoints=sweep.retention.checkpoints,
    )  # fmt: skip
    here, planned = Worker(settings, Store(sweep.storage.path), Tracker(address)), plan(sweep)
    for key in planned.shared:
        trial = planned.owner[key]
        run_stage(here, job_of(trial), key, planned.sources_of(trial.config))
    for trial in planned.trials:
        run_trial(here, job_of(trial), planned.sources_of(trial.config))


class Shown:
    """What people find of a sweep, wherever they look."""

    def __init__(self, finished: Finished, folder: Path) -> None:
        sweep = finished.plan.sweep
        self.returned = finished.summary
        self.folder = standing.report_folder(sweep)
        self.local = json.loads((self.folder / "summary.json").read_text())
        self.page = (self.folder / "report.html").read_text()
        self.tracker = Tracker(finished.address)
        client, parent = self.tracker.client, finished.address.parent
        got = client.download_artifacts(parent, "report/summary.json", str(folder))
        self.artifact = json.loads(Path(got).read_text())
        files = client.list_artifacts(parent, "report/figures")
        self.figures = {Path(file.path).name for file in files}
        self.parent = self.tracker.parent()

    def agrees(self) -> dict[str, Any]:
        """The summary, which is the same everywhere."""
        assert self.returned == self.local == self.artifact
        metrics = self.parent.data.metrics
        assert metrics["trials/finished"] == self.local["trials"]["finished"]
        essential = self.local["essential_sparsity"]
        if essential:
            assert metrics["essential_sparsity"] == essential["value"]
        return self.local


def shown(path: Path, folder: Path, *overrides: str) -> Shown:
    finished = run(load_sweep(path, overrides))
    assert finished.ran == 0
    assert finished.report
    return Shown(finished, folder)


def test_a_narrower_file_has_a_narrower_report_and_nothing_changed_costs_nothing(
    made: Made, tmp_path: Path
) -> None:
    path = made()
    wide = shown(path, tmp_path).agrees()
    assert wide["trials"] == {"planned": 4, "finished": 4, "failed": 0}
    narrow = shown(path, tmp_path, "search.seed=[0]")
    assert narrow.agrees()["trials"] == {"planned": 2, "finished": 2, "failed": 0}
    assert "seed1" not in (narrow.folder / "trials.csv").read_text()
    page = narrow.folder / "report.html"
    before = page.stat().st_mtime_ns
    points = narrow.tracker.client.get_metric_history(
        narrow.tracker.address.parent, "trials/finished"
    )
    again = shown(path, tmp_path, "search.seed=[0]")
    assert again.agrees() == narrow.local
    assert page.stat().st_mtime_ns == before, "it is only read"
    assert len(points) == len(
        narrow.tracker.client.get_metric_history(narrow.tracker.address.parent, "trials/finished")
    )
    assert shown(path, tmp_path).agrees()["trials"]["finished"] == 4, "and wide again"


@pytest.mark.parametrize(
    "change", ["essential.tolerance=0.07", "essential.detector=knee"], ids=["tolerance", "detector"]
)
def test_another_way_to_read_the_curve_is_in_the_report(
    made: Made, tmp_path: Path, change: str
) -> None:
    path = made()
    name, value = change.removeprefix("essential.").split("=")
    before = shown(path, tmp_path).agrees()["essential_sparsity"]
    after = shown(path, tmp_path, change)
    assert str(before[name]) != value == str(after.agrees()["essential_sparsity"][name])
    assert value in after.page


def test_a_summary_that_was_damaged_or_is_another_machines_is_made_again(
    made: Made, tmp_path: Path
) -> None:
    path = made()
    first = shown(path, tmp_path)
    for content in ("{", "[]", json.dumps({**first.local, "trials": "none"} | {"made_from": "x"})):
        (first.folder / "summary.json").write_text(content)
        assert shown(path, tmp_path).agrees()["trials"] == first.local["trials"]
    # a report made elsewhere since, of another file: the run has another one than this folder
    report(load_sweep(path, ["essential.tolerance=0.07"]))
    other = Shown(run(load_sweep(path)), tmp_path)
    assert other.agrees()["essential_sparsity"]["tolerance"] == 0.01


def test_what_is_not_measured_any_more_is_no_number_on_the_sweeps_run(
    made: Made, tmp_path: Path
) -> None:
    path = made()
    before = shown(path, tmp_path)
    assert before.agrees()["recommended"]
    assert before.parent.data.metrics["best/val_accuracy"] > 0
    assert "lotus.best" in before.parent.data.tags
    assert "essential_sparsity.png" in before.figures
    after = shown(path, tmp_path, "search.arm=[dense]")
    assert after.agrees()["recommended"] is None
    assert math.isnan(after.parent.data.metrics["best/val_accuracy"])
    assert math.isnan(after.parent.data.metrics["essential_sparsity"])
    assert "lotus.best" not in after.parent.data.tags
    assert "recommended" not in after.parent.data.tags["mlflow.note.content"]
    assert "essential_sparsity.png" not in after.figures, "nor an artifact of it"
    assert after.figures == {path.name for path in (after.folder / "figures").iterdir()}


def test_an_axis_that_the_file_has_no_more_is_none_of_the_sweeps(
    made: Made, tmp_path: Path
) -> None:
    path = made()
    with_axis = shown(path, tmp_path, "search.issp.merge=[vote_topk]")
    assert "lotus.axis.issp.merge" in with_axis.parent.data.tags
    without = shown(path, tmp_path)
    assert "lotus.axis.issp.merge" not in without.parent.data.tags
    assert "lotus.axis.seed" in without.parent.data.tags


def test_sweeps_of_one_name_in_two_experiments_have_reports_of_their_own(
    made: Made, tmp_path: Path
) -> None:
    (tmp_path / "got").mkdir()
    first = made("one-place", tmp_path)
    other = tmp_path / "other.yaml"
    text = first.read_text().replace("one-place", "another-place")
    other.write_text(text.replace("seed: [0, 1]", "seed: [0]"))
    everything(load_sweep(other))
    a, b = (shown(path, tmp_path / "got") for path in (first, other))
    assert (a.folder, b.folder) == (
        tmp_path / "reports/tiny@one-place", tmp_path / "reports/tiny@another-place",
    )  # fmt: skip
    assert (a.agrees()["trials"]["planned"], b.agrees()["trials"]["planned"]) == (4, 2)
    assert (a.local["experiment"], b.local["experiment"]) == ("one-place", "another-place")
    sweep = load_sweep(first)
    rows = {row["experiment"]: row for row in all_sweeps(sweep.tracking.uri)}
    assert rows["one-place"]["finished"] == 4
    assert rows["another-place"]["finished"] == 2
    assert of_sweep(sweep)["experiment"] == "one-place"


def test_where_the_experiment_has_the_sweeps_name_the_folder_has_it_too(made: Made) -> None:
    sweep = load_sweep(made("tiny"))
    assert standing.report_folder(sweep).name == "tiny"


def test_the_report_of_an_earlier_version_is_found_by_whose_trials_it_lists(
    made: Made, tmp_path: Path
) -> None:
    path = made()
    now = shown(path, tmp_path).folder
    earlier = now.with_name("tiny")
    (now / "notes.txt").write_text("mine")
    now.rename(earlier)
    stranger = made(folder=tmp_path)
    (tmp_path / "reports").symlink_to(earlier.parent)
    assert not (shown(stranger, tmp_path / "store").folder / "notes.txt").exists()
    assert (earlier / "notes.txt").exists(), "another sweep's is left alone"
    assert (shown(path, tmp_path).folder / "notes.txt").read_text() == "mine"
    assert not earlier.exists()


def command_on(page: Path) -> str:
    """What a report says to type."""
    found = re.search(r'<pre id="again">(.*?)</pre>', page.read_text(), re.DOTALL)
    assert found
    return html.unescape(found[1])


def typed(command: str, folder: Path) -> None:
    """Run it in a shell, in a folder."""
    environment = os.environ | {
        "PATH": f"{programs_in(folder / 'bin', 'lotus', 'mlflow')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_command_on_the_page_makes_the_report_again(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(folder=tmp_path, name="it's a sweep, née #1.yaml")
    monkeypatch.chdir(tmp_path)
    finished = run(load_sweep(path.name, ["search.seed=[0]", "essential.tolerance=0.07"]))
    page = Path(str(finished.report))
    command = command_on(page)
    assert command.startswith("lotus report --set ")
    page.unlink()
    typed(command, tmp_path)
    assert command_on(page) == command
    made_again = json.loads((page.parent / "summary.json").read_text())
    assert made_again["essential_sparsity"]["tolerance"] == 0.07
    assert made_again["trials"]["planned"] == 2


def test_a_sweep_of_no_file_is_read_from_its_own_run(made: Made, tmp_path: Path) -> None:
    loaded = load_sweep(made())
    finished = run(SweepConfig.model_validate(loaded.model_dump()))
    page = Path(str(finished.report))
    command = command_on(page)
    assert str(finished.address.parent) in command
    page.unlink()
    typed(command, tmp_path)
    assert page.exists()


def test_a_tracking_store_of_the_environment_is_named(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made()
    lines = path.read_text().splitlines()
    uri = load_sweep(path).tracking.uri
    path.write_text("\n".join(line for line in lines if not line.startswith("tracking")) + "\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    page = report(load_sweep(path))
    assert f"--tracking-uri {uri}" in command_on(page)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    page.unlink()
    typed(command_on(report(load_sweep(path, [f"tracking.uri={uri}"]))), tmp_path)
    assert page.exists()

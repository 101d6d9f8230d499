"""What a worker leaves of a curve that `sparsity: auto` measures for itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from orchestrator import selection
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import Plan, plan
from orchestrator.reading.tables import curve, curve_table, results, trials_table
from orchestrator.storage.keys import key_of
from orchestrator.storage.store import Store
from orchestrator.tracking.tracker import Address, Tracker, open_sweep
from orchestrator.versions import versions
from orchestrator.worker.attempt_log import recording
from orchestrator.worker.failures import NodeError
from orchestrator.worker.job import Settings, job_of
from orchestrator.worker.labels import curve_level
from orchestrator.worker.worker import Worker, run_stage, run_trial, worker
from trials.stages.essential import Probe

# Nothing is learned in one epoch: with this tolerance the bracket is open or anywhere.
AUTO = """\
essential: {levels: [0.2, 0.6, 0.9], refine: 0.1, tolerance: 0.02}
search: {sparsity: [auto], arm: [essential]}
"""


def make(sweep: SweepConfig) -> tuple[Plan, Tracker]:
    """Run a sweep in this process, without Ray."""
    address = open_sweep(sweep)
    planned = plan(sweep)
    common = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="none"
    )
    here = Worker(common, Store(sweep.storage.path), Tracker(address))
    for key in planned.shared:
        owner = planned.owner[key]
        run_stage(here, job_of(owner), key, planned.sources_of(owner.config))
    for trial in planned.trials:
        run_trial(here, job_of(trial), planned.sources_of(trial.config))
    return planned, here.tracker


@pytest.mark.parametrize(
    ("built", "why"),
    [
        (None, "built for CPUs only: install one that is built for the GPU"),
        ("13.0", "built for 13.0; its driver, or the devices that this process may see, are"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_an_error_and_not_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: str | None, why: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    address = Address("sqlite://", "1", "2")
    settings = Settings(store=str(tmp_path), address=address, cpus=1, gpu=True, checkpoints="none")
    blind = Worker(settings, Store(str(tmp_path)), Tracker(address, late=True))
    with pytest.raises(NodeError) as found:
        blind.context(lambda step: None)
    said = str(found.value)
    assert said.startswith("resources.gpu is set, but torch ")
    assert why in said
    assert said.endswith("or write `resources.gpu: 0`")
    assert "\n" not in said


@pytest.fixture(scope="module")
def refined(
    tmp_path_factory: pytest.TempPathFactory, database: str, tiny_text: str
) -> tuple[SweepConfig, Plan, Tracker]:
    """A small sweep with an automatic, refined level."""
    from orchestrator.planning.sweepfile import load_sweep

    folder = tmp_path_factory.mktemp("refined")
    path = folder / "sweep.yaml"
    places = f"storage: {{path: {folder}/store}}\ntracking: {{uri: '{database}'}}\n"
    path.write_text(tiny_text + AUTO + places + "experiment: refined\n", encoding="utf-8")
    sweep = load_sweep(path)
    return sweep, *make(sweep)


def test_every_level_that_auto_evaluated_stands_once_on_the_curve(
    refined: tuple[SweepConfig, Plan, Tracker],
) -> None:
    sweep, planned, tracker = refined
    store = Store(sweep.storage.path)
    (trial,) = planned.trials
    kept = [store.get(node) for node in trial.graph.curve]
    found = [one[0] for one in kept if one is not None]
    assert len(found) == 3 + 2
    probed = [p.sparsity for p in found[3:] if p.sparsity is not None]
    points = selection.one_shot_curve(curve_table(tracker.runs()))
    assert points["sparsity"].tolist() == sorted([0.0, 0.2, 0.6, 0.9, *probed])
    assert (points["n"] == 1).all()
    assert points["drop"].notna().all()


def test_selection_from_tracking_finds_the_level_that_the_sweep_picked(
    refined: tuple[SweepConfig, Plan, Tracker],
) -> None:
    sweep, _, _ = refined
    trials = results(sweep)
    chosen = selection.select(trials, 0.02, curve=curve(sweep)).essential
    assert chosen is not None
    assert chosen.value == trials["sparsity"].iloc[0]
    assert len(trials) == 1, "the levels are no trials"


def test_a_level_run_names_its_dense_model_and_what_it_measured(
    refined: tuple[SweepConfig, Plan, Tracker],
) -> None:
    _, planned, tracker = refined
    (trial,) = planned.trials
    runs = {run.data.tags["lotus.key"]: run for run in tracker.runs()}
    for node, level in zip(trial.graph.curve[:3], (0.2, 0.6, 0.9), strict=True):
        run = runs[key_of(node)]
        assert run.data.tags["lotus.kind"] == "stage"
        assert run.data.tags["lotus.stage.dense"] == key_of(trial.graph.dense)
        assert run.data.tags["lotus.stage.essential"] == key_of(node)
        assert float(run.data.params["sparsity"]) == level
        assert run.data.metrics.keys() >= {
            "essential/val_accuracy", "essential/sparsity", "essential/val_lost",
            "essential/val_gained", "dense/val_accuracy", "dense/val_n",
        }  # fmt: skip


def test_a_superseded_level_is_not_on_the_curve(
    refined: tuple[SweepConfig, Plan, Tracker],
) -> None:
    _, _, tracker = refined
    runs = tracker.runs()
    assert len(curve_table(runs)) > len(trials_table(runs))
    for run in runs:
        if run.data.tags["lotus.kind"] == "stage":
            run.data.tags["lotus.superseded"] = "true"
    pd.testing.assert_frame_equal(curve_table(runs), trials_table(runs))


def test_a_probe_is_the_same_measurement_as_a_trial_that_names_its_level(
    refined: tuple[SweepConfig, Plan, Tracker],
) -> None:
    _, planned, _ = refined
    (trial,) = planned.trials
    coarse, probe = trial.graph.curve[1], trial.graph.curve[-1]
    assert curve_level(probe, Probe(0.6, None), trial.graph) == (0.6, key_of(coarse))
    assert curve_level(probe, Probe(None, None), trial.graph) is None
    assert curve_level(trial.graph.dense, None, trial.graph) is None


def test_levels_that_a_sweep_names_beside_auto_count_once(
    tracked: SweepConfig, tiny: Callable[..., Any]
) -> None:
    extra = (
        "essential: {levels: [0.4], refine: 0.2, tolerance: 0.0}\n"
        "search: {sparsity: [auto, 0.2, 0.4], arm: [essential]}\n"
        f"experiment: {tracked.experiment_name}-both\ntracking: {{uri: '{tracked.tracking.uri}'}}\n"
    )
    sweep = tiny(extra)
    _, tracker = make(sweep)
    points = selection.one_shot_curve(curve_table(tracker.runs()))
    assert points["sparsity"].tolist() == [0.0, 0.2, 0.4]
    assert (points["n"] == 1).all()
    said = selection.summarise(
        results(sweep), sweep="s", planned=3, device="cpu", device_hours=0, device_hours_saved=0,
        wall_s=None, curve=curve(sweep),
    )  # fmt: skip
    assert not any("averages over it" in w for w in said["warnings"])


def test_a_trial_that_fails_keeps_its_traceback_and_its_last_lines(
    tracked: SweepConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.worker import cached

    def broken(node: Any, *_: Any) -> Any:
        print(f"{node.stage.name} begins")
        raise ZeroDivisionError("at s3://me:geheim123@host")

    monkeypatch.setattr(cached, "call", broken)
    address = open_sweep(tracked)
    planned = plan(tracked)
    (trial,) = planned.trials
    common = Settings(
        store=tracked.storage.path, address=address, cpus=1, gpu=False, checkpoints="none"
    )
    here = Worker(common, Store(tracked.storage.path), Tracker(address))
    with recording(), pytest.raises(ZeroDivisionError):
        run_trial(here, job_of(trial), planned.sources_of(trial.config))
    (run,) = here.tracker.runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["lotus.error"] == "ZeroDivisionError: at s3://me:***@host"
    client = here.tracker.client
    kept = {Path(f.path).name for f in client.list_artifacts(run.info.run_id, "failure")}
    assert kept == {"traceback.txt", "log.txt"}
    folder = Path(client.download_artifacts(run.info.run_id, "failure"))
    assert "in broken" in (folder / "traceback.txt").read_text()
    assert "geheim123" not in (folder / "traceback.txt").read_text()
    assert (folder / "log.txt").read_text() == "pretrained begins\n"


def test_a_worker_with_other_versions_refuses_and_names_both(tracked: SweepConfig) -> None:
    address = open_sweep(tracked)
    own = versions()
    for found, refused in ((own | {"torch": "1.0"}, True), (own, False)):
        settings = Settings(
            store=tracked.storage.path, address=address, cpus=1, gpu=False, checkpoints="none",
            versions=tuple(sorted(found.items())),
        )  # fmt: skip
        if refused:
            with pytest.raises(NodeError, match=rf"torch {own['torch']} \(driver: 1\.0\)"):
                worker(settings)
        else:
            assert worker(settings).settings == settings

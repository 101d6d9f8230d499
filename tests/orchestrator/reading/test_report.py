"""The report of a sweep that was really trained: what is compared stands in it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from orchestrator.planning.plan import plan
from orchestrator.planning.sweepfile import load_sweep
from orchestrator.reading import report
from orchestrator.reading.content import Read, summarise
from orchestrator.reading.tables import trials_table
from orchestrator.tracking import artifacts
from orchestrator.tracking.tracker import Tracker
from trials.formats import load_mask
from trials.sparsity.masks import jaccard

SEARCH = """\
search: {arm: [dense, lotus, magnitude], sparsity: [0.3], patch_drop: [0.25], seed: [0, 1]}
experiment: compared
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, database: str, tiny_text: str) -> Any:
    """Three arms, two seeds, run by the worker as a Ray process does it: sweep, tracker."""
    from orchestrator.storage.store import Store
    from orchestrator.tracking.tracker import Tracker, open_sweep
    from orchestrator.worker.job import Settings, job_of
    from orchestrator.worker.worker import Worker, run_trial

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("compared")
    path = folder / "sweep.yaml"
    places = f"storage: {{path: {folder}/store}}\ntracking: {{uri: '{database}'}}\n"
    path.write_text(tiny_text + SEARCH + places, encoding="utf-8")
    sweep = load_sweep(path)
    address = open_sweep(sweep)
    settings = Settings(
        store=sweep.storage.path, address=address, cpus=1, gpu=False, checkpoints="none"
    )
    here = Worker(settings, Store(sweep.storage.path), Tracker(address))
    planned = plan(sweep)
    for trial in planned.trials:
        run_trial(here, job_of(trial), planned.sources_of(trial.config))
    return sweep, here.tracker


@pytest.fixture(scope="module")
def written(compared: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = report.report(compared[0], tmp_path_factory.mktemp("report"))
    return page.parent


def artifact(compared: Any, run_id: str, path: str, folder: Path) -> Any:
    return load_mask(Path(compared[1].client.download_artifacts(run_id, path, str(folder))))


@pytest.mark.slow
def test_comparisons_of_a_real_sweep_are_counted_from_its_images(
    compared: Any, written: Path, tmp_path: Path
) -> None:
    found = json.loads((written / "summary.json").read_text())["comparisons"]
    assert [(c["family"], c["a"], c["b"], c["n"]) for c in found] == [
        ("against_dense", "lotus", "dense", 2),
        ("against_dense", "magnitude", "dense", 2),
        ("against_controls", "lotus", "magnitude", 2),
        ("after_pruning", "lotus", "magnitude", 2),
    ]
    table = trials_table(compared[1].runs()).set_index(["arm", "seed"])
    gaps = [
        table.loc[("lotus", s), "final/deployed_test_accuracy"]
        - table.loc[("magnitude", s), "final/deployed_test_accuracy"]
        for s in (0, 1)
    ]
    assert found[2]["mean"] == pytest.approx(np.mean(gaps), abs=1e-9)
    right = {
        (arm, seed): artifact(
            compared, table.loc[(arm, seed), "run_id"], "outcomes/correct.safetensors", tmp_path
        )
        for arm in ("lotus", "magnitude")
        for seed in (0, 1)
    }
    pruned = [
        right["lotus", s]["issp.validation"].float().mean()
        - right["magnitude", s]["control.validation"].float().mean()
        for s in (0, 1)
    ]
    assert found[3]["mean"] == pytest.approx(float(np.mean(pruned)), abs=1e-6)
    assert found[3]["n_images"] == 40


def test_overlap_of_a_real_sweep_is_that_of_its_masks(
    compared: Any, written: Path, tmp_path: Path
) -> None:
    found = json.loads((written / "summary.json").read_text())["overlap"]
    table: pd.DataFrame = trials_table(compared[1].runs())
    lotus = table[table["arm"] == "lotus"]["run_id"]
    kept = [artifact(compared, run, "masks/final.safetensors", tmp_path) for run in lotus]
    seeds, ingredients = found["groups"]
    assert (seeds["varies"], seeds["n_pairs"]) == ("seed", 1)
    assert seeds["mean"] == jaccard(*kept)
    assert seeds["random"] == pytest.approx(0.4 * 0.4 / (0.8 - 0.16), rel=1e-3)
    assert (ingredients["varies"], ingredients["n_masks"]) == ("ingredients", 2)
    assert [row["layer"] for row in found["layers"]] == list(kept[0])


def test_the_page_shows_both(written: Path) -> None:
    page = (written / "report.html").read_text()
    for said in ("Against a control, at matching settings", "about these models only", "(1 pair)"):
        assert said in page
    assert (written / "figures/mask_overlap.png").exists()


def test_only_artifacts_of_compared_trials_are_fetched(
    compared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, tracker = compared
    fetched: list[str] = []
    real = artifacts.fetched

    def counted(tracker: Tracker, run_id: str, path: str) -> Any:
        fetched.append(path)
        return real(tracker, run_id, path)

    monkeypatch.setattr(artifacts, "fetched", counted)
    summarise(Read.of(sweep, tracker))
    assert Counter(fetched) == {
        "masks/final.safetensors": 2,
        "masks/sparsity.json": 4,
        "outcomes/correct.safetensors": 6,
    }

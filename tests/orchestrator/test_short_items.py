"""Items of milliseconds, on a real Ray: they go to a process together, and nothing else differs."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from ray._private import state

from orchestrator import load_sweep, run
from orchestrator.driver.callbacks import Starts
from orchestrator.driver.searcher import TuneSearcher
from orchestrator.planning.sweepfile import resolved_yaml
from tests.conftest import tiny_sweep
from tests.orchestrator.programs import assert_as_if_undisturbed

pytestmark = pytest.mark.slow

SHORT = [
    "data.train_images=40",
    "data.validation=40",
    "dense.epochs=1",
    "finetune.epochs=1",
    "search.arm=[essential]",
    f"search.sparsity={[round(0.03 * level, 2) for level in range(1, 25)]}",
]


def short_sweep(folder: Path) -> Path:
    """The file of a sweep of 24 trials, each a blink."""
    folder.mkdir()
    path = tiny_sweep(folder, at_once=None)
    path.write_text(resolved_yaml(load_sweep(path, SHORT)))
    return path


def test_a_process_that_dies_with_several_items_changes_no_result(
    tmp_path: Path, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.driver.batches.BATCH_S", 60.0)  # on a slow machine as well
    quiet, disturbed = short_sweep(tmp_path / "quiet"), short_sweep(tmp_path / "disturbed")
    assert not run(load_sweep(quiet), report=False).failed
    struck: list[int] = []
    started = Starts.on_trial_start

    def strike(self: Any, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        started(self, iteration, trials, trial, **info)
        searcher: TuneSearcher = self.searcher
        running = searcher.running
        batch = searcher.dispatcher.items_of(running.batches[trial.trial_id])
        if len(batch) > 1 and not struck:
            struck.append(len(batch))
            os.kill(state.actors(running.actors[trial.trial_id])["Pid"], signal.SIGKILL)

    monkeypatch.setattr(Starts, "on_trial_start", strike)
    finished = run(load_sweep(disturbed), report=False)
    assert struck, "no items went together"
    assert (finished.ran, finished.failed) == (24, {})
    assert_as_if_undisturbed(disturbed, quiet)

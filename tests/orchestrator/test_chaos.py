"""The short version of `tests/benchmarks/chaos.py`: a small sweep under random kills."""

import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import chaos

from orchestrator import load_sweep
from orchestrator.planning.plan import plan
from tests.warm import starting

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its programs come from the tests' server: most of the time they would import."""

    def title(process: psutil.Process) -> str:
        return "".join(psutil.Process(starting.process_of(process.pid)).cmdline())

    monkeypatch.setattr(chaos, "PYTHON", starting.python())
    monkeypatch.setattr(chaos, "RAY", starting.ray())
    monkeypatch.setattr(chaos, "title", title)


@pytest.fixture(scope="module")
def quiet(finished_sweep: Path) -> dict[str, Any]:
    """What the sweep left that nobody disturbed."""
    return chaos.left(load_sweep(finished_sweep))


@pytest.mark.parametrize("seed", [0])
def test_a_sweep_under_random_kills_ends_as_if_undisturbed(
    seed: int, finished_sweep: Path, quiet: dict[str, Any], tmp_path: Path
) -> None:
    often, most = (1.0, 4.0), 8  # without an end, a slow machine would never get anywhere
    found = chaos.one_sweep(tmp_path / "own", str(finished_sweep), [], quiet, seed, often, most)
    assert chaos.faults(found) == {}
    assert sum(found["kills"].values()) >= 2, "hardly disturbed"


def test_the_comparison_sees_what_it_looks_for(finished_sweep: Path, quiet: dict[str, Any]) -> None:
    """Each kind of damage, one at a time, in what a sweep left."""
    planned = plan(load_sweep(finished_sweep))
    assert chaos.faults(chaos.compare(quiet, quiet)) == {}
    key = planned.trials[0].key
    stored = next(iter(quiet["results"]))
    metric = "finetune/val_loss"
    (step, value), *others = quiet["metrics"][key][metric]

    def changed(part: str, at: str, to: Any) -> dict[str, int]:
        return chaos.faults(chaos.compare(quiet, quiet | {part: quiet[part] | {at: to}}))

    metrics = quiet["metrics"][key]
    twice = {metric: [(step, value), (step, value), *others]}
    other = {metric: [(step, value + 1e-9), *others]}
    assert changed("runs", key, 2) == {"duplicate_runs": 1}
    assert changed("runs", "unknown", 1) == {"unknown_runs": 1}
    assert changed("status", key, "RUNNING") == {"stuck_runs": 1, "unfinished_runs": 1}
    assert changed("metrics", key, metrics | twice)["metric_steps_twice"] == 1
    assert changed("metrics", key, metrics | other) == {"different_metrics": 1}
    assert changed("params", key, {}) == {"different_params": 1}
    assert changed("artifacts", key, {}) == {"different_artifacts": 1}
    assert changed("results", stored, "0" * 64) == {"different_results": 1}
    lost = {name: {k: v for k, v in quiet[name].items() if k != key} for name in ("runs", "status")}
    assert chaos.faults(chaos.compare(quiet, quiet | lost)) == {"lost_runs": 1}

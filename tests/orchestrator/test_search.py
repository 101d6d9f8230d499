"""Sweeps whose trials follow from results, end to end: real Ray, SQLite, training."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from orchestrator import load_sweep, results, run
from orchestrator.commands.status import of_sweep
from orchestrator.driver.state import look
from orchestrator.planning.config import SweepConfig
from orchestrator.planning.plan import plan
from orchestrator.tracking.tracker import Tracker, find_sweep
from tests.warm.starting import python

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

OPTUNA = """\
search:
  method: optuna
  samples: 5
  batch: 2
  arm: [lotus]
  sparsity: [0.1, 0.2, 0.3, 0.4, 0.5]
  patch_drop: {low: 0.0, high: 0.5, step: 0.1}
  finetune.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
"""

HALVING = """\
finetune: {weights: current, epochs: 5, lr: 1.0e-3, batch_size: 32}
search:
  method: halving
  arm: [lotus]
  sparsity: [0.1, 0.3, 0.5]
  patch_drop: [0.1, 0.4]
"""


ONE = "resources.max_concurrent_trials=1"
"""One process for what need not be quick: each takes seconds to import torch and timm."""

Sweep = Callable[..., SweepConfig]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, tiny_text: str) -> Sweep:
    """A sweep by name; all share a store, so that only the first one trains."""
    folder = tmp_path_factory.mktemp("search")
    base = tiny_text[: tiny_text.index("finetune:")]

    def load(name: str, text: str, *overrides: str) -> SweepConfig:
        path = folder / f"{name}.yaml"
        if "finetune: {" not in text:
            text += tiny_text[tiny_text.index("finetune:") :]
        places = (
            f"storage: {{path: {folder}/store}}\ntracking: {{uri: 'sqlite:///{folder}/m.db'}}\n"
        )
        path.write_text(base.replace("name: tiny", f"name: {name}") + text + places)
        return load_sweep(path, overrides)

    return load


STOP = """\
import sys
from orchestrator import load_sweep, run
from orchestrator.driver.watcher import Watcher

class Stop(Watcher):
    left = int(sys.argv[2])
    def ended(self, item, error):
        self.left -= item.kind == "trial"
    def tick(self):
        if self.left <= 0:
            raise KeyboardInterrupt

try:
    run(load_sweep(sys.argv[1]), report=False, watch=lambda *_: Stop())
except KeyboardInterrupt:
    sys.exit(130)
"""
"""Ctrl-C after some trials, in a process of its own: what Tune had started dies with it."""


def interrupt(sweep: SweepConfig, after: int) -> None:
    path = Path(sweep.storage.path).parent / f"{sweep.name}.yaml"
    command = [python(), "-c", STOP, str(path), str(after)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 130, done.stderr[-2000:]


def keys(sweep: SweepConfig) -> set[str]:
    """Of the finished trials that the report would show."""
    table = results(sweep)
    return set(table[table["status"] == "FINISHED"]["key"])


@pytest.fixture(scope="module")
def searched(sweep: Sweep, ray_cluster: None) -> SweepConfig:
    """An Optuna sweep, run undisturbed."""
    found = sweep("searched", OPTUNA)
    finished = run(found)
    assert finished.failed == {}
    assert finished.ran == len(finished.plan.trials) == 5
    return found


def test_an_optuna_sweep_runs_to_its_samples_in_the_trials_that_its_results_call_for(
    searched: SweepConfig,
) -> None:
    table = results(searched)
    assert list(table["status"]) == ["FINISHED"] * 5
    assert table["final/val_accuracy"].notna().all()
    assert set(table["sparsity"]) <= {0.1, 0.2, 0.3, 0.4, 0.5}
    state = look(searched)
    assert state is not None
    assert state.plan.complete
    assert {trial.key for trial in state.plan.trials} == keys(searched)
    row = of_sweep(searched)
    assert (row["planned"], row["finished"], row["missing"]) == (5, 5, 0)


def test_a_finished_optuna_sweep_runs_nothing(searched: SweepConfig) -> None:
    before = keys(searched)
    finished = run(searched)
    assert finished.ran == 0
    assert finished.summary["trials"] == {"planned": 5, "finished": 5, "failed": 0}
    assert keys(searched) == before


def test_the_front_of_an_optuna_sweep_is_in_its_report(searched: SweepConfig) -> None:
    summary = run(searched).summary
    assert summary["pareto"]
    best = max(row["val_accuracy_mean"] for row in summary["pareto"])
    assert best == pytest.approx(results(searched)["final/val_accuracy"].max())
    assert summary["halving"] is None


def test_an_optuna_sweep_with_holes_ends_with_the_trials_of_an_undisturbed_one(
    searched: SweepConfig, sweep: Sweep
) -> None:
    other = sweep("holes", OPTUNA, ONE)
    assert (len(plan(other).trials), plan(other).expected) == (2, 5)
    run(sweep("holes", OPTUNA, "search.samples=4", ONE), report=False)
    client = MlflowClient(other.tracking.uri)
    client.delete_run(results(other).sort_values("key")["run_id"].iloc[0])
    assert of_sweep(other)["planned"] == 5
    finished = run(other, report=False)
    assert (finished.ran, finished.failed) == (2, {})
    assert keys(other) == keys(searched)
    assert set(results(other)["status"]) == {"FINISHED"}


def test_more_samples_add_trials_and_keep_the_old_ones(searched: SweepConfig, sweep: Sweep) -> None:
    fewer = sweep("grown", OPTUNA, "search.samples=3", ONE)
    run(fewer, report=False)
    had = keys(fewer)
    assert len(had) == 3
    assert had < keys(searched)
    finished = run(sweep("grown", OPTUNA, ONE), report=False)
    assert finished.ran == 2
    assert keys(fewer) == keys(searched)


def test_a_trial_that_fails_is_told_and_the_search_goes_on(sweep: Sweep, ray_cluster: None) -> None:
    text = OPTUNA.replace("{low: 1.0e-4, high: 1.0e-2, log: true}", "[1.0e-3, 1.0e+30]")
    broken = sweep("broken", text, "search.samples=3", ONE)
    finished = run(broken, report=False)
    assert finished.failed
    assert all("lower `lr`" in reason for reason in finished.failed.values())
    assert finished.plan.complete
    table = results(broken)
    assert len(table) == len(finished.plan.trials)
    assert set(table[table["status"] == "FAILED"]["name"]) == set(finished.failed)
    again = run(broken, report=False)
    assert again.failed.keys() == finished.failed.keys()
    assert len(results(broken)) == len(table)


@pytest.fixture(scope="module")
def halved(sweep: Sweep, ray_cluster: None) -> tuple[SweepConfig, dict[str, Any]]:
    """A halving sweep, run undisturbed, and its summary."""
    found = sweep("halved", HALVING)
    finished = run(found)
    assert finished.failed == {}
    return found, finished.summary


def rung_table(sweep: SweepConfig, epochs: int) -> pd.DataFrame:
    table = results(sweep)
    return table[table["rung"] == epochs]


def test_the_winner_is_the_synchronous_decision_and_the_only_final_number(
    halved: tuple[SweepConfig, dict[str, Any]],
) -> None:
    sweep, _ = halved
    first, second = rung_table(sweep, 1), rung_table(sweep, 3)
    assert len(first) == 6
    ranked = first.sort_values("rung/val_accuracy", ascending=False, kind="stable")
    assert len(second) == 2
    assert second["rung/val_accuracy"].notna().all()
    cut = ranked["rung/val_accuracy"].iloc[1]
    names = {name.removesuffix("-rung3") for name in second["name"]}
    accuracy = {n.removesuffix("-rung1"): a for n, a in
                zip(first["name"], first["rung/val_accuracy"], strict=True)}  # fmt: skip
    assert all(accuracy[name] >= cut for name in names)
    table = results(sweep)
    full = table[table["rung"].isna()]
    assert len(full) == 1
    best = second.sort_values("rung/val_accuracy", ascending=False, kind="stable").iloc[0]
    assert full.iloc[0]["name"] == best["name"].removesuffix("-rung3")
    assert full.iloc[0]["final/test_accuracy"] > 0


def test_stopped_trials_have_no_final_and_no_test_number(
    halved: tuple[SweepConfig, dict[str, Any]],
) -> None:
    sweep, _ = halved
    client = MlflowClient(sweep.tracking.uri)
    for run_id in pd.concat([rung_table(sweep, 1), rung_table(sweep, 3)])["run_id"]:
        found = client.get_run(run_id)
        names = set(found.data.metrics)
        assert not [name for name in names if name.startswith("final/") or "test" in name]
        assert "rung/val_accuracy" in names
        steps = sorted(m.step for m in client.get_metric_history(run_id, "finetune/val_accuracy"))
        assert steps == list(range(1, int(found.data.params["rung"]) + 1))
        assert found.data.tags["lotus.kind"] == "trial"


def test_the_winners_key_is_that_of_the_grid(
    halved: tuple[SweepConfig, dict[str, Any]], sweep: Sweep
) -> None:
    found, _ = halved
    table = results(found)
    grid = sweep("grid", HALVING.replace("method: halving", "method: grid"))
    winner = table[table["rung"].isna()].iloc[0]["key"]
    assert winner in {trial.key for trial in plan(grid).trials}


def test_the_arms_and_the_recommendation_come_from_the_winner_alone(
    halved: tuple[SweepConfig, dict[str, Any]],
) -> None:
    sweep, summary = halved
    table = results(sweep)
    winner = table[table["rung"].isna()].iloc[0]
    assert summary["recommended"]["trial_key"] == winner["key"]
    assert [(a["arm"], a["n"]) for a in summary["arms"]] == [("lotus", 1)]
    assert [r["candidates"] for r in summary["halving"]["rungs"]] == [6, 2]
    assert [r["kept"] for r in summary["halving"]["rungs"]] == [2, 1]
    assert summary["trials"] == {"planned": 9, "finished": 9, "failed": 0}
    assert summary["dense"]["test_accuracy"] is not None


def test_a_finished_halving_runs_nothing(halved: tuple[SweepConfig, dict[str, Any]]) -> None:
    sweep, _ = halved
    assert run(sweep, report=False).ran == 0
    row = of_sweep(sweep)
    assert (row["planned"], row["finished"], row["missing"]) == (9, 9, 0)


def test_an_interrupted_halving_ends_as_an_undisturbed_one(
    halved: tuple[SweepConfig, dict[str, Any]], sweep: Sweep
) -> None:
    found, _ = halved
    other = sweep("halved-later", HALVING)
    interrupt(other, 3)
    assert run(other, report=False).failed == {}
    assert keys(other) == keys(found)


def test_a_halving_with_more_candidates_runs_only_what_is_new(
    halved: tuple[SweepConfig, dict[str, Any]], sweep: Sweep
) -> None:
    found, _ = halved
    wider = sweep("halved", HALVING, "search.patch_drop=[0.1, 0.4, 0.2]")
    before = keys(found)
    finished = run(wider, report=False)
    assert finished.failed == {}
    assert len(rung_table(wider, 1)) == 9
    assert set(rung_table(wider, 1)["key"]) > {
        k for k in before if k in set(rung_table(wider, 1)["key"])
    }
    assert finished.ran < len(finished.plan.trials)
    state = look(wider)
    assert state is not None
    assert state.plan.complete
    assert {trial.key for trial in state.plan.trials} == keys(wider)
    address = find_sweep(wider)
    assert address is not None
    children = Tracker(address).children()
    assert len({child.key for child in children}) == len(children)

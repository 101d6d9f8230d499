"""What is changed in Tune while a sweep runs does what it is for, and is undone afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import Searcher

from orchestrator.ray_internals.tuning import KEPT, ended_trials_are_forgotten, quiet

TRIALS = 4 * KEPT


class Numbers(Searcher):  # type: ignore[misc]
    """Some trials that do nothing."""

    def __init__(self) -> None:
        super().__init__(metric="told", mode="min")
        self.given, self.told = 0, []

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.given == TRIALS:
            return str(Searcher.FINISHED)
        if self.given - len(self.told) > 2:
            return None
        self.given += 1
        return {"number": self.given}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        assert result is not None
        self.told.append(result["told"])

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class Counting(tune.Callback):  # type: ignore[misc]
    """How many trials Tune has at hand at each step."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self.count = count

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.count(len(trials))

    def __getstate__(self) -> dict[str, Any]:
        return {"count": None}


def work(config: dict[str, Any]) -> None:
    """One trial."""
    tune.report({"told": config["number"]})


@pytest.mark.slow
def test_trials_that_have_ended_are_forgotten_and_all_have_told(
    ray_cluster: None, tmp_path: Path
) -> None:
    numbers, seen = Numbers(), list[int]()
    tuner = tune.Tuner(
        tune.with_resources(work, {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=numbers, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), verbose=0, callbacks=[Counting(seen.append)]
        ),
    )
    step = TuneController.step
    with quiet(), ended_trials_are_forgotten():
        tuner.fit()
    assert sorted(numbers.told) == list(range(1, TRIALS + 1))
    assert max(seen) <= KEPT + 10
    assert TuneController.step is step

"""Stopped recoveries: parts of the training that they stand for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trials.helpers import curve
from trials.config import TrialConfig
from trials.context import Context, Progress
from trials.errors import StageInputError
from trials.graph.execute import Direct, run_trial
from trials.graph.pipeline import pipeline
from trials.graph.sources import open_sources
from trials.stage import closure
from trials.stages.finetune import Finetuned
from trials.stages.rung import Rung

RECIPE = {
    "epochs": 4, "lr": 1e-3, "batch_size": 32, "weights": "current", "schedule": "cosine",
    "warmup_steps": 3, "weight_decay": 0.05,
}  # fmt: skip

Made = Callable[..., TrialConfig]


@pytest.fixture(scope="module")
def make(tiny_trial: Made) -> Made:
    return lambda **changes: tiny_trial(**{"arm": "lotus", "finetune": RECIPE} | changes)


def stopped_at(make: Made, stop: int) -> Finetuned:
    """What the uninterrupted training had after `stop` epochs: weights caught on the way."""
    trial = make()
    opened = open_sources(trial.data, trial.model)
    node = pipeline(trial, opened.sources).finetune
    assert node is not None
    snapshots = Caught(stop)
    direct = Direct(opened.objects(), Context(snapshots=snapshots))
    whole = direct.get(node)
    return Finetuned(type(whole.checkpoint)(whole.checkpoint.arch, snapshots.model),
                     whole.history[:stop], whole.validation, 0.0)  # fmt: skip


class Caught:
    """Keeps the model of the epoch wanted."""

    def __init__(self, stop: int) -> None:
        self.stop = stop
        self.model: dict[str, torch.Tensor] = {}

    def load(self) -> None:
        return None

    def save(self, tensors: Any, values: Any) -> None:
        if len(values.get("history", ())) == self.stop:
            parts = {n: t.clone() for n, t in tensors.items() if n.startswith("model.")}
            self.model = {n.removeprefix("model."): t for n, t in parts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("chain", [(1,), (3,), (1, 3), (1, 2, 3)], ids=str)
def test_rungs_are_the_first_epochs_of_the_uninterrupted_training_bit_for_bit(
    make: Made, chain: tuple[int, ...]
) -> None:
    rung: Rung = run_trial(make(rungs=chain)).results["rung"]
    whole = stopped_at(make, chain[-1])
    assert curve(rung.history) == curve(whole.history)
    assert rung.checkpoint.state.keys() == whole.checkpoint.state.keys()
    for name, tensor in whole.checkpoint.state.items():
        assert torch.equal(rung.checkpoint.state[name], tensor), name
    assert rung.val_accuracy == whole.history[-1].val_accuracy


def test_a_rung_trains_only_the_epochs_that_the_one_below_has_not(make: Made) -> None:
    trial = make(rungs=(1, 3))
    opened = open_sources(trial.data, trial.model)
    node = pipeline(trial, opened.sources).rung
    assert node is not None
    steps: list[Progress] = []
    direct = Direct(opened.objects(), Context(progress=steps.append))
    below = next(n for n in node.parents() if n.stage.name == "rung")
    direct.get(below)
    before = len(steps)
    direct.get(node)
    assert [(step.done, step.total) for step in steps[before:]] == [(2, 3), (3, 3)]


def test_a_stopped_trial_has_neither_final_model_nor_test(make: Made) -> None:
    graph = run_trial(make(rungs=(1,))).graph
    assert graph.finetune is None
    assert graph.profile is None
    assert not {"finetune", "final", "profile"} & graph.stages().keys()
    assert graph.final is graph.rung
    assert "evaluate" not in {node.stage.name for node in closure(graph.final)}


def test_rungs_that_do_not_rise_are_refused(make: Made) -> None:
    with pytest.raises(StageInputError, match="must rise"):
        run_trial(make(rungs=(2, 2)))


def test_a_rung_is_predicted_to_cost_its_own_epochs_only(make: Made) -> None:
    opened = open_sources(make().data, make().model)
    last = pipeline(make(rungs=(1, 3)), opened.sources).rung
    whole = pipeline(make(), opened.sources).finetune
    assert last is not None
    assert whole is not None
    below = next(n for n in last.parents() if n.stage.name == "rung")
    assert last.work_macs() == pytest.approx(whole.work_macs() * 2 / 4)
    assert below.work_macs() == pytest.approx(whole.work_macs() / 4)

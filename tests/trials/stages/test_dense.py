from typing import Any

import pytest
import torch

from trials.context import Context
from trials.data.datasets import Dataset
from trials.model.module import Model
from trials.stages.dense import DenseConfig, dense
from trials.stages.pretrained import Pretrained
from trials.training.evaluation import evaluate

RECIPE = DenseConfig(epochs=2, lr=3e-3, batch_size=32)


def test_without_epochs_the_weights_are_evaluated_as_they_are(
    small: Dataset, ctx: Context, pretrained: Pretrained, cpu: torch.device
) -> None:
    found = dense(DenseConfig(epochs=0), ctx, seed=None, data=small, model=pretrained)
    given = pretrained.checkpoint
    assert all(torch.equal(found.checkpoint.state[n], t) for n, t in given.state.items())
    assert found.history == ()
    own = Model.of(given, cpu)
    for split, outcomes in (("validation", found.validation), ("test", found.test)):
        expected = evaluate(own, small, split, ctx)  # type: ignore[arg-type]
        assert torch.equal(outcomes.correct, expected.correct)
        assert outcomes.loss == expected.loss


def test_all_weights_are_trained_and_the_last_epoch_is_what_is_reported(
    small: Dataset, ctx: Context, pretrained: Pretrained
) -> None:
    before = {name: tensor.clone() for name, tensor in pretrained.checkpoint.state.items()}
    found = dense(RECIPE, ctx, seed=0, data=small, model=pretrained)
    assert len(found.history) == 2
    assert found.history[-1].val_accuracy == found.validation.accuracy
    assert found.history[-1].val_loss == found.validation.loss
    for name, tensor in found.checkpoint.state.items():
        assert not torch.equal(tensor, before[name]), name
        assert torch.equal(pretrained.checkpoint.state[name], before[name])


@pytest.mark.parametrize(("seed", "equal"), [(0, True), (1, False)])
def test_the_seed_decides_the_trained_weights(
    small: Dataset, ctx: Context, pretrained: Pretrained, seed: int, equal: bool
) -> None:
    states: list[Any] = [
        dense(RECIPE, ctx, seed=s, data=small, model=pretrained).checkpoint.state for s in (0, seed)
    ]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0]) == equal

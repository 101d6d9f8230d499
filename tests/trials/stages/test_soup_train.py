from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.trials.helpers import NOTHING, same
from trials.context import Context
from trials.data.datasets import Dataset, Split, fraction_indices
from trials.errors import StageInputError
from trials.model.module import Model
from trials.sparsity import masks
from trials.sparsity.masks import KeepMask
from trials.stages.dense import Dense
from trials.stages.essential import OneShot
from trials.stages.pretrained import Pretrained
from trials.stages.soup_train import SoupTrainConfig, SoupTrained, soup_train
from trials.training.evaluation import evaluate

Make = Callable[..., SoupTrained]


@pytest.fixture
def make(small: Dataset, ctx: Context, dense: Dense, half: KeepMask) -> Make:
    """Half of the 100 images, batches of 10: five steps, of which the ingredients take two."""

    def run(seed: int = 0, given: Dataset = small, model: Any = dense, **changes: Any) -> Any:
        settings = {
            "mask_data_fraction": 0.5, "ingredients": 2, "steps": 1, "lr": 1e-3,
            "weight_decay": 0.0, "batch_size": 10, "round": 1,
        }  # fmt: skip
        cfg = SoupTrainConfig.model_validate(settings | changes)
        return soup_train(cfg, ctx, seed=seed, data=given, model=model, mask=OneShot(half, NOTHING))

    return run


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 3),
        ({"mask_data_fraction": 1.0}, 8),
        ({"steps": 2}, 1),
        ({"steps": 3}, 0),
        ({"steps": "pass"}, 0),
        ({"steps": 2, "count_look_ahead": False}, 5),
    ],
    ids=str,
)
def test_what_the_ingredients_leave_of_one_pass_is_trained(
    make: Make, changes: dict[str, Any], steps: int
) -> None:
    found = make(**changes)
    assert found.steps == steps
    assert (found.loss > 0) == (steps > 0)


def test_without_a_step_the_weights_only_take_the_mask(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    expected = masks.apply(dense.checkpoint.state, half)
    found = make(steps=9)
    assert all(torch.equal(found.checkpoint.state[n], t) for n, t in expected.items())


def test_trained_weights_move_and_stay_zero_outside_the_mask(
    make: Make, dense: Dense, half: KeepMask
) -> None:
    state = make().checkpoint.state
    for name, keep in half.items():
        assert not state[name][~keep].any()
        assert not torch.equal(state[name][keep], dense.checkpoint.state[name][keep])


def test_training_goes_on_from_the_round_before(make: Make) -> None:
    first = make()
    assert not same(make(model=first), first)
    assert not same(make(model=first), make())


def test_seed_and_round_decide_and_nothing_else(make: Make) -> None:
    assert same(make(), make())
    assert not same(make(), make(seed=1))
    assert not same(make(), make(round=2))


def test_only_the_rounds_share_of_the_data_is_seen(make: Make, small: Dataset) -> None:
    chosen = fraction_indices(small.train.labels, 0.5, 0, "mask data")
    hidden = np.setdiff1d(np.arange(100), chosen)

    def without(which: Any) -> Dataset:
        images = small.train.images.copy()
        images[which] = 0
        return replace(small, train=Split(images, small.train.labels), _placed={})

    assert same(make(), make(given=without(hidden)))
    assert not same(make(), make(given=without(chosen)))


def test_what_is_reported_is_the_trained_model(
    make: Make, small: Dataset, ctx: Context, cpu: torch.device
) -> None:
    found = make()
    own = Model.of(found.checkpoint, cpu)
    assert found.validation.loss == evaluate(own, small, "validation", ctx).loss


def test_a_diverging_round_is_named(make: Make, dense: Dense) -> None:
    state = dense.checkpoint.state | {"head.bias": torch.full((10,), float("nan"))}
    broken = Pretrained(replace(dense.checkpoint, state=state))
    with pytest.raises(StageInputError, match=r"issp, training of round 1: .* became nan"):
        make(model=broken)

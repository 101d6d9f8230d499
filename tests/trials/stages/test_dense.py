from collections.abc import Callable
from typing import Any

import pytest
import torch

from trials.context import Context
from trials.data.datasets import Dataset
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.seeding import generator
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


def test_a_linear_probe_trains_the_head_on_features_that_stay(
    small: Dataset, ctx: Context, make_checkpoint: Callable[..., Checkpoint], cpu: torch.device
) -> None:
    given = Pretrained(make_checkpoint(proj_drop_rate=0.3, pos_drop_rate=0.3))
    cfg = DenseConfig(epochs=2, lr=3e-2, batch_size=32, train="head", no_decay="timm")
    found = dense(cfg, ctx, seed=0, data=small, model=given)
    before = given.checkpoint.state
    changed = {n for n, t in found.checkpoint.state.items() if not torch.equal(t, before[n])}
    assert changed == {"head.weight", "head.bias"}
    assert found.history[1].train_loss < found.history[0].train_loss
    assert found.history[-1].val_accuracy == found.validation.accuracy
    # The same by hand: a linear model on the features that the backbone has in eval mode.
    module = Model.of(given.checkpoint, cpu).module
    inputs = Model.of(given.checkpoint, cpu).inputs
    images, labels = small.on(cpu, "train")
    with torch.no_grad():
        features = module.forward_head(module.forward_features(inputs(images)), pre_logits=True)
    head = module.head
    optimizer = torch.optim.AdamW(
        [{"params": [head.weight], "weight_decay": cfg.weight_decay},
         {"params": [head.bias], "weight_decay": 0.0}], lr=cfg.lr,
    )  # fmt: skip
    step = 0
    for epoch in range(cfg.epochs):
        order = torch.randperm(len(small.train), generator=generator(0, "order", epoch))
        for batch in torch.split(order, cfg.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = cfg.lr * cfg.rate(step, 8)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(features[batch]), labels[batch]).backward()
            optimizer.step()
            step += 1
    assert torch.allclose(found.checkpoint.state["head.weight"], head.weight, atol=1e-5)


def test_a_probe_is_no_other_stage_and_all_is_the_default() -> None:
    assert DenseConfig().train == "all"
    assert DenseConfig().identity() == DenseConfig(train="all", layer_decay=1.0).identity()
    assert DenseConfig(train="head").identity()["train"] == "head"

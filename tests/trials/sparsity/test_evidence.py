from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from trials.context import Context
from trials.data.datasets import Dataset
from trials.errors import StageInputError
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import evidence, masks
from trials.sparsity.criteria import Need

MEASURED = [need for need in get_args(Need) if need != "weights"]


@pytest.fixture
def batch(small: Dataset, cpu: torch.device) -> tuple[Tensor, Tensor]:
    """More images than fit into one batch, and not a multiple of it."""
    images, labels = small.on(cpu, "train")
    return images[: evidence.BATCH + 9], labels[: evidence.BATCH + 9]


@pytest.fixture
def inputs(checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], cpu: torch.device) -> Any:
    """The inputs of two layers as rows of tokens, worked out without hooks on them."""
    model = Model.of(checkpoint, cpu)
    module, x = model.module, model.inputs(batch[0])
    with torch.no_grad():
        tokens = module.norm_pre(module._pos_embed(module.patch_embed(x)))
        first = module.blocks[0]
        after = tokens + first.attn(first.norm1(tokens))
        hidden = first.mlp.act(first.mlp.fc1(first.norm2(after)))
    return {
        "blocks.0.attn.qkv.weight": first.norm1(tokens).detach().flatten(0, 1).double().numpy(),
        "blocks.0.mlp.fc2.weight": hidden.flatten(0, 1).double().numpy(),
    }


def test_norms_are_those_of_every_input_over_all_tokens(
    checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], inputs: Any, ctx: Context
) -> None:
    found = evidence.collect("norms", checkpoint, *batch, ctx)
    for name, x in inputs.items():
        np.testing.assert_allclose(found[name].numpy(), np.linalg.norm(x, axis=0), rtol=1e-4)


def test_grams_are_the_mean_outer_product_of_the_inputs(
    checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], inputs: Any, ctx: Context
) -> None:
    found = evidence.collect("grams", checkpoint, *batch, ctx)
    for name, x in inputs.items():
        expected = x.T @ x / len(x)
        np.testing.assert_allclose(found[name].numpy(), expected, atol=1e-4 * expected.max())


def test_norms_are_the_diagonal_of_the_grams(
    checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], ctx: Context
) -> None:
    norms = evidence.collect("norms", checkpoint, *batch, ctx)
    grams = evidence.collect("grams", checkpoint, *batch, ctx)
    tokens = len(batch[0]) * (16 + 1)
    for name, norm in norms.items():
        assert norm.square().numpy() == pytest.approx((grams[name].diagonal() * tokens).numpy())


@pytest.mark.parametrize("need", MEASURED)
def test_every_prunable_weight_has_evidence_that_fits_it(
    need: Need, checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], ctx: Context
) -> None:
    found = evidence.collect(need, checkpoint, *batch, ctx)
    weights = masks.prunable(checkpoint)
    assert list(found) == list(weights)
    for name, weight in weights.items():
        inputs = weight.shape[1]
        shapes = {"norms": (inputs,), "grams": (inputs, inputs), "gradients": weight.shape}
        assert found[name].shape == shapes[need]
        assert found[name].dtype == torch.float64


@pytest.mark.parametrize("need", MEASURED)
def test_the_batch_size_does_not_matter(
    need: Need,
    checkpoint: Checkpoint,
    batch: tuple[Tensor, Tensor],
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = evidence.collect(need, checkpoint, *batch, ctx)
    monkeypatch.setattr(evidence, "BATCH", 7)
    parts = evidence.collect(need, checkpoint, *batch, ctx)
    for name, tensor in whole.items():
        scale = float(tensor.abs().max())
        assert parts[name].numpy() == pytest.approx(tensor.numpy(), rel=1e-4, abs=1e-5 * scale)


def test_labels_matter_to_gradients_only(
    checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], ctx: Context
) -> None:
    images, labels = batch
    for need in MEASURED:
        a, b = (evidence.collect(need, checkpoint, images, y, ctx) for y in (labels, 9 - labels))
        assert all(torch.equal(a[name], b[name]) for name in a) == (need != "gradients")


def test_a_criterion_of_weights_alone_builds_no_model(
    checkpoint: Checkpoint,
    batch: tuple[Tensor, Tensor],
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Model, "of", lambda *_: pytest.fail("a model was built"))
    assert evidence.collect("weights", checkpoint, *batch, ctx) == {}


@pytest.mark.parametrize("need", MEASURED)
def test_a_model_that_diverged_is_refused_with_what_to_do(
    need: Need, checkpoint: Checkpoint, batch: tuple[Tensor, Tensor], ctx: Context
) -> None:
    broken = {name: tensor.clone() for name, tensor in checkpoint.state.items()}
    broken["blocks.0.attn.qkv.weight"] *= torch.inf
    with pytest.raises(StageInputError, match=r"not finite.*dense\.lr"):
        evidence.collect(need, Checkpoint(checkpoint.arch, broken), *batch, ctx)

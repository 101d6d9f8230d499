from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from trials.errors import ModelError
from trials.model.forward import forward
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.tokens import tickets
from trials.tokens.kept import Kept, Removal


def test_a_module_goes_back_to_the_same_checkpoint(
    checkpoint: Checkpoint, cpu: torch.device
) -> None:
    model = Model.of(checkpoint, cpu)
    assert not model.module.training
    again = model.checkpoint().state
    assert all(torch.equal(again[name], tensor) for name, tensor in checkpoint.state.items())
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(1)
    assert all(torch.equal(again[name], tensor) for name, tensor in checkpoint.state.items())


def test_a_checkpoint_of_another_model_is_refused(
    checkpoint: Checkpoint, cpu: torch.device
) -> None:
    state = {n: t for n, t in checkpoint.state.items() if n != "cls_token"}
    with pytest.raises(ModelError, match="cls_token"):
        Model.of(Checkpoint(checkpoint.arch, state), cpu)


def test_pixels_are_scaled_normalised_and_resized(
    make_checkpoint: Callable[..., Checkpoint], cpu: torch.device
) -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    x = Model.of(make_checkpoint(), cpu).inputs(images)
    assert torch.equal(x, torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8))
    other = Model.of(make_checkpoint(img_size=[12, 16]), cpu)
    assert other.inputs(images).shape == (2, 1, 12, 16)


@torch.no_grad()
def test_a_mask_that_keeps_everything_gives_the_dense_logits_bit_for_bit(
    checkpoint: Checkpoint, cpu: torch.device, x: Tensor
) -> None:
    everything = masks.ones_like(masks.prunable(checkpoint))
    masked = Model.of(masks.masked(checkpoint, everything), cpu)
    assert torch.equal(masked(x), Model.of(checkpoint, cpu)(x))


@torch.no_grad()
def test_patches_leave_as_their_batch_says(
    checkpoint: Checkpoint, cpu: torch.device, x: Tensor
) -> None:
    model = Model.of(checkpoint, cpu)
    keep = tickets.random_patches(
        5, 16, torch.tensor([4, 9, 16, 1, 9]), torch.Generator().manual_seed(1)
    )
    seen = {removal: model(x, Kept.of_tickets(keep, removal)) for removal in get_args(Removal)}
    for removal, logits in seen.items():
        indices = tickets.indices(keep)
        assert torch.equal(logits, forward(model.module, x, indices, removal, padded=True))
    assert not torch.allclose(seen["zero"], seen["gather"])
    assert not torch.allclose(seen["zero"], seen["mean"])


def test_its_grid_and_attention_are_the_modules(make_checkpoint: Callable[..., Checkpoint]) -> None:
    model = Model.of(make_checkpoint(img_size=[12, 16]), torch.device("cpu"))
    assert (model.size, model.columns) == ((12, 16), 8)
    (attention,) = model.attention(torch.zeros(2, 1, 12, 16), [-1])
    assert attention.shape == (2, 2, 1 + 48, 1 + 48)

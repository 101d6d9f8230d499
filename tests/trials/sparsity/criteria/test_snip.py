import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from trials.context import Context
from trials.data.datasets import Dataset
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import evidence, masks
from trials.sparsity.criteria.snip import snip


def test_snip_is_the_gradient_of_a_factor_on_every_weight(
    checkpoint: Checkpoint, small: Dataset, ctx: Context, cpu: torch.device
) -> None:
    images, labels = (part[:40] for part in small.on(cpu, "train"))
    weights = masks.prunable(checkpoint)
    gradients = evidence.collect("gradients", checkpoint, images, labels, ctx)
    found = snip(weights, gradients, 0)

    model = Model.of(checkpoint, cpu)
    factors = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
    masked = checkpoint.state | {name: w * factors[name] for name, w in weights.items()}
    x = model.inputs(images)
    loss = F.cross_entropy(functional_call(model.module, masked, (x,)), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, factor in factors.items():
        assert factor.grad is not None
        assert found[name].numpy() == pytest.approx(factor.grad.abs().numpy(), rel=1e-3, abs=1e-7)
    assert max(float(score.max()) for score in found.values()) > 1e-3

"""Random pruning, the control that every other criterion must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.seeding import generator
from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def random(weights: Tensors, evidence: Tensors, seed: int) -> dict[str, Tensor]:
    """Score uniform(0, 1), independent of the weights; the same on every device."""
    draw = generator(seed, "random-criterion")
    return {
        name: torch.rand(weight.shape, generator=draw).to(weight.device)
        for name, weight in weights.items()
    }


CRITERION = Criterion("random", random, draws=True)

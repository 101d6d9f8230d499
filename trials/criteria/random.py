"""Random pruning, the control that every other criterion must beat."""

import torch
from torch import Tensor

from trials.criteria.criterion import Criterion, Tensors
from trials.seeding import generator


def random(weights: Tensors, evidence: Tensors, seed: int) -> dict[str, Tensor]:
    """Score uniform(0, 1), independent of the weights; the same on every device."""
    draw = generator(seed, "random-criterion")
    return {
        name: torch.rand(weight.shape, generator=draw).to(weight.device)
        for name, weight in weights.items()
    }


CRITERION = Criterion("random", random, draws=True)

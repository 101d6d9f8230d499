"""Random pruning, the control that every other criterion must beat."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trials.seeding import generator


def random(weights: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Score uniform(0, 1), independent of the weights; the same on every device."""
    draw = generator(seed, "random-criterion")
    return {
        name: torch.rand(weight.shape, generator=draw).to(weight.device)
        for name, weight in weights.items()
    }

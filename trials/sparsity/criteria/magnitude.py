"""Magnitude pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def magnitude(weights: Tensors, evidence: Tensors, seed: int) -> dict[str, Tensor]:
    """Score |w|. Global one-shot magnitude is the mask of Essential Sparsity (section 3)."""
    return {name: weight.detach().abs() for name, weight in weights.items()}


CRITERION = Criterion("magnitude", magnitude)

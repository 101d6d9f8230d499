"""LAMP: magnitudes made comparable between layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def lamp(weights: Tensors, evidence: Tensors, seed: int) -> dict[str, Tensor]:
    """Score w_u² / Σ w_v² over the weights v of the same tensor with |w_v| >= |w_u|.

    In (0, 1]: the largest weight of a tensor that stands alone scores 1, so a tensor loses its
    last weight only after every other one. 0 scores 0. Equal magnitudes score equally; the
    original breaks such ties by position. Inside a tensor the ranking is that of |w|.

    Source: Lee et al., Layer-adaptive sparsity for the magnitude-based pruning (ICLR 2021).
    """
    return {name: _lamp(weight.detach()) for name, weight in weights.items()}


def _lamp(weight: Tensor) -> Tensor:
    # Once per distinct magnitude, in float64: float32 squares of small weights would vanish.
    size, place, count = torch.unique(
        weight.abs().double(), return_inverse=True, return_counts=True
    )
    square = size.square()
    not_smaller = (square * count).flip(0).cumsum(0).flip(0)
    score = torch.where(square > 0, square / not_smaller, 0.0)
    return score[place].view(weight.shape).float()


CRITERION = Criterion("lamp", lamp)

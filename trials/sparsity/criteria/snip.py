"""SNIP: how much the loss reacts to switching a weight off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def snip(weights: Tensors, gradients: Tensors, seed: int) -> dict[str, Tensor]:
    """Score |w · ∂L/∂w|, which is |∂L/∂c| for a factor c = 1 on the weight; L = cross-entropy.

    The original divides by the sum over all weights, which changes no ranking. It prunes random
    weights before training; here the weights are those of `essential.weights`.

    Source: Lee et al., SNIP: single-shot network pruning (ICLR 2019).
    """
    return {name: (weight.detach() * gradients[name]).abs() for name, weight in weights.items()}


CRITERION = Criterion("snip", snip, needs="gradients")

"""Magnitude pruning."""

from collections.abc import Mapping

from torch import Tensor


def magnitude(weights: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Score |w|. Global one-shot magnitude is the mask of Essential Sparsity (section 3).

    Args:
        weights: prunable name -> weight tensor.
        seed: not used; every criterion has the same signature.
    """
    return {name: weight.detach().abs() for name, weight in weights.items()}

"""Wanda: a weight counts as much as the input that it multiplies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor


def wanda(weights: Tensors, norms: Tensors, seed: int) -> dict[str, Tensor]:
    """Score |W_ij| · ‖X_j‖₂, the norm of input j over all tokens of the calibration images.

    The original compares inside each output row; here `essential.scope` and `essential.pattern`
    decide what is compared with what, as for every criterion.

    Source: Sun et al., A simple and effective pruning approach for LLMs (ICLR 2024).
    """
    return {name: weight.detach().abs() * norms[name] for name, weight in weights.items()}


CRITERION = Criterion("wanda", wanda, needs="norms")

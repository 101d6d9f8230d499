"""SparseGPT's saliency: what a layer's output loses when the other weights may make up for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.sparsity.criteria.criterion import Criterion, Tensors

if TYPE_CHECKING:
    from torch import Tensor

DAMP = 0.01
"""Added to the diagonal of H, as a fraction of its mean. Source: SparseGPT's code."""


def sparsegpt(weights: Tensors, grams: Tensors, seed: int) -> dict[str, Tensor]:
    """Score w_ij² / u_jj², with U the upper Cholesky factor of H⁻¹ and H = mean x xᵀ + damping.

    Only the selection of SparseGPT: no weight is changed to make up for a pruned one, because
    recovery trains all weights that are left. So the Hessian stays that of the dense layer and
    the original's blocks of 128 columns, between which it updates weights, have no part here.
    An input that is always 0 makes its weights worth 0.

    Source: Frantar and Alistarh, SparseGPT (ICML 2023), Algorithm 1.
    """
    return {
        name: (weight.detach().double() / _cholesky_diagonal(grams[name]))
        .square()
        .masked_fill(grams[name].diagonal() == 0, 0.0)
        .float()
        for name, weight in weights.items()
    }


def _cholesky_diagonal(gram: Tensor) -> Tensor:
    """(in,) float64: the diagonal of the upper Cholesky factor of the damped inverse."""
    damped = gram.double().clone()
    diagonal = damped.diagonal()
    damping = DAMP * diagonal.sum() / (diagonal > 0).sum().clamp(min=1)
    # A dead input has an empty row and column: any positive number makes H invertible. It is
    # left out of the mean, so how many inputs are dead does not change the damping of the others.
    diagonal[diagonal == 0] = 1.0
    diagonal += damping
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.diagonal()


CRITERION = Criterion("sparsegpt", sparsegpt, needs="grams")

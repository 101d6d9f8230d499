"""What a pruning criterion is, and what it may know beside the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
"""Prunable parameter name -> tensor."""

Need = Literal["weights", "norms", "grams", "gradients"]
"""Measured on calibration images (`trials.sparsity.evidence`), per prunable weight (out, in):
`norms` (in,), the L2 norm of each input over all tokens; `grams` (in, in), the mean of x xᵀ over
all tokens; `gradients` (out, in), of the mean cross-entropy. `weights`: nothing is measured."""

Allocation = Literal["global", "layer", "erk"]
"""How the survivors are divided among the tensors: see `trials.sparsity.allocation`."""

Score = Callable[[Tensors, Tensors, int], dict[str, "Tensor"]]
"""(weights, evidence, seed) -> float scores of the weights' shapes; higher = more worth keeping.
The weights stay as they are."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to say what a weight is worth.

    Attributes:
        name: in sweep files.
        needs: the kind of evidence that `score` gets; with `weights` it gets an empty mapping.
        allocation: the criterion's own; None = `essential.scope` decides.
        draws: whether the scores depend on the seed.
    """

    name: str
    score: Score
    needs: Need = "weights"
    allocation: Allocation | None = None
    draws: bool = False

    @property
    def needs_data(self) -> bool:
        """Whether images have to be looked at before weights can be scored."""
        return self.needs != "weights"

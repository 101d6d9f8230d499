"""Pruning criteria: what a weight is worth. One criterion = one small file.

A criterion is a function `(weights, seed) -> scores`; the exact count is taken by
`trials.masks.top_k`, so ties and counts are the same for all of them.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from trials.criteria.magnitude import magnitude
from trials.criteria.random import random

Criterion = Callable[[Mapping[str, Tensor], int], dict[str, Tensor]]

CRITERIA: dict[str, Criterion] = {"magnitude": magnitude, "random": random}

__all__ = ["CRITERIA", "Criterion"]

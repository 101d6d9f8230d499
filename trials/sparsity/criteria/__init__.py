"""Pruning criteria: what a weight is worth. One criterion = one small file.

To add one: a file with a score function and its `CRITERION`, its module and name below, and a
row in `CANONICAL` (tests/trials/sparsity/criteria/test_init.py), over which every test of all
criteria runs. A criterion only scores; how many weights survive and where is
`trials.sparsity.allocation`'s, so ties and counts are the same for all of them.
"""

from typing import Literal

from trials.sparsity.criteria import erk_magnitude, lamp, magnitude, random, snip, sparsegpt, wanda
from trials.sparsity.criteria.criterion import Allocation, Criterion, Need, Tensors

CriterionName = Literal[
    "magnitude", "random", "wanda", "lamp", "erk_magnitude", "snip", "sparsegpt"
]

CRITERIA: dict[str, Criterion] = {
    module.CRITERION.name: module.CRITERION
    for module in (magnitude, random, wanda, lamp, erk_magnitude, snip, sparsegpt)
}

__all__ = ["CRITERIA", "Allocation", "Criterion", "CriterionName", "Need", "Tensors"]

"""How many images a pass without gradients takes at once: what is fastest, and changes no bit.

Large passes fill a GPU. A CPU loses with them what its caches could have kept: 512 images at a
time took up to a fifth longer than 64. What is best hangs on the model, the patches and the
processor, so it is measured, once a process. Rounding may hang on the size of a pass too; a size
counts only where it gives every logit of the measured images as the largest does, bit for bit.
Results are then the same wherever they are computed, and no key knows of any of this.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

SMALLER = (16, 64)
"""Images that a pass may take instead."""

WORTH = 4
"""Passes of the largest size that must be ahead: three are what measuring takes."""

_KNOWN: dict[Hashable, int] = {}


def images_at_once(case: Hashable, most: int, run: Callable[[int], Tensor], *, ahead: int) -> int:
    """The size of a pass, measured where this process does not know it and that is worth it.

    Args:
        case: what the speed hangs on: model, patches that are kept, threads.
        most: the largest size, of which results are those of every other.
        run: computes `most` images, so many at once.
        ahead: how often as many images are to be computed, these among them.
    """
    if case not in _KNOWN:
        if ahead < WORTH:
            return most
        _KNOWN[case] = _measured(most, run)
    return _KNOWN[case]


def _measured(most: int, run: Callable[[int], Tensor]) -> int:
    seconds: dict[int, float] = {}
    found: dict[int, Tensor] = {}
    for size in (*(size for size in SMALLER if size < most), most):
        start = time.perf_counter()
        found[size] = run(size)
        seconds[size] = time.perf_counter() - start
    same = [size for size in seconds if torch.equal(found[size], found[most])]
    return min(same, key=seconds.__getitem__, default=most)

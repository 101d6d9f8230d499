"""What tests of several stages compare with."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from trials.context import Epoch, Outcomes

NOTHING = Outcomes(torch.zeros(1, dtype=torch.bool), 0.0)
"""Outcomes that nobody reads."""

CLOCKS = frozenset({"images_per_s", "images_per_s_dense"})


def same(a: Any, b: Any) -> bool:
    """Equal in every bit and in the order of names; speeds, which are clock readings, aside."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if dataclasses.is_dataclass(a):
        names = [field.name for field in dataclasses.fields(a) if field.name not in CLOCKS]
        return all(same(getattr(a, name), getattr(b, name)) for name in names)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    return bool(a == b)


def curve(history: Iterable[Epoch]) -> list[tuple[float, float, float]]:
    """What of a learning curve does not depend on the machine's speed."""
    return [(e.train_loss, e.val_loss, e.val_accuracy) for e in history]

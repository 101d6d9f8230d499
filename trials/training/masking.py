"""Masked weights are exactly 0 after every step: what that takes, made once a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.sparsity.masks import KeepMask

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Masking:
    """The bits of masked weights, and which of them stay.

    A weight's bits AND all ones are the weight, AND none are +0: whatever the weight was. A
    product with 0 would leave -0 of a negative weight and NaN of an infinite one; filling by a
    bool mask takes five times as long, because processors do not do it many at a time.

    Attributes:
        bits: of each masked tensor, integers of the weights' size, in the same memory.
        stay: of the same shapes and types, -1 (all ones) or 0: 4 bytes for a float32 weight.
    """

    bits: tuple[Tensor, ...]
    stay: tuple[Tensor, ...]

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], keep: KeepMask) -> Masking:
        """Of parameters by name, on any device; those without a mask stay as they are."""
        whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
        bits, stay = [], []
        for name, mask in keep.items():
            weight = parameters[name].detach()
            kind = whole[weight.element_size()]
            bits.append(weight.view(kind))
            stay.append(mask.to(weight.device).to(kind).neg_())
        return cls(tuple(bits), tuple(stay))

    def apply(self) -> None:
        """Set masked weights to 0, in place."""
        for bits, stay in zip(self.bits, self.stay, strict=True):
            bits.bitwise_and_(stay)

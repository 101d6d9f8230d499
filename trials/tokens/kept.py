"""Which patches a batch keeps, and how the others are taken out.

Shapes: B batch, K kept patches, P patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from trials.lazy import torch
from trials.tokens import tickets

if TYPE_CHECKING:
    from torch import Tensor

Removal = Literal["gather", "zero", "mean", "attention_mask"]
"""How dropped patches leave the model: see `trials.model.forward`."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The patches of a batch that the model sees.

    Attributes:
        indices: int64 (B, K), ascending; rows that keep fewer end in `tickets.PAD`.
        padded: whether any row does. Known beforehand, because a look into a tensor on a GPU would
            wait for it at every step.
    """

    indices: Tensor
    padded: bool
    removal: Removal = "gather"

    @classmethod
    def of(cls, indices_BK: Tensor, removal: Removal = "gather") -> Kept:
        """From indices (see `indices` above), best before they are on a GPU."""
        return cls(indices_BK, tickets.is_padded(indices_BK), removal)

    @classmethod
    def of_tickets(cls, keep_BP: Tensor, removal: Removal = "gather") -> Kept:
        """From a ticket an image: bool (B, P), best before they are on a GPU."""
        return cls.of(tickets.indices(keep_BP), removal)

    def to(self, device: torch.device) -> Kept:
        """The same patches, on a device."""
        return replace(self, indices=self.indices.to(device))

    def __getitem__(self, part: slice) -> Kept:
        """Some images of the batch, padded as the whole batch is."""
        return replace(self, indices=self.indices[part])


@dataclass(frozen=True, slots=True)
class KeptTable:
    """The kept patches of many images, of which batches are cut without looking into a tensor.

    Attributes:
        indices: int64 (N, K), ascending, on any device; rows that keep fewer end in `tickets.PAD`.
        counts: patches of each image, on the host.
    """

    indices: Tensor
    counts: Tensor
    removal: Removal = "gather"

    @classmethod
    def of_tickets(cls, keep_NP: Tensor, removal: Removal = "gather") -> KeptTable:
        """From a ticket an image: bool (N, P) on the host."""
        return cls(tickets.indices(keep_NP), keep_NP.sum(1), removal)

    def placed(self, place: Callable[[Tensor], Tensor]) -> KeptTable:
        """The same patches, where `place` puts them."""
        return replace(self, indices=place(self.indices))

    def batch(self, part: slice) -> Kept:
        """A batch, as wide as its own longest row."""
        counts = self.counts[part]
        longest = int(counts.max())
        own = self.indices[part][:, :longest]
        return Kept(own, int(counts.min()) < longest, self.removal)

"""What a family of models has to say for itself.

Shapes: B batch, C channels, H W pixels, P patches, K kept patches, N tokens, d width, h heads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Module = Any
"""A timm model. timm is not typed, and importing its classes costs seconds."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The tokens of a batch before the first block, and where they come from.

    Attributes:
        tokens: (B, N, d), class and register tokens first; learned positions are added.
        kept: int64 (B, K), the patches that are left; None = all.
        rotation: of a model that turns queries and keys by their position: of all patches
            (P, r) or (depth, h, P, r), of kept ones (B, 1, K, r) or (depth, B, h, K, r).
    """

    tokens: Tensor
    kept: Tensor | None = None
    rotation: Tensor | None = None


class Family(ABC):
    """A kind of timm transformer.

    Attributes:
        name: as documents call it.
    """

    name: ClassVar[str]

    @abstractmethod
    def embed(self, model: Module, x: Tensor) -> Embedded:
        """Images (B, C, H, W) -> their tokens, in a model that drops none itself."""

    @abstractmethod
    def run(self, model: Module, embedded: Embedded, seen_BN: Tensor | None) -> Tensor:
        """Blocks and last norm: (B, N, d).

        Args:
            seen_BN: bool, the tokens to which anybody may attend; None = all.
        """

    @abstractmethod
    def has_class_token(self, model: Module) -> bool:
        """Whether the first token is a class token."""

    def keep(self, model: Module, embedded: Embedded, kept_BK: Tensor) -> Embedded:
        """The prefix tokens and the kept patches, in order, with what belongs to them."""
        tokens = take(embedded.tokens, kept_BK, model.num_prefix_tokens)
        return replace(embedded, tokens=tokens, kept=kept_BK)

    def pools_prefix(self, model: Module) -> bool:
        """Whether a pool other than the class token also looks at the prefix tokens."""
        return False


def take(tokens_BNd: Tensor, kept_BK: Tensor, prefix: int) -> Tensor:
    """(B, prefix + K, d): the prefix tokens and the kept patches, in order."""
    index = kept_BK.unsqueeze(-1).expand(-1, -1, tokens_BNd.shape[-1]) + prefix
    return torch.cat([tokens_BNd[:, :prefix], tokens_BNd.gather(1, index)], dim=1)


def hidden(seen_BN: Tensor, like: Tensor) -> Tensor:
    """(B, 1, 1, N) to be added to attention scores: 0 for a token that is seen, else -inf."""
    nothing = torch.zeros(seen_BN.shape, dtype=like.dtype, device=like.device)
    return nothing.masked_fill(~seen_BN, -torch.inf)[:, None, None, :]

"""What travels with the tokens from block to block, and what a reducer may do on the way.

Shapes: B batch, N tokens now in the sequence (p prefix tokens first), d width, c width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Module = Any
"""A timm VisionTransformer, or a part of one. timm is not typed."""

Want = Literal["cls", "keys"]

NOTHING: frozenset[Want] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """Beside the tokens.

    Attributes:
        places: int64 (B, N - p), each token's patch; `tickets.PAD` for fused and merged ones.
        entered: patches at the first block.
        size: (B, N, 1) float32, patches that a token stands for; None = one each.
        policy: (B, N) float32, 1 = others may attend to the token, 0 = dropped though still in
            the sequence; None = all may.
        decisions: DynamicViT's in training, (B, N - p) each, one per stage so far; 0 or 1.
        noise: (B, stages, P, 2) in [0, 1), drawn before the batch was cut; None = none is needed.
    """

    places: Tensor
    entered: int
    size: Tensor | None = None
    policy: Tensor | None = None
    decisions: tuple[Tensor, ...] = ()
    noise: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attention lets be seen of itself.

    Attributes:
        cls: (B, N) float32, the class token's attention, mean over heads; sums to 1.
        keys: (B, N, c) float32, mean over heads.
    """

    cls: Tensor | None = None
    keys: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Reducer:
    """Lets every token through. Methods replace what they need.

    Attributes:
        prefix: p.
    """

    prefix: int

    def before(self, block: int, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Tokens (B, N, d) that a block's attention gets."""
        return x, state

    def bias(self, block: int, state: State) -> Tensor | None:
        """Added to the attention's logits, broadcast to (B, heads, N, N); None = nothing."""
        return None

    def wants(self, block: int) -> frozenset[Want]:
        """What `between` reads of the block's attention."""
        return NOTHING

    def between(self, block: int, x: Tensor, seen: Seen, state: State) -> tuple[Tensor, State]:
        """Tokens (B, N, d) that a block's MLP gets."""
        return x, state


def take(x: Tensor, index: Tensor) -> Tensor:
    """(B, n, d) and int64 (B, k) -> (B, k, d); (B, n) -> (B, k)."""
    if x.ndim == 2:
        return x.gather(1, index)
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def take_patches(x: Tensor, state: State, index: Tensor, prefix: int) -> tuple[Tensor, State]:
    """All prefix tokens and some of the others, with their places.

    Args:
        index: int64 (B, k), ascending; prefix not counted.
    """
    tokens = torch.cat([x[:, :prefix], take(x[:, prefix:], index)], 1)
    return tokens, replace(state, places=take(state.places, index))


def best(scores: Tensor, count: int) -> Tensor:
    """int64 (B, count), ascending: the highest scores (B, n); ties go to the earlier token."""
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return order[:, :count].sort(1).values

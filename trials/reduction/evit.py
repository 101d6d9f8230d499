"""EViT: the patches to which the class token attends least leave between attention and MLP.

Shapes: B batch, N tokens, n patches and fused tokens, K kept, d width.

Source: Liang et al., ICLR 2022. Class and register tokens are never ranked, a distillation token
neither; the fused token's weights are not normalised, in the paper as in its code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trials.lazy import F, torch
from trials.reduction.config import ReductionConfig
from trials.reduction.state import NOTHING, Module, Reducer, Seen, State, Want, best, take_patches
from trials.reduction.tokens import kept_patches
from trials.tokens.tickets import PAD

if TYPE_CHECKING:
    from torch import Tensor


def attentive(cls_Bn: Tensor, count: int) -> Tensor:
    """The patches to which the class token attends most.

    Args:
        cls_Bn: its attention to each, prefix tokens left out.
        count: 1..n.

    Returns:
        int64 (B, count), ascending; ties go to the earlier one.

    Raises:
        ValueError: `count` is out of range.
    """
    if not 1 <= count <= cls_Bn.shape[1]:
        raise ValueError(f"cannot keep {count} of {cls_Bn.shape[1]} tokens")
    return best(cls_Bn, count)


def fuse(x_Bnd: Tensor, cls_Bn: Tensor, kept_BK: Tensor, *, normalise: bool) -> Tensor:
    """All that is not kept, as one token.

    Args:
        x_Bnd: without prefix tokens.
        cls_Bn: weights.
        kept_BK: indices.
        normalise: weights sum to 1; else they are the attention as it is.

    Returns:
        (B, 1, d): Σ weight x over the tokens that are not kept.
    """
    weights = cls_Bn * torch.ones_like(cls_Bn).scatter(1, kept_BK, 0.0)
    if normalise:
        weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return (x_Bnd * weights[..., None]).sum(1, keepdim=True).to(x_Bnd.dtype)


@dataclass(frozen=True, slots=True)
class Attentive(Reducer):
    """The reducer.

    Attributes:
        stages: the blocks at which patches leave.
        whole: patches of the model's grid.
    """

    config: ReductionConfig
    stages: tuple[int, ...]
    whole: int

    def wants(self, block: int) -> frozenset[Want]:
        """The class token's attention, where patches leave."""
        return frozenset({"cls"}) if block in self.stages else NOTHING

    def between(self, block: int, x: Tensor, seen: Seen, state: State) -> tuple[Tensor, State]:
        """The attentive ones, then the fused one.

        Raises:
            ValueError: `seen` has no attention of the class token.
        """
        if block not in self.stages:
            return x, state
        if seen.cls is None:
            raise ValueError(f"block {block}: the class token's attention was not looked at")
        there, stage = x.shape[1] - self.prefix, self.stages.index(block)
        count = kept_patches(
            self.config, block, stage, there, whole=self.whole, entered=state.entered
        )
        if count == there:
            return x, state
        cls = seen.cls[:, self.prefix :]
        kept = attentive(cls, count)
        tokens, left = take_patches(x, state, kept, self.prefix)
        if self.config.fuse is False:
            return tokens, left
        normalise = self.config.fuse == "normalised"
        fused = fuse(x[:, self.prefix :], cls, kept, normalise=normalise)
        places = F.pad(left.places, (0, 1), value=PAD)
        return torch.cat([tokens, fused], 1), replace(left, places=places)


def reducer(config: ReductionConfig, model: Module) -> Attentive:
    """Of a model that has passed `trials.reduction.refusals`."""
    return Attentive(
        prefix=model.num_prefix_tokens,
        config=config,
        stages=config.stages(len(model.blocks)),
        whole=model.patch_embed.num_patches,
    )

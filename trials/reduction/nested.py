"""The nested selection of Data-LTH: patches scored by when EViT lets them leave.

Shapes: B batch, C channels, H W pixels, P patches, n patches now in the sequence.

Source: Shen et al., Data Level Lottery Ticket Hypothesis for Vision Transformers (IJCAI 2023), and
its released code: the selector is EViT without fusion, and the sets of its three stages are
composed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trials.lazy import torch
from trials.reduction import evit
from trials.reduction.config import ReductionConfig
from trials.reduction.refusals import refuse
from trials.reduction.state import Module, Reducer, Seen, State, Want
from trials.reduction.tokens import Sizes, block_tokens
from trials.reduction.walk import embedded, run_blocks

if TYPE_CHECKING:
    from torch import Tensor


def selecting(keep: float) -> ReductionConfig:
    """How the selector runs: EViT without fusion, at three quarters of its depth.

    Args:
        keep: share of the patches that each stage keeps, in (0, 1].
    """
    return ReductionConfig(method="evit", keep=keep, fuse=False)


def survivors(keep: float, sizes: Sizes) -> int:
    """Patches of an image that are left: ceil(keep · ceil(keep · ceil(keep · P))) of 4 blocks up.

    144 of 196 at 0.9, as in the released code.
    """
    return block_tokens(selecting(keep), sizes)[-1][1] - sizes.prefix


@dataclass(frozen=True, slots=True)
class _Watched(Reducer):
    """A reducer whose stages are written down.

    Attributes:
        passed: of each stage the places (B, n) that come to it, and the class token's attention
            (B, n) to them.
    """

    inner: evit.Attentive
    passed: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def wants(self, block: int) -> frozenset[Want]:
        return self.inner.wants(block)

    def between(self, block: int, x: Tensor, seen: Seen, state: State) -> tuple[Tensor, State]:
        if seen.cls is not None:
            self.passed.append((state.places, seen.cls[:, self.prefix :]))
        return self.inner.between(block, x, seen, state)


def nested_scores(model: Module, x: Tensor, keep: float) -> Tensor:
    """How long the selector keeps each patch.

    The stage, from 0, at which it leaves, plus the attention of that stage: a share of 1, and of
    what leaves at most a half, because something that gets at least as much stays. So the highest
    `survivors` scores are exactly the patches that are left, whose stage is one more than the last.

    Args:
        model: in eval mode; its head is not run.
        x: preprocessed images (B, C, H, W).
        keep: share of the patches that each stage keeps.

    Returns:
        (B, P) float32; NaN where attention is.

    Raises:
        ModelError: EViT cannot reduce the model.
    """
    config = selecting(keep)
    refuse(config, model)
    inner = evit.reducer(config, model)
    watched = _Watched(inner.prefix, inner)
    tokens, state = embedded(model, x)
    scores = torch.zeros(state.places.shape, dtype=torch.float32, device=tokens.device)
    _, left = run_blocks(model, tokens, watched, state)
    for stage, (places, attention) in enumerate(watched.passed):
        scores = scores.scatter(1, places, stage + attention)
    return scores.scatter_add(1, left.places, torch.ones_like(left.places, dtype=torch.float32))

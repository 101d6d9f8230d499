"""Data lottery tickets: attention -> scores -> kept patches, and how a ticket moves with a flip.

Shapes: B images, h heads, N tokens, P patches, K kept patches.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from trials.errors import StageInputError

Score = Literal["cls", "rollout", "received"]
Sink = Literal["none", "cls_mean", "outlier_mean"]

OUTLIER_SIGMAS = 3.0


def keep_count(patches: int, patch_drop: float) -> int:
    """ceil((1 - patch_drop) * patches): 177 of 196 at 0.1, as LOTUS's example.

    Rounded to 9 decimals first, because 10 * (1 - 0.7) is 3.0000000000000004.
    """
    if not 0.0 <= patch_drop < 1.0:
        raise StageInputError(f"patch_drop {patch_drop} is not in [0, 1)")
    return max(1, math.ceil(round((1.0 - patch_drop) * patches, 9)))


def fix_sink(attn_BhNN: Tensor, sink: Sink, prefix: int = 1) -> Tensor:
    """Replace the attention that a sink token swallows; rows sum to 1 again afterwards.

    `cls_mean`: attention *to* the first token becomes the mean of the attention to the others
    (LOTUS section 3: "the first token of the attention maps had to be normalized to the mean").
    `outlier_mean`: attention to patches above mean + 3 sigma of the row becomes the row's mean
    over patches (for the register-like outlier patches of Darcet et al. 2024, which a CLS-only
    fix cannot remove).

    Args:
        attn_BhNN: softmax attention (..., query, key); rows sum to 1.
        prefix: leading class and register tokens; without any, `cls_mean` changes nothing.
    """
    if sink == "none" or (sink == "cls_mean" and prefix == 0):
        return attn_BhNN
    fixed = attn_BhNN.clone()
    if sink == "cls_mean":
        fixed[..., 0] = attn_BhNN[..., 1:].mean(-1)
    else:
        patches = fixed[..., prefix:]
        mean, std = patches.mean(-1, keepdim=True), patches.std(-1, keepdim=True)
        fixed[..., prefix:] = torch.where(patches > mean + OUTLIER_SIGMAS * std, mean, patches)
    return fixed / fixed.sum(-1, keepdim=True)


def patch_scores(maps: Sequence[Tensor], score: Score, sink: Sink, prefix: int) -> Tensor:
    """How much the model attends to each patch.

    Args:
        maps: attention (B, h, N, N) of one block for `cls` and `received`, of all blocks in
            order for `rollout`.
        score: `cls`: attention from the class token, mean over heads. `rollout`: the class
            token's row of the product of the normalised (A + I) / 2 (Abnar and Zuidema 2020).
            `received`: mean over the query rows, the only choice for models without CLS.
        prefix: leading class and register tokens, never scored.

    Returns:
        (B, P) float32.

    Raises:
        StageInputError: the model has no class token and the score needs one.
    """
    if prefix == 0 and score != "received":
        raise StageInputError(
            f"tickets.score = {score} reads the class token, and this model has none: "
            "write `score: received`"
        )
    means = [fix_sink(attn, sink, prefix).mean(1) for attn in maps]
    if score == "received":
        return means[-1][:, prefix:, prefix:].mean(1)
    if score == "cls":
        return means[-1][:, 0, prefix:]
    eye = torch.eye(means[0].shape[-1], device=means[0].device)
    rolled = eye.expand_as(means[0])
    for attn in means:
        step = (attn + eye) / 2
        rolled = (step / step.sum(-1, keepdim=True)) @ rolled
    return rolled[:, 0, prefix:]


def select_patches(scores_BP: Tensor, count: int, *, lowest: bool = False) -> Tensor:
    """Keep the patches with the highest scores; ties go to the earlier patch.

    Args:
        scores_BP: one score a patch.
        count: patches kept per image, 1..P; equal for all images, so batches stay rectangular.
        lowest: keep the lowest instead (a control).

    Returns:
        (B, P) bool, exactly `count` True in every row. Nested in `count` for fixed scores.

    Raises:
        StageInputError: `count` is out of range or a score is NaN.

    Source: LOTUS section 3; the mean over heads is our choice.
    """
    patches = scores_BP.shape[1]
    if not 1 <= count <= patches:
        raise StageInputError(f"cannot keep {count} of {patches} patches")
    if bool(torch.isnan(scores_BP).any()):
        raise StageInputError("attention scores hold NaN: the scoring model has diverged")
    order = torch.sort(scores_BP, dim=1, descending=not lowest, stable=True).indices
    keep = torch.zeros_like(scores_BP, dtype=torch.bool)
    return keep.scatter_(1, order[:, :count], True)


def random_patches(images: int, patches: int, count: int, draw: torch.Generator) -> Tensor:
    """(images, patches) bool with `count` random True per row: the control of equal size."""
    return select_patches(torch.rand(images, patches, generator=draw), count)


def indices(keep_BP: Tensor) -> Tensor:
    """Bool (B, P) with equal row sums -> int64 (B, K), ascending."""
    return keep_BP.nonzero()[:, 1].view(len(keep_BP), -1)


def flip(kept_BK: Tensor, columns: int) -> Tensor:
    """The ticket of the horizontally mirrored image: int64 (B, K), ascending.

    Args:
        kept_BK: patch indices on a grid with `columns` columns, in row-major order.
    """
    row, column = kept_BK // columns, kept_BK % columns
    return (row * columns + (columns - 1 - column)).sort(1).values

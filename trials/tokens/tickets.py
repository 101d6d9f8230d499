"""Data lottery tickets: attention -> scores -> kept patches, and how a ticket moves with a flip.

Shapes: B images, h heads, N tokens, P patches, K kept patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from trials.errors import StageInputError
from trials.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

MapScore = Literal["cls", "rollout", "received"]
"""Scores that follow from attention maps: see `patch_scores`."""
Score = Literal["cls", "rollout", "received", "nested"]
"""`nested` is made by a pass in which patches leave: see `trials.reduction.nested`."""
Rounding = Literal["ceil", "floor"]
Sink = Literal["none", "cls_mean", "outlier_mean"]

OUTLIER_SIGMAS = 3.0

PAD = 1 << 30
"""Fills rows of patch indices up to the longest. Too large for any index, so that whoever takes
it for a patch gets an error and not a wrong token."""


def keep_count(patches: int, patch_drop: float) -> int:
    """ceil((1 - patch_drop) * patches): 177 of 196 at 0.1, as LOTUS's example.

    Rounded to 9 decimals first, because 10 * (1 - 0.7) is 3.0000000000000004.
    """
    if not 0.0 <= patch_drop < 1.0:
        raise StageInputError(f"patch_drop {patch_drop} is not in [0, 1)")
    return max(1, math.ceil(round((1.0 - patch_drop) * patches, 9)))


def exact_drop(patches: int, patch_drop: float, count: Rounding) -> float:
    """The patch_drop with which `keep_count` gives the number that is asked for.

    Args:
        count: floor: floor((1 - patch_drop) * patches), at least 1, as PatchDropout has it.
    """
    if count == "ceil":
        return patch_drop
    return drop_of(patches, max(1, math.floor(round((1.0 - patch_drop) * patches, 9))))


def drop_of(patches: int, kept: int) -> float:
    """The patch_drop of which `keep_count` makes so many patches."""
    return 1.0 - kept / patches


def fix_sink(attn_BhNN: Tensor, sink: Sink, prefix: int = 1, *, class_token: bool = True) -> Tensor:
    """Replace the attention that a sink token swallows; rows sum to 1 again afterwards.

    `cls_mean`: attention *to* the first token becomes the mean of the attention to the others
    (LOTUS section 3: "the first token of the attention maps had to be normalized to the mean").
    `outlier_mean`: attention to patches above mean + 3 sigma of the row becomes the row's mean
    over patches (for the register-like outlier patches of Darcet et al. 2024, which a CLS-only
    fix cannot remove).

    Args:
        attn_BhNN: softmax attention (..., query, key); rows sum to 1.
        prefix: leading class and register tokens.
        class_token: whether the first of them is one; if not, `cls_mean` changes nothing.
    """
    if sink == "none" or (sink == "cls_mean" and not (class_token and prefix)):
        return attn_BhNN
    fixed = attn_BhNN.clone()
    if sink == "cls_mean":
        fixed[..., 0] = attn_BhNN[..., 1:].mean(-1)
    else:
        patches = fixed[..., prefix:]
        mean, std = patches.mean(-1, keepdim=True), patches.std(-1, keepdim=True)
        fixed[..., prefix:] = torch.where(patches > mean + OUTLIER_SIGMAS * std, mean, patches)
    return fixed / fixed.sum(-1, keepdim=True)


def patch_scores(
    maps: Sequence[Tensor], score: MapScore, sink: Sink, prefix: int, *, class_token: bool
) -> Tensor:
    """How much the model attends to each patch.

    Args:
        maps: attention (B, h, N, N) of one block for `cls` and `received`, of all blocks in
            order for `rollout`.
        score: `cls`: attention from the class token, mean over heads. `rollout`: the class
            token's row of the product of the normalised (A + I) / 2 (Abnar and Zuidema 2020).
            `received`: mean over the query rows, the only choice for models without CLS.
        prefix: leading class and register tokens, never scored.
        class_token: whether the first of them is one.

    Returns:
        (B, P) float32.

    Raises:
        StageInputError: the model has no class token and the score needs one.
    """
    if score != "received" and not class_token:
        raise StageInputError(
            f"tickets.score = {score} reads the class token, and this model has none: "
            "write `score: received`"
        )
    means = [fix_sink(attn, sink, prefix, class_token=class_token).mean(1) for attn in maps]
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


def select_patches(scores_BP: Tensor, count: int | Tensor, *, lowest: bool = False) -> Tensor:
    """Keep the patches with the highest scores of each image; ties go to the earlier patch.

    Args:
        scores_BP: one score a patch.
        count: patches kept per image, 1..P: the same for all images, so that batches stay
            rectangular, or int64 (B,), each image's own.
        lowest: keep the lowest instead (a control).

    Returns:
        (B, P) bool, exactly `count` True in every row. Nested in `count` for fixed scores.

    Raises:
        StageInputError: `count` is out of range or a score is NaN.

    Source: LOTUS section 3; the mean over heads is our choice.
    """
    patches = scores_BP.shape[1]
    counts_B1 = torch.as_tensor(count, device=scores_BP.device).expand(len(scores_BP)).view(-1, 1)
    if bool((bad := (counts_B1 < 1) | (counts_B1 > patches)).any()):
        raise StageInputError(f"cannot keep {int(counts_B1[bad][0])} of {patches} patches")
    if bool(torch.isnan(scores_BP).any()):
        raise nan_scores()
    order = torch.sort(scores_BP, dim=1, descending=not lowest, stable=True).indices
    best = torch.arange(patches, device=scores_BP.device) < counts_B1
    return torch.zeros_like(scores_BP, dtype=torch.bool).scatter_(1, order, best)


def select_globally(scores_NP: Tensor, count: int, *, lowest: bool = False) -> Tensor:
    """Keep the patches above one threshold for all images, but each image's best in any case.

    An image of which the model attends to much keeps more than one of which it attends to
    little. Ties go to the earlier image, then to the earlier patch.

    Args:
        scores_NP: one score a patch, of all images of a split.
        count: patches kept per image on average, 1..P.
        lowest: keep the lowest instead (a control).

    Returns:
        (N, P) bool, exactly `count * N` True, at least one in every row. Nested in `count`.

    Raises:
        StageInputError: `count` is out of range or a score is NaN.

    Source: our choice; LOTUS selects per image. An image without a patch would have no input.
    """
    images, patches = scores_NP.shape
    if not 1 <= count <= patches:
        raise StageInputError(f"cannot keep {count} of {patches} patches")
    keep = select_patches(scores_NP, 1, lowest=lowest)
    rest = (~keep).flatten().nonzero()[:, 0]
    worth = scores_NP.flatten()[rest]
    order = torch.sort(worth, descending=not lowest, stable=True).indices
    keep.view(-1)[rest[order[: (count - 1) * images]]] = True
    return keep


def nan_scores() -> StageInputError:
    """What is raised where a score is NaN."""
    return StageInputError("attention scores hold NaN: the scoring model has diverged")


def random_patches(images: int, patches: int, count: int | Tensor, draw: torch.Generator) -> Tensor:
    """(images, patches) bool with `count` random True per row: the control of equal size."""
    return select_patches(torch.rand(images, patches, generator=draw), count)


def indices(keep_BP: Tensor) -> Tensor:
    """Bool (B, P) -> int64 (B, K), ascending; K is the largest row sum.

    Rows with fewer patches end in `PAD`, which no patch has as its index.
    """
    counts = keep_BP.sum(1)
    largest = int(counts.max())
    if int(counts.min()) == largest:
        return keep_BP.nonzero()[:, 1].view(len(keep_BP), -1)
    numbers = torch.arange(keep_BP.shape[1], device=keep_BP.device).expand(keep_BP.shape)
    return numbers.masked_fill(~keep_BP, PAD).sort(1).values[:, :largest]


def best_indices(
    scores_BP: Tensor, counts_B: Tensor, longest: int, *, lowest: bool = False
) -> Tensor:
    """`indices` of `select_patches`, without a look into a tensor: int64 (B, longest).

    Args:
        scores_BP: one score a patch; with a NaN among them the order of a row means nothing.
        counts_B: int64, patches kept of each image.
        longest: the largest of them.
        lowest: keep the lowest instead.
    """
    order = torch.sort(scores_BP, dim=1, descending=not lowest, stable=True).indices[:, :longest]
    surplus = torch.arange(longest, device=order.device) >= counts_B.view(-1, 1)
    return order.masked_fill(surplus, PAD).sort(1).values


def is_padded(kept_BK: Tensor) -> bool:
    """Whether images keep different numbers of patches."""
    return bool((kept_BK[:, -1] == PAD).any())


def flip(kept_BK: Tensor, columns: int) -> Tensor:
    """The ticket of the horizontally mirrored image: int64 (B, K), ascending; padding stays.

    Args:
        kept_BK: patch indices on a grid with `columns` columns, in row-major order.
    """
    row, column = kept_BK // columns, kept_BK % columns
    mirrored = row * columns + (columns - 1 - column)
    return torch.where(kept_BK == PAD, PAD, mirrored).sort(1).values

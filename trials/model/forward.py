"""Forward passes of a timm transformer on images of which only some patches are seen.

Shapes: B batch, C channels, H W pixels, P patches, K kept patches, N tokens, d width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trials.errors import ModelError
from trials.lazy import F, torch
from trials.model.families import Module, family_of, hidden, take
from trials.tokens.kept import Removal
from trials.tokens.tickets import PAD

if TYPE_CHECKING:
    from torch import Tensor

    from trials.model.families import Family

__all__ = ["POOLS", "Module", "forward", "keep_matrix"]

POOLS = ("token", "avg", "max", "avgmax", "map")
"""Pools that can look at a different number of patches for each image of a batch."""


def forward(
    model: Module,
    x: Tensor,
    kept_BK: Tensor | None = None,
    removal: Removal = "gather",
    *,
    padded: bool = False,
) -> Tensor:
    """Logits of images of which only the kept patches are seen.

    Args:
        x: preprocessed images (B, C, H, W).
        kept_BK: int64 patch indices, ascending; None = all. A ticket of all patches takes the
            same path, so the two agree bit for bit.
        removal: `gather` takes the kept tokens after the position embedding, so that the
            sequence really is shorter (class and register tokens stay), each with its rotation
            or its biases where the model has such; `attention_mask` keeps all tokens and lets
            nobody attend to a dropped one (the same logits, no saving); `zero` and `mean` paint
            the pixels of dropped patches: with 0 (the mean colour after normalisation) or with
            the mean of the image's kept pixels.
        padded: rows differ in count and end in `tickets.PAD`. Nobody attends to the padding and
            nothing pools over it, so an image's logits do not depend on the others of its batch.
            An argument, because a look into a tensor on a GPU would wait for it at every step.

    Returns:
        (B, classes) float32 or the autocast type.

    Raises:
        ModelError: the model cannot hide tokens, or cannot pool over some of them only.

    Source: EViT and the Data-LTH code gather; LOTUS does not say.
    """
    patches = model.patch_embed.num_patches
    if kept_BK is None or (kept_BK.shape[1] == patches and not padded):
        return model(x)  # type: ignore[no-any-return]
    if removal in ("zero", "mean"):
        return model(_paint(model, x, kept_BK, removal))  # type: ignore[no-any-return]
    return _some(model, x, kept_BK, gathered=removal == "gather", padded=padded)


def _some(model: Module, x: Tensor, kept_BK: Tensor, *, gathered: bool, padded: bool) -> Tensor:
    """The passes that take tokens out (`gathered`) or hide them."""
    family, prefix = family_of(model), model.num_prefix_tokens
    patches = model.patch_embed.num_patches
    embedded = family.embed(model, x)
    if embedded.tokens.shape[1] != prefix + patches:
        raise ModelError(DROPS_ITSELF)
    if gathered and not padded:
        embedded = family.keep(model, embedded, kept_BK)
        return model.forward_head(family.run(model, embedded, None))  # type: ignore[no-any-return]
    _refuse_dropping(model)
    seen = keep_matrix(kept_BK, patches)
    if gathered:
        seen = kept_BK != PAD
        embedded = family.keep(model, embedded, kept_BK.where(seen, 0))
    seen = F.pad(seen, (prefix, 0), value=True)
    features = family.run(model, embedded, seen)
    if padded:
        return _pooled_head(model, family, features, seen)
    if model.global_pool not in ("token", ""):
        features = take(features, kept_BK, prefix)
    return model.forward_head(features)  # type: ignore[no-any-return]


DROPS_ITSELF = (
    "model.kwargs.patch_drop_rate drops tokens inside the model, so it is not known which "
    "of them to hide: remove it, or write `tickets.removal: gather` and `scope: image`"
)


def _refuse_dropping(model: Module) -> None:
    if model.training and getattr(getattr(model, "patch_drop", None), "prob", 0.0) > 0:
        raise ModelError(DROPS_ITSELF)


def _pooled_head(model: Module, family: Family, features_BNd: Tensor, seen_BN: Tensor) -> Tensor:
    """The model's head over the tokens that are seen only, whose number differs by image."""
    if model.global_pool == "token":
        return model.forward_head(features_BNd)  # type: ignore[no-any-return]
    if model.global_pool not in POOLS:
        raise ModelError(
            f"model.kwargs.global_pool = {model.global_pool!r} cannot pool over a different number "
            f"of patches for each image: write `tickets.scope: image`, or one of {', '.join(POOLS)}"
        )
    start = 0 if family.pools_prefix(model) else model.num_prefix_tokens
    x, seen_BN = features_BNd[:, start:], seen_BN[:, start:]
    if model.global_pool == "map":
        pooled = model.attn_pool(x, attn_mask=hidden(seen_BN, x))
    else:
        pooled = _pooled(model.global_pool, x, seen_BN[:, :, None])
    return model.head(model.head_drop(model.fc_norm(pooled)))  # type: ignore[no-any-return]


def _pooled(pool: str, x_BNd: Tensor, seen_BN1: Tensor) -> Tensor:
    mean = x_BNd.masked_fill(~seen_BN1, 0.0).sum(1) / seen_BN1.sum(1)
    if pool == "avg":
        return mean
    top = x_BNd.masked_fill(~seen_BN1, -torch.inf).amax(1)
    return top if pool == "max" else 0.5 * (top + mean)


def keep_matrix(kept_BK: Tensor, patches: int) -> Tensor:
    """Patch indices int64 (B, K), padding allowed -> bool (B, P)."""
    # Padding lands in a column more, which is cut off again.
    keep = torch.zeros(len(kept_BK), patches + 1, dtype=torch.bool, device=kept_BK.device)
    return keep.scatter_(1, kept_BK.where(kept_BK != PAD, patches), True)[:, :patches]


def _paint(model: Module, x: Tensor, kept_BK: Tensor, removal: Removal) -> Tensor:
    """Images whose dropped patches have one colour. Pixels beyond the last whole patch stay.

    No patch holds those, so that the model does not see them either.
    """
    rows, columns = model.patch_embed.grid_size
    height, width = model.patch_embed.patch_size
    keep = keep_matrix(kept_BK, rows * columns).view(-1, 1, rows, columns).to(x.dtype)
    pixels = keep.repeat_interleave(height, 2).repeat_interleave(width, 3)
    inside = x[..., : rows * height, : columns * width]
    painted = inside * pixels
    if removal == "mean":
        mean = painted.sum((2, 3), keepdim=True) / pixels.sum((2, 3), keepdim=True)
        painted = painted + mean * (1 - pixels)
    if inside.shape == x.shape:
        return painted
    whole = x.clone()
    whole[..., : rows * height, : columns * width] = painted
    return whole

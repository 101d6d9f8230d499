"""Forward passes of a timm vision transformer on images of which only some patches are seen.

Shapes: B batch, C channels, H W pixels, P patches, K kept patches, N tokens, d width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trials.errors import ModelError
from trials.lazy import F, torch
from trials.tokens.kept import Removal
from trials.tokens.tickets import PAD

if TYPE_CHECKING:
    from torch import Tensor

Module = Any
"""A timm VisionTransformer. timm is not typed, and importing its class here costs seconds."""


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
            sequence really is shorter (class and register tokens stay); `attention_mask` keeps
            all tokens and lets nobody attend to a dropped one (the same logits, no saving);
            `zero` and `mean` paint the pixels of dropped patches: with 0 (the mean colour after
            normalisation) or with the mean of the image's kept pixels.
        padded: rows differ in count and end in `tickets.PAD`. Nobody attends to the padding and
            nothing pools over it, so an image's logits do not depend on the others of its batch.
            An argument, because a look into a tensor on a GPU would wait for it at every step.

    Returns:
        (B, classes) float32 or the autocast type.

    Raises:
        ModelError: the model cannot hide tokens, or cannot pool over some of them only.

    Source: EViT and the Data-LTH code gather; LOTUS does not say.
    """
    if kept_BK is None or (kept_BK.shape[1] == model.patch_embed.num_patches and not padded):
        return model(x)  # type: ignore[no-any-return]
    if removal in ("zero", "mean"):
        return model(_paint(model, x, kept_BK, removal))  # type: ignore[no-any-return]
    tokens = model._pos_embed(model.patch_embed(x))
    prefix = model.num_prefix_tokens
    if removal == "gather" and not padded:
        tokens = gather_tokens(tokens, kept_BK, prefix)
        return model.forward_head(_blocks(model, tokens, None))  # type: ignore[no-any-return]
    seen = keep_matrix(kept_BK, tokens.shape[1] - prefix)
    if removal == "gather":
        seen = kept_BK != PAD
        tokens = gather_tokens(tokens, kept_BK.where(seen, 0), prefix)
    seen = F.pad(seen, (prefix, 0), value=True)
    features = _blocks(model, tokens, seen[:, None, None, :])
    if padded:
        return _pooled_head(model, features, seen)
    if model.global_pool not in ("token", ""):
        features = gather_tokens(features, kept_BK, prefix)
    return model.forward_head(features)  # type: ignore[no-any-return]


def _blocks(model: Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
    x = model.norm_pre(model.patch_drop(tokens))
    if mask is not None and x.shape[1] != mask.shape[-1]:
        raise ModelError(
            "model.kwargs.patch_drop_rate drops tokens inside the model, so it is not known which "
            "of them to hide: remove it, or write `tickets.removal: gather` and `scope: image`"
        )
    for block in model.blocks:
        x = block(x) if mask is None else block(x, attn_mask=mask)
    return model.norm(x)  # type: ignore[no-any-return]


def _pooled_head(model: Module, features_BNd: Tensor, seen_BN: Tensor) -> Tensor:
    """The model's head over the tokens that are seen only, whose number differs by image."""
    if model.global_pool == "token":
        return model.forward_head(features_BNd)  # type: ignore[no-any-return]
    if model.global_pool not in ("avg", "max", "avgmax"):
        raise ModelError(
            f"model.kwargs.global_pool = {model.global_pool!r} cannot pool over a different number "
            "of patches for each image: write `tickets.scope: image`, or token, avg, max or avgmax"
        )
    start = 0 if model.pool_include_prefix else model.num_prefix_tokens
    x, seen = features_BNd[:, start:], seen_BN[:, start:, None]
    mean = x.masked_fill(~seen, 0.0).sum(1) / seen.sum(1)
    if model.global_pool == "avg":
        pooled = mean
    else:
        top = x.masked_fill(~seen, -torch.inf).amax(1)
        pooled = top if model.global_pool == "max" else 0.5 * (top + mean)
    return model.head(model.head_drop(model.fc_norm(pooled)))  # type: ignore[no-any-return]


def gather_tokens(tokens_BNd: Tensor, kept_BK: Tensor, prefix: int) -> Tensor:
    """(B, prefix + K, d): the prefix tokens and the kept patches, in order."""
    index = kept_BK.unsqueeze(-1).expand(-1, -1, tokens_BNd.shape[-1]) + prefix
    return torch.cat([tokens_BNd[:, :prefix], tokens_BNd.gather(1, index)], dim=1)


def keep_matrix(kept_BK: Tensor, patches: int) -> Tensor:
    """Patch indices int64 (B, K), padding allowed -> bool (B, P)."""
    # Padding lands in a column more, which is cut off again.
    keep = torch.zeros(len(kept_BK), patches + 1, dtype=torch.bool, device=kept_BK.device)
    return keep.scatter_(1, kept_BK.where(kept_BK != PAD, patches), True)[:, :patches]


def _paint(model: Module, x: Tensor, kept_BK: Tensor, removal: Removal) -> Tensor:
    rows, columns = model.patch_embed.grid_size
    keep = keep_matrix(kept_BK, rows * columns).view(-1, 1, rows, columns).to(x.dtype)
    pixels = F.interpolate(keep, size=x.shape[-2:], mode="nearest")
    if removal == "zero":
        return x * pixels
    mean = (x * pixels).sum((2, 3), keepdim=True) / pixels.sum((2, 3), keepdim=True)
    return x * pixels + mean * (1 - pixels)

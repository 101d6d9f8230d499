"""timm's VisionTransformer, the distilled DeiT included: positions are in the tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trials.model.families.family import Embedded, Family, Module

if TYPE_CHECKING:
    from torch import Tensor


class Vit(Family):
    """ViT, DeiT, DINO, DINOv2, CLIP, SigLIP, MAE; blocks in series or parallel."""

    name: ClassVar[str] = "VisionTransformer"

    def embed(self, model: Module, x: Tensor) -> Embedded:
        return Embedded(model._pos_embed(model.patch_embed(x)))

    def run(self, model: Module, embedded: Embedded, seen_BN: Tensor | None) -> Tensor:
        x = model.norm_pre(model.patch_drop(embedded.tokens))
        if seen_BN is None:
            for block in model.blocks:
                x = block(x)
        else:
            mask = seen_BN[:, None, None, :]
            for block in model.blocks:
                x = block(x, attn_mask=mask)
        return model.norm(x)  # type: ignore[no-any-return]

    def has_class_token(self, model: Module) -> bool:
        return bool(model.has_class_token)

    def pools_prefix(self, model: Module) -> bool:
        return bool(model.pool_include_prefix)

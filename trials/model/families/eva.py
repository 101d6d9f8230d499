"""timm's Eva: EVA, EVA-02, DINOv3, PE and others. Queries and keys are turned by position.

Shapes: B batch, K kept patches, h heads, r numbers of a rotation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from trials.model.families.family import Embedded, Family, Module

if TYPE_CHECKING:
    from torch import Tensor


class Eva(Family):
    """The rotation of a patch leaves and stays with its token."""

    name: ClassVar[str] = "Eva"

    def embed(self, model: Module, x: Tensor) -> Embedded:
        tokens, rotation = model._pos_embed(model.patch_embed(x))
        return Embedded(tokens, rotation=rotation)

    def keep(self, model: Module, embedded: Embedded, kept_BK: Tensor) -> Embedded:
        made = super().keep(model, embedded, kept_BK)
        if embedded.rotation is None:
            return made
        return replace(made, rotation=_rotation(embedded.rotation, kept_BK))

    def run(self, model: Module, embedded: Embedded, seen_BN: Tensor | None) -> Tensor:
        x = model.norm_pre(embedded.tokens)
        mask = None if seen_BN is None else seen_BN[:, None, None, :]
        rotation = embedded.rotation
        for number, block in enumerate(model.blocks):
            own = rotation[number] if rotation is not None and model.rope_mixed else rotation
            x = block(x, rope=own, attn_mask=mask)
        return model.norm(x)  # type: ignore[no-any-return]

    def has_class_token(self, model: Module) -> bool:
        return model.cls_token is not None

    def pools_prefix(self, model: Module) -> bool:
        return model.attn_pool is not None


def _rotation(rotation: Tensor, kept_BK: Tensor) -> Tensor:
    """Of kept patches: (P, r) -> (B, 1, K, r); (depth, h, P, r) -> (depth, B, h, K, r)."""
    if rotation.ndim == 2:
        return rotation[kept_BK].unsqueeze(1)
    depth, heads, _, numbers = rotation.shape
    batch, kept = kept_BK.shape
    index = kept_BK[None, :, None, :, None].expand(depth, batch, heads, kept, numbers)
    return rotation.unsqueeze(1).expand(-1, batch, -1, -1, -1).gather(3, index)

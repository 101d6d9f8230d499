"""timm's Beit: BEiT and BEiTv2. Attention adds a bias for how two tokens lie to each other.

timm's blocks take that bias for all tokens only, so this file runs attention itself.

Shapes: B batch, N tokens, h heads, d width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trials.lazy import F, torch
from trials.model.families.family import Embedded, Family, Module, hidden

if TYPE_CHECKING:
    from torch import Tensor


class Beit(Family):
    """The bias between two tokens is that of the places from which they come."""

    name: ClassVar[str] = "Beit"

    def embed(self, model: Module, x: Tensor) -> Embedded:
        tokens = model.patch_embed(x)
        tokens = torch.cat((model.cls_token.expand(len(tokens), -1, -1), tokens), dim=1)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        return Embedded(model.pos_drop(tokens))

    def run(self, model: Module, embedded: Embedded, seen_BN: Tensor | None) -> Tensor:
        x = embedded.tokens
        # The class token is the first of all places.
        places = None if embedded.kept is None else F.pad(embedded.kept + 1, (1, 0))
        common = None if model.rel_pos_bias is None else _bias(model.rel_pos_bias, places)
        if seen_BN is not None:
            common = _sum(common, hidden(seen_BN, x))
        for block in model.blocks:
            has_own = block.attn.relative_position_bias_table is not None
            own = _bias(block.attn, places) if has_own else None
            x = _block(block, x, _sum(own, common))
        return model.norm(x)  # type: ignore[no-any-return]

    def has_class_token(self, model: Module) -> bool:
        return True


def _bias(module: Module, places_BN: Tensor | None) -> Tensor:
    """What is added to the scores of tokens at these places (None = all): (1 or B, h, N, N)."""
    index = module.relative_position_index.unsqueeze(0)
    if places_BN is not None:
        index = index[0][places_BN[:, :, None], places_BN[:, None, :]]
    return module.relative_position_bias_table[index].movedim(-1, 1)  # type: ignore[no-any-return]


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _block(block: Module, x: Tensor, bias: Tensor | None) -> Tensor:
    attended, width = _attention(block.attn, block.norm1(x), bias), block.gamma_1
    x = x + block.drop_path1(attended if width is None else width * attended)
    made, width = block.mlp(block.norm2(x)), block.gamma_2
    return x + block.drop_path2(made if width is None else width * made)  # type: ignore[no-any-return]


def _attention(module: Module, x_BNd: Tensor, bias: Tensor | None) -> Tensor:
    batch, tokens, width = x_BNd.shape
    qkv_bias = None
    if module.q_bias is not None:
        qkv_bias = torch.cat((module.q_bias, module.k_bias, module.v_bias))
    qkv = F.linear(x_BNd, module.qkv.weight, qkv_bias)
    q, k, v = qkv.reshape(batch, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    dropped = module.attn_drop.p if module.training else 0.0
    made = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropped)
    made = made.transpose(1, 2).reshape(batch, tokens, width)
    return module.proj_drop(module.proj(made))  # type: ignore[no-any-return]

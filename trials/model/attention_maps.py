"""The attention of a timm vision transformer, which its fused kernels do not show.

Shapes: B batch, C channels, H W pixels, N tokens, h heads, d width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trials.errors import ModelError
from trials.model.forward import Module

if TYPE_CHECKING:
    from torch import Tensor, nn


class _SeenError(Exception):
    """Ends a forward pass that has shown all that was asked for."""


def attention_maps(model: Module, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Softmax attention of the named blocks, recomputed from q and k.

    timm's fused attention exposes no map, and hooks on `attn_drop` never fire.

    Args:
        x: preprocessed images (B, C, H, W).
        blocks: block numbers; negative ones count from the end.

    Returns:
        Per block (B, h, N, N) float32; rows sum to 1.

    Raises:
        ModelError: there is no such block, or its attention is not timm's standard one.
    """
    depth = len(model.blocks)
    if bad := [b for b in blocks if not -depth <= b < depth]:
        raise ModelError(f"tickets.block = {bad[0]}: the model has blocks 0 to {depth - 1}")
    captured: dict[int, Tensor] = {}
    hooks = []
    wanted = {b % depth for b in blocks}
    for block in wanted:
        module = model.blocks[block].attn
        if not hasattr(module, "qkv"):
            raise ModelError(f"block {block} has {type(module).__name__}, which gives no q and k")

        def keep(_: nn.Module, args: tuple[Tensor, ...], *, block: int = block) -> None:
            captured[block] = _attention(model.blocks[block].attn, args[0])
            if block == max(wanted):
                raise _SeenError  # what comes after it would be computed for nobody

        hooks.append(module.register_forward_pre_hook(keep))
    try:
        with contextlib.suppress(_SeenError):
            model.forward_features(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [captured[b % depth] for b in blocks]


def _attention(module: Any, x_BNd: Tensor) -> Tensor:
    batch, tokens, _ = x_BNd.shape
    qkv = module.qkv(x_BNd).reshape(batch, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = module.q_norm(qkv[0]), module.k_norm(qkv[1])
    scores: Tensor = (q * module.scale) @ k.transpose(-2, -1)
    return scores.float().softmax(-1)

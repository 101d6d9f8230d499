from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trials.errors import ModelError
from trials.model.attention_maps import attention_maps


@torch.no_grad()
def test_recomputed_attention_equals_the_unfused_softmax(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    module = model(**kind)
    maps = attention_maps(module, x, [0, -1])
    captured: list[Tensor] = []
    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, args, out: captured.append(args[0]))
    module(x)
    assert len(captured) == 2
    for recomputed, unfused in zip(maps, captured, strict=True):
        torch.testing.assert_close(recomputed, unfused)
        torch.testing.assert_close(recomputed.sum(-1), torch.ones(recomputed.shape[:-1]))


@torch.no_grad()
def test_unfused_and_fused_attention_give_the_same_logits(
    model: Callable[..., Any], kind: dict[str, Any], x: Tensor
) -> None:
    fused, unfused = model(**kind), model(**kind)
    for block in unfused.blocks:
        assert block.attn.fused_attn
        block.attn.fused_attn = False
    torch.testing.assert_close(fused(x), unfused(x))


@torch.no_grad()
def test_recomputed_attention_rebuilds_the_fused_output(
    model: Callable[..., Any], x: Tensor
) -> None:
    module = model()
    attn = module.blocks[1].attn
    seen: list[tuple[Tensor, Tensor]] = []
    hook = attn.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    (map_BhNN,) = attention_maps(module, x, [1])
    assert not seen, "nothing is computed after the attention that was asked for"
    module(x)
    hook.remove()
    tokens, fused = seen[0]
    v = attn.qkv(tokens).reshape(5, 17, 3, 2, 16).permute(2, 0, 3, 1, 4)[2]
    torch.testing.assert_close(attn.proj((map_BhNN @ v).transpose(1, 2).reshape(5, 17, 32)), fused)


def test_capturing_attention_leaves_no_hook_behind(model: Callable[..., Any], x: Tensor) -> None:
    module = model()
    with torch.no_grad():
        attention_maps(module, x, [0, 1, -1])
    assert not any(m._forward_pre_hooks for m in module.modules())


@pytest.mark.parametrize("block", [2, -3])
def test_a_block_that_is_not_there_is_refused(
    model: Callable[..., Any], x: Tensor, block: int
) -> None:
    with pytest.raises(ModelError, match="has blocks 0 to 1"):
        attention_maps(model(), x, [block])

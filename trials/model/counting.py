"""The multiply-accumulates of a model's passes, counted on the meta device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trials.lazy import torch
from trials.model.families import Module
from trials.model.forward import forward
from trials.model.shape import input_size

if TYPE_CHECKING:
    from torch import Tensor


def images_of(model: Module) -> Tensor:
    """One image of the size that it expects, without values."""
    channels = model.patch_embed.proj.in_channels
    return torch.empty(1, channels, *input_size(model), device="meta")


def build_of(block: Module) -> tuple[Any, ...]:
    """What two blocks have in common that multiply the same."""
    return type(block), tuple((name, tuple(p.shape)) for name, p in block.named_parameters())


def counted(model: Module, equal: Mapping[Any, int]) -> tuple[int, int, int]:
    """The multiply-accumulates of a pass with n tokens: a + b n + c n^2, from three numbers.

    Its classifier becomes an identity, because it is never counted.

    Args:
        model: with one block of each build.
        equal: how many blocks of each build it has in truth.
    """
    for head in ("head", "head_dist"):
        if hasattr(model, head):
            setattr(model, head, torch.nn.Identity())
    blocks = list(model.blocks)
    # Any number but all: a ticket of all patches is the model's own pass.
    first = model.patch_embed.num_patches + 1
    found = [_macs(model, blocks, equal, kept) for kept in range(first, first + 3)]
    n = model.num_prefix_tokens + first
    by_pair = (found[2] - 2 * found[1] + found[0]) // 2
    by_token = found[1] - found[0] - by_pair * (2 * n + 1)
    return found[0] - by_token * n - by_pair * n * n, by_token, by_pair


def _macs(model: Module, blocks: Sequence[Any], equal: Mapping[Any, int], kept: int) -> int:
    """Of a pass with so many patches; what a block multiplies, as often as there are equal ones.

    Every family goes through `model.blocks` from first to last: what is multiplied between two
    steps of that loop is a block's.
    """
    from torch.utils.flop_counter import FlopCounterMode

    more: list[int] = []

    class Counted(torch.nn.Sequential):
        def __iter__(self) -> Iterator[Module]:
            for block in blocks:
                before = counter.get_total_flops()
                yield block
                others = equal[build_of(block)] - 1
                more.append(others * (counter.get_total_flops() - before))

    model.blocks = Counted(*blocks)
    rows = torch.zeros(1, kept, dtype=torch.int64, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward(model, images_of(model), rows)
    return int(counter.get_total_flops() + sum(more)) // 2


def formula_of(model: Module) -> tuple[int, int, int] | None:
    """The same by the formula of a plain transformer; None where its mlp is another one."""
    layer = getattr(getattr(model.blocks[0], "mlp", None), "fc1", None)
    if layer is None:
        return None
    depth, d = len(model.blocks), model.embed_dim
    embedding = model.patch_embed.num_patches * model.patch_embed.proj.weight[0].numel() * d
    return embedding, depth * d * (4 * d + 2 * int(layer.out_features)), 2 * depth * d

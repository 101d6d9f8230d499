"""The attention of a timm transformer, which its fused kernels do not show.

Shapes: B batch, C channels, H W pixels, N tokens, h heads, d width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trials.errors import ModelError
from trials.lazy import F, torch
from trials.model.families import Module
from trials.model.shape import differential_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class _SeenError(Exception):
    """Ends a forward pass that has shown all that was asked for."""


def attention_maps(model: Module, x: Tensor, blocks: Sequence[int]) -> list[Tensor]:
    """Softmax attention of the named blocks, from the queries and keys that the model itself uses.

    timm's fused attention exposes no map, and hooks on `attn_drop` never fire. So the call of the
    kernel is watched: its queries and keys come after every norm and rotation, and its mask holds
    every bias. Blocks with several attentions side by side give the heads of all.

    Differential attention is A1 - lambda A2, divided by 1 - lambda: the model's norm after it
    takes such a factor out again. Its entries may be negative.

    Args:
        x: preprocessed images (B, C, H, W).
        blocks: block numbers; negative ones count from the end.

    Returns:
        Per block (B, h, N, N) float32; rows sum to 1.

    Raises:
        ModelError: there is no such block, or its attention shows no queries and keys.

    Source: Ye et al., Differential Transformer (2024), for differential attention.
    """
    depth = len(model.blocks)
    if bad := [b for b in blocks if not -depth <= b < depth]:
        raise ModelError(f"tickets.block = {bad[0]}: the model has blocks 0 to {depth - 1}")
    found: dict[int, list[Tensor]] = {b % depth: [] for b in blocks}
    running: list[int] = []
    hooks = []
    last = max(found)

    def left(block: int) -> None:
        running.clear()
        if block == last:
            raise _SeenError  # what comes after it would be computed for nobody

    for block in found:
        module = model.blocks[block]
        hooks.append(module.register_forward_pre_hook(lambda *_, b=block: running.append(b)))
        hooks.append(module.register_forward_hook(lambda *_, b=block: left(b)))

    def see(attention: Tensor) -> None:
        if running:
            found[running[0]].append(attention)
            if running[0] == last and _has_one(model.blocks[last]):
                raise _SeenError

    try:
        with contextlib.suppress(_SeenError), _watched(see, running):
            model.forward_features(x)
    finally:
        for hook in hooks:
            hook.remove()
    maps = {block: _map(model.blocks[block], block, seen) for block, seen in found.items()}
    return [maps[b % depth] for b in blocks]


def _has_one(block: Module) -> bool:
    """Whether a block computes one softmax in all."""
    return hasattr(block, "attn") and not differential_modules(block)


def _map(block: Module, number: int, seen: Sequence[Tensor]) -> Tensor:
    """One block's map from the softmaxes that were seen in it, in their order."""
    if not seen:
        raise ModelError(
            f"block {number} has {type(block).__name__}, whose attention shows no queries and keys"
        )
    if modules := differential_modules(block):
        each = len(seen) // len(modules)
        parts = [seen[i : i + each] for i in range(0, len(seen), each)]
        seen = [_difference(m, own, number) for m, own in zip(modules, parts, strict=True)]
    return seen[0] if len(seen) == 1 else torch.cat(tuple(seen), dim=1)


def _difference(module: Module, seen: Sequence[Tensor], number: int) -> Tensor:
    # Fused, it is two calls; else one softmax with the two maps of each head side by side.
    if len(seen) == 2:
        first, second = seen
    else:
        batch, _, tokens, _ = seen[0].shape
        first, second = seen[0].view(batch, -1, 2, tokens, tokens).unbind(2)
    weight = module._compute_lambda().detach().float()
    if float(weight) >= 1.0:
        raise ModelError(
            f"block {number} subtracts at least as much attention as it has (lambda = "
            f"{float(weight):.2f}), so its rows cannot sum to 1: choose another `tickets.block`"
        )
    made: Tensor = (first - weight * second) / (1.0 - weight)
    return made


@contextmanager
def _watched(see: Callable[[Tensor], None], running: Sequence[int]) -> Iterator[None]:
    """Show the softmax of every attention that is computed while a block is `running`."""

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            given = kwargs or {}
            if running and func is F.scaled_dot_product_attention:
                see(_softmax(args[0], args[1], given.get("attn_mask")))
            made = func(*args, **given)
            if running and func is torch.Tensor.softmax:
                see(made.float())
            return made

    with Watch():
        yield


def _softmax(q_BhNd: Tensor, k_BhNd: Tensor, mask: Tensor | None) -> Tensor:
    scores: Tensor = (q_BhNd * q_BhNd.shape[-1] ** -0.5) @ k_BhNd.transpose(-2, -1)
    scores = scores.float()
    return (scores if mask is None else scores + mask).softmax(-1)

"""What criteria want to know about a model on data: inputs and gradients of its prunable weights.

Everything is measured on whole, un-augmented images and added up in float64, so the result does
not hang on the batch size beyond the rounding of a forward pass. It is added up on the host,
wherever the model is: most GPUs are slow in float64, and some cannot do it at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trials.context import Context
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model.forward import Module
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.criteria import Need

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 32
"""Images at once: the backward pass of a base model at 224 pixels fits into 16 GB."""


def collect(
    need: Need, checkpoint: Checkpoint, images: Tensor, labels: Tensor, ctx: Context
) -> dict[str, Tensor]:
    """One kind of evidence for every prunable weight; `criteria.Need` names the kinds.

    Args:
        images: uint8 (N, C, H, W) on the context's device.
        labels: int64 (N,); only gradients depend on them.

    Returns:
        Prunable name -> float64 tensor on the host; empty for `weights`.

    Raises:
        StageInputError: the model's activations or gradients are not finite.
    """
    if need == "weights":
        return {}
    model = Model.of(checkpoint, ctx.device)
    parts = (torch.split(given, ctx.at_once(BATCH)) for given in (images, labels))
    batches = ((model.inputs(x), y) for x, y in zip(*parts, strict=True))
    if need == "gradients":
        found = _gradients(model, batches, len(images))
    else:
        found = _inputs(model, batches, diagonal=need == "norms")
    if bad := [name for name, tensor in found.items() if not bool(tensor.isfinite().all())]:
        raise StageInputError(
            f"the {need} of {bad} are not finite: the model that is scored has diverged. Lower "
            "`dense.lr`, or set `dense.grad_clip`."
        )
    return found


def _gradients(
    model: Model, batches: Iterator[tuple[Tensor, Tensor]], count: int
) -> dict[str, Tensor]:
    wanted = masks.prunable(dict(model.module.named_parameters()))
    total = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in wanted.items()}
    for x, labels in batches:
        loss = F.cross_entropy(model(x), labels, reduction="sum")
        found = torch.autograd.grad(loss, list(wanted.values()))
        for name, gradient in zip(wanted, found, strict=True):
            total[name] += gradient.cpu()
    return {name: gradient / count for name, gradient in total.items()}


def _inputs(
    model: Model, batches: Iterator[tuple[Tensor, Tensor]], *, diagonal: bool
) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    tokens: dict[str, int] = {}

    def add(name: str, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        x_Td = args[0].flatten(0, -2).cpu().double()
        found = x_Td.square().sum(0) if diagonal else x_Td.T @ x_Td
        total[name] = total[name] + found if name in total else found
        tokens[name] = tokens.get(name, 0) + len(x_Td)

    with torch.no_grad(), _watching(model.module, add):
        for x, _ in batches:
            model(x)
    names = masks.prunable(dict(model.module.named_parameters()))
    if diagonal:
        return {name: total[name].sqrt() for name in names}
    return {name: total[name] / tokens[name] for name in names}


@contextmanager
def _watching(
    module: Module, see: Callable[[str, nn.Module, tuple[Tensor, ...]], None]
) -> Iterator[None]:
    """Show the input of every prunable layer to `see(name, layer, args)`."""
    hooks = []
    for name in masks.prunable(dict(module.named_parameters())):
        layer = module.get_submodule(name.removesuffix(".weight"))
        hooks.append(layer.register_forward_pre_hook(functools.partial(see, name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""What criteria want to know about a model on data: inputs and gradients of its prunable weights.

Everything is measured on whole, un-augmented images and added up in float64, so the result does
not hang on the batch size beyond the rounding of a forward pass. It is added up on the host,
wherever the model is: most GPUs are slow in float64, and some cannot do it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trials.context import Context
from trials.errors import StageInputError
from trials.lazy import F, torch
from trials.model.module import Model
from trials.model.vit import Checkpoint
from trials.sparsity import masks
from trials.sparsity.criteria import Need

if TYPE_CHECKING:
    from torch import Tensor

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
    wanted = _parameters(model)
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
    names = {id(weight): name for name, weight in _parameters(model).items()}

    def add(x: Tensor, weight: Tensor) -> None:
        if (name := names.get(id(weight))) is None:
            return
        x_Td = x.flatten(0, -2).cpu().double()
        found = x_Td.square().sum(0) if diagonal else x_Td.T @ x_Td
        total[name] = total[name] + found if name in total else found
        tokens[name] = tokens.get(name, 0) + len(x_Td)

    with torch.no_grad(), _watching(add):
        for x, _ in batches:
            model(x)
    if diagonal:
        return {name: total[name].sqrt() for name in names.values()}
    return {name: total[name] / tokens[name] for name in names.values()}


def _parameters(model: Model) -> dict[str, Tensor]:
    """The prunable weights as the module has them."""
    return masks.prunable(Checkpoint(model.arch, dict(model.module.named_parameters())))


@contextmanager
def _watching(see: Callable[[Tensor, Tensor], None]) -> Iterator[None]:
    """Show every matrix product of a layer to `see(input, weight)`.

    The product and not the layer, because some models of timm multiply by a layer's weight without
    calling the layer.
    """

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            given = kwargs or {}
            if func is F.linear:
                see(args[0], args[1] if len(args) > 1 else given["weight"])
            return func(*args, **given)

    with Watch():
        yield
